// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Kernel/IR/Kernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

#include "lathe/Dialect/Kernel/IR/KernelDialect.cpp.inc"
#include "lathe/Dialect/Kernel/IR/KernelEnums.cpp.inc"

#define GET_OP_CLASSES
#include "lathe/Dialect/Kernel/IR/KernelOps.cpp.inc"

void KernelDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "lathe/Dialect/Kernel/IR/KernelOps.cpp.inc"
      >();
}

/// Checks that `pitches`, if there, has one entry per tensor, 0 or at least the size of the last dimension.
static LogicalResult verifyPitches(Operation *op, std::optional<ArrayRef<int64_t>> pitches, TypeRange inputs,
                                   TypeRange results) {
  if (!pitches) {
    return success();
  }
  if (pitches->size() != inputs.size() + results.size()) {
    return op->emitOpError() << "expects one pitch per tensor, " << inputs.size() + results.size()
                             << ", but there are " << pitches->size();
  }
  for (auto [position, pitch] : llvm::enumerate(*pitches)) {
    Type type = position < inputs.size() ? inputs[position] : results[position - inputs.size()];
    auto tensor = dyn_cast<RankedTensorType>(type);
    bool fits = tensor && tensor.getRank() && !ShapedType::isDynamic(tensor.getShape().back()) &&
                pitch >= tensor.getShape().back();
    if (pitch && !fits) {
      return op->emitOpError() << "has a pitch of " << pitch << " elements for " << type;
    }
  }
  return success();
}

/// Checks that `shapes` has one entry per tensor and that static sizes agree and `~i` names one of
/// `sizeCount` sizes.
static LogicalResult verifyShapes(Operation *op, ArrayAttr shapes, TypeRange inputs, TypeRange results,
                                  size_t sizeCount) {
  if (shapes.size() != inputs.size() + results.size()) {
    return op->emitOpError() << "expects one shape per tensor, " << inputs.size() + results.size()
                             << ", but there are " << shapes.size();
  }
  for (auto [position, attr] : llvm::enumerate(shapes)) {
    auto shape = dyn_cast<DenseI64ArrayAttr>(attr);
    Type type = position < inputs.size() ? inputs[position] : results[position - inputs.size()];
    RankedTensorType tensor = nn::getLogicalType(type);
    if (!shape || shape.size() != tensor.getRank()) {
      return op->emitOpError() << "expects shape " << position << " to be an i64 array of "
                               << tensor.getRank() << " elements, like " << tensor;
    }
    for (auto [size, dim] : llvm::zip_equal(shape.asArrayRef(), tensor.getShape())) {
      if (size >= 0 ? size != dim : !ShapedType::isDynamic(dim) || ~size >= int64_t(sizeCount)) {
        return op->emitOpError() << "shape " << position << " has " << size << " where the type is " << tensor
                                 << " and there are " << sizeCount << " sizes";
      }
    }
  }
  return success();
}

LogicalResult GroupOp::verify() {
  if (failed(verifyShapes(*this, getShapes(), getInputs().getTypes(), getResults().getTypes(),
                          getSizes().size())) ||
      failed(verifyPitches(*this, getPitches(), getInputs().getTypes(), getResults().getTypes()))) {
    return failure();
  }
  Block &block = getBody().front();
  if (!llvm::equal(block.getArgumentTypes(), getOperandTypes())) {
    return emitOpError() << "expects the region's arguments to have the types of the operands";
  }
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield || !llvm::equal(yield.getOperandTypes(), getResultTypes())) {
    return emitOpError() << "expects the region to yield values of the results' types";
  }
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  auto function = symbolTable.lookupNearestSymbolFrom<func::FuncOp>(*this, getCalleeAttr());
  if (!function) {
    return emitOpError() << "does not find the function " << getCalleeAttr();
  }
  size_t tensors = getInputs().size() + getNumResults();
  // An emitted kernel also takes the iterations to do and its worker, and returns a fault; on a device it
  // takes the address of its fault.
  ArrayRef<Type> types = function.getArgumentTypes();
  bool isOnDevice = !types.empty() && !types.back().isIntOrIndex() && !isa<MemRefType>(types.back());
  size_t expected = tensors + getSizes().size() + (function.getNumResults() ? 3 : isOnDevice ? 1 : 0);
  if (function.getNumArguments() != expected) {
    return emitOpError() << "has " << tensors << " tensors and " << getSizes().size() << " sizes, so "
                         << getCalleeAttr() << " should have " << expected << " arguments, but it has "
                         << function.getNumArguments();
  }
  if (failed(verifyPitches(*this, getPitches(), getInputs().getTypes(), getResultTypes()))) {
    return failure();
  }
  return verifyShapes(*this, getShapes(), getInputs().getTypes(), getResultTypes(), getSizes().size());
}

/// Checks that `sizes` holds one value per dynamic dimension of `type`.
static LogicalResult verifySizes(Operation *op, Type type, ValueRange sizes) {
  int64_t dynamic = nn::getLogicalType(type).getNumDynamicDims();
  if (dynamic != int64_t(sizes.size())) {
    return op->emitOpError() << "expects one size per dynamic dimension of " << type << ", " << dynamic
                             << ", but there are " << sizes.size();
  }
  return success();
}

