// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The format whose codes are places in a table of numbers.

#include "Codebook.h"
#include "Grouping.h"
#include "SmallFloats.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>
#include <cstring>
#include <limits>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;
using nn::BinaryKind;

/// A table of more numbers has codes of 8 bits that no kernel looks up in registers.
static constexpr size_t kMostInRegisters = 16, kMost = 256;

//===----------------------------------------------------------------------===//
// Tables that have names
//===----------------------------------------------------------------------===//

/// A float of 8 bits whose bits below the sign are those of an f16 above its last `8 - shift` ones.
static float widenF8(unsigned code, int64_t shift) {
  return widenF16(uint16_t((code & 0x80) << 8 | (code & 0x7f) << shift));
}

/// All floats of 8 bits; codes of what is not finite stand for 0.
static SmallVector<float> makeFloats8(int64_t shift, unsigned firstNotFinite) {
  SmallVector<float> table;
  for (unsigned code = 0; code < kMost; ++code) {
    table.push_back((code & 0x7f) < firstNotFinite ? widenF8(code, shift) : 0);
  }
  return table;
}

SmallVector<float> pack::getNamedTable(StringRef name) {
  if (name == "int3") {
    return {-4, -3, -2, -1, 0, 1, 2, 3};
  }
  // Quantiles of the normal distribution, of QLoRA (Dettmers et al., 2023).
  if (name == "nf4") {
    return {-1.0f,
            -0.6961928009986877f,
            -0.5250730514526367f,
            -0.39491748809814453f,
            -0.28444138169288635f,
            -0.18477343022823334f,
            -0.09105003625154495f,
            0.0f,
            0.07958029955625534f,
            0.16093020141124725f,
            0.24611230194568634f,
            0.33791524171829224f,
            0.44070982933044434f,
            0.5626170039176941f,
            0.7229568362236023f,
            1.0f};
  }
  if (name == "f4E2M1FN") {
    return {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};
  }
  // Divided by 256, so that they are f16 in other bits: scales take that in.
  if (name == "f8E4M3FN") {
    return makeFloats8(/*shift=*/7, /*firstNotFinite=*/0x7f);
  }
  if (name == "f8E5M2") {
    return makeFloats8(/*shift=*/8, /*firstNotFinite=*/0x7c);
  }
  return {};
}

static constexpr StringLiteral kNames[] = {"int3", "nf4", "f4E2M1FN", "f8E4M3FN", "f8E5M2"};

ParseResult pack::parseTable(AsmParser &parser, DenseF32ArrayAttr &values) {
  StringRef name;
  SMLoc loc = parser.getCurrentLocation();
  if (succeeded(parser.parseOptionalKeyword(&name))) {
    SmallVector<float> table = getNamedTable(name);
    if (table.empty()) {
      return parser.emitError(loc) << "expects numbers in brackets or the name of a table, one of "
                                   << llvm::join(ArrayRef(kNames), ", ") << ", found " << name;
    }
    values = parser.getBuilder().getDenseF32ArrayAttr(table);
    return success();
  }
  SmallVector<float> table;
  auto parseNumber = [&]() -> ParseResult {
    double number;
    if (parser.parseFloat(number)) {
      return failure();
    }
    table.push_back(float(number));
    return success();
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseNumber)) {
    return failure();
  }
  values = parser.getBuilder().getDenseF32ArrayAttr(table);
  return success();
}

void pack::printTable(AsmPrinter &printer, DenseF32ArrayAttr values) {
  for (StringRef name : kNames) {
    if (getNamedTable(name) == values.asArrayRef()) {
      printer << name;
      return;
    }
  }
  printer << '[';
  llvm::interleaveComma(values.asArrayRef(), printer,
                        [&](float value) { printer.printFloat(APFloat(value)); });
  printer << ']';
}

//===----------------------------------------------------------------------===//
// The format
//===----------------------------------------------------------------------===//

/// The bits of a place in a table.
static int64_t countBits(ArrayRef<float> table) { return std::max(llvm::Log2_64_Ceil(table.size()), 1u); }

int64_t CodebookAttr::getBits() const { return countBits(getValues().asArrayRef()); }

static Grouping groupingOf(CodebookAttr format) {
  return {format.getBits(), format.getGroup(), format.getScales()};
}

/// What to shift the bits below the sign of a code by to get those of an f16, if that is what all codes in
/// use stand for: no table is needed then.
static std::optional<int64_t> getF16Shift(ArrayRef<float> table) {
  if (table.size() != kMost) {
    return std::nullopt;
  }
  for (int64_t shift : {7, 8}) {
    bool isF16 = llvm::all_of(llvm::enumerate(table), [&](auto entry) {
      // What stands in the table before is never a code.
      bool isUsed = llvm::find(table, entry.value()) - table.begin() == int64_t(entry.index());
      return !isUsed || entry.value() == widenF8(entry.index(), shift);
    });
    if (isF16) {
      return shift;
    }
  }
  return std::nullopt;
}

