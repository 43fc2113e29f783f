// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The weight section of an artifact: who lies where, and how the bytes are produced.

#ifndef LATHE_CODEGEN_HOST_WEIGHTS_H
#define LATHE_CODEGEN_HOST_WEIGHTS_H

#include "lathe/Dialect/NN/Evaluate/ConstantTensor.h"
#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"

namespace lathe::codegen {

/// Attribute of an `nn.weight`: its byte offset in the weight section.
inline constexpr llvm::StringLiteral kOffsetAttr = "lathe.offset";
/// Attribute of the module: the bytes of the weight section.
inline constexpr llvm::StringLiteral kWeightBytesAttr = "lathe.weight_bytes";
/// Every weight starts at a multiple of this.
inline constexpr int64_t kWeightAlignment = 64; // LATHE_WEIGHT_ALIGNMENT

using nn::getElementBytes;

/// The bytes that `weight` takes in the section, padding of panels included.
int64_t getStoredBytes(nn::WeightOp weight);

/// Elements of a weight.
struct ElementCount {
  int64_t nan = 0, infinite = 0;
  /// Of floats that are stored as they are; else not counted.
  std::optional<int64_t> zeros = std::nullopt;
};

/// Produces the weight section from front to back: computes and arranges weights as they are written, holding
/// at most one computed weight in memory, and what it is made of. `sink` gets exactly `lathe.weight_bytes`
/// bytes, less the first `from`, where other weights lie. `counted` is called for every weight, once its
/// bytes are written.
llvm::Error writeWeights(mlir::ModuleOp module, llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> sink,
                         llvm::function_ref<void(nn::WeightOp, ElementCount)> counted, uint64_t from = 0);

/// Places the weights of `module`, which have no panels, behind those of `other`; the same ones that have
/// none there, either, are shared, and become the last of `other`. Returns where the first one of `module`
/// is.
int64_t placeWeightsBehind(mlir::ModuleOp module, mlir::ModuleOp other);

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_HOST_WEIGHTS_H
