// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Zeros in weights: those that are asked for, and those that are there.

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/FormatVariadic.h"

namespace lathe::pack {
#define GEN_PASS_DEF_PRUNEWEIGHTSPASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static constexpr llvm::StringLiteral kPass = "pack-prune-weights";

/// The least depth and number of columns: below, tasks are too small.
static constexpr int64_t kMinDepth = 64, kMinColumns = 64;

/// A product in blocks has to take less than this share of the time.
static constexpr double kWorth = 0.9;

/// Weights of which less are zero are not looked at closely.
static constexpr double kManyZeros = 0.4;

namespace {

/// What a product with blocks of a size takes of the time of the dense one: `fixed`, and `each` times the
/// share of blocks that are not zero.
struct BlockKernel {
  int64_t rows, columns;
  double fixed, each;

  double getTime(double share) const { return fixed + each * share; }
  std::string getName() const { return llvm::formatv("{0} x {1}", rows, columns).str(); }
};

/// The one table of what zeros are worth. MiniLM's products with 128 rows at 50, 75, 90 and 95 % zeros,
/// against the dense kernel in turns, on Sapphire Rapids.
constexpr BlockKernel kFloatBlocks = {1, 4, 0.05, 1.05}, kFloatElements = {1, 1, 0.06, 1.9};
/// The same of bytes: against dot products in vectors, and against matrix registers.
constexpr BlockKernel kByteBlocks = {4, 32, 0.08, 1.25}, kByteBlocksByMatrices = {4, 32, 0.35, 3.1};

/// Blocks of which some share is not zero.
struct Choice {
  const BlockKernel *kernel;
  double share;

  double getTime() const { return kernel->getTime(share); }
};

/// Whether an op asks for codes of 8 bits.
bool isOnBytes(Operation *op) {
  auto format = op->getAttrOfType<Int8Attr>(PackDialect::kFormatAttr);
  return format && !format.isWeightOnly();
}

class WeightPruner {
public:
  WeightPruner(ModuleOp module, const cpu::TargetSpec &target, bool force)
      : module(module), symbols(module), evaluator(module), target(target), force(force) {}

  void run(bool find);

private:
  /// Why an op's weight is not read in blocks, whatever its zeros.
  std::optional<std::string> findObstacle(Operation *op, nn::WeightOp weight);
  /// Does what is asked for, or says why not.
  void doRequest(Operation *op, nn::WeightOp weight, SparsityAttr sparsity);
  void useZeros(Operation *op, nn::WeightOp weight);
  /// The kernels that the product may become in which blocks of some size are skipped, the largest first.
  SmallVector<const BlockKernel *, 2> getKernels(Operation *op);
  /// Lets the op ask for its weight in blocks, of which `count` are stored.
  void requestBlocks(Operation *op, const BlockKernel &kernel, int64_t count);
  std::string describeTime(const Choice &choice);
  nn::WeightOp getPruned(nn::WeightOp weight, SparsityAttr sparsity, FlatSymbolRefAttr norms,
                         const BlockKernel &kernel);

