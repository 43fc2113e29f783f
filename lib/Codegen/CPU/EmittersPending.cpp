// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Emitters that are still to be written; delete each as it lands.

#include "lathe/Codegen/CPU/Emitters.h"

using namespace lathe::cpu;

static llvm::FailureOr<TaskSplit> noSplit(EmitContext &context) {
  return context.kernel.emitError("has no emitter yet");
}
static llvm::LogicalResult noEmit(EmitContext &context) { return context.kernel.emitError("has no emitter yet"); }

Emitter lathe::cpu::getReferenceEmitter() { return {noSplit, noEmit}; }
