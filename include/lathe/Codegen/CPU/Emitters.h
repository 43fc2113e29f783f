// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From a kernel over tensors to loops over memory, one emitter per kind of root.
///
/// A kernel arrives as a function over bytes (see OutlineKernels): `kernel.input`s, nn ops on tensors,
/// `kernel.output`s, then `return`. An emitter adds memref, vector, scf, arith and math ops before the
/// `return`; EmitKernels then erases the tensor form. Emitted code handles iterations [begin, end) of the
/// kernel's tasks, keeps no state between calls, allocates nothing but small `memref.alloca`s at the top of
/// the function, and may run in several workers at once on disjoint iterations.

#ifndef LATHE_CODEGEN_CPU_EMITTERS_H
#define LATHE_CODEGEN_CPU_EMITTERS_H

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Codegen/Element/ElementContext.h"

namespace lathe::cpu {

using namespace codegen;

/// What an emitter works on.
struct EmitContext : ElementContext {
  const TargetSpec &target;
  /// Iterations to do, and the number of the worker that does them (index values). Null while only counting.
  mlir::Value begin, end, worker;
};

/// How many independent tasks a kernel has, and how many at least one worker should take at a time so that
/// handing them over pays (index values). The grain aims at some 10 microseconds of work.
struct TaskSplit {
  mlir::Value count, grain;
};

/// Work that a task handed to a thread should have at least.
inline constexpr double kGrainNanoseconds = 10000.0;

/// Everything EmitKernels needs to know of one kind of root. `split` is called on a copy of the kernel and
/// may use only sizes; `emit` on the kernel itself. Both emit a diagnostic when they fail.
struct Emitter {
  llvm::FailureOr<TaskSplit> (*split)(EmitContext &context);
  llvm::LogicalResult (*emit)(EmitContext &context);
};

/// The emitters, each in the file of its name.
/// A matrix product, or a convolution that is one, with views before and pointwise ops after it.
Emitter getMatMulEmitter();
/// Any other convolution, with views before and pointwise ops after it.
Emitter getConvEmitter();
/// `nn.attention`, with what computes its mask.
Emitter getAttentionEmitter();
/// Norms, softmax and reductions over trailing dimensions, with pointwise ops around them.
Emitter getRowsEmitter();
/// Pointwise ops, views and gathers.
Emitter getPointwiseEmitter();
/// One op of `LoopsOpInterface`.
Emitter getLoopsEmitter();
/// Anything else, through linalg.
Emitter getReferenceEmitter();

} // namespace lathe::cpu

#endif // LATHE_CODEGEN_CPU_EMITTERS_H
