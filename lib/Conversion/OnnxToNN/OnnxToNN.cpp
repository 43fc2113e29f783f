// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Arguments.h"
#include "Complex.h"
#include "Conversion.h"
#include "OpenLists.h"
#include "Results.h"
#include "Windows.h"

#include "lathe/Conversion/Passes.h"
#include "lathe/Dialect/NN/IR/NNService.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

namespace lathe {
#define GEN_PASS_DEF_ONNXTONNPASS
#include "lathe/Conversion/Passes.h.inc"
} // namespace lathe

/// The most node names listed for one operator.
static constexpr size_t kMaxListed = 8;

/// The name of a node, or of what it computes.
static std::string describe(NodeOp node) {
  StringRef name;
  if (auto fused = dyn_cast<FusedLoc>(node.getLoc())) {
    if (auto metadata = dyn_cast_or_null<DictionaryAttr>(fused.getMetadata())) {
      if (auto entry = metadata.getAs<StringAttr>("node")) {
        name = entry.getValue();
      }
    }
  }
  if (name.empty() && node.getNumResults() > 0) {
    name = node.getOutputName(0);
  }
  return "\"" + name.str() + "\"";
}

void Conversion::convertNode(NodeOp node) {
  OpBuilder::InsertionGuard guard(builder);
  StringRef domain = node.getCanonicalDomain();
  const LegalizerRegistry::Entry *entry = registry.find(domain, node.getOpType());
  if (!entry) {
    std::string op = node.getOpType().str() + (domain.empty() ? "" : " of domain " + domain.str());
    unknownOps[op].push_back(describe(node));
    return;
  }
  SmallVector<LegalValue *> inputs;
  for (Value input : node.getInputs()) {
    if (!isa<NoneType>(input.getType()) && !find(input)) {
      // Its definition has failed, which is reported already.
      return;
    }
  }
  for (Value input : node.getInputs()) {
    inputs.push_back(isa<NoneType>(input.getType()) ? nullptr : find(input));
  }
  bool hasParts = (entry->movesComplex || entry->measuresStrings) &&
                  llvm::any_of(inputs, [](LegalValue *input) { return input && input->imaginary; });
  std::optional<SmallVector<LegalValue>> results =
      hasParts ? legalizeParts(node, *entry, inputs) : legalize(node, *entry, inputs);
  if (!results) {
    return;
  }
  for (auto [result, value] : llvm::zip_equal(node.getResults(), *results)) {
    if (value.isKnown()) {
      scopes.back()[result] = std::move(value);
    } else if (!result.use_empty()) {
      unsupportedForms.push_back(node.getOpType().str() + " " + describe(node) + ": result " +
                                 std::to_string(result.getResultNumber()));
    }
  }
}

std::optional<SmallVector<LegalValue>>
Conversion::legalizeParts(NodeOp node, const LegalizerRegistry::Entry &entry, ArrayRef<LegalValue *> inputs) {
  auto reduction = node.getNodeAttrs().getAs<StringAttr>("reduction");
  if (reduction && reduction != "none" && reduction != "add") {
    unsupportedForms.push_back(node.getOpType().str() + " " + describe(node) + ": reduction \"" +
                               reduction.str() + "\" of complex numbers");
    return std::nullopt;
  }
  PartOperands real(inputs, Part::Real), imaginary(inputs, Part::Imaginary);
  std::optional<SmallVector<LegalValue>> results = legalize(node, entry, real.operands);
  if (!results || entry.measuresStrings) {
    return results;
  }
  std::optional<SmallVector<LegalValue>> others = legalize(node, entry, imaginary.operands);
  if (!others) {
    return std::nullopt;
  }
  for (auto [result, other] : llvm::zip_equal(*results, *others)) {
    result.imaginary = other.tensor;
  }
  return results;
}

