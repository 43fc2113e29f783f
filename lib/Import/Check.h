// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Checks of a model's versions, and of one node by itself against the definition of its operator.

#ifndef LATHE_LIB_IMPORT_CHECK_H
#define LATHE_LIB_IMPORT_CHECK_H

#include "Place.h"
#include "llvm/ADT/StringMap.h"

namespace lathe {

/// The versions of operator sets that a model or a function imports.
class OpsetScope {
public:
  explicit OpsetScope(const pb::ModelProto &model);
  /// A function uses its own, and the model's where it names none.
  OpsetScope(const pb::FunctionProto &function, const OpsetScope &model);

  std::optional<int64_t> version(llvm::StringRef domain) const;
  /// E0104 where a version of a known domain is out of range.
  llvm::Error check() const;

private:
  template <typename Imports>
  void add(const Imports &imports);

  llvm::StringMap<int64_t> versions;
};

/// E0104 for an IR version that is not known.
llvm::Error checkIrVersion(const pb::ModelProto &model);

/// The kind of an attribute: its declared type, or by what it holds where old files declare none. E0303 where
/// the two contradict each other.
llvm::Expected<pb::AttributeProto::AttributeType> attributeKind(const pb::AttributeProto &attribute);

/// Checks nodes one by one. Unknown operators are collected, for one message.
class NodeChecker {
public:
  explicit NodeChecker(const pb::ModelProto &model) : opsets(model) {}

  const OpsetScope &modelOpsets() const { return opsets; }

  /// Checks one node, in `function` or in the model's graph (null). `called` is the local function that it
  /// calls.
  llvm::Error check(const pb::NodeProto &node, const Place &place, const OpsetScope &scope,
                    const pb::FunctionProto *function, const pb::FunctionProto *called);

  /// E0302 if there were unknown operators, else the first error in the nodes' attributes, inputs and
  /// outputs.
  llvm::Error finish();

private:
  struct Unknown {
    ModelError first;
    uint64_t count = 0;
    std::vector<std::string> names;
  };
  llvm::Error checkAttributes(const pb::NodeProto &node, const pb::FunctionProto *function);
  llvm::Error checkDefinition(const pb::NodeProto &node, int64_t version, const struct OperatorInfo &info);
  void noteUnknown(const pb::NodeProto &node, const Place &place, const std::string &why);

  OpsetScope opsets;
  /// In the order in which they are found.
  std::vector<std::pair<std::string, Unknown>> unknown;
  llvm::StringMap<size_t> unknownIndex;
  std::optional<ModelError> firstError;
};

} // namespace lathe

#endif // LATHE_LIB_IMPORT_CHECK_H
