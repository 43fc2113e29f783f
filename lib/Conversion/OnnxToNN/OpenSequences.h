// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Sequences of which only the run tells how many elements they have. One is two tensors: the contents of all
/// elements one behind the other, and their shapes, a row for each; a row is as long as the highest rank,
/// with -1 behind the dimensions that an element has. What changes a sequence slices and joins these.

#ifndef LATHE_CONVERSION_ONNXTONN_OPENSEQUENCES_H
#define LATHE_CONVERSION_ONNXTONN_OPENSEQUENCES_H

#include "Legalizer.h"

namespace lathe::onnx {

/// What an open sequence is made for: the elements' type, and the highest rank of them.
struct ElementForm {
  mlir::Type type;
  int64_t rank = 0;
  bool isString = false;
};

/// The form of the elements that a sequence has now; the type is null if it has none. Nothing, after an
/// error, if they are not all tensors of one type.
std::optional<ElementForm> getElementForm(LegalizeContext &c, const LegalValue &sequence);

/// The sequence as an open one whose rows of shapes are `form.rank` long, which must be enough.
LegalValue makeOpen(LegalizeContext &c, const LegalValue &sequence, const ElementForm &form);

/// How many elements there are.
Size getLength(LegalizeContext &c, const LegalValue &sequence);

/// A position that may count from the end, as one of `count`; the run fails if it is none.
Size resolvePosition(LegalizeContext &c, Size position, Size count);

/// Operations on open sequences. Positions have been resolved.
LegalValue insertElement(LegalizeContext &c, const LegalValue &sequence, Size position,
                         const LegalValue &element);
LegalValue eraseElement(LegalizeContext &c, const LegalValue &sequence, Size position);
/// `rank`: that of the element, which the run checks.
LegalValue getElement(LegalizeContext &c, const LegalValue &sequence, Size position, int64_t rank);
/// All elements joined along `axis`, a new one if `isNew`; null after an error.
mlir::Value concatElements(LegalizeContext &c, const LegalValue &sequence, int64_t axis, bool isNew);

/// `x` in parts of `size` along `axis`, the last of which may be smaller; without the dimension, for `size`
/// 1, if not `keepDim`.
LegalValue splitEvenly(LegalizeContext &c, mlir::Value x, int64_t axis, Size size, bool keepDim);
/// `x` in parts along dimension 0 whose sizes are `sizes`, a list.
LegalValue splitAtFront(LegalizeContext &c, mlir::Value x, mlir::Value sizes);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_OPENSEQUENCES_H
