// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "NotFinite.h"

#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe;
using llvm::Twine;

/// The initializer's name, or that of the node whose result the constant is.
static std::string nameOf(Location loc) {
  if (auto name = dyn_cast<NameLoc>(loc)) {
    return name.getName().str();
  }
  std::vector<NodeOrigin> origins = originsOf(loc);
  return origins.empty() ? std::string() : origins.front().name;
}

void NotFiniteConstants::addConstants(ModuleOp module) {
  module.walk([&](arith::ConstantOp op) {
    auto values = dyn_cast<DenseFPElementsAttr>(op.getValue());
    if (!values || (values.isSplat() && values.getSplatValue<APFloat>().isFinite())) {
      return;
    }
    codegen::ElementCount count;
    for (const APFloat &value : values) {
      count.nan += value.isNaN();
      count.infinite += value.isInfinity();
    }
    if (count.nan || (count.infinite && values.getNumElements() > 1)) {
      entries.push_back({nameOf(op.getLoc()), count, values.getNumElements()});
    }
  });
}

void NotFiniteConstants::addWeight(nn::WeightOp weight, codegen::ElementCount count) {
  // A small constant that became an operand of a kernel: addConstants has seen it.
  if ((count.nan == 0 && count.infinite == 0) || isa_and_nonnull<DenseElementsAttr>(weight.getValueAttr())) {
    return;
  }
  entries.push_back({weight.getOnnxName().value_or(weight.getSymName()).str(), count,
                     weight.getTensorType().getNumElements()});
}

void NotFiniteConstants::writeTo(Report &report) const {
  if (entries.empty()) {
    return;
  }
  constexpr size_t shown = 5;
  SmallVector<std::string> parts;
  int64_t nan = 0, infinite = 0;
  for (const Entry &entry : entries) {
    nan += entry.count.nan;
    infinite += entry.count.infinite;
    if (parts.size() < shown) {
      parts.push_back(quoteText(entry.name) + " (" + std::to_string(entry.count.nan) + " NaN, " +
                      std::to_string(entry.count.infinite) + " infinite of " +
                      std::to_string(entry.elements) + ")");
    }
  }
  if (entries.size() > shown) {
    parts.push_back(std::to_string(entries.size() - shown) + " more");
  }
  std::string what =
      entries.size() == 1 ? "1 constant holds" : std::to_string(entries.size()) + " constants hold";
  report.warnings.push_back(what + " values that are not finite: " + llvm::join(parts, ", "));
  report.digest.push_back(std::to_string(entries.size()) +
                          (entries.size() == 1 ? " constant" : " constants") + " not finite");
  report.setNumber("nan_values", nan);
  report.setNumber("infinite_values", infinite);
}
