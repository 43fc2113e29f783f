// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products in bf16: their operands are rounded, and their sums stay f32. The cast of a computed operand
/// stands right behind what computes it, where it becomes part of that kernel if nothing else reads the f32;
/// otherwise one kernel rounds the tensor once, for all products that read it. Attention is two products with
/// a softmax in between, and rounds its result.

#include "lathe/Codegen/CPU/PassTarget.h"
#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::pack {
#define GEN_PASS_DEF_CONVERTBF16PASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static constexpr llvm::StringLiteral kPass = "pack-convert-bf16";

/// With at most so many rows, the time of a product is that of reading its weight.
static constexpr int64_t kFewRows = 8;
/// The elements of a row that matrix registers multiply at a time.
static constexpr int64_t kMatrixDepth = 32;
/// The columns of a matrix register.
static constexpr int64_t kMatrixColumns = 16;
/// With fewer columns, rounding the left operand takes longer than the product gains.
static constexpr int64_t kLeastColumns = 16;

/// Products that take a smaller share of all operations gain nothing, and what they compute may scale all
/// that others do, as the factors of squeezed channels: their error is then that of every position.
static constexpr double kLeastShare = 5e-5;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

static bool asksForBF16(Operation *op) { return op->hasAttrOfType<BF16Attr>(PackDialect::kFormatAttr); }

namespace {

/// What is done about a request.
struct Decision {
  enum Kind {
    /// The product is computed in bf16.
    Compute,
    /// Only its weight is stored in bf16, which pack-encode-weights does.
    Store,
    Refuse
  } kind;
  std::string why;
};

class Converter {
public:
  Converter(ModuleOp module, const cpu::TargetSpec &target, bool force, bool onDevice)
      : module(module), symbols(module), evaluator(module), target(target), force(force), onDevice(onDevice),
        builder(module.getContext()) {}

  /// Works on all requests; on every product, with `all`.
  void run(bool all);

private:
  Decision decide(Operation *op);
  Decision decideAttention(nn::AttentionOp op);
  /// Why a weight cannot be rounded, if so.
  std::optional<std::string> findUnencodableWeight(nn::WeightOp weight);
  void convert(Operation *op);
  void convertAttention(nn::AttentionOp op);
  /// A computed operand, rounded where it is computed.
  Value narrow(Value value);
  /// The op that makes `value` a view of another tensor that is better rounded itself.
  Operation *getView(Value value);
  Value narrowWeight(Value value);

  ModuleOp module;
  SymbolTable symbols;
  nn::Evaluator evaluator;
  const cpu::TargetSpec &target;
  bool force, onDevice;
  OpBuilder builder;
  llvm::DenseMap<Value, Value> narrowed;
  /// What may have no reader left, in the order of the program.
  SmallVector<Operation *> replaced;
  llvm::DenseMap<Operation *, nn::WeightOp> weights;
};

} // namespace

/// Whether the op is a product, and what this pass has against it otherwise.
static std::optional<std::string> findUnfit(Operation *op) {
  if (!isa<nn::MatMulOp, nn::ConvOp>(op)) {
    return op->getName().getStringRef().str() + " is no product";
  }
  for (Value value : {op->getOperand(0), op->getOperand(1), Value(op->getResult(0))}) {
    if (!typeOf(value).getElementType().isF32()) {
      return "a product of " + toText(TypeAttr::get(typeOf(value).getElementType())) + " is not of f32";
    }
  }
  if (auto conv = dyn_cast<nn::ConvOp>(op)) {
    if (conv.isDepthwise()) {
      return std::string("a depthwise convolution has no pairs of channels to multiply at a time");
    }
  }
  return std::nullopt;
}

/// The number of rows of a product, if they are known.
static std::optional<int64_t> getRows(Operation *op) {
  ArrayRef<int64_t> shape = typeOf(op->getResult(0)).getShape().drop_back();
  return ShapedType::isDynamicShape(shape) ? std::nullopt : std::optional(ShapedType::getNumElements(shape));
}

Decision Converter::decideAttention(nn::AttentionOp op) {
  auto refuse = [](const Twine &why) {
    return Decision{Decision::Refuse, ("attention is computed in f32: " + why).str()};
  };
  RankedTensorType q = typeOf(op.getQ()), v = typeOf(op.getV());
  if (!q.getElementType().isF32()) {
    return {Decision::Refuse, "attention of " + toText(TypeAttr::get(q.getElementType())) + " is not of f32"};
  }
  if (onDevice) {
    return {Decision::Compute, ""};
  }
  if (!target.hasAMXBF16) {
    return refuse(
        "most of its time goes to what lies between its products, unless matrix registers make them, "
        "which " +
        target.name + " has not");
  }
  for (auto [size, step, what] : {std::tuple(q.getDimSize(3), kMatrixDepth, "queries"),
                                  std::tuple(v.getDimSize(3), kMatrixColumns, "values")}) {
    if (ShapedType::isDynamic(size) || size % step != 0) {
      return refuse("the features of " + Twine(what) +
                    (ShapedType::isDynamic(size) ? ", of an unknown number,"
                                                 : ", " + std::to_string(size) + " of a head,") +
                    " are no multiple of " + Twine(step) + ", which fill matrix registers");
    }
  }
  if (op.getSoftcap()) {
    return refuse("with a softcap it has no kernel");
  }
  return {Decision::Compute, ""};
}

