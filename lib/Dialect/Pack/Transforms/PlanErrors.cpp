// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PlanErrors.h"

#include "PlanStats.h"

#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

const TensorStats *ErrorBudget::findTensor(Operation *op, nn::WeightOp weight,
                                           const SymbolTable &symbols) const {
  const TensorStats *tensor = findTensorStats(*stats, op, weight, symbols);
  return tensor && tensor->roundingError ? tensor : nullptr;
}

void ErrorBudget::divide(const Plan &plan) {
  auto square = [](double value) { return value * value; };
  auto errorOf = [&](const auto &share) { return square(*share.first->roundingError); };
  double sum = square(stats->roundingErrors->rest);
  for (const auto &share : shares) {
    sum += errorOf(share);
  }
  // Of all products the measured error is that of their sum.
  double most = sum > 0 ? square(*plan.maxError) * sum / square(stats->roundingErrors->all) : 0;
  auto order = llvm::to_vector(llvm::make_pointer_range(shares));
  // Where that is equal, in the order of the program, in which they lie.
  llvm::sort(order, [&](auto *a, auto *b) {
    double ofA = errorOf(*a) * b->second.operations, ofB = errorOf(*b) * a->second.operations;
    return ofA != ofB ? ofA > ofB : a < b;
  });
  for (auto *share : order) {
    if (sum <= most) {
      break;
    }
    share->second.isKept = true;
    sum -= errorOf(*share);
  }
  // The last ones may have been more than it took: what there is room for again, the most operations first.
  llvm::sort(order, [](auto *a, auto *b) {
    double ofA = a->second.operations, ofB = b->second.operations;
    return ofA != ofB ? ofA > ofB : a < b;
  });
  for (auto *share : order) {
    if (share->second.isKept && sum + errorOf(*share) <= most) {
      share->second.isKept = false;
      sum += errorOf(*share);
    }
  }
}

FailureOr<ErrorBudget> ErrorBudget::find(ModuleOp module, const Plan &plan, const Stats *stats) {
  ErrorBudget budget;
  if (!plan.maxError) {
    return budget;
  }
  if (!stats || !stats->roundingErrors) {
    InFlightDiagnostic error = emitError(UnknownLoc::get(module.getContext()))
                               << "[E0812] to keep results within "
                               << llvm::formatv("{0}", *plan.maxError).str()
                               << " of their largest magnitude, it has to be known how far each product in "
                                  "bf16 moves them";
    error.attachNote() << "help: `lathe calibrate --errors` finds out; its file is the argument of --stats";
    return error;
  }
  budget.stats = stats;
  budget.allowed = *plan.maxError;
  SymbolTable symbols(module);
  module.walk([&](Operation *op) {
    nn::WeightOp weight = isProduct(op) ? getWeight(op, symbols) : nn::WeightOp();
    if (const TensorStats *tensor = weight ? budget.findTensor(op, weight, symbols) : nullptr) {
      budget.shares[tensor].operations += countOperations(op);
    }
  });
  budget.divide(plan);
  return budget;
}

std::string ErrorBudget::findReason(Operation *op, nn::WeightOp weight, const SymbolTable &symbols) const {
  if (!stats) {
    return "";
  }
  const TensorStats *tensor = findTensor(op, weight, symbols);
  if (!tensor) {
    return "the statistics do not say how far it moves results";
  }
  auto share = shares.find(tensor);
  if (share == shares.end() || !share->second.isKept) {
    return "";
  }
  return llvm::formatv("alone it moves results by {0:e1}, more for its operations than others, and all are "
                       "allowed {1:e1}",
                       *tensor->roundingError, allowed);
}
