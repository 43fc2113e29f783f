// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What LLVM's JSON values do not tell: where they stood, and whether a key stood there twice.

#ifndef LATHE_LIB_PLAN_JSONPOSITIONS_H
#define LATHE_LIB_PLAN_JSONPOSITIONS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// The places of all values in a JSON text, as far as it is well-formed.
class JsonPositions {
public:
  /// Deeper texts are given up: the parser of LLVM calls itself for every level.
  static constexpr size_t maxDepth = 64;

  explicit JsonPositions(llvm::StringRef text);

  /// "line:column" of the value behind these keys and numbers of elements; empty if there is none.
  std::string of(llvm::ArrayRef<llvm::StringRef> path) const;

  bool isTooDeep() const { return tooDeep; }

  /// The first key that an object has twice, and where it stands again.
  struct Repeated {
    std::string key, position;
  };
  const std::optional<Repeated> &repeated() const { return twice; }

private:
  struct Container {
    bool isObject;
    std::string path;
    size_t next = 0;      // of an array: the number of the next element
    std::string key = {}; // of an object: the last one
    bool expectsKey = true;
  };

  std::string positionOf(size_t offset) const;
  /// The path of the value that begins here.
  std::string nextPath() const;
  void addString(size_t begin, size_t end);

  llvm::StringRef text;
  std::vector<Container> stack;
  llvm::StringMap<size_t> offsets;
  bool tooDeep = false;
  std::optional<Repeated> twice;
};

} // namespace lathe

#endif // LATHE_LIB_PLAN_JSONPOSITIONS_H
