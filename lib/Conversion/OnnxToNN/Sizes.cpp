// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Sizes.h"

#include "lathe/Dialect/NN/IR/NNHost.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// Formulas deeper or longer than this are treated as opaque: time per formula stays bounded.
static constexpr int kMaxDepth = 24;
static constexpr size_t kMaxTerms = 32;
static constexpr int64_t kInfinity = std::numeric_limits<int64_t>::max() / 4;

static int64_t saturate(__int128 value) {
  return int64_t(std::clamp<__int128>(value, -kInfinity, kInfinity));
}

Value SizeArith::getValue(OpFoldResult size) { return getValueOrCreateConstantIndexOp(builder, *loc, size); }

template <typename OpTy>
OpFoldResult SizeArith::create(OpFoldResult lhs, OpFoldResult rhs) {
  return OpTy::create(builder, *loc, getValue(lhs), getValue(rhs)).getResult();
}

OpFoldResult SizeArith::resolve(OpFoldResult size) const {
  auto value = dyn_cast<Value>(size);
  auto alias = value ? aliases.find(value) : aliases.end();
  return alias == aliases.end() ? size : OpFoldResult(alias->second);
}

void SizeArith::replaceAliases() {
  for (auto &[value, symbol] : aliases) {
    value.replaceAllUsesWith(symbol);
  }
}

//===----------------------------------------------------------------------===//
// Normal form
//===----------------------------------------------------------------------===//

unsigned SizeArith::getAtom(Value value, int depth) {
  auto [known, isNew] = atomNumbers.try_emplace(value, 0);
  if (!isNew) {
    return known->second;
  }
  // Pure ops of the same kind on the same operands are one atom.
  Operation *op = value.getDefiningOp();
  std::pair<const void *, std::vector<int64_t>> key;
  bool hasKey = false;
  if (auto read = dyn_cast_or_null<nn::ReadIndexOp>(op)) {
    key = {op->getName().getAsOpaquePointer(),
           {int64_t(intptr_t(read.getX().getAsOpaquePointer())), int64_t(read.getPosition())}};
    hasKey = true;
  } else if (op && depth < kMaxDepth && op->getNumResults() == 1 && !isa<arith::CmpIOp>(op) &&
             (isa<arith::ArithDialect>(op->getDialect()) || isa<nn::CheckedSizeOp, nn::ElementCountOp>(op))) {
    key.first = op->getName().getAsOpaquePointer();
    hasKey = true;
    for (Value operand : op->getOperands()) {
      if (std::optional<int64_t> number = getConstantIntValue(operand)) {
        key.second.insert(key.second.end(), {0, *number});
      } else if (operand.getType().isIndex()) {
        key.second.insert(key.second.end(), {1, int64_t(getAtom(operand, depth + 1))});
      } else {
        hasKey = false;
      }
    }
  }
  unsigned number = atoms.size();
  if (hasKey) {
    auto [entry, inserted] = atomKeys.try_emplace(key, number);
    number = entry->second;
    if (inserted) {
      atoms.push_back(value);
    }
  } else {
    atoms.push_back(value);
  }
  return atomNumbers[value] = number;
}

void SizeArith::leaveBody(size_t mark) {
  atoms.truncate(mark);
  for (auto entry = atomNumbers.begin(); entry != atomNumbers.end(); ++entry) {
    if (entry->second >= mark) {
      atomNumbers.erase(entry);
    }
  }
  std::erase_if(atomKeys, [&](const auto &entry) { return entry.second >= mark; });
}

