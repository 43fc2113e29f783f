// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Functions.h"

#include "OpTable.h"
#include "lathe/Support/Text.h"
#include "llvm/Support/MathExtras.h"

using namespace lathe;

static std::string keyOf(llvm::StringRef domain, llvm::StringRef name, llvm::StringRef overload) {
  return (canonicalDomain(domain) + llvm::StringRef("\0", 1) + name + llvm::StringRef("\0", 1) + overload)
      .str();
}

const pb::FunctionProto *FunctionTable::callee(const pb::NodeProto &node) const {
  // Most models have none: no key needs to be made.
  return byKey.empty() ? nullptr : byKey.lookup(keyOf(node.domain(), node.op_type(), node.overload()));
}

void FunctionTable::scan(const google::protobuf::RepeatedPtrField<pb::NodeProto> &nodes, uint64_t depth,
                         Body &body) const {
  body.ownDepth = std::max(body.ownDepth, depth);
  for (const pb::NodeProto &node : nodes) {
    if (const pb::FunctionProto *called = callee(node)) {
      body.calls.emplace_back(called, depth);
    } else {
      ++body.ownNodes;
    }
    forEachSubgraph(
        node, [&](const pb::GraphProto &graph, const std::string &) { scan(graph.node(), depth + 1, body); });
  }
}

FunctionTable::Size FunctionTable::sizeOf(const Body &body) const {
  Size size{body.ownNodes, body.ownDepth};
  for (auto [called, depth] : body.calls) {
    Size inner = sizes.lookup(called);
    size.nodes = llvm::SaturatingAdd(size.nodes, inner.nodes);
    size.depth = std::max(size.depth, llvm::SaturatingAdd(depth, inner.depth + 1));
  }
  return size;
}

llvm::Error FunctionTable::build(const pb::ModelProto &model, const ImportOptions &options) {
  for (const pb::FunctionProto &function : model.functions()) {
    if (!byKey.try_emplace(keyOf(function.domain(), function.name(), function.overload()), &function)
             .second) {
      return modelError(ErrorCode::E0202, functionStep(function) + " is defined twice");
    }
  }
  llvm::DenseMap<const pb::FunctionProto *, Body> bodies;
  for (const pb::FunctionProto &function : model.functions()) {
    scan(function.node(), 0, bodies[&function]);
  }
  // Callees first, without recursion: a chain of functions can be long.
  llvm::DenseMap<const pb::FunctionProto *, size_t> onStack;
  std::vector<std::pair<const pb::FunctionProto *, size_t>> stack;
  for (const pb::FunctionProto &root : model.functions()) {
    if (sizes.contains(&root)) {
      continue;
    }
    stack.emplace_back(&root, 0);
    onStack[&root] = 0;
    while (!stack.empty()) {
      auto &[function, next] = stack.back();
      const Body &body = bodies.find(function)->second;
      if (next == body.calls.size()) {
        sizes[function] = sizeOf(body);
        onStack.erase(function);
        stack.pop_back();
        continue;
      }
      const pb::FunctionProto *called = body.calls[next++].first;
      if (auto loop = onStack.find(called); loop != onStack.end()) {
        std::string path;
        size_t length = stack.size() - loop->second;
        for (size_t i = 0; i < std::min<size_t>(length, 10); ++i) {
          path += functionStep(*stack[loop->second + i].first) + " -> ";
        }
        path += (length > 10 ? "... -> " : "") + functionStep(*called);
        return modelError(ErrorCode::E0205, functionStep(*called) + " calls itself").have(path);
      }
      if (!sizes.contains(called)) {
        onStack[called] = stack.size();
        stack.emplace_back(called, 0);
      }
    }
  }
  Body main;
  scan(model.graph().node(), 0, main);
  return checkSize(sizeOf(main), main.ownNodes, options.limits);
}

llvm::Error FunctionTable::checkSize(Size size, uint64_t ownNodes, const ModelLimits &limits) const {
  auto text = [](uint64_t nodes) { return nodes == UINT64_MAX ? "more than 2^64" : std::to_string(nodes); };
  if (uint64_t inlined = size.nodes == UINT64_MAX ? UINT64_MAX : size.nodes - ownNodes;
      inlined > limits.inlinedNodes) {
    return limitError(ErrorCode::E0206,
                      "calls of the model's functions become " + text(inlined) + " nodes, the limit is " +
                          llvm::Twine(limits.inlinedNodes),
                      &ModelLimits::inlinedNodes);
  }
  if (size.nodes > limits.nodes) {
    return limitError(ErrorCode::E0206,
                      "the graph has " + text(size.nodes) +
                          " nodes once its functions are inlined, the limit is " + llvm::Twine(limits.nodes),
                      &ModelLimits::nodes);
  }
  if (size.depth > limits.depth) {
    return limitError(ErrorCode::E0103,
                      "graphs and functions lie " + llvm::Twine(size.depth) +
                          " deep inside each other, the limit is " + llvm::Twine(limits.depth),
                      &ModelLimits::depth);
  }
  return llvm::Error::success();
}
