// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "lathe/Dialect/NN/IR/NNControl.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace lathe::nn;

//===----------------------------------------------------------------------===//
// Symbols of arguments
//===----------------------------------------------------------------------===//

/// The first op of `entry` that does more than make an index or a constant.
static Block::iterator findEndOfPrologue(Block &entry) {
  return llvm::find_if(entry, [](Operation &op) {
    bool isIndexOp = op.getNumRegions() == 0 && isMemoryEffectFree(&op) && op.getNumResults() == 1 &&
                     op.getResult(0).getType().isIndex();
    return !isIndexOp && !matchPattern(&op, m_Constant());
  });
}

Value lathe::nn::getDimSymbol(OpBuilder &builder, Block &entry, StringRef name) {
  Block::iterator end = findEndOfPrologue(entry);
  for (Operation &op : llvm::make_range(entry.begin(), end)) {
    if (auto symbol = dyn_cast<DimSymbolOp>(op); symbol && symbol.getName() == name) {
      return symbol;
    }
  }
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(&entry);
  return DimSymbolOp::create(builder, builder.getUnknownLoc(), name);
}

/// The dimensions of an argument of a block: the symbols that the function names, else `tensor.dim`s.
static Dims getArgumentDims(OpBuilder &builder, BlockArgument argument) {
  Block *block = argument.getOwner();
  auto type = cast<RankedTensorType>(argument.getType());
  if (auto loop = dyn_cast_or_null<LoopOp>(block->getParentOp())) {
    // Behind the iteration stand the carried tensors.
    return loop.getDims(argument.getArgNumber() - 1, /*inBody=*/true);
  }
  ArrayAttr names;
  if (auto function = dyn_cast_or_null<FunctionOpInterface>(block->getParentOp());
      function && block->isEntryBlock()) {
    names = function.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), NNDialect::kDimsAttr);
  }
  OpBuilder::InsertionGuard guard(builder);
  Dims dims;
  for (auto [axis, size] : llvm::enumerate(type.getShape())) {
    if (!ShapedType::isDynamic(size)) {
      dims.push_back(builder.getIndexAttr(size));
      continue;
    }
    auto name = names && axis < names.size() ? dyn_cast<StringAttr>(names[axis]) : StringAttr();
    if (name && !name.empty()) {
      dims.push_back(getDimSymbol(builder, *block, name));
      continue;
    }
    builder.setInsertionPointToStart(block);
    dims.push_back(tensor::DimOp::create(builder, argument.getLoc(), argument, axis).getResult());
  }
  return dims;
}

//===----------------------------------------------------------------------===//
// Placement of arithmetic
//===----------------------------------------------------------------------===//

/// Whether the insertion point right after the definition of `other` comes before that after `value`.
static bool isDefinedAfter(Value value, Value other) {
  Block *block = value.getParentBlock(), *otherBlock = other.getParentBlock();
  if (block != otherBlock) {
    return otherBlock->getParent()->isProperAncestor(block->getParent());
  }
  Operation *op = value.getDefiningOp(), *otherOp = other.getDefiningOp();
  return op && (!otherOp || otherOp->isBeforeInBlock(op));
}

/// Sets the builder to the earliest place where all `operands` are known; without any, to the start of the
/// function around `op`. Two ops with the same operands thus stand at the same place, whoever asked first.
static void setToEarliestPoint(OpBuilder &builder, ValueRange operands, Operation *op) {
  if (operands.empty()) {
    Operation *isolated = op->getParentWithTrait<OpTrait::IsIsolatedFromAbove>();
    Region *region = op->getParentRegion();
    while (region->getParentOp() != isolated) {
      region = region->getParentRegion();
    }
    builder.setInsertionPointToStart(&region->front());
    return;
  }
  Value last = operands.front();
  for (Value operand : operands.drop_front()) {
    last = isDefinedAfter(operand, last) ? operand : last;
  }
  builder.setInsertionPointAfterValue(last);
}

//===----------------------------------------------------------------------===//
// ShapeTracker
//===----------------------------------------------------------------------===//

unsigned ShapeTracker::ArithmeticInfo::getHashValue(const Operation *op) {
  return OperationEquivalence::computeHash(const_cast<Operation *>(op), OperationEquivalence::directHashValue,
                                           OperationEquivalence::ignoreHashValue,
                                           OperationEquivalence::IgnoreLocations);
}

bool ShapeTracker::ArithmeticInfo::isEqual(const Operation *lhs, const Operation *rhs) {
  if (lhs == rhs) {
    return true;
  }
  bool isMarker =
      lhs == getEmptyKey() || lhs == getTombstoneKey() || rhs == getEmptyKey() || rhs == getTombstoneKey();
  return !isMarker &&
         OperationEquivalence::isEquivalentTo(const_cast<Operation *>(lhs), const_cast<Operation *>(rhs),
                                              OperationEquivalence::IgnoreLocations);
}

