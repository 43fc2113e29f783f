// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Element/MatMulProblem.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

static FailureOr<SmallVector<OpFoldResult>> getDims(ElementContext &context, Value tensor) {
  FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(tensor);
  if (failed(dims)) {
    return emitError(tensor.getLoc())
           << "the shape of a tensor of type " << tensor.getType() << " is not known";
  }
  return SmallVector<OpFoldResult>(*dims);
}

static Type elementOf(Value value) { return typeOf(value).getElementType(); }

static bool allF32(TypeRange types) {
  return llvm::all_of(types, [](Type type) { return cast<RankedTensorType>(type).getElementType().isF32(); });
}

/// Whether both operands of `op` are bf16 and the result is as well, or f32; likewise f16 on a device.
static bool isOfPairs(Operation *op, bool onDevice) {
  Type lhs = elementOf(op->getOperand(0)), rhs = elementOf(op->getOperand(1)),
       result = elementOf(op->getResult(0));
  return (lhs.isBF16() || (lhs.isF16() && onDevice)) && lhs == rhs && (result == lhs || result.isF32());
}

static bool canEmitMatMul(nn::MatMulOp op, bool onDevice, std::string &whyNot) {
  bool isF32 = allF32(op->getOperandTypes()) && allF32(op->getResultTypes());
  if (!isF32 && !isOfPairs(op, onDevice)) {
    whyNot = "only products of f32 and of bf16 have a micro-kernel";
    return false;
  }
  return true;
}

static bool canEmitMatMul(nn::ConvOp op, bool onDevice, std::string &whyNot) {
  if (!(allF32(op->getOperandTypes()) || isOfPairs(op, onDevice)) || !op.isProduct()) {
    whyNot = "only convolutions of f32 and of bf16 with a window of one element, stride 1, one group and no "
             "padding are "
             "matrix products";
    return false;
  }
  return true;
}

/// Whether rows of `tensor` along all dimensions but the last lie at equal distances.
static bool rowsAreUniform(ElementContext &context, Value tensor) {
  while (!tensor.getDefiningOp<kernel::InputOp>()) {
    if (auto slice = tensor.getDefiningOp<nn::SliceOp>()) {
      FailureOr<SmallVector<OpFoldResult>> dims = getDims(context, slice.getX());
      if (failed(dims)) {
        return false;
      }
      SmallVector<OpFoldResult> sizes = slice.getMixedSizes();
      for (size_t dim = 0; dim + 1 < sizes.size(); ++dim) {
        if (slice.getStaticStrides()[dim] != 1 || !areEqualSizes(sizes[dim], (*dims)[dim])) {
          return false;
        }
      }
      tensor = slice.getX();
    } else if (auto reshape = tensor.getDefiningOp<nn::ReshapeOp>()) {
      // Splits or merges rows, or is dense itself.
      auto input = reshape.getX().getDefiningOp<kernel::InputOp>();
      bool isDense = input && !input.getPitch();
      RankedTensorType from = typeOf(reshape.getX()), to = typeOf(reshape.getResult());
      bool keepsRows = from.getRank() && to.getRank() && !from.isDynamicDim(from.getRank() - 1) &&
                       from.getShape().back() == to.getShape().back();
      if (!keepsRows && !isDense) {
        return false;
      }
      tensor = reshape.getX();
    } else {
      return false;
    }
  }
  return true;
}

