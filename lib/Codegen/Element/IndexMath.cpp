// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/LoopLikeInterface.h"

using namespace mlir;
using namespace lathe::codegen;

Value IndexMath::value(OpFoldResult size) {
  if (auto value = dyn_cast<Value>(size)) {
    return value;
  }
  return arith::ConstantIndexOp::create(builder, loc, *getConstantIntValue(size));
}

SmallVector<Value> IndexMath::values(ArrayRef<OpFoldResult> sizes) {
  return llvm::map_to_vector(sizes, [&](OpFoldResult size) { return value(size); });
}

OpFoldResult IndexMath::add(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right) {
    return constant(*left + *right);
  }
  if (left == 0) {
    return rhs;
  }
  if (right == 0) {
    return lhs;
  }
  return arith::AddIOp::create(builder, loc, value(lhs), value(rhs)).getResult();
}

OpFoldResult IndexMath::sub(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right) {
    return constant(*left - *right);
  }
  if (right == 0) {
    return lhs;
  }
  return arith::SubIOp::create(builder, loc, value(lhs), value(rhs)).getResult();
}

OpFoldResult IndexMath::mul(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right) {
    return constant(*left * *right);
  }
  if (left == 0 || right == 0) {
    return constant(0);
  }
  if (left == 1) {
    return rhs;
  }
  if (right == 1) {
    return lhs;
  }
  return arith::MulIOp::create(builder, loc, value(lhs), value(rhs)).getResult();
}

OpFoldResult IndexMath::floorDiv(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right && *right != 0) {
    return constant(*left / *right);
  }
  if (right == 1) {
    return lhs;
  }
  return arith::DivUIOp::create(builder, loc, value(lhs), value(rhs)).getResult();
}

OpFoldResult IndexMath::ceilDiv(OpFoldResult lhs, OpFoldResult rhs) {
  return floorDiv(add(lhs, sub(rhs, constant(1))), rhs);
}

OpFoldResult IndexMath::rem(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right && *right != 0) {
    return constant(*left % *right);
  }
  if (right == 1) {
    return constant(0);
  }
  return arith::RemUIOp::create(builder, loc, value(lhs), value(rhs)).getResult();
}

OpFoldResult IndexMath::min(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right) {
    return constant(std::min(*left, *right));
  }
  return arith::MinSIOp::create(builder, loc, value(lhs), value(rhs)).getResult();
}

OpFoldResult IndexMath::max(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left && right) {
    return constant(std::max(*left, *right));
  }
  return arith::MaxSIOp::create(builder, loc, value(lhs), value(rhs)).getResult();
}

OpFoldResult IndexMath::product(ArrayRef<OpFoldResult> factors) {
  OpFoldResult result = constant(1);
  for (OpFoldResult factor : factors) {
    result = mul(result, factor);
  }
  return result;
}

SmallVector<OpFoldResult> IndexMath::denseStrides(ArrayRef<OpFoldResult> sizes) {
  SmallVector<OpFoldResult> strides(sizes.size());
  OpFoldResult stride = constant(1);
  for (size_t dim = sizes.size(); dim-- > 0;) {
    strides[dim] = stride;
    if (dim > 0) {
      stride = mul(stride, sizes[dim]);
    }
  }
  return strides;
}

OpFoldResult IndexMath::linearize(ArrayRef<OpFoldResult> index, ArrayRef<OpFoldResult> sizes) {
  OpFoldResult result = constant(0);
  for (auto [position, size] : llvm::zip_equal(index, sizes)) {
    result = add(mul(result, size), position);
  }
  return result;
}

SmallVector<OpFoldResult> IndexMath::delinearize(OpFoldResult linear, ArrayRef<OpFoldResult> sizes) {
  SmallVector<OpFoldResult> index(sizes.size(), constant(0));
  // The first dimension that may be longer than 1 takes what is left.
  size_t first = 0;
  while (first + 1 < sizes.size() && isConstantSize(sizes[first], 1)) {
    ++first;
  }
  for (size_t dim = sizes.size(); dim-- > first;) {
    if (dim == first) {
      index[dim] = linear;
    } else {
      index[dim] = rem(linear, sizes[dim]);
      linear = floorDiv(linear, sizes[dim]);
    }
  }
  return index;
}

