// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Formats of integers with scales. All arithmetic is that of f32, rounded to nearest, ties to even.

#include "Grouping.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/IR/RowCodes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;
using nn::BinaryKind;

/// The code nearest to `value`, within [low, high]; `scale` is 0 where all are 0.
static int32_t quantize(float value, float scale, float zero, float low, float high) {
  float code = scale == 0 ? zero : std::nearbyint(value / scale) + zero;
  return int32_t(std::clamp(code, low, high));
}

/// Code number `position`, of `bits` bits, less `zeros` or, if that is null, `middle`. As bits of the
/// mantissa of a power of two, a code is added to that: no conversion is needed, and what is subtracted is
/// exact.
static Value buildIntegerCode(OpBuilder &builder, Location loc, Value words, int64_t bits, int64_t position,
                              Value zeros, int64_t middle) {
  constexpr int64_t kMantissa = 23, kBias = 127;
  auto type = cast<VectorType>(words.getType()), floats = type.clone(builder.getF32Type());
  auto splat = [&](uint32_t value) -> Value {
    return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, APInt(32, value)));
  };
  auto splatFloat = [&](float value) -> Value {
    return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(floats, value));
  };
  // Codes that lie above the mantissa are brought down, several by one shift.
  int64_t place = position * bits, above = kMantissa / bits * bits;
  if (int64_t down = place / above * above) {
    words = arith::ShRUIOp::create(builder, loc, words, splat(down));
    place -= down;
  }
  Value number = arith::AndIOp::create(builder, loc, words, splat(((1u << bits) - 1) << place));
  number =
      arith::OrIOp::create(builder, loc, number, splat(uint32_t(kBias + kMantissa - place) << kMantissa));
  number = arith::BitcastOp::create(builder, loc, floats, number);
  float power = float(1 << (kMantissa - place));
  Value zero = zeros ? arith::AddFOp::create(builder, loc, zeros, splatFloat(power)).getResult()
                     : splatFloat(power + float(middle));
  return arith::SubFOp::create(builder, loc, number, zero);
}

//===----------------------------------------------------------------------===//
// int8: one scale per column
//===----------------------------------------------------------------------===//

LogicalResult Int8Attr::verifyTensor(function_ref<InFlightDiagnostic()> emitError,
                                     RankedTensorType type) const {
  if (type.getRank() < 1) {
    return emitError() << "expects a last dimension for the scales of int8, but it is " << type;
  }
  return success();
}

SmallVector<RankedTensorType> Int8Attr::getComponents(RankedTensorType type) const {
  return {RankedTensorType::get(type.getShape(), IntegerType::get(getContext(), 8)),
          RankedTensorType::get(type.getShape().take_back(1), Float32Type::get(getContext()))};
}

bool Int8Attr::isWeightOnly() const { return getActivations() == Activations::WeightOnly; }

bool Int8Attr::needsRange() const { return getActivations() == Activations::Static; }

float Int8Attr::getLimit() const { return std::numeric_limits<float>::max(); }

/// `gram` is empty if elements become the nearest code.
static nn::ConstantParts encodeByColumn(const nn::ConstantTensor &tensor, ArrayRef<RankedTensorType> types,
                                        ArrayRef<float> gram) {
  Buffer codes = makeBuffer(types[0]), scales = makeBuffer(types[1]);
  Matrix matrix(tensor);
  int64_t columns = matrix.getColumns(), rows = matrix.getRows();
  std::vector<float> row(columns), scale(columns);
  for (int64_t i = 0; i < rows; ++i) {
    matrix.read(i, 1, row.data());
    for (int64_t j = 0; j < columns; ++j) {
      scale[j] = std::max(scale[j], std::fabs(row[j]));
    }
  }
  for (float &of : scale) {
    of /= kLargestCode;
  }
  memcpy(scales->data(), scale.data(), columns * sizeof(float));
  if (!gram.empty()) {
    matrix.compensate(gram, [&](size_t, MutableArrayRef<float> elements) {
      for (auto [element, of] : llvm::zip_equal(elements, scale)) {
        element = float(quantize(element, of, 0, -kLargestCode, kLargestCode)) * of;
      }
    });
  }
  for (int64_t i = 0; i < rows; ++i) {
    matrix.read(i, 1, row.data());
    for (int64_t j = 0; j < columns; ++j) {
      (*codes)[i * columns + j] = char(quantize(row[j], scale[j], 0, -kLargestCode, kLargestCode));
    }
  }
  return {makeTensor(types[0], codes), makeTensor(types[1], scales)};
}

