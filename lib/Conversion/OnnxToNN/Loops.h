// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Loops of ONNX graphs as `nn.loop`.

#ifndef LATHE_CONVERSION_ONNXTONN_LOOPS_H
#define LATHE_CONVERSION_ONNXTONN_LOOPS_H

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNControl.h"

namespace lathe::onnx {

/// What one iteration gives.
struct Iteration {
  mlir::Value condition; // i1, whether to go on
  llvm::SmallVector<LegalValue> carried, scans;
};

/// Builds the body of a loop at the builder's insertion point; fails after an error.
using IterationFn =
    llvm::function_ref<llvm::FailureOr<Iteration>(mlir::Value iteration, llvm::ArrayRef<LegalValue> carried)>;

/// The results of a loop.
struct LoopResults {
  llvm::SmallVector<LegalValue> carried;
  llvm::SmallVector<mlir::Value> scans;
};

/// Builds an `nn.loop` of at most `trip` iterations, which starts only if `condition` holds.
///
/// How a value is carried is found by trying: with the shape it has at first and, if it is a few integers
/// that are known, as index values; where an iteration gives something else, the body is built again with
/// less assumed.
llvm::FailureOr<LoopResults> buildLoop(LegalizeContext &c, Size trip, mlir::Value condition,
                                       llvm::ArrayRef<LegalValue> inits, IterationFn body);

/// Whether a loop has to do with sequences or optionals, which do not exist while a model runs.
bool needsUnrolling(llvm::ArrayRef<LegalValue> inits, mlir::Region &body);

/// A `Loop` as its iterations one behind the other.
llvm::LogicalResult unrollLoop(LegalizeContext &c, Size trip, llvm::ArrayRef<LegalValue> inits,
                               mlir::Region &body);

/// An operand or yielded value of one element as a condition.
llvm::FailureOr<mlir::Value> asCondition(LegalizeContext &c, LegalValue &value);

/// Scan.cpp.
llvm::LogicalResult legalizeScan(LegalizeContext &c);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_LOOPS_H
