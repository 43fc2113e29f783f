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
  llvm::SmallVector<LegalValue> carried, scans;
};

/// Builds an `nn.loop` of at most `trip` iterations, which starts only if `condition` holds.
///
/// How a value is carried is found by trying: with the shape it has at first and, if it is a few integers
/// that are known, as index values; where an iteration gives something else, the body is built again with
/// less assumed.
llvm::FailureOr<LoopResults> buildLoop(LegalizeContext &c, Size trip, mlir::Value condition,
                                       llvm::ArrayRef<LegalValue> inits, IterationFn body);

/// Whether a loop has to do with sequences or optionals. Where it is known how often it runs, its iterations
/// may stand one behind the other.
bool needsUnrolling(llvm::ArrayRef<LegalValue> inits, mlir::Region &body);

/// A `Loop` as its iterations one behind the other; whether that went well. Nothing if it is not known how
/// often it runs, or that is too often.
std::optional<bool> unrollLoop(LegalizeContext &c, Size trip, llvm::ArrayRef<LegalValue> inits,
                               mlir::Region &body);

/// What one iteration of a `Loop` yields: whether to go on, `carried` values, and scan outputs.
llvm::FailureOr<Iteration> convertIteration(LegalizeContext &c, mlir::Region &body, size_t carried,
                                            Size iteration, llvm::ArrayRef<LegalValue> values);

/// A `Loop` that carries sequences, as open ones.
llvm::LogicalResult legalizeOpenLoop(LegalizeContext &c, Size trip, mlir::Value condition,
                                     llvm::ArrayRef<LegalValue> inits, mlir::Region &body);

/// A `SequenceMap` of which an input is a sequence of open length, as a loop that appends.
llvm::LogicalResult legalizeOpenMap(LegalizeContext &c, mlir::Region &body);

/// An operand or yielded value of one element as a condition.
llvm::FailureOr<mlir::Value> asCondition(LegalizeContext &c, LegalValue &value);

/// Scan.cpp.
llvm::LogicalResult legalizeScan(LegalizeContext &c);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_LOOPS_H
