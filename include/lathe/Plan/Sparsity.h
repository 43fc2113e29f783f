// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// How plans and options write which elements of a weight are to become zero: `block:75%`,
/// `unstructured:90%`, `2:4`.

#ifndef LATHE_PLAN_SPARSITY_H
#define LATHE_PLAN_SPARSITY_H

#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <optional>
#include <string>

namespace lathe {

struct PlanSparsity {
  enum class Pattern { Unstructured, Block, TwoOfFour };
  Pattern pattern;
  /// Of a thousand elements.
  int64_t zeros;

  /// Nothing, and `why` filled, if the text says none.
  static std::optional<PlanSparsity> parse(llvm::StringRef text, std::string &why);
  std::string str() const;
};

} // namespace lathe

#endif // LATHE_PLAN_SPARSITY_H
