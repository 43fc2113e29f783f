// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The model as it was, and as it became: nodes, layers, kernels, weights and the arena, for a report.

#ifndef LATHE_LIB_COMPILER_GRAPHREPORT_H
#define LATHE_LIB_COMPILER_GRAPHREPORT_H

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Compiler/Report.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace lathe {

class GraphReport {
public:
  /// Notes the nodes of a module as it was imported.
  void addNodes(mlir::ModuleOp module);
  /// Notes which nodes are in which layer, and of later layers which nodes of the first they are like. Of a
  /// module whose layers are still there.
  void addLayers(mlir::ModuleOp module);
  /// Notes launches, weights and the arena of a module of kernels whose weights are placed, and the kernels
  /// in the order in which an artifact has them.
  void addKernels(mlir::ModuleOp module, Report &report);
  /// Notes what elements of a stored weight were counted to be.
  void addCount(nn::WeightOp weight, codegen::ElementCount count);

  /// Writes it all to `report.graph`.
  void writeTo(Report &report);

private:
  struct Node {
    std::string name, type;
    std::vector<int64_t> inputs;
    std::vector<std::string> weights;
    int64_t layer = -1, like = -1;
  };

  int64_t findNode(llvm::StringRef name) const;
  void addWeights(mlir::ModuleOp module);
  void addInterface(mlir::ModuleOp module);

  std::vector<Node> nodes;
  llvm::StringMap<int64_t> nodeNumbers;
  size_t layerCount = 0;
  llvm::json::Array symbols, inputs, functions, weights;
  /// The place of a stored weight in `weights`, by its symbol.
  llvm::StringMap<size_t> weightNumbers;
};

} // namespace lathe

#endif // LATHE_LIB_COMPILER_GRAPHREPORT_H
