// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

/// The integers of a small constant.
static std::optional<Scalars> readConstant(Value tensor) {
  auto type = mlir::cast<RankedTensorType>(tensor.getType());
  Type elementType = type.getElementType();
  if (!type.hasStaticShape() || type.getNumElements() > kMaxScalars ||
      !(elementType.isSignlessInteger(64) || elementType.isSignlessInteger(32) ||
        elementType.isSignlessInteger(1))) {
    return std::nullopt;
  }
  DenseElementsAttr elements;
  if (!matchPattern(tensor, m_Constant(&elements))) {
    return std::nullopt;
  }
  Scalars scalars{elementType, llvm::to_vector(type.getShape()), {}};
  OpBuilder builder(tensor.getContext());
  for (const APInt &element : elements.getValues<APInt>()) {
    scalars.elements.push_back(
        builder.getIndexAttr(elementType.isInteger(1) ? element.getZExtValue() : element.getSExtValue()));
  }
  return scalars;
}

const Scalars *LegalizeContext::scalars(unsigned i) { return asScalars(*inputs[i]); }

const Scalars *LegalizeContext::asScalars(LegalValue &value) {
  if (!value.isNumeric()) {
    return nullptr;
  }
  if (!value.scalars && value.tensor) {
    value.scalars = readConstant(value.tensor);
  }
  return value.scalars ? &*value.scalars : nullptr;
}

Value LegalizeContext::operand(unsigned i) { return asTensor(*inputs[i]); }

Value LegalizeContext::asTensor(LegalValue &value) {
  if (!value.isNumeric() || !value.isKnown()) {
    (void)unsupported("a value is no tensor of numbers");
  }
  if (!value.tensor && !value.scalars) {
    return nn::buildScalar(b, loc, b.getF32Type(), 0);
  }
  if (value.tensor) {
    return value.tensor;
  }
  const Scalars &scalars = *value.scalars;
  auto type = RankedTensorType::get(scalars.shape, scalars.elementType);
  SmallVector<APInt> numbers;
  for (Size element : scalars.elements) {
    if (std::optional<int64_t> number = getConstantIntValue(element)) {
      numbers.push_back(APInt(scalars.elementType.getIntOrFloatBitWidth(), *number, /*isSigned=*/true,
                              /*implicitTrunc=*/true));
    }
  }
  if (numbers.size() == scalars.elements.size()) {
    return value.tensor = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, numbers));
  }
  // Bools are made as i64 first: `from_scalars` takes integers.
  Type elementType = scalars.elementType.isInteger(1) ? b.getI64Type() : scalars.elementType;
  Value flat = nn::buildFromScalars(b, loc, scalars.elements, elementType, scalars.shape.empty());
  if (scalars.shape.size() > 1) {
    flat = reshape(flat, getAsIndexOpFoldResult(b.getContext(), scalars.shape));
  }
  return value.tensor = cast(flat, scalars.elementType);
}

Type LegalizeContext::elementType(unsigned i) {
  LegalValue &value = *inputs[i];
  return value.tensor ? nn::getElementType(value.tensor) : value.scalars->elementType;
}

Sizes LegalizeContext::shapeOf(unsigned i) {
  LegalValue &value = *inputs[i];
  if (value.scalars) {
    return getAsIndexOpFoldResult(b.getContext(), value.scalars->shape);
  }
  return shapeOf(value.tensor);
}

