// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Arithmetic on sizes that knows when two formulas are equal and in which interval a formula lies.

#ifndef LATHE_CONVERSION_ONNXTONN_SIZES_H
#define LATHE_CONVERSION_ONNXTONN_SIZES_H

#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"
#include <map>
#include <optional>
#include <vector>

namespace lathe::onnx {

/// The closed interval of the values that an index may have.
struct SizeRange {
  int64_t min, max;
};

/// Builds index arithmetic at the insertion point of a builder. Whatever is constant, or equal to a value
/// that is there already by the laws of addition and multiplication, is not built: `(P + S) - P` is `S`, and
/// `max(S, 0)` of a size `S` is `S`.
///
/// ONNX does this arithmetic on i64 tensors; overflow is not modelled.
class SizeArith {
public:
  explicit SizeArith(mlir::OpBuilder &builder) : builder(builder) {}

  mlir::OpFoldResult constant(int64_t value) { return builder.getIndexAttr(value); }
  mlir::OpFoldResult add(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult sub(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult mul(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult min(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult max(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  /// Division that rounds towards zero, or down.
  mlir::OpFoldResult div(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs, bool floor);
  /// The remainder with the sign of the dividend, or of the divisor.
  mlir::OpFoldResult mod(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs, bool floor);
  /// 1 where the comparison holds, else 0.
  mlir::OpFoldResult compare(nn::CompareKind kind, mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult select(mlir::OpFoldResult condition, mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult product(llvm::ArrayRef<mlir::OpFoldResult> sizes);
  /// The product of `sizes` divided by that of `divisors`, which divides it: equal factors cancel first.
  /// Failure if it is evident that it does not.
  llvm::FailureOr<mlir::OpFoldResult> divideProducts(llvm::ArrayRef<mlir::OpFoldResult> sizes,
                                                     llvm::ArrayRef<mlir::OpFoldResult> divisors);

  /// States that `value`, a minimum of `symbol` and a number, is `symbol`.
  void setAlias(mlir::Value value, mlir::Value symbol) { aliases[value] = symbol; }
  /// What `size` is by `setAlias`, or itself.
  mlir::OpFoldResult resolve(mlir::OpFoldResult size) const;
  /// Puts the symbols in the place of all their aliases.
  void replaceAliases();

  /// Whether the two are equal for all values of the symbols.
  bool isSame(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  SizeRange rangeOf(mlir::OpFoldResult size) { return rangeOf(size, /*depth=*/0); }

  void setLoc(mlir::Location newLoc) { loc = newLoc; }

  /// A body of control flow begins: what is built there is not seen after `leaveBody(mark)`.
  size_t enterBody() const { return atoms.size(); }
  void leaveBody(size_t mark);

private:
  /// A sum of products: to every product of atoms (sorted, by number) its factor.
  using Polynomial = std::map<std::vector<unsigned>, int64_t>;

  /// The normal form, or nothing where it would get long or overflow.
  std::optional<Polynomial> normalize(mlir::OpFoldResult size, int depth = 0);
  /// The number of an index value that is no sum or product; the same for equal ops on equal operands.
  unsigned getAtom(mlir::Value value, int depth);
  /// A constant or an atom, if that is what the polynomial is.
  std::optional<mlir::OpFoldResult> simplify(const Polynomial &polynomial);
  SizeRange rangeOf(mlir::OpFoldResult size, int depth);
  void collectFactors(mlir::OpFoldResult size, llvm::SmallVectorImpl<mlir::OpFoldResult> &factors,
                      int64_t &constantFactor);
  template <typename OpTy>
  mlir::OpFoldResult create(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::Value getValue(mlir::OpFoldResult size);

  mlir::OpBuilder &builder;
  std::optional<mlir::Location> loc;
  llvm::MapVector<mlir::Value, mlir::Value> aliases;
  llvm::SmallVector<mlir::Value> atoms;
  llvm::DenseMap<mlir::Value, unsigned> atomNumbers;
  std::map<std::pair<const void *, std::vector<int64_t>>, unsigned> atomKeys;
};

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_SIZES_H
