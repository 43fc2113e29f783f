// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Zeros in weights: those that are asked for, and those that are there.

#include "lathe/Codegen/CPU/PassTarget.h"
#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/Transforms/ByLatencies.h"
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

/// The format of products of bytes, with which those in blocks of bytes are compared.
static constexpr llvm::StringLiteral kDenseBytes = "int8<dynamic>";

/// What products take where this was not measured: MiniLM's with 128 rows at 50, 75, 90 and 95 % zeros,
/// against the dense kernel in turns, on Sapphire Rapids; of bytes, against dot products in vectors, and
/// against matrix registers. All times are shares of that of the dense product.
static LatencyTable makeBuiltIn(bool hasMatrices) {
  LatencyTable table;
  auto add = [&](StringRef format, double kept, double time) {
    LatencyEntry &entry = table.entries.emplace_back();
    entry.format = format.str();
    entry.rows = 128;
    entry.depth = entry.columns = 384;
    entry.kept = kept;
    entry.microseconds = time;
  };
  auto addLine = [&](StringRef format, double fixed, double each) {
    add(format, 0, fixed);
    add(format, 1, fixed + each);
  };
  add(plainFormat, 1, 1);
  addLine("blocks<rows = 1, columns = 4>", 0.05, 1.05);
  addLine("blocks<rows = 1, columns = 1>", 0.06, 1.9);
  add(kDenseBytes, 1, 1);
  addLine("blocks<rows = 4, columns = 32>", hasMatrices ? 0.35 : 0.08, hasMatrices ? 3.1 : 1.25);
  return table;
}

namespace {

/// Blocks of a size that products read.
struct BlockKernel {
  int64_t rows, columns;

  std::string getName() const { return llvm::formatv("{0} x {1}", rows, columns); }
  /// As tables of latencies have it.
  std::string getFormat() const { return llvm::formatv("blocks<rows = {0}, columns = {1}>", rows, columns); }
};

constexpr BlockKernel kFloatBlocks = {1, 4}, kFloatElements = {1, 1}, kByteBlocks = {4, 32};

/// Blocks of which some share is not zero, and what a product with them takes of the time of the dense one.
struct Choice {
  const BlockKernel *kernel;
  double time;
  /// The time, in words.
  std::string text;
};

/// Whether an op asks for codes of 8 bits.
bool isOnBytes(Operation *op) {
  auto format = op->getAttrOfType<Int8Attr>(PackDialect::kFormatAttr);
  return format && !format.isWeightOnly();
}

class WeightPruner {
public:
  WeightPruner(ModuleOp module, const cpu::TargetSpec &target, const LatencyTable &measured, bool force)
      : module(module), symbols(module), evaluator(module), target(target), measured(measured),
        builtIn(makeBuiltIn(target.hasAMXInt8)), force(force) {}

  void run(bool find);

private:
  /// Why an op's weight is not read in blocks, whatever its zeros.
  std::optional<std::string> findObstacle(Operation *op, nn::WeightOp weight);
  /// Does what is asked for, or says why not.
  void doRequest(Operation *op, nn::WeightOp weight, SparsityAttr sparsity);
  void useZeros(Operation *op, nn::WeightOp weight);
  /// What a product takes if so many blocks are not zero.
  Choice weigh(Operation *op, const BlockKernel &kernel, double share);
  /// Lets the op ask for its weight in blocks, of which `count` are stored.
  void requestBlocks(Operation *op, const BlockKernel &kernel, int64_t count);
  nn::WeightOp getPruned(nn::WeightOp weight, SparsityAttr sparsity, FlatSymbolRefAttr norms,
                         const BlockKernel &kernel);

  ModuleOp module;
  SymbolTable symbols;
  nn::Evaluator evaluator;
  const cpu::TargetSpec &target;
  const LatencyTable &measured;
  LatencyTable builtIn;
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

/// The kernels that a product may become in which blocks of some size are skipped, the largest first.
static SmallVector<const BlockKernel *, 2> getKernels(Operation *op) {
  return isOnBytes(op) ? SmallVector<const BlockKernel *, 2>{&kByteBlocks}
                       : SmallVector<const BlockKernel *, 2>{&kFloatBlocks, &kFloatElements};
}

Choice WeightPruner::weigh(Operation *op, const BlockKernel &kernel, double share) {
  auto type = cast<RankedTensorType>(nn::getLogicalType(op->getOperand(1).getType()));
  int64_t depth = type.getDimSize(0), columns = type.getDimSize(1);
  StringRef dense = isOnBytes(op) ? StringRef(kDenseBytes) : StringRef(plainFormat);
  std::optional<int64_t> rows = getProductRows(op);
  // The same table, and the same shape of it, has to know both.
  auto compare = [&](const LatencyTable &table) -> std::optional<LatencyTable::Comparison> {
    auto found = table.compare(kernel.getFormat(), rows, depth, columns, share);
    auto whole = found ? table.compare(dense, found->rows, found->depth, found->columns) : std::nullopt;
    if (!whole) {
      return std::nullopt;
    }
    found->ratio /= whole->ratio;
    return found;
  };
  std::optional<LatencyTable::Comparison> own = compare(measured), found = own ? own : compare(builtIn);
  std::string text =
      llvm::formatv("products take {0:f2} of the time in blocks of {1}", found->ratio, kernel.getName());
  if (isOnBytes(op) && target.hasAMXInt8) {
    text += ", without matrix registers";
  }
  return {&kernel, found->ratio, own ? text + ", " + describeShape(*own) : text};
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
  Choice choice =
      weigh(op, isBlock ? *kernels.front() : *kernels.back(), 1 - double(sparsity.getZeros()) / 1000);
  bool pays = choice.time < kWorth;
  if (!pays && !force) {
    return nn::remarkMissed(op, kPass, wanted + choice.text);
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
                       (pays ? ": " : ", as forced: ") + choice.text);
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
    double share = double(countBlocks(*elements, kernel->rows, kernel->columns)) / double(rows * columns);
    Choice choice = weigh(op, *kernel, share);
    most = std::max(most, 1 - share);
    if (!best || choice.time < best->time) {
      best = std::move(choice);
    }
  }
  std::string found = llvm::formatv("{0:f1} % of the weight are zeros", 100 * most);
  if (best->time >= kWorth) {
    return nn::remarkMissed(op, kPass, found + ", which are not used: " + best->text);
  }
  requestBlocks(op, *best->kernel,
                BlocksAttr::getFor(*elements, best->kernel->rows, best->kernel->columns).getCount());
  nn::remarkPassed(op, kPass, found + ": " + best->text);
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
  PruneWeightsPass(LatencyTable table, const pack::PruneWeightsPassOptions &options)
      : PruneWeightsPassBase(options), known(std::move(table)) {}
  PruneWeightsPass(const PruneWeightsPass &other) : PruneWeightsPassBase(other), known(other.known) {}

  void runOnOperation() override {
    FailureOr<cpu::TargetSpec> spec = cpu::resolvePassTarget(getOperation(), target);
    if (failed(spec)) {
      return signalPassFailure();
    }
    if (failed(readLatencies(getOperation(), latencies, known))) {
      return signalPassFailure();
    }
    WeightPruner(getOperation(), *spec, known, force).run(find);
  }

  LatencyTable known;
};

} // namespace

std::unique_ptr<Pass> pack::createPruneWeightsPass(LatencyTable table,
                                                   const PruneWeightsPassOptions &options) {
  return std::make_unique<PruneWeightsPass>(std::move(table), options);
}