/// Whether `tensor`, used in the epilogue of a product of shape `dims`, can be addressed by a flat row
/// number: it has the result's shape and lies densely, or does not depend on the row.
static bool isFlatAddressable(ElementContext &context, Value tensor, const MatMulProblem &problem,
                              ArrayRef<OpFoldResult> resultDims) {
  llvm::SmallDenseSet<Value> seen;
  SmallVector<Value> worklist{tensor};
  while (!worklist.empty()) {
    Value value = worklist.pop_back_val();
    if (value == problem.result || !seen.insert(value).second) {
      continue;
    }
    ArrayRef<int64_t> shape = typeOf(value).getShape();
    if (llvm::all_of(shape.drop_back(shape.empty() ? 0 : 1), [](int64_t size) { return size == 1; })) {
      continue;
    }
    FailureOr<SmallVector<OpFoldResult>> dims = getDims(context, value);
    if (failed(dims) || dims->size() != resultDims.size() ||
        !llvm::all_of(llvm::zip_equal(ArrayRef(*dims).drop_back(), resultDims.drop_back()),
                      [](auto pair) { return areEqualSizes(std::get<0>(pair), std::get<1>(pair)); })) {
      return false;
    }
    Operation *op = value.getDefiningOp();
    if (isa_and_nonnull<nn::PointwiseOpInterface>(op)) {
      llvm::append_range(worklist, op->getOperands());
    } else if (!isa_and_nonnull<kernel::InputOp>(op)) {
      return false;
    }
  }
  return true;
}

/// A matrix product, or a convolution whose pixels are rows and whose filter is a matrix.
static LogicalResult analyzeProduct(ElementContext &context, MatMulProblem &problem) {
  FailureOr<SmallVector<OpFoldResult>> result = getDims(context, problem.result),
                                       lhs = getDims(context, problem.lhs);
  if (failed(result) || failed(lhs)) {
    return failure();
  }
  size_t rank = result->size();
  problem.batch.assign(result->begin(), result->end() - 2);
  problem.m = (*result)[rank - 2];
  problem.n = (*result)[rank - 1];
  problem.k = lhs->back();
  ArrayRef<int64_t> rhsBatch = typeOf(problem.rhs).getShape().drop_back(2);
  bool isOneMatrix = llvm::all_of(rhsBatch, [](int64_t size) { return size == 1; });
  if (rank > 2 && isOneMatrix && lhs->size() == rank && rowsAreUniform(context, problem.lhs)) {
    problem.flattened.assign(result->begin(), result->end() - 1);
    auto isFlat = [&](Value tensor) {
      return !tensor || isFlatAddressable(context, tensor, problem, *result);
    };
    problem.flatIndex =
        isFlat(problem.output.getValue()) && isFlat(problem.lhsZero) && isFlat(problem.rhsZero);
    problem.batch.clear();
    problem.m = IndexMath{context.builder, problem.root->getLoc()}.product(problem.flattened);
  }
  return success();
}

/// Finds the product and the result of a kernel.
static LogicalResult findRoot(ElementContext &context, MatMulProblem &problem) {
  for (Operation &op : context.kernel.getBody().front()) {
    if (auto output = dyn_cast<kernel::OutputOp>(op)) {
      if (problem.output) {
        return output.emitOpError("is the second result of a matrix product");
      }
      problem.output = output;
    } else if (isa<nn::MatMulOp, nn::ConvOp, nn::IntegerMatMulOp, nn::IntegerConvOp>(op)) {
      if (problem.root) {
        return op.emitOpError("is the second matrix product of one kernel");
      }
      problem.root = &op;
    }
  }
  if (!problem.root || !problem.output) {
    return context.kernel.emitOpError("expects one matrix product with one result");
  }
  problem.result = problem.root->getResult(0);
  if (typeOf(problem.result).getRank() != typeOf(problem.output.getValue()).getRank()) {
    return problem.output.emitOpError()
           << "expects a result of the product's rank " << typeOf(problem.result).getRank()
           << ", but it has type " << problem.output.getValue().getType();
  }
  problem.lhs = problem.root->getOperand(0);
  problem.rhs = problem.root->getOperand(1);
  return success();
}

FailureOr<MatMulProblem> codegen::analyzeWindows(ElementContext &context) {
  MatMulProblem problem;
  if (failed(findRoot(context, problem))) {
    return failure();
  }
  FailureOr<SmallVector<OpFoldResult>> result = getDims(context, problem.result);
  if (failed(result)) {
    return failure();
  }
  problem.flattened.assign(result->begin(), result->end() - 1);
  problem.m = IndexMath{context.builder, problem.root->getLoc()}.product(problem.flattened);
  problem.n = result->back();
  ArrayRef<int64_t> window = typeOf(problem.rhs).getShape().drop_back();
  problem.k = context.builder.getIndexAttr(ShapedType::getNumElements(window));
  problem.flatIndex = isFlatAddressable(context, problem.output.getValue(), problem, *result);
  return problem;
}

