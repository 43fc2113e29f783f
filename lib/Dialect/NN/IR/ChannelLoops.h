// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Loops over the last dimension of tensors in vectors, for ops that do the same to every channel.

#ifndef LATHE_LIB_DIALECT_NN_IR_CHANNELLOOPS_H
#define LATHE_LIB_DIALECT_NN_IR_CHANNELLOOPS_H

#include "LoopBuilder.h"

namespace lathe::nn {

class ChannelLoops : public LoopBuilder {
public:
  using LoopBuilder::LoopBuilder;

  /// `body` for blocks that cover [0, channels), each starting at `first` and `lanes` elements wide, 0 for
  /// one element that is no vector. Blocks may overlap: doing an element twice must be harmless. `widest` is
  /// the widest element type that `body` computes with; a null one asks for single elements.
  void overChannels(Value channels, Type widest, llvm::function_ref<void(Value first, int64_t lanes)> body);

  /// `type`, or a vector of it.
  Type laneType(Type type, int64_t lanes);
  Value loadLanes(Value memory, llvm::ArrayRef<Value> indices, int64_t lanes);
  void storeLanes(Value value, Value memory, llvm::ArrayRef<Value> indices);
  /// A scalar in every lane.
  Value splat(Value scalar, int64_t lanes);
  /// Between the type of elements in memory and the one they are computed with, both without signs.
  Value convert(Value x, Type element);

  Values asValues(llvm::ArrayRef<mlir::OpFoldResult> sizes);
  Value maxIndex(Value lhs, Value rhs);
};

} // namespace lathe::nn

#endif // LATHE_LIB_DIALECT_NN_IR_CHANNELLOOPS_H
