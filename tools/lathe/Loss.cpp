// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Loss.h"

#include "Numbers.h"
#include "Session.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include <cmath>

using namespace llvm;
using namespace lathe;

static std::vector<double> numbersOf(const ArrayView &array) {
  std::vector<double> numbers;
  visitNumbers(array.dtype, array.bytes, [&](double value) { numbers.push_back(value); });
  return numbers;
}

/// As `lathe verify` does: what is equal or both NaN does not differ, and the cosine is of what is finite.
static OutputLoss compare(const ArrayView &ours, const ArrayView &reference) {
  OutputLoss loss;
  loss.output = ours.name;
  if (ours.dims != reference.dims) {
    loss.maxAbs = loss.maxRelative = INFINITY;
    return loss;
  }
  std::vector<double> a = numbersOf(ours), b = numbersOf(reference);
  double product = 0, normA = 0, normB = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) {
      double difference = std::abs(a[i] - b[i]);
      loss.maxAbs = std::max(loss.maxAbs, std::isnan(difference) ? INFINITY : difference);
    }
    if (std::isfinite(a[i]) && std::isfinite(b[i])) {
      product += a[i] * b[i];
      normA += a[i] * a[i];
      normB += b[i] * b[i];
      largest = std::max(largest, std::abs(b[i]));
    }
  }
  double norms = std::sqrt(normA) * std::sqrt(normB);
  loss.maxRelative = loss.maxAbs == 0 ? 0 : loss.maxAbs / std::max(largest, 1e-30);
  loss.cosine = norms > 0 ? product / norms : 1;
  return loss;
}

static Expected<std::unique_ptr<Session>> runOn(StringRef artifact, StringRef inputs) {
  SessionOptions options;
  options.model = artifact.str();
  options.inputs = inputs.str();
  Expected<std::unique_ptr<Session>> session = Session::open(options);
  if (session) {
    if (Error error = (*session)->run()) {
      return error;
    }
  }
  return session;
}

Expected<std::vector<OutputLoss>> lathe::measureLoss(StringRef artifact, StringRef plain, StringRef inputs) {
  Expected<std::unique_ptr<Session>> ours = runOn(artifact, inputs);
  if (!ours) {
    return ours.takeError();
  }
  Expected<std::unique_ptr<Session>> reference = runOn(plain, inputs);
  if (!reference) {
    return reference.takeError();
  }
  std::vector<OutputLoss> losses;
  for (size_t i = 0; i < (*ours)->info().output_count; ++i) {
    Expected<ArrayView> a = (*ours)->output(i), b = (*reference)->output(i);
    if (!a || !b) {
      return joinErrors(a ? Error::success() : a.takeError(), b ? Error::success() : b.takeError());
    }
    if (a->dtype != LATHE_STRING) {
      losses.push_back(compare(*a, *b));
    }
  }
  return losses;
}
