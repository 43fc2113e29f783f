// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Plan/Sparsity.h"

#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace lathe;

std::optional<PlanSparsity> PlanSparsity::parse(StringRef text, std::string &why) {
  if (text == "2:4") {
    return PlanSparsity{Pattern::TwoOfFour, 500};
  }
  auto [name, share] = text.split(':');
  if (name != "block" && name != "unstructured") {
    why = "expects block:75%, unstructured:90% or 2:4";
    return std::nullopt;
  }
  // Up to one digit behind the point.
  StringRef digits = share;
  bool hasUnit = digits.consume_back("%");
  auto [whole, tenth] = digits.split('.');
  int64_t zeros = 0;
  std::string all = (whole + (digits.contains('.') ? tenth : "0")).str();
  bool isNumber = hasUnit && all.size() == whole.size() + 1 && whole.size() <= 2 &&
                  llvm::all_of(all, isDigit) && !whole.empty() && to_integer(all, zeros, 10);
  if (!isNumber || zeros < 1) {
    why = "expects a share above 0% and below 100% with at most one digit behind the point, as 75% or 87.5%";
    return std::nullopt;
  }
  return PlanSparsity{name == "block" ? Pattern::Block : Pattern::Unstructured, zeros};
}

std::string PlanSparsity::str() const {
  if (pattern == Pattern::TwoOfFour) {
    return "2:4";
  }
  std::string share = std::to_string(zeros / 10) + (zeros % 10 ? "." + std::to_string(zeros % 10) : "") + "%";
  return (pattern == Pattern::Block ? "block:" : "unstructured:") + share;
}
