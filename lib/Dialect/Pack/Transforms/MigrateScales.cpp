// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Moves what makes channels of a product's left operand larger than others into the rows of its weight.
///
///     x w = (x / s) (s w),  a factor s for each channel
///
/// A tensor whose channels are alike is rounded to integers with less loss; a column of the weight has a
/// scale of its own, and bears what its rows get. The division goes into the norm that makes x, if nothing
/// but such products reads it; else it is one more factor where x is rounded.

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

namespace lathe::pack {
#define GEN_PASS_DEF_MIGRATESCALESPASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;
using nn::BinaryKind;

static constexpr llvm::StringLiteral kPass = "pack-migrate-scales";

namespace {

class Migrator {
public:
  explicit Migrator(ModuleOp module) : module(module), symbols(module) {}

  void run();

private:
  std::optional<std::string> findObstacle(Operation *op, DenseF32ArrayAttr factors);
  void migrate(Operation *op, DenseF32ArrayAttr factors);
  /// What is multiplied by `factors` along a dimension when the artifact is written, in place of `value`, a
  /// weight or a constant.
  Value scale(Value value, ArrayRef<float> factors, int64_t dimension, StringRef suffix);
  nn::WeightOp scale(nn::WeightOp weight, ArrayRef<float> factors, int64_t dimension, StringRef suffix);
  /// The left operand divided by the factors.
  Value divide(Operation *op, DenseF32ArrayAttr factors);
  bool divideInNorm(Value x, DenseF32ArrayAttr factors);

  ModuleOp module;
  SymbolTable symbols;
  /// What was scaled already, by the symbol or value, factors and dimension.
  llvm::DenseMap<std::tuple<Operation *, Attribute, int64_t>, nn::WeightOp> weights;
  llvm::DenseMap<std::pair<Value, Attribute>, Value> divided;
};

} // namespace

static SmallVector<float> invert(ArrayRef<float> factors) {
  return llvm::map_to_vector(factors, [](float factor) { return 1 / factor; });
}

/// One number for each place of a dimension of a tensor.
static Value buildFactors(OpBuilder &builder, Location loc, ArrayRef<float> factors, int64_t dimension,
                          int64_t rank) {
  SmallVector<int64_t> shape(rank, 1);
  shape[dimension] = factors.size();
  auto type = RankedTensorType::get(shape, builder.getF32Type());
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, factors));
}

std::optional<std::string> Migrator::findObstacle(Operation *op, DenseF32ArrayAttr factors) {
  nn::WeightOp weight = getWeight(op, symbols);
  if (!weight || !isProduct(op) || isa<nn::PackedTypeInterface>(weight.getType())) {
    return "it is no product with a weight";
  }
  auto conv = dyn_cast<nn::ConvOp>(op);
  if (conv && conv.getGroups() != 1) {
    return "its channels are in groups";
  }
  RankedTensorType type = weight.getTensorType();
  auto x = cast<RankedTensorType>(op->getOperand(0).getType());
  if (!type.getElementType().isF32() || !x.getElementType().isF32()) {
    return "its operands are not f32";
  }
  int64_t channels = type.getDimSize(type.getRank() - 2);
  if (channels != factors.size()) {
    return "it has " + std::to_string(channels) + " channels, there are factors for " +
           std::to_string(factors.size());
  }
  return std::nullopt;
}

nn::WeightOp Migrator::scale(nn::WeightOp weight, ArrayRef<float> factors, int64_t dimension,
                             StringRef suffix) {
  Attribute key = Builder(module.getContext()).getDenseF32ArrayAttr(factors);
  nn::WeightOp &scaled = weights[{weight, key, dimension}];
  if (!scaled) {
    OpBuilder builder(module.getContext());
    builder.setInsertionPointAfter(weight);
    RankedTensorType type = weight.getTensorType();
    scaled = nn::WeightOp::create(
        builder, weight.getLoc(), (weight.getSymName() + suffix).str(), weight.getOnnxName().value_or(""),
        [&](OpBuilder &body, Location loc) -> Value {
          Value use =
              nn::WeightUseOp::create(body, loc, type, FlatSymbolRefAttr::get(weight.getSymNameAttr()));
          return nn::buildBinary(body, loc, BinaryKind::Mul, use,
                                 buildFactors(body, loc, factors, dimension, type.getRank()));
        });
    symbols.insert(scaled);
  }
  return scaled;
}

Value Migrator::scale(Value value, ArrayRef<float> factors, int64_t dimension, StringRef suffix) {
  OpBuilder builder(value.getContext());
  builder.setInsertionPointAfterValue(value);
  if (auto constant = value.getDefiningOp<arith::ConstantOp>()) {
    SmallVector<float> products;
    for (auto [number, factor] :
         llvm::zip_equal(cast<DenseElementsAttr>(constant.getValue()).getValues<float>(), factors)) {
      products.push_back(number * factor);
    }
    auto type = cast<RankedTensorType>(value.getType());
    return arith::ConstantOp::create(builder, value.getLoc(),
                                     DenseElementsAttr::get(type, ArrayRef<float>(products)));
  }
  auto weight = symbols.lookup<nn::WeightOp>(value.getDefiningOp<nn::WeightUseOp>().getWeight());
  nn::WeightOp scaled = scale(weight, factors, dimension, suffix);
  return nn::WeightUseOp::create(builder, value.getLoc(), scaled.getTensorType(),
                                 FlatSymbolRefAttr::get(scaled.getSymNameAttr()));
}

