// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// If and Loop.

#include "Contents.h"
#include "Loops.h"
#include "OpenSequences.h"

#include "lathe/Dialect/NN/IR/NNHost.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

//===----------------------------------------------------------------------===//
// If
//===----------------------------------------------------------------------===//

/// The most elements that both branches know and that are handed on as index values.
static constexpr size_t kMaxJoinedScalars = 16;

namespace {

/// An `If` whose condition only a run knows.
class IfConverter {
public:
  IfConverter(LegalizeContext &c, Value condition) : c(c), condition(condition) {}
  LogicalResult convert(Region &thenBody, Region &elseBody);

private:
  /// `misfit` is set if the branch does not fit the shapes around it.
  LogicalResult convertBranch(Region &body, unsigned number, std::string &misfit);
  /// The results of which the branches give other ranks.
  SmallVector<unsigned> findOtherRanks();
  /// If the model says that one of `results`, of which the branches give other ranks, has that of one of
  /// them, says of the other in its entry of `misfits` that it does not fit.
  bool chooseByRank(ArrayRef<unsigned> results, MutableArrayRef<std::string> misfits);
  /// The other branch does not fit, so that the condition must be `wanted`.
  LogicalResult convertOnly(Region &body, bool wanted, StringRef misfit);
  /// Takes results apart that are sequences or optionals in a branch: into an open sequence's tensors, and
  /// whether there is something.
  LogicalResult takeApart();
  LogicalResult takeSequenceApart(unsigned i, SmallVector<LegalValue> (&parts)[2]);
  void takeTensorApart(unsigned i, SmallVector<LegalValue> (&parts)[2]);
  /// Puts the joined parts together as the node's results.
  void putTogether();
  /// Chooses how result `i` is handed on.
  LogicalResult joinResult(unsigned i);
  void joinScalars(const Scalars &thenScalars, const Scalars &elseScalars);
  LogicalResult joinTensors(unsigned i);
  LogicalResult finish();

  /// A result of the `nn.if` on its way: a tensor with its dimensions, or index values.
  struct Joined {
    Type elementType;
    SmallVector<int64_t> shape;  // of the tensor, or of the scalars
    SmallVector<int64_t> places; // a number, or ~i of index results
    bool isTensor = false;
    Content content = Content::Numbers;
    int64_t firstIndex = 0;
  };

  /// What a result of the node is made of.
  struct Recipe {
    bool isSequence = false, isOptional = false;
  };

  LegalizeContext &c;
  Value condition;
  nn::IfOp choice;
  SmallVector<Recipe> recipes;
  SmallVector<LegalValue> results; // the joined parts
  SmallVector<LegalValue> branches[2];
  SmallVector<Joined> joined;
  SmallVector<Value> tensors[2], indices[2];
};

} // namespace

LogicalResult IfConverter::convertBranch(Region &body, unsigned number, std::string &misfit) {
  OpBuilder::InsertionGuard guard(c.b);
  c.b.createBlock(&choice->getRegion(number));
  FailureOr<SmallVector<LegalValue>> results = c.bodies->tryConvert(body, {}, misfit);
  if (failed(results)) {
    return failure();
  }
  branches[number] = std::move(*results);
  unsigned count = c.node.op->getNumResults();
  if (branches[number].size() != count) {
    return c.error(
        "E0305",
        llvm::formatv("a branch has {0} outputs, the node {1}", branches[number].size(), count).str());
  }
  return success();
}

static std::optional<int64_t> getRank(const LegalValue &value) {
  if (value.scalars) {
    return int64_t(value.scalars->shape.size());
  }
  bool isTensor = value.tensor && (value.isNumeric() || value.imaginary);
  return isTensor ? std::optional(nn::getRank(value.tensor)) : std::nullopt;
}

SmallVector<unsigned> IfConverter::findOtherRanks() {
  SmallVector<unsigned> found;
  for (auto [i, thenValue, elseValue] : llvm::enumerate(branches[0], branches[1])) {
    std::optional<int64_t> thenRank = getRank(thenValue), elseRank = getRank(elseValue);
    if (thenRank && elseRank && thenRank != elseRank) {
      found.push_back(i);
    }
  }
  return found;
}

