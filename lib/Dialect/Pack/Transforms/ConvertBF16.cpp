// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products in bf16: their operands are rounded, and their sums stay f32. The cast of the left operand stands
/// right behind what computes it, where it becomes part of that kernel if nothing else reads the f32;
/// otherwise one kernel rounds the tensor once, for all products that read it.

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

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
/// With fewer columns, rounding the left operand takes longer than the product gains.
static constexpr int64_t kLeastColumns = 16;

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
  Converter(ModuleOp module, const cpu::TargetSpec &target)
      : module(module), symbols(module), evaluator(module), target(target), builder(module.getContext()) {}

  /// Works on all requests; on every product, with `all`.
  void run(bool all);

private:
  Decision decide(Operation *op);
  /// Why a weight cannot be rounded, if so.
  std::optional<std::string> findUnencodableWeight(nn::WeightOp weight);
  void convert(Operation *op);
  /// The left operand of a product, rounded where it is computed.
  Value narrow(Value value);
  Value narrowWeight(Value value);

  ModuleOp module;
  SymbolTable symbols;
  nn::Evaluator evaluator;
  const cpu::TargetSpec &target;
  OpBuilder builder;
  llvm::DenseMap<Value, Value> narrowed;
  llvm::DenseMap<Operation *, nn::WeightOp> weights;
};

} // namespace

/// Whether the op is a product, and what this pass has against it otherwise.
static std::optional<std::string> findUnfit(Operation *op) {
  if (isa<nn::AttentionOp>(op)) {
    return std::string(
        "attention is computed in f32: its operands are not weights, and most of its time goes to "
        "what lies between its products");
  }
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

Decision Converter::decide(Operation *op) {
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
  if (!target.hasFastBF16) {
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
  if (target.hasAMXBF16 && (isProduct ? depth < kMatrixDepth : depth % kMatrixDepth != 0)) {
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

Value Converter::narrow(Value value) {
  if (Value found = narrowed.lookup(value)) {
    return found;
  }
  auto reshape = value.getDefiningOp<nn::ReshapeOp>();
  Value source = reshape ? narrow(reshape.getX()) : Value();
  builder.setInsertionPointAfterValue(value);
  Value result =
      reshape ? nn::ReshapeOp::create(builder, reshape.getLoc(), source, reshape.getMixedDims()).getResult()
              : nn::buildCast(builder, value.getLoc(), value, builder.getBF16Type());
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

void Converter::run(bool all) {
  SmallVector<Operation *> requests;
  for (auto function : module.getOps<FunctionOpInterface>()) {
    function.walk([&](Operation *op) {
      if (asksForBF16(op) || (all && isa<nn::MatMulOp, nn::ConvOp, nn::AttentionOp>(op))) {
        requests.push_back(op);
      }
    });
  }
  for (Operation *op : requests) {
    Decision decision = decide(op);
    if (decision.kind == Decision::Store) {
      op->setAttr(PackDialect::kFormatAttr, BF16Attr::get(op->getContext()));
      continue;
    }
    op->removeAttr(PackDialect::kFormatAttr);
    if (decision.kind == Decision::Refuse) {
      nn::remarkMissed(op, kPass, "not computed in bf16: " + decision.why);
    } else {
      convert(op);
    }
  }
}

namespace {
struct ConvertBF16 : pack::impl::ConvertBF16PassBase<ConvertBF16> {
  using ConvertBF16PassBase::ConvertBF16PassBase;

  void runOnOperation() override {
    llvm::Expected<cpu::TargetSpec> spec = cpu::resolveTarget(target);
    if (!spec) {
      getOperation().emitError() << llvm::toString(spec.takeError());
      return signalPassFailure();
    }
    Converter(getOperation(), *spec).run(all);
  }
};
} // namespace
