/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// Graphs of launches. They run in some order that their edges allow, so that a missing edge is seen.

#include "Driver.h"

#include <algorithm>
#include <random>

using namespace lathe;
using namespace lathe::mock;

/// CUDA_KERNEL_NODE_PARAMS_v2
struct KernelNodeParams {
  Function *function;
  unsigned grid[3], block[3], sharedBytes;
  void **parameters, **extra;
  void *kernel;
  Context *context;
};

LATHE_MOCK cuGraphCreate(Graph **graph, unsigned flags) {
  LATHE_MOCK_CALL(Current);
  *graph = new Graph;
  call.context->graphs.insert(*graph);
  return flags == 0 ? Success : InvalidValue;
}

LATHE_MOCK cuGraphDestroy(Graph *graph) {
  LATHE_MOCK_CALL(Current);
  if (call.context->graphs.erase(graph) == 0) {
    return InvalidHandle;
  }
  delete graph;
  return Success;
}

LATHE_MOCK cuGraphAddKernelNode_v2(GraphNode **node, Graph *graph, GraphNode *const *dependencies,
                                   size_t count, const KernelNodeParams *params) {
  LATHE_MOCK_CALL(Current);
  if (!call.context->graphs.count(graph)) {
    return InvalidHandle;
  }
  auto made = std::make_unique<GraphNode>();
  for (size_t i = 0; i < count; ++i) {
    auto found = std::find_if(graph->nodes.begin(), graph->nodes.end(),
                              [&](const auto &other) { return other.get() == dependencies[i]; });
    if (found == graph->nodes.end()) {
      return InvalidValue;
    }
    made->before.push_back(size_t(found - graph->nodes.begin()));
  }
  if (int status = makeLaunch(*call.context, params->function, params->grid, params->block,
                              params->sharedBytes, params->parameters, params->extra, made->launch)) {
    return status;
  }
  *node = made.get();
  graph->nodes.push_back(std::move(made));
  return Success;
}

LATHE_MOCK cuGraphInstantiateWithFlags(Graph **exec, Graph *graph, unsigned long long flags) {
  LATHE_MOCK_CALL(Current);
  if (!call.context->graphs.count(graph) || flags != 0) {
    return InvalidValue;
  }
  *exec = new Graph;
  for (const std::unique_ptr<GraphNode> &node : graph->nodes) {
    (*exec)->nodes.push_back(std::make_unique<GraphNode>(*node));
  }
  call.context->executables.insert(*exec);
  return Success;
}

LATHE_MOCK cuGraphExecDestroy(Graph *exec) {
  LATHE_MOCK_CALL(Current);
  if (call.context->executables.erase(exec) == 0) {
    return InvalidHandle;
  }
  delete exec;
  return Success;
}

LATHE_MOCK cuGraphLaunch(Graph *exec, Stream *stream) {
  LATHE_MOCK_CALL(Current);
  if (!call.context->executables.count(exec) || !call.context->streams.count(stream)) {
    return InvalidHandle;
  }
  std::minstd_rand random(uint32_t(emu::seedFromEnvironment() + 1));
  std::vector<bool> done(exec->nodes.size());
  std::vector<size_t> ready;
  do {
    ready.clear();
    for (size_t i = 0; i < done.size(); ++i) {
      const std::vector<size_t> &before = exec->nodes[i]->before;
      if (!done[i] && std::all_of(before.begin(), before.end(), [&](size_t other) { return done[other]; })) {
        ready.push_back(i);
      }
    }
    if (!ready.empty()) {
      size_t chosen = ready[random() % ready.size()];
      runLaunch(*call.context, exec->nodes[chosen]->launch);
      done[chosen] = true;
    }
  } while (!ready.empty());
  return Success;
}
