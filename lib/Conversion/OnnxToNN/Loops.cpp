// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Loops.h"

#include "Contents.h"

#include "lathe/Dialect/NN/IR/NNHost.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

FailureOr<Value> lathe::onnx::asCondition(LegalizeContext &c, LegalValue &value) {
  std::optional<Size> element = c.onlyElement(value);
  Type type = value.scalars  ? value.scalars->elementType
              : value.tensor ? nn::getElementType(value.tensor)
                             : Type();
  if (!element || !type.isInteger(1)) {
    return c.error("E0306", "a condition must be a bool of one element");
  }
  return c.toBit(*element);
}

namespace {

/// How one value is carried: as index values, one per element; or as a tensor, whose dimensions are those of
/// the first one or index values that change, too.
struct Carried {
  LegalValue init;
  bool asScalars = false;
  Content content = Content::Numbers;
  Sizes dims;               // of the tensor's init
  SmallVector<bool> isOpen; // per dimension
};

/// A dimension in the terms of an `nn.loop`: a size from outside, or the number of a carried index value.
struct LoopDim {
  Size outer;
  int64_t index = -1;
};

class LoopConverter {
public:
  LoopConverter(LegalizeContext &c, Size trip, Value condition, IterationFn body)
      : c(c), trip(trip), condition(condition), body(body) {}

  FailureOr<LoopResults> build(ArrayRef<LegalValue> inits);

private:
  LogicalResult start(ArrayRef<LegalValue> inits);
  /// An `nn.loop` without results, for the body to stand in.
  void makeProvisional();
  /// Builds the body in it.
  LogicalResult buildBody();
  /// Whether the iteration gives what was assumed; less is assumed then.
  FailureOr<bool> compare();
  FailureOr<bool> compareTensor(Carried &value, LegalValue &next);
  LogicalResult finishScans();
  FailureOr<LoopResults> finish();

  ArrayAttr shapesOf(ArrayRef<SmallVector<LoopDim>> shapes, llvm::SetVector<Value> &sizes);
  SmallVector<LoopDim> dimsOf(const Carried &value, int64_t &nextIndex);
  bool isOutside(Size size) {
    auto value = dyn_cast<Value>(size);
    return !value || !loop.getBody().isAncestor(value.getParentRegion());
  }
  bool isEndless() { return matchPattern(condition, m_One()) && matchPattern(iteration.condition, m_One()); }

  LegalizeContext &c;
  Size trip;
  Value condition;
  IterationFn body;
  std::vector<Carried> carried;
  nn::LoopOp loop;
  Iteration iteration;
  SmallVector<Value> nextTensors, nextIndices, initTensors, initIndices;
  SmallVector<SmallVector<LoopDim>> shapes;
  SmallVector<Content> scanContents;
};

} // namespace

/// The most elements that are carried as index values.
static constexpr size_t kMaxCarriedScalars = 8;

LogicalResult LoopConverter::start(ArrayRef<LegalValue> inits) {
  for (const LegalValue &init : inits) {
    Carried &value = carried.emplace_back();
    value.init = init;
    value.content = encode(c, value.init);
    const Scalars *scalars = value.content == Content::Numbers ? c.asScalars(value.init) : nullptr;
    // Narrower integers wrap around where an index value does not.
    value.asScalars = scalars && scalars->elements.size() <= kMaxCarriedScalars &&
                      (scalars->elementType.isInteger(64) || scalars->elementType.isInteger(1));
  }
  return success(!c.hasFailed());
}

SmallVector<LoopDim> LoopConverter::dimsOf(const Carried &value, int64_t &nextIndex) {
  SmallVector<LoopDim> dims;
  for (auto [dim, isOpen] : llvm::zip_equal(value.dims, value.isOpen)) {
    dims.push_back(isOpen ? LoopDim{{}, nextIndex++} : LoopDim{dim, -1});
  }
  return dims;
}

ArrayAttr LoopConverter::shapesOf(ArrayRef<SmallVector<LoopDim>> all, llvm::SetVector<Value> &sizes) {
  for (ArrayRef<LoopDim> dims : all) {
    for (const LoopDim &dim : dims) {
      if (auto value = dyn_cast_if_present<Value>(dim.outer); value && !getConstantIntValue(dim.outer)) {
        sizes.insert(value);
      }
    }
  }
  SmallVector<Attribute> attributes;
  for (ArrayRef<LoopDim> dims : all) {
    SmallVector<int64_t> shape;
    for (const LoopDim &dim : dims) {
      std::optional<int64_t> number = dim.index < 0 ? getConstantIntValue(dim.outer) : std::nullopt;
      int64_t place = dim.index >= 0 ? int64_t(sizes.size()) + dim.index
                      : number       ? 0
                                     : llvm::find(sizes, cast<Value>(dim.outer)) - sizes.begin();
      shape.push_back(number ? *number : ~place);
    }
    attributes.push_back(c.b.getDenseI64ArrayAttr(shape));
  }
  return c.b.getArrayAttr(attributes);
}