bool IfConverter::chooseByRank(ArrayRef<unsigned> results, MutableArrayRef<std::string> misfits) {
  for (unsigned i : results) {
    std::optional<int64_t> declared = c.declaredRank(i);
    for (unsigned number : {0u, 1u}) {
      if (declared && getRank(branches[1 - number][i]) == declared) {
        misfits[number] = llvm::formatv("result {0} has {1} dimensions, the model says {2}", i,
                                        *getRank(branches[number][i]), *declared)
                              .str();
        return true;
      }
    }
  }
  return false;
}

/// A sequence without elements, or the other branch's form, stands for what is not there.
LogicalResult IfConverter::takeSequenceApart(unsigned i, SmallVector<LegalValue> (&parts)[2]) {
  std::optional<ElementForm> forms[2];
  for (unsigned number : {0u, 1u}) {
    LegalValue &value = branches[number][i];
    if (value.isEmptyOptional) {
      value.elements = std::make_shared<const std::vector<LegalValue>>();
    }
    OpBuilder::InsertionGuard guard(c.b);
    c.b.setInsertionPointToEnd(&choice->getRegion(number).front());
    forms[number] = getElementForm(c, value);
    if (!forms[number]) {
      return failure();
    }
  }
  ElementForm form = forms[0]->type ? *forms[0] : *forms[1];
  form.rank = std::max(forms[0]->rank, forms[1]->rank);
  if (!form.type) {
    return c.unsupported(llvm::formatv("result {0} is an empty sequence in both branches", i));
  }
  for (unsigned number : {0u, 1u}) {
    OpBuilder::InsertionGuard guard(c.b);
    c.b.setInsertionPointToEnd(&choice->getRegion(number).front());
    LegalValue open = makeOpen(c, branches[number][i], form);
    Value shapes = std::exchange(open.shapes, Value());
    parts[number].push_back(open);
    parts[number].emplace_back().tensor = shapes;
  }
  return success(!c.hasFailed());
}

/// In the place of a tensor that is not there stands one without elements, or a zero.
void IfConverter::takeTensorApart(unsigned i, SmallVector<LegalValue> (&parts)[2]) {
  for (unsigned number : {0u, 1u}) {
    LegalValue value = branches[number][i];
    value.presence = Size();
    if (value.isEmptyOptional) {
      LegalValue other = branches[1 - number][i];
      value = LegalValue();
      value.isString = std::exchange(other.isString, false);
      other.presence = Size();
      OpBuilder::InsertionGuard guard(c.b);
      c.b.setInsertionPointToEnd(&choice->getRegion(number).front());
      Value tensor = other.tensor;
      Type element = tensor ? nn::getElementType(tensor) : other.scalars->elementType;
      int64_t rank = tensor ? nn::getRank(tensor) : int64_t(other.scalars->shape.size());
      value.tensor = c.expand(nn::buildScalar(c.b, c.loc, element, 0), Sizes(rank, c.b.getIndexAttr(0)));
    }
    parts[number].push_back(std::move(value));
  }
}

LogicalResult IfConverter::takeApart() {
  SmallVector<LegalValue> parts[2];
  for (unsigned i = 0; i < c.node.op->getNumResults(); ++i) {
    const LegalValue *values[] = {&branches[0][i], &branches[1][i]};
    Recipe &recipe = recipes.emplace_back();
    for (const LegalValue *value : values) {
      recipe.isSequence |= value->isSequence();
      recipe.isOptional |= value->isEmptyOptional || value->presence;
    }
    if (values[0]->isEmptyOptional && values[1]->isEmptyOptional) {
      return c.unsupported(llvm::formatv("result {0} is an empty optional in both branches", i));
    }
    for (unsigned number : {0u, 1u}) {
      if (recipe.isOptional) {
        Size presence = values[number]->isEmptyOptional ? Size(c.b.getIndexAttr(0))
                        : values[number]->presence      ? values[number]->presence
                                                        : c.one();
        parts[number].emplace_back().scalars = Scalars{c.b.getI1Type(), {}, {presence}};
      }
    }
    if (recipe.isSequence) {
      if (failed(takeSequenceApart(i, parts))) {
        return failure();
      }
    } else {
      takeTensorApart(i, parts);
    }
  }
  branches[0] = std::move(parts[0]);
  branches[1] = std::move(parts[1]);
  return success();
}

