// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PlanStats.h"

#include "PlanWishes.h"

#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Support/Diagnostics.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

const TensorStats *pack::findTensorStats(const Stats &stats, Operation *op, nn::WeightOp weight,
                                         const SymbolTable &symbols) {
  SmallVector<std::string> nodes;
  for (NodeOrigin &origin : originsOf(op->getLoc())) {
    nodes.push_back(std::move(origin.name));
  }
  return stats.find(getSourceNames(weight, symbols), nodes);
}

/// What the entries say where they say something; null if they do not agree.
template <typename T>
static const T *agree(ArrayRef<const PlanEntry *> entries, T PlanEntry::*field, const T &otherwise) {
  const T *common = nullptr;
  for (const PlanEntry *entry : entries) {
    const T *wanted = entry && entry->*field != T() ? &(entry->*field) : &otherwise;
    if (common && *common != *wanted) {
      return nullptr;
    }
    common = wanted;
  }
  return common ? common : &otherwise;
}

/// The rows of a weight as a matrix, of which the last dimension is the columns.
static int64_t countRows(nn::WeightOp weight) {
  RankedTensorType type = weight.getTensorType();
  int64_t columns = type.getShape().back();
  return columns ? type.getNumElements() / columns : 0;
}

std::vector<float> StatsApplier::findFactors(Product &product, double strength) {
  const TensorStats &tensor = *product.tensor;
  int64_t rows = countRows(product.weight), columns = product.weight.getTensorType().getShape().back();
  size_t channels = tensor.getChannels();
  auto conv = dyn_cast<nn::ConvOp>(product.op);
  if (rows % int64_t(channels) != 0 || (conv && conv.getGroups() != 1)) {
    product.reason = "its scales cannot be moved into its weight: channels are in groups";
    return {};
  }
  llvm::Expected<nn::ConstantTensor> elements = evaluator.read(product.weight);
  if (!elements) {
    product.reason = "its scales cannot be moved into its weight: " + llvm::toString(elements.takeError());
    return {};
  }
  std::vector<float> largest(channels), row(columns);
  for (int64_t i = 0; i < rows; ++i) {
    elements->copy(i * columns, columns, reinterpret_cast<char *>(row.data()));
    for (float element : row) {
      largest[i % channels] = std::max(largest[i % channels], std::fabs(element));
    }
  }
  std::vector<float> factors(channels, 1);
  for (size_t channel = 0; channel < channels; ++channel) {
    float left = tensor.getLargest(channel), right = largest[channel];
    if (left > 0 && right > 0 && std::isfinite(right)) {
      double power = strength * std::log2(left) - (1 - strength) * std::log2(right);
      factors[channel] = std::ldexp(1.0f, int(std::clamp(std::nearbyint(power), -30.0, 30.0)));
    }
  }
  return factors;
}

std::optional<std::array<float, 2>> StatsApplier::findRange(Product &product, ArrayRef<float> factors) {
  std::optional<std::array<float, 2>> range;
  for (const PlanEntry *entry : product.entries) {
    if (entry && entry->range) {
      range = range ? std::array{std::min((*range)[0], (*entry->range)[0]),
                                 std::max((*range)[1], (*entry->range)[1])}
                    : *entry->range;
    }
  }
  if (range) {
    return range;
  }
  const TensorStats &tensor = *product.tensor;
  float low = 0, high = 0;
  if (factors.empty()) {
    std::string method = plan.ranges.empty() ? defaultRanges.str() : plan.ranges;
    std::tie(low, high) = tensor.findRange(RangeMethod::parse(method).value_or(RangeMethod()));
  } else {
    // What a histogram of all channels counts has other scales now.
    for (auto [channel, factor] : llvm::enumerate(factors)) {
      low = std::min(low, tensor.low[channel] / factor);
      high = std::max(high, tensor.high[channel] / factor);
    }
  }
  if (low == high) {
    product.reason = "all it read in calibration was 0";
    return std::nullopt;
  }
  return std::array{low, high};
}

