// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the emitters of all targets share: a kernel over tensors that is being turned into code over memory.

#ifndef LATHE_CODEGEN_ELEMENT_ELEMENTCONTEXT_H
#define LATHE_CODEGEN_ELEMENT_ELEMENTCONTEXT_H

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe::pack {
class DecodeOp;
} // namespace lathe::pack

namespace lathe::codegen {

/// What an emitter works on, on every target.
struct ElementContext {
  mlir::func::FuncOp kernel;
  /// Inserts before the function's `return`.
  mlir::OpBuilder &builder;
  nn::ShapeTracker &shapes;
  /// Whether what is left of a loop over vectors is done by one vector under a mask, not one by one.
  bool masksTails = false;
  /// Whether constants that are not splats lie in the module, not on the stack.
  bool constantsInModule = false;
  /// Whether this is code of a CUDA device: every input and output that has no pitch begins at a multiple of
  /// 16 bytes there, and pairs of f16 are multiplied, too.
  bool onDevice = false;
  /// Whether products of f32 may be computed in TF32, on a device.
  bool inTF32 = false;
};

/// Whether a packed input of a kernel lies in panels.
bool liesInPanels(mlir::func::FuncOp kernel, pack::DecodeOp decode);

/// Decodes the packed inputs of a kernel element by element, but those that the kernel reads as they are
/// stored.
void expandPackedInputs(mlir::func::FuncOp kernel, llvm::function_ref<bool(pack::DecodeOp)> readsStored);

/// Rounds to bf16 by bits, where no instruction does and the code generator would call a function.
void lowerRounding(mlir::func::FuncOp kernel);

/// Erases the tensor form of a kernel that is emitted: outputs first, then whatever no emitted op uses, back
/// to front.
void eraseTensorForm(mlir::func::FuncOp kernel);

/// Makes a copy of `kernel`, `@<name>.tasks`, of which `split` computes two index values from the sizes; only
/// the sizes stay as its arguments.
llvm::LogicalResult
emitTaskCount(mlir::func::FuncOp kernel,
              llvm::function_ref<llvm::FailureOr<std::array<mlir::Value, 2>>(ElementContext &)> split);

/// The kernel by its ops' reference lowering: linalg, bufferized onto the kernel's memory, as plain loops of
/// one thread.
llvm::LogicalResult emitReferenceLoops(ElementContext &context);

/// The one op that builds its own loops over memory: how many parts it has that may run side by side, and how
/// many elements its largest tensor has.
struct LoopParts {
  mlir::OpFoldResult count, elements;
};
llvm::FailureOr<LoopParts> countLoopParts(ElementContext &context);
/// Parts [begin, end) of it.
llvm::LogicalResult emitLoopParts(ElementContext &context, mlir::Value begin, mlir::Value end);

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_ELEMENTCONTEXT_H
