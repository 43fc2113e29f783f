// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Refuses what a table of latencies shows not to pay.

#include "lathe/Dialect/Pack/Transforms/ByLatencies.h"

#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Support/Error.h"

#include "llvm/Support/FormatVariadic.h"

namespace lathe::pack {
#define GEN_PASS_DEF_REFUSESLOWPASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static constexpr llvm::StringLiteral kPass = "pack-refuse-slow";

/// Measurements differ by this much. A format of products costs accuracy for nothing if it takes nearly the
/// time of f32; one in which weights are only stored saves bytes, unless products pay for that.
static constexpr double kNoise = 0.03;

std::optional<int64_t> pack::getProductRows(Operation *op) {
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  ArrayRef<int64_t> rows = type.getShape().drop_back();
  return ShapedType::isDynamicShape(rows) ? std::nullopt : std::optional(ShapedType::getNumElements(rows));
}

std::string pack::describeShape(const LatencyTable::Comparison &found) {
  return llvm::formatv("as measured for {0} x {1} x {2}", found.rows, found.depth, found.columns);
}

LogicalResult pack::readLatencies(Operation *op, llvm::StringRef latencies, LatencyTable &known) {
  if (latencies.empty() || !known.empty()) {
    return success();
  }
  llvm::Expected<LatencyTable> read = LatencyTable::read(latencies);
  if (!read) {
    return op->emitError() << llvm::toString(read.takeError());
  }
  known = std::move(*read);
  return success();
}

/// The format of the table that stands for `format`: itself, or a codebook of as many bits, whose codes are
/// looked up in the same way.
static std::string findMeasured(FormatAttrInterface format, const LatencyTable &table) {
  std::string own = formatText(format);
  auto isOwn = [&](const LatencyEntry &entry) { return entry.format == own; };
  auto codebook = dyn_cast<CodebookAttr>(format);
  if (!codebook || llvm::any_of(table.entries, isOwn)) {
    return own;
  }
  for (const LatencyEntry &entry : table.entries) {
    std::string why;
    auto other = StringRef(entry.format).starts_with("codebook<")
                     ? dyn_cast_or_null<CodebookAttr>(parseFormat(format.getContext(), entry.format, why))
                     : CodebookAttr();
    if (other && other.getBits() == codebook.getBits() &&
        other.getTable().empty() == codebook.getTable().empty()) {
      return entry.format;
    }
  }
  return own;
}

static void judge(Request &request, const LatencyTable &table, bool force) {
  RankedTensorType weight = request.weight.getTensorType();
  if (!isProduct(request.op) || weight.getRank() < 2 || weight.getNumElements() == 0) {
    return;
  }
  int64_t columns = weight.getShape().back(), depth = weight.getNumElements() / columns;
  std::string format = formatText(request.format), known = findMeasured(request.format, table);
  std::optional<int64_t> rows = getProductRows(request.op);
  std::optional<LatencyTable::Comparison> found = table.compare(known, rows, depth, columns);
  bool isStored = isa<CodebookAttr>(request.format);
  if (!found || found->ratio < (isStored ? 1 + kNoise : 1 - kNoise)) {
    return;
  }
  std::string measured =
      llvm::formatv("takes {0:f2} of the time of f32, {1}", found->ratio, describeShape(*found));
  if (known != format) {
    measured += " of " + known;
  }
  if (force) {
    nn::remarkPassed(request.op, kPass, "forced as " + format + ", which " + measured);
    return;
  }
  nn::remarkMissed(request.op, kPass,
                   (isStored ? "not stored as " : "not computed as ") + format + ", which " + measured);
  withdrawRequest(request.op);
}

namespace {
struct RefuseSlowPass : pack::impl::RefuseSlowPassBase<RefuseSlowPass> {
  using RefuseSlowPassBase::RefuseSlowPassBase;
  RefuseSlowPass(LatencyTable table, bool isForced) : known(std::move(table)) { force = isForced; }
  RefuseSlowPass(const RefuseSlowPass &other) : RefuseSlowPassBase(other), known(other.known) {}

  void runOnOperation() override {
    if (failed(readLatencies(getOperation(), latencies, known))) {
      return signalPassFailure();
    }
    for (Request &request : collectRequests(getOperation())) {
      judge(request, known, force);
    }
  }

  LatencyTable known;
};
} // namespace

std::unique_ptr<Pass> pack::createRefuseSlowPass(LatencyTable table, bool force) {
  return std::make_unique<RefuseSlowPass>(std::move(table), force);
}