void IfConverter::putTogether() {
  const LegalValue *next = results.begin();
  for (auto [i, recipe] : llvm::enumerate(recipes)) {
    Size presence = recipe.isOptional ? (next++)->scalars->elements.front() : Size();
    LegalValue value = *next++;
    if (recipe.isSequence) {
      value.shapes = (next++)->tensor;
    }
    value.presence = presence;
    (void)c.setLegal(i, std::move(value));
  }
}

void IfConverter::joinScalars(const Scalars &thenScalars, const Scalars &elseScalars) {
  Joined &result = joined.emplace_back();
  result.elementType = thenScalars.elementType;
  result.shape = thenScalars.shape;
  result.firstIndex = indices[0].size();
  for (auto [number, scalars] : {std::pair(0u, &thenScalars), std::pair(1u, &elseScalars)}) {
    OpBuilder::InsertionGuard guard(c.b);
    c.b.setInsertionPointToEnd(&choice->getRegion(number).front());
    for (Size element : scalars->elements) {
      indices[number].push_back(c.toValue(element));
    }
  }
}

LogicalResult IfConverter::joinTensors(unsigned i) {
  Value values[2];
  Sizes dims[2];
  Content contents[2];
  for (unsigned number : {0u, 1u}) {
    OpBuilder::InsertionGuard guard(c.b);
    c.b.setInsertionPointToEnd(&choice->getRegion(number).front());
    contents[number] = encode(c, branches[number][i]);
    values[number] = c.asTensor(branches[number][i]);
    dims[number] = c.shapeOf(values[number]);
  }
  if (contents[0] != contents[1]) {
    return c.error("E0306", llvm::formatv("result {0} is of {1} in one branch, of {2} in the other", i,
                                          describe(contents[0]), describe(contents[1]))
                                .str());
  }
  if (nn::getElementType(values[0]) != nn::getElementType(values[1])) {
    return c.error("E0306", llvm::formatv("the branches give elements {0} and {1}",
                                          nn::getElementType(values[0]), nn::getElementType(values[1]))
                                .str());
  }
  if (dims[0].size() != dims[1].size()) {
    return c.unsupported(llvm::formatv("result {0} has {1} dimensions in one branch, {2} in the other", i,
                                       getRank(contents[0], values[0]), getRank(contents[1], values[1])));
  }
  Joined &result = joined.emplace_back();
  result.elementType = nn::getElementType(values[0]);
  result.isTensor = true;
  result.content = contents[0];
  for (auto [thenDim, elseDim] : llvm::zip_equal(dims[0], dims[1])) {
    std::optional<int64_t> thenNumber = getConstantIntValue(thenDim);
    if (thenNumber && thenNumber == getConstantIntValue(elseDim)) {
      result.shape.push_back(*thenNumber);
      result.places.push_back(*thenNumber);
      continue;
    }
    result.shape.push_back(ShapedType::kDynamic);
    result.places.push_back(~int64_t(indices[0].size()));
    for (auto [number, dim] : {std::pair(0u, thenDim), std::pair(1u, elseDim)}) {
      OpBuilder::InsertionGuard guard(c.b);
      c.b.setInsertionPointToEnd(&choice->getRegion(number).front());
      indices[number].push_back(c.toValue(dim));
    }
  }
  tensors[0].push_back(values[0]);
  tensors[1].push_back(values[1]);
  return success(!c.hasFailed());
}

LogicalResult IfConverter::joinResult(unsigned i) {
  if (branches[0][i].isString || branches[1][i].isString) {
    return joinTensors(i);
  }
  const Scalars *thenScalars = c.asScalars(branches[0][i]), *elseScalars = c.asScalars(branches[1][i]);
  if (thenScalars && elseScalars && thenScalars->elements.size() <= kMaxJoinedScalars &&
      thenScalars->shape == elseScalars->shape && thenScalars->elementType == elseScalars->elementType) {
    joinScalars(*thenScalars, *elseScalars);
    return success();
  }
  return joinTensors(i);
}

