// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Einsum: products of two operands at a time, each one matrix product.

#include "Products.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

namespace {
/// One operand, and the letter of each of its dimensions. Those of an ellipsis have control characters.
struct Term {
  Value tensor;
  std::string letters;
};

/// An equation without blanks, taken apart.
struct Equation {
  SmallVector<StringRef> inputs;
  StringRef output;
  bool hasOutput = false;
};
} // namespace

static constexpr StringLiteral kEllipsis = "...";
/// The most dimensions an ellipsis may stand for.
static constexpr int64_t kMaxEllipsis = 31;

/// Brings the dimensions of `term` into the order of `letters`, which are its own.
static void arrange(LegalizeContext &c, Term &term, StringRef letters) {
  SmallVector<int64_t> perm =
      llvm::map_to_vector(letters, [&](char letter) { return int64_t(term.letters.find(letter)); });
  term.tensor = c.transpose(term.tensor, perm);
  term.letters = letters.str();
}

/// Sums over the dimensions whose letters stand nowhere else.
static void sumOut(LegalizeContext &c, Term &term, StringRef keep) {
  SmallVector<int64_t> axes;
  std::string left;
  for (auto [axis, letter] : llvm::enumerate(term.letters)) {
    if (keep.contains(letter)) {
      left += letter;
    } else {
      axes.push_back(axis);
    }
  }
  if (!axes.empty()) {
    term.tensor = c.reduce(nn::ReduceKind::Sum, term.tensor, axes, /*keepDims=*/false);
    term.letters = left;
  }
}

static std::string filter(StringRef letters, llvm::function_ref<bool(char)> keep) {
  std::string result;
  llvm::copy_if(letters, std::back_inserter(result), keep);
  return result;
}

/// The product of two terms over the letters that `output` lacks, as one matrix product.
static Term contract(LegalizeContext &c, Term lhs, Term rhs, StringRef output) {
  sumOut(c, lhs, rhs.letters + output.str());
  sumOut(c, rhs, lhs.letters + output.str());
  StringRef left = lhs.letters, right = rhs.letters;
  std::string batch = filter(left, [&](char l) { return right.contains(l) && output.contains(l); });
  std::string inner = filter(left, [&](char l) { return right.contains(l) && !output.contains(l); });
  std::string rows = filter(left, [&](char l) { return !right.contains(l); });
  std::string columns = filter(right, [&](char l) { return !left.contains(l); });
  arrange(c, lhs, batch + rows + inner);
  arrange(c, rhs, batch + inner + columns);
  Sizes lhsDims = c.shapeOf(lhs.tensor), rhsDims = c.shapeOf(rhs.tensor);
  ArrayRef<Size> l = lhsDims, r = rhsDims;
  auto matrix = [&](ArrayRef<Size> dims, size_t first, size_t second) {
    Sizes result(dims.take_front(batch.size()));
    result.push_back(c.sizes.product(dims.slice(batch.size(), first)));
    result.push_back(c.sizes.product(dims.slice(batch.size() + first, second)));
    return result;
  };
  Value product = matmul(c, c.reshape(lhs.tensor, matrix(l, rows.size(), inner.size())),
                         c.reshape(rhs.tensor, matrix(r, inner.size(), columns.size())));
  if (c.hasFailed()) {
    return lhs;
  }
  Sizes dims(l.take_front(batch.size() + rows.size()));
  llvm::append_range(dims, r.drop_front(batch.size() + inner.size()));
  return {c.reshape(product, dims), batch + rows + columns};
}

/// The letters of the last `count` dimensions that ellipses stand for: the last one has the same everywhere.
static std::string ellipsisLetters(int64_t count) {
  std::string letters;
  for (int64_t i = count; i > 0; --i) {
    letters += char(i);
  }
  return letters;
}

/// How many dimensions the ellipsis of `letters` stands for in an operand of rank `rank`; nothing after an
/// error.
static std::optional<int64_t> countEllipsis(LegalizeContext &c, StringRef letters, unsigned operand,
                                            int64_t rank) {
  auto [before, after] = letters.split(kEllipsis);
  int64_t named = int64_t(before.size() + after.size()), missing = rank - named;
  bool hasEllipsis = letters.contains(kEllipsis);
  auto isLetter = [](char letter) { return llvm::isAlpha(letter); };
  if (!llvm::all_of(before, isLetter) || !llvm::all_of(after, isLetter)) {
    (void)c.error("E0304", "equation has \"" + letters + "\", which is no list of letters", "equation");
    return std::nullopt;
  }
  if (hasEllipsis ? missing < 0 : missing != 0) {
    (void)c.error(
        "E0307",
        llvm::formatv("equation gives operand {0} {1} dimensions, but it has {2}", operand, named, rank)
            .str(),
        "equation");
    return std::nullopt;
  }
  if (missing > kMaxEllipsis) {
    (void)c.unsupported(llvm::formatv("an ellipsis of more than {0} dimensions", kMaxEllipsis));
    return std::nullopt;
  }
  return missing;
}