nn::ConstantParts Int8Attr::encode(const nn::ConstantTensor &tensor) const {
  return encodeByColumn(tensor, getComponents(tensor.getType()), {});
}

bool Int8Attr::canCompensate() const { return true; }

nn::ConstantParts Int8Attr::encodeCompensated(const nn::ConstantTensor &tensor, ArrayRef<float> gram) const {
  return encodeByColumn(tensor, getComponents(tensor.getType()), gram);
}

Value Int8Attr::buildDecode(OpBuilder &builder, Location loc, RankedTensorType type,
                            ValueRange components) const {
  Value codes = nn::buildCast(builder, loc, components[0], type.getElementType());
  return nn::buildBinary(builder, loc, BinaryKind::Mul, codes, components[1]);
}

std::optional<PanelLayout> Int8Attr::getPanelLayout(RankedTensorType type) const {
  if (type.getRank() != 2 || type.getNumElements() == 0) {
    return std::nullopt;
  }
  PanelLayout layout{type.getDimSize(0), type.getDimSize(1), /*bits=*/8, /*group=*/type.getDimSize(0),
                     Float32Type::get(getContext())};
  layout.middle = 128;
  layout.isSigned = true;
  return layout;
}

Value Int8Attr::buildCode(OpBuilder &builder, Location loc, ValueRange words, int64_t position,
                          Value zeros) const {
  return buildIntegerCode(builder, loc, words.front(), /*bits=*/8, position, zeros, /*middle=*/128);
}

//===----------------------------------------------------------------------===//
// Groups of rows
//===----------------------------------------------------------------------===//

namespace {
/// What int2, int4 and int8_groups have in common.
struct Groups : Grouping {
  bool zeros, dynamic;

  LogicalResult verify(function_ref<InFlightDiagnostic()> emitError) const;
  SmallVector<RankedTensorType> getComponents(RankedTensorType type) const;
  float getLimit() const;
  /// `gram` is empty if elements become the nearest code.
  nn::ConstantParts encode(const nn::ConstantTensor &tensor, ArrayRef<float> gram) const;
  Value buildDecode(OpBuilder &builder, Location loc, RankedTensorType type, ValueRange components) const;
  std::optional<PanelLayout> getPanelLayout(RankedTensorType type) const;
  Value buildCode(OpBuilder &builder, Location loc, ValueRange words, int64_t position, Value zeros) const {
    return buildIntegerCode(builder, loc, words.front(), bits, position, zeros, getMiddle());
  }

private:
  /// The largest code, and the one that stands for 0 without zero points.
  int64_t getLast() const { return (1 << bits) - 1; }
  int64_t getMiddle() const { return 1 << (bits - 1); }
};
} // namespace

LogicalResult Groups::verify(function_ref<InFlightDiagnostic()> emitError) const {
  if (dynamic && size % PanelLayout::kRoundedGroup != 0) {
    return emitError() << "expects groups of a multiple of " << PanelLayout::kRoundedGroup
                       << " rows, of which what they are multiplied with is rounded together, but they have "
                       << size;
  }
  return Grouping::verify(emitError);
}

SmallVector<RankedTensorType> Groups::getComponents(RankedTensorType type) const {
  SmallVector<RankedTensorType> types = Grouping::getComponents(type);
  if (zeros) {
    types.push_back(types[1].clone(types[0].getElementType()));
  }
  return types;
}