LogicalResult InputOp::verify() { return verifySizes(*this, getType(), getSizes()); }
LogicalResult OutputOp::verify() { return verifySizes(*this, getValue().getType(), getSizes()); }

/// The shapes of the results, which stand behind those of the inputs.
static SmallVector<SmallVector<OpFoldResult>> resultDims(OpBuilder &builder, ArrayAttr shapes, size_t inputs,
                                                         ValueRange sizes) {
  SmallVector<SmallVector<OpFoldResult>> results;
  for (Attribute shape : shapes.getValue().drop_front(inputs)) {
    SmallVector<OpFoldResult> &dims = results.emplace_back();
    for (int64_t size : cast<DenseI64ArrayAttr>(shape).asArrayRef()) {
      dims.push_back(size < 0 ? OpFoldResult(sizes[~size]) : OpFoldResult(builder.getIndexAttr(size)));
    }
  }
  return results;
}

FailureOr<SmallVector<SmallVector<OpFoldResult>>> GroupOp::inferDims(OpBuilder &builder,
                                                                     ArrayRef<SmallVector<OpFoldResult>>) {
  return resultDims(builder, getShapes(), getInputs().size(), getSizes());
}

FailureOr<SmallVector<SmallVector<OpFoldResult>>> LaunchOp::inferDims(OpBuilder &builder,
                                                                      ArrayRef<SmallVector<OpFoldResult>>) {
  return resultDims(builder, getShapes(), getInputs().size(), getSizes());
}

JoinOp JoinOp::find(Value tensor) {
  for (Operation *user : tensor.getUsers()) {
    if (auto join = dyn_cast<JoinOp>(user)) {
      return join;
    }
  }
  return {};
}

static ArrayRef<int64_t> shapeOf(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getShape(); }

int64_t JoinOp::getOffset(unsigned index) {
  int64_t offset = 0;
  for (Value input : getInputs().take_front(index)) {
    offset += ShapedType::getNumElements(shapeOf(input).drop_front(getAxis()));
  }
  return offset;
}

bool JoinOp::hasPitch() {
  ArrayRef<int64_t> shape = shapeOf(getResult());
  return getAxis() + 1 == shape.size() &&
         !llvm::all_of(shape.drop_back(), [](int64_t size) { return size == 1; });
}

LogicalResult JoinOp::verify() {
  auto type = cast<RankedTensorType>(getResult().getType());
  int64_t axis = getAxis(), joined = 0;
  if (axis >= type.getRank()) {
    return emitOpError() << "joins along dimension " << axis << " of " << type;
  }
  bool isDense = llvm::all_of(type.getShape().take_front(axis), [](int64_t size) { return size == 1; });
  if (!isDense && axis + 1 != type.getRank()) {
    return emitOpError() << "joins along dimension " << axis << " of " << type
                         << ", which is not the last and has larger ones before it";
  }
  for (Value input : getInputs()) {
    auto part = cast<RankedTensorType>(input.getType());
    SmallVector<int64_t> expected(type.getShape());
    if (part.getRank() == type.getRank()) {
      expected[axis] = part.getDimSize(axis);
    }
    if (part.getElementType() != type.getElementType() || part.getShape() != ArrayRef(expected) ||
        ShapedType::isDynamicShape(part.getShape().drop_front(axis))) {
      return emitOpError() << "cannot have a part " << part << " of " << type;
    }
    joined += part.getDimSize(axis);
    Operation *producer = input.getDefiningOp();
    if (!producer || !isa<GroupOp, LaunchOp, JoinOp>(producer) ||
        producer->getBlock() != (*this)->getBlock()) {
      return emitOpError("has a part that is computed by no kernel of this block");
    }
    if (llvm::count_if(input.getUses(), [](OpOperand &use) { return isa<JoinOp>(use.getOwner()); }) != 1) {
      return emitOpError("has a part that is joined twice");
    }
  }
  if (joined != type.getDimSize(axis)) {
    return emitOpError() << "has parts of " << joined << " elements along dimension " << axis << " of "
                         << type;
  }
  return success();
}

FailureOr<SmallVector<SmallVector<OpFoldResult>>>
JoinOp::inferDims(OpBuilder &builder, ArrayRef<SmallVector<OpFoldResult>> dims) {
  SmallVector<OpFoldResult> result(dims.front());
  result[getAxis()] = builder.getIndexAttr(shapeOf(getResult())[getAxis()]);
  return SmallVector<SmallVector<OpFoldResult>>{result};
}

FailureOr<SmallVector<SmallVector<OpFoldResult>>> InputOp::inferDims(OpBuilder &builder,
                                                                     ArrayRef<SmallVector<OpFoldResult>>) {
  SmallVector<OpFoldResult> dims;
  ValueRange sizes = getSizes();
  for (int64_t dim : nn::getLogicalType(getType()).getShape()) {
    if (ShapedType::isDynamic(dim)) {
      dims.push_back(sizes.front());
      sizes = sizes.drop_front();
    } else {
      dims.push_back(builder.getIndexAttr(dim));
    }
  }
  return SmallVector<SmallVector<OpFoldResult>>{dims};
}