FailureOr<MatMulProblem> codegen::analyzeMatMul(ElementContext &context) {
  MatMulProblem problem;
  if (failed(findRoot(context, problem))) {
    return failure();
  }
  std::string whyNot;
  bool canEmit = llvm::TypeSwitch<Operation *, bool>(problem.root)
                     .Case<nn::MatMulOp, nn::ConvOp>(
                         [&](auto op) { return canEmitMatMul(op, context.onDevice, whyNot); })
                     .Case([&](nn::IntegerMatMulOp op) {
                       problem.lhsZero = op.getLhsZero();
                       problem.rhsZero = op.getRhsZero();
                       return true;
                     })
                     .Case([&](nn::IntegerConvOp op) {
                       problem.lhsZero = op.getZero();
                       problem.rhsZero = op.getFilterZero();
                       whyNot = "is no matrix product";
                       return op.isProduct();
                     });
  if (!canEmit) {
    return problem.root->emitOpError(whyNot);
  }
  return failed(analyzeProduct(context, problem)) ? FailureOr<MatMulProblem>(failure()) : problem;
}

SmallVector<Value> MatMulProblem::resultIndex(OpBuilder &builder, Location loc,
                                              ArrayRef<OpFoldResult> batchIndex, Value row,
                                              Value column) const {
  IndexMath math{builder, loc};
  SmallVector<OpFoldResult> index(batchIndex);
  if (flattened.empty()) {
    index.push_back(row);
  } else if (flatIndex) {
    // The number of the row stands in the last dimension that counts: positions in those of one element do
    // not.
    size_t last = flattened.size();
    while (last > 1 && isConstantSize(flattened[last - 1], 1)) {
      --last;
    }
    index.append(flattened.size(), math.constant(0));
    index[batchIndex.size() + last - 1] = row;
  } else {
    index = math.delinearize(row, flattened);
  }
  index.push_back(column);
  return math.values(index);
}

SmallVector<OpFoldResult> codegen::broadcastBatchIndex(OpBuilder &builder, Location loc,
                                                       ArrayRef<OpFoldResult> sizes,
                                                       ArrayRef<OpFoldResult> batchIndex) {
  IndexMath math{builder, loc};
  SmallVector<OpFoldResult> result;
  OpFoldResult zero = math.constant(0);
  for (auto [dim, size] : llvm::enumerate(sizes)) {
    // All leading dimensions are 1 where there is no batch, or their rows are those of one product.
    OpFoldResult index = batchIndex.empty() ? zero : batchIndex[batchIndex.size() - sizes.size() + dim];
    if (isConstantSize(size, 1)) {
      index = zero;
    } else if (!getConstantIntValue(size) && !batchIndex.empty()) {
      // A dynamic dimension may broadcast.
      Value isOne = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, math.value(size),
                                          math.value(math.constant(1)));
      index = arith::SelectOp::create(builder, loc, isOne, math.value(zero), math.value(index)).getResult();
    }
    result.push_back(index);
  }
  return result;
}

OpFoldResult codegen::getBatchOffset(OpBuilder &builder, Location loc, const StridedView &view,
                                     ArrayRef<OpFoldResult> batchIndex) {
  IndexMath math{builder, loc};
  OpFoldResult offset = view.offset;
  ArrayRef<OpFoldResult> sizes = ArrayRef(view.sizes).drop_back(2);
  for (auto [index, stride] : llvm::zip(broadcastBatchIndex(builder, loc, sizes, batchIndex), view.strides)) {
    offset = math.add(offset, math.mul(index, stride));
  }
  return offset;
}
