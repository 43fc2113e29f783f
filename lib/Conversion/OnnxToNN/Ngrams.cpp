// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// TfIdfVectorizer. Tokens become numbers 0, 1, ...; an n-gram is found token by token: its beginning is a
/// number, too, and that together with the next token is searched in a list. What is found is counted by
/// scattering ones.

#include "Learned.h"
#include "Strings.h"

#include "lathe/Dialect/NN/IR/NNLearned.h"
#include "lathe/Dialect/NN/IR/NNScatter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include <map>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;

/// The longest n-grams, and the most skips: each combination is some ops.
static constexpr int64_t kMaxLength = 16;
static constexpr int64_t kMaxSkips = 64;

namespace {
class NgramCounter {
public:
  explicit NgramCounter(LegalizeContext &c) : c(c) {}
  LogicalResult legalize();

private:
  /// The tokens of all n-grams as numbers, and those of operand 0.
  LogicalResult readPool();
  LogicalResult readLengths();
  /// For each place where n-grams of this length may begin, the column that counts the one there, or
  /// `columns`.
  Value findNgrams(int64_t length, int64_t stride);
  /// Where `x` stands among `keys`, which are sorted.
  Value find(Value x, ArrayRef<int64_t> keys) {
    return nn::createInferred<nn::FindOp>(c.b, c.loc, c.b.getI64Type(), x,
                                          buildTable(c, keys, c.b.getI64Type()));
  }
  /// One number for both of two numbers; `next` is a token.
  Value join(Value first, Value next) {
    return c.add(c.mul(first, c.scalar(double(tokens + 1), first)), next);
  }

  LegalizeContext &c;
  /// How many tokens differ; what is none of them is token `tokens`.
  int64_t tokens = 0;
  SmallVector<int64_t> pool, starts, indexes;
  int64_t shortest = 1, longest = 1, skips = 0, columns = 0;
  Value ids;
};
} // namespace

LogicalResult NgramCounter::readPool() {
  LegalValue &x = c.legal(0);
  std::optional<SmallVector<int64_t>> integers;
  if (std::optional<std::vector<std::string>> words = c.stringsAttr("pool_strings")) {
    if (!x.isString) {
      return c.error("E0306", "pool_strings is there, but X holds no strings", "pool_strings");
    }
    integers = numberTexts(c, *words);
  } else {
    integers = c.intsAttr("pool_int64s");
    if (!integers) {
      return c.error("E0303", "there is neither pool_int64s nor pool_strings", "pool_int64s");
    }
    if (!x.isNumeric() || !isa<IntegerType>(c.elementType(0))) {
      return c.error("E0306", "pool_int64s is there, but X holds no integers", "pool_int64s");
    }
  }
  SmallVector<int64_t> sorted = *integers;
  llvm::sort(sorted);
  sorted.erase(llvm::unique(sorted), sorted.end());
  for (int64_t token : *integers) {
    pool.push_back(llvm::lower_bound(sorted, token) - sorted.begin());
  }
  tokens = sorted.size();
  ids = find(x.isString ? x.tensor : c.cast(c.operand(0), c.b.getI64Type()), sorted);
  return success();
}

LogicalResult NgramCounter::readLengths() {
  starts = c.intsAttr("ngram_counts").value_or(SmallVector<int64_t>());
  indexes = c.intsAttr("ngram_indexes").value_or(SmallVector<int64_t>());
  shortest = c.intAttr("min_gram_length", 0);
  longest = c.intAttr("max_gram_length", 0);
  skips = c.intAttr("max_skip_count", -1);
  if (shortest < 1 || longest < shortest || skips < 0) {
    return c.error("E0304",
                   llvm::formatv("min_gram_length, max_gram_length and max_skip_count are {0}, {1} and {2}",
                                 shortest, longest, skips)
                       .str(),
                   "min_gram_length");
  }
  if (longest > kMaxLength || skips > kMaxSkips) {
    return c.unsupported(
        llvm::formatv("n-grams of up to {0} tokens and {1} skips; the limits are {2} and {3}", longest, skips,
                      kMaxLength, kMaxSkips));
  }
  int64_t size = pool.size(), grams = 0;
  for (auto [i, start] : llvm::enumerate(starts)) {
    int64_t end = i + 1 < starts.size() ? starts[i + 1] : size, length = i + 1;
    if (start < 0 || end < start || end > size || (end - start) % length != 0) {
      return c.error("E0304",
                     llvm::formatv("ngram_counts places {0}-grams at {1} to {2} in a pool of {3}", length,
                                   start, end, size)
                         .str(),
                     "ngram_counts");
    }
    grams += (end - start) / length;
  }
  if (grams != int64_t(indexes.size()) || grams == 0) {
    return c.error(
        "E0304", llvm::formatv("ngram_indexes has {0} elements for {1} n-grams", indexes.size(), grams).str(),
        "ngram_indexes");
  }
  for (int64_t index : indexes) {
    if (index < 0 || index >= nn::kMaxDim) {
      return c.error("E0304", llvm::formatv("ngram_indexes holds {0}", index).str(), "ngram_indexes");
    }
    columns = std::max(columns, index + 1);
  }
  return success();
}

