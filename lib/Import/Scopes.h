// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Names: who defines what, who uses it, and an order in which every value is defined before it is used.

#ifndef LATHE_LIB_IMPORT_SCOPES_H
#define LATHE_LIB_IMPORT_SCOPES_H

#include "Check.h"
#include "Functions.h"
#include "llvm/ADT/DenseSet.h"

namespace lathe {

/// The order in which the nodes of every graph and function body are imported.
class NodeOrders {
public:
  /// The nodes of a graph or function in order; none where the file's order is good.
  llvm::ArrayRef<int> of(const void *graph) const {
    auto found = orders.find(graph);
    return found == orders.end() ? llvm::ArrayRef<int>() : llvm::ArrayRef<int>(found->second);
  }
  void set(const void *graph, std::vector<int> order) { orders[graph] = std::move(order); }

private:
  llvm::DenseMap<const void *, std::vector<int>> orders;
};

/// Checks the names of the model's graph and of all functions that it reaches, and every node by itself (see
/// NodeChecker), and sorts the nodes: stably, an order that is good stays.
///
/// The work is linear in the size of the file, however deep graphs lie inside each other; nothing recurses
/// but over that depth.
class ScopeAnalysis {
public:
  ScopeAnalysis(const FunctionTable &functions, NodeChecker &checker, NodeOrders &orders)
      : functions(functions), checker(checker), orders(orders) {}

  llvm::Error run(const pb::ModelProto &model);

private:
  using Nodes = google::protobuf::RepeatedPtrField<pb::NodeProto>;
  enum : int { Input = -1, Initializer = -2 };
  struct Definition {
    size_t level;
    int node; // or Input, Initializer
  };
  struct Level {
    const Nodes *nodes;
    int current = 0;
    /// From the node that defines to the one that uses.
    std::vector<std::pair<int, int>> edges;
    std::vector<std::string> names; // to take back
  };

  llvm::Error graph(const pb::GraphProto &graph);
  llvm::Error function(const pb::FunctionProto &function);
  llvm::Error nodesOf(const Nodes &nodes, const OpsetScope &opsets, const pb::FunctionProto *function);
  llvm::Error define(const std::string &name, int node);
  void use(const std::string &name, const char *what);
  llvm::Error leave(const void *key);
  llvm::Error cycle(const Level &level, llvm::ArrayRef<int> waiting) const;
  Place place() const;

  const FunctionTable &functions;
  NodeChecker &checker;
  NodeOrders &orders;

  llvm::StringMap<llvm::SmallVector<Definition, 1>> table;
  std::vector<Level> levels;
  GraphPath path;
  const OpsetScope *opsets = nullptr;
  const pb::FunctionProto *inFunction = nullptr;
  std::vector<const pb::FunctionProto *> reached;
  llvm::DenseSet<const pb::FunctionProto *> known;
  std::vector<ModelError> undefined;
  uint64_t undefinedCount = 0;
};

} // namespace lathe

#endif // LATHE_LIB_IMPORT_SCOPES_H