Decision Converter::decide(Operation *op) {
  if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
    return decideAttention(attention);
  }
  if (std::optional<std::string> unfit = findUnfit(op)) {
    return {Decision::Refuse, *unfit};
  }
  auto use = op->getOperand(1).getDefiningOp<nn::WeightUseOp>();
  auto weight = use ? symbols.lookup<nn::WeightOp>(use.getWeight()) : nn::WeightOp();
  if (!weight) {
    return {Decision::Refuse, "its right operand is no weight"};
  }
  if (std::optional<std::string> unencodable = findUnencodableWeight(weight)) {
    return {Decision::Refuse, *unencodable};
  }
  std::optional<int64_t> rows = getRows(op);
  if (force) {
    return {Decision::Compute, ""};
  }
  if (!target.hasFastBF16 && !onDevice) {
    if (rows && *rows <= kFewRows) {
      return {Decision::Store, ""};
    }
    return {Decision::Refuse, target.name + " has no instructions that multiply bf16 faster than f32, and " +
                                  (rows ? std::to_string(*rows) + " rows are" : "the number of rows is") +
                                  (rows ? " too many for the bytes of the weight to count"
                                        : " not known to be so small that the bytes of the weight count")};
  }
  // Matrix registers take so many elements at a time: the instructions for vectors beside them are slower
  // than those of f32.
  RankedTensorType filter = typeOf(op->getOperand(1));
  int64_t depth = filter.getDimSize(filter.getRank() - 2);
  bool isProduct = !isa<nn::ConvOp>(op) || cast<nn::ConvOp>(op).isProduct();
  if (!onDevice && target.hasAMXBF16 && (isProduct ? depth < kMatrixDepth : depth % kMatrixDepth != 0)) {
    return {Decision::Refuse,
            (isProduct ? "a depth of " : "a number of channels of ") + std::to_string(depth) +
                (isProduct ? " is less than " : " is no multiple of ") + std::to_string(kMatrixDepth) +
                ", which matrix registers multiply at a time"};
  }
  int64_t columns = typeOf(op->getResult(0)).getShape().back();
  if (columns < kLeastColumns) {
    return {Decision::Refuse, "with " + std::to_string(columns) + " columns, fewer than " +
                                  std::to_string(kLeastColumns) +
                                  ", rounding the left operand costs more than "
                                  "the product gains"};
  }
  return {Decision::Compute, ""};
}

std::optional<std::string> Converter::findUnencodableWeight(nn::WeightOp weight) {
  if (isa<nn::PackedTypeInterface>(weight.getType())) {
    return std::string("its weight is packed already");
  }
  // A weight whose data is not there is checked when it is written.
  llvm::Expected<nn::ConstantTensor> contents = evaluator.read(weight);
  if (!contents) {
    llvm::consumeError(contents.takeError());
    return std::nullopt;
  }
  return findUnencodable(cast<FormatAttrInterface>(Attribute(BF16Attr::get(module.getContext()))), *contents);
}

/// Of parts of a tensor that is if nothing else reads it.
Operation *Converter::getView(Value value) {
  Operation *op = value.getDefiningOp();
  bool isView = isa_and_nonnull<nn::ReshapeOp, nn::TransposeOp>(op);
  if (auto slice = dyn_cast_or_null<nn::SliceOp>(op)) {
    isView = narrowed.contains(slice.getX()) ||
             llvm::all_of(slice.getX().getUsers(), [](Operation *user) { return isa<nn::SliceOp>(user); });
  }
  return isView ? op : nullptr;
}

Value Converter::narrow(Value value) {
  if (Value found = narrowed.lookup(value)) {
    return found;
  }
  if (auto cast = value.getDefiningOp<nn::CastOp>(); cast && typeOf(cast.getX()).getElementType().isBF16()) {
    replaced.push_back(cast);
    return cast.getX();
  }
  Value result;
  if (Operation *view = getView(value)) {
    Value source = narrow(view->getOperand(0));
    builder.setInsertionPointAfter(view);
    Operation *other = builder.clone(*view);
    other->setOperand(0, source);
    other->getResult(0).setType(typeOf(value).clone(builder.getBF16Type()));
    result = other->getResult(0);
    replaced.push_back(view);
  } else {
    builder.setInsertionPointAfterValue(value);
    result = nn::buildCast(builder, value.getLoc(), value, builder.getBF16Type());
  }
  narrowed[value] = result;
  return result;
}

