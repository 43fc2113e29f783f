// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// A compiled model with inputs, ready to run: what run, bench and profile share.

#ifndef LATHE_TOOLS_LATHE_SESSION_H
#define LATHE_TOOLS_LATHE_SESSION_H

#include "Arguments.h"
#include "lathe.h"
#include "lathe/Compiler/Compile.h"
#include "lathe/Npz/Npz.h"
#include "llvm/ADT/APFloat.h"
#include <map>

namespace lathe {

struct SessionOptions {
  std::string model;
  /// An archive of inputs, single ones, or none and random values.
  std::string inputs;
  std::vector<std::pair<std::string, std::string>> inputFiles;
  bool random = false;
  uint64_t seed = 0;
  /// For random inputs.
  std::vector<ShapeOption> shapes;
  unsigned threads = 0;
  unsigned profileRecords = 0;
  /// Which device to run on, if it has to be one.
  std::optional<unsigned> device;
  /// Full, lazy or off.
  lathe_weight_check check = LATHE_CHECK_FULL;
};

void addSessionOptions(Arguments &arguments, SessionOptions &options);

/// The runtime's last error as one of ours.
llvm::Error runtimeError(llvm::StringRef path);

/// The format of a float type that C++ has no type for, or null.
const llvm::fltSemantics *semanticsOf(uint32_t dtype);

/// "f32 [batch, 128]".
std::string describe(const lathe_model_t *model, const lathe_value &value);
std::string describe(uint32_t dtype, llvm::ArrayRef<int64_t> dims);

/// A name on the command line: "NAME=FILE".
llvm::Error splitNamedFile(llvm::StringRef option, llvm::StringRef text,
                           std::vector<std::pair<std::string, std::string>> &to);

class Session {
public:
  static llvm::Expected<std::unique_ptr<Session>> open(const SessionOptions &options);
  ~Session();

  llvm::Error run();
  lathe_model_t *model() const { return modelHandle; }
  lathe_session_t *handle() const { return session; }
  const lathe_model_info &info() const { return modelInfo; }
  llvm::ArrayRef<Array> inputs() const { return arrays; }
  /// After a run; the view is good until the next.
  llvm::Expected<ArrayView> output(size_t index) const;

private:
  Session() = default;
  llvm::Error readInputs(const SessionOptions &options);
  llvm::Error makeRandomInputs(const SessionOptions &options);
  llvm::Expected<std::map<std::string, int64_t>> chooseSymbols(const SessionOptions &options);
  llvm::Error bind();

  std::string path;
  lathe_model_t *modelHandle = nullptr;
  lathe_session_t *session = nullptr;
  lathe_model_info modelInfo = {};
  std::vector<Array> arrays;
};

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_SESSION_H