LogicalResult CodebookAttr::verify(function_ref<InFlightDiagnostic()> emitError, DenseF32ArrayAttr values,
                                   int64_t group, Type scales) {
  ArrayRef<float> table = values.asArrayRef();
  if (table.size() < 2 || table.size() > kMost) {
    return emitError() << "expects a table of 2 to " << kMost << " numbers, but there are " << table.size();
  }
  auto isBad = [](float value) { return !std::isfinite(value); };
  if (llvm::any_of(table, isBad) || llvm::all_of(table, [](float value) { return value == 0; })) {
    return emitError() << "expects finite numbers in its table, not all of them 0";
  }
  return Grouping{countBits(table), group, scales}.verify(emitError);
}

LogicalResult CodebookAttr::verifyTensor(function_ref<InFlightDiagnostic()> emitError,
                                         RankedTensorType type) const {
  return groupingOf(*this).verifyTensor(emitError, type);
}

SmallVector<RankedTensorType> CodebookAttr::getComponents(RankedTensorType type) const {
  SmallVector<RankedTensorType> types = groupingOf(*this).getComponents(type);
  types.push_back(RankedTensorType::get({int64_t(getValues().size())}, Float32Type::get(getContext())));
  return types;
}

float CodebookAttr::getLimit() const {
  double largest = 0;
  for (float value : getValues().asArrayRef()) {
    largest = std::max<double>(largest, std::fabs(value));
  }
  constexpr double kMostFloat = std::numeric_limits<float>::max();
  return float(std::min(largest * (getScales().isF16() ? 65504 : kMostFloat), kMostFloat));
}

namespace {
/// Finds the nearest number of a table.
class Table {
public:
  explicit Table(ArrayRef<float> values) {
    for (auto [code, value] : llvm::enumerate(values)) {
      sorted.push_back({value, uint32_t(code)});
    }
    // Of equal numbers the first has the code.
    llvm::sort(sorted);
    sorted.erase(std::unique(sorted.begin(), sorted.end(),
                             [](const auto &a, const auto &b) { return a.first == b.first; }),
                 sorted.end());
  }

  /// The nearest, the smaller of two, and its code.
  const std::pair<float, uint32_t> &find(float value) const {
    auto above = llvm::partition_point(sorted, [&](const auto &entry) { return entry.first < value; });
    if (above == sorted.begin()) {
      return *above;
    }
    auto below = std::prev(above);
    return above == sorted.end() || value - below->first <= above->first - value ? *below : *above;
  }

  /// The number that elements of the largest magnitude, with this sign, become: by that the scale is chosen.
  float getExtreme(bool isNegative) const {
    float low = sorted.front().first, high = sorted.back().first;
    return -low > high || (-low == high && isNegative) ? low : high;
  }

private:
  SmallVector<std::pair<float, uint32_t>> sorted;
};
} // namespace

static nn::ConstantParts encodeTable(CodebookAttr format, const nn::ConstantTensor &tensor,
                                     ArrayRef<float> gram) {
  Grouping grouping = groupingOf(format);
  SmallVector<RankedTensorType> types = format.getComponents(tensor.getType());
  Buffer codes = makeBuffer(types[0]), scaleBytes = makeBuffer(types[1]), values = makeBuffer(types[2]);
  ArrayRef<float> numbers = format.getValues().asArrayRef();
  memcpy(values->data(), numbers.data(), numbers.size() * sizeof(float));
  Table table(numbers);
  Matrix matrix(tensor);
  int64_t columns = matrix.getColumns(), groups = matrix.getRows() / grouping.size;
  std::vector<float> rows(grouping.size * columns), scales(groups * columns);
  for (int64_t group = 0; group < groups; ++group) {
    matrix.read(group * grouping.size, grouping.size, rows.data());
    for (int64_t column = 0; column < columns; ++column) {
      float extreme = 0;
      for (int64_t i = 0; i < grouping.size; ++i) {
        float value = rows[i * columns + column];
        extreme = std::fabs(value) > std::fabs(extreme) ? value : extreme;
      }
      float scale = grouping.roundScale(extreme / table.getExtreme(extreme < 0));
      scales[group * columns + column] = scale;
      grouping.writeScale(scaleBytes, group * columns + column, scale);
    }
  }
  // All of a group of zeros has one code: its scale is 0.
  auto find = [&](float value, float scale) { return table.find(scale == 0 ? 0 : value / scale); };
  if (!gram.empty()) {
    matrix.compensate(gram, [&](size_t row, MutableArrayRef<float> elements) {
      const float *own = scales.data() + int64_t(row) / grouping.size * columns;
      for (auto [column, element] : llvm::enumerate(elements)) {
        element = find(element, own[column]).first * own[column];
      }
    });
  }
  for (int64_t row = 0; row < groups * grouping.size; ++row) {
    matrix.read(row, 1, rows.data());
    for (int64_t column = 0; column < columns; ++column) {
      float scale = scales[row / grouping.size * columns + column];
      grouping.writeCode(codes, row, column, columns, find(rows[column], scale).second);
    }
  }
  return {makeTensor(types[0], codes), makeTensor(types[1], scaleBytes), makeTensor(types[2], values)};
}

nn::ConstantParts CodebookAttr::encode(const nn::ConstantTensor &tensor) const {
  return encodeTable(*this, tensor, {});
}

