// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The conversion of a whole model, node by node.

#ifndef LATHE_CONVERSION_ONNXTONN_CONVERSION_H
#define LATHE_CONVERSION_ONNXTONN_CONVERSION_H

#include "BranchGrowth.h"
#include "Strings.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <deque>
#include <map>

namespace lathe::onnx {

/// One walk over the nodes of `@main`.
class Conversion : public BodyConverter {
public:
  Conversion(mlir::func::FuncOp main, const LegalizerRegistry &registry)
      : main(main), registry(registry), builder(main.getContext()), tracker(builder), sizes(builder),
        scopes(1) {}
  ~Conversion() override { destroyAbandoned(); }

  mlir::LogicalResult run();

  llvm::FailureOr<llvm::SmallVector<LegalValue>> convert(mlir::Region &body,
                                                         llvm::ArrayRef<LegalValue> arguments) override;
  llvm::FailureOr<llvm::SmallVector<LegalValue>>
  tryConvert(mlir::Region &body, llvm::ArrayRef<LegalValue> arguments, std::string &misfit) override;
  void abandon(mlir::Operation *op) override;
  bool growBranches(mlir::Operation *choice, llvm::ArrayRef<unsigned> results) override;
  bool isGrowing() const override { return growth.has_value(); }
  /// Within a body, what is made of an outer value stays there.
  LegalValue *find(mlir::Value value) override;

private:
  /// Converts a node at the builder's insertion point.
  void convertNode(NodeOp node);
  /// The op to be converted after `op`, for which that has been tried: `next`, or what stands in the place of
  /// both if branches of `op` had to grow.
  mlir::Operation *getNext(mlir::Operation *op, mlir::Operation *next);
  /// The results of a node, of which the legal forms of its operands are known. Nothing after an error.
  std::optional<llvm::SmallVector<LegalValue>> legalize(NodeOp node, const LegalizerRegistry::Entry &entry,
                                                        llvm::SmallVector<LegalValue *> inputs);
  /// The same for a node that moves or measures complex numbers.
  std::optional<llvm::SmallVector<LegalValue>>
  legalizeParts(NodeOp node, const LegalizerRegistry::Entry &entry, llvm::ArrayRef<LegalValue *> inputs);
  /// Remembers the tensor that `op` gives, a constant or the use of a weight, as the value of `result`.
  void bindTensor(mlir::Operation &op, mlir::Value result);
  /// Verifies the ops before the insertion point and after `before`, and reports what is wrong with them as
  /// the node's error.
  mlir::LogicalResult verifyNew(mlir::Operation *before, NodeOp node);
  /// The ops before the insertion point and after `before`.
  llvm::SmallVector<mlir::Operation *> getNew(mlir::Operation *before);
  void destroyAbandoned();
  void bindStrings(ConstantOp constant) {
    if (LegalValue value = lathe::onnx::bindStrings(builder, texts, constant); value.isKnown()) {
      scopes.back()[constant.getResult()] = std::move(value);
    }
  }
  /// How much was found wrong or not supported so far.
  size_t countProblems() const {
    size_t count = unsupportedForms.size() + errors;
    for (auto &[op, names] : unknownOps) {
      count += names.size();
    }
    return count;
  }
  /// What builds ops for `op` that are no node's.
  LegalizeContext makeContext(mlir::Operation *op);
  mlir::LogicalResult convertResults();
  mlir::LogicalResult reportUnsupported();
  void eraseOld();
  /// Writes down the symbols' bounds where no pass drops them.
  void recordBounds();

  mlir::func::FuncOp main;
  const LegalizerRegistry &registry;
  mlir::OpBuilder builder;
  nn::ShapeTracker tracker;
  SizeArith sizes;
  /// The values of the function and of the bodies around the insertion point, innermost last.
  // A deque: references to values stay when a body begins.
  std::deque<llvm::DenseMap<mlir::Value, LegalValue>> scopes;
  llvm::SmallVector<mlir::Operation *> abandoned;
  size_t convertedBodies = 0;
  /// The branches that are to grow before anything else is converted, and how many nodes moved into others.
  std::optional<BranchGrowth> growth;
  size_t movedNodes = 0;
  Texts texts;
  /// To every unsupported operator (as a user reads it) the names of its nodes; and single forms.
  std::map<std::string, llvm::SmallVector<std::string>> unknownOps;
  llvm::SmallVector<std::string> unsupportedForms;
  size_t errors = 0;
};

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_CONVERSION_H
