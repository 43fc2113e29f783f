// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// RNN, GRU and LSTM: one product of all inputs with their weights, and the recurrence as one op. Also
/// com.microsoft's LSTM whose weights are integers of 8 bits.

#include "Products.h"
#include "Quantize.h"

#include "lathe/Dialect/NN/IR/NNRecurrent.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::RecurrentKind;

namespace {
/// The functions of all directions with their parameters.
struct Activations {
  SmallVector<Attribute> names;
  SmallVector<float> alpha, beta;
};

/// One node while it is legalized.
class Recurrent {
public:
  /// With `hasBytes` weights are integers [D, I, G H] and [D, H, G H], with scales and zero points from
  /// operand 8 on.
  Recurrent(LegalizeContext &c, RecurrentKind kind, bool hasBytes = false)
      : c(c), kind(kind), hasBytes(hasBytes), gates(kind == RecurrentKind::RNN   ? 1
                                                    : kind == RecurrentKind::GRU ? 3
                                                                                 : 4) {}
  LogicalResult legalize();

private:
  LogicalResult readDirections();
  LogicalResult checkShapes();
  LogicalResult checkTypes();
  LogicalResult readActivations();
  std::optional<SmallVector<float>> readFloats(StringRef name);
  /// The product of all inputs with the weights, and the biases: [T, B, D, G H].
  Value buildProducts();
  /// The same of `x` and weights, [T, B, D G H].
  Value multiplyWeights(Value x);
  Value multiplyBytes(Value x);
  /// Operand `i`, one number for a direction or for each column of its weights, as [D, G H].
  Value forColumns(unsigned i);
  /// Part [from, from + count) of dimension 1 of the biases.
  Value biasPart(int64_t from, int64_t count) {
    return c.slice(c.operand(3), 1, c.b.getIndexAttr(from), c.b.getIndexAttr(count));
  }
  /// A state [B, D, H] of layout 1 as [D, B, H], and back.
  Value swapState(Value x) { return batchFirst && x ? c.transpose(x, {1, 0, 2}) : x; }

  LegalizeContext &c;
  RecurrentKind kind;
  bool hasBytes;
  int64_t gates, units = 0;
  bool batchFirst = false, linearBeforeReset = false;
  SmallVector<bool> reverse;
  Activations activations;
};
} // namespace

LogicalResult Recurrent::readDirections() {
  StringRef direction = c.stringAttr("direction").value_or("forward");
  if (direction == "forward") {
    reverse = {false};
  } else if (direction == "reverse") {
    reverse = {true};
  } else if (direction == "bidirectional") {
    reverse = {false, true};
  } else {
    return c.error(
        "E0304",
        llvm::formatv("direction is \"{0}\", must be forward, reverse or bidirectional", direction).str(),
        "direction");
  }
  int64_t layout = c.intAttr("layout", 0);
  if (layout != 0 && layout != 1) {
    return c.error("E0304", llvm::formatv("layout is {0}, must be 0 or 1", layout).str(), "layout");
  }
  batchFirst = layout == 1;
  return success(!c.hasFailed());
}

