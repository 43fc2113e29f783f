// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Small constants while nn ops are folded.

#ifndef LATHE_DIALECT_NN_IR_CONSTANTELEMENTS_H
#define LATHE_DIALECT_NN_IR_CONSTANTELEMENTS_H

#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/IR/BuiltinAttributes.h"

namespace lathe::nn::detail {

/// Folding makes no constant above this: larger ones are weights.
inline constexpr int64_t kMaxFoldedBytes = 1024;

/// Whether a constant of this type may be made.
bool canFoldTo(mlir::Type type);

/// The elements of a constant tensor as scalar attributes without signs, row-major; nothing if `attr` is no
/// dense constant or is too large.
std::optional<llvm::SmallVector<mlir::Attribute>> readElements(mlir::Attribute attr);

/// The constant with these elements, the inverse of `readElements`; null if `type` may not be folded to.
mlir::Attribute makeElements(mlir::Type type, llvm::ArrayRef<mlir::Attribute> elements);

/// The type of the scalars in `readElements`.
mlir::Type dropSign(mlir::Type elementType);

/// Calls `body` with the positions of all elements of `shape`, row-major.
void forEachPosition(llvm::ArrayRef<int64_t> shape, llvm::function_ref<void(llvm::ArrayRef<int64_t>)> body);

/// The row-major index of `position` in `shape`.
int64_t linearize(llvm::ArrayRef<int64_t> position, llvm::ArrayRef<int64_t> shape);

/// The row-major index in `shape` of the element that broadcasts to `position`.
int64_t linearizeBroadcast(llvm::ArrayRef<int64_t> position, llvm::ArrayRef<int64_t> shape);

/// A scalar function, built once as IR and evaluated on constants by the folders of its ops. So a folded
/// constant has exactly the value that a kernel computes from the same IR.
class ScalarFunction {
public:
  using BuildFn = llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::ValueRange)>;

  /// `build` makes the result from values of `argumentTypes`.
  ScalarFunction(mlir::Location loc, mlir::TypeRange argumentTypes, BuildFn build);
  ~ScalarFunction();

  /// The result for constant arguments, null if some op does not fold.
  mlir::Attribute evaluate(llvm::ArrayRef<mlir::Attribute> arguments);

private:
  mlir::Block block;
  mlir::Value result;
};

} // namespace lathe::nn::detail

#endif // LATHE_DIALECT_NN_IR_CONSTANTELEMENTS_H