float Groups::getLimit() const {
  // Zero points span the difference of two elements.
  float largest = scales.isF16() ? 65504 : std::numeric_limits<float>::max() / float(1 << bits);
  return largest * (zeros ? float(getLast()) / 2 : float(getMiddle()));
}

nn::ConstantParts Groups::encode(const nn::ConstantTensor &tensor, ArrayRef<float> gram) const {
  SmallVector<RankedTensorType> types = getComponents(tensor.getType());
  SmallVector<Buffer> buffers = llvm::map_to_vector(types, makeBuffer);
  Matrix matrix(tensor);
  int64_t columns = matrix.getColumns(), groups = columns ? types[1].getNumElements() / columns : 0;
  std::vector<float> rows(size * columns), scale(groups * columns), zero(groups * columns);
  for (int64_t group = 0; group < groups; ++group) {
    matrix.read(group * size, size, rows.data());
    for (int64_t column = 0; column < columns; ++column) {
      float low = 0, high = 0;
      for (int64_t i = 0; i < size; ++i) {
        float value = rows[i * columns + column];
        low = std::min(low, value);
        high = std::max(high, value);
      }
      // Without zero points, the extreme becomes code 0: there is one code more below the middle than above.
      float of = roundScale(zeros          ? (high - low) / float(getLast())
                            : -low >= high ? -low / float(getMiddle())
                                           : -high / float(getMiddle()));
      scale[group * columns + column] = of;
      zero[group * columns + column] =
          zeros ? float(quantize(-low, of, 0, 0, float(getLast()))) : float(getMiddle());
    }
  }
  if (!gram.empty()) {
    matrix.compensate(gram, [&](size_t row, MutableArrayRef<float> elements) {
      int64_t first = int64_t(row) / size * columns;
      for (auto [column, element] : llvm::enumerate(elements)) {
        float of = scale[first + column], middle = zero[first + column];
        element = (float(quantize(element, of, middle, 0, float(getLast()))) - middle) * of;
      }
    });
  }
  for (int64_t group = 0; group < groups; ++group) {
    matrix.read(group * size, size, rows.data());
    for (int64_t column = 0; column < columns; ++column) {
      int64_t place = group * columns + column;
      writeScale(buffers[1], place, scale[place]);
      if (zeros) {
        (*buffers[2])[place] = char(zero[place]);
      }
      for (int64_t i = 0; i < size; ++i) {
        int32_t code = quantize(rows[i * columns + column], scale[place], zero[place], 0, float(getLast()));
        writeCode(buffers[0], group * size + i, column, columns, uint32_t(code));
      }
    }
  }
  nn::ConstantParts parts;
  for (auto [type, buffer] : llvm::zip_equal(types, buffers)) {
    parts.push_back(makeTensor(type, buffer));
  }
  return parts;
}

Value Groups::buildDecode(OpBuilder &builder, Location loc, RankedTensorType type,
                          ValueRange components) const {
  Type byte = nn::getElementType(components[0]), f32 = type.getElementType();
  Value codes = components[0];
  if (int64_t each = 8 / bits; each > 1) {
    // [..., K / each, 1, N] becomes [..., K / each, each, N].
    Value shifts =
        nn::buildRange(builder, loc, nn::buildScalar(builder, loc, byte, 0),
                       nn::buildScalar(builder, loc, byte, double(bits)), builder.getIndexAttr(each));
    shifts = buildStaticReshape(builder, loc, shifts, {each, 1});
    codes =
        nn::buildBinary(builder, loc, BinaryKind::ShiftRight, buildSplitRows(builder, loc, codes), shifts);
    codes = nn::buildBinary(builder, loc, BinaryKind::And, codes,
                            nn::buildScalar(builder, loc, byte, double(getLast())));
  }
  SmallVector<int64_t> shape(type.getShape());
  *std::prev(shape.end(), 2) /= size;
  shape.insert(std::prev(shape.end()), size);
  codes = buildStaticReshape(builder, loc, codes, shape);
  Value zero = zeros ? nn::buildCast(builder, loc, buildSplitRows(builder, loc, components[2]), f32)
                     : nn::buildScalar(builder, loc, f32, double(getMiddle()));
  Value numbers =
      nn::buildBinary(builder, loc, BinaryKind::Sub, nn::buildCast(builder, loc, codes, f32), zero);
  return buildScaled(builder, loc, type, numbers, components[1]);
}

