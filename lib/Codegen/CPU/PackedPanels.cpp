// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PackedPanels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;
using pack::PanelLayout;

/// How far ahead of itself, in words, a product of few rows fetches its panel: two pages of memory.
static constexpr int64_t kStreamAhead = 2048;
/// Groups of so many words are unrolled.
static constexpr int64_t kUnrolledWords = 8;

/// Code number `position` of a unit as a place in a table. What lies above its bits is left there.
static Value buildPlace(OpBuilder &builder, Location loc, ValueRange unit, int64_t bits, int64_t position) {
  constexpr int64_t kWordBits = 8 * PanelLayout::kWordBytes;
  auto type = cast<VectorType>(unit.front().getType());
  auto splat = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, APInt(kWordBits, value)));
  };
  int64_t word = position * bits / kWordBits, shift = position * bits % kWordBits;
  Value place = unit[word];
  if (shift) {
    place = arith::ShRUIOp::create(builder, loc, place, splat(shift));
  }
  if (shift + bits > kWordBits) {
    Value rest = arith::ShLIOp::create(builder, loc, unit[word + 1], splat(kWordBits - shift));
    place = arith::OrIOp::create(builder, loc, place, rest);
  }
  return place;
}

/// The numbers at places of a table, of which the lowest bits count that it needs. Permutations of a vector
/// read these bits alone; a table of two vectors is read from both.
static Value buildLookup(OpBuilder &builder, Location loc, ArrayRef<float> table, Value place) {
  auto words = cast<VectorType>(place.getType());
  auto type = words.clone(builder.getF32Type());
  int64_t lanes = type.getNumElements(), size = llvm::PowerOf2Ceil(table.size());
  StringRef name = lanes == 16 ? "llvm.x86.avx512.permvar.sf.512" : "llvm.x86.avx2.permps";
  auto permute = [&](int64_t first) -> Value {
    SmallVector<float> part;
    for (int64_t i = 0; i < lanes; ++i) {
      // Smaller tables stand there several times; places behind the last number are never codes.
      size_t at = first + i % size;
      part.push_back(at < table.size() ? table[at] : 0);
    }
    Value numbers = arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, ArrayRef(part)));
    return LLVM::CallIntrinsicOp::create(builder, loc, type, builder.getStringAttr(name),
                                         ValueRange{numbers, place})
        .getResults();
  };
  Value number = permute(0);
  if (size > lanes) {
    // The bit above those that the permutation reads, as a sign.
    auto splat = [&](int64_t value) -> Value {
      return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(words, APInt(32, value)));
    };
    Value sign = arith::ShLIOp::create(builder, loc, place, splat(31 - llvm::Log2_64(lanes)));
    Value isAbove = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, sign, splat(0));
    number = arith::SelectOp::create(builder, loc, isAbove, permute(lanes), number);
  }
  return number;
}

bool PackedPanels::areRounded(const MatMulProblem &problem) {
  return problem.root->hasAttr(pack::PackDialect::kRoundedAttr);
}

std::optional<PackedPanels> PackedPanels::find(EmitContext &context, const MatMulProblem &problem) {
  Value rhs = problem.rhs;
  auto decode = rhs.getDefiningOp<pack::DecodeOp>();
  auto input = decode ? decode.getX().getDefiningOp<kernel::InputOp>() : kernel::InputOp();
  if (!input) {
    return std::nullopt;
  }
  PackedPanels panels(decode.getX().getType(), areRounded(problem));
  OpBuilder &builder = context.builder;
  IndexMath math{builder, decode.getLoc()};
  auto view = [&](Type element) -> Value {
    int64_t size = panels.layout.bytes() * 8 / element.getIntOrFloatBitWidth();
    return memref::ViewOp::create(builder, math.loc, MemRefType::get({ShapedType::kDynamic}, element),
                                  input.getBytes(), math.value(math.constant(0)),
                                  ValueRange{math.value(math.constant(size))});
  };
  panels.words = view(builder.getI32Type());
  panels.scales = panels.layout.scales ? view(panels.layout.scales) : Value();
  panels.bytes = input.getBytes();
  return panels;
}

OpFoldResult PackedPanels::getGroupPlace(OpBuilder &builder, Location loc, OpFoldResult firstColumn,
                                         OpFoldResult group) const {
  IndexMath math{builder, loc};
  OpFoldResult panel = math.floorDiv(firstColumn, math.constant(PanelLayout::kWidth));
  return math.add(math.mul(panel, math.constant(layout.panelBytes())),
                  math.mul(group, math.constant(layout.groupBytes())));
}

