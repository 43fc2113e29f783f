// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products whose right-hand side is stored in blocks.

#ifndef LATHE_LIB_CODEGEN_CPU_BLOCKMATMUL_H
#define LATHE_LIB_CODEGEN_CPU_BLOCKMATMUL_H

#include "MatMulGrid.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

namespace lathe::cpu {

/// A matrix in blocks, in a kernel's memory.
struct BlockMatrix {
  pack::BlockLayout layout;
  /// All of it.
  mlir::Value bytes;
  /// i32, i16, the matrix' elements, and i32 (null of floats); see pack::BlocksAttr.
  mlir::Value starts, places, values, sums;

  /// The blocks that `rhs` is decoded from, if it is and a product reads them.
  static std::optional<BlockMatrix> find(EmitContext &context, mlir::Value rhs);
};

/// Whether the kernel of `decode` is a product that reads its blocks.
bool readsBlocks(mlir::func::FuncOp kernel, pack::DecodeOp decode);

/// The emitter of products of floats with blocks of one row; see getMatMulEmitter.
llvm::FailureOr<TaskSplit> splitBlockMatMul(EmitContext &context, MatMulProblem &problem,
                                            const BlockMatrix &matrix);
llvm::LogicalResult emitBlockMatMul(EmitContext &context, MatMulProblem &problem, const BlockMatrix &matrix);

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_BLOCKMATMUL_H
