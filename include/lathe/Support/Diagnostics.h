// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From MLIR's locations and diagnostics back to the nodes of the model.

#ifndef LATHE_SUPPORT_DIAGNOSTICS_H
#define LATHE_SUPPORT_DIAGNOSTICS_H

#include "lathe/Support/Error.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"

namespace lathe {

/// A node of the model, as the importer left it in a fused location's metadata: a dictionary with the entries
/// node, op, domain (strings), opset, index (integers) and graph (a string or an array of them).
struct NodeOrigin {
  std::string name, opType, domain;
  std::optional<int64_t> opset, index;
  std::vector<std::string> graphPath;
};

/// All nodes that `loc` goes back to, each once, in the order in which they are found: metadata and names,
/// callees before callers.
std::vector<NodeOrigin> originsOf(mlir::Location loc);

/// Fills the place of `error` from `loc`, as far as it is empty: the first node, or file, line and column.
void setPlace(ModelError &error, mlir::Location loc);

/// While it lives, collects the diagnostics of a context as structured errors.
///
/// An error may begin with its code, "[E0304] strides[0] is 0"; without one it gets the collector's own.
/// Notes that begin with "have: ", "help: " or "attribute: " fill these fields, others are kept as notes.
/// Warnings and remarks are passed to the handlers registered before.
class DiagnosticCollector {
public:
  /// `file` is the model, for errors whose location does not name one; `defaultCode` is for errors that bring
  /// none.
  DiagnosticCollector(mlir::MLIRContext *context, llvm::StringRef file,
                      ErrorCode defaultCode = ErrorCode::E0901);
  ~DiagnosticCollector();
  DiagnosticCollector(const DiagnosticCollector &) = delete;
  DiagnosticCollector &operator=(const DiagnosticCollector &) = delete;

  bool hasErrors() const { return !errors.empty(); }

  /// The first error and all others of the same code: what comes later with another code is most often a
  /// consequence. Success if there was none.
  llvm::Error takeError();

  /// The same for a step that said it failed: never success. `step` is what failed, for an error without
  /// words.
  llvm::Error takeFailure(const llvm::Twine &step);

private:
  mlir::LogicalResult handle(mlir::Diagnostic &diagnostic);

  mlir::MLIRContext *context;
  mlir::DiagnosticEngine::HandlerID handlerId;
  std::string file;
  ErrorCode defaultCode;
  std::vector<ModelError> errors;
};

} // namespace lathe

#endif // LATHE_SUPPORT_DIAGNOSTICS_H
