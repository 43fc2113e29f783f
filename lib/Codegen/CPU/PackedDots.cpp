// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products of f32 with integer codes by the dot products of bytes.
///
/// Elements of a row that stand side by side share a power of two, by which they become integers of 23 bits:
/// three signed bytes, or *digits*. What rounding to these loses is 2^-22 of the largest of them at most, and
/// all that follows is exact until the sums of the three digits are put together. An instruction multiplies
/// and adds up 64 pairs of bytes where one of f32 takes 16 of numbers, so three digits cost less than f32
/// does, and codes are used as they are.
///
/// Where rows have been rounded, they are integers of 8 bits already, with a scale for each span: one digit
/// says all, and all products are made so.

#include "PackedPanels.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Dialect/Pack/IR/RowCodes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// The bytes of digits that all rows of a product may take: they lie on the stack.
static constexpr int64_t kMostDigitBytes = 256 << 10;
/// Bits of an integer that digits stand for, beside the sign, and how many digits there are.
static constexpr int64_t kDigitBits = 22, kDigits = 3;
/// Rows of a tile: with two vectors, 24 sums of digits are in registers, or 12 beside as many of f32.
static constexpr int64_t kTileRows = 4, kRoundedTileRows = 6;
static constexpr int64_t kLanes = 16;

int64_t PackedPanels::getSpan() const {
  return layout.group % 32 == 0 ? 32 : layout.group % 16 == 0 ? 16 : 0;
}

int64_t PackedPanels::getDigits() const { return layout.roundsRows ? 1 : kDigits; }

int64_t PackedPanels::getSpanBytes() const {
  // The digits, their sums, and the power of two or scale.
  return getDigits() * (getSpan() + 4) + 4;
}

int64_t PackedPanels::getMostDigitRows(const TargetSpec &target, const MatrixRef &lhs) const {
  bool fits = target.hasAVX512VNNI && target.lanes(32) == kLanes && layout.middle && getSpan() &&
              isConstantSize(lhs.columnStride, 1);
  return fits ? std::min<int64_t>(kMostDigitBytes / (layout.rows / getSpan() * getSpanBytes()), 64) : 0;
}

int64_t PackedPanels::getBlockRows(const TargetSpec &target, const MatMulProblem &problem,
                                   const MatMulTiling &tiling) {
  auto decode = problem.rhs.getDefiningOp<pack::DecodeOp>();
  pack::PackedTensorType type = decode ? decode.getX().getType() : pack::PackedTensorType();
  if (!type || !areRounded(problem) || !type.getFormat().getPanelLayout(type.getTensorType())) {
    return tiling.blockRows;
  }
  MatrixRef contiguous;
  contiguous.columnStride = IntegerAttr::get(IndexType::get(type.getContext()), 1);
  int64_t most = PackedPanels(type, /*areRounded=*/true).getMostDigitRows(target, contiguous) / tiling.rows *
                 tiling.rows;
  return most ? std::min(most, tiling.blockRows) : tiling.blockRows;
}

bool PackedPanels::makeRoundedRows(OpBuilder &builder, Location loc, const TargetSpec &target,
                                   const MatrixRef &lhs, int64_t most) {
  if (!layout.roundsRows || getMostDigitRows(target, lhs) < most) {
    return false;
  }
  makeDigits(builder, loc, most);
  return true;
}

void PackedPanels::makeDigits(OpBuilder &builder, Location loc, int64_t most) {
  IndexMath math{builder, loc};
  int64_t size = most * layout.rows / getSpan() * getSpanBytes();
  digitBytes = makeScratch(builder, loc, builder.getI8Type(), size);
  auto type = MemRefType::get({ShapedType::kDynamic}, builder.getI32Type());
  digits = memref::ViewOp::create(builder, loc, type, digitBytes, math.value(math.constant(0)),
                                  ValueRange{math.value(math.constant(size / 4))});
}

namespace {
/// What elements of a span are multiplied with to become integers, f32, and its inverse, its bits as i32.
struct SpanScale {
  Value scale, inverse;
};
} // namespace

static Value buildWord(OpBuilder &builder, Location loc, int64_t value) {
  return arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), value);
}

/// A power of two, by the bits of the largest magnitude.
static SpanScale buildPowerScale(OpBuilder &builder, Location loc, Value highest) {
  auto number = [&](int64_t value) { return buildWord(builder, loc, value); };
  // Below 2^-105, digits have fewer bits: the power of two must be a normal number, and so must its inverse.
  Value exponent = arith::ShRUIOp::create(builder, loc, highest, number(23));
  exponent = arith::MaxUIOp::create(builder, loc, exponent, number(kDigitBits));
  // 2^(21 - (exponent - 127)) and its inverse.
  Value scale = arith::SubIOp::create(builder, loc, number(2 * 127 + kDigitBits - 1), exponent);
  scale = arith::ShLIOp::create(builder, loc, scale, number(23));
  Value inverse = arith::SubIOp::create(builder, loc, exponent, number(kDigitBits - 1));
  inverse = arith::ShLIOp::create(builder, loc, inverse, number(23));
  return {arith::BitcastOp::create(builder, loc, builder.getF32Type(), scale), inverse};
}

