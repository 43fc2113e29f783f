// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Finds blocks that are equal but for their weights.
///
/// The tensor ops of a function, in order, are a sequence of keys (name, attributes, types, sizes as formulas
/// of the symbols). A run of ops that follows itself with equal keys is a candidate; it is a layer if its
/// instances are also wired alike: an operand is computed in the same instance, is a weight, comes from the
/// instance before, or is the same value for all.

#ifndef LATHE_LIB_DIALECT_NN_TRANSFORMS_REPEATEDBLOCKS_H
#define LATHE_LIB_DIALECT_NN_TRANSFORMS_REPEATEDBLOCKS_H

#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"

#include <optional>

namespace lathe::nn {

/// A run of `period` ops that occurs `count` times in a row, first at op `start`.
struct Repeat {
  size_t start = 0, period = 0, count = 0;
};

/// Where an operand of an op of a layer comes from.
struct Source {
  enum Kind { Inside, Weight, Previous, Shared, Index } kind = Shared;
  size_t op = 0;         // Inside, Previous: position within the instance
  unsigned argument = 0; // Weight, Previous, Shared: argument of the layer
  bool operator==(const Source &other) const = default;
};

/// The wiring of one instance: a source for every operand, in order.
struct Wiring {
  llvm::SmallVector<Source> sources;
  llvm::SetVector<size_t> carried;        // results of the instance before that are read
  llvm::SetVector<mlir::Value> shared;    // values from outside all instances
  llvm::SmallVector<mlir::Value> weights; // of this instance
};

/// How the instances of a repeat are called: for each, the values of `carried` and the weights.
struct RepeatedLayer {
  Repeat repeat;
  llvm::SmallVector<size_t> carried;       // positions whose results pass to the next instance
  llvm::SmallVector<mlir::Value> entering; // what the first instance gets for them
  llvm::SmallVector<mlir::Value> shared;
  llvm::SmallVector<Wiring> wirings;
  llvm::SmallVector<size_t> results; // positions whose results are read outside
};

/// The tensor ops at the top of a function, and what repeats among them.
class RepeatedBlocks {
public:
  /// Whether what passes are asked for, attributes that are none of the op's own, tells ops apart.
  enum class Requests { Count, DoNotCount };

  RepeatedBlocks(mlir::func::FuncOp function, Requests requests);

  mlir::Operation *getOp(size_t position) const { return ops[position]; }
  bool contains(mlir::Operation *op) const { return positions.contains(op); }
  /// Whether `op` is none of the ops from `first` on, `count` of them.
  bool isOutside(mlir::Operation *op, size_t first, size_t count) const;

  /// The repeats that cover the most ops, each with all its possible first ops.
  llvm::SmallVector<Repeat> findRepeats() const;
  /// How the instances are called; nothing if they are not wired alike.
  std::optional<RepeatedLayer> match(const Repeat &repeat) const;
  /// Keeps the ops of these instances from being found again.
  void exclude(const Repeat &repeat);

private:
  static bool canRepeat(mlir::Operation *op);
  std::string keyOf(mlir::Operation *op, Requests requests) const;
  std::optional<Wiring> wire(const Repeat &repeat, size_t instance) const;
  std::optional<Source> sourceOf(const Repeat &repeat, size_t first, mlir::Value operand,
                                 Wiring &wiring) const;
  bool matchFirst(RepeatedLayer &layer, const Wiring &model) const;
  void collectResults(RepeatedLayer &layer) const;

  /// Shorter runs are not worth a function.
  static constexpr size_t kMinPeriod = 4;

  llvm::SmallVector<mlir::Operation *> ops;
  llvm::DenseMap<mlir::Operation *, size_t> positions;
  llvm::SmallVector<size_t> keys;
  /// Above all keys.
  size_t nextKey = 0;
};

/// Brings what depends on no weight to the front of `block`: what all layers share, such as a mask, stands
/// within the first one where an operator of that layer makes it, and would make it another. Nothing moves
/// across a check of what is computed.
void hoistShared(mlir::Block &block);

} // namespace lathe::nn

#endif // LATHE_LIB_DIALECT_NN_TRANSFORMS_REPEATEDBLOCKS_H
