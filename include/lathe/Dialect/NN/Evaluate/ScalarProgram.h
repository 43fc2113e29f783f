// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Pointwise functions, interpreted.

#ifndef LATHE_DIALECT_NN_EVALUATE_SCALARPROGRAM_H
#define LATHE_DIALECT_NN_EVALUATE_SCALARPROGRAM_H

#include "lathe/Dialect/NN/IR/NN.h"

#include <functional>
#include <memory>
#include <vector>

namespace lathe::nn {

/// The function of a pointwise op, run on arrays of elements. It interprets the very IR that kernels are made
/// of, so its results are those of a kernel to the last bit, on any processor.
class ScalarProgram {
public:
  /// The most elements of one run.
  static constexpr int64_t kChunk = 1024;

  /// Null if an op or a type of the function has no interpretation here.
  static std::unique_ptr<ScalarProgram> build(PointwiseOpInterface op);

  /// Computes `count` elements, at most kChunk. Each operand, and the result, lies row after row in memory, a
  /// bool in a byte.
  void run(llvm::ArrayRef<const char *> operands, char *result, int64_t count);

private:
  ScalarProgram() = default;
  friend class ScalarProgramBuilder;

  using Step = std::function<void(int64_t count)>;

  std::vector<std::unique_ptr<char[]>> registers;
  /// The first steps read operands, the last one writes the result.
  std::vector<std::function<void(const char *, int64_t)>> loads;
  std::vector<Step> steps;
  std::function<void(char *, int64_t)> store;
};

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_EVALUATE_SCALARPROGRAM_H
