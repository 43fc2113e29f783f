// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The loops of kernels without a root.

#ifndef LATHE_CODEGEN_ELEMENT_NESTS_H
#define LATHE_CODEGEN_ELEMENT_NESTS_H

#include "lathe/Codegen/Element/PointwiseLoops.h"

#include <optional>

namespace lathe::codegen {

/// The loops over some outputs of one shape, over as few dimensions as all that they read allows.
struct Nest {
  llvm::SmallVector<kernel::OutputOp> outputs;
  llvm::SmallVector<mlir::Value> values;
  llvm::SmallVector<mlir::OpFoldResult> dims;
  llvm::SmallVector<std::pair<int64_t, int64_t>> groups;
  /// A piece of a concatenation, which is its only output: the dimension, and where in it the piece lies.
  std::optional<int64_t> axis;
  mlir::OpFoldResult begin, length;
};
using Nests = llvm::SmallVector<Nest, 0>;

/// The loop nests of a kernel, in the order of their first outputs; a diagnostic if there is none.
llvm::FailureOr<Nests> collectNests(ElementContext &context);

/// The memory that a nest writes for one of its outputs, in the nest's dimensions.
StridedView getNestView(ElementContext &context, const Nest &nest, kernel::OutputOp output);

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_NESTS_H
