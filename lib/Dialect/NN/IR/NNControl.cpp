// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNControl.h"

#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/Builders.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNControlOps.cpp.inc"

SmallVector<Block *> lathe::nn::getHostBlocks(Block &entry) {
  SmallVector<Block *> blocks{&entry};
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (Operation &op : *blocks[i]) {
      if (isa<IfOp, LoopOp>(op)) {
        for (Region &body : op.getRegions()) {
          blocks.push_back(&body.front());
        }
      }
    }
  }
  return blocks;
}

//===----------------------------------------------------------------------===//
// What both have in common
//===----------------------------------------------------------------------===//

/// Dimensions as `shapes` gives them: a number, or one of `values`.
static SmallVector<OpFoldResult> pickDims(Attribute shape, ArrayRef<Value> values) {
  SmallVector<OpFoldResult> dims;
  Builder builder(shape.getContext());
  for (int64_t size : cast<DenseI64ArrayAttr>(shape).asArrayRef()) {
    if (size < 0) {
      dims.push_back(values[~size]);
    } else {
      dims.push_back(builder.getIndexAttr(size));
    }
  }
  return dims;
}

/// Checks that `types` are as many tensors as `tensors`, then index values.
static LogicalResult verifyTypes(Operation *op, StringRef what, TypeRange types, size_t tensors) {
  for (auto [position, type] : llvm::enumerate(types)) {
    if (position < tensors ? !isa<RankedTensorType>(type) : !type.isIndex()) {
      return op->emitOpError() << "expects " << what << " to be " << tensors
                               << " tensors, then index values, but number " << position << " is " << type;
    }
  }
  if (types.size() < tensors) {
    return op->emitOpError() << "expects " << what << " to be " << tensors
                             << " tensors at least, but there are " << types.size();
  }
  return success();
}

/// Checks that `shapes` agrees with the types of the tensors and names `valueCount` values at most.
static LogicalResult verifyShapes(Operation *op, ArrayAttr shapes, TypeRange types, size_t valueCount) {
  for (auto [position, attr] : llvm::enumerate(shapes)) {
    auto shape = dyn_cast<DenseI64ArrayAttr>(attr);
    auto tensor = cast<RankedTensorType>(types[position]);
    if (!shape || shape.size() != tensor.getRank()) {
      return op->emitOpError() << "expects shape " << position << " to be an i64 array of "
                               << tensor.getRank() << " elements, like " << tensor;
    }
    for (auto [size, dim] : llvm::zip_equal(shape.asArrayRef(), tensor.getShape())) {
      if (size >= 0 ? size != dim : !ShapedType::isDynamic(dim) || ~size >= int64_t(valueCount)) {
        return op->emitOpError() << "shape " << position << " has " << size << " where the type is " << tensor
                                 << " and there are " << valueCount << " values for sizes";
      }
    }
  }
  return success();
}

/// A value that is handed on has the elements and the rank of the type it gets, and no other known size.
static bool fits(Type from, Type to) {
  auto given = dyn_cast<RankedTensorType>(from), wanted = dyn_cast<RankedTensorType>(to);
  if (!given || !wanted) {
    return from == to;
  }
  return given.getElementType() == wanted.getElementType() &&
         succeeded(verifyCompatibleShape(given.getShape(), wanted.getShape()));
}

static LogicalResult verifyHandedOn(Operation *op, StringRef what, TypeRange given, TypeRange wanted) {
  if (given.size() != wanted.size()) {
    return op->emitOpError() << "expects " << what << " to have " << wanted.size()
                             << " values, but there are " << given.size();
  }
  for (auto [position, types] : llvm::enumerate(llvm::zip_equal(given, wanted))) {
    auto [from, to] = types;
    if (!fits(from, to)) {
      return op->emitOpError() << "expects value " << position << " of " << what << " to fit " << to
                               << ", but it is " << from;
    }
  }
  return success();
}

static LogicalResult verifyYields(Operation *op, Region &body) {
  if (!body.front().mightHaveTerminator() || !isa<YieldOp>(body.front().getTerminator())) {
    return op->emitOpError() << "expects bodies that end with nn.yield";
  }
  return success();
}

//===----------------------------------------------------------------------===//
// IfOp
//===----------------------------------------------------------------------===//

YieldOp IfOp::getYield(Region &body) { return cast<YieldOp>(body.front().getTerminator()); }

LogicalResult IfOp::verify() {
  unsigned tensors = getTensorCount();
  size_t values = getSizes().size() + getNumResults() - std::min<size_t>(tensors, getNumResults());
  if (failed(verifyTensors(*this)) || failed(verifyTypes(*this, "the results", getResultTypes(), tensors)) ||
      failed(verifyShapes(*this, getShapes(), getResultTypes(), values))) {
    return failure();
  }
  for (Region *body : {&getThenBody(), &getElseBody()}) {
    if (failed(verifyYields(*this, *body)) ||
        failed(verifyHandedOn(*this, "a body", getYield(*body)->getOperandTypes(), getResultTypes()))) {
      return failure();
    }
  }
  return success();
}

FailureOr<SmallVector<SmallVector<OpFoldResult>>> IfOp::inferDims(OpBuilder &,
                                                                  ArrayRef<SmallVector<OpFoldResult>>) {
  SmallVector<Value> values(getSizes());
  llvm::append_range(values, getResults().drop_front(getTensorCount()));
  SmallVector<SmallVector<OpFoldResult>> dims(getNumResults());
  for (unsigned i = 0; i < getTensorCount(); ++i) {
    dims[i] = pickDims(getShapes()[i], values);
  }
  return dims;
}