/// That of elements which are integers up to kLargestCode times a scale already. NaN and infinities give no
/// number.
static SpanScale buildRoundedScale(OpBuilder &builder, Location loc, Value highest) {
  auto f32 = builder.getF32Type();
  auto number = [&](float value) -> Value {
    return arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(value));
  };
  highest = arith::MaxUIOp::create(
      builder, loc, highest, buildWord(builder, loc, llvm::bit_cast<int32_t>(float(pack::kLeastMagnitude))));
  Value largest = arith::BitcastOp::create(builder, loc, f32, highest);
  Value inverse = arith::MulFOp::create(builder, loc, largest, number(1.0f / pack::kLargestCode));
  return {arith::DivFOp::create(builder, loc, number(pack::kLargestCode), largest),
          arith::BitcastOp::create(builder, loc, builder.getI32Type(), inverse)};
}

Value PackedPanels::splitRows(OpBuilder &builder, Location loc, OpFoldResult rows, const MatrixRef &lhs) {
  IndexMath math{builder, loc};
  int64_t span = getSpan(), spans = layout.rows / span;
  auto i32 = builder.getI32Type();
  auto words = VectorType::get({kLanes}, i32), floats = words.clone(builder.getF32Type());
  auto number = [&](int64_t value) { return buildWord(builder, loc, value); };
  auto splat = [&](uint32_t bits) -> Value {
    return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(words, APInt(32, bits)));
  };
  // Of codes of less than a byte, each part of a byte has a dot product of its own: rows in the order of
  // parts.
  int64_t parts = 8 / layout.bits, wordRows = layout.unitRows();
  SmallVector<int64_t> order;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    int64_t within = lane % wordRows;
    order.push_back(lane - within + within % 4 * parts + within / 4);
  }

  // Splits a span and returns the larger of `largest` and its magnitudes, as bits.
  auto splitSpan = [&](Value row, Value index, Value largest) -> Value {
    OpFoldResult from =
        math.add(math.add(lhs.offset, math.mul(lhs.rowStride, row)), math.mul(index, math.constant(span)));
    SmallVector<Value> elements;
    Value magnitudes;
    for (int64_t first = 0; first < span; first += kLanes) {
      Value at = math.value(math.add(from, math.constant(first)));
      elements.push_back(vector::LoadOp::create(builder, loc, floats, lhs.base, ValueRange{at}));
      Value bits = arith::BitcastOp::create(builder, loc, words, elements.back());
      bits = arith::AndIOp::create(builder, loc, bits, splat(0x7fffffff));
      magnitudes = magnitudes ? arith::MaxUIOp::create(builder, loc, magnitudes, bits).getResult() : bits;
    }
    Value highest = vector::ReductionOp::create(builder, loc, vector::CombiningKind::MAXUI, magnitudes);
    SpanScale scale =
        layout.roundsRows ? buildRoundedScale(builder, loc, highest) : buildPowerScale(builder, loc, highest);
    Value scales = vector::BroadcastOp::create(builder, loc, floats, scale.scale);

    OpFoldResult place =
        math.mul(math.add(math.mul(row, math.constant(spans)), index), math.constant(getSpanBytes()));
    int64_t digitCount = getDigits();
    Value sums[kDigits];
    for (auto [i, element] : llvm::enumerate(elements)) {
      // Adding 1.5 * 2^23 leaves the nearest integer in the mantissa.
      Value rounded = arith::MulFOp::create(builder, loc, element, scales);
      Value magic = arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(floats, 12582912.0f));
      rounded = arith::AddFOp::create(builder, loc, rounded, magic);
      Value rest = arith::BitcastOp::create(builder, loc, words, rounded);
      rest = arith::SubIOp::create(builder, loc, rest, splat(0x4b400000));
      for (int64_t digit = 0; digit < digitCount; ++digit) {
        Value low = arith::ShLIOp::create(builder, loc, rest, splat(24));
        low = arith::ShRSIOp::create(builder, loc, low, splat(24));
        rest = arith::SubIOp::create(builder, loc, rest, low);
        rest = arith::ShRSIOp::create(builder, loc, rest, splat(8));
        sums[digit] = sums[digit] ? arith::AddIOp::create(builder, loc, sums[digit], low).getResult() : low;
        Value narrow = arith::TruncIOp::create(builder, loc, words.clone(builder.getI8Type()), low);
        narrow = vector::ShuffleOp::create(builder, loc, narrow, narrow, order);
        OpFoldResult to = math.add(place, math.constant(digit * span + int64_t(i) * kLanes));
        vector::StoreOp::create(builder, loc, narrow, digitBytes, ValueRange{math.value(to)});
      }
    }
    OpFoldResult behind =
        math.add(math.floorDiv(place, math.constant(4)), math.constant(digitCount * span / 4));
    auto store = [&](Value value, int64_t position) {
      memref::StoreOp::create(builder, loc, value, digits,
                              ValueRange{math.value(math.add(behind, math.constant(position)))});
    };
    for (int64_t digit = 0; digit < digitCount; ++digit) {
      Value sum = vector::ReductionOp::create(builder, loc, vector::CombiningKind::ADD, sums[digit]);
      // What the codes' zero is multiplied with, negated.
      store(arith::MulIOp::create(builder, loc, sum, number(layout.hasZeros ? -1 : -*layout.middle)), digit);
    }
    store(scale.inverse, digitCount);
    return arith::MaxUIOp::create(builder, loc, largest, highest);
  };

  Value zero = math.value(math.constant(0)), one = math.value(math.constant(1));
  auto byRow = [&](OpBuilder &, Location, Value row, ValueRange before) {
    auto bySpan = [&](OpBuilder &, Location, Value index, ValueRange carried) {
      scf::YieldOp::create(builder, loc, splitSpan(row, index, carried.front()));
    };
    auto loop = scf::ForOp::create(builder, loc, zero, math.value(math.constant(spans)), one, before, bySpan);
    scf::YieldOp::create(builder, loc, loop.getResults());
  };
  auto loop = scf::ForOp::create(builder, loc, zero, math.value(rows), one, ValueRange{number(0)}, byRow);
  return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, loop.getResult(0),
                               number(0x7f800000));
}

