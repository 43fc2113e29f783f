// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What convolutions and pools share: their windows, and channels that move to the last dimension.

#ifndef LATHE_CONVERSION_ONNXTONN_WINDOWS_H
#define LATHE_CONVERSION_ONNXTONN_WINDOWS_H

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNSpatial.h"

namespace lathe::onnx {

/// The largest window, stride, dilation and pad: products of them stay far from overflow.
inline constexpr int64_t kMaxWindow = int64_t(1) << 24;

/// A list of `count` integers, each at least `min`; `fallback` repeated if the attribute is not there.
llvm::SmallVector<int64_t> getWindowAttr(LegalizeContext &c, llvm::StringRef name, size_t count,
                                         int64_t fallback, int64_t min);

/// The windows over all spatial dimensions of an operand.
struct Windows {
  Sizes window;
  llvm::SmallVector<int64_t> strides, dilations;
  /// What is added before and after each dimension, and the sizes of the result.
  Sizes before, after, outputs;
};

/// Reads strides, dilations, pads, auto_pad and ceil_mode for an operand of these spatial sizes. Errors are
/// sticky.
Windows getWindows(LegalizeContext &c, llvm::ArrayRef<Size> spatial, llvm::ArrayRef<Size> window);

/// From the first element of a window along spatial dimension `i` to its last one, both counted.
Size getReach(LegalizeContext &c, const Windows &w, size_t i);

/// How `total` is split at the two ends: an odd one goes to the end, or to the start.
std::pair<Size, Size> splitPads(LegalizeContext &c, Size total, bool oddToEnd);

/// auto_pad, which must be one of the four names.
llvm::StringRef getAutoPad(LegalizeContext &c);

/// [N, C, spatial...] to [N, spatial..., C], and back.
mlir::Value toChannelsLast(LegalizeContext &c, mlir::Value x);
mlir::Value toChannelsSecond(LegalizeContext &c, mlir::Value x);

/// The rank of operand 0, which has at least one spatial dimension; or a sticky error.
bool checkSpatial(LegalizeContext &c);

/// A border around dimensions of `x`; `value` (of rank 0) is for constant ones.
mlir::Value buildPad(LegalizeContext &c, nn::PadKind kind, mlir::Value x, mlir::Value value,
                     llvm::ArrayRef<Size> before, llvm::ArrayRef<Size> after);

void registerPooling(LegalizerRegistry &registry);
void registerPad(LegalizerRegistry &registry);
void registerResize(LegalizerRegistry &registry);
void registerSampling(LegalizerRegistry &registry);

/// Splits sizes into the values and the numbers that ops with mixed operands take.
struct MixedSizes {
  explicit MixedSizes(llvm::ArrayRef<Size> sizes);
  llvm::SmallVector<mlir::Value> values;
  llvm::SmallVector<int64_t> numbers;
};

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_WINDOWS_H
