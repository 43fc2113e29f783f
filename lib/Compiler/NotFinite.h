// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_LIB_COMPILER_NOTFINITE_H
#define LATHE_LIB_COMPILER_NOTFINITE_H

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Compiler/Report.h"
#include "mlir/IR/BuiltinOps.h"
#include <string>
#include <vector>

namespace lathe {

/// The constants of a model that hold NaN or infinities: most often a training that failed.
class NotFiniteConstants {
public:
  /// Small tensors, which are part of the IR. Infinite scalars are passed over: they fill masks.
  void addConstants(mlir::ModuleOp module);
  /// A weight; what the concatenation or transposition of weights holds is counted there.
  void addWeight(nn::WeightOp weight, codegen::ElementCount count);
  /// One warning and one clause of the digest, or nothing.
  void writeTo(Report &report) const;

private:
  struct Entry {
    std::string name;
    codegen::ElementCount count;
    int64_t elements;
  };
  std::vector<Entry> entries;
};

} // namespace lathe

#endif // LATHE_LIB_COMPILER_NOTFINITE_H