LogicalResult IfOp::canonicalize(IfOp op, PatternRewriter &rewriter) {
  bool isTrue = matchPattern(op.getCondition(), m_One()), isFalse = matchPattern(op.getCondition(), m_Zero());
  if (!isTrue && !isFalse) {
    return rewriter.notifyMatchFailure(op, "the condition is not known");
  }
  Block &body = (isTrue ? op.getThenBody() : op.getElseBody()).front();
  SmallVector<Value> yielded(body.getTerminator()->getOperands());
  rewriter.eraseOp(body.getTerminator());
  rewriter.inlineBlockBefore(&body, op);
  // The body may say more of a shape than the results do.
  SmallVector<Value> values(op.getSizes());
  llvm::append_range(values, ArrayRef<Value>(yielded).drop_front(op.getTensorCount()));
  rewriter.setInsertionPoint(op);
  for (unsigned i = 0; i < op.getTensorCount(); ++i) {
    if (yielded[i].getType() != op.getResult(i).getType()) {
      auto reshape =
          ReshapeOp::create(rewriter, op.getLoc(), yielded[i], pickDims(op.getShapes()[i], values));
      reshape.getResult().setType(cast<RankedTensorType>(op.getResult(i).getType()));
      yielded[i] = reshape;
    }
  }
  rewriter.replaceOp(op, yielded);
  return success();
}

//===----------------------------------------------------------------------===//
// LoopOp
//===----------------------------------------------------------------------===//

YieldOp LoopOp::getYield() { return cast<YieldOp>(getBody().front().getTerminator()); }

unsigned LoopOp::getCarriedTensorCount() {
  return llvm::count_if(getInits(), [](Value init) { return isa<RankedTensorType>(init.getType()); });
}

SmallVector<OpFoldResult> LoopOp::getDims(unsigned i, bool inBody) {
  SmallVector<Value> values(getSizes());
  unsigned tensors = getCarriedTensorCount();
  if (inBody) {
    llvm::append_range(values, getBody().getArguments().drop_front(1 + tensors));
  } else {
    llvm::append_range(values, getResults().drop_front(getShapes().size()));
  }
  return pickDims(getShapes()[i], values);
}

LogicalResult LoopOp::verify() {
  unsigned tensors = getCarriedTensorCount(), indices = getCarriedIndexCount(), all = getShapes().size();
  if (failed(verifyTensors(*this)) ||
      failed(verifyTypes(*this, "the inits", getInits().getTypes(), tensors)) ||
      failed(verifyTypes(*this, "the results", getResultTypes(), all))) {
    return failure();
  }
  if (all < tensors || getNumResults() != all + indices + 1) {
    return emitOpError() << "expects " << tensors << " carried tensors, scan outputs, " << indices
                         << " carried index values and the number of iterations as results, but there are "
                         << getNumResults() << " with " << all << " shapes";
  }
  // Within the body a tensor's dimensions are known before the number of iterations is.
  size_t known = getSizes().size() + indices;
  if (failed(verifyShapes(*this, getShapes(), getResultTypes(), known + 1)) ||
      failed(verifyYields(*this, getBody()))) {
    return failure();
  }
  for (unsigned i = 0; i < tensors; ++i) {
    if (llvm::is_contained(cast<DenseI64ArrayAttr>(getShapes()[i]).asArrayRef(), ~int64_t(known))) {
      return emitOpError() << "expects carried tensor " << i
                           << " to have no dimension of the number of iterations";
    }
  }
  for (unsigned i = tensors; i < all; ++i) {
    if (cast<RankedTensorType>(getResult(i).getType()).getRank() == 0) {
      return emitOpError() << "expects scan output " << i - tensors
                           << " to have a dimension for the iterations";
    }
  }
  SmallVector<Type> types{IndexType::get(getContext())};
  llvm::append_range(types, TypeRange(getResultTypes()).take_front(tensors));
  types.append(indices, IndexType::get(getContext()));
  if (failed(verifyHandedOn(*this, "the body's arguments", getBody().getArgumentTypes(), types)) ||
      failed(verifyHandedOn(*this, "the inits", getInits().getTypes(), ArrayRef<Type>(types).drop_front()))) {
    return failure();
  }
  types.front() = IntegerType::get(getContext(), 1);
  SmallVector<Type> elements;
  for (Type type : TypeRange(getResultTypes()).slice(tensors, all - tensors)) {
    auto tensor = cast<RankedTensorType>(type);
    elements.push_back(RankedTensorType::get(tensor.getShape().drop_front(), tensor.getElementType()));
  }
  types.insert(types.begin() + 1 + tensors, elements.begin(), elements.end());
  return verifyHandedOn(*this, "the body", getYield()->getOperandTypes(), types);
}

FailureOr<SmallVector<SmallVector<OpFoldResult>>> LoopOp::inferDims(OpBuilder &,
                                                                    ArrayRef<SmallVector<OpFoldResult>>) {
  SmallVector<SmallVector<OpFoldResult>> dims(getNumResults());
  for (unsigned i = 0; i < getShapes().size(); ++i) {
    dims[i] = getDims(i, /*inBody=*/false);
  }
  return dims;
}