bool lathe::codegen::isConstantSize(OpFoldResult size, int64_t value) {
  return getConstantIntValue(size) == value;
}

bool lathe::codegen::areEqualSizes(OpFoldResult lhs, OpFoldResult rhs) {
  return SizeProduct(lhs) == SizeProduct(rhs);
}

bool lathe::codegen::isMultipleOf(OpFoldResult size, int64_t factor) {
  if (std::optional<int64_t> number = getConstantIntValue(size)) {
    return *number % factor == 0;
  }
  auto value = cast<Value>(size);
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto loop = dyn_cast_or_null<scf::ForOp>(argument.getOwner()->getParentOp());
    return loop && loop.getInductionVar() == value && isMultipleOf(loop.getLowerBound(), factor) &&
           isMultipleOf(loop.getStep(), factor);
  }
  if (auto add = value.getDefiningOp<arith::AddIOp>()) {
    return isMultipleOf(add.getLhs(), factor) && isMultipleOf(add.getRhs(), factor);
  }
  if (auto mul = value.getDefiningOp<arith::MulIOp>()) {
    return isMultipleOf(mul.getLhs(), factor) || isMultipleOf(mul.getRhs(), factor);
  }
  if (auto rem = value.getDefiningOp<arith::RemUIOp>()) {
    return isMultipleOf(rem.getLhs(), factor) && isMultipleOf(rem.getRhs(), factor);
  }
  if (auto min = value.getDefiningOp<arith::MinSIOp>()) {
    return isMultipleOf(min.getLhs(), factor) && isMultipleOf(min.getRhs(), factor);
  }
  return false;
}

void SizeProduct::multiply(OpFoldResult size) {
  if (std::optional<int64_t> number = getConstantIntValue(size)) {
    constant *= *number;
    return;
  }
  auto value = cast<Value>(size);
  if (auto mul = value.getDefiningOp<arith::MulIOp>()) {
    multiply(mul.getLhs());
    multiply(mul.getRhs());
    return;
  }
  auto less = [](Value lhs, Value rhs) { return lhs.getAsOpaquePointer() < rhs.getAsOpaquePointer(); };
  factors.insert(llvm::upper_bound(factors, value, less), value);
}

bool SizeProduct::divides(const SizeProduct &other) const {
  if (constant == 0 || other.constant % constant != 0) {
    return false;
  }
  auto less = [](Value lhs, Value rhs) { return lhs.getAsOpaquePointer() < rhs.getAsOpaquePointer(); };
  return std::includes(other.factors.begin(), other.factors.end(), factors.begin(), factors.end(), less);
}

SmallVector<DimGroup> lathe::codegen::getReshapeGroups(ArrayRef<OpFoldResult> oldDims,
                                                       ArrayRef<OpFoldResult> newDims) {
  SmallVector<DimGroup> groups;
  int64_t oldRank = oldDims.size(), newRank = newDims.size();
  DimGroup group{0, 0, 0, 0};
  while (group.oldEnd < oldRank || group.newEnd < newRank) {
    SizeProduct oldSize, newSize;
    bool extendOld = group.oldEnd < oldRank;
    bool closed = false;
    do {
      if (extendOld) {
        oldSize.multiply(oldDims[group.oldEnd++]);
      } else {
        newSize.multiply(newDims[group.newEnd++]);
      }
      closed = oldSize == newSize && group.oldEnd > group.oldBegin && group.newEnd > group.newBegin;
      // Extend the side that is evidently the smaller one; on a tie of unknowns, take turns.
      extendOld = newSize.divides(oldSize) ? false : oldSize.divides(newSize) ? true : !extendOld;
      if (group.oldEnd == oldRank) {
        extendOld = false;
      } else if (group.newEnd == newRank) {
        extendOld = true;
      }
    } while (!closed && (group.oldEnd < oldRank || group.newEnd < newRank));
    // What follows the last dimension of the other side can only be dimensions of size 1.
    if (group.oldEnd == oldRank || group.newEnd == newRank) {
      group.oldEnd = oldRank;
      group.newEnd = newRank;
    }
    groups.push_back(group);
    group = {group.oldEnd, group.oldEnd, group.newEnd, group.newEnd};
  }
  return groups;
}