Value Converter::narrowWeight(Value value) {
  auto use = value.getDefiningOp<nn::WeightUseOp>();
  auto weight = symbols.lookup<nn::WeightOp>(use.getWeight());
  nn::WeightOp &rounded = weights[weight];
  if (!rounded) {
    OpBuilder outside(module.getContext());
    outside.setInsertionPointAfter(weight);
    auto makeBody = [&](OpBuilder &body, Location loc) -> Value {
      Value source = nn::WeightUseOp::create(body, loc, weight.getType(),
                                             FlatSymbolRefAttr::get(weight.getSymNameAttr()));
      return nn::buildCast(body, loc, source, body.getBF16Type());
    };
    rounded = nn::WeightOp::create(outside, weight.getLoc(), (weight.getSymName() + "_bf16").str(),
                                   weight.getOnnxName().value_or(""), makeBody);
    // The symbol table may give it another name.
    symbols.insert(rounded);
  }
  return nn::WeightUseOp::create(builder, use.getLoc(), rounded.getType(),
                                 FlatSymbolRefAttr::get(rounded.getSymNameAttr()));
}

void Converter::convert(Operation *op) {
  Value lhs = narrow(op->getOperand(0));
  builder.setInsertionPoint(op);
  Value weight = op->getOperand(1), rhs = narrowWeight(weight);
  op->setOperand(0, lhs);
  op->setOperand(1, rhs);
  if (Operation *old = weight.getDefiningOp(); old && old->use_empty()) {
    old->erase();
  }
  nn::remarkPassed(op, kPass, "computed in bf16 with sums of f32");
}

void Converter::convertAttention(nn::AttentionOp op) {
  SmallVector<Value> operands = llvm::map_to_vector(ArrayRef<Value>{op.getQ(), op.getK(), op.getV()},
                                                    [&](Value operand) { return narrow(operand); });
  builder.setInsertionPoint(op);
  auto other = cast<nn::AttentionOp>(builder.clone(*op));
  other->setOperands(0, operands.size(), operands);
  other.getResult().setType(typeOf(op.getResult()).clone(builder.getBF16Type()));
  op.getResult().replaceAllUsesWith(
      nn::buildCast(builder, op.getLoc(), other.getResult(), builder.getF32Type()));
  op.erase();
  nn::remarkPassed(other, kPass, "computed in bf16 with sums of f32");
}

void Converter::run(bool all) {
  SmallVector<Operation *> requests;
  double operations = 0;
  for (auto function : module.getOps<FunctionOpInterface>()) {
    function.walk([&](Operation *op) {
      if (asksForBF16(op) || (all && isa<nn::MatMulOp, nn::ConvOp, nn::AttentionOp>(op))) {
        requests.push_back(op);
      }
      operations += isa<nn::MatMulOp, nn::ConvOp>(op) ? countOperations(op) : 0;
    });
  }
  for (Operation *op : requests) {
    Decision decision = decide(op);
    if (decision.kind == Decision::Compute && !force && isa<nn::MatMulOp, nn::ConvOp>(op) &&
        countOperations(op) < kLeastShare * operations) {
      decision = {Decision::Refuse,
                  "of all products it is too small a part to save time, while its error may "
                  "be that of all that its result is multiplied with"};
    }
    if (decision.kind == Decision::Store) {
      op->setAttr(PackDialect::kFormatAttr, BF16Attr::get(op->getContext()));
      continue;
    }
    op->removeAttr(PackDialect::kFormatAttr);
    if (decision.kind == Decision::Refuse) {
      nn::remarkMissed(op, kPass, "not computed in bf16: " + decision.why);
    } else if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
      convertAttention(attention);
    } else {
      convert(op);
    }
  }
  // Kernels that still had a reader of the f32 would store it, too.
  llvm::SetVector<Operation *> unread(replaced.begin(), replaced.end());
  for (Operation *op : llvm::reverse(unread)) {
    if (op->use_empty()) {
      op->erase();
    }
  }
}

namespace {
struct ConvertBF16 : pack::impl::ConvertBF16PassBase<ConvertBF16> {
  using ConvertBF16PassBase::ConvertBF16PassBase;

  void runOnOperation() override {
    FailureOr<cpu::TargetSpec> spec = cpu::resolvePassTarget(getOperation(), target);
    if (failed(spec)) {
      return signalPassFailure();
    }
    Converter(getOperation(), *spec, force, onDevice).run(all);
  }
};
} // namespace