Value NgramCounter::findNgrams(int64_t length, int64_t stride) {
  // The first of these n-grams, counted in the pool and in the list of columns.
  int64_t begin = starts[length - 1], end = length < int64_t(starts.size()) ? starts[length] : pool.size();
  int64_t gram = 0;
  for (int64_t shorter = 1; shorter < length; ++shorter) {
    gram += (starts[shorter] - starts[shorter - 1]) / shorter;
  }
  // The numbers of the beginnings: of one token, it itself.
  SmallVector<int64_t> beginnings;
  for (int64_t at = begin; at < end; at += length) {
    beginnings.push_back(pool[at]);
  }
  Size zero = c.b.getIndexAttr(0), size = c.shapeOf(ids)[1];
  Size windows = c.sizes.max(c.sizes.sub(size, c.b.getIndexAttr((length - 1) * stride)), zero);
  Value found = c.slice(ids, 1, zero, windows);
  int64_t numbers = tokens;
  for (int64_t k = 1; k < length; ++k) {
    std::map<int64_t, int64_t> next;
    for (auto [i, beginning] : llvm::enumerate(beginnings)) {
      beginning = beginning * (tokens + 1) + pool[begin + int64_t(i) * length + k];
      next[beginning] = 0;
    }
    SmallVector<int64_t> sorted;
    for (auto &[key, number] : next) {
      number = sorted.size();
      sorted.push_back(key);
    }
    for (int64_t &beginning : beginnings) {
      beginning = next[beginning];
    }
    numbers = sorted.size();
    Size first = c.sizes.min(c.b.getIndexAttr(k * stride), c.sizes.sub(size, windows));
    found = find(join(found, c.slice(ids, 1, first, windows)), sorted);
  }
  SmallVector<int64_t> table(numbers + 1, columns);
  for (auto [i, beginning] : llvm::enumerate(beginnings)) {
    table[beginning] = indexes[gram + i];
  }
  return nn::buildGather(c.b, c.loc, buildTable(c, ArrayRef<int64_t>(table), c.b.getI64Type()), found,
                         /*axis=*/0);
}

LogicalResult NgramCounter::legalize() {
  StringRef mode = c.stringAttr("mode").value_or("");
  ArrayRef<float> weights = c.floatsAttr("weights").value_or(ArrayRef<float>());
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF") {
    return c.error("E0304", "mode is \"" + mode + "\", must be TF, IDF or TFIDF", "mode");
  }
  if (failed(readPool()) || failed(readLengths())) {
    return failure();
  }
  if (!weights.empty() && weights.size() != indexes.size()) {
    return c.error(
        "E0304", llvm::formatv("there are {0} weights for {1} n-grams", weights.size(), indexes.size()).str(),
        "weights");
  }
  int64_t rank = nn::getRank(ids);
  if (rank != 1 && rank != 2) {
    return c.error("E0307", llvm::formatv("X has {0} dimensions, must have 1 or 2", rank).str());
  }
  if (rank == 1) {
    ids = c.reshape(ids, {c.one(), c.shapeOf(ids)[0]});
  }
  SmallVector<Value> hits;
  for (int64_t length = shortest; length <= std::min<int64_t>(longest, starts.size()); ++length) {
    int64_t end = length < int64_t(starts.size()) ? starts[length] : int64_t(pool.size());
    for (int64_t skip = 0; starts[length - 1] < end && skip <= (length == 1 ? 0 : skips); ++skip) {
      hits.push_back(findNgrams(length, skip + 1));
    }
  }
  Size rows = c.shapeOf(ids)[0], width = c.b.getIndexAttr(columns);
  Value like = nn::buildScalar(c.b, c.loc, c.b.getF32Type(), 0);
  Value counts = c.expand(like, {rows, c.b.getIndexAttr(columns + 1)});
  if (!hits.empty()) {
    Value all = hits.size() == 1 ? hits.front() : nn::buildConcat(c.b, c.loc, hits, /*axis=*/1);
    Value ones = c.expand(c.scalar(1, like), c.shapeOf(all));
    counts = nn::createInferred<nn::ScatterElementsOp>(c.b, c.loc, c.b.getF32Type(), nn::ScatterKind::Add,
                                                       counts, all, ones, /*axis=*/1);
  }
  Value result = c.slice(counts, 1, c.b.getIndexAttr(0), width);
  if (mode == "IDF") {
    result = c.binary(BinaryKind::Min, result, c.scalar(1, result));
  }
  if (mode != "TF" && !weights.empty()) {
    SmallVector<float> perColumn(columns, 1);
    for (auto [index, weight] : llvm::zip_equal(indexes, weights)) {
      perColumn[index] = weight;
    }
    result = c.mul(result, buildTable(c, ArrayRef<float>(perColumn), {columns}, c.b.getF32Type()));
  }
  return c.set(rank == 1 ? c.reshape(result, {width}) : result);
}

void lathe::onnx::registerNgrams(LegalizerRegistry &registry) {
  registry.addForAny("TfIdfVectorizer", 1, 1, [](LegalizeContext &c) { return NgramCounter(c).legalize(); });
}
