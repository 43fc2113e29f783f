// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a block of pixels of a convolution reads: the input where it lies, or a copy with a border.

#ifndef LATHE_LIB_CODEGEN_CPU_CONVSOURCE_H
#define LATHE_LIB_CODEGEN_CPU_CONVSOURCE_H

#include "ConvGrid.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/ElementEmitter.h"

namespace lathe::cpu {

/// Where the windows of a block lie: element (plane, row, column) of the first pixel's window at
/// `offset + plane * strides[0] + row * strides[1] + column * strides[2]` of `base`, then the channels.
struct WindowRef {
  mlir::Value base;
  mlir::OpFoldResult offset;
  std::array<mlir::OpFoldResult, 3> strides;
};

/// The input of a convolution, as blocks read it.
class ConvSource {
public:
  ConvSource(EmitContext &context, ConvProblem &problem, const ConvGrid &grid);

  /// Sets what lies outside of the input, an element; by default it is 0.
  void setBorder(mlir::Value element) { border = element; }

  /// The input of a task's block. It is copied if it sticks out of the tensor, or if no memory holds it as
  /// rows of channels; not again if `copied` is the number of the block, the one that was copied last.
  llvm::FailureOr<WindowRef> get(const ConvGrid::Task &task, mlir::Value &copied);

private:
  IndexMath math() { return {builder, loc}; }
  /// Positions of the block's first window in the input, which may be negative, and what all its windows
  /// span.
  struct Span {
    std::array<mlir::OpFoldResult, 3> first, sizes;
  };
  Span getSpan(const ConvGrid::Block &block);
  /// Whether a span lies within the input (null: evidently).
  mlir::Value isInside(const Span &span);
  llvm::LogicalResult copy(const ConvGrid::Block &block, const Span &span);
  /// Fills a row of the patch, whose elements are columns [0, size) and all channels, from `place` on.
  llvm::LogicalResult copyRow(const ConvGrid::Block &block, const Span &span,
                              llvm::ArrayRef<mlir::OpFoldResult> position, mlir::Value isRowInside,
                              mlir::OpFoldResult place);
  /// Copies pixels [begin, end) of a row, those that make whole vectors, from planes; returns the first one
  /// that is left. `source` is where pixel 0 lies in the first plane.
  mlir::OpFoldResult copyPlanes(mlir::OpFoldResult source, mlir::OpFoldResult begin, mlir::OpFoldResult end,
                                mlir::OpFoldResult place);
  llvm::LogicalResult fillBorder(mlir::OpFoldResult begin, mlir::OpFoldResult end);

  EmitContext &context;
  mlir::OpBuilder &builder;
  mlir::Location loc;
  ConvProblem &problem;
  ElementEmitter elements;
  /// The input's memory and its strides along the spatial dimensions, if there is such: rows of channels, or
  /// planes, one for each of a few channels.
  std::optional<StridedView> view, planes;
  std::array<mlir::OpFoldResult, 3> viewStrides;
  mlir::Value patch, border;
  mlir::Type elementType;
  /// The channels of a pixel, and those that it takes in the copy: what they differ by is undefined.
  int64_t channels, storedChannels;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_CONVSOURCE_H
