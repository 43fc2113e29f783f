// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The local functions of a model, and what inlining them costs.

#ifndef LATHE_LIB_IMPORT_FUNCTIONS_H
#define LATHE_LIB_IMPORT_FUNCTIONS_H

#include "Place.h"
#include "lathe/Import/Import.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace lathe {

class FunctionTable {
public:
  /// Collects the functions of `model` and checks that none is defined twice, that none calls itself,
  /// directly or through others, and that the graph stays within the limits once they are inlined.
  llvm::Error build(const pb::ModelProto &model, const ImportOptions &options);

  /// The function that a node calls, or null.
  const pb::FunctionProto *callee(const pb::NodeProto &node) const;

private:
  struct Size {
    uint64_t nodes = 0;
    uint64_t depth = 0;
  };
  struct Body {
    uint64_t ownNodes = 0, ownDepth = 0;
    /// What is called, how deep in subgraphs.
    std::vector<std::pair<const pb::FunctionProto *, uint64_t>> calls;
  };
  void scan(const google::protobuf::RepeatedPtrField<pb::NodeProto> &nodes, uint64_t depth, Body &body) const;
  Size sizeOf(const Body &body) const;
  /// Of the graph once its functions are inlined; `ownNodes` are those that were there before.
  llvm::Error checkSize(Size size, uint64_t ownNodes, const ModelLimits &limits) const;

  llvm::StringMap<const pb::FunctionProto *> byKey;
  llvm::DenseMap<const pb::FunctionProto *, Size> sizes;
};

/// Calls `visit(graph, step)` for every graph among a node's attributes; `step` names it: "then_branch", or
/// "bodies[1]" in a list.
template <typename Visit>
void forEachSubgraph(const pb::NodeProto &node, Visit visit) {
  for (const pb::AttributeProto &attribute : node.attribute()) {
    if (attribute.has_g()) {
      visit(attribute.g(), attribute.name());
    }
    for (int i = 0; i < attribute.graphs_size(); ++i) {
      visit(attribute.graphs(i), attribute.name() + "[" + std::to_string(i) + "]");
    }
  }
}

} // namespace lathe

#endif // LATHE_LIB_IMPORT_FUNCTIONS_H