std::optional<PanelLayout> Groups::getPanelLayout(RankedTensorType type) const {
  // Groups are whole words.
  if (type.getRank() != 2 || type.getNumElements() == 0 || size * bits % 32 != 0) {
    return std::nullopt;
  }
  PanelLayout layout{type.getDimSize(0), type.getDimSize(1), bits, size, scales, zeros, getMiddle()};
  layout.roundsRows = dynamic;
  return layout;
}

/// Implements the interface of a format of groups.
template <typename Attr>
static Groups groupsOf(Attr attr) {
  return {{Attr::kBits, attr.getGroup(), attr.getScales()}, attr.getZeros(), attr.getDynamic()};
}

#define LATHE_GROUPED_FORMAT(Attr)                                                                           \
  LogicalResult Attr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t group, bool zeros,        \
                             Type scales, bool dynamic) {                                                    \
    return Groups{{kBits, group, scales}, zeros, dynamic}.verify(emitError);                                 \
  }                                                                                                          \
  bool Attr::roundsRows() const { return getDynamic(); }                                                     \
  FormatAttrInterface Attr::withRoundedRows() const {                                                        \
    return getGroup() % PanelLayout::kRoundedGroup == 0                                                      \
               ? Attr::get(getContext(), getGroup(), getZeros(), getScales(), /*dynamic=*/true)              \
               : Attr();                                                                                     \
  }                                                                                                          \
  LogicalResult Attr::verifyTensor(function_ref<InFlightDiagnostic()> emitError, RankedTensorType type)      \
      const {                                                                                                \
    return groupsOf(*this).verifyTensor(emitError, type);                                                    \
  }                                                                                                          \
  SmallVector<RankedTensorType> Attr::getComponents(RankedTensorType type) const {                           \
    return groupsOf(*this).getComponents(type);                                                              \
  }                                                                                                          \
  float Attr::getLimit() const { return groupsOf(*this).getLimit(); }                                        \
  nn::ConstantParts Attr::encode(const nn::ConstantTensor &tensor) const {                                   \
    return groupsOf(*this).encode(tensor, {});                                                               \
  }                                                                                                          \
  bool Attr::canCompensate() const { return true; }                                                          \
  nn::ConstantParts Attr::encodeCompensated(const nn::ConstantTensor &tensor, ArrayRef<float> gram) const {  \
    return groupsOf(*this).encode(tensor, gram);                                                             \
  }                                                                                                          \
  Value Attr::buildDecode(OpBuilder &builder, Location loc, RankedTensorType type, ValueRange components)    \
      const {                                                                                                \
    return groupsOf(*this).buildDecode(builder, loc, type, components);                                      \
  }                                                                                                          \
  std::optional<PanelLayout> Attr::getPanelLayout(RankedTensorType type) const {                             \
    return groupsOf(*this).getPanelLayout(type);                                                             \
  }                                                                                                          \
  Value Attr::buildCode(OpBuilder &builder, Location loc, ValueRange words, int64_t position, Value zeros)   \
      const {                                                                                                \
    return groupsOf(*this).buildCode(builder, loc, words, position, zeros);                                  \
  }

LATHE_GROUPED_FORMAT(Int2Attr)
LATHE_GROUPED_FORMAT(Int4Attr)
LATHE_GROUPED_FORMAT(Int8GroupsAttr)
#undef LATHE_GROUPED_FORMAT