PackedPanels::Parameters PackedPanels::loadParameters(OpBuilder &builder, Location loc,
                                                      const RegisterTile &tile, OpFoldResult firstColumn,
                                                      OpFoldResult group) const {
  Parameters parameters;
  if (!layout.scales) {
    return parameters;
  }
  IndexMath math{builder, loc};
  OpFoldResult place = getGroupPlace(builder, loc, firstColumn, group);
  OpFoldResult column = math.rem(firstColumn, math.constant(PanelLayout::kWidth));
  auto floats = VectorType::get({tile.lanes}, builder.getF32Type());
  int64_t scaleBytes = layout.scales.getIntOrFloatBitWidth() / 8;
  for (int64_t vector = 0; vector < tile.vectors; ++vector) {
    OpFoldResult own = math.add(column, math.constant(vector * tile.lanes));
    OpFoldResult at = math.add(math.floorDiv(place, math.constant(scaleBytes)), own);
    Value scale = vector::LoadOp::create(builder, loc, VectorType::get({tile.lanes}, layout.scales), scales,
                                         ValueRange{math.value(at)});
    parameters.scales.push_back(
        layout.scales.isF32() ? scale : arith::ExtFOp::create(builder, loc, floats, scale).getResult());
    if (layout.hasZeros) {
      at = math.add(math.add(place, math.constant(layout.scaleBytes())), own);
      auto type = VectorType::get({tile.lanes}, builder.getI8Type());
      Value zero = vector::LoadOp::create(builder, loc, type, bytes, ValueRange{math.value(at)});
      zero = arith::ExtUIOp::create(builder, loc, type.clone(builder.getI32Type()), zero);
      parameters.zeros.push_back(arith::SIToFPOp::create(builder, loc, floats, zero));
    }
  }
  return parameters;
}

OpFoldResult PackedPanels::getUnitPlace(OpBuilder &builder, Location loc, OpFoldResult firstColumn,
                                        OpFoldResult group, OpFoldResult unit) const {
  IndexMath math{builder, loc};
  OpFoldResult place = getGroupPlace(builder, loc, firstColumn, group);
  place = math.floorDiv(math.add(place, math.constant(layout.parameterBytes())),
                        math.constant(PanelLayout::kWordBytes));
  place = math.add(place, math.rem(firstColumn, math.constant(PanelLayout::kWidth)));
  return math.add(place, math.mul(unit, math.constant(layout.unitWords() * PanelLayout::kWidth)));
}

Value PackedPanels::loadWords(OpBuilder &builder, Location loc, const RegisterTile &tile, OpFoldResult place,
                              int64_t vector) const {
  IndexMath math{builder, loc};
  OpFoldResult at = math.add(place, math.constant(vector * tile.lanes));
  return vector::LoadOp::create(builder, loc, VectorType::get({tile.lanes}, builder.getI32Type()), words,
                                ValueRange{math.value(at)});
}

SmallVector<Value> PackedPanels::loadUnit(OpBuilder &builder, Location loc, const RegisterTile &tile,
                                          OpFoldResult place, int64_t vector) const {
  IndexMath math{builder, loc};
  SmallVector<Value> unit;
  for (int64_t word = 0; word < layout.unitWords(); ++word) {
    OpFoldResult at = math.add(place, math.constant(word * PanelLayout::kWidth));
    unit.push_back(loadWords(builder, loc, tile, at, vector));
  }
  return unit;
}

Value PackedPanels::buildCode(OpBuilder &builder, Location loc, ValueRange unit, int64_t position,
                              Value zeros) const {
  ArrayRef<float> table = format.getTable();
  return table.empty()
             ? format.buildCode(builder, loc, unit, position, zeros)
             : buildLookup(builder, loc, table, buildPlace(builder, loc, unit, layout.bits, position));
}

void PackedPanels::fetchAhead(OpBuilder &builder, Location loc, const RegisterTile &tile, OpFoldResult place,
                              int64_t vector) const {
  if (vector * tile.lanes % kCacheLine == 0) {
    IndexMath math{builder, loc};
    OpFoldResult ahead = math.add(place, math.constant(kStreamAhead + vector * tile.lanes));
    memref::PrefetchOp::create(builder, loc, words, ValueRange{math.value(ahead)}, /*isWrite=*/false,
                               /*localityHint=*/2, /*isDataCache=*/true);
  }
}