std::optional<SizeArith::Polynomial> SizeArith::normalize(OpFoldResult size, int depth) {
  if (std::optional<int64_t> number = getConstantIntValue(size)) {
    return *number == 0 ? Polynomial() : Polynomial{{{}, *number}};
  }
  Value value = cast<Value>(resolve(size));
  Operation *op = value.getDefiningOp();
  if (op && depth < kMaxDepth && isa<arith::AddIOp, arith::SubIOp, arith::MulIOp>(op)) {
    std::optional<Polynomial> lhs = normalize(op->getOperand(0), depth + 1);
    std::optional<Polynomial> rhs = normalize(op->getOperand(1), depth + 1);
    if (lhs && rhs) {
      Polynomial result;
      bool overflow = false;
      auto accumulate = [&](const std::vector<unsigned> &product, int64_t factor) {
        int64_t &sum = result[product];
        overflow |= llvm::AddOverflow(sum, factor, sum);
        if (sum == 0) {
          result.erase(product);
        }
      };
      if (isa<arith::MulIOp>(op)) {
        if (lhs->size() * rhs->size() > kMaxTerms) {
          return Polynomial{{{getAtom(value, depth)}, 1}};
        }
        for (auto &[leftProduct, leftFactor] : *lhs) {
          for (auto &[rightProduct, rightFactor] : *rhs) {
            std::vector<unsigned> product = leftProduct;
            product.insert(product.end(), rightProduct.begin(), rightProduct.end());
            llvm::sort(product);
            int64_t factor;
            overflow |= llvm::MulOverflow(leftFactor, rightFactor, factor);
            accumulate(product, factor);
          }
        }
      } else {
        result = std::move(*lhs);
        for (auto &[product, factor] : *rhs) {
          accumulate(product, isa<arith::SubIOp>(op) ? -factor : factor);
        }
      }
      if (!overflow && result.size() <= kMaxTerms) {
        return result;
      }
    }
  }
  return Polynomial{{{getAtom(value, depth)}, 1}};
}

std::optional<OpFoldResult> SizeArith::simplify(const Polynomial &polynomial) {
  if (polynomial.empty()) {
    return constant(0);
  }
  if (polynomial.size() > 1) {
    return std::nullopt;
  }
  auto &[product, factor] = *polynomial.begin();
  if (product.empty()) {
    return constant(factor);
  }
  if (product.size() == 1 && factor == 1) {
    return OpFoldResult(atoms[product.front()]);
  }
  return std::nullopt;
}

bool SizeArith::isSame(OpFoldResult lhs, OpFoldResult rhs) {
  return nn::areSameSize(lhs, rhs) || normalize(lhs) == normalize(rhs);
}

//===----------------------------------------------------------------------===//
// Intervals
//===----------------------------------------------------------------------===//