std::optional<SmallVector<LegalValue>>
Conversion::legalize(NodeOp node, const LegalizerRegistry::Entry &entry, SmallVector<LegalValue *> inputs) {
  sizes.setLoc(node.getLoc());
  NodeView view{node.getOpType(),           node.getCanonicalDomain(), {},
                int64_t(node.getVersion()), node.getNodeAttrs(),       node};
  SmallVector<LegalValue *> none;
  StringOperands strings(entry.movesStrings || entry.measuresStrings ? inputs : none);
  LegalizeContext context(builder, tracker, sizes, view, texts, inputs, node.getNumResults(), this);
  unsigned present = inputs.size();
  for (unsigned i = 0; i < entry.minInputs; ++i) {
    if (!context.has(i)) {
      (void)context.error(
          "E0305", llvm::formatv("input {0} is absent, at least {1} are needed", i, entry.minInputs).str());
    }
  }
  if (present > entry.maxInputs) {
    (void)context.error(
        "E0305",
        llvm::formatv("there are {0} inputs, at most {1} are allowed", present, entry.maxInputs).str());
  }
  for (auto [i, input] : llvm::enumerate(inputs)) {
    bool fits = !input || (input->imaginary ? entry.takesComplex : entry.takesAny || input->isNumeric());
    if (!fits) {
      (void)context.unsupported(llvm::formatv("input {0} is {1}", i,
                                              input->isString       ? "a tensor of strings"
                                              : input->imaginary    ? "a tensor of complex numbers"
                                              : input->isSequence() ? "a sequence"
                                              : input->keys         ? "a map"
                                                                    : "an optional"));
    }
  }
  Block *block = builder.getInsertionBlock();
  Block::iterator point = builder.getInsertionPoint();
  Operation *before = point == block->begin() ? nullptr : &*std::prev(point);
  bool ok = !context.hasFailed() && succeeded(entry.legalize(context)) && !context.hasFailed();
  if (growth) {
    return std::nullopt;
  }
  if (!ok) {
    if (context.unsupportedReason().empty()) {
      ++errors;
    } else {
      unsupportedForms.push_back(node.getOpType().str() + " " + describe(node) + ": " +
                                 context.unsupportedReason().str());
    }
    return std::nullopt;
  }
  builder.setInsertionPoint(block, point);
  if (failed(verifyNew(before, node))) {
    ++errors;
    return std::nullopt;
  }
  // The nodes of a body have stated their own requirements.
  for (Operation *op : node.getBodies().empty() ? getNew(before) : SmallVector<Operation *>()) {
    requireSizes(context, op);
  }
  if (context.hasFailed()) {
    ++errors;
    return std::nullopt;
  }
  SmallVector<LegalValue> results = context.takeResults();
  for (LegalValue &value : results) {
    if (strings && entry.movesStrings && value.isKnown()) {
      makeStrings(context, value);
    }
  }
  return results;
}

SmallVector<Operation *> Conversion::getNew(Operation *before) {
  Block *block = builder.getInsertionBlock();
  Block::iterator first = before ? std::next(before->getIterator()) : block->begin();
  SmallVector<Operation *> ops;
  for (Operation &op : llvm::make_range(first, builder.getInsertionPoint())) {
    ops.push_back(&op);
  }
  return ops;
}

LogicalResult Conversion::verifyNew(Operation *before, NodeOp node) {
  std::string message;
  bool ok = true;
  {
    ScopedDiagnosticHandler handler(main.getContext(), [&](Diagnostic &diagnostic) {
      if (message.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error) {
        message = diagnostic.str();
      }
      return success();
    });
    for (Operation *op : getNew(before)) {
      ok = ok && succeeded(verify(op, /*verifyRecursively=*/false));
    }
  }
  if (ok) {
    return success();
  }
  StringRef text = message;
  // "'nn.matmul' op expects ..." is about an op that the user never wrote.
  if (text.consume_front("'")) {
    text = text.split("' op ").second;
  }
  return emitError(node.getLoc()) << "[E0307] the operands do not fit: " << text;
}

LegalizeContext Conversion::makeContext(Operation *op) {
  NodeView view;
  view.op = op;
  sizes.setLoc(op->getLoc());
  return LegalizeContext(builder, tracker, sizes, view, texts, {}, 0);
}

void Conversion::bindTensor(Operation &op, Value result) {
  LegalValue &value = scopes.back()[result];
  value.tensor = op.getResult(0);
  if (auto constant = dyn_cast<arith::ConstantOp>(op);
      constant && isa<ComplexType>(nn::getElementType(value.tensor))) {
    value = bindComplex(builder, constant);
  } else if (op.removeDiscardableAttr(kPartsAttr)) {
    LegalizeContext context = makeContext(&op);
    value = splitParts(context, value.tensor);
  }
}

LogicalResult Conversion::convertResults() {
  builder.setInsertionPoint(main.front().getTerminator());
  LegalizeContext context = makeContext(main.front().getTerminator());
  return lathe::onnx::convertResults(context, main, [&](Value value) { return find(value); });
}

LogicalResult Conversion::reportUnsupported() {
  if (unknownOps.empty() && unsupportedForms.empty()) {
    return success();
  }
  size_t nodes = unsupportedForms.size();
  for (auto &[op, names] : unknownOps) {
    nodes += names.size();
  }
  InFlightDiagnostic diagnostic = emitError(main.getLoc());
  diagnostic << (unknownOps.empty() ? "[E0308] " : "[E0301] ") << nodes
             << (nodes == 1 ? " node is" : " nodes are") << " not supported";
  for (auto &[op, names] : unknownOps) {
    Diagnostic &note = diagnostic.attachNote();
    note << op << ": " << names.size() << (names.size() == 1 ? " node, " : " nodes, ")
         << llvm::join(ArrayRef(names).take_front(kMaxListed), ", ");
    if (names.size() > kMaxListed) {
      note << ", ...";
    }
  }
  for (StringRef form : unsupportedForms) {
    diagnostic.attachNote() << form;
  }
  return diagnostic;
}