void PackedPanels::decode(OpBuilder &builder, Location loc, const MatMulTiling &tiling,
                          OpFoldResult firstColumn, Value firstDepth, OpFoldResult depth,
                          Value buffer) const {
  IndexMath math{builder, loc};
  RegisterTile tile = tiling.tile(/*height=*/1, tiling.vectors);
  OpFoldResult unitRows = math.constant(layout.unitRows()), group = math.constant(layout.group);
  bool isOneGroup = layout.group == layout.rows;
  auto body = [&](OpBuilder &, Location, Value k, ValueRange) {
    OpFoldResult row = math.add(firstDepth, k);
    OpFoldResult number = isOneGroup ? math.constant(0) : math.floorDiv(row, group);
    OpFoldResult unit = math.floorDiv(isOneGroup ? row : math.rem(row, group), unitRows);
    Parameters parameters = loadParameters(builder, loc, tile, firstColumn, number);
    OpFoldResult place = getUnitPlace(builder, loc, firstColumn, number, unit);
    for (int64_t vector = 0; vector < tile.vectors; ++vector) {
      SmallVector<Value> words = loadUnit(builder, loc, tile, place, vector);
      for (int64_t position = 0; position < layout.unitRows(); ++position) {
        Value zeros = layout.hasZeros ? parameters.zeros[vector] : Value();
        Value value = buildCode(builder, loc, words, position, zeros);
        if (layout.scales) {
          value = arith::MulFOp::create(builder, loc, value, parameters.scales[vector]);
        }
        OpFoldResult to = math.mul(math.add(k, math.constant(position)), math.constant(tiling.columns()));
        to = math.add(to, math.constant(vector * tile.lanes));
        vector::StoreOp::create(builder, loc, value, buffer, ValueRange{math.value(to)});
      }
    }
    scf::YieldOp::create(builder, loc);
  };
  scf::ForOp::create(builder, loc, math.value(math.constant(0)), math.value(depth), math.value(unitRows),
                     ValueRange(), body);
}

SmallVector<Value> PackedPanels::emitProducts(OpBuilder &builder, Location loc, const RegisterTile &tile,
                                              const MatrixRef &lhs, OpFoldResult firstColumn) const {
  IndexMath math{builder, loc};
  auto vectorType = VectorType::get({tile.lanes}, builder.getF32Type());
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(vectorType));
  int64_t groupUnits = llvm::divideCeil(layout.group, layout.unitRows());

  // Adds the products of one unit's rows.
  auto emitUnit = [&](OpFoldResult group, OpFoldResult unit, const Parameters &parameters,
                      MutableArrayRef<Value> sums) {
    OpFoldResult place = getUnitPlace(builder, loc, firstColumn, group, unit);
    OpFoldResult row = math.add(math.mul(group, math.constant(layout.group)),
                                math.mul(unit, math.constant(layout.unitRows())));
    SmallVector<SmallVector<Value>> words;
    for (int64_t vector = 0; vector < tile.vectors; ++vector) {
      words.push_back(loadUnit(builder, loc, tile, place, vector));
      for (int64_t word = 0; word < layout.unitWords(); ++word) {
        OpFoldResult at = math.add(place, math.constant(word * PanelLayout::kWidth));
        fetchAhead(builder, loc, tile, at, vector);
      }
    }
    for (int64_t position = 0; position < layout.unitRows(); ++position) {
      SmallVector<Value> codes;
      for (int64_t vector = 0; vector < tile.vectors; ++vector) {
        Value zeros = layout.hasZeros ? parameters.zeros[vector] : Value();
        codes.push_back(buildCode(builder, loc, words[vector], position, zeros));
      }
      OpFoldResult k = math.add(row, math.constant(position));
      for (int64_t i = 0; i < tile.rows; ++i) {
        OpFoldResult at = math.add(lhs.offset, math.mul(lhs.rowStride, math.constant(i)));
        at = math.add(at, math.mul(k, lhs.columnStride));
        Value element = memref::LoadOp::create(builder, loc, lhs.base, ValueRange{math.value(at)});
        Value broadcast = vector::BroadcastOp::create(builder, loc, vectorType, element);
        for (int64_t vector = 0; vector < tile.vectors; ++vector) {
          Value &sum = sums[(position % tile.chains) * tile.sums() + i * tile.vectors + vector];
          sum = vector::FMAOp::create(builder, loc, broadcast, codes[vector], sum);
        }
      }
    }
  };

  auto emitGroup = [&](OpBuilder &, Location, Value group, ValueRange carried) {
    Parameters parameters = loadParameters(builder, loc, tile, firstColumn, group);
    SmallVector<Value> sums(tile.chains * tile.sums(), zero);
    if (groupUnits * layout.unitWords() <= kUnrolledWords) {
      for (int64_t unit = 0; unit < groupUnits; ++unit) {
        emitUnit(group, math.constant(unit), parameters, sums);
      }
    } else {
      auto body = [&](OpBuilder &, Location, Value unit, ValueRange before) {
        SmallVector<Value> next(before);
        emitUnit(group, unit, parameters, next);
        scf::YieldOp::create(builder, loc, next);
      };
      auto loop =
          scf::ForOp::create(builder, loc, math.value(math.constant(0)),
                             math.value(math.constant(groupUnits)), math.value(math.constant(1)), sums, body);
      sums = SmallVector<Value>(loop.getResults());
    }
    for (int64_t width = tile.chains / 2; width > 0; width /= 2) {
      for (int64_t i = 0; i < width * tile.sums(); ++i) {
        sums[i] = arith::AddFOp::create(builder, loc, sums[i], sums[i + width * tile.sums()]);
      }
    }
    SmallVector<Value> totals(carried);
    for (auto [i, total] : llvm::enumerate(totals)) {
      total = layout.scales
                  ? vector::FMAOp::create(builder, loc, sums[i], parameters.scales[i % tile.vectors], total)
                        .getResult()
                  : arith::AddFOp::create(builder, loc, sums[i], total).getResult();
    }
    scf::YieldOp::create(builder, loc, totals);
  };
  int64_t groups = llvm::divideCeil(layout.rows, layout.group);
  auto loop =
      scf::ForOp::create(builder, loc, math.value(math.constant(0)), math.value(math.constant(groups)),
                         math.value(math.constant(1)), SmallVector<Value>(tile.sums(), zero), emitGroup);
  return SmallVector<Value>(loop.getResults());
}

