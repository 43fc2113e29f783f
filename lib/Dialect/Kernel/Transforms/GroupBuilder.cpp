// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "GroupBuilder.h"
#include "lathe/Dialect/Kernel/Transforms/RootRules.h"
#include "lathe/Dialect/Kernel/Transforms/SizeRelations.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

/// The position of an index value among the sizes of a group, adding it if it is new.
static int64_t sizeIndex(llvm::SetVector<Value> &sizes, Value value) {
  sizes.insert(value);
  return llvm::find(sizes, value) - sizes.begin();
}

FailureOr<DenseI64ArrayAttr> GroupBuilder::shapeOf(Value tensor, llvm::SetVector<Value> &sizes) {
  FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(tensor);
  if (failed(dims)) {
    return emitError(tensor.getLoc(), "the shape of this value is not known before it is computed");
  }
  SmallVector<int64_t> shape;
  RankedTensorType type = nn::getLogicalType(tensor.getType());
  for (auto [position, dim] : llvm::enumerate(*dims)) {
    std::optional<int64_t> size = getConstantIntValue(dim);
    if (!type.isDynamicDim(position)) {
      shape.push_back(type.getDimSize(position));
      continue;
    }
    Value value = size ? Value() : cast<Value>(dim);
    if (size) {
      value = getIndexConstant(*size);
    }
    shape.push_back(~sizeIndex(sizes, value));
  }
  return builder.getDenseI64ArrayAttr(shape);
}

/// A constant at the top of the function, one for each value.
Value GroupBuilder::getIndexConstant(int64_t value) {
  Value &constant = constants[value];
  if (!constant) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(&function.getBody().front());
    constant = arith::ConstantIndexOp::create(builder, function.getLoc(), value);
  }
  return constant;
}

/// Sizes of the result may be computed right after the op; they never depend on its elements.
void GroupBuilder::setInsertionPointAfter(Operation *op) {
  builder.setInsertionPointAfter(op);
  while (isa<arith::ArithDialect>(builder.getInsertionPoint()->getDialect()) &&
         llvm::all_of(builder.getInsertionPoint()->getResultTypes(), [](Type t) { return t.isIndex(); })) {
    builder.setInsertionPointAfter(&*builder.getInsertionPoint());
  }
}

LogicalResult GroupBuilder::build(const Cluster &cluster) {
  SmallVector<Operation *> body(cluster.ops.begin(), cluster.ops.end());
  llvm::sort(body, [](Operation *lhs, Operation *rhs) { return lhs->isBeforeInBlock(rhs); });

  llvm::SetVector<Value> inputs, sizes;
  llvm::SetVector<Operation *> inlined;
  for (Operation *op : body) {
    for (Value operand : op->getOperands()) {
      Operation *producer = operand.getDefiningOp();
      if (producer && cluster.ops.contains(producer)) {
        continue;
      }
      if (producer && (isInlineConstant(producer) || matchPattern(operand, m_Constant()))) {
        auto tensor = dyn_cast<RankedTensorType>(operand.getType());
        if (!tensor || isInlineConstant(producer)) {
          inlined.insert(producer);
          continue;
        }
      }
      isa<IndexType>(operand.getType()) ? sizes.insert(operand) : inputs.insert(operand);
    }
  }

  SmallVector<Value> results = cluster.getResults();
  SmallVector<Attribute> shapeAttrs;
  for (Value tensor : llvm::concat<const Value>(inputs.getArrayRef(), ArrayRef<Value>(results))) {
    FailureOr<DenseI64ArrayAttr> shape = shapeOf(tensor, sizes);
    if (failed(shape)) {
      return failure();
    }
    shapeAttrs.push_back(*shape);
  }
  if (cluster.kind == RootKind::Rows) {
    addRelatedSizes(sizes); // no other kind depends on which sizes are equal
  }

  setInsertionPointAfter(cluster.last);
  // The root's node names the kernel best.
  SmallVector<Location> locations{cluster.ops.front()->getLoc()};
  for (Operation *op : body) {
    locations.push_back(op->getLoc());
  }
  Location loc = FusedLoc::get(builder.getContext(), locations);
  auto group = GroupOp::create(builder, loc, TypeRange(results), cluster.kind, inputs.getArrayRef(),
                               sizes.getArrayRef(), builder.getArrayAttr(shapeAttrs),
                               /*pitches=*/DenseI64ArrayAttr());
  IRMapping mapping;
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&group.getBody());
  for (Value operand : group.getOperands()) {
    mapping.map(operand, block->addArgument(operand.getType(), operand.getLoc()));
  }
  for (Operation *constant : inlined) {
    builder.clone(*constant, mapping);
  }
  for (Operation *op : body) {
    builder.clone(*op, mapping);
  }
  YieldOp::create(builder, loc,
                  llvm::map_to_vector(results, [&](Value result) { return mapping.lookup(result); }));
  for (auto [old, result] : llvm::zip_equal(results, group.getResults())) {
    old.replaceAllUsesExcept(result, group);
  }
  return success();
}
