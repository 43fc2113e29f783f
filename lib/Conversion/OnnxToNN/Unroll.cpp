// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Loops over sequences, whose bodies are there once for each iteration.

#include "Contents.h"
#include "Loops.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// The most iterations whose bodies stand one behind the other.
static constexpr int64_t kMaxUnrolled = 256;

bool lathe::onnx::needsUnrolling(ArrayRef<LegalValue> inits, Region &body) {
  if (!llvm::all_of(inits, [](const LegalValue &init) {
        return init.isNumeric() || init.isString || init.imaginary;
      })) {
    return true;
  }
  bool found = false;
  body.walk([&](NodeOp node) {
    found |= node.getCanonicalDomain().empty() &&
             (node.getOpType().contains("Sequence") || node.getOpType().starts_with("Optional"));
  });
  return found;
}

/// Whether a condition holds; nothing if it is not known.
static std::optional<bool> getCondition(LegalizeContext &c, LegalValue &value) {
  const Scalars *scalars = c.asScalars(value);
  std::optional<int64_t> number = scalars && scalars->elements.size() == 1
                                      ? getConstantIntValue(scalars->elements.front())
                                      : std::nullopt;
  return number ? std::optional(*number != 0) : std::nullopt;
}

static LogicalResult unroll(LegalizeContext &c, int64_t count, bool starts, ArrayRef<LegalValue> inits,
                            Region &body) {
  std::optional<bool> goesOn = starts;
  SmallVector<LegalValue> values(inits);
  size_t carried = inits.size(), results = c.node.op->getNumResults();
  SmallVector<SmallVector<Value>> scans(results - carried);
  SmallVector<Content> contents(results - carried, Content::Numbers);
  for (int64_t i = 0; *goesOn && i < count; ++i) {
    SmallVector<LegalValue> arguments(2);
    arguments[0].scalars = Scalars{c.b.getI64Type(), {}, {c.b.getIndexAttr(i)}};
    arguments[1].scalars = Scalars{c.b.getI1Type(), {}, {c.one()}};
    llvm::append_range(arguments, values);
    FailureOr<SmallVector<LegalValue>> yielded = c.bodies->convert(body, arguments);
    if (failed(yielded)) {
      return failure();
    }
    if (yielded->size() != 1 + results) {
      return c.error(
          "E0305",
          llvm::formatv("the body has {0} outputs, must have {1}", yielded->size(), 1 + results).str());
    }
    goesOn = getCondition(c, yielded->front());
    if (!goesOn) {
      return c.unsupported("how often a loop over sequences runs is not known before the run");
    }
    ArrayRef<LegalValue> rest = ArrayRef(*yielded).drop_front();
    values.assign(rest.begin(), rest.begin() + carried);
    for (auto [scan, content, value] : llvm::zip_equal(scans, contents, rest.drop_front(carried))) {
      LegalValue copy = value;
      content = encode(c, copy);
      Value tensor = c.asTensor(copy);
      Sizes dims = c.shapeOf(tensor);
      dims.insert(dims.begin(), c.one());
      scan.push_back(c.reshape(tensor, dims));
    }
  }
  for (auto [i, value] : llvm::enumerate(values)) {
    (void)c.setLegal(i, std::move(value));
  }
  for (auto [i, scan] : llvm::enumerate(scans)) {
    if (scan.empty()) {
      return c.unsupported("a loop over sequences that never runs has results for each iteration");
    }
    LegalValue all;
    all.tensor = nn::buildConcat(c.b, c.loc, scan, /*axis=*/0);
    decode(c, contents[i], all);
    (void)c.setLegal(carried + i, std::move(all));
  }
  return success(!c.hasFailed());
}

std::optional<bool> lathe::onnx::unrollLoop(LegalizeContext &c, Size trip, ArrayRef<LegalValue> inits,
                                            Region &body) {
  std::optional<int64_t> count = getConstantIntValue(trip);
  std::optional<bool> starts = c.has(1) ? getCondition(c, c.legal(1)) : true;
  if (!count || !starts || *count > kMaxUnrolled) {
    return std::nullopt;
  }
  return succeeded(unroll(c, *count, *starts, inits, body));
}