LogicalResult IfConverter::finish() {
  SmallVector<Attribute> shapes;
  SmallVector<Type> types;
  for (const Joined &result : joined) {
    if (result.isTensor) {
      types.push_back(RankedTensorType::get(result.shape, result.elementType));
      shapes.push_back(c.b.getDenseI64ArrayAttr(result.places));
    }
  }
  types.append(indices[0].size(), c.b.getIndexType());
  c.b.setInsertionPoint(choice);
  auto final = nn::IfOp::create(c.b, c.loc, types, condition, ValueRange(), c.b.getArrayAttr(shapes));
  for (unsigned number : {0u, 1u}) {
    final->getRegion(number).takeBody(choice->getRegion(number));
    OpBuilder::InsertionGuard guard(c.b);
    c.b.setInsertionPointToEnd(&final->getRegion(number).front());
    SmallVector<Value> yields(tensors[number]);
    llvm::append_range(yields, indices[number]);
    nn::YieldOp::create(c.b, c.loc, yields);
  }
  choice.erase();
  choice = {};
  c.b.setInsertionPointAfter(final);
  unsigned tensor = 0;
  for (const Joined &result : joined) {
    LegalValue value;
    if (result.isTensor) {
      value.tensor = final.getResult(tensor++);
      decode(c, result.content, value);
    } else {
      value.scalars = Scalars{result.elementType, result.shape, {}};
      for (int64_t k = 0; k < ShapedType::getNumElements(result.shape); ++k) {
        value.scalars->elements.push_back(final.getResult(shapes.size() + result.firstIndex + k));
      }
    }
    results.push_back(std::move(value));
  }
  putTogether();
  return success(!c.hasFailed());
}

/// The results of the node are those of `body`, which stands here.
static LogicalResult takeBranch(LegalizeContext &c, Region &body) {
  FailureOr<SmallVector<LegalValue>> results = c.bodies->convert(body, {});
  if (failed(results)) {
    return failure();
  }
  if (results->size() < c.node.op->getNumResults()) {
    return c.error("E0305", llvm::formatv("a branch has {0} outputs, the node {1}", results->size(),
                                          c.node.op->getNumResults())
                                .str());
  }
  for (auto [i, result] : llvm::enumerate(*results)) {
    (void)c.setLegal(i, std::move(result));
  }
  return success();
}

LogicalResult IfConverter::convertOnly(Region &body, bool wanted, StringRef misfit) {
  emitRemark(c.loc) << "[convert-onnx-to-nn] the " << (wanted ? "else" : "then")
                    << " branch does not fit these shapes, and a run that takes it ends with an error: "
                    << misfit;
  Value holds = condition;
  if (!wanted) {
    holds = arith::XOrIOp::create(c.b, c.loc, condition, c.toBit(c.one()));
  }
  nn::CheckOp::create(c.b, c.loc, holds);
  return takeBranch(c, body);
}

LogicalResult IfConverter::convert(Region &thenBody, Region &elseBody) {
  Region *bodies[] = {&thenBody, &elseBody};
  std::string misfits[2];
  bool fits[2];
  choice = nn::IfOp::create(c.b, c.loc, TypeRange(), condition, ValueRange(), c.b.getArrayAttr({}));
  {
    OpBuilder::InsertionGuard guard(c.b);
    size_t mark = c.sizes.enterBody();
    for (unsigned number : {0u, 1u}) {
      fits[number] =
          !c.bodies->isGrowing() && succeeded(convertBranch(*bodies[number], number, misfits[number]));
    }
    SmallVector<unsigned> otherRanks = fits[0] && fits[1] ? findOtherRanks() : SmallVector<unsigned>();
    bool ok = fits[0] && fits[1] && !chooseByRank(otherRanks, misfits) &&
              (otherRanks.empty() || !c.bodies->growBranches(c.node.op, otherRanks)) &&
              succeeded(takeApart());
    for (unsigned i = 0; ok && i < branches[0].size(); ++i) {
      ok = succeeded(joinResult(i));
    }
    ok = ok && succeeded(finish());
    c.sizes.leaveBody(mark);
    if (ok) {
      return success();
    }
    if (choice) {
      c.bodies->abandon(choice);
    }
  }
  if (c.bodies->isGrowing()) {
    return failure();
  }
  if (!misfits[0].empty() && !misfits[1].empty()) {
    return c.error("E0307", "neither branch fits; then: " + misfits[0] + "; else: " + misfits[1]);
  }
  for (unsigned number : {0u, 1u}) {
    if (fits[number] && misfits[number].empty() && !misfits[1 - number].empty()) {
      return convertOnly(*bodies[number], number == 0, misfits[1 - number]);
    }
  }
  return failure();
}

