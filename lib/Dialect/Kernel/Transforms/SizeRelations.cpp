// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Kernel/Transforms/SizeRelations.h"

#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;

/// The maximum or minimum that computes `size`, if there is one: what the shape inference of broadcasts
/// creates and looks through.
static Operation *getRelation(Value size) {
  Operation *op = size.getDefiningOp();
  return isa_and_present<arith::MaxUIOp, arith::MinUIOp, arith::MinSIOp>(op) ? op : nullptr;
}

static bool isConstant(Value size) { return matchPattern(size, m_Constant()); }

/// Those that need only `sizes` and constants, in no order.
static SetVector<Operation *> getRelations(ValueRange sizes) {
  SetVector<Operation *> relations;
  for (Value size : sizes) {
    Operation *op = getRelation(size);
    if (op && llvm::all_of(op->getOperands(), [&](Value operand) {
          return isConstant(operand) || llvm::is_contained(sizes, operand);
        })) {
      relations.insert(op);
    }
  }
  return relations;
}

void kernel::addRelatedSizes(llvm::SetVector<Value> &sizes) {
  // As many as the shape inference of broadcasts looks at.
  constexpr size_t kLimit = 16;
  size_t most = sizes.size() + kLimit;
  for (size_t i = 0; i < sizes.size(); ++i) {
    Operation *op = getRelation(sizes[i]);
    for (Value operand : op ? ValueRange(op->getOperands()) : ValueRange()) {
      if (!isConstant(operand) && sizes.size() < most) {
        sizes.insert(operand);
      }
    }
  }
}

void kernel::printSizeRelations(ValueRange sizes, llvm::raw_ostream &os) {
  for (Operation *relation : getRelations(sizes)) {
    os << llvm::find(sizes, relation->getResult(0)).getIndex() << relation->getName();
    for (Value operand : relation->getOperands()) {
      if (std::optional<int64_t> number = getConstantIntValue(operand)) {
        os << '=' << *number;
      } else {
        os << '#' << llvm::find(sizes, operand).getIndex();
      }
    }
  }
}

SmallVector<Value> kernel::relateSizes(ValueRange sizes, ValueRange arguments, OpBuilder &builder) {
  IRMapping mapping;
  mapping.map(sizes, arguments);
  for (Operation *relation : topologicalSort(getRelations(sizes))) {
    for (Value operand : relation->getOperands()) {
      if (!mapping.contains(operand)) {
        builder.clone(*operand.getDefiningOp(), mapping);
      }
    }
    builder.clone(*relation, mapping);
  }
  return llvm::map_to_vector(sizes, [&](Value size) { return mapping.lookup(size); });
}
