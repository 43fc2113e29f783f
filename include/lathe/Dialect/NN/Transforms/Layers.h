// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The layers of a model, found by their structure, and the attribute by which they are left out.

#ifndef LATHE_DIALECT_NN_TRANSFORMS_LAYERS_H
#define LATHE_DIALECT_NN_TRANSFORMS_LAYERS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <string>

namespace lathe::nn {

/// Attribute of `@main`: what nn-skip-layers is to leave out, a dictionary from `all`, `attention` or `ffn`
/// to the numbers of the layers, counted from 0.
inline constexpr llvm::StringLiteral kSkipAttr = "nn.skip";

/// A part of a layer that adds what it computes to what it gets.
struct Sublayer {
  mlir::Value input, output;
  bool isAttention = false;
};

struct Layer {
  /// In the order of the program.
  llvm::SmallVector<mlir::Operation *> ops;
  /// The hidden state that it gets, and the one that it passes on; null if there is no single one.
  mlir::Value input, output;
  /// Why it cannot be left out; empty if it can.
  std::string obstacle;
  /// What it is made of, one after the other; empty if it cannot be told apart.
  llvm::SmallVector<Sublayer> sublayers;
};

/// The layers of `main`, in the order of the program: blocks of ops that are repeated with other weights.
/// Where several places may be the first op of a block, the hidden state between blocks is the tensor to
/// which a block adds what it computes.
///
/// Moves what all layers share before the first.
llvm::SmallVector<Layer> findLayers(mlir::func::FuncOp main);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_TRANSFORMS_LAYERS_H