SizeRange SizeArith::rangeOf(OpFoldResult size, int depth) {
  constexpr SizeRange unknown{-kInfinity, kInfinity};
  if (std::optional<int64_t> number = getConstantIntValue(size)) {
    int64_t clamped = saturate(*number);
    return {clamped, clamped};
  }
  Operation *op = cast<Value>(resolve(size)).getDefiningOp();
  if (!op || depth > kMaxDepth) {
    return unknown;
  }
  if (auto symbol = dyn_cast<nn::DimSymbolOp>(op)) {
    return {int64_t(symbol.getMin()), int64_t(symbol.getMax())};
  }
  if (isa<tensor::DimOp>(op)) {
    return {0, nn::kMaxDim};
  }
  if (isa<arith::IndexCastUIOp>(op)) {
    return {0, 1};
  }
  if (isa<nn::CheckedSizeOp>(op)) {
    SizeRange value = rangeOf(op->getOperand(0), depth + 1);
    return {std::max<int64_t>(value.min, 0), std::min(value.max, nn::kMaxDim)};
  }
  if (isa<nn::ElementCountOp>(op)) {
    return {0, nn::kTooManyElements};
  }
  if (auto read = dyn_cast<nn::ReadIndexOp>(op)) {
    bool isBool = cast<RankedTensorType>(read.getX().getType()).getElementType().isInteger(1);
    return isBool ? SizeRange{0, 1} : unknown;
  }
  if (auto select = dyn_cast<arith::SelectOp>(op)) {
    SizeRange lhs = rangeOf(select.getTrueValue(), depth + 1),
              rhs = rangeOf(select.getFalseValue(), depth + 1);
    return {std::min(lhs.min, rhs.min), std::max(lhs.max, rhs.max)};
  }
  if (op->getNumOperands() != 2) {
    return unknown;
  }
  if (!isa<arith::AddIOp, arith::SubIOp, arith::MulIOp, arith::MaxSIOp, arith::MaxUIOp, arith::MinSIOp,
           arith::DivSIOp, arith::FloorDivSIOp, arith::CeilDivSIOp, arith::RemSIOp>(op)) {
    return unknown;
  }
  SizeRange lhs = rangeOf(op->getOperand(0), depth + 1), rhs = rangeOf(op->getOperand(1), depth + 1);
  return TypeSwitch<Operation *, SizeRange>(op)
      .Case<arith::AddIOp>([&](auto) {
        return SizeRange{saturate(__int128(lhs.min) + rhs.min), saturate(__int128(lhs.max) + rhs.max)};
      })
      .Case<arith::SubIOp>([&](auto) {
        return SizeRange{saturate(__int128(lhs.min) - rhs.max), saturate(__int128(lhs.max) - rhs.min)};
      })
      .Case<arith::MulIOp>([&](auto) {
        __int128 corners[] = {__int128(lhs.min) * rhs.min, __int128(lhs.min) * rhs.max,
                              __int128(lhs.max) * rhs.min, __int128(lhs.max) * rhs.max};
        return SizeRange{saturate(*std::min_element(corners, corners + 4)),
                         saturate(*std::max_element(corners, corners + 4))};
      })
      .Case<arith::MaxSIOp, arith::MaxUIOp>(
          [&](auto) { return SizeRange{std::max(lhs.min, rhs.min), std::max(lhs.max, rhs.max)}; })
      .Case<arith::MinSIOp>(
          [&](auto) { return SizeRange{std::min(lhs.min, rhs.min), std::min(lhs.max, rhs.max)}; })
      .Case<arith::DivSIOp, arith::FloorDivSIOp, arith::CeilDivSIOp>([&](auto) {
        if (lhs.min < 0 || rhs.min < 1) {
          return unknown;
        }
        return SizeRange{lhs.min / rhs.max, lhs.max / rhs.min + 1};
      })
      .Case<arith::RemSIOp>([&](auto) {
        return lhs.min >= 0 && rhs.min >= 1 ? SizeRange{0, std::min(lhs.max, rhs.max - 1)} : unknown;
      })
      .Default(unknown);
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

OpFoldResult SizeArith::add(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<Polynomial> left = normalize(lhs), right = normalize(rhs);
  if (left && right) {
    bool overflow = false;
    for (auto &[product, factor] : *right) {
      int64_t &sum = (*left)[product];
      overflow |= llvm::AddOverflow(sum, factor, sum);
    }
    std::erase_if(*left, [](const auto &term) { return term.second == 0; });
    if (std::optional<OpFoldResult> simple = simplify(*left); simple && !overflow) {
      return *simple;
    }
  }
  return nn::addSizes(builder, *loc, lhs, rhs);
}

OpFoldResult SizeArith::sub(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<Polynomial> left = normalize(lhs), right = normalize(rhs);
  if (left && right) {
    bool overflow = false;
    for (auto &[product, factor] : *right) {
      int64_t &difference = (*left)[product];
      overflow |= llvm::SubOverflow(difference, factor, difference);
    }
    std::erase_if(*left, [](const auto &term) { return term.second == 0; });
    if (std::optional<OpFoldResult> simple = simplify(*left); simple && !overflow) {
      return *simple;
    }
  }
  return nn::subSizes(builder, *loc, lhs, rhs);
}

OpFoldResult SizeArith::mul(OpFoldResult lhs, OpFoldResult rhs) {
  return nn::mulSizes(builder, *loc, lhs, rhs);
}

OpFoldResult SizeArith::product(ArrayRef<OpFoldResult> sizes) {
  return nn::productOfSizes(builder, *loc, sizes);
}

OpFoldResult SizeArith::min(OpFoldResult lhs, OpFoldResult rhs) {
  SizeRange difference = rangeOf(sub(lhs, rhs));
  SizeRange left = rangeOf(lhs), right = rangeOf(rhs);
  if (difference.max <= 0 || left.max <= right.min) {
    return lhs;
  }
  if (difference.min >= 0 || right.max <= left.min) {
    return rhs;
  }
  return create<arith::MinSIOp>(lhs, rhs);
}

OpFoldResult SizeArith::max(OpFoldResult lhs, OpFoldResult rhs) {
  SizeRange difference = rangeOf(sub(lhs, rhs));
  SizeRange left = rangeOf(lhs), right = rangeOf(rhs);
  if (difference.min >= 0 || left.min >= right.max) {
    return lhs;
  }
  if (difference.max <= 0 || right.min >= left.max) {
    return rhs;
  }
  return create<arith::MaxSIOp>(lhs, rhs);
}

OpFoldResult SizeArith::div(OpFoldResult lhs, OpFoldResult rhs, bool floor) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right && *right != 0 && !(*right == -1 && *left == std::numeric_limits<int64_t>::min())) {
    return constant(floor ? llvm::divideFloorSigned(*left, *right) : *left / *right);
  }
  if (right == 1) {
    return lhs;
  }
  // A divisor that divides every term leaves no remainder, so it does not matter how one would be rounded.
  SmallVector<OpFoldResult> factors, divisors;
  int64_t factor = 1, divisor = 1;
  collectFactors(lhs, factors, factor);
  collectFactors(rhs, divisors, divisor);
  if (divisor != 0 && factor % divisor == 0 && rangeOf(rhs).min > 0) {
    bool cancels = llvm::all_of(divisors, [&](OpFoldResult size) {
      auto *same = llvm::find_if(factors, [&](OpFoldResult other) { return isSame(size, other); });
      if (same == factors.end()) {
        return false;
      }
      factors.erase(same);
      return true;
    });
    if (cancels) {
      return mul(product(factors), constant(factor / divisor));
    }
  }
  // Data may hold a 0, and the lowest number divided by -1: the processor knows no answer to either.
  SizeRange divisorRange = rangeOf(rhs);
  if (divisorRange.min == 0) {
    rhs = max(rhs, constant(1));
  } else if (divisorRange.min < 0) {
    OpFoldResult isZero = compare(nn::CompareKind::Equal, rhs, constant(0));
    OpFoldResult isMinusOne = compare(nn::CompareKind::Equal, rhs, constant(-1));
    OpFoldResult safe = select(isMinusOne, constant(1), select(isZero, constant(1), rhs));
    OpFoldResult quotient =
        floor ? create<arith::FloorDivSIOp>(lhs, safe) : create<arith::DivSIOp>(lhs, safe);
    return select(isMinusOne, sub(constant(0), lhs), quotient);
  }
  if (floor && rangeOf(lhs).min < 0) {
    return create<arith::FloorDivSIOp>(lhs, rhs);
  }
  return create<arith::DivSIOp>(lhs, rhs);
}

