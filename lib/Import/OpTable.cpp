// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "OpTable.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include <tuple>

using namespace lathe;

#define LATHE_IR_VERSION(version)
#define LATHE_DOMAIN(domain, version)
#define LATHE_OPERATOR(domain, name, since, minIn, maxIn, minOut, maxOut, deprecated, attributes)            \
  {domain, name, since, minIn, maxIn, minOut, maxOut, deprecated != 0, attributes},
static constexpr OperatorInfo operators[] = {
#include "OpTable.inc"
};

llvm::ArrayRef<OperatorInfo> lathe::allOperators() { return operators; }

llvm::ArrayRef<OperatorInfo> lathe::operatorVersions(llvm::StringRef domain, llvm::StringRef name) {
  auto key = [](const OperatorInfo &info) {
    return std::tuple<llvm::StringRef, llvm::StringRef>(info.domain, info.name);
  };
  std::tuple<llvm::StringRef, llvm::StringRef> wanted(canonicalDomain(domain), name);
  auto *first =
      llvm::partition_point(operators, [&](const OperatorInfo &info) { return key(info) < wanted; });
  auto *last = first;
  while (last != std::end(operators) && key(*last) == wanted) {
    ++last;
  }
  return {first, last};
}

std::optional<int64_t> lathe::newestOpset(llvm::StringRef domain) {
  domain = canonicalDomain(domain);
#define LATHE_IR_VERSION(version)
#define LATHE_DOMAIN(known, version)                                                                         \
  if (domain == known) {                                                                                     \
    return version;                                                                                          \
  }
#define LATHE_OPERATOR(domain, name, since, minIn, maxIn, minOut, maxOut, deprecated, attributes)
#include "OpTable.inc"
  return std::nullopt;
}

int64_t lathe::newestIrVersion() {
#define LATHE_IR_VERSION(version) return version;
#define LATHE_DOMAIN(known, version)
#define LATHE_OPERATOR(domain, name, since, minIn, maxIn, minOut, maxOut, deprecated, attributes)
#include "OpTable.inc"
}

std::optional<OperatorInfo::Attribute> OperatorInfo::attribute(llvm::StringRef wanted) const {
  llvm::StringRef rest = attributes;
  while (!rest.empty()) {
    auto [entry, after] = rest.split(',');
    auto [name, type] = entry.split(':');
    if (name == wanted) {
      return Attribute{type.front(), type.ends_with("!")};
    }
    rest = after;
  }
  return std::nullopt;
}

llvm::SmallVector<llvm::StringRef> OperatorInfo::requiredAttributes() const {
  llvm::SmallVector<llvm::StringRef> names;
  llvm::StringRef rest = attributes;
  while (!rest.empty()) {
    auto [entry, after] = rest.split(',');
    if (entry.ends_with("!")) {
      names.push_back(entry.split(':').first);
    }
    rest = after;
  }
  return names;
}