static LogicalResult legalizeIf(LegalizeContext &c) {
  Region *thenBody = c.subgraph("then_branch"), *elseBody = c.subgraph("else_branch");
  if (!thenBody || !elseBody) {
    return failure();
  }
  // What is known now needs no branch: the one that is taken stands here.
  const Scalars *known = c.scalars(0);
  std::optional<int64_t> isTrue =
      known && known->elements.size() == 1 ? getConstantIntValue(known->elements.front()) : std::nullopt;
  if (isTrue) {
    return takeBranch(c, *isTrue ? *thenBody : *elseBody);
  }
  FailureOr<Value> condition = asCondition(c, c.legal(0));
  return failed(condition) ? failure() : IfConverter(c, *condition).convert(*thenBody, *elseBody);
}

//===----------------------------------------------------------------------===//
// Loop
//===----------------------------------------------------------------------===//

FailureOr<Iteration> lathe::onnx::convertIteration(LegalizeContext &c, Region &body, size_t carried,
                                                   Size iteration, ArrayRef<LegalValue> values) {
  // In the body the condition holds.
  SmallVector<LegalValue> arguments(2);
  arguments[0].scalars = Scalars{c.b.getI64Type(), {}, {iteration}};
  arguments[1].scalars = Scalars{c.b.getI1Type(), {}, {c.one()}};
  llvm::append_range(arguments, values);
  FailureOr<SmallVector<LegalValue>> yielded = c.bodies->convert(body, arguments);
  if (failed(yielded)) {
    return failure();
  }
  size_t results = c.node.op->getNumResults();
  if (yielded->size() != 1 + results) {
    return c.error(
        "E0305",
        llvm::formatv("the body has {0} outputs, must have {1}", yielded->size(), 1 + results).str());
  }
  FailureOr<Value> next = asCondition(c, yielded->front());
  if (failed(next)) {
    return failure();
  }
  Iteration made{*next, {}, {}};
  ArrayRef<LegalValue> rest = ArrayRef(*yielded).drop_front();
  llvm::append_range(made.carried, rest.take_front(carried));
  llvm::append_range(made.scans, rest.drop_front(carried));
  return made;
}

static LogicalResult legalizeLoop(LegalizeContext &c) {
  Region *body = c.subgraph("body");
  if (!body) {
    return failure();
  }
  Size trip = c.b.getIndexAttr(std::numeric_limits<int64_t>::max());
  if (c.has(0)) {
    std::optional<Size> given = c.elementOrRead(0, "the number of iterations");
    if (!given) {
      return failure();
    }
    trip = *given;
  }
  FailureOr<Value> condition = c.toBit(c.one());
  if (c.has(1)) {
    condition = asCondition(c, c.legal(1));
  }
  if (failed(condition)) {
    return failure();
  }
  SmallVector<LegalValue> inits;
  for (unsigned i = 2; i < c.numInputs(); ++i) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
    inits.push_back(c.legal(i));
  }
  size_t carried = inits.size(), results = c.node.op->getNumResults();
  if (results < carried) {
    return c.error(
        "E0305", llvm::formatv("{0} values are carried, but there are {1} outputs", carried, results).str());
  }
  if (needsUnrolling(inits, *body)) {
    std::optional<bool> isUnrolled = unrollLoop(c, trip, inits, *body);
    if (isUnrolled) {
      return success(*isUnrolled);
    }
    return legalizeOpenLoop(c, trip, *condition, inits, *body);
  }
  auto iterate = [&](Value iteration, ArrayRef<LegalValue> values) {
    return convertIteration(c, *body, carried, iteration, values);
  };
  FailureOr<LoopResults> loop = buildLoop(c, trip, *condition, inits, iterate);
  if (failed(loop)) {
    return failure();
  }
  for (auto [i, value] : llvm::enumerate(loop->carried)) {
    (void)c.setLegal(i, std::move(value));
  }
  for (auto [i, value] : llvm::enumerate(loop->scans)) {
    (void)c.setLegal(carried + i, std::move(value));
  }
  return success(!c.hasFailed());
}

void lathe::onnx::registerControl(LegalizerRegistry &registry) {
  registry.add("If", 1, 1, legalizeIf);
  registry.addForAny("Loop", 0, LegalizerRegistry::kAny, legalizeLoop);
  registry.addForAny("Scan", 0, LegalizerRegistry::kAny, legalizeScan);
  registry.takeComplex({"Loop", "Scan"});
}