OpFoldResult SizeArith::mod(OpFoldResult lhs, OpFoldResult rhs, bool floor) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right && *right != 0 && *right != -1) {
    int64_t rest = *left % *right;
    return constant(floor && rest != 0 && (rest < 0) != (*right < 0) ? rest + *right : rest);
  }
  if ((floor && rangeOf(lhs).min < 0) || rangeOf(rhs).min < 1) {
    return sub(lhs, mul(div(lhs, rhs, floor), rhs));
  }
  return create<arith::RemSIOp>(lhs, rhs);
}

OpFoldResult SizeArith::compare(nn::CompareKind kind, OpFoldResult lhs, OpFoldResult rhs) {
  using Kind = nn::CompareKind;
  OpFoldResult difference = sub(lhs, rhs);
  SizeRange range = rangeOf(difference), left = rangeOf(lhs), right = rangeOf(rhs);
  // The interval of the difference loses what both have in common, those of the operands keep it.
  range.min = std::max(range.min, saturate(__int128(left.min) - right.max));
  range.max = std::min(range.max, saturate(__int128(left.max) - right.min));
  std::optional<bool> known;
  switch (kind) {
  case Kind::Equal:
  case Kind::NotEqual:
    if (range.min > 0 || range.max < 0) {
      known = kind == Kind::NotEqual;
    } else if (range.min == 0 && range.max == 0) {
      known = kind == Kind::Equal;
    }
    break;
  case Kind::Less:
  case Kind::GreaterOrEqual:
    if (range.max < 0 || range.min >= 0) {
      known = (range.max < 0) == (kind == Kind::Less);
    }
    break;
  case Kind::LessOrEqual:
  case Kind::Greater:
    if (range.max <= 0 || range.min > 0) {
      known = (range.max <= 0) == (kind == Kind::LessOrEqual);
    }
    break;
  }
  if (known) {
    return constant(*known);
  }
  static constexpr arith::CmpIPredicate predicates[] = {arith::CmpIPredicate::eq,  arith::CmpIPredicate::ne,
                                                        arith::CmpIPredicate::slt, arith::CmpIPredicate::sle,
                                                        arith::CmpIPredicate::sgt, arith::CmpIPredicate::sge};
  Value bit = arith::CmpIOp::create(builder, *loc, predicates[unsigned(kind)], getValue(lhs), getValue(rhs));
  return arith::IndexCastUIOp::create(builder, *loc, builder.getIndexType(), bit).getResult();
}