LogicalResult Recurrent::checkShapes() {
  struct Rank {
    unsigned input;
    int64_t rank;
  };
  for (Rank expected : {Rank{0, 3}, {1, 3}, {2, 3}, {3, 2}, {4, 1}, {5, 3}, {6, 3}, {7, 2}}) {
    if (c.has(expected.input) && c.rank(expected.input) != expected.rank) {
      return c.error("E0307", llvm::formatv("input {0} has {1} dimensions, must have {2}", expected.input,
                                            c.rank(expected.input), expected.rank)
                                  .str());
    }
  }
  // The number of units is an attribute, or follows from any of the weights.
  std::optional<int64_t> size = c.intAttr("hidden_size");
  if (!size) {
    size = getConstantIntValue(c.shapeOf(2)[hasBytes ? 1 : 2]);
  }
  if (!size) {
    return c.unsupported("a hidden size that is not known");
  }
  if (*size < 1 || *size > nn::kMaxDim / 8) {
    return c.error("E0304", llvm::formatv("hidden_size is {0}, must be above 0", *size).str(), "hidden_size");
  }
  units = *size;
  int64_t directions = reverse.size();
  auto check = [&](unsigned input, ArrayRef<int64_t> shape) -> LogicalResult {
    for (auto [dim, size, wanted] : llvm::enumerate(c.shapeOf(input), shape)) {
      std::optional<int64_t> number = getConstantIntValue(size);
      if (number && !ShapedType::isDynamic(wanted) && *number != wanted) {
        return c.error("E0307", llvm::formatv("dimension {0} of input {1} is {2}, must be {3}", dim, input,
                                              *number, wanted)
                                    .str());
      }
    }
    return success();
  };
  int64_t any = ShapedType::kDynamic, columns = gates * units;
  if (hasBytes) {
    for (unsigned i : {8u, 9u, 10u, 11u}) {
      if (c.has(i) && c.rank(i) != 1 && c.rank(i) != 2) {
        return c.error("E0307",
                       llvm::formatv("input {0} has {1} dimensions, must have 1 or 2", i, c.rank(i)).str());
      }
      if (c.has(i) && failed(c.rank(i) == 1 ? check(i, {directions}) : check(i, {directions, columns}))) {
        return failure();
      }
    }
  }
  return failure(
      failed(hasBytes ? check(1, {directions, any, columns}) : check(1, {directions, columns, any})) ||
      failed(hasBytes ? check(2, {directions, units, columns}) : check(2, {directions, columns, units})) ||
      (c.has(3) && failed(check(3, {directions, 2 * gates * units}))) ||
      (c.has(7) && failed(check(7, {directions, 3 * units}))));
}

std::optional<SmallVector<float>> Recurrent::readFloats(StringRef name) {
  Attribute attribute = c.node.attributes.get(name);
  if (!attribute) {
    return SmallVector<float>();
  }
  SmallVector<float> result;
  if (auto array = dyn_cast<DenseF32ArrayAttr>(attribute)) {
    llvm::append_range(result, array.asArrayRef());
    return result;
  }
  if (auto array = dyn_cast<ArrayAttr>(attribute)) {
    for (Attribute element : array) {
      if (auto number = dyn_cast<FloatAttr>(element)) {
        result.push_back(number.getValueAsDouble());
      }
    }
    if (result.size() == array.size()) {
      return result;
    }
  }
  (void)c.error("E0303", name + " is not a list of floats", name);
  return std::nullopt;
}

/// The parameters of a function where none are given: NaN means that it takes none.
static std::pair<float, float> getDefaults(StringRef name) {
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  return llvm::StringSwitch<std::pair<float, float>>(name)
      .Case("affine", {1, 0})
      .Case("elu", {1, kNone})
      .Case("hardsigmoid", {0.2f, 0.5f})
      .Case("leakyrelu", {0.01f, kNone})
      .Case("scaledtanh", {1, 1})
      .Case("thresholdedrelu", {1, kNone})
      .Default({kNone, kNone});
}

LogicalResult Recurrent::readActivations() {
  SmallVector<std::string> names;
  if (auto array = dyn_cast_or_null<ArrayAttr>(c.node.attributes.get("activations"))) {
    for (Attribute element : array) {
      auto name = dyn_cast<StringAttr>(element);
      if (!name) {
        return c.error("E0303", "activations is not a list of strings", "activations");
      }
      names.push_back(name.getValue().lower());
    }
  } else if (c.hasAttr("activations")) {
    return c.error("E0303", "activations is not a list of strings", "activations");
  }
  for (size_t i = 0, count = names.empty() ? reverse.size() : 0; i < count; ++i) {
    if (kind != RecurrentKind::RNN) {
      names.push_back("sigmoid");
    }
    names.insert(names.end(), kind == RecurrentKind::LSTM ? 2 : 1, "tanh");
  }
  size_t wanted = reverse.size() * (kind == RecurrentKind::RNN ? 1 : kind == RecurrentKind::GRU ? 2 : 3);
  if (names.size() != wanted) {
    return c.error(
        "E0304", llvm::formatv("activations names {0} functions, must name {1}", names.size(), wanted).str(),
        "activations");
  }
  std::optional<SmallVector<float>> alpha = readFloats("activation_alpha"),
                                    beta = readFloats("activation_beta");
  if (!alpha || !beta) {
    return failure();
  }
  // Only functions that take a parameter use up a number.
  size_t nextAlpha = 0, nextBeta = 0;
  auto pick = [](float byDefault, ArrayRef<float> given, size_t &next) {
    if (std::isnan(byDefault)) {
      return 0.0f;
    }
    return next < given.size() ? given[next++] : byDefault;
  };
  for (StringRef name : names) {
    if (!nn::RecurrentOp::isActivation(name)) {
      return c.error("E0304", llvm::formatv("activations names the unknown function \"{0}\"", name).str(),
                     "activations");
    }
    auto [defaultAlpha, defaultBeta] = getDefaults(name);
    activations.names.push_back(c.b.getStringAttr(name));
    activations.alpha.push_back(pick(defaultAlpha, *alpha, nextAlpha));
    activations.beta.push_back(pick(defaultBeta, *beta, nextBeta));
  }
  return success();
}

