// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Between which numbers the elements of a tensor are spread that is stored in 256 codes.

#include "lathe/Plan/Stats.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace llvm;
using namespace lathe;

std::optional<RangeMethod> RangeMethod::parse(StringRef text) {
  if (text == "minmax") {
    return RangeMethod{MinMax};
  }
  if (text == "mse") {
    return RangeMethod{MSE};
  }
  double percentile = 0;
  if (!text.consume_front("percentile:") || text.getAsDouble(percentile) ||
      !(percentile > 50 && percentile <= 100)) {
    return std::nullopt;
  }
  return RangeMethod{Percentile, percentile};
}

double TensorStats::getNorm(size_t channel) const { return std::sqrt(squares[channel]); }

namespace {

/// The elements of a tensor as bins of equal width, each taken for its middle.
struct Bins {
  explicit Bins(const TensorStats &tensor)
      : counts(tensor.histogram), width(std::ldexp(2.0, tensor.exponent) / double(counts.size())),
        first(-std::ldexp(1.0, tensor.exponent)) {}

  double lowerEnd(size_t bin) const { return first + double(bin) * width; }

  /// The sum of the squares of what changes if elements get the nearest of 256 codes between two numbers.
  double measureError(double low, double high) const {
    double scale = (high - low) / 255, zero = std::nearbyint(-low / scale), error = 0;
    for (auto [bin, count] : enumerate(counts)) {
      if (count != 0) {
        double value = lowerEnd(bin) + width / 2;
        double code = std::clamp(std::nearbyint(value / scale) + zero, 0.0, 255.0);
        double difference = value - (code - zero) * scale;
        error += double(count) * difference * difference;
      }
    }
    return error;
  }

  ArrayRef<int64_t> counts;
  double width, first;
};

} // namespace

/// Leaves out the share 1 - percentile / 100 of all elements on either side.
static std::pair<double, double> findPercentiles(const Bins &bins, double percentile) {
  int64_t all = 0;
  for (int64_t count : bins.counts) {
    all += count;
  }
  auto least = int64_t(std::floor(double(all) * (1 - percentile / 100)));
  size_t low = 0, high = bins.counts.size();
  for (int64_t below = 0; low < high && below + bins.counts[low] <= least; ++low) {
    below += bins.counts[low];
  }
  for (int64_t above = 0; high > low && above + bins.counts[high - 1] <= least; --high) {
    above += bins.counts[high - 1];
  }
  return {bins.lowerEnd(low), bins.lowerEnd(high)};
}

/// Moves the ends inwards, one after the other, to where the error is least.
static std::pair<double, double> findLeastError(const Bins &bins, double low, double high) {
  constexpr int kSteps = 64;
  for (int round = 0; round < 2; ++round) {
    for (double *end : {&high, &low}) {
      double whole = *end, best = whole, least = bins.measureError(low, high);
      for (int step = 1; step < kSteps && whole != 0; ++step) {
        *end = whole * step / kSteps;
        double error = bins.measureError(low, high);
        if (error < least) {
          least = error;
          best = *end;
        }
      }
      *end = best;
    }
  }
  return {low, high};
}

std::pair<float, float> TensorStats::findRange(RangeMethod method) const {
  double least = 0, greatest = 0;
  for (auto [channelLow, channelHigh] : zip_equal(low, high)) {
    least = std::min<double>(least, channelLow);
    greatest = std::max<double>(greatest, channelHigh);
  }
  if (method.kind == RangeMethod::MinMax || least == greatest) {
    return {float(least), float(greatest)};
  }
  Bins bins(*this);
  auto [from, to] = method.kind == RangeMethod::MSE ? findLeastError(bins, least, greatest)
                                                    : findPercentiles(bins, method.percentile);
  // A bin may reach beyond the elements that are in it; and all may be on one side of 0.
  from = std::clamp(from, least, 0.0);
  to = std::clamp(to, 0.0, greatest);
  return from == to ? std::pair(float(least), float(greatest)) : std::pair(float(from), float(to));
}