/// The type of a tensor with these dimensions.
static RankedTensorType typeOf(Type element, ArrayRef<LoopDim> dims) {
  SmallVector<int64_t> shape;
  for (const LoopDim &dim : dims) {
    std::optional<int64_t> number = dim.index < 0 ? getConstantIntValue(dim.outer) : std::nullopt;
    shape.push_back(number.value_or(ShapedType::kDynamic));
  }
  return RankedTensorType::get(shape, element);
}

void LoopConverter::makeProvisional() {
  shapes.clear();
  initTensors.clear();
  initIndices.clear();
  SmallVector<Type> argumentTypes{c.b.getIndexType()};
  int64_t nextIndex = 0;
  for (Carried &value : carried) {
    if (value.asScalars) {
      for (Size element : value.init.scalars->elements) {
        initIndices.push_back(c.toValue(element));
      }
      nextIndex += value.init.scalars->elements.size();
      continue;
    }
    Value tensor = c.asTensor(value.init);
    if (value.isOpen.empty()) {
      value.dims = c.shapeOf(tensor);
      value.isOpen.assign(value.dims.size(), false);
    }
    initTensors.push_back(tensor);
    for (auto [dim, isOpen] : llvm::zip_equal(value.dims, value.isOpen)) {
      if (isOpen) {
        initIndices.push_back(c.toValue(dim));
      }
    }
    shapes.push_back(dimsOf(value, nextIndex));
    argumentTypes.push_back(typeOf(nn::getElementType(tensor), shapes.back()));
  }
  argumentTypes.append(initIndices.size(), c.b.getIndexType());
  SmallVector<Value> inits(initTensors);
  llvm::append_range(inits, initIndices);
  llvm::SetVector<Value> sizes;
  ArrayAttr attribute = shapesOf(shapes, sizes);
  loop = nn::LoopOp::create(c.b, c.loc, TypeRange(), c.toValue(trip), condition, inits, sizes.getArrayRef(),
                            attribute);
  OpBuilder::InsertionGuard guard(c.b);
  c.b.createBlock(&loop.getBody(), {}, argumentTypes, SmallVector<Location>(argumentTypes.size(), c.loc));
}

LogicalResult LoopConverter::buildBody() {
  SmallVector<LegalValue> arguments;
  Block &block = loop.getBody().front();
  unsigned tensor = 1, index = 1 + initTensors.size();
  for (const Carried &value : carried) {
    LegalValue &argument = arguments.emplace_back();
    if (!value.asScalars) {
      argument.tensor = block.getArgument(tensor++);
      decode(c, value.content, argument);
      index += llvm::count(value.isOpen, true);
      continue;
    }
    argument.scalars = *value.init.scalars;
    for (Size &element : argument.scalars->elements) {
      element = block.getArgument(index++);
    }
  }
  FailureOr<Iteration> built = body(loop.getIteration(), arguments);
  if (failed(built)) {
    return failure();
  }
  iteration = std::move(*built);
  return success();
}

FailureOr<bool> LoopConverter::compareTensor(Carried &value, LegalValue &next) {
  if (Content content = encode(c, next); content != value.content) {
    return c.error("E0306", llvm::formatv("a carried value is of {0} at first, of {1} after an iteration",
                                          describe(value.content), describe(content))
                                .str());
  }
  Value tensor = c.asTensor(next), init = c.asTensor(value.init);
  if (nn::getElementType(tensor) != nn::getElementType(init)) {
    return c.error("E0306", llvm::formatv("a carried value has elements {0} at first, {1} after an iteration",
                                          nn::getElementType(init), nn::getElementType(tensor))
                                .str());
  }
  Sizes dims = c.shapeOf(tensor);
  if (dims.size() != value.dims.size()) {
    return c.unsupported(llvm::formatv("a carried value has {0} dimensions at first, {1} after an iteration",
                                       getRank(value.content, init), getRank(value.content, tensor)));
  }
  bool isSame = true;
  nextTensors.push_back(tensor);
  for (auto [dim, isOpen, first] : llvm::zip_equal(dims, value.isOpen, value.dims)) {
    if (isOpen) {
      nextIndices.push_back(c.toValue(dim));
    } else if (!c.sizes.isSame(dim, first)) {
      isOpen = true;
      isSame = false;
    }
  }
  return isSame;
}

FailureOr<bool> LoopConverter::compare() {
  nextTensors.clear();
  nextIndices.clear();
  bool isSame = true;
  for (auto [value, next] : llvm::zip_equal(carried, iteration.carried)) {
    if (!value.asScalars) {
      FailureOr<bool> same = compareTensor(value, next);
      if (failed(same)) {
        return failure();
      }
      isSame &= *same;
      continue;
    }
    const Scalars *scalars = c.asScalars(next);
    if (!scalars || scalars->shape != value.init.scalars->shape ||
        scalars->elementType != value.init.scalars->elementType) {
      value.asScalars = false;
      isSame = false;
      continue;
    }
    for (Size element : scalars->elements) {
      nextIndices.push_back(c.toValue(element));
    }
  }
  return isSame;
}