Value PackedPanels::prepareFewRows(OpBuilder &builder, Location loc, const TargetSpec &target,
                                   OpFoldResult rows, const MatrixRef &lhs) {
  IndexMath math{builder, loc};
  int64_t most = getMostDigitRows(target, lhs);
  // Decoding into memory pays once several rows read it.
  few = most ? 0 : target.vectorRegisters >= 32 ? 4 : 1;
  Value isFew = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ule, math.value(rows),
                                      math.value(math.constant(most ? most : few)));
  if (!most) {
    return isFew;
  }
  makeDigits(builder, loc, most);
  Value no = arith::ConstantIntOp::create(builder, loc, builder.getI1Type(), 0);
  auto choose =
      scf::IfOp::create(builder, loc, TypeRange{builder.getI1Type()}, isFew, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(choose.thenBlock());
  scf::YieldOp::create(builder, loc, splitRows(builder, loc, rows, lhs));
  builder.setInsertionPointToStart(choose.elseBlock());
  scf::YieldOp::create(builder, loc, no);
  return choose.getResult(0);
}

void PackedPanels::emitFewRows(OpBuilder &builder, Location loc, const MatMulTiling &tiling,
                               OpFoldResult rows, const MatrixRef &lhs, OpFoldResult firstColumn,
                               Value scratch) const {
  if (digits) {
    return emitDotRows(builder, loc, tiling, rows, firstColumn, scratch);
  }
  IndexMath math{builder, loc};
  SmallVector<int64_t> heights = llvm::to_vector(llvm::seq<int64_t>(1, few + 1));
  auto choose = scf::IndexSwitchOp::create(builder, loc, TypeRange(), math.value(rows), heights, few);
  OpBuilder::InsertionGuard guard(builder);
  for (auto [height, region] : llvm::zip_equal(heights, choose.getCaseRegions())) {
    builder.createBlock(&region);
    RegisterTile tile = tiling.tile(height, tiling.vectors);
    SmallVector<Value> sums = emitProducts(builder, loc, tile, lhs, firstColumn);
    for (auto [i, sum] : llvm::enumerate(sums)) {
      int64_t place = int64_t(i) / tile.vectors * tiling.columns() + int64_t(i) % tile.vectors * tiling.lanes;
      vector::StoreOp::create(builder, loc, sum, scratch, ValueRange{math.value(math.constant(place))});
    }
    scf::YieldOp::create(builder, loc);
  }
  builder.createBlock(&choose.getDefaultRegion());
  scf::YieldOp::create(builder, loc);
}

OpFoldResult cpu::raisePackedGrain(IndexMath math, const MatMulProblem &problem, OpFoldResult grain) {
  // What that takes is up to half of a task.
  constexpr int64_t kTasks = 4, kFewRows = 64;
  if (!problem.rhs.getDefiningOp<pack::DecodeOp>()) {
    return grain;
  }
  OpFoldResult few = math.floorDiv(math.constant(kFewRows), math.max(problem.m, math.constant(1)));
  return math.max(grain, math.mul(math.min(few, math.constant(1)), math.constant(kTasks)));
}
