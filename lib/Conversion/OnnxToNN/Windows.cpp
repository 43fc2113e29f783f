// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Windows.h"

#include "lathe/Dialect/NN/IR/NNSpatial.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

SmallVector<int64_t> lathe::onnx::getWindowAttr(LegalizeContext &c, StringRef name, size_t count,
                                                int64_t fallback, int64_t min) {
  SmallVector<int64_t> values = c.intsAttr(name).value_or(SmallVector<int64_t>(count, fallback));
  if (values.empty()) {
    values.assign(count, fallback);
  }
  if (values.size() != count) {
    (void)c.error("E0304",
                  llvm::formatv("{0} has {1} elements, must have {2}", name, values.size(), count).str(),
                  name);
    return SmallVector<int64_t>(count, fallback);
  }
  for (auto [i, value] : llvm::enumerate(values)) {
    if (value < min || value > kMaxWindow) {
      (void)c.error(
          "E0304",
          llvm::formatv("{0}[{1}] is {2}, must be from {3} to {4}", name, i, value, min, kMaxWindow).str(),
          name);
      value = fallback;
    }
  }
  return values;
}

StringRef lathe::onnx::getAutoPad(LegalizeContext &c) {
  StringRef autoPad = c.stringAttr("auto_pad").value_or("NOTSET");
  if (!llvm::is_contained({"NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"}, autoPad)) {
    (void)c.error("E0304", "auto_pad is \"" + autoPad + "\"", "auto_pad");
  }
  return autoPad.empty() ? "NOTSET" : autoPad;
}

Size lathe::onnx::getReach(LegalizeContext &c, const Windows &w, size_t i) {
  Size steps = c.sizes.sub(w.window[i], c.one());
  return c.sizes.add(c.sizes.mul(steps, c.b.getIndexAttr(w.dilations[i])), c.one());
}

std::pair<Size, Size> lathe::onnx::splitPads(LegalizeContext &c, Size total, bool oddToEnd) {
  Size half = c.sizes.div(total, c.b.getIndexAttr(2), /*floor=*/true);
  Size rest = c.sizes.sub(total, half);
  return oddToEnd ? std::pair(half, rest) : std::pair(rest, half);
}

/// A window must find room, but where there is nothing at all there is no result either. Pads that are wide
/// enough make room for any.
static void requireRoom(LegalizeContext &c, Size spatial, Size room, Size reach, int64_t pads) {
  std::optional<int64_t> covered = getConstantIntValue(reach);
  if (getConstantIntValue(room) || (covered && *covered <= pads + 1)) {
    return;
  }
  Size zero = c.b.getIndexAttr(0);
  c.require(c.sizes.max(c.sizes.compare(nn::CompareKind::GreaterOrEqual, room, zero),
                        c.sizes.compare(nn::CompareKind::Equal, spatial, zero)),
            "the window covers more elements than there are with the pads");
}

Windows lathe::onnx::getWindows(LegalizeContext &c, ArrayRef<Size> spatial, ArrayRef<Size> window) {
  size_t count = spatial.size();
  SizeArith &sizes = c.sizes;
  Windows w{Sizes(window),
            getWindowAttr(c, "strides", count, 1, 1),
            getWindowAttr(c, "dilations", count, 1, 1),
            {},
            {},
            {}};
  SmallVector<int64_t> pads = getWindowAttr(c, "pads", 2 * count, 0, 0);
  StringRef autoPad = getAutoPad(c);
  bool roundsUp = c.intAttr("ceil_mode", 0) != 0;
  if (autoPad == "VALID") {
    pads.assign(2 * count, 0);
  }
  for (size_t i = 0; i < count; ++i) {
    Size reach = getReach(c, w, i);
    Size stride = c.b.getIndexAttr(w.strides[i]), before = c.b.getIndexAttr(pads[i]),
         after = c.b.getIndexAttr(pads[count + i]), output;
    auto ceilDiv = [&](Size size) {
      return sizes.div(sizes.add(size, c.b.getIndexAttr(w.strides[i] - 1)), stride, /*floor=*/true);
    };
    if (autoPad == "SAME_UPPER" || autoPad == "SAME_LOWER") {
      output = ceilDiv(spatial[i]);
      Size covered = sizes.add(sizes.mul(sizes.sub(output, c.one()), stride), reach);
      Size total = sizes.max(sizes.sub(covered, spatial[i]), c.b.getIndexAttr(0));
      std::tie(before, after) = splitPads(c, total, autoPad == "SAME_UPPER");
    } else {
      Size room = sizes.add(spatial[i], sizes.sub(c.b.getIndexAttr(pads[i] + pads[count + i]), reach));
      if (std::optional<int64_t> number = getConstantIntValue(room); number && *number < 0) {
        (void)c.error("E0307",
                      llvm::formatv("the window covers {0} elements, dimension {1} has {2} with its pads",
                                    *getConstantIntValue(reach), i + 2, *number + *getConstantIntValue(reach))
                          .str());
      }
      requireRoom(c, spatial[i], room, reach, pads[i] + pads[count + i]);
      output = sizes.add(roundsUp ? ceilDiv(room) : sizes.div(room, stride, /*floor=*/true), c.one());
      if (roundsUp) {
        // The last window starts in the operand or in the pads before it.
        output = sizes.min(output, ceilDiv(sizes.add(spatial[i], before)));
      }
      output = sizes.max(output, c.b.getIndexAttr(0));
    }
    w.before.push_back(before);
    w.after.push_back(after);
    w.outputs.push_back(output);
  }
  return w;
}

/// Whether there are channels; what has none failed before.
static bool hasChannels(LegalizeContext &c, Value x) {
  if (nn::getRank(x) >= 2) {
    return true;
  }
  (void)c.error("E0307",
                llvm::formatv("an operand has {0} dimensions, must have at least 2", nn::getRank(x)).str());
  return false;
}

Value lathe::onnx::toChannelsLast(LegalizeContext &c, Value x) {
  if (!hasChannels(c, x)) {
    return x;
  }
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(1, nn::getRank(x)));
  perm.front() = 0;
  for (int64_t dim = 2; dim < nn::getRank(x); ++dim) {
    perm[dim - 1] = dim;
  }
  perm.push_back(1);
  return c.transpose(x, perm);
}

Value lathe::onnx::toChannelsSecond(LegalizeContext &c, Value x) {
  if (!hasChannels(c, x)) {
    return x;
  }
  SmallVector<int64_t> perm{0, nn::getRank(x) - 1};
  llvm::append_range(perm, llvm::seq<int64_t>(1, nn::getRank(x) - 1));
  return c.transpose(x, perm);
}

bool lathe::onnx::checkSpatial(LegalizeContext &c) {
  if (c.rank(0) >= 3) {
    return true;
  }
  (void)c.error("E0307",
                llvm::formatv("the operand has {0} dimensions, must have at least 3", c.rank(0)).str());
  return false;
}

MixedSizes::MixedSizes(ArrayRef<Size> sizes) {
  for (Size size : sizes) {
    std::optional<int64_t> number = getConstantIntValue(size);
    numbers.push_back(number.value_or(ShapedType::kDynamic));
    if (!number) {
      values.push_back(cast<Value>(size));
    }
  }
}

Value lathe::onnx::buildPad(LegalizeContext &c, nn::PadKind kind, Value x, Value value, ArrayRef<Size> before,
                            ArrayRef<Size> after) {
  MixedSizes low(before), high(after);
  return nn::createInferred<nn::PadOp>(c.b, c.loc, nn::getElementType(x), kind, x, value, low.values,
                                       high.values, low.numbers, high.numbers);
}