OpFoldResult SizeArith::select(OpFoldResult condition, OpFoldResult lhs, OpFoldResult rhs) {
  if (std::optional<int64_t> known = getConstantIntValue(condition)) {
    return *known != 0 ? lhs : rhs;
  }
  if (isSame(lhs, rhs)) {
    return lhs;
  }
  Value bit = arith::CmpIOp::create(builder, *loc, arith::CmpIPredicate::ne, getValue(condition),
                                    getValue(constant(0)));
  return arith::SelectOp::create(builder, *loc, bit, getValue(lhs), getValue(rhs)).getResult();
}

void SizeArith::collectFactors(OpFoldResult size, SmallVectorImpl<OpFoldResult> &factors,
                               int64_t &constantFactor) {
  SmallVector<OpFoldResult> worklist{size};
  while (!worklist.empty()) {
    OpFoldResult factor = worklist.pop_back_val();
    if (std::optional<int64_t> number = getConstantIntValue(factor)) {
      int64_t product;
      if (llvm::MulOverflow(constantFactor, *number, product)) {
        factors.push_back(factor);
      } else {
        constantFactor = product;
      }
    } else if (auto mul = cast<Value>(factor).getDefiningOp<arith::MulIOp>();
               mul && factors.size() + worklist.size() < kMaxTerms) {
      worklist.append({mul.getRhs(), mul.getLhs()});
    } else {
      factors.push_back(factor);
    }
  }
}

FailureOr<OpFoldResult> SizeArith::divideProducts(ArrayRef<OpFoldResult> sizes,
                                                  ArrayRef<OpFoldResult> divisors) {
  SmallVector<OpFoldResult> factors, rest, divisorFactors;
  int64_t factor = 1, divisor = 1;
  for (OpFoldResult size : sizes) {
    collectFactors(size, factors, factor);
  }
  for (OpFoldResult size : divisors) {
    collectFactors(size, divisorFactors, divisor);
  }
  for (OpFoldResult size : divisorFactors) {
    auto *same = llvm::find_if(factors, [&](OpFoldResult other) { return isSame(size, other); });
    if (same == factors.end()) {
      rest.push_back(size);
    } else {
      factors.erase(same);
    }
  }
  if (divisor == 0) {
    return failure();
  }
  if (factors.empty() && rest.empty() && factor % divisor != 0) {
    return failure();
  }
  int64_t common = std::gcd(factor, divisor);
  if (common != 0) {
    factor /= common;
    divisor /= common;
  }
  OpFoldResult total = mul(product(factors), constant(factor));
  OpFoldResult denominator = mul(product(rest), constant(divisor));
  if (getConstantIntValue(denominator) == 1) {
    return total;
  }
  if (!rest.empty()) {
    // An empty tensor has a dimension of size 0; dividing by it must not trap.
    denominator = max(denominator, constant(1));
  }
  return div(total, denominator, /*floor=*/false);
}
