// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a model may hold.

#ifndef LATHE_IMPORT_LIMITS_H
#define LATHE_IMPORT_LIMITS_H

#include "lathe/Support/Error.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace lathe {

/// Enforced before memory is taken for what exceeds them: two bytes of a file can cost 200 bytes of memory.
struct ModelLimits {
  /// Of the model, and of each file of external data. They are mapped, not read.
  uint64_t fileBytes = uint64_t(64) << 30;
  /// Without the data of tensors and without documentation.
  uint64_t structureBytes = 64u << 20;
  /// Messages and strings.
  uint64_t messages = 4u << 20;
  /// Messages inside each other (400 are about 130 subgraphs), and graphs and functions once all are inlined.
  uint64_t depth = 400;
  /// With those of subgraphs and functions, and again once functions are inlined.
  uint64_t nodes = 200'000;
  /// Those among them that come of inlined functions.
  uint64_t inlinedNodes = 200'000;
  uint64_t rank = 64;
  /// Of one tensor, declared or held.
  uint64_t elements = uint64_t(1) << 40;
  /// Of one sparse tensor made dense.
  uint64_t denseBytes = 256u << 20;
};

/// A limit as the command line and the documentation know it.
struct LimitInfo {
  /// With its dashes.
  llvm::StringLiteral option;
  uint64_t ModelLimits::*field;
  /// What the option may set. The importer and MLIR recurse over what is nested.
  uint64_t most;
  llvm::StringLiteral help;
};

/// All of them, in the order of the struct.
llvm::ArrayRef<LimitInfo> allLimits();

/// An error that says which option raises `limit`.
ErrorBuilder limitError(ErrorCode code, const llvm::Twine &message, uint64_t ModelLimits::*limit);

} // namespace lathe

#endif // LATHE_IMPORT_LIMITS_H
