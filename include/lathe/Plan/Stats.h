// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What `lathe calibrate` has measured of a model that ran on some inputs.
///
/// A file of statistics is a .npz archive. Its array `lathe` holds JSON, one byte an element: the version,
/// the model's fingerprint, the number of runs, the tensors with the nodes and weights that they are
/// multiplied with, the layers with the cosines between what they get and what they pass on, and, if it was
/// asked for, how far results move by bf16. Of tensor number I, whose last dimension has K channels, there
/// are
///
/// - `low.I`, `high.I`: f32 [K], the least and the greatest element of each channel;
/// - `squares.I`: f64 [K], the sum of the squares of each channel;
/// - `histogram.I`: i64 [bins], how many elements lie in bins of equal width from -2^E to 2^E, E of the JSON;
/// - `gram.I`, if it was asked for: f32 [K, K], the sum over all rows x of x^T x.

#ifndef LATHE_PLAN_STATS_H
#define LATHE_PLAN_STATS_H

#include "lathe/Npz/Npz.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lathe {

/// The version of statistics that this release reads.
inline constexpr int64_t statsVersion = 1;

/// How the codes of a tensor are spread over its elements.
struct RangeMethod {
  /// From the least to the greatest element; leaving out as many on either side; with the least mean square
  /// of what rounding to 256 codes changes.
  enum Kind { MinMax, Percentile, MSE };
  Kind kind = MinMax;
  /// Of Percentile: so many of 100 elements lie below the upper end, and as many above the lower one.
  double percentile = 0;

  /// "minmax", "percentile:99.99" or "mse".
  static std::optional<RangeMethod> parse(llvm::StringRef text);
};

/// Of one tensor that products read.
struct TensorStats {
  /// The products that read it: their nodes, and the weights of the file that it is multiplied with.
  std::vector<std::string> nodes, weights;
  /// How far results move if its products alone are computed in bf16, as of RoundingErrors; none: not
  /// measured.
  std::optional<double> roundingError;
  /// Its elements but for the last dimension, over all runs.
  int64_t rows = 0;
  /// The elements that were not finite, which nothing else counts.
  int64_t notFinite = 0;
  /// By channel: the place in the last dimension.
  std::vector<float> low, high;
  std::vector<double> squares;
  /// From -2^exponent to 2^exponent.
  int exponent = 0;
  std::vector<int64_t> histogram;

  int64_t getChannels() const { return low.size(); }
  /// The largest magnitude of a channel.
  float getLargest(size_t channel) const { return std::max(-low[channel], high[channel]); }
  /// The L2 norm of a channel over all rows.
  double getNorm(size_t channel) const;
  /// Two numbers in order, between which elements are to be spread; they have 0 between them.
  std::pair<float, float> findRange(RangeMethod method) const;
};

/// Of one layer: the mean over rows of the cosine between what it, or a part of it, gets and passes on.
struct LayerStats {
  int64_t layer = 0;
  std::vector<std::string> nodes;
  std::optional<double> all, attention, feedForward;
};

/// How far results move by bf16, if it was measured: the largest difference over the largest magnitude of an
/// output, in the median of some runs.
struct RoundingErrors {
  /// If all is computed in bf16 that can be, and all but the products with weights.
  double all = 0, rest = 0;
};

class Stats {
public:
  /// Every mistake is a ModelError.
  static llvm::Expected<Stats> read(llvm::StringRef path);
  /// The hash of a file of statistics, which plans name: 16 hexadecimal digits.
  static llvm::Expected<std::string> hashFile(llvm::StringRef path);

  std::string file;
  /// The fingerprint of the model.
  std::string model;
  int64_t runs = 0;
  std::vector<TensorStats> tensors;
  std::vector<LayerStats> layers;
  std::optional<RoundingErrors> roundingErrors;

  /// The tensor that is multiplied with these weights of the file; where several are, the one of which one of
  /// the nodes reads. Null if there is none.
  const TensorStats *find(llvm::ArrayRef<std::string> weights, llvm::ArrayRef<std::string> nodes) const;
  /// Of a whole layer, counted from 0, if it was measured.
  std::optional<double> findCosine(int64_t layer) const;
  bool hasGram(const TensorStats &tensor) const;
  /// [K, K], row-major; only if there is one.
  llvm::Expected<std::vector<float>> readGram(const TensorStats &tensor) const;

private:
  explicit Stats(NpzFile archive) : archive(std::move(archive)) {}
  llvm::Error readIndex();
  llvm::Error readTensor(TensorStats &tensor, size_t number);
  template <typename T>
  llvm::Error readArray(const llvm::Twine &name, uint32_t dtype, llvm::ArrayRef<int64_t> dims,
                        std::vector<T> &to) const;

  NpzFile archive;
};

} // namespace lathe

#endif // LATHE_PLAN_STATS_H
