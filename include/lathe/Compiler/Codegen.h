// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From the LLVM dialect to an object file, in memory.

#ifndef LATHE_COMPILER_CODEGEN_H
#define LATHE_COMPILER_CODEGEN_H

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <string>
#include <vector>

namespace llvm {
class Module;
} // namespace llvm

namespace lathe {

struct CodegenOptions {
  /// For functions that carry no target attributes of their own.
  cpu::TargetSpec base;
  /// 0: the little that makes code readable, 2: everything.
  unsigned optLevel = 2;
  /// The symbols that stay visible: the model's table. All others become internal, so that several models can
  /// be linked into one program, and vanish where they are not used.
  std::vector<std::string> exported;
  /// Adds what has no form in the LLVM dialect (the model's table), before anything is optimized.
  std::function<void(llvm::Module &)> extend;
};

/// Makes `function` code for `target`, whatever the other functions of the module are for: several variants
/// stand in one module.
void setTargetAttributes(mlir::LLVM::LLVMFuncOp function, const cpu::TargetSpec &target);

/// Translates, optimizes and emits. The code is position-independent and calls nothing but memcpy, memmove
/// and memset (checkUndefinedSymbols() makes sure); equal modules give equal bytes. `ir`, if not null,
/// receives the optimized IR. What the translation refuses is also emitted as a diagnostic of the module's
/// context.
llvm::Expected<llvm::SmallVector<char, 0>> emitObject(mlir::ModuleOp module, const CodegenOptions &options,
                                                      std::string *ir = nullptr);

/// The same from LLVM IR, which is changed on the way.
llvm::Expected<llvm::SmallVector<char, 0>> emitObject(llvm::Module &module, const CodegenOptions &options,
                                                      std::string *ir = nullptr);

} // namespace lathe

#endif // LATHE_COMPILER_CODEGEN_H
