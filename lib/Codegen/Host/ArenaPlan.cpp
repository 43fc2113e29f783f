// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Host/ArenaPlan.h"

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/NN/IR/NNService.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

Value ArenaPlan::getRoot(Value tensor) {
  while (true) {
    if (auto reshape = tensor.getDefiningOp<nn::ReshapeOp>()) {
      tensor = reshape.getX();
    } else if (auto join = kernel::JoinOp::find(tensor)) {
      tensor = join.getResult();
    } else {
      return tensor;
    }
  }
}

int64_t ArenaPlan::getOffset(Value tensor) {
  int64_t elements = 0;
  while (true) {
    if (auto reshape = tensor.getDefiningOp<nn::ReshapeOp>()) {
      tensor = reshape.getX();
    } else if (auto join = kernel::JoinOp::find(tensor)) {
      elements += join.getOffset(llvm::find(join.getInputs(), tensor) - join.getInputs().begin());
      tensor = join.getResult();
    } else if (!elements) {
      return 0; // also of what is no plain tensor
    } else {
      return elements * getElementBytes(cast<RankedTensorType>(tensor.getType()).getElementType());
    }
  }
}

static int64_t lookup(const llvm::DenseMap<Value, int64_t> &map, Value root) {
  auto found = map.find(root);
  return found == map.end() ? -1 : found->second;
}

int64_t ArenaPlan::getSlot(Value root) const { return lookup(slotOf, root); }
int64_t ArenaPlan::getBuffer(Value root) const { return lookup(bufferOf, root); }
int64_t ArenaPlan::getResult(Value root) const { return lookup(resultOf, root); }

//===----------------------------------------------------------------------===//
// Pools
//===----------------------------------------------------------------------===//

/// The same formula, whatever the order of its factors.
static bool sameFormula(const Tenant &lhs, const Tenant &rhs) {
  return lhs.layer == rhs.layer && lhs.factor == rhs.factor && lhs.sizes.size() == rhs.sizes.size() &&
         std::is_permutation(lhs.sizes.begin(), lhs.sizes.end(), rhs.sizes.begin());
}

int64_t ArenaPlan::Pool::take(Tenant tenant, unsigned first, unsigned last) {
  int64_t best = -1;
  bool bestSame = false;
  for (size_t i = 0; i < list.size(); ++i) {
    if (busyUntil[i] >= first) {
      continue;
    }
    bool same =
        llvm::any_of(list[i].tenants, [&](const Tenant &other) { return sameFormula(other, tenant); });
    if (best < 0 || (same && !bestSame) || (same == bestSame && busyUntil[i] > busyUntil[best])) {
      best = int64_t(i);
      bestSame = same;
    }
  }
  if (best < 0) {
    best = int64_t(list.size());
    list.emplace_back();
    busyUntil.push_back(0);
  }
  if (!bestSame) {
    list[best].tenants.push_back(std::move(tenant));
  }
  busyUntil[best] = last;
  return best;
}

//===----------------------------------------------------------------------===//
// Lifetimes
//===----------------------------------------------------------------------===//

void ArenaPlan::number(Block &block, unsigned &position) {
  for (Operation &op : block) {
    begin[&op] = ++position;
    if (isa<nn::IfOp, nn::LoopOp>(op)) {
      for (Region &body : op.getRegions()) {
        number(body.front(), position);
      }
      ++position;
    }
    end[&op] = position;
  }
}

/// `reader` reads `tensor`, and again in every iteration of the loops around it that do not define the
/// tensor.
void ArenaPlan::extend(Value tensor, Operation *reader, unsigned last) {
  if (!isa<RankedTensorType>(tensor.getType())) {
    return;
  }
  Value root = getRoot(tensor);
  for (Operation *outer = reader->getParentOp(); outer != root.getParentBlock()->getParentOp();
       outer = outer->getParentOp()) {
    if (isa<nn::LoopOp>(outer)) {
      last = std::max(last, end.lookup(outer));
    }
  }
  unsigned &known = lastRead[root];
  known = std::max(known, last);
}

/// From the end: what an op's results are read by comes before the op itself.
void ArenaPlan::findLastReads(Block &block) {
  for (Operation &op : llvm::reverse(block)) {
    if (auto choice = dyn_cast<nn::IfOp>(op)) {
      for (Region *body : {&choice.getThenBody(), &choice.getElseBody()}) {
        nn::YieldOp yield = choice.getYield(*body);
        for (auto [value, result] : llvm::zip_equal(yield.getValues(), choice.getResults())) {
          extend(value, yield, std::max(end.lookup(&op), lastRead.lookup(result)));
        }
      }
    }
    if (isa<nn::IfOp, nn::LoopOp>(op)) {
      for (Region &body : op.getRegions()) {
        findLastReads(body.front());
      }
    }
    for (Value operand : op.getOperands()) {
      extend(operand, &op, begin.lookup(&op));
    }
  }
}