void Conversion::eraseOld() {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(main.front()))) {
    // Sizes that were computed and not needed go with the nodes; symbols stay, they are part of the
    // interface.
    if (isa<OnnxDialect>(op.getDialect()) || (isOpTriviallyDead(&op) && !isa<nn::DimSymbolOp>(op))) {
      op.erase();
    }
  }
}

LogicalResult Conversion::run() {
  for (BlockArgument argument : main.getArguments()) {
    LegalValue &value = scopes.back()[argument];
    value.tensor = argument;
    if (main.getArgAttr(argument.getArgNumber(), kStringsAttr)) {
      main.removeArgAttr(argument.getArgNumber(), builder.getStringAttr(kStringsAttr));
      main.setArgAttr(argument.getArgNumber(), nn::kStringAttr, builder.getUnitAttr());
      value.isString = true;
    }
    if (main.getArgAttr(argument.getArgNumber(), kPartsAttr)) {
      main.removeArgAttr(argument.getArgNumber(), builder.getStringAttr(kPartsAttr));
      main.setArgAttr(argument.getArgNumber(), nn::kComplexAttr, builder.getUnitAttr());
      builder.setInsertionPoint(
          &*llvm::find_if(main.front(), [](Operation &op) { return !isa<nn::DimSymbolOp>(op); }));
      LegalizeContext context = makeContext(main);
      value = splitParts(context, argument);
    }
  }
  for (Operation *op = &main.front().front(), *next; op; op = getNext(op, next)) {
    next = op->getNextNode();
    if (auto node = dyn_cast<NodeOp>(op)) {
      builder.setInsertionPoint(node);
      convertNode(node);
    } else if (isa<arith::ConstantOp, nn::WeightUseOp>(op) &&
               isa<RankedTensorType>(op->getResult(0).getType())) {
      builder.setInsertionPointAfter(op);
      bindTensor(*op, op->getResult(0));
    } else if (auto strings = dyn_cast<ConstantOp>(op)) {
      builder.setInsertionPoint(strings);
      bindStrings(strings);
    }
  }
  if (failed(reportUnsupported()) || errors || failed(convertResults())) {
    return failure();
  }
  sizes.replaceAliases();
  destroyAbandoned();
  eraseOld();
  recordBounds();
  return success();
}

void Conversion::recordBounds() {
  SmallVector<NamedAttribute> bounds;
  for (auto symbol : main.front().getOps<nn::DimSymbolOp>()) {
    int64_t range[] = {int64_t(symbol.getMin()), int64_t(symbol.getMax())};
    if (range[0] > 0 || range[1] < nn::kMaxDim) {
      bounds.emplace_back(symbol.getNameAttr(), builder.getDenseI64ArrayAttr(range));
    }
  }
  if (!bounds.empty()) {
    main->setAttr(nn::NNDialect::kBoundsAttr, builder.getDictionaryAttr(bounds));
  }
}

namespace {

struct OnnxToNNPass : lathe::impl::OnnxToNNPassBase<OnnxToNNPass> {
  using OnnxToNNPassBase::OnnxToNNPassBase;

  void runOnOperation() override {
    LegalizerRegistry registry;
    registerMath(registry);
    registerActivations(registry);
    registerLogic(registry);
    registerOrder(registry);
    registerQuantize(registry);
    registerRecurrent(registry);
    registerReductions(registry);
    registerShape(registry);
    registerMovement(registry);
    registerSlicing(registry);
    registerGather(registry);
    registerScatter(registry);
    registerMatMul(registry);
    registerNorms(registry);
    registerExperts(registry);
    registerFusedNorms(registry);
    registerConv(registry);
    registerPooling(registry);
    registerPad(registry);
    registerResize(registry);
    registerSampling(registry);
    registerAttention(registry);
    registerFusedAttention(registry);
    registerGroupQueryAttention(registry);
    registerLosses(registry);
    registerRandom(registry);
    registerRearrange(registry);
    registerSignal(registry);
    registerStateful(registry);
    registerGradient(registry);
    registerTraining(registry);
    registerControl(registry);
    registerSelection(registry);
    registerFeatures(registry);
    registerLabels(registry);
    registerMaps(registry);
    registerLinearModels(registry);
    registerSequences(registry);
    registerNgrams(registry);
    registerImages(registry);
    registerStrings(registry);
    registerSupportVectors(registry);
    registerTrees(registry);
    auto main = getOperation().lookupSymbol<func::FuncOp>(OnnxDialect::kMain);
    if (!main || main.isExternal()) {
      getOperation().emitError("expects a function @") << OnnxDialect::kMain << " that holds the graph";
      return signalPassFailure();
    }
    SmallVector<std::string> options(shapes.begin(), shapes.end());
    auto convert = [&](func::FuncOp main, ArrayRef<std::string> options) {
      expandComplexWeights(main->getParentOfType<ModuleOp>());
      return failure(failed(convertArguments(main, options)) || failed(Conversion(main, registry).run()));
    };
    if (failed(convertWithOpenLists(main, options, convert))) {
      signalPassFailure();
    }
  }
};

} // namespace
