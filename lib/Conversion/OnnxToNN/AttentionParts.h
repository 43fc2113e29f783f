// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the attention operators of all domains are made of.

#ifndef LATHE_CONVERSION_ONNXTONN_ATTENTIONPARTS_H
#define LATHE_CONVERSION_ONNXTONN_ATTENTIONPARTS_H

#include "Legalizer.h"

namespace lathe::onnx {

/// An attention to be built. `q`, `k` and `v` are [batch, sequence, heads, features].
struct AttentionParts {
  mlir::Value q, k, v;
  /// Which keys a query sees (bools) and what is added to the logits; either broadcasts to
  /// [batch, heads, queries, keys] or is null.
  mlir::Value keep, bias;
  /// Nothing: one over the root of the number of features.
  std::optional<double> scale;
  double softcap = 0;
  /// Query i sees keys 0 to i + keys - queries.
  bool causal = false;
};

/// An operand [batch, sequence, heads * features] with its heads in a dimension of their own. Null after an
/// error.
mlir::Value splitHeads(LegalizeContext &c, mlir::Value x, int64_t heads, llvm::StringRef attribute);

/// [batch, sequence, heads, features] as [batch, sequence, heads * features].
mlir::Value joinHeads(LegalizeContext &c, mlir::Value x);

/// [batch, sequence, heads, features] from and to [batch, heads, sequence, features].
mlir::Value swapHeads(LegalizeContext &c, mlir::Value x);

/// Whether both hold; either may be null, which is true.
mlir::Value both(LegalizeContext &c, mlir::Value lhs, mlir::Value rhs);

/// 0, 1, 2, ... as [1, ..., size, ..., 1] of rank 4 with `size` in dimension `dim`, i64.
mlir::Value countAlong(LegalizeContext &c, Size size, int64_t dim);

/// The positions of the queries, [1 or batch, 1, queries, 1]: `offset` is a scalar or [batch], i64.
mlir::Value queryPositions(LegalizeContext &c, Size queries, mlir::Value offset);

/// The keys that `positions` of queries see: from `position - left` (all if negative) to `position + right`
/// (all if negative).
mlir::Value keysWithin(LegalizeContext &c, mlir::Value positions, Size keys, int64_t left, int64_t right);

/// `mask` with its last dimension lengthened to `keys` by what hides a key.
mlir::Value padKeys(LegalizeContext &c, mlir::Value mask, Size keys);

/// One more key, behind the others, that every query sees: its logit is `sink`, its value 0. There must be a
/// `keep`.
void addSink(LegalizeContext &c, AttentionParts &parts, mlir::Value sink);

/// The attention, [batch, queries, heads, features of v]. A query that sees no key gives 0.
mlir::Value buildAttention(LegalizeContext &c, AttentionParts parts);

/// What an operator tells of the logits, [batch, heads, queries, keys].
enum class LogitStage { Scaled = 0, Capped = 1, Masked = 2, Softmax = 3 };
mlir::Value buildLogits(LegalizeContext &c, AttentionParts parts, LogitStage stage);

/// `x` [batch, sequence, heads, features] rotated: `cos` and `sin` are [1 or batch, sequence, pairs]. The
/// first 2 * pairs features are turned, neighbours with each other if `interleaved`, else those of the
/// halves.
mlir::Value rotate(LegalizeContext &c, mlir::Value x, mlir::Value cos, mlir::Value sin, bool interleaved);

/// The same after checks: `dim` features are turned, all of them if it is 0, and the caches must be for as
/// many. Null after an error.
mlir::Value rotateFeatures(LegalizeContext &c, mlir::Value x, mlir::Value cos, mlir::Value sin, int64_t dim,
                           bool interleaved);

void registerPagedAttention(LegalizerRegistry &registry);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_ATTENTIONPARTS_H
