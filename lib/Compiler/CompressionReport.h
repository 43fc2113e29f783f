// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a plan asked for, and what came of it.

#ifndef LATHE_LIB_COMPILER_COMPRESSIONREPORT_H
#define LATHE_LIB_COMPILER_COMPRESSIONREPORT_H

#include "lathe/Compiler/Report.h"
#include "lathe/Dialect/Pack/Transforms/ApplyPlan.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"

namespace lathe {

class CompressionReport {
public:
  /// Notes what the ops of a module ask for, as pack-apply-plan has left it, and what it has refused.
  CompressionReport(mlir::ModuleOp module, llvm::ArrayRef<pack::RefusedRequest> refused);

  /// Notes what ops still ask for when all passes have run that could do it.
  void noteLeft(mlir::ModuleOp module);

  /// Compares with the weights that the finished module stores, and with the remarks of the report, and adds
  /// entries and clauses of the digest to it. `latencies` is the table that decided what pays, if any.
  void finish(mlir::ModuleOp module, llvm::StringRef latencies, Report &report) const;

private:
  struct Asked {
    CompressionEntry entry;
    /// The weights of the file, by their symbols.
    llvm::SmallVector<std::string> sources;
    /// Of the op, as in Remark; null where it asks for nothing.
    const void *place = nullptr;
    /// Why nothing comes of it, if that is known.
    std::string reason = {};
    /// It asks for zeros, not for a format.
    bool isSparsity = false;
  };
  void addRequests(mlir::ModuleOp module);
  void addSparsities(mlir::ModuleOp module);
  void addLayers(mlir::ModuleOp module);

  std::vector<Asked> asked;
  size_t layerCount = 0;
};

} // namespace lathe

#endif // LATHE_LIB_COMPILER_COMPRESSIONREPORT_H