/// Scan outputs: what is not known of their parts before the loop is carried, and must not change.
LogicalResult LoopConverter::finishScans() {
  Block &block = loop.getBody().front();
  Value isFirst;
  for (LegalValue &scan : iteration.scans) {
    scanContents.push_back(encode(c, scan));
    Value tensor = c.asTensor(scan);
    SmallVector<LoopDim> &dims = shapes.emplace_back();
    dims.push_back({}); // the iterations
    for (Size dim : c.shapeOf(tensor)) {
      if (isOutside(dim)) {
        dims.push_back({dim, -1});
        continue;
      }
      Value value = cast<Value>(dim);
      dims.push_back({{}, int64_t(nextIndices.size())});
      nextIndices.push_back(value);
      initIndices.push_back(Value());
      BlockArgument before = block.addArgument(c.b.getIndexType(), c.loc);
      if (!isFirst) {
        isFirst = arith::CmpIOp::create(c.b, c.loc, arith::CmpIPredicate::eq, loop.getIteration(),
                                        arith::ConstantIndexOp::create(c.b, c.loc, 0));
      }
      Value isSame = arith::CmpIOp::create(c.b, c.loc, arith::CmpIPredicate::eq, value, before);
      nn::CheckOp::create(c.b, c.loc, arith::OrIOp::create(c.b, c.loc, isFirst, isSame));
    }
    nextTensors.push_back(tensor);
  }
  return success(!c.hasFailed());
}

FailureOr<LoopResults> LoopConverter::finish() {
  if (failed(finishScans())) {
    return failure();
  }
  SmallVector<Value> yields{iteration.condition};
  llvm::append_range(yields, nextTensors);
  llvm::append_range(yields, nextIndices);
  nn::YieldOp::create(c.b, c.loc, yields);

  c.b.setInsertionPoint(loop);
  for (Value &init : initIndices) {
    init = init ? init : arith::ConstantIndexOp::create(c.b, c.loc, 0).getResult();
  }
  Size count = c.sizes.max(trip, c.b.getIndexAttr(0));
  SmallVector<Type> types;
  for (auto [i, dims] : llvm::enumerate(shapes)) {
    if (i >= initTensors.size()) {
      // Without a condition the loop runs as often as it may.
      dims.front() = isEndless() ? LoopDim{count, -1} : LoopDim{{}, int64_t(nextIndices.size())};
    }
    types.push_back(typeOf(nn::getElementType(nextTensors[i]), dims));
  }
  types.append(nextIndices.size() + 1, c.b.getIndexType());
  SmallVector<Value> inits(initTensors);
  llvm::append_range(inits, initIndices);
  llvm::SetVector<Value> sizes;
  ArrayAttr attribute = shapesOf(shapes, sizes);
  auto final = nn::LoopOp::create(c.b, c.loc, types, c.toValue(count), condition, inits, sizes.getArrayRef(),
                                  attribute);
  final.getBody().takeBody(loop.getBody());
  loop.erase();
  c.b.setInsertionPointAfter(final);

  LoopResults results;
  unsigned tensor = 0, index = shapes.size();
  for (const Carried &value : carried) {
    LegalValue &result = results.carried.emplace_back();
    if (!value.asScalars) {
      result.tensor = final.getResult(tensor++);
      decode(c, value.content, result);
      index += llvm::count(value.isOpen, true);
      continue;
    }
    result.scalars = *value.init.scalars;
    for (Size &element : result.scalars->elements) {
      element = final.getResult(index++);
    }
  }
  for (Content content : scanContents) {
    LegalValue &result = results.scans.emplace_back();
    result.tensor = final.getResult(tensor++);
    decode(c, content, result);
  }
  return results;
}

FailureOr<LoopResults> LoopConverter::build(ArrayRef<LegalValue> inits) {
  if (failed(start(inits))) {
    return failure();
  }
  // Each round that fails assumes less, so there is a last.
  while (true) {
    makeProvisional();
    OpBuilder::InsertionGuard guard(c.b);
    c.b.setInsertionPointToEnd(&loop.getBody().front());
    size_t mark = c.sizes.enterBody();
    FailureOr<bool> isSame = failure();
    FailureOr<LoopResults> results = failure();
    if (succeeded(buildBody())) {
      isSame = compare();
    }
    if (succeeded(isSame) && *isSame) {
      results = finish();
    }
    c.sizes.leaveBody(mark);
    if (failed(isSame) || *isSame) {
      if (failed(results)) {
        c.bodies->abandon(loop);
      }
      return results;
    }
    c.bodies->abandon(loop);
  }
}

FailureOr<LoopResults> lathe::onnx::buildLoop(LegalizeContext &c, Size trip, Value condition,
                                              ArrayRef<LegalValue> inits, IterationFn body) {
  return LoopConverter(c, trip, condition, body).build(inits);
}
