/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// A model whose kernels run on the mock driver's device, and that driver.

#ifndef LATHE_TEST_CUDA_CUDAMODEL_H
#define LATHE_TEST_CUDA_CUDAMODEL_H

#include "TestModel.h"
#include "driver/Mock.h"

#include <gtest/gtest.h>

#include <string>

namespace lathe::test {

/// The mock driver, as the runtime loads it. What is said of it in the environment holds for one test.
class CudaTest : public ::testing::Test {
protected:
  CudaTest();
  ~CudaTest() override;

  /// For the rest of the test.
  void set(const char *name, const std::string &value);
  void unset(const char *name);
  int calls(const char *function) const { return callsOf(function); }
  int live() const { return liveOf(); }
  std::string report() const { return reportOf(); }
  void reset() const { resetAll(); }
  /// A function of the driver's interface.
  template <typename Function>
  Function *driver(const char *name) const {
    return reinterpret_cast<Function *>(symbol(name));
  }
  /// Memory of a device, which goes with the test.
  uint64_t allocate(size_t bytes, int device = 0);
  void copyIn(uint64_t to, const void *from, size_t bytes);
  void copyOut(void *to, uint64_t from, size_t bytes);

private:
  void *symbol(const char *name) const;
  void enter(int device);
  void leave();

  void *library;
  int (*callsOf)(const char *);
  int (*liveOf)();
  const char *(*reportOf)();
  void (*resetAll)();
  std::vector<std::string> names;
  struct Allocation {
    uint64_t address;
    int device;
  };
  std::vector<Allocation> allocations;
};

/// y[N] = 2 * x[N] + w[i % 16], in two kernels ("/a/Mul" and "/a/Add") with the arena between them. A
/// negative x is an index out of bounds in the second.
TestModel doubleAndBias();
/// The same with a kernel "/b/Bad" at the end, which runs that function of kernels.c.
TestModel withBadKernel(const char *entry);
/// y[N] = the sum of the x of its block of 1024, with 64 KiB of shared memory.
TestModel sumOfBlock();

/// The weights of doubleAndBias: 0, 100, 200, ...
struct alignas(64) Weights {
  float values[16];
  Weights();
};

/// A model on a device; null when that fails. `scratchUnits`: what its table says of scratch memory.
ModelPtr openOnDevice(TestModel model, uint64_t device = 0, uint32_t scratchUnits = 0);

} // namespace lathe::test

#endif // LATHE_TEST_CUDA_CUDAMODEL_H
