// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From the checked file to ops of the onnx dialect.

#ifndef LATHE_LIB_IMPORT_EMIT_H
#define LATHE_LIB_IMPORT_EMIT_H

#include "Scopes.h"
#include "Tensors.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

namespace lathe {

class ModelEmitter {
public:
  ModelEmitter(mlir::ModuleOp module, const FunctionTable &functions, const NodeOrders &orders,
               TensorReader &tensors, const ImportOptions &options)
      : builder(module.getContext()), module(module), functions(functions), orders(orders), tensors(tensors),
        options(options) {}

  /// Fills the module with `@main`. Names and nodes of the model have been checked.
  llvm::Error run(const pb::ModelProto &model, const OpsetScope &opsets);

private:
  using AttributeValues = llvm::StringMap<const pb::AttributeProto *>;

  /// A graph or function body that is being emitted: what its names mean.
  struct Frame {
    /// The values of every name, innermost last.
    llvm::StringMap<llvm::SmallVector<mlir::Value, 1>> values;
    const OpsetScope *opsets = nullptr;
    /// In a function: the values of its attributes, and what stands before its nodes' and values' names.
    AttributeValues attributes;
    std::string prefix;
    /// In a function: the outer names of its outputs.
    llvm::StringMap<llvm::StringRef> outputNames;
  };
  using ValueTypes = llvm::StringMap<mlir::Type>;

  llvm::Error emitMain(const pb::ModelProto &model);
  llvm::Error emitSubgraph(const pb::GraphProto &graph, mlir::Region &region);
  llvm::Error emitInitializers(const pb::GraphProto &graph);
  llvm::Error emitNodes(const google::protobuf::RepeatedPtrField<pb::NodeProto> &nodes, const void *key,
                        const ValueTypes &types);
  llvm::Error emitNode(const pb::NodeProto &node, const Place &place, const ValueTypes &types);
  llvm::Error emitCall(const pb::NodeProto &node, const pb::FunctionProto &function, const ValueTypes &types);
  llvm::Error emitConstant(const pb::NodeProto &node, mlir::Location loc);
  llvm::Expected<mlir::Value> emitTensor(TensorData data, llvm::StringRef name, mlir::Location loc,
                                         const void *key);

  /// The node's attributes with those of the function around it in place of references.
  llvm::SmallVector<std::pair<llvm::StringRef, const pb::AttributeProto *>>
  resolved(const pb::NodeProto &node);
  /// An attribute that is no graph.
  llvm::Expected<mlir::Attribute> attribute(const pb::AttributeProto &attribute, llvm::StringRef name);

  llvm::Error collectTypes(const google::protobuf::RepeatedPtrField<pb::ValueInfoProto> &infos,
                           ValueTypes &types);
  mlir::Location locationOf(const pb::NodeProto &node, const Place &place);
  mlir::Value none();
  mlir::Value lookup(const std::string &name);
  void bind(const std::string &name, mlir::Value value);
  /// Takes back what was bound since `mark`.
  void unbind(size_t mark);
  std::string symbolName(llvm::StringRef name);
  mlir::DictionaryAttr valueAttrs(const pb::ValueInfoProto &info);
  void eraseUnused();

  mlir::OpBuilder builder;
  mlir::ModuleOp module;
  const FunctionTable &functions;
  const NodeOrders &orders;
  TensorReader &tensors;
  const ImportOptions &options;

  mlir::func::FuncOp main;
  Frame *frame = nullptr;
  GraphPath path;
  std::vector<std::string> bound;
  mlir::Value noneValue;
  llvm::StringMap<unsigned> symbols;
  /// The weights made of tensors, for functions that are inlined more than once.
  llvm::DenseMap<const void *, nn::WeightOp> weights;
  std::vector<mlir::Operation *> constants;
};

} // namespace lathe

#endif // LATHE_LIB_IMPORT_EMIT_H
