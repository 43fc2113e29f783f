// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ReshapeGroups.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe::nn;

namespace {

/// A number times some values.
class Product {
public:
  void multiply(OpFoldResult size) {
    if (std::optional<int64_t> known = getConstantIntValue(size)) {
      isValid &= !llvm::MulOverflow(number, *known, number);
      return;
    }
    auto value = cast<Value>(size);
    if (auto product = value.getDefiningOp<arith::MulIOp>()) {
      multiply(product.getLhs());
      multiply(product.getRhs());
      return;
    }
    values.push_back(value.getAsOpaquePointer());
    llvm::sort(values);
  }

  bool operator==(const Product &other) const {
    return isValid && other.isValid && number == other.number && values == other.values;
  }

  /// Whether `other` is this one times something.
  bool divides(const Product &other) const {
    return isValid && other.isValid && number != 0 && other.number % number == 0 &&
           std::includes(other.values.begin(), other.values.end(), values.begin(), values.end());
  }

private:
  int64_t number = 1;
  llvm::SmallVector<const void *> values;
  bool isValid = true;
};

} // namespace

std::optional<llvm::SmallVector<ReshapeGroup>> lathe::nn::groupReshape(ArrayRef<OpFoldResult> from,
                                                                       ArrayRef<OpFoldResult> to) {
  llvm::SmallVector<ReshapeGroup> groups;
  auto isOne = [](ArrayRef<OpFoldResult> dims, size_t i) {
    return i < dims.size() && getConstantIntValue(dims[i]) == 1;
  };
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    bool fromOne = isOne(from, i), toOne = isOne(to, j);
    if (fromOne != toOne) {
      // A dimension of size 1 that comes or goes.
      groups.push_back({i, i + fromOne, j, j + toOne});
      i += fromOne;
      j += toOne;
      continue;
    }
    if (i == from.size() || j == to.size()) {
      return std::nullopt;
    }
    ReshapeGroup group{i, i + 1, j, j + 1};
    Product left, right;
    left.multiply(from[i]);
    right.multiply(to[j]);
    while (!(left == right)) {
      if (left.divides(right) && group.fromEnd < from.size()) {
        left.multiply(from[group.fromEnd++]);
      } else if (right.divides(left) && group.toEnd < to.size()) {
        right.multiply(to[group.toEnd++]);
      } else {
        return std::nullopt;
      }
    }
    i = group.fromEnd;
    j = group.toEnd;
    groups.push_back(group);
  }
  return groups;
}
