// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Dialect/NN/IR/Division.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

static bool isSameIndex(Value lhs, Value rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs);
  return lhs == rhs || (left && left == getConstantIntValue(rhs));
}

static bool isSameTile(const Tile &lhs, const Tile &rhs) {
  return lhs.lanes == rhs.lanes && lhs.mask == rhs.mask && lhs.index.size() == rhs.index.size() &&
         llvm::all_of(llvm::zip_equal(lhs.index, rhs.index),
                      [](auto pair) { return isSameIndex(std::get<0>(pair), std::get<1>(pair)); });
}

Value lathe::codegen::toLanes(OpBuilder &builder, Location loc, Value value, int64_t lanes) {
  if (lanes == 0 || isa<VectorType>(value.getType())) {
    return value;
  }
  return vector::BroadcastOp::create(builder, loc, VectorType::get({lanes}, value.getType()), value);
}

bool ElementEmitter::canEvaluate(Operation *op) {
  if (auto input = dyn_cast<kernel::InputOp>(op)) {
    return true;
  }
  DenseElementsAttr elements;
  if (matchPattern(op, m_Constant(&elements))) {
    return isa<IntegerType, FloatType>(elements.getElementType());
  }
  return isa<nn::PointwiseOpInterface, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::ExpandOp,
             nn::ConcatOp, nn::GatherOp, nn::GatherNDOp, nn::RangeOp, nn::FromScalarsOp>(op);
}

bool ElementEmitter::canEvaluate(Value tensor, ArrayRef<Value> roots) {
  llvm::SetVector<Value> worklist;
  worklist.insert(tensor);
  for (size_t i = 0; i < worklist.size(); ++i) {
    Value value = worklist[i];
    Operation *op = value.getDefiningOp();
    if (llvm::is_contained(roots, value) || !isa<RankedTensorType>(value.getType())) {
      continue;
    }
    if (!op || !canEvaluate(op)) {
      return false;
    }
    if (!isa<kernel::InputOp>(op)) {
      worklist.insert(op->operand_begin(), op->operand_end());
    }
  }
  return true;
}

Type ElementEmitter::getTileType(Value tensor, const Tile &tile) {
  Type type = getRegisterType(cast<RankedTensorType>(tensor.getType()).getElementType());
  return tile.lanes ? VectorType::get({tile.lanes}, type) : type;
}

FailureOr<SmallVector<OpFoldResult>> ElementEmitter::getDims(Value tensor) {
  FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(tensor);
  if (failed(dims)) {
    return emitError(tensor.getLoc()) << "cannot tell the sizes of a tensor of type " << tensor.getType();
  }
  return SmallVector<OpFoldResult>(*dims);
}

FailureOr<Value> ElementEmitter::evaluate(Value tensor, const Tile &tile) {
  if (auto known = roots.find(tensor); known != roots.end()) {
    if (tile.lanes == 0 && isa<VectorType>(known->second.getType())) {
      // A last dimension of one element, which the first lane has.
      return vector::ExtractOp::create(context.builder, tensor.getLoc(), known->second, 0).getResult();
    }
    return toLanes(context.builder, tensor.getLoc(), known->second, tile.lanes);
  }
  for (auto &[knownTile, value] : memo[tensor]) {
    if (isSameTile(knownTile, tile)) {
      return value;
    }
  }
  Result value = compute(tensor, tile);
  if (succeeded(value)) {
    memo[tensor].push_back({tile, *value});
  }
  return value;
}

FailureOr<Value> ElementEmitter::compute(Value tensor, const Tile &tile) {
  if (auto known = views.find(tensor); known != views.end()) {
    return loadTile(context.builder, tensor.getLoc(), known->second, tile);
  }
  if (auto known = functions.find(tensor); known != functions.end()) {
    Result value = known->second(tile);
    return failed(value) ? value : Result(toLanes(context.builder, tensor.getLoc(), *value, tile.lanes));
  }
  Operation *op = tensor.getDefiningOp();
  if (!op) {
    return emitError(tensor.getLoc()) << "cannot evaluate an argument of type " << tensor.getType();
  }
  if (isa<kernel::InputOp, nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::ExpandOp>(op)) {
    FailureOr<StridedView> view = getStridedView(context, tensor);
    if (succeeded(view)) {
      return loadTile(context.builder, tensor.getLoc(), *view, tile);
    }
  }
  DenseElementsAttr elements;
  if (matchPattern(op, m_Constant(&elements))) {
    return computeConstant(op, elements, tile);
  }
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case([&](nn::PointwiseOpInterface op) { return computePointwise(op, tile); })
      .Case([&](nn::ReshapeOp op) { return computeReshape(op, tile); })
      .Case([&](nn::TransposeOp op) { return computeTranspose(op, tile); })
      .Case([&](nn::SliceOp op) { return computeSlice(op, tile); })
      .Case([&](nn::ExpandOp op) { return evaluateBroadcast(op.getX(), op.getResult(), tile); })
      .Case([&](nn::ConcatOp op) { return computeConcat(op, tile); })
      .Case([&](nn::GatherOp op) { return computeGather(op, tile); })
      .Case([&](nn::GatherNDOp op) { return computeGatherND(op, tile); })
      .Case([&](nn::RangeOp op) { return computeRange(op, tile); })
      .Case([&](nn::FromScalarsOp op) { return computeFromScalars(op, tile); })
      .Default(
          [&](Operation *op) -> Result { return op->emitOpError("cannot be computed element by element"); });
}

