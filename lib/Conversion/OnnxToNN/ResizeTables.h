// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a resized dimension takes from where.

#ifndef LATHE_CONVERSION_ONNXTONN_RESIZETABLES_H
#define LATHE_CONVERSION_ONNXTONN_RESIZETABLES_H

#include "Windows.h"

namespace lathe::onnx {

/// One resized dimension, the `number`th that the model names.
struct ResizedAxis {
  int64_t dim, number;
  Size from, to;
  /// The scale, if the model gives one: a number, or an f32 tensor of rank 0; else it is `scaleTo /
  /// scaleFrom`.
  std::optional<float> scale;
  mlir::Value scaleData;
  Size scaleFrom, scaleTo;
};

struct ResizeOptions {
  nn::SampleKind kind = nn::SampleKind::Nearest;
  llvm::StringRef coordinates = "half_pixel", nearest = "round_prefer_floor";
  double cubic = -0.75, extrapolation = 0;
  bool antialias = false, excludeOutside = false;
};

struct ResizeTable {
  /// [size, taps] of i64, and of the weights' type; these are null for `nearest`.
  mlir::Value positions, weights;
  /// A bool for each position of the result that lies outside; null if none can.
  mlir::Value outside;
};

/// The table of one dimension with weights of type `real`; the region's ends are for tf_crop_and_resize.
ResizeTable buildResizeTable(LegalizeContext &c, const ResizeOptions &options, const ResizedAxis &axis,
                             mlir::Type real, mlir::Value roiStart, mlir::Value roiEnd);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_RESIZETABLES_H