//===----------------------------------------------------------------------===//
// Places
//===----------------------------------------------------------------------===//

LogicalResult ArenaPlan::findResults(Block &block) {
  for (auto [index, operand] : llvm::enumerate(block.getTerminator()->getOperands())) {
    Value root = getRoot(operand);
    Operation *op = root.getDefiningOp();
    if (!op || !isa<kernel::LaunchOp, kernel::JoinOp, nn::LayerCallOp, nn::ServiceOp>(op) ||
        op->getBlock() != &block || !resultOf.try_emplace(root, index).second) {
      return block.getTerminator()->emitError()
             << "result " << index << " is not computed by a kernel of its own";
    }
  }
  return success();
}

static Tenant makeTenant(Value tensor, ArrayRef<OpFoldResult> dims) {
  Tenant tenant;
  tenant.factor = getElementBytes(cast<RankedTensorType>(tensor.getType()).getElementType());
  for (OpFoldResult dim : dims) {
    if (std::optional<int64_t> size = getConstantIntValue(dim)) {
      tenant.factor *= *size;
    } else {
      tenant.sizes.push_back(cast<Value>(dim));
    }
  }
  return tenant;
}

static bool dependsOnData(const Tenant &tenant) {
  return !llvm::all_of(tenant.sizes, nn::isKnownFromSymbols);
}

std::pair<unsigned, unsigned> ArenaPlan::getLifetime(Value root) const {
  Operation *op = root.getDefiningOp();
  unsigned first = begin.lookup(op), last = std::max(end.lookup(op), lastRead.lookup(root));
  if (auto join = dyn_cast_or_null<kernel::JoinOp>(op)) {
    for (Value part : join.getInputs()) {
      first = std::min(first, getLifetime(part).first);
    }
  }
  return {first, last};
}

void ArenaPlan::store(Value root, Tenant tenant, bool inBuffer) {
  auto [first, last] = getLifetime(root);
  if (inBuffer) {
    bufferOf[root] = buffers.take(std::move(tenant), first, last);
  } else {
    slotOf[root] = slots.take(std::move(tenant), first, last);
  }
}

LogicalResult ArenaPlan::placeResult(OpResult result, nn::ShapeTracker &shapes) {
  Value root = getRoot(result);
  if (tenantOf.contains(root)) {
    return success(); // another part of the same tensor is there already
  }
  FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(root);
  if (failed(dims)) {
    return result.getOwner()->emitError("the shape of this value is not known before it is computed");
  }
  Tenant &tenant = tenantOf[root] = makeTenant(root, *dims);
  if (!resultOf.contains(root)) {
    store(root, tenant, dependsOnData(tenant));
  }
  return success();
}

void ArenaPlan::placeLoop(nn::LoopOp loop) {
  for (unsigned i = 0; i < loop.getShapes().size(); ++i) {
    Value root = loop.getResult(i);
    SmallVector<OpFoldResult> dims = loop.getDims(i, /*inBody=*/false);
    Tenant &tenant = tenantOf[root] = makeTenant(root, dims);
    // A scan output of as many elements as the loop may run can be written in place, others grow.
    bool grows = i >= loop.getCarriedTensorCount() &&
                 !isEqualConstantIntOrValue(dims.front(), getAsOpFoldResult(loop.getTrip()));
    store(root, tenant, grows || dependsOnData(tenant));
  }
}

LogicalResult ArenaPlan::place(Block &block, nn::ShapeTracker &shapes, SymbolTable &symbols) {
  for (Operation &op : block) {
    if (isa<kernel::LaunchOp, nn::LayerCallOp, nn::ServiceOp>(op)) {
      for (OpResult result : op.getResults()) {
        if (failed(placeResult(result, shapes))) {
          return failure();
        }
      }
    }
    if (auto call = dyn_cast<nn::LayerCallOp>(op)) {
      Tenant tenant;
      tenant.layer = symbols.lookup<func::FuncOp>(call.getLayer());
      scratch[&op] = slots.take(std::move(tenant), begin.lookup(&op), begin.lookup(&op));
    }
    if (auto loop = dyn_cast<nn::LoopOp>(op)) {
      placeLoop(loop);
    }
    if (isa<nn::IfOp, nn::LoopOp>(op)) {
      for (Region &body : op.getRegions()) {
        if (failed(place(body.front(), shapes, symbols))) {
          return failure();
        }
      }
    }
  }
  return success();
}

FailureOr<ArenaPlan> ArenaPlan::create(func::FuncOp function, nn::ShapeTracker &shapes,
                                       SymbolTable &symbols) {
  ArenaPlan plan;
  Block &block = function.getBody().front();
  unsigned position = 0;
  plan.number(block, position);
  plan.findLastReads(block);
  if (failed(plan.findResults(block)) || failed(plan.place(block, shapes, symbols))) {
    return failure();
  }
  return plan;
}