FailureOr<Value> ElementEmitter::computePointwise(nn::PointwiseOpInterface op, const Tile &tile) {
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    Result value = evaluateBroadcast(operand, op->getResult(0), tile);
    if (failed(value)) {
      return failure();
    }
    operands.push_back(*value);
  }
  if (nn::getUncertainDivisor(op)) {
    Value divisor = operands[1];
    Value zero = arith::ConstantOp::create(context.builder, op.getLoc(),
                                           context.builder.getZeroAttr(divisor.getType()));
    Value isZero =
        arith::CmpIOp::create(context.builder, op.getLoc(), arith::CmpIPredicate::eq, divisor, zero);
    trapWhere(op.getLoc(), isZero, tile.mask, nn::kFaultDivision);
  }
  return op.buildElement(context.builder, op.getLoc(), operands);
}

FailureOr<Value> ElementEmitter::evaluateBroadcast(Value operand, Value result, const Tile &tile) {
  FailureOr<SmallVector<OpFoldResult>> dims = getDims(operand), resultDims = getDims(result);
  if (failed(dims) || failed(resultDims)) {
    return failure();
  }
  Location loc = result.getLoc();
  OpBuilder &builder = context.builder;
  IndexMath math{builder, loc};
  size_t missing = resultDims->size() - dims->size();
  Value isUniform;
  auto getIsOne = [&](OpFoldResult size) {
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, math.value(size),
                                 math.value(math.constant(1)));
  };
  Tile part{{}, tile.lanes, tile.mask};
  for (auto [dim, size] : llvm::enumerate(*dims)) {
    Value index = tile.index[missing + dim];
    bool isLast = dim + 1 == dims->size();
    if (isLast && isConstantSize(size, 1) && isConstantSize((*resultDims)[missing + dim], 1)) {
      // No broadcast: a tile of one column stays one, as the root's values are.
      part.index.push_back(index);
    } else if (isConstantSize(size, 1)) {
      part.index.push_back(math.value(math.constant(0)));
      part.lanes = isLast ? 0 : part.lanes;
    } else if (areEqualSizes(size, (*resultDims)[missing + dim]) || getConstantIntValue(size)) {
      part.index.push_back(index);
    } else if (isLast && tile.lanes) {
      isUniform = getIsOne(size);
      part.index.push_back(index);
    } else {
      Value zero = math.value(math.constant(0));
      part.index.push_back(arith::SelectOp::create(builder, loc, getIsOne(size), zero, index));
    }
  }
  if (dims->empty()) {
    part.lanes = 0;
  }
  part.mask = part.lanes ? part.mask : Value();
  if (!isUniform) {
    Result value = evaluate(operand, part);
    return failed(value) ? value : Result(toLanes(builder, loc, *value, tile.lanes));
  }
  Tile uniform{part.index, 0, Value()};
  uniform.index.back() = math.value(math.constant(0));
  return branch(
      isUniform, getTileType(operand, tile),
      [&]() -> Result {
        Result value = evaluate(operand, uniform);
        return failed(value) ? value : Result(toLanes(builder, loc, *value, tile.lanes));
      },
      [&] { return evaluate(operand, part); });
}

