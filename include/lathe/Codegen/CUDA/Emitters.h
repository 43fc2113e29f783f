// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From a kernel over tensors to the code of one thread of a grid, one emitter per kind of root.
///
/// A kernel arrives as for processors (see CPU/Emitters.h). An emitter adds memref, scf, arith, math and nvvm
/// ops before the `return`: what one thread of a block of `getThreads()` threads does, of a grid along x
/// alone. EmitCUDAKernels then erases the tensor form, turns the arguments into addresses and sizes, and adds
/// the address of the fault.

#ifndef LATHE_CODEGEN_CUDA_EMITTERS_H
#define LATHE_CODEGEN_CUDA_EMITTERS_H

#include "lathe/Codegen/Element/ElementContext.h"

namespace lathe::cuda {

using namespace codegen;

/// Attributes of a device function: the threads of a block, the bytes of dynamic shared memory that one has,
/// and how many blocks are to find their registers on a processor, if that is given.
inline constexpr llvm::StringLiteral kThreadsAttr = "lathe.threads", kSharedBytesAttr = "lathe.shared_bytes",
                                     kBlocksAtOnceAttr = "lathe.blocks_at_once";
/// Attribute of the module: the bytes of scratch memory of which every device function gets the address.
inline constexpr llvm::StringLiteral kScratchBytesAttr = "lathe.scratch_bytes";
/// The name of the dynamic shared memory in a module of device code.
inline constexpr llvm::StringLiteral kSharedName = "lathe_shared";

/// Threads that run in step.
inline constexpr int64_t kWarp = 32;
/// The shared memory, in bytes, of which two blocks find room on every device, and that one block can have.
inline constexpr int64_t kSharedBytes = 48 << 10, kMostSharedBytes = 99 << 10;

/// What an emitter works on.
struct EmitContext : ElementContext {
  /// The number of the block, and of the thread in it (index values).
  mlir::Value block, thread;
  /// The block's shared memory, ptr<3>, and the same as memref<?xi8, 3>. How many bytes of it are taken.
  mlir::Value sharedStart, shared;
  int64_t sharedBytes = 0;
  /// The session's scratch memory, null while it is not asked for, and how many bytes of it are needed.
  mlir::Value scratch = {};
  int64_t scratchBytes = 0;

  /// `count` elements of shared memory that nobody else has, as memref<?xT, 3>; aligned to 16 bytes.
  mlir::Value allocateShared(mlir::Location loc, mlir::Type element, int64_t count);
  /// So many bytes of it, as ptr<3>; aligned to 16 bytes.
  mlir::Value allocateShared(int64_t bytes);
  /// The session's memory, of at least so many bytes, for what blocks of one launch tell each other. Launches
  /// follow each other, and each leaves what must be 0 at the beginning as it was.
  mlir::Value getScratch(int64_t bytes);

  /// Emits two ways to do the same, of which all threads of a grid go the first one where `condition` holds:
  /// both take the same shared memory.
  llvm::LogicalResult emitEither(mlir::Location loc, mlir::Value condition,
                                 llvm::function_ref<llvm::LogicalResult()> first,
                                 llvm::function_ref<llvm::LogicalResult()> second);
};

/// How a kernel is launched: the blocks of its grid, and the threads of each. How many blocks are to find
/// their registers on a processor; 0: as ptxas likes.
struct Launch {
  mlir::OpFoldResult blocks;
  int64_t threads;
  int64_t blocksAtOnce = 0;
};

/// What EmitCUDAKernels needs to know of one kind of root. `plan` may use only sizes, `emit` is called on the
/// kernel itself. Both emit a diagnostic when they fail.
struct Emitter {
  llvm::FailureOr<Launch> (*plan)(ElementContext &context);
  llvm::LogicalResult (*emit)(EmitContext &context);
};

/// The emitters, each in the file of its name.
/// A product, of a tile of the result by each block, through shared memory.
Emitter getMatMulEmitter();
/// Any other convolution: an element of the result by each thread.
Emitter getConvEmitter();
/// `nn.attention`, some queries of a head by each block, in one pass over the keys.
Emitter getAttentionEmitter();
/// Norms, softmax and reductions: a row by a warp or by a block.
Emitter getRowsEmitter();
/// Pointwise ops, views and gathers: an element by each thread.
Emitter getPointwiseEmitter();
/// One op of `LoopsOpInterface`: a part by each thread.
Emitter getLoopsEmitter();
/// Anything else, through linalg, by one thread.
Emitter getReferenceEmitter();

} // namespace lathe::cuda

#endif // LATHE_CODEGEN_CUDA_EMITTERS_H
