// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the operators of ai.onnx.ml share: rows of features, tables of numbers, class labels, and the
/// transforms of scores.

#ifndef LATHE_CONVERSION_ONNXTONN_LEARNED_H
#define LATHE_CONVERSION_ONNXTONN_LEARNED_H

#include "Legalizer.h"

namespace lathe::onnx {

/// What becomes of scores at the end.
enum class ScoreTransform { None, Logistic, Softmax, SoftmaxZero, Probit };

/// The transform that attribute `post_transform` names; reports an unknown one.
std::optional<ScoreTransform> getScoreTransform(LegalizeContext &c);

/// `scores` (one row for each row of features) after the transform.
mlir::Value transformScores(LegalizeContext &c, ScoreTransform transform, mlir::Value scores);

/// Both columns of a classifier of two classes that has computed one score [N, 1]; without a transform the
/// first is the complement to 1, or the negative.
mlir::Value transformBinaryScore(LegalizeContext &c, ScoreTransform transform, mlir::Value score,
                                 bool isProbability);

/// Operand 0 as rows of floats: of f32, or of f64 where `keepDouble` and it is so. Rank 1 is one row.
mlir::Value getFeatureRows(LegalizeContext &c, bool keepDouble = false);

/// A constant of the numbers, a list or of `shape`, rounded to `elementType`.
mlir::Value buildTable(LegalizeContext &c, llvm::ArrayRef<float> numbers, llvm::ArrayRef<int64_t> shape,
                       mlir::Type elementType);
mlir::Value buildTable(LegalizeContext &c, llvm::ArrayRef<int64_t> numbers, mlir::Type elementType);

/// A tensor attribute of numbers, in whatever form it holds them; null for one of another type.
mlir::DenseElementsAttr toDense(mlir::ElementsAttr attribute);

/// The classes of a classifier: integers or strings.
struct ClassLabels {
  llvm::SmallVector<int64_t> integers;
  std::vector<std::string> words;

  int64_t size() const { return words.empty() ? integers.size() : words.size(); }
};

/// The classes that attributes `classlabels_strings` and `integers` give; reports if not one of them is
/// there.
std::optional<ClassLabels> getClassLabels(LegalizeContext &c, llvm::StringRef integers);

/// Result 0 is the label of the class at each position (i64) of `classes`.
llvm::LogicalResult setLabels(LegalizeContext &c, const ClassLabels &labels, mlir::Value classes);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_LEARNED_H
