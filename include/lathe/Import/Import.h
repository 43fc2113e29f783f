// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From an ONNX file to the onnx dialect.

#ifndef LATHE_IMPORT_IMPORT_H
#define LATHE_IMPORT_IMPORT_H

#include "lathe/Import/ModelFile.h"
#include "lathe/Import/Wire.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

namespace lathe {

struct ImportOptions {
  FileOptions files;
  ModelLimits limits;
  /// Tensors up to this size become constants, larger ones weights.
  uint64_t maxConstantBytes = 1024;
  /// Whether the module gets a fingerprint, for which every weight is read once (about 0.2 s a GiB).
  bool fingerprint = true;
};

/// Reads the model at `path`: a module of the onnx dialect (see OnnxOps.td).
///
/// No weight is copied: `keepAlive` gets the mapped files and must live as long as the module and all that
/// was made of its weights. Every error is a ModelError. Of unknown operators and undefined names all are
/// reported at once.
///
/// The fingerprint is xxh3 over the model's structure (without documentation) and over the bytes of every
/// tensor, in the order in which they are imported: it changes with any weight.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> importOnnx(mlir::MLIRContext &context, llvm::StringRef path,
                                                             const ImportOptions &options,
                                                             std::unique_ptr<ModelFile> &keepAlive);

/// The same for a model in memory, whose identifier is its name in messages. External data is looked for in
/// `options.files.baseDirectory`.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> importOnnx(mlir::MLIRContext &context,
                                                             std::unique_ptr<llvm::MemoryBuffer> buffer,
                                                             const ImportOptions &options,
                                                             std::unique_ptr<ModelFile> &keepAlive);

} // namespace lathe

#endif // LATHE_IMPORT_IMPORT_H
