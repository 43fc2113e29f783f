// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The windows of a convolution as the rows of a matrix that is nowhere in memory.

#ifndef LATHE_LIB_CODEGEN_CUDA_WINDOWS_H
#define LATHE_LIB_CODEGEN_CUDA_WINDOWS_H

#include "StagedTile.h"
#include "lathe/Codegen/Element/MatMulProblem.h"

namespace lathe::cuda {

/// Of a convolution of one group, channels last: element (row, place) of the matrix is that of the input
/// which element `place` of the window at position `row` of the result is on, or 0 on a border.
class Windows {
public:
  Windows(EmitContext &context, const MatMulProblem &problem, ElementEmitter &elements);

  /// Copied by chunks, if all channels of a place divide into such.
  TileSource getSource(MatrixFormat format);

private:
  /// Of each spatial dimension, where the window of a row begins, which may be before the input.
  struct Row {
    mlir::OpFoldResult image;
    llvm::SmallVector<mlir::OpFoldResult> starts;
  };
  Row findRow(mlir::Value line);
  /// Of each spatial dimension, the place in the input that an element of a row's window is on; its channel,
  /// and whether the input has it.
  struct Element {
    llvm::SmallVector<mlir::OpFoldResult> at;
    mlir::OpFoldResult channel;
    mlir::Value exists;
  };
  Element findElement(const Row &row, mlir::Value place);
  IndexMath math() { return {context.builder, loc}; }

  EmitContext &context;
  const MatMulProblem &problem;
  ElementEmitter &elements;
  mlir::Location loc;
  llvm::SmallVector<mlir::OpFoldResult> dims;
  llvm::SmallVector<int64_t> window, strides, dilations, before;
};

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_WINDOWS_H
