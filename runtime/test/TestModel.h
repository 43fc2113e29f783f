/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#ifndef LATHE_RUNTIME_TEST_TESTMODEL_H
#define LATHE_RUNTIME_TEST_TESTMODEL_H

#include "lathe.h"

#include <memory>
#include <string>
#include <vector>

namespace lathe::test {

struct Writer;

/// A table written by hand around functions of the test, as the compiler would emit it. Symbols are numbered
/// from 0; in dims they stand as ~number.
class TestModel {
public:
  TestModel(lathe_layout_fn layout, lathe_run_fn run) : layout(layout), run(run) {}

  TestModel &symbol(const char *name, int64_t min, int64_t max);
  TestModel &input(const char *name, uint32_t dtype, std::vector<int64_t> dims);
  TestModel &output(const char *name, uint32_t dtype, std::vector<int64_t> dims);
  TestModel &kernel(const char *name, const char *nodes);
  TestModel &slots(uint32_t count);
  TestModel &buffers(uint32_t count);
  TestModel &place(const char *nodes);
  TestModel &text(std::string bytes);
  TestModel &service(const char *name, const char *argument, uint32_t operands);
  /// How the last kernel is launched on a device.
  TestModel &onDevice(const char *entry, uint32_t threads, uint32_t sharedBytes, uint32_t parameters);
  TestModel &image(const char *target, std::string bytes);
  /// The names of the variants, which all do the same; "any" if nothing is said.
  TestModel &variants(std::vector<std::string> names);

  /// The table; it stays valid to the end of the process.
  lathe_table *build();
  /// build() and lathe_open_table(). Null when that fails.
  lathe_model_t *open();

private:
  void writeDevice(lathe_table &table, const Writer &writer) const;

  struct Value {
    std::string name;
    uint32_t dtype;
    std::vector<int64_t> dims;
  };
  struct Symbol {
    std::string name;
    int64_t min, max;
  };
  lathe_layout_fn layout;
  lathe_run_fn run;
  std::vector<Symbol> symbols;
  std::vector<Value> inputs, outputs;
  struct Kernel {
    std::string name, nodes, entry;
    uint32_t threads, sharedBytes, parameters;
  };
  std::vector<Kernel> kernels;
  std::vector<std::pair<std::string, std::string>> images;
  std::vector<std::string> isas = {"any"};
  std::vector<std::string> places, texts;
  struct Service {
    std::string name, argument;
    uint32_t operands;
  };
  std::vector<Service> services;
  uint32_t slotCount = 0, bufferCount = 0;
};

struct CloseModel {
  void operator()(lathe_model_t *model) const { lathe_close(model); }
};
struct CloseSession {
  void operator()(lathe_session_t *session) const { lathe_session_close(session); }
};
using ModelPtr = std::unique_ptr<lathe_model_t, CloseModel>;
using SessionPtr = std::unique_ptr<lathe_session_t, CloseSession>;

/// A session with that many threads. Null when it cannot be made.
SessionPtr makeSession(lathe_model_t *model, uint32_t threads = 1);
SessionPtr makeSession(lathe_model_t *model, const lathe_session_options &options);

/// y[B, S] = 2 * x[B, S] where mask[B, S] != 0, else 0, as f32; mask is i64. B is 1 to 64, S is 1 to 512.
/// Kernel 0 has the nodes "/a/Mul" and "/a/Where".
TestModel maskedDouble();

/// y[n] = 0, 1, 2, ... as f32, where n is the i64 input: its shape depends on data. It is computed in a
/// buffer and copied to the output. Place 0 has the node "/range", what follows the kernels; a negative n is
/// LATHE_FAULT_SHAPE there, n = 1000 LATHE_FAULT_LOOP.
TestModel countUp();

/// A lathe_tensor with its dims beside it.
template <typename T>
struct Tensor {
  std::vector<T> data;
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;
  lathe_tensor view();
};
template <typename T>
constexpr uint32_t dtypeOf();
template <>
constexpr uint32_t dtypeOf<float>() {
  return LATHE_FLOAT32;
}
template <>
constexpr uint32_t dtypeOf<int64_t>() {
  return LATHE_INT64;
}
template <typename T>
lathe_tensor Tensor<T>::view() {
  return {data.data(), dtypeOf<T>(), uint32_t(dims.size()), dims.data(),
          strides.empty() ? nullptr : strides.data()};
}

} // namespace lathe::test
#endif
