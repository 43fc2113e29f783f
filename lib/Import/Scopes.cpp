// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Scopes.h"

#include "lathe/Support/Text.h"
#include <queue>

using namespace lathe;

/// Findings of one kind that are listed; the others are counted.
static constexpr size_t maxListed = 20;

std::string lathe::nodeLabel(const pb::NodeProto &node, int64_t index) {
  return (node.name().empty() ? "#" + std::to_string(index) : quoteText(node.name(), 120)) + " (" +
         escapeText(node.op_type(), 80) + ")";
}

Place ScopeAnalysis::place() const {
  Place place;
  place.path = &path;
  if (!levels.empty() && levels.back().current < levels.back().nodes->size()) {
    place.node = &levels.back().nodes->Get(levels.back().current);
    place.index = levels.back().current;
    place.opset = opsets->version(place.node->domain());
  }
  return place;
}

llvm::Error ScopeAnalysis::define(const std::string &name, int node) {
  llvm::SmallVector<Definition, 1> &stack = table[name];
  size_t level = levels.size() - 1;
  if (!stack.empty() && stack.back().level == level) {
    // Before IR version 4 every initializer was an input as well.
    if (stack.back().node == Input && node == Initializer) {
      stack.back().node = Initializer;
      return llvm::Error::success();
    }
    int first = stack.back().node;
    std::string before = first == Input         ? "an input"
                         : first == Initializer ? "an initializer"
                                                : "node " + nodeLabel(levels[level].nodes->Get(first), first);
    ModelError error = modelError(ErrorCode::E0202, "the name " + quoteText(name) + " is defined twice")
                           .have("first by " + before)
                           .take();
    if (node >= 0) {
      place().fill(error);
    } else {
      error.graphPath = path;
    }
    return llvm::make_error<ModelError>(std::move(error));
  }
  stack.push_back({level, node});
  levels.back().names.push_back(name);
  return llvm::Error::success();
}

void ScopeAnalysis::use(const std::string &name, const char *what) {
  auto found = table.find(name);
  if (found == table.end() || found->second.empty()) {
    ++undefinedCount;
    if (undefined.size() < maxListed) {
      ModelError error(ErrorCode::E0201,
                       "the value " + quoteText(name) + " is used by " + what + " but defined nowhere");
      place().fill(error);
      undefined.push_back(std::move(error));
    }
    return;
  }
  const Definition &definition = found->second.back();
  Level &level = levels[definition.level];
  if (definition.node >= 0 && level.current < level.nodes->size()) {
    level.edges.emplace_back(definition.node, level.current);
  }
}

llvm::Error ScopeAnalysis::nodesOf(const Nodes &nodes, const OpsetScope &scope,
                                   const pb::FunctionProto *function) {
  Level &level = levels.back();
  for (level.current = 0; level.current < nodes.size(); ++level.current) {
    for (const std::string &output : nodes[level.current].output()) {
      if (!output.empty()) {
        if (llvm::Error error = define(output, level.current)) {
          return error;
        }
      }
    }
  }
  // `levels` grows in the recursion: no reference into it is kept.
  size_t depth = levels.size() - 1;
  for (int i = 0; i < nodes.size(); ++i) {
    levels[depth].current = i;
    const pb::NodeProto &node = nodes[i];
    const pb::FunctionProto *called = functions.callee(node);
    if (called && known.insert(called).second) {
      reached.push_back(called);
    }
    if (llvm::Error error = checker.check(node, place(), scope, function, called)) {
      return error;
    }
    for (const std::string &input : node.input()) {
      if (!input.empty()) {
        use(input, "a node");
      }
    }
    llvm::Error failed = llvm::Error::success();
    forEachSubgraph(node, [&](const pb::GraphProto &inner, const std::string &name) {
      if (failed) {
        return;
      }
      path.push_back(subgraphStep(node, name));
      failed = graph(inner);
      path.pop_back();
    });
    if (failed) {
      return failed;
    }
  }
  levels[depth].current = nodes.size();
  return llvm::Error::success();
}

llvm::Error ScopeAnalysis::graph(const pb::GraphProto &graph) {
  levels.push_back({&graph.node(), graph.node_size(), {}, {}});
  auto name = [&](const std::string &text, int kind) -> llvm::Error {
    if (text.empty()) {
      return modelError(ErrorCode::E0201,
                        kind == Input ? "an input of the graph has no name" : "an initializer has no name")
          .graphPath(path);
    }
    return define(text, kind);
  };
  for (const pb::ValueInfoProto &input : graph.input()) {
    if (llvm::Error error = name(input.name(), Input)) {
      return error;
    }
  }
  for (const pb::TensorProto &tensor : graph.initializer()) {
    if (llvm::Error error = name(tensor.name(), Initializer)) {
      return error;
    }
  }
  for (const pb::SparseTensorProto &sparse : graph.sparse_initializer()) {
    if (llvm::Error error = name(sparse.values().name(), Initializer)) {
      return error;
    }
  }
  if (llvm::Error error = nodesOf(graph.node(), *opsets, inFunction)) {
    return error;
  }
  for (const pb::ValueInfoProto &output : graph.output()) {
    use(output.name(), "an output of the graph");
  }
  return leave(&graph);
}