void ShapeTracker::setDims(Value tensor, ArrayRef<OpFoldResult> tensorDims) {
  ArrayRef<int64_t> shape = getLogicalType(tensor.getType()).getShape();
  Dims exact(tensorDims);
  for (auto [dim, size] : llvm::zip(exact, shape)) {
    // The type may know more than the operands do.
    if (!ShapedType::isDynamic(size)) {
      dim = builder.getIndexAttr(size);
    } else if (std::optional<int64_t> number = getConstantIntValue(dim)) {
      dim = builder.getIndexAttr(*number);
    }
  }
  dims[tensor] = std::move(exact);
}

LogicalResult ShapeTracker::infer(ShapeOpInterface op) {
  SmallVector<Dims> operandDims = llvm::map_to_vector(op->getOperands(), [&](Value operand) {
    return isa<RankedTensorType>(operand.getType()) ? dims.lookup(operand) : Dims();
  });
  // The arithmetic is built aside first, and only what is new is copied into the function.
  Block scratch;
  OpBuilder scratchBuilder(op->getContext());
  scratchBuilder.setInsertionPointToStart(&scratch);
  FailureOr<SmallVector<Dims>> results = op.inferDims(scratchBuilder, operandDims);
  if (failed(results) || results->size() != op->getNumResults()) {
    return failure();
  }
  IRMapping mapping;
  for (Operation &computation : scratch) {
    for (OpOperand &operand : computation.getOpOperands()) {
      operand.set(mapping.lookupOrDefault(operand.get()));
    }
    auto known = arithmetic.find(&computation);
    if (known == arithmetic.end()) {
      OpBuilder::InsertionGuard guard(builder);
      setToEarliestPoint(builder, computation.getOperands(), op);
      known = arithmetic.insert(builder.clone(computation)).first;
    }
    mapping.map(computation.getResults(), (*known)->getResults());
  }
  for (auto [result, resultDims] : llvm::zip_equal(op->getResults(), *results)) {
    if (!isa<RankedTensorType>(result.getType())) {
      continue; // an index value beside tensors
    }
    if (cast<RankedTensorType>(result.getType()).getRank() != int64_t(resultDims.size())) {
      return failure();
    }
    for (OpFoldResult &dim : resultDims) {
      if (auto value = dyn_cast<Value>(dim)) {
        dim = mapping.lookupOrDefault(value);
      }
    }
    setDims(result, resultDims);
  }
  return success();
}

LogicalResult ShapeTracker::compute(Value tensor) {
  RankedTensorType type = getLogicalType(tensor.getType());
  if (!type) {
    return failure();
  }
  if (type.hasStaticShape()) {
    setDims(tensor, getAsIndexOpFoldResult(type.getContext(), type.getShape()));
    return success();
  }
  if (auto argument = dyn_cast<BlockArgument>(tensor)) {
    setDims(tensor, getArgumentDims(builder, argument));
    return success();
  }
  Operation *op = tensor.getDefiningOp();
  if (auto empty = dyn_cast<tensor::EmptyOp>(op)) {
    setDims(tensor, empty.getMixedSizes());
    return success();
  }
  if (auto cast = dyn_cast<tensor::CastOp>(op)) {
    setDims(tensor, dims.lookup(cast.getSource()));
    return success();
  }
  auto shapeOp = dyn_cast<ShapeOpInterface>(op);
  return shapeOp ? infer(shapeOp) : failure();
}

/// The tensors whose sizes decide those of `tensor`.
static SmallVector<Value> getSources(Value tensor) {
  auto type = dyn_cast<RankedTensorType>(tensor.getType());
  Operation *op = tensor.getDefiningOp();
  if (!type || type.hasStaticShape() || !op || !isa<ShapeOpInterface, tensor::CastOp>(op)) {
    return {};
  }
  return llvm::filter_to_vector(op->getOperands(),
                                [](Value operand) { return isa<RankedTensorType>(operand.getType()); });
}

FailureOr<ArrayRef<OpFoldResult>> ShapeTracker::getDims(Value tensor) {
  // A stack instead of a recursion: graphs are deep. A value is computed when it comes up for the second
  // time.
  SmallVector<std::pair<Value, bool>> stack{{tensor, false}};
  while (!stack.empty()) {
    auto [value, hasSources] = stack.pop_back_val();
    if (dims.contains(value)) {
      continue;
    }
    if (hasSources) {
      if (failed(compute(value))) {
        return failure();
      }
      continue;
    }
    stack.push_back({value, true});
    for (Value source : getSources(value)) {
      stack.push_back({source, false});
    }
  }
  return ArrayRef<OpFoldResult>(dims.find(tensor)->second);
}

FailureOr<SmallVector<Value>> ShapeTracker::getDynamicSizes(Value tensor) {
  FailureOr<ArrayRef<OpFoldResult>> tensorDims = getDims(tensor);
  if (failed(tensorDims)) {
    return failure();
  }
  return getValueOrCreateConstantIndexOp(builder, tensor.getLoc(), *tensorDims);
}