FailureOr<Value> ElementEmitter::branch(Value condition, Type type, llvm::function_ref<Result()> onTrue,
                                        llvm::function_ref<Result()> onFalse) {
  OpBuilder &builder = context.builder;
  Location loc = condition.getLoc();
  auto branchOp = scf::IfOp::create(builder, loc, TypeRange{type}, condition, /*addThenBlock=*/true,
                                    /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(builder);
  for (bool isTrue : {true, false}) {
    Scope scope(*this);
    builder.setInsertionPointToEnd(isTrue ? branchOp.thenBlock() : branchOp.elseBlock());
    Result value = isTrue ? onTrue() : onFalse();
    if (failed(value)) {
      return failure();
    }
    scf::YieldOp::create(builder, loc, *value);
  }
  return branchOp.getResult(0);
}

FailureOr<Value> ElementEmitter::scalarize(Value tensor, const Tile &tile) {
  FailureOr<SmallVector<OpFoldResult>> dims = getDims(tensor);
  if (failed(dims)) {
    return failure();
  }
  OpBuilder &builder = context.builder;
  IndexMath math{builder, tensor.getLoc()};
  OpFoldResult last = tile.mask ? math.sub(dims->back(), math.constant(1)) : OpFoldResult();
  SmallVector<Value> lanes;
  for (int64_t lane = 0; lane < tile.lanes; ++lane) {
    Tile element{tile.index, 0, Value()};
    OpFoldResult index = math.add(tile.index.back(), math.constant(lane));
    // Lanes that the mask turns off stay within bounds.
    element.index.back() = math.value(tile.mask && lane > 0 ? math.min(index, last) : index);
    Result value = evaluate(tensor, element);
    if (failed(value)) {
      return failure();
    }
    lanes.push_back(*value);
  }
  return vector::FromElementsOp::create(builder, tensor.getLoc(), getTileType(tensor, tile), lanes)
      .getResult();
}

static APInt getBits(Attribute element) {
  auto number = dyn_cast<FloatAttr>(element);
  return number ? number.getValue().bitcastToAPInt() : cast<IntegerAttr>(element).getValue();
}

static TypedAttr toSignless(Attribute element, Type type) {
  if (auto integer = dyn_cast<IntegerAttr>(element)) {
    return IntegerAttr::get(type, integer.getValue());
  }
  return cast<TypedAttr>(element);
}

/// A constant of the module that holds `values`, of which `type` is the memory.
static memref::GlobalOp makeGlobal(func::FuncOp kernel, MemRefType type, ArrayRef<Attribute> values) {
  auto module = kernel->getParentOfType<ModuleOp>();
  std::string name;
  for (unsigned number = 0; name.empty() || module.lookupSymbol(name); ++number) {
    name = (kernel.getName() + ".constant" + Twine(number)).str();
  }
  OpBuilder builder(kernel);
  auto contents =
      DenseElementsAttr::get(RankedTensorType::get(type.getShape(), type.getElementType()), values);
  return memref::GlobalOp::create(builder, kernel.getLoc(), name, builder.getStringAttr("private"), type,
                                  contents, /*constant=*/true, /*alignment=*/IntegerAttr());
}

Value ElementEmitter::makeTable(Location loc, DenseElementsAttr elements) {
  OpBuilder &builder = context.builder;
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(&context.kernel.getBody().front());
  Type type = getRegisterType(elements.getElementType()), memoryType = getMemoryType(type);
  int64_t count = elements.getNumElements();
  auto tableType = MemRefType::get({count}, memoryType);
  SmallVector<Attribute> values;
  for (Attribute element : elements.getValues<Attribute>()) {
    values.push_back(memoryType == type ? Attribute(toSignless(element, type))
                                        : IntegerAttr::get(memoryType, getBits(element).zext(8)));
  }
  if (context.constantsInModule) {
    memref::GlobalOp global = makeGlobal(context.kernel, tableType, values);
    return memref::GetGlobalOp::create(builder, loc, tableType, global.getSymName());
  }
  Value table = memref::AllocaOp::create(builder, loc, tableType);
  constexpr int64_t kChunk = 8;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    ArrayRef<Attribute> chunk = ArrayRef(values).slice(begin, std::min(kChunk, count - begin));
    auto chunkType = VectorType::get({int64_t(chunk.size())}, memoryType);
    Value stored = arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(chunkType, chunk));
    Value position = arith::ConstantIndexOp::create(builder, loc, begin);
    vector::StoreOp::create(builder, loc, stored, table, ValueRange{position});
  }
  return table;
}

FailureOr<Value> ElementEmitter::computeConstant(Operation *op, DenseElementsAttr elements,
                                                 const Tile &tile) {
  OpBuilder &builder = context.builder;
  Location loc = op->getLoc();
  Type type = getRegisterType(elements.getElementType());
  if (elements.isSplat() || elements.getNumElements() == 1) {
    TypedAttr element = toSignless(*elements.value_begin<Attribute>(), type);
    if (tile.lanes) {
      element = DenseElementsAttr::get(VectorType::get({tile.lanes}, type), Attribute(element));
    }
    return arith::ConstantOp::create(builder, loc, element).getResult();
  }
  Value &table = tables[op];
  if (!table) {
    table = makeTable(loc, elements);
  }
  SmallVector<OpFoldResult> sizes;
  for (int64_t dim : elements.getType().getShape()) {
    sizes.push_back(builder.getIndexAttr(dim));
  }
  return loadTile(builder, loc, getDenseView(builder, loc, table, sizes, type), tile);
}
