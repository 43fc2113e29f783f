// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Every operator and version that the standard and ONNX Runtime define.

#ifndef LATHE_LIB_IMPORT_OPTABLE_H
#define LATHE_LIB_IMPORT_OPTABLE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <optional>

namespace lathe {

/// An operator of one version. The fields are explained in OpTable.inc.
struct OperatorInfo {
  llvm::StringLiteral domain, name;
  int since, minInputs, maxInputs, minOutputs, maxOutputs;
  bool deprecated;
  llvm::StringLiteral attributes;

  struct Attribute {
    char type;
    bool required;
  };
  std::optional<Attribute> attribute(llvm::StringRef name) const;
  /// The names of the required attributes.
  llvm::SmallVector<llvm::StringRef> requiredAttributes() const;
};

/// "" for the default domain, however it is written.
inline llvm::StringRef canonicalDomain(llvm::StringRef domain) { return domain == "ai.onnx" ? "" : domain; }

/// All versions of an operator, oldest first; empty if it is unknown.
llvm::ArrayRef<OperatorInfo> operatorVersions(llvm::StringRef domain, llvm::StringRef name);

/// All versions of all operators.
llvm::ArrayRef<OperatorInfo> allOperators();

/// The newest version of a domain's operator set, if the domain is known.
std::optional<int64_t> newestOpset(llvm::StringRef domain);

int64_t newestIrVersion();

} // namespace lathe

#endif // LATHE_LIB_IMPORT_OPTABLE_H