/// Keeps the elements whose positions along two dimensions of one letter are equal, until no letter is twice.
static void takeDiagonals(LegalizeContext &c, Term &term) {
  for (size_t first = 0; first < term.letters.size(); ++first) {
    size_t second = term.letters.find(term.letters[first], first + 1);
    if (second == std::string::npos) {
      continue;
    }
    // Both in front and as one dimension, of which every (size + 1)th element is on the diagonal.
    SmallVector<int64_t> perm{int64_t(first), int64_t(second)};
    std::string letters(1, term.letters[first]);
    for (size_t axis = 0; axis < term.letters.size(); ++axis) {
      if (axis != first && axis != second) {
        perm.push_back(int64_t(axis));
        letters += term.letters[axis];
      }
    }
    Value x = c.transpose(term.tensor, perm);
    Sizes dims = c.shapeOf(x);
    Size size = dims[0];
    if (!c.sizes.isSame(size, dims[1])) {
      c.require(c.sizes.compare(nn::CompareKind::Equal, size, dims[1]),
                "the dimensions of one letter have different sizes");
    }
    Sizes flat{c.sizes.mul(size, size)};
    flat.append(dims.begin() + 2, dims.end());
    Type i64 = c.b.getI64Type();
    Value step = nn::buildFromScalars(c.b, c.loc, {c.sizes.add(size, c.one())}, i64, /*scalar=*/true);
    Value diagonal = nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, i64, 0), step, size);
    term.tensor = nn::buildGather(c.b, c.loc, c.reshape(x, flat), diagonal, /*axis=*/0);
    term.letters = letters;
    first = size_t(-1);
  }
}

static FailureOr<Equation> readEquation(LegalizeContext &c, StringRef text) {
  Equation equation;
  auto [inputs, output] = text.split("->");
  inputs.split(equation.inputs, ',');
  equation.output = output;
  equation.hasOutput = text.contains("->");
  if (equation.inputs.size() != c.numInputs()) {
    return c.error(
        "E0304",
        llvm::formatv("equation names {0} operands, but there are {1}", equation.inputs.size(), c.numInputs())
            .str(),
        "equation");
  }
  return equation;
}

/// The operands with their letters. Dimensions of ellipses are as large as those of all others.
static FailureOr<SmallVector<Term>> readTerms(LegalizeContext &c, const Equation &equation,
                                              int64_t &ellipsis) {
  SmallVector<Term> terms;
  SmallVector<Sizes> shared;
  SmallVector<std::pair<int64_t, int64_t>>
      places; // where the ellipsis begins, and how many dimensions it has
  for (auto [i, letters] : llvm::enumerate(equation.inputs)) {
    Value x = c.operand(i);
    std::optional<int64_t> count = countEllipsis(c, letters, i, nn::getRank(x));
    if (!count) {
      return failure();
    }
    ellipsis = std::max(ellipsis, *count);
    auto [before, after] = letters.split(kEllipsis);
    places.push_back({int64_t(before.size()), *count});
    shared.push_back(Sizes(ArrayRef<Size>(c.shapeOf(x)).slice(before.size(), *count)));
    terms.push_back({x, (before + ellipsisLetters(*count) + after).str()});
  }
  Sizes common = c.broadcast(shared);
  for (auto [term, place, own] : llvm::zip_equal(terms, places, shared)) {
    Sizes dims = c.shapeOf(term.tensor);
    ArrayRef<Size> wanted = ArrayRef<Size>(common).take_back(place.second);
    requireBroadcast(c, own, wanted);
    llvm::copy(wanted, dims.begin() + place.first);
    term.tensor = c.expand(term.tensor, dims);
    takeDiagonals(c, term);
  }
  return terms;
}

/// The letters of the result: without an arrow those of ellipses, and those that stand once, in alphabetic
/// order.
static std::string getOutput(const Equation &equation, int64_t ellipsis) {
  if (equation.hasOutput) {
    auto [before, after] = equation.output.split(kEllipsis);
    bool hasEllipsis = equation.output.contains(kEllipsis);
    return (before + (hasEllipsis ? ellipsisLetters(ellipsis) : "") + after).str();
  }
  std::string all = llvm::join(equation.inputs, "");
  std::string once =
      filter(all, [&](char letter) { return llvm::isAlpha(letter) && StringRef(all).count(letter) == 1; });
  llvm::sort(once);
  return ellipsisLetters(ellipsis) + once;
}

static LogicalResult legalizeEinsum(LegalizeContext &c) {
  std::string text = c.stringAttr("equation").value_or("").str();
  llvm::erase(text, ' ');
  if (text.empty()) {
    return c.error("E0303", "equation is missing", "equation");
  }
  FailureOr<Equation> equation = readEquation(c, text);
  if (failed(equation)) {
    return failure();
  }
  int64_t ellipsis = 0;
  FailureOr<SmallVector<Term>> terms = readTerms(c, *equation, ellipsis);
  if (failed(terms) || c.hasFailed()) {
    return failure();
  }
  std::string output = getOutput(*equation, ellipsis), all;
  for (const Term &term : *terms) {
    all += term.letters;
  }
  for (char letter : output) {
    if (StringRef(output).count(letter) > 1 || !StringRef(all).contains(letter)) {
      return c.error("E0304", "the letters of the result must each stand in an operand, and once",
                     "equation");
    }
  }
  Term result = terms->front();
  for (size_t i = 1; i < terms->size() && !c.hasFailed(); ++i) {
    std::string later = output;
    for (const Term &term : ArrayRef(*terms).drop_front(i + 1)) {
      later += term.letters;
    }
    result = contract(c, result, (*terms)[i], later);
  }
  if (c.hasFailed()) {
    return failure();
  }
  sumOut(c, result, output);
  arrange(c, result, output);
  return c.set(result.tensor);
}

void lathe::onnx::registerEinsum(LegalizerRegistry &registry) {
  registry.add("Einsum", 1, LegalizerRegistry::kAny, legalizeEinsum);
}