FlatSymbolRefAttr StatsApplier::getGram(Product &product, Location place) {
  const TensorStats &tensor = *product.tensor;
  if (!stats->hasGram(tensor) || countRows(product.weight) != tensor.getChannels()) {
    product.reason =
        "the statistics have no sums of x^T x of what it reads: `lathe calibrate --gram`, and no "
        "convolution of larger windows";
    return {};
  }
  FlatSymbolRefAttr &gram = grams[&tensor];
  if (gram) {
    return gram;
  }
  llvm::Expected<std::vector<float>> sums = stats->readGram(tensor);
  if (!sums) {
    for (const ModelError &error : takeModelErrors(sums.takeError())) {
      emitError(place) << "[" << infoOf(error.code).name << "] " << error.message;
    }
    return {};
  }
  OpBuilder builder(module.getContext());
  builder.setInsertionPointToStart(module.getBody());
  auto type = RankedTensorType::get({tensor.getChannels(), tensor.getChannels()}, builder.getF32Type());
  AsmResourceBlob blob = HeapAsmResourceBlob::allocateAndCopyInferAlign<float>(*sums);
  auto value = DenseResourceElementsAttr::get(type, "gram", std::move(blob));
  auto weight = nn::WeightOp::create(builder, place, "gram", type, value);
  weight.setSymVisibility("private");
  symbols.insert(weight);
  return gram = FlatSymbolRefAttr::get(weight.getSymNameAttr());
}

llvm::FailureOr<std::string> StatsApplier::apply(Operation *op, nn::WeightOp weight,
                                                 ArrayRef<const PlanEntry *> entries,
                                                 FormatAttrInterface format, Location place) {
  const std::optional<double> *strength = agree(entries, &PlanEntry::migrate, plan.migrate);
  const std::string *rounding = agree(entries, &PlanEntry::rounding, plan.rounding);
  if (!strength || !rounding) {
    return std::string("weights have become one that are to be rounded in different ways");
  }
  // Powers of two change nothing that is rounded to floats.
  std::optional<double> migrate = format.canCompensate() ? *strength : std::nullopt;
  bool isCompensated = *rounding == "compensated" && format.canCompensate();
  bool hasRange = llvm::any_of(entries, [](const PlanEntry *entry) { return entry && entry->range; });
  bool needsStats = (format.needsRange() && !hasRange) || migrate || isCompensated;
  if (!isProduct(op) || (!needsStats && !format.needsRange())) {
    return std::string();
  }
  Product product{op, weight, entries, format,
                  stats ? findTensorStats(*stats, op, weight, symbols) : nullptr};
  if (needsStats && !stats) {
    InFlightDiagnostic error =
        emitError(place) << "[E0812] to store the weight as the plan says, it has to be known what it is "
                            "multiplied with";
    error.attachNote() << "help: `lathe calibrate` finds out; its file is the argument of --stats";
    return error;
  }
  if (needsStats && (!product.tensor || product.tensor->rows == 0)) {
    return std::string("the statistics do not say what it reads");
  }
  std::vector<float> factors;
  if (migrate) {
    factors = findFactors(product, *migrate);
  }
  std::optional<std::array<float, 2>> range;
  if (product.reason.empty() && format.needsRange()) {
    range = findRange(product, factors);
  }
  FlatSymbolRefAttr gram;
  if (product.reason.empty() && isCompensated) {
    gram = getGram(product, place);
    if (!gram && product.reason.empty()) {
      return failure();
    }
  }
  if (!product.reason.empty()) {
    return product.reason;
  }
  Builder builder(module.getContext());
  if (!factors.empty()) {
    op->setAttr(PackDialect::kMigrateAttr, builder.getDenseF32ArrayAttr(factors));
  }
  if (range) {
    op->setAttr(PackDialect::kRangeAttr, builder.getDenseF32ArrayAttr(*range));
  }
  if (gram) {
    op->setAttr(PackDialect::kGramAttr, gram);
  }
  return std::string();
}