bool CodebookAttr::canCompensate() const { return true; }

nn::ConstantParts CodebookAttr::encodeCompensated(const nn::ConstantTensor &tensor,
                                                  ArrayRef<float> gram) const {
  return encodeTable(*this, tensor, gram);
}

/// The codes of rows, i32 of [..., K, N], from bytes: a code lies in one of these or in two that follow each
/// other.
static Value buildCodes(OpBuilder &builder, Location loc, RankedTensorType type, Value bytes, int64_t bits) {
  Type i64 = builder.getI64Type();
  auto scalar = [&](int64_t value) { return nn::buildScalar(builder, loc, i64, double(value)); };
  auto apply = [&](BinaryKind kind, Value lhs, Value rhs) {
    return nn::buildBinary(builder, loc, kind, lhs, rhs);
  };
  int64_t axis = type.getRank() - 2, rows = type.getDimSize(axis);
  if (bits == 8) {
    return nn::buildCast(builder, loc, bytes, builder.getI32Type());
  }
  Value bit = nn::buildRange(builder, loc, scalar(0), scalar(bits), builder.getIndexAttr(rows));
  Value first = apply(BinaryKind::Div, bit, scalar(8));
  Value last = apply(BinaryKind::Div, apply(BinaryKind::Add, bit, scalar(bits - 1)), scalar(8));
  Type word = IntegerType::get(builder.getContext(), 32, IntegerType::Unsigned);
  auto gather = [&](Value index) {
    return nn::buildCast(builder, loc, nn::buildGather(builder, loc, bytes, index, axis), word);
  };
  Value shift = apply(BinaryKind::Sub, bit, apply(BinaryKind::Mul, first, scalar(8)));
  shift = buildStaticReshape(builder, loc, nn::buildCast(builder, loc, shift, word), {rows, 1});
  // Where a code lies in one byte, that byte stands twice, and its second place is masked off.
  Value both = apply(BinaryKind::ShiftLeft, gather(last), nn::buildScalar(builder, loc, word, 8));
  both = apply(BinaryKind::Or, both, gather(first));
  both = apply(BinaryKind::ShiftRight, both, shift);
  both = apply(BinaryKind::And, both, nn::buildScalar(builder, loc, word, double((1 << bits) - 1)));
  return nn::buildCast(builder, loc, both, builder.getI32Type());
}

Value CodebookAttr::buildDecode(OpBuilder &builder, Location loc, RankedTensorType type,
                                ValueRange components) const {
  Grouping grouping = groupingOf(*this);
  Value codes = buildCodes(builder, loc, type, components[0], grouping.bits);
  Value numbers = nn::buildGather(builder, loc, components[2], codes, /*axis=*/0);
  return grouping.buildScaled(builder, loc, type, numbers, components[1]);
}

std::optional<PanelLayout> CodebookAttr::getPanelLayout(RankedTensorType type) const {
  Grouping grouping = groupingOf(*this);
  PanelLayout layout{type.getRank() == 2 ? type.getDimSize(0) : 0, type.getShape().back(), grouping.bits,
                     grouping.size, grouping.scales};
  ArrayRef<float> table = getValues().asArrayRef();
  bool isKnown = table.size() <= kMostInRegisters || getF16Shift(table);
  if (type.getRank() != 2 || type.getNumElements() == 0 || grouping.size % layout.unitRows() != 0 ||
      !isKnown) {
    return std::nullopt;
  }
  return layout;
}

ArrayRef<float> CodebookAttr::getTable() const {
  ArrayRef<float> table = getValues().asArrayRef();
  return getF16Shift(table) ? ArrayRef<float>() : table;
}

/// Without a table: the bits of an f16.
Value CodebookAttr::buildCode(OpBuilder &builder, Location loc, ValueRange words, int64_t position,
                              Value) const {
  std::optional<int64_t> shift = getF16Shift(getValues().asArrayRef());
  Value word = words.front();
  auto type = cast<VectorType>(word.getType());
  auto splat = [&](uint32_t bits) -> Value {
    return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, APInt(32, bits)));
  };
  // The code in the high byte of an f16.
  Value half = position == 0 ? arith::ShLIOp::create(builder, loc, word, splat(8)).getResult()
               : position == 1
                   ? word
                   : arith::ShRUIOp::create(builder, loc, word, splat(8 * position - 8)).getResult();
  if (*shift == 8) {
    half = arith::AndIOp::create(builder, loc, half, splat(0xff00));
  } else {
    Value sign = arith::AndIOp::create(builder, loc, half, splat(0x8000));
    half = arith::ShRUIOp::create(builder, loc, half, splat(8 - *shift));
    half = arith::AndIOp::create(builder, loc, half, splat(0x7f << *shift));
    half = arith::OrIOp::create(builder, loc, half, sign);
  }
  half = arith::TruncIOp::create(builder, loc, type.clone(builder.getI16Type()), half);
  half = arith::BitcastOp::create(builder, loc, type.clone(builder.getF16Type()), half);
  return arith::ExtFOp::create(builder, loc, type.clone(builder.getF32Type()), half);
}
