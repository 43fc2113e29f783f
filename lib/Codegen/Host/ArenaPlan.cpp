// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Host/ArenaPlan.h"

#include "lathe/Codegen/Host/Weights.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

Value ArenaPlan::getRoot(Value tensor) {
  while (auto reshape = tensor.getDefiningOp<nn::ReshapeOp>()) {
    tensor = reshape.getX();
  }
  return tensor;
}

int64_t ArenaPlan::getSlot(Value root) const {
  auto found = slotOf.find(root);
  return found == slotOf.end() ? -1 : found->second;
}

int64_t ArenaPlan::getResult(Value root) const {
  auto found = resultOf.find(root);
  return found == resultOf.end() ? -1 : found->second;
}

/// The same formula, whatever the order of its factors.
static bool sameFormula(const Tenant &lhs, const Tenant &rhs) {
  return lhs.layer == rhs.layer && lhs.factor == rhs.factor && lhs.sizes.size() == rhs.sizes.size() &&
         std::is_permutation(lhs.sizes.begin(), lhs.sizes.end(), rhs.sizes.begin());
}

int64_t ArenaPlan::take(Tenant tenant, unsigned first, unsigned last) {
  int64_t best = -1;
  bool bestSame = false;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (busyUntil[i] >= first) {
      continue;
    }
    bool same =
        llvm::any_of(slots[i].tenants, [&](const Tenant &other) { return sameFormula(other, tenant); });
    if (best < 0 || (same && !bestSame) || (same == bestSame && busyUntil[i] > busyUntil[best])) {
      best = int64_t(i);
      bestSame = same;
    }
  }
  if (best < 0) {
    best = int64_t(slots.size());
    slots.emplace_back();
    busyUntil.push_back(0);
  }
  if (!bestSame) {
    slots[best].tenants.push_back(std::move(tenant));
  }
  busyUntil[best] = last;
  return best;
}

FailureOr<ArenaPlan> ArenaPlan::create(func::FuncOp function, nn::ShapeTracker &shapes,
                                       SymbolTable &symbols) {
  ArenaPlan plan;
  Block &block = function.getBody().front();

  // Where each root is read for the last time.
  llvm::DenseMap<Value, unsigned> lastRead;
  unsigned position = 0;
  for (Operation &op : block) {
    ++position;
    for (Value operand : op.getOperands()) {
      if (isa<RankedTensorType>(operand.getType())) {
        lastRead[getRoot(operand)] = position;
      }
    }
  }
  for (auto [index, operand] : llvm::enumerate(block.getTerminator()->getOperands())) {
    Value root = getRoot(operand);
    if (isa<BlockArgument>(root) || root.getDefiningOp<nn::WeightUseOp>() ||
        !plan.resultOf.try_emplace(root, index).second) {
      return block.getTerminator()->emitError()
             << "result " << index << " is not computed by a kernel of its own";
    }
  }

  position = 0;
  for (Operation &op : block) {
    ++position;
    if (!isa<kernel::LaunchOp, nn::LayerCallOp>(op)) {
      continue;
    }
    for (Value result : op.getResults()) {
      if (plan.resultOf.contains(result)) {
        continue;
      }
      FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(result);
      if (failed(dims)) {
        return op.emitError("the shape of this value is not known before it is computed");
      }
      Tenant tenant;
      tenant.factor = getElementBytes(cast<RankedTensorType>(result.getType()).getElementType());
      for (OpFoldResult dim : *dims) {
        if (std::optional<int64_t> size = getConstantIntValue(dim)) {
          tenant.factor *= *size;
        } else {
          tenant.sizes.push_back(cast<Value>(dim));
        }
      }
      plan.slotOf[result] =
          plan.take(std::move(tenant), position, std::max(position, lastRead.lookup(result)));
    }
    if (auto call = dyn_cast<nn::LayerCallOp>(op)) {
      Tenant tenant;
      tenant.layer = symbols.lookup<func::FuncOp>(call.getLayer());
      plan.scratch[&op] = plan.take(std::move(tenant), position, position);
    }
  }
  return plan;
}