SmallVector<Value> PackedPanels::emitDots(OpBuilder &builder, Location loc, const RegisterTile &tile,
                                          Value firstRow, OpFoldResult firstColumn) const {
  IndexMath math{builder, loc};
  int64_t span = getSpan(), spans = layout.rows / span, perGroup = layout.group / span;
  int64_t parts = 8 / layout.bits, spanWords = span / layout.unitRows(), digitCount = getDigits();
  auto i32 = builder.getI32Type();
  auto words = VectorType::get({kLanes}, i32), floats = words.clone(builder.getF32Type());
  auto byteType = VectorType::get({4 * kLanes}, builder.getI8Type());
  auto splat = [&](uint32_t bits) -> Value {
    return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(words, APInt(32, bits)));
  };
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(floats));

  auto emitSpan = [&](OpBuilder &, Location, Value number, ValueRange carried) {
    OpFoldResult group =
        perGroup == spans ? math.constant(0) : math.floorDiv(number, math.constant(perGroup));
    OpFoldResult first = perGroup == spans ? OpFoldResult(number) : math.rem(number, math.constant(perGroup));
    first = math.mul(first, math.constant(spanWords));
    Parameters parameters = loadParameters(builder, loc, tile, firstColumn, group);
    // Where the digits of a row lie, in words.
    auto place = [&](int64_t row) {
      OpFoldResult at =
          math.add(math.mul(math.add(firstRow, math.constant(row)), math.constant(spans)), number);
      return math.mul(at, math.constant(getSpanBytes() / 4));
    };
    auto load = [&](int64_t row, int64_t position) -> Value {
      Value at = math.value(math.add(place(row), math.constant(position)));
      Value word = memref::LoadOp::create(builder, loc, digits, ValueRange{at});
      return vector::BroadcastOp::create(builder, loc, words, word);
    };
    // Sums by digit, row and vector.
    SmallVector<Value> sums;
    SmallVector<Value> zeros;
    for (Value each : parameters.zeros) {
      zeros.push_back(arith::FPToSIOp::create(builder, loc, words, each));
    }
    for (int64_t digit = 0; digit < digitCount; ++digit) {
      for (int64_t row = 0; row < tile.rows; ++row) {
        Value init = load(row, digitCount * span / 4 + digit);
        for (int64_t vector = 0; vector < tile.vectors; ++vector) {
          sums.push_back(
              zeros.empty() ? init : arith::MulIOp::create(builder, loc, init, zeros[vector]).getResult());
        }
      }
    }
    for (int64_t word = 0; word < spanWords; ++word) {
      OpFoldResult at = getUnitPlace(builder, loc, firstColumn, group, math.add(first, math.constant(word)));
      SmallVector<Value> codes;
      for (int64_t vector = 0; vector < tile.vectors; ++vector) {
        codes.push_back(loadWords(builder, loc, tile, at, vector));
        fetchAhead(builder, loc, tile, at, vector);
      }
      for (int64_t part = 0; part < parts; ++part) {
        SmallVector<Value> bytes;
        for (Value code : codes) {
          if (part) {
            code = arith::ShRUIOp::create(builder, loc, code, splat(part * layout.bits));
          }
          if (parts > 1) {
            code = arith::AndIOp::create(builder, loc, code, splat(0x01010101u * ((1u << layout.bits) - 1)));
          }
          bytes.push_back(vector::BitCastOp::create(builder, loc, byteType, code));
        }
        for (int64_t digit = 0; digit < digitCount; ++digit) {
          for (int64_t row = 0; row < tile.rows; ++row) {
            Value four = load(row, digit * span / 4 + word * parts + part);
            four = vector::BitCastOp::create(builder, loc, byteType, four);
            for (int64_t vector = 0; vector < tile.vectors; ++vector) {
              Value &sum = sums[(digit * tile.rows + row) * tile.vectors + vector];
              sum = LLVM::CallIntrinsicOp::create(builder, loc, words,
                                                  builder.getStringAttr("llvm.x86.avx512.vpdpbusd.512"),
                                                  ValueRange{sum, bytes[vector], four})
                        .getResults();
            }
          }
        }
      }
    }
    SmallVector<Value> totals(carried);
    for (int64_t row = 0; row < tile.rows; ++row) {
      Value inverse =
          arith::BitcastOp::create(builder, loc, floats, load(row, digitCount * span / 4 + digitCount));
      for (int64_t vector = 0; vector < tile.vectors; ++vector) {
        auto sum = [&](int64_t digit) { return sums[(digit * tile.rows + row) * tile.vectors + vector]; };
        Value number = arith::SIToFPOp::create(builder, loc, floats, sum(0));
        if (digitCount == kDigits) {
          Value high = arith::ShLIOp::create(builder, loc, sum(2), splat(8));
          high = arith::AddIOp::create(builder, loc, high, sum(1));
          high = arith::SIToFPOp::create(builder, loc, floats, high);
          Value factor = arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(floats, 256.0f));
          number = vector::FMAOp::create(builder, loc, high, factor, number);
        }
        number = arith::MulFOp::create(builder, loc, number, inverse);
        Value &total = totals[row * tile.vectors + vector];
        total = vector::FMAOp::create(builder, loc, number, parameters.scales[vector], total);
      }
    }
    scf::YieldOp::create(builder, loc, totals);
  };
  auto loop =
      scf::ForOp::create(builder, loc, math.value(math.constant(0)), math.value(math.constant(spans)),
                         math.value(math.constant(1)), SmallVector<Value>(tile.sums(), zero), emitSpan);
  return SmallVector<Value>(loop.getResults());
}