Sizes LegalizeContext::shapeOf(Value tensor) {
  FailureOr<ArrayRef<OpFoldResult>> dims = tracker.getDims(tensor);
  if (llvm::failed(dims)) {
    (void)error("E0307", "the shapes of the operands do not fit each other");
    dims = ArrayRef<OpFoldResult>();
  }
  Sizes resolved = llvm::map_to_vector(*dims, [&](Size size) { return sizes.resolve(size); });
  if (failed) {
    // An op whose shape cannot be inferred has no dimensions. Whoever counts on some finds them.
    constexpr int64_t enough = 16;
    resolved.resize(std::max(nn::getRank(tensor), enough), one());
  }
  return resolved;
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

LogicalResult LegalizeContext::set(unsigned i, Value tensor) {
  if (i < results.size()) {
    results[i].tensor = tensor;
  }
  return success(!failed);
}

LogicalResult LegalizeContext::setScalars(Scalars scalars, unsigned i) {
  if (i < results.size()) {
    results[i].scalars = std::move(scalars);
  }
  return success(!failed);
}

LogicalResult LegalizeContext::setLegal(unsigned i, LegalValue value) {
  if (i < results.size()) {
    results[i] = std::move(value);
  }
  return success(!failed);
}

Region *LegalizeContext::subgraph(StringRef name) {
  Region *body = mlir::cast<NodeOp>(node.op).getSubgraph(name);
  if (!body) {
    (void)error("E0303", name + " is missing", name);
  }
  return body;
}

LogicalResult LegalizeContext::forward(unsigned i) {
  results[0] = *inputs[i];
  return success(!failed);
}

bool LegalizeContext::isUsed(unsigned result) const {
  return result < node.op->getNumResults() && !node.op->getResult(result).use_empty();
}

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

Value LegalizeContext::binary(nn::BinaryKind kind, Value lhs, Value rhs) {
  if (nn::getElementType(lhs) != nn::getElementType(rhs)) {
    (void)error("E0306", llvm::formatv("the operands have different element types, {0} and {1}",
                                       nn::getElementType(lhs), nn::getElementType(rhs))
                             .str());
    return lhs;
  }
  boundSymbols({lhs, rhs});
  // The smaller operand, a bias most often, stands on the right.
  bool isCommutative = kind == nn::BinaryKind::Add || kind == nn::BinaryKind::Mul;
  if (isCommutative && nn::getRank(lhs) < nn::getRank(rhs)) {
    std::swap(lhs, rhs);
  }
  Value result = nn::buildBinary(b, loc, kind, lhs, rhs);
  if (nn::getRank(result) < std::max(nn::getRank(lhs), nn::getRank(rhs))) {
    (void)error(
        "E0307",
        llvm::formatv(
            "the operands do not fit: expects operands of compatible shapes, but they are {0} and {1}",
            lhs.getType(), rhs.getType())
            .str());
  }
  return result;
}

/// If `size` is the minimum of `symbol` and a number above 1, that number.
static std::optional<int64_t> getLimit(Size size, nn::DimSymbolOp symbol) {
  auto value = dyn_cast<Value>(size);
  auto min = value ? value.getDefiningOp<arith::MinSIOp>() : arith::MinSIOp();
  if (!min || (min.getLhs() != symbol.getResult() && min.getRhs() != symbol.getResult())) {
    return std::nullopt;
  }
  std::optional<int64_t> limit =
      getConstantIntValue(min.getLhs() == symbol.getResult() ? min.getRhs() : min.getLhs());
  return limit && *limit > 1 ? limit : std::nullopt;
}

void LegalizeContext::boundSymbols(ValueRange operands) {
  if (!isa<FunctionOpInterface>(b.getInsertionBlock()->getParentOp())) {
    return; // a body may never run
  }
  SmallVector<Sizes> shapes = llvm::map_to_vector(operands, [&](Value operand) { return shapeOf(operand); });
  bool hasChanged = false;
  for (const Sizes &first : shapes) {
    for (const Sizes &second : shapes) {
      size_t rank = std::min(first.size(), second.size());
      for (auto [size, other] :
           llvm::zip_equal(ArrayRef<Size>(first).take_back(rank), ArrayRef<Size>(second).take_back(rank))) {
        auto value = dyn_cast<Value>(size);
        auto symbol = value ? value.getDefiningOp<nn::DimSymbolOp>() : nn::DimSymbolOp();
        std::optional<int64_t> limit = symbol ? getLimit(other, symbol) : std::nullopt;
        if (limit && *limit >= int64_t(symbol.getMin())) {
          symbol.setMax(std::min<int64_t>(symbol.getMax(), *limit));
          sizes.setAlias(mlir::cast<Value>(other), symbol);
          hasChanged = true;
        }
      }
    }
  }
  // Whoever asks for these shapes later gets the symbol.
  for (Value operand : hasChanged ? operands : ValueRange()) {
    tracker.setDims(operand, shapeOf(operand));
  }
}

Value LegalizeContext::reshape(Value x, ArrayRef<Size> dims) {
  Sizes from = shapeOf(x);
  if (from.size() == dims.size() && llvm::all_of(llvm::zip(from, dims), [&](auto pair) {
        return sizes.isSame(std::get<0>(pair), std::get<1>(pair));
      })) {
    return x;
  }
  return nn::buildReshape(b, loc, x, dims);
}

Value LegalizeContext::fixSize(Value x, int64_t dim, Size size, const Twine &message) {
  Sizes dims = shapeOf(x);
  if (getConstantIntValue(dims[dim]) || !getConstantIntValue(size)) {
    return x;
  }
  require(sizes.compare(nn::CompareKind::Equal, dims[dim], size), message);
  dims[dim] = size;
  return reshape(x, dims);
}

Value LegalizeContext::expand(Value x, ArrayRef<Size> dims) {
  Sizes from = shapeOf(x);
  if (from.size() == dims.size() && llvm::all_of(llvm::zip(from, dims), [&](auto pair) {
        return sizes.isSame(std::get<0>(pair), std::get<1>(pair));
      })) {
    return x;
  }
  return nn::buildExpand(b, loc, x, dims);
}

Value LegalizeContext::transpose(Value x, ArrayRef<int64_t> perm) {
  if (nn::getRank(x) != int64_t(perm.size())) {
    (void)error(
        "E0307",
        llvm::formatv("an operand has {0} dimensions, must have {1}", nn::getRank(x), perm.size()).str());
    return x;
  }
  return isIdentityPermutation(perm) ? x : nn::buildTranspose(b, loc, x, perm);
}

Value LegalizeContext::reduce(nn::ReduceKind kind, Value x, ArrayRef<int64_t> axes, bool keepDims) {
  return nn::buildReduce(b, loc, kind, x, axes, keepDims);
}

Value LegalizeContext::slice(Value x, int64_t axis, Size offset, Size size) {
  Sizes sliceSizes = shapeOf(x);
  if (axis >= int64_t(sliceSizes.size())) {
    (void)error("E0307", llvm::formatv("an operand has {0} dimensions, must have at least {1}",
                                       sliceSizes.size(), axis + 1)
                             .str());
    return x;
  }
  Sizes offsets(sliceSizes.size(), b.getIndexAttr(0));
  offsets[axis] = offset;
  sliceSizes[axis] = size;
  return nn::buildSlice(b, loc, x, offsets, sliceSizes, SmallVector<int64_t>(offsets.size(), 1));
}

bool lathe::onnx::isKnownFromSymbols(Size size) {
  auto value = dyn_cast<Value>(size);
  return !value || nn::isKnownFromSymbols(value);
}

Size LegalizeContext::checkedSize(Size size) {
  SizeRange range = sizes.rangeOf(size);
  if ((range.min >= 0 && range.max <= nn::kMaxDim) || (isa<Value>(size) && isKnownFromSymbols(size))) {
    return size;
  }
  if (std::optional<int64_t> number = getConstantIntValue(size)) {
    (void)error("E0307", llvm::formatv("a dimension is {0}, must be 0 to {1}", *number, nn::kMaxDim).str());
    return b.getIndexAttr(0);
  }
  return nn::CheckedSizeOp::create(b, loc, mlir::cast<Value>(size)).getResult();
}

Size LegalizeContext::checkedProduct(ArrayRef<Size> factors) {
  if (llvm::all_of(factors, isKnownFromSymbols)) {
    return sizes.product(factors);
  }
  SmallVector<Value> values;
  for (Size factor : factors) {
    values.push_back(toValue(factor));
  }
  return checkedSize(nn::ElementCountOp::create(b, loc, values).getResult());
}

Value LegalizeContext::toValue(Size size) { return getValueOrCreateConstantIndexOp(b, loc, size); }

Value LegalizeContext::toBit(Size condition) {
  if (std::optional<int64_t> known = getConstantIntValue(condition)) {
    return arith::ConstantIntOp::create(b, loc, *known != 0, 1);
  }
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, mlir::cast<Value>(condition),
                               arith::ConstantIndexOp::create(b, loc, 0));
}