/// Whether a norm's operand is known and has a number for each channel.
static bool isKnown(Value value, int64_t channels) {
  auto type = cast<RankedTensorType>(value.getType());
  bool fits = type.getRank() == 1 && type.getDimSize(0) == channels && type.getElementType().isF32();
  auto constant = value.getDefiningOp<arith::ConstantOp>();
  return fits && (value.getDefiningOp<nn::WeightUseOp>() ||
                  (constant && isa<DenseElementsAttr>(constant.getValue())));
}

bool Migrator::divideInNorm(Value x, DenseF32ArrayAttr factors) {
  Operation *norm = x.getDefiningOp();
  if (!isa_and_nonnull<nn::LayerNormOp, nn::RMSNormOp>(norm)) {
    return false;
  }
  int64_t last = cast<RankedTensorType>(x.getType()).getRank() - 1;
  bool isLast = isa<nn::LayerNormOp>(norm) ? int64_t(cast<nn::LayerNormOp>(norm).getAxis()) == last
                                           : int64_t(cast<nn::RMSNormOp>(norm).getAxis()) == last;
  bool areKnown = llvm::all_of(norm->getOperands().drop_front(),
                               [&](Value operand) { return isKnown(operand, factors.size()); });
  bool areAlike = llvm::all_of(x.getUses(), [&](OpOperand &use) {
    return use.getOperandNumber() == 0 &&
           use.getOwner()->getDiscardableAttr(PackDialect::kMigrateAttr) == factors;
  });
  if (!isLast || !areKnown || !areAlike) {
    return false;
  }
  SmallVector<float> inverse = invert(factors.asArrayRef());
  for (OpOperand &operand : norm->getOpOperands().drop_front()) {
    operand.set(scale(operand.get(), inverse, /*dimension=*/0, "_divided"));
  }
  nn::remarkPassed(norm, kPass, "divides its channels for the products that read it");
  return true;
}

Value Migrator::divide(Operation *op, DenseF32ArrayAttr factors) {
  Value x = op->getOperand(0);
  Value &known = divided[{x, factors}];
  if (!known && divideInNorm(x, factors)) {
    known = x;
  } else if (!known) {
    OpBuilder builder(x.getContext());
    builder.setInsertionPointAfterValue(x);
    SmallVector<float> inverse = invert(factors.asArrayRef());
    known = nn::buildBinary(builder, x.getLoc(), BinaryKind::Mul, x,
                            buildFactors(builder, x.getLoc(), inverse, /*dimension=*/0, /*rank=*/1));
  }
  return known;
}

void Migrator::migrate(Operation *op, DenseF32ArrayAttr factors) {
  OpOperand &right = op->getOpOperand(1);
  Operation *use = right.get().getDefiningOp();
  int64_t channels = cast<RankedTensorType>(right.get().getType()).getRank() - 2;
  // Before the norm is asked about its other readers.
  Value left = divide(op, factors);
  right.set(scale(right.get(), factors.asArrayRef(), channels, "_migrated"));
  if (use->use_empty()) {
    use->erase();
  }
  op->setOperand(0, left);
  if (auto gram = op->getAttrOfType<FlatSymbolRefAttr>(PackDialect::kGramAttr)) {
    SmallVector<float> inverse = invert(factors.asArrayRef());
    nn::WeightOp rows = scale(symbols.lookup<nn::WeightOp>(gram.getValue()), inverse, 0, "_rows");
    op->setAttr(PackDialect::kGramAttr,
                FlatSymbolRefAttr::get(scale(rows, inverse, 1, "_columns").getSymNameAttr()));
  }
  nn::remarkPassed(op, kPass, "scales of its channels are in its weight");
}

void Migrator::run() {
  SmallVector<std::pair<Operation *, DenseF32ArrayAttr>> requests;
  module.walk([&](Operation *op) {
    auto factors = dyn_cast_or_null<DenseF32ArrayAttr>(op->getDiscardableAttr(PackDialect::kMigrateAttr));
    if (!factors) {
      return;
    }
    if (std::optional<std::string> obstacle = findObstacle(op, factors)) {
      op->removeDiscardableAttr(PackDialect::kMigrateAttr);
      nn::remarkMissed(op, kPass, "its scales stay: " + *obstacle);
    } else {
      requests.push_back({op, factors});
    }
  });
  for (auto [op, factors] : requests) {
    migrate(op, factors);
  }
  for (auto [op, factors] : requests) {
    op->removeDiscardableAttr(PackDialect::kMigrateAttr);
  }
}

namespace {

struct MigrateScalesPass : pack::impl::MigrateScalesPassBase<MigrateScalesPass> {
  void runOnOperation() override { Migrator(getOperation()).run(); }
};

} // namespace