void PackedPanels::emitDotRows(OpBuilder &builder, Location loc, const MatMulTiling &tiling,
                               OpFoldResult rows, OpFoldResult firstColumn, Value scratch) const {
  IndexMath math{builder, loc};
  auto emitTile = [&](int64_t height, Value firstRow) {
    RegisterTile tile = tiling.tile(height, tiling.vectors);
    for (auto [i, sum] : llvm::enumerate(emitDots(builder, loc, tile, firstRow, firstColumn))) {
      int64_t ahead = int64_t(i) / tile.vectors * tiling.columns() + int64_t(i) % tile.vectors * tiling.lanes;
      OpFoldResult place =
          math.add(math.mul(firstRow, math.constant(tiling.columns())), math.constant(ahead));
      vector::StoreOp::create(builder, loc, sum, scratch, ValueRange{math.value(place)});
    }
  };
  int64_t most = layout.roundsRows ? kRoundedTileRows : kTileRows;
  OpFoldResult height = math.constant(most);
  Value done = math.value(math.mul(math.floorDiv(rows, height), height));
  auto body = [&](OpBuilder &, Location, Value row, ValueRange) {
    emitTile(most, row);
    scf::YieldOp::create(builder, loc);
  };
  scf::ForOp::create(builder, loc, math.value(math.constant(0)), done, math.value(height), ValueRange(),
                     body);
  SmallVector<int64_t> heights = llvm::to_vector(llvm::seq<int64_t>(1, most));
  Value left = math.value(math.sub(rows, done));
  auto choose = scf::IndexSwitchOp::create(builder, loc, TypeRange(), left, heights, heights.size());
  OpBuilder::InsertionGuard guard(builder);
  for (auto [lower, region] : llvm::zip_equal(heights, choose.getCaseRegions())) {
    builder.createBlock(&region);
    emitTile(lower, done);
    scf::YieldOp::create(builder, loc);
  }
  builder.createBlock(&choose.getDefaultRegion());
  scf::YieldOp::create(builder, loc);
}
