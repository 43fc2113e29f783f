// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "FusionUtils.h"

#include "lathe/Dialect/NN/IR/NNInteger.h"

#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"

#include <cmath>

using namespace mlir;
using namespace lathe::nn;

std::optional<double> lathe::nn::getSplatNumber(Value value) {
  DenseElementsAttr elements;
  if (!matchPattern(value, m_Constant(&elements)) || !elements.isSplat()) {
    return std::nullopt;
  }
  if (isa<FloatType>(elements.getElementType())) {
    APFloat number = elements.getSplatValue<APFloat>();
    bool losesInfo;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
    return number.convertToDouble();
  }
  if (elements.getElementType().isSignlessInteger()) {
    return double(elements.getSplatValue<APInt>().getSExtValue());
  }
  return std::nullopt;
}

bool lathe::nn::isClose(double lhs, double rhs) {
  // Constants are often written with 5 or 6 digits.
  return std::abs(lhs - rhs) <= 1e-4 * std::max(std::abs(lhs), std::abs(rhs));
}

BinaryOp lathe::nn::getBinary(Value value, BinaryKind kind) {
  auto op = value.getDefiningOp<BinaryOp>();
  return op && op.getKind() == kind ? op : BinaryOp();
}

Value lathe::nn::stripFactor(Value value, double &factor) {
  Value rest;
  double number = 1;
  if (BinaryOp mul = getBinary(value, BinaryKind::Mul)) {
    std::optional<double> right = getSplatNumber(mul.getRhs()), left = getSplatNumber(mul.getLhs());
    if (right || left) {
      rest = right ? mul.getLhs() : mul.getRhs();
      number = right ? *right : *left;
    }
  } else if (BinaryOp div = getBinary(value, BinaryKind::Div)) {
    if (std::optional<double> right = getSplatNumber(div.getRhs()); right && *right != 0) {
      rest = div.getLhs();
      number = 1 / *right;
    }
  }
  if (!rest || rest.getType() != value.getType() || !isa<FloatType>(getElementType(value))) {
    return Value();
  }
  factor *= number;
  return rest;
}

void lathe::nn::remarkMissed(Operation *op, StringRef pass, const Twine &reason) {
  op->emitRemark() << "[" << pass << "] missed: " << reason.str();
}

void lathe::nn::remarkPassed(Operation *op, StringRef pass, const Twine &what) {
  op->emitRemark() << "[" << pass << "] " << what.str();
}

Location lathe::nn::getReplacedLoc(Operation *root, ArrayRef<Value> leaves) {
  llvm::SetVector<Operation *> replaced;
  SmallVector<Operation *> worklist{root};
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val();
    // The last of its users to be found takes an op along; what others use stays.
    if (op != root &&
        !llvm::all_of(op->getUsers(), [&](Operation *user) { return replaced.contains(user); })) {
      continue;
    }
    replaced.insert(op);
    for (Value operand : op->getOperands()) {
      Operation *def = operand.getDefiningOp();
      if (def && isa<NNDialect>(def->getDialect()) && !isa<WeightUseOp, DimSymbolOp>(def) &&
          !llvm::is_contained(leaves, operand)) {
        worklist.push_back(def);
      }
    }
  }
  SmallVector<Location> locations;
  for (Operation *op : replaced) {
    locations.push_back(op->getLoc());
  }
  return FusedLoc::get(root->getContext(), locations);
}

bool lathe::nn::comesFromExactSums(Value value, llvm::function_ref<bool(Operation *)> isStep) {
  constexpr int kMaxSteps = 64;
  SmallVector<Value> worklist{value};
  for (int step = 0; step < kMaxSteps && !worklist.empty(); ++step) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (isa_and_nonnull<IntegerMatMulOp, IntegerConvOp>(op)) {
      return true;
    }
    if (op && isStep(op)) {
      llvm::append_range(worklist, op->getOperands());
    }
  }
  return false;
}

void lathe::nn::eraseDeadOps(func::FuncOp function) {
  for (Block &block : function.getBody()) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block))) {
      if (!isa<DimSymbolOp>(op) && isOpTriviallyDead(&op)) {
        op.erase();
      }
    }
  }
}