Value Recurrent::forColumns(unsigned i) {
  Value list = c.operand(i);
  Sizes dims{c.b.getIndexAttr(reverse.size()), c.b.getIndexAttr(gates * units)};
  return c.rank(i) == 2 ? list : c.expand(c.reshape(list, {dims[0], c.one()}), dims);
}

Value Recurrent::multiplyWeights(Value x) {
  Size columns = c.b.getIndexAttr(reverse.size() * gates * units);
  Value weights = c.reshape(c.operand(1), {columns, c.shapeOf(1)[2]});
  return nn::buildMatMul(c.b, c.loc, x, c.transpose(weights, {1, 0}));
}

Value Recurrent::multiplyBytes(Value x) {
  Size columns = c.b.getIndexAttr(reverse.size() * gates * units);
  Value weights = c.reshape(c.transpose(c.operand(1), {1, 0, 2}), {c.shapeOf(1)[1], columns});
  DynamicQuantization rows = quantizeDynamically(c, x);
  ZeroPoints zeros{rows.quantization.zero, c.has(9) ? c.reshape(forColumns(9), {columns}) : Value()};
  Value sums = matmul(c, rows.stored, weights, &zeros);
  if (!sums || c.hasFailed()) {
    return {};
  }
  return dequantizeSums(c, sums, rows.quantization.scale, c.reshape(forColumns(8), {columns}), /*bias=*/~0u);
}

Value Recurrent::buildProducts() {
  Value x = batchFirst ? c.transpose(c.operand(0), {1, 0, 2}) : c.operand(0);
  int64_t directions = reverse.size(), width = gates * units;
  Sizes dims = c.shapeOf(x);
  Value products = hasBytes ? multiplyBytes(x) : multiplyWeights(x);
  if (!products) {
    return {};
  }
  if (c.has(3)) {
    Value bias = biasPart(0, width), recurrent = biasPart(width, width);
    if (linearBeforeReset) {
      // The bias of the last gate's recurrence is added elsewhere.
      Value rest = c.slice(recurrent, 1, c.b.getIndexAttr(0), c.b.getIndexAttr(2 * units));
      Value zeros = c.expand(c.scalar(0, x), {c.b.getIndexAttr(directions), c.b.getIndexAttr(units)});
      recurrent = nn::buildConcat(c.b, c.loc, {rest, zeros}, 1);
    }
    bias = c.add(bias, recurrent);
    products = c.add(products, c.reshape(bias, {c.b.getIndexAttr(directions * width)}));
  }
  return c.reshape(products, {dims[0], dims[1], c.b.getIndexAttr(directions), c.b.getIndexAttr(width)});
}

LogicalResult Recurrent::checkTypes() {
  Type type = c.elementType(0);
  for (unsigned i : {1u, 2u, 3u, 5u, 6u, 7u}) {
    bool isByte = hasBytes && i <= 2;
    if (isByte && !c.elementType(i).isInteger(8)) {
      return c.error("E0306",
                     llvm::formatv("input {0} has elements of type {1}, must have integers of 8 bits", i,
                                   c.elementType(i))
                         .str());
    }
    if (!isByte && c.has(i) && c.elementType(i) != type) {
      return c.error("E0306",
                     llvm::formatv("input {0} has elements of type {1}, must have those of input 0, {2}", i,
                                   c.elementType(i), type)
                         .str());
    }
  }
  for (unsigned weights : {1u, 2u}) {
    unsigned scale = 6 + 2 * weights, zero = scale + 1;
    if (!hasBytes) {
      break;
    }
    if (!c.has(scale) || c.elementType(scale) != type) {
      return c.error("E0306",
                     llvm::formatv("input {0}, the scale of input {1}, must have elements of type {2}", scale,
                                   weights, type)
                         .str());
    }
    if (c.has(zero) && c.elementType(zero) != c.elementType(weights)) {
      return c.error("E0306", llvm::formatv("a zero point of {0} stands beside {1}", c.elementType(zero),
                                            c.elementType(weights))
                                  .str());
    }
  }
  return success();
}

