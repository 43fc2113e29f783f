// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Loops over memory in few words, for `LoopsOpInterface::buildLoops`.

#ifndef LATHE_LIB_DIALECT_NN_IR_LOOPBUILDER_H
#define LATHE_LIB_DIALECT_NN_IR_LOOPBUILDER_H

#include "lathe/Codegen/Math/Emitter.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"

namespace lathe::nn {

/// An Emitter that also loops, branches, loads and stores. Bodies are built by calling back with the
/// insertion point inside; values that change from one iteration to the next are given and returned in order.
class LoopBuilder : public Emitter {
public:
  using Values = llvm::SmallVector<mlir::Value>;
  using Emitter::Emitter;

  Value index(int64_t value);
  /// The size of a dimension of `memory`.
  Value size(Value memory, int64_t dim);
  Values sizes(Value memory);
  Value product(llvm::ArrayRef<Value> factors);
  Value minIndex(Value lhs, Value rhs);

  /// `for i in [begin, end)`, in steps of one.
  void loop(Value begin, Value end, llvm::function_ref<void(Value i)> body);
  /// The same with carried values; returns the last ones.
  Values loop(Value begin, Value end, llvm::ArrayRef<Value> init,
              llvm::function_ref<Values(Value i, mlir::ValueRange carried)> body);
  /// A nest over all positions of `sizes`.
  void nest(llvm::ArrayRef<Value> sizes, llvm::function_ref<void(llvm::ArrayRef<Value> indices)> body);
  /// While `condition` of the carried values (an i1) holds, `body` makes the next ones.
  Values loopWhile(llvm::ArrayRef<Value> init, llvm::function_ref<Value(mlir::ValueRange carried)> condition,
                   llvm::function_ref<Values(mlir::ValueRange carried)> body);
  void ifThen(Value condition, llvm::function_ref<void()> body);
  void ifElse(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise);
  /// The values of whichever side is taken; both give the same number and types.
  Values choose(Value condition, llvm::function_ref<Values()> then, llvm::function_ref<Values()> otherwise);

  /// Dense memory with `sizes`, which make as many elements.
  Value view(Value memory, llvm::ArrayRef<Value> sizes);
  Value load(Value memory, llvm::ArrayRef<Value> indices);
  void store(Value value, Value memory, llvm::ArrayRef<Value> indices);
  /// Whether both begin at the same byte.
  Value areSameMemory(Value lhs, Value rhs);
  /// A local array of a static shape, made once at the top of the kernel.
  Value local(llvm::ArrayRef<int64_t> shape, Type element);

  /// The position of row-major `linear` in a tensor of `sizes`.
  Values delinearize(Value linear, llvm::ArrayRef<Value> sizes);

  /// Between index and integers; `isUnsigned` tells how an integer of fewer bits is read.
  Value toIndex(Value x, bool isUnsigned = false);
  Value fromIndex(Value x, Type integer);

  /// Index arithmetic that floors, of positive divisors.
  Value floorDiv(Value x, Value y);
  Value rem(Value x, Value y);

  /// Notes a fault (enum lathe_fault of the runtime's abi.h) where `condition` holds, and goes on.
  void trapIf(Value condition, int32_t fault);
  static constexpr int32_t kFaultIndex = 1;
  static constexpr int32_t kFaultShape = 3;

  /// An index from data, which may count from the end of `size` elements: the index and whether it is one of
  /// them. Notes a fault where it is not.
  std::pair<Value, Value> checkedIndex(Value raw, Value size);
};

} // namespace lathe::nn

#endif // LATHE_LIB_DIALECT_NN_IR_LOOPBUILDER_H