void LegalizeContext::require(Size condition, const Twine &message) {
  std::optional<int64_t> known = getConstantIntValue(condition);
  if (known && *known == 0) {
    (void)error("E0307", message);
  }
  if (!known) {
    nn::CheckOp::create(b, loc, toBit(condition));
  }
}

Sizes LegalizeContext::broadcast(ArrayRef<Sizes> shapes) {
  Sizes result = shapes.front();
  for (const Sizes &shape : shapes.drop_front()) {
    Sizes other = shape;
    size_t rank = std::max(result.size(), other.size());
    result.insert(result.begin(), rank - result.size(), one());
    other.insert(other.begin(), rank - other.size(), one());
    for (auto [dim, otherDim] : llvm::zip_equal(result, other)) {
      if (sizes.isSame(dim, otherDim)) {
        continue;
      }
      FailureOr<OpFoldResult> merged = nn::broadcastSizes(b, loc, dim, otherDim);
      if (llvm::failed(merged)) {
        (void)error("E0307", llvm::formatv("dimensions {0} and {1} do not broadcast",
                                           *getConstantIntValue(dim), *getConstantIntValue(otherDim))
                                 .str());
      } else {
        dim = *merged;
      }
    }
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

LogicalResult LegalizeContext::error(StringRef code, const Twine &message, StringRef attribute) {
  if (failed) {
    return failure();
  }
  failed = true;
  InFlightDiagnostic diagnostic = emitError(loc) << "[" << code << "] " << message.str();
  if (!attribute.empty()) {
    diagnostic.attachNote() << "attribute: " << attribute;
  }
  return failure();
}

LogicalResult LegalizeContext::unsupported(const Twine &what) {
  if (!failed) {
    reason = what.str();
  }
  failed = true;
  return failure();
}

LogicalResult LegalizeContext::dataDependent(const Twine &what) {
  return unsupported("data-dependent shape: " + what);
}

bool lathe::onnx::foldScalars(LegalizeContext &c, Type resultType, ArrayRef<unsigned> operands,
                              llvm::function_ref<Size(ArrayRef<Size>)> fold) {
  SmallVector<const Scalars *> lists;
  SmallVector<int64_t> shape;
  for (unsigned i : operands) {
    const Scalars *list = c.scalars(i);
    if (!list) {
      return false;
    }
    lists.push_back(list);
    if (list->shape.size() > shape.size()) {
      shape.insert(shape.begin(), list->shape.size() - shape.size(), 1);
    }
    size_t extra = shape.size() - list->shape.size();
    for (auto [axis, size] : llvm::enumerate(list->shape)) {
      int64_t &dim = shape[extra + axis];
      if (dim != size && dim != 1 && size != 1) {
        return false;
      }
      dim = dim == 1 ? size : dim;
    }
  }
  int64_t count = ShapedType::getNumElements(shape);
  if (count > kMaxScalars) {
    return false;
  }
  Scalars result{resultType, shape, {}};
  for (int64_t flat = 0; flat < count; ++flat) {
    SmallVector<Size> elements;
    for (const Scalars *list : lists) {
      // The position in the operand, whose dimensions of size 1 repeat.
      int64_t position = 0, stride = 1, rest = flat;
      for (size_t axis = shape.size(); axis-- > 0;) {
        int64_t index = rest % shape[axis];
        rest /= shape[axis];
        int64_t own = int64_t(axis) - int64_t(shape.size() - list->shape.size());
        if (own >= 0) {
          position += (list->shape[own] == 1 ? 0 : index) * stride;
          stride *= list->shape[own];
        }
      }
      elements.push_back(list->elements[position]);
    }
    Size element = fold(elements);
    if (!element) {
      return false;
    }
    // Constants wrap like the tensor's elements would.
    if (std::optional<int64_t> number = getConstantIntValue(element)) {
      unsigned width = resultType.getIntOrFloatBitWidth();
      element = c.b.getIndexAttr(width == 1 ? *number != 0 : llvm::SignExtend64(*number, width));
    }
    result.elements.push_back(element);
  }
  return llvm::succeeded(c.setScalars(std::move(result)));
}
