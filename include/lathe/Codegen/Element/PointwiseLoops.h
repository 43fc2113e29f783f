// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Helpers shared by the emitters of loops around `ElementEmitter`.

#ifndef LATHE_CODEGEN_ELEMENT_POINTWISELOOPS_H
#define LATHE_CODEGEN_ELEMENT_POINTWISELOOPS_H

#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/IndexMath.h"

namespace lathe::codegen {

/// Tensors of one shape, their pointwise ops rewritten over as few dimensions as all leaves allow.
struct CollapsedTensors {
  llvm::SmallVector<mlir::Value> values;
  llvm::SmallVector<mlir::OpFoldResult> dims;
  /// The ranges [first, second) of the old dimensions that became one.
  llvm::SmallVector<std::pair<int64_t, int64_t>> groups;
};

/// Merges neighbouring dimensions of `tensors`, all of sizes `dims`, wherever every leaf of their pointwise
/// ops is dense or broadcast over both. `tensors` may not depend on roots. Dimensions among `barriers` stay
/// apart from those before them.
llvm::FailureOr<CollapsedTensors> collapseDims(ElementContext &context, llvm::ArrayRef<mlir::Value> tensors,
                                               llvm::ArrayRef<mlir::OpFoldResult> dims,
                                               llvm::ArrayRef<int64_t> barriers = {});

/// What computing one element of some tensors costs, for choosing vector lengths and grains.
struct ElementCost {
  int64_t widestBits = 32;  ///< Of all element types on the way, as they are in registers.
  int64_t ops = 0;          ///< Pointwise ops.
  double nanoseconds = 0.0; ///< A guess.
};
/// The cost of `tensors`; `stops` are taken as known.
ElementCost getElementCost(llvm::ArrayRef<mlir::Value> tensors, llvm::ArrayRef<mlir::Value> stops = {});

/// What one iteration of a tiled loop works on: the positions of its tiles' first elements, their length (0:
/// scalars) and the mask, if any; and the values that go from iteration to iteration, to be replaced.
struct LoopStep {
  llvm::ArrayRef<mlir::Value> positions;
  int64_t lanes;
  mlir::Value mask;
  llvm::MutableArrayRef<mlir::Value> carried;
};

/// Emits loops over [from, to) in tiles: vectors of `lanes`, `unroll` at a time, and what is left with masks
/// or one by one; plain loops if `lanes` is 0. `body` finds the builder within a loop. `carried` holds the
/// values before and, on return, those after the loops.
mlir::LogicalResult emitTiledLoop(ElementContext &context, mlir::Location loc, mlir::OpFoldResult from,
                                  mlir::OpFoldResult to, int64_t lanes, int64_t unroll,
                                  llvm::SmallVectorImpl<mlir::Value> &carried,
                                  llvm::function_ref<mlir::LogicalResult(LoopStep &)> body);

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_POINTWISELOOPS_H
