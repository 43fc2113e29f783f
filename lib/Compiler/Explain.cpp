// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Explain.h"

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Support/Diagnostics.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace lathe;

static std::vector<std::string> nodesOf(Location loc) {
  std::vector<std::string> names;
  for (NodeOrigin &origin : originsOf(loc)) {
    names.push_back(std::move(origin.name));
  }
  return names;
}

void lathe::keepOnly(StringRef node, ModuleOp module, Report &report) {
  auto isAbout = [&](const std::vector<std::string> &nodes) { return llvm::is_contained(nodes, node); };
  llvm::erase_if(report.remarks, [&](const Remark &remark) { return !isAbout(remark.nodes); });
  llvm::erase_if(report.compression, [&](const CompressionEntry &entry) { return !isAbout(entry.nodes); });
  for (auto function : module.getOps<func::FuncOp>()) {
    auto root = function->getAttrOfType<StringAttr>(kernel::KernelDialect::kRootAttr);
    std::vector<std::string> nodes = nodesOf(function.getLoc());
    if (root && isAbout(nodes)) {
      report.kernels.push_back({function.getName().str(), root.str(), std::move(nodes)});
    }
  }
  // The kernels of a layer are named after the nodes of its first instance.
  module.walk([&](nn::LayerCallOp call) {
    bool isKnown = llvm::any_of(report.kernels, [&](const KernelEntry &k) { return isAbout(k.nodes); });
    if (!isKnown && isAbout(nodesOf(call.getLoc()))) {
      report.kernels.push_back({call.getLayer().str(), "layer", {node.str()}});
    }
  });
}