  ModuleOp module;
  SymbolTable symbols;
  nn::Evaluator evaluator;
  const cpu::TargetSpec &target;
  bool force;
  llvm::DenseMap<std::tuple<Operation *, Attribute, Attribute>, nn::WeightOp> pruned;
};

} // namespace

std::optional<std::string> WeightPruner::findObstacle(Operation *op, nn::WeightOp weight) {
  if (!isa<nn::MatMulOp>(op)) {
    return "only matrix products read blocks";
  }
  RankedTensorType type = weight.getTensorType();
  if (isa<nn::PackedTypeInterface>(weight.getType()) || !type.getElementType().isF32() ||
      type.getRank() != 2) {
    return "its weight is no matrix of f32";
  }
  auto format = op->getAttrOfType<FormatAttrInterface>(PackDialect::kFormatAttr);
  if (format && !isOnBytes(op)) {
    return "no kernel reads blocks of " + toText(format);
  }
  if (op->hasAttr(PackDialect::kGramAttr)) {
    return "codes that compensate each other are all needed";
  }
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  if (rows < kMinDepth || columns < kMinColumns) {
    return llvm::formatv("{0} x {1} weights are too few, below {2} x {3} nothing is saved", rows, columns,
                         kMinDepth, kMinColumns);
  }
  if (rows > BlockLayout::kMostRows) {
    return llvm::formatv("it has {0} rows, products read blocks of up to {1}", rows, BlockLayout::kMostRows);
  }
  return std::nullopt;
}

nn::WeightOp WeightPruner::getPruned(nn::WeightOp weight, SparsityAttr sparsity, FlatSymbolRefAttr norms,
                                     const BlockKernel &kernel) {
  nn::WeightOp &result = pruned[{weight, sparsity, norms}];
  if (!result) {
    OpBuilder builder(module.getContext());
    builder.setInsertionPointAfter(weight);
    auto makeBody = [&](OpBuilder &body, Location loc) -> Value {
      Value source = nn::WeightUseOp::create(body, loc, weight.getType(),
                                             FlatSymbolRefAttr::get(weight.getSymNameAttr()));
      Value factors;
      if (norms) {
        auto known = symbols.lookup<nn::WeightOp>(norms.getValue());
        factors = nn::WeightUseOp::create(body, loc, known.getTensorType(), norms);
      }
      return PruneOp::create(body, loc, source.getType(), source, sparsity, kernel.rows, kernel.columns,
                             factors);
    };
    result = nn::WeightOp::create(builder, weight.getLoc(), (weight.getSymName() + "_pruned").str(),
                                  weight.getOnnxName().value_or(""), makeBody);
    symbols.insert(result);
  }
  return result;
}

SmallVector<const BlockKernel *, 2> WeightPruner::getKernels(Operation *op) {
  if (isOnBytes(op)) {
    return {target.hasAMXInt8 ? &kByteBlocksByMatrices : &kByteBlocks};
  }
  return {&kFloatBlocks, &kFloatElements};
}

std::string WeightPruner::describeTime(const Choice &choice) {
  std::string text = llvm::formatv("products take {0:f2} of the time in blocks of {1}", choice.getTime(),
                                   choice.kernel->getName());
  return choice.kernel == &kByteBlocksByMatrices ? text + ", without matrix registers" : text;
}

void WeightPruner::requestBlocks(Operation *op, const BlockKernel &kernel, int64_t count) {
  auto format = BlocksAttr::get(op->getContext(), kernel.rows, kernel.columns, count);
  op->setAttr(isOnBytes(op) ? PackDialect::kBlocksAttr : PackDialect::kFormatAttr, format);
}

void WeightPruner::doRequest(Operation *op, nn::WeightOp weight, SparsityAttr sparsity) {
  auto norms = dyn_cast_or_null<FlatSymbolRefAttr>(op->removeAttr(PackDialect::kNormsAttr));
  std::string wanted = "not pruned to " + sparsityText(sparsity) + ": ";
  if (std::optional<std::string> obstacle = findObstacle(op, weight)) {
    return nn::remarkMissed(op, kPass, wanted + *obstacle);
  }
  if (llvm::Expected<nn::ConstantTensor> elements = evaluator.read(weight)) {
    if (std::optional<std::string> notFinite = findNotFinite(*elements)) {
      return nn::remarkMissed(op, kPass, wanted + *notFinite);
    }
  } else {
    llvm::consumeError(elements.takeError()); // checked when it is written
  }
  bool isBlock = sparsity.getPattern() == ZeroPattern::Block;
  if (!isBlock && isOnBytes(op)) {
    return nn::remarkMissed(op, kPass, wanted + "codes of 8 bits are read in blocks only");
  }
  SmallVector<const BlockKernel *, 2> kernels = getKernels(op);
  Choice choice{isBlock ? kernels.front() : kernels.back(), 1 - double(sparsity.getZeros()) / 1000};
  bool pays = choice.getTime() < kWorth;
  if (!pays && !force) {
    return nn::remarkMissed(op, kPass, wanted + describeTime(choice));
  }
  RankedTensorType type = weight.getTensorType();
  int64_t rows = choice.kernel->rows, columns = choice.kernel->columns;
  int64_t columnBlocks = llvm::divideCeil(type.getDimSize(1), columns);
  int64_t rowBlocks = llvm::divideCeil(type.getDimSize(0), rows);
  int64_t kept = columnBlocks * (rowBlocks - rowBlocks * sparsity.getZeros() / 1000);
  if (sparsity.getPattern() == ZeroPattern::TwoOfFour) {
    kept = (type.getDimSize(0) / 4 * 2 + std::min<int64_t>(type.getDimSize(0) % 4, 2)) * columnBlocks;
  }
  nn::WeightOp result = getPruned(weight, sparsity, norms, *choice.kernel);
  OpBuilder builder(op);
  auto use = op->getOperand(1).getDefiningOp<nn::WeightUseOp>();
  op->setOperand(1, nn::WeightUseOp::create(builder, use.getLoc(), result.getType(),
                                            FlatSymbolRefAttr::get(result.getSymNameAttr())));
  if (use->use_empty()) {
    use.erase();
  }
  requestBlocks(op, *choice.kernel, BlocksAttr::getRoom(kept, columnBlocks));
  nn::remarkPassed(op, kPass,
                   "pruned to " + sparsityText(sparsity) + (norms ? " by what it reads" : "") +
                       (pays ? ": " : ", as forced: ") + describeTime(choice));
}

/// The share of zeros among a sample of elements.
static double sampleZeros(const nn::ConstantTensor &tensor) {
  constexpr int64_t kRows = 32;
  int64_t rows = getMatrixRows(tensor.getType()), columns = tensor.getType().getShape().back();
  std::vector<float> row(columns);
  int64_t zeros = 0, step = std::max<int64_t>(rows / kRows, 1), seen = 0;
  for (int64_t i = 0; i < rows; i += step, ++seen) {
    tensor.copy(i * columns, columns, reinterpret_cast<char *>(row.data()));
    zeros += llvm::count(row, 0.0f);
  }
  return double(zeros) / double(seen * columns);
}

void WeightPruner::useZeros(Operation *op, nn::WeightOp weight) {
  if (findObstacle(op, weight)) {
    return;
  }
  llvm::Expected<nn::ConstantTensor> elements = evaluator.read(weight);
  if (!elements) {
    return llvm::consumeError(elements.takeError()); // checked when it is written
  }
  if (sampleZeros(*elements) < kManyZeros) {
    return;
  }
  std::optional<Choice> best;
  double most = 0;
  for (const BlockKernel *kernel : getKernels(op)) {
    int64_t rows = llvm::divideCeil(weight.getTensorType().getDimSize(0), kernel->rows);
    int64_t columns = llvm::divideCeil(weight.getTensorType().getDimSize(1), kernel->columns);
    Choice choice{kernel,
                  double(countBlocks(*elements, kernel->rows, kernel->columns)) / double(rows * columns)};
    most = std::max(most, 1 - choice.share);
    if (!best || choice.getTime() < best->getTime()) {
      best = choice;
    }
  }
  std::string found = llvm::formatv("{0:f1} % of the weight are zeros", 100 * most);
  if (best->getTime() >= kWorth) {
    return nn::remarkMissed(op, kPass, found + ", which are not used: " + describeTime(*best));
  }
  requestBlocks(op, *best->kernel,
                BlocksAttr::getFor(*elements, best->kernel->rows, best->kernel->columns).getCount());
  nn::remarkPassed(op, kPass, found + ": " + describeTime(*best));
}

void WeightPruner::run(bool find) {
  SmallVector<std::pair<Operation *, nn::WeightOp>> products;
  module.walk([&](Operation *op) {
    if (nn::WeightOp weight = getWeight(op, symbols); weight && isProduct(op)) {
      products.push_back({op, weight});
    } else if (op->hasAttr(PackDialect::kSparsityAttr)) {
      nn::remarkMissed(op, kPass, "not pruned: only weights of products are");
      op->removeAttr(PackDialect::kSparsityAttr);
    }
  });
  for (auto [op, weight] : products) {
    if (auto sparsity = op->getAttrOfType<SparsityAttr>(PackDialect::kSparsityAttr)) {
      op->removeAttr(PackDialect::kSparsityAttr);
      doRequest(op, weight, sparsity);
    } else if (find) {
      useZeros(op, weight);
    }
  }
}

namespace {

struct PruneWeightsPass : pack::impl::PruneWeightsPassBase<PruneWeightsPass> {
  using PruneWeightsPassBase::PruneWeightsPassBase;

  void runOnOperation() override {
    llvm::Expected<cpu::TargetSpec> spec = cpu::resolveTarget(target);
    if (!spec) {
      getOperation().emitError() << llvm::toString(spec.takeError());
      return signalPassFailure();
    }
    WeightPruner(getOperation(), *spec, force).run(find);
  }
};

} // namespace
