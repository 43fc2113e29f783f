// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Kernel/Transforms/SizeRelations.h"

#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;

/// What `size` is computed from, if that is what the shape inference of broadcasts looks through: sizes that
/// broadcast to it, or those that it is the minimum of.
static SmallVector<Value> getOperandSizes(Value size) {
  if (std::optional<std::pair<Value, Value>> sizes = nn::getBroadcastSizes(size)) {
    return {sizes->first, sizes->second};
  }
  Operation *op = size.getDefiningOp();
  return isa_and_present<arith::MinUIOp, arith::MinSIOp>(op) ? SmallVector<Value>(op->getOperands())
                                                             : SmallVector<Value>();
}

static bool isConstant(Value size) { return matchPattern(size, m_Constant()); }

/// Those of `sizes` that need only others of them and constants, in no order.
static SetVector<Operation *> getRelations(ValueRange sizes) {
  SetVector<Operation *> relations;
  for (Value size : sizes) {
    SmallVector<Value> operands = getOperandSizes(size);
    if (!operands.empty() && llvm::all_of(operands, [&](Value operand) {
          return isConstant(operand) || llvm::is_contained(sizes, operand);
        })) {
      relations.insert(size.getDefiningOp());
    }
  }
  return relations;
}

void kernel::addRelatedSizes(llvm::SetVector<Value> &sizes) {
  // As many as the shape inference of broadcasts looks at.
  constexpr size_t kLimit = 16;
  size_t most = sizes.size() + kLimit;
  for (size_t i = 0; i < sizes.size(); ++i) {
    for (Value operand : getOperandSizes(sizes[i])) {
      if (!isConstant(operand) && sizes.size() < most) {
        sizes.insert(operand);
      }
    }
  }
}

void kernel::printSizeRelations(ValueRange sizes, llvm::raw_ostream &os) {
  for (Operation *relation : getRelations(sizes)) {
    Value size = relation->getResult(0);
    os << llvm::find(sizes, size).getIndex() << relation->getName();
    for (Value operand : getOperandSizes(size)) {
      if (std::optional<int64_t> number = getConstantIntValue(operand)) {
        os << '=' << *number;
      } else {
        os << '#' << llvm::find(sizes, operand).getIndex();
      }
    }
  }
}

/// Clones `op` behind what it reads and `mapping` lacks: constants and conditions.
static void cloneRelation(Operation *op, IRMapping &mapping, OpBuilder &builder) {
  for (Value operand : op->getOperands()) {
    if (!mapping.contains(operand)) {
      cloneRelation(operand.getDefiningOp(), mapping, builder);
    }
  }
  builder.clone(*op, mapping);
}

SmallVector<Value> kernel::relateSizes(ValueRange sizes, ValueRange arguments, OpBuilder &builder) {
  IRMapping mapping;
  mapping.map(sizes, arguments);
  for (Operation *relation : topologicalSort(getRelations(sizes))) {
    cloneRelation(relation, mapping, builder);
  }
  return llvm::map_to_vector(sizes, [&](Value size) { return mapping.lookup(size); });
}