llvm::Error ScopeAnalysis::function(const pb::FunctionProto &function) {
  path = {functionStep(function)};
  levels.push_back({&function.node(), function.node_size(), {}, {}});
  for (const std::string &input : function.input()) {
    if (llvm::Error error = define(input, Input)) {
      return error;
    }
  }
  inFunction = &function;
  OpsetScope scope(function, checker.modelOpsets());
  opsets = &scope;
  if (llvm::Error error = nodesOf(function.node(), scope, &function)) {
    return error;
  }
  for (const std::string &output : function.output()) {
    use(output, "an output of the function");
  }
  return leave(&function);
}

/// The nodes that a loop goes through, from a node that waits for another for ever.
llvm::Error ScopeAnalysis::cycle(const Level &level, llvm::ArrayRef<int> waiting) const {
  // Every node that waits has another one before it that waits: going back from any leads into a loop.
  llvm::DenseMap<int, int> before;
  for (auto [from, to] : level.edges) {
    if (waiting[from] > 0 && waiting[to] > 0) {
      before.try_emplace(to, from);
    }
  }
  llvm::DenseMap<int, size_t> seen;
  std::vector<int> walk;
  int node = before.begin()->first;
  for (const auto &entry : before) {
    node = std::min(node, entry.first);
  }
  while (seen.try_emplace(node, walk.size()).second) {
    walk.push_back(node);
    node = before.lookup(node);
  }
  std::vector<int> loop(walk.begin() + int64_t(seen.lookup(node)), walk.end());
  std::reverse(loop.begin(), loop.end());
  std::rotate(loop.begin(), std::min_element(loop.begin(), loop.end()), loop.end());
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(loop.size(), 10); ++i) {
    text += nodeLabel(level.nodes->Get(loop[i]), loop[i]) + " -> ";
  }
  text += (loop.size() > 10 ? "... -> " : "") + nodeLabel(level.nodes->Get(loop[0]), loop[0]);
  Place at;
  at.path = &path;
  at.node = &level.nodes->Get(loop[0]);
  at.index = loop[0];
  at.opset = opsets->version(at.node->domain());
  return at.fill(modelError(ErrorCode::E0203, "a loop of " + llvm::Twine(loop.size()) +
                                                  (loop.size() == 1 ? " node" : " nodes") +
                                                  " needs its own results")
                     .have(text));
}

llvm::Error ScopeAnalysis::leave(const void *key) {
  Level level = std::move(levels.back());
  levels.pop_back();
  for (const std::string &name : level.names) {
    table[name].pop_back();
  }
  bool sorted =
      llvm::all_of(level.edges, [](const std::pair<int, int> &edge) { return edge.first < edge.second; });
  if (sorted) {
    return llvm::Error::success();
  }
  size_t count = size_t(level.nodes->size());
  std::vector<int> waiting(count, 0), first(count + 1, 0), targets(level.edges.size());
  for (auto [from, to] : level.edges) {
    ++waiting[size_t(to)];
    ++first[size_t(from) + 1];
  }
  for (size_t i = 0; i < count; ++i) {
    first[i + 1] += first[i];
  }
  std::vector<int> next(first.begin(), first.end() - 1);
  for (auto [from, to] : level.edges) {
    targets[size_t(next[size_t(from)]++)] = to;
  }
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (size_t i = 0; i < count; ++i) {
    if (waiting[i] == 0) {
      ready.push(int(i));
    }
  }
  std::vector<int> order;
  while (!ready.empty()) {
    int node = ready.top();
    ready.pop();
    order.push_back(node);
    for (int i = first[size_t(node)]; i < first[size_t(node) + 1]; ++i) {
      if (--waiting[size_t(targets[size_t(i)])] == 0) {
        ready.push(targets[size_t(i)]);
      }
    }
  }
  if (order.size() < count) {
    return cycle(level, waiting);
  }
  orders.set(key, std::move(order));
  return llvm::Error::success();
}

llvm::Error ScopeAnalysis::run(const pb::ModelProto &model) {
  path = {graphStep(model.graph().name())};
  opsets = &checker.modelOpsets();
  if (llvm::Error error = graph(model.graph())) {
    return error;
  }
  while (!reached.empty()) {
    const pb::FunctionProto *next = reached.back();
    reached.pop_back();
    if (llvm::Error error = function(*next)) {
      return error;
    }
  }
  if (!undefined.empty()) {
    ModelError error = std::move(undefined.front());
    for (size_t i = 1; i < undefined.size(); ++i) {
      error.notes.push_back(
          "and " + undefined[i].message + ": node " +
          (undefined[i].nodeIndex ? "#" + std::to_string(*undefined[i].nodeIndex) + " " : "") +
          quoteText(undefined[i].node));
    }
    if (undefinedCount > undefined.size()) {
      error.notes.push_back("and " + std::to_string(undefinedCount - undefined.size()) + " more");
    }
    return llvm::make_error<ModelError>(std::move(error));
  }
  return checker.finish();
}