LogicalResult Recurrent::legalize() {
  linearBeforeReset = kind == RecurrentKind::GRU && c.intAttr("linear_before_reset", 0) != 0;
  if (failed(readDirections()) || failed(checkShapes()) || failed(readActivations())) {
    return failure();
  }
  if (failed(checkTypes())) {
    return failure();
  }
  Type type = c.elementType(0);
  Value products = buildProducts();
  if (c.hasFailed()) {
    return failure();
  }
  int64_t directions = reverse.size();
  Size count = c.b.getIndexAttr(directions), columns = c.b.getIndexAttr(gates * units),
       rows = c.b.getIndexAttr(units);
  Value weights = hasBytes ? c.reshape(c.operand(2), {count, rows, columns})
                           : c.transpose(c.reshape(c.operand(2), {count, columns, rows}), {0, 2, 1});
  Value scales = hasBytes ? forColumns(10) : Value();
  Value zeros = hasBytes && c.has(11) && !matchPattern(c.operand(11), m_Zero()) ? forColumns(11) : Value();
  bool isLSTM = kind == RecurrentKind::LSTM;
  Value recurrentBias = linearBeforeReset && c.has(3) ? biasPart(5 * units, units) : Value();
  auto unit = [&](bool set) { return set ? c.b.getUnitAttr() : UnitAttr(); };
  std::optional<double> clip = c.floatAttr("clip");
  Type computed = type.isF64() ? type : c.b.getF32Type();
  auto op = nn::createInferred<nn::RecurrentOp>(
      c.b, c.loc, ArrayRef<Type>{type, type, type, computed},
      nn::RecurrentKindAttr::get(c.b.getContext(), kind), products, weights, recurrentBias,
      c.operandOrNull(4), swapState(c.operandOrNull(5)), isLSTM ? swapState(c.operandOrNull(6)) : Value(),
      isLSTM ? c.operandOrNull(7) : Value(), scales, zeros, c.b.getDenseBoolArrayAttr(reverse),
      c.b.getArrayAttr(activations.names), c.b.getDenseF32ArrayAttr(activations.alpha),
      c.b.getDenseF32ArrayAttr(activations.beta), clip ? c.b.getF32FloatAttr(*clip) : FloatAttr(),
      unit(isLSTM && c.intAttr("input_forget", 0) != 0), unit(linearBeforeReset));
  if (c.isUsed(0)) {
    Value states = op.getStates();
    (void)c.set(0, batchFirst ? c.transpose(states, {2, 0, 1, 3}) : states);
  }
  if (c.isUsed(1)) {
    (void)c.set(1, swapState(op.getLastH()));
  }
  if (isLSTM && c.isUsed(2)) {
    (void)c.set(2, swapState(op.getLastC()));
  }
  return success(!c.hasFailed());
}

void lathe::onnx::registerRecurrent(LegalizerRegistry &registry) {
  registry.add("RNN", 3, 6, [](LegalizeContext &c) { return Recurrent(c, RecurrentKind::RNN).legalize(); });
  registry.add("GRU", 3, 6, [](LegalizeContext &c) { return Recurrent(c, RecurrentKind::GRU).legalize(); });
  registry.add("LSTM", 3, 8, [](LegalizeContext &c) { return Recurrent(c, RecurrentKind::LSTM).legalize(); });
  registry.add(
      "DynamicQuantizeLSTM", 3, 12,
      [](LegalizeContext &c) { return Recurrent(c, RecurrentKind::LSTM, /*hasBytes=*/true).legalize(); },
      kMicrosoft);
}
