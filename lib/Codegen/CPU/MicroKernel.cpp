// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CPU/MicroKernel.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// Lines that a register tile may fetch ahead with each unrolled step: more hold it up.
static constexpr int64_t kMaxPrefetchLines = 4;

RegisterTile MatMulTiling::tile(int64_t height, int64_t vectors) const {
  // Eight sums hide the latency of a fused multiply-add on two ports.
  int64_t chains = 1;
  while (chains < 4 && height * vectors * chains < 8) {
    chains *= 2;
  }
  return {height, vectors, lanes, /*unroll=*/4, chains, factors, hasDot};
}

MatMulTiling cpu::chooseMatMulTiling(const TargetSpec &target, Factors factors) {
  int64_t lanes = target.lanes(32);
  bool hasDot = factors == Factors::Pairs && target.hasAVX512BF16;
  if (target.vectorRegisters >= 32) {
    // 16 registers for the sums and 2 for the right-hand side, 4 where each half of a pair becomes a vector.
    // Taller and wider tiles are within 1 % on Zen 4.
    return {/*rows=*/8,          /*vectors=*/2, lanes, /*blockRows=*/64,
            /*blockDepth=*/2048, factors,       hasDot};
  }
  if (factors != Factors::Floats) {
    // 8 registers for the sums, 4 for the right-hand side, 2 for the elements of the other.
    return {/*rows=*/4,          /*vectors=*/2, lanes, /*blockRows=*/60,
            /*blockDepth=*/2048, factors,       hasDot};
  }
  // 12 registers for the sums, 2 for the right-hand side, 1 for the broadcast element.
  return {/*rows=*/6, /*vectors=*/2, lanes, /*blockRows=*/60, /*blockDepth=*/2048, factors, hasDot};
}

namespace {

/// The state of one register tile while it is emitted. The reduced dimension is gone through in steps of one
/// element, or of one pair.
class TileEmitter {
public:
  TileEmitter(OpBuilder &builder, Location loc, const RegisterTile &tile, const MatrixRef &lhs,
              const MatrixRef &rhs, ArrayRef<Value> masks, const PrefetchStream &prefetch)
      : builder(builder), loc(loc), tile(tile), lhs(lhs), rhs(rhs), masks(masks), prefetch(prefetch),
        group(getGroup(tile.factors)), sumType(VectorType::get({tile.lanes}, builder.getF32Type())) {
    zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
    IndexMath math{builder, loc};
    for (int64_t row = 0; row < tile.rows; ++row) {
      rowOffsets.push_back(math.mul(lhs.rowStride, math.constant(row)));
    }
  }

  /// Adds the products of `count` steps from number `first` on, each step to the next chain. Of the last one
  /// only the first half counts with `isHalf`.
  void emitSteps(Value first, int64_t count, MutableArrayRef<Value> sums, bool isHalf = false) {
    IndexMath math{builder, loc};
    OpFoldResult lhsStart =
        math.add(lhs.offset, math.mul(first, math.mul(lhs.columnStride, math.constant(group))));
    OpFoldResult rhsStart = math.add(rhs.offset, math.mul(first, rhs.rowStride));
    for (int64_t step = 0; step < count; ++step) {
      SmallVector<SmallVector<Value>> columns;
      for (int64_t vector = 0; vector < tile.vectors; ++vector) {
        OpFoldResult ahead = math.add(math.mul(rhs.rowStride, math.constant(step)),
                                      math.constant(vector * tile.lanes * group));
        columns.push_back(loadColumns(math.value(math.add(rhsStart, ahead)), vector));
      }
      for (int64_t row = 0; row < tile.rows; ++row) {
        OpFoldResult ahead =
            math.add(rowOffsets[row], math.mul(lhs.columnStride, math.constant(step * group)));
        SmallVector<Value> elements = loadElements(math.add(lhsStart, ahead), isHalf);
        for (int64_t vector = 0; vector < tile.vectors; ++vector) {
          Value &sum = sums[(step % tile.chains) * tile.sums() + row * tile.vectors + vector];
          for (auto [element, column] : llvm::zip(elements, columns[vector])) {
            sum = multiplyAdd(element, column, sum);
          }
        }
      }
    }
  }

  /// A loop over steps in [begin, end), `count` at a time; returns the sums after it.
  SmallVector<Value> emitLoop(OpFoldResult begin, OpFoldResult end, int64_t count, ArrayRef<Value> sums,
                              bool isHalf = false) {
    IndexMath math{builder, loc};
    auto body = [&](OpBuilder &, Location, Value step, ValueRange carried) {
      SmallVector<Value> next(carried);
      if (count == tile.unroll && prefetch.lines > 0) {
        emitPrefetches(step);
      }
      emitSteps(step, count, next, isHalf);
      scf::YieldOp::create(builder, loc, next);
    };
    auto loop = scf::ForOp::create(builder, loc, math.value(begin), math.value(end),
                                   math.value(math.constant(count)), sums, body);
    return SmallVector<Value>(loop.getResults());
  }

  Value getZero() const { return zero; }

private:
  /// The lines of the steps that begin with number `step`.
  void emitPrefetches(Value step) {
    IndexMath math{builder, loc};
    OpFoldResult start = math.add(math.add(rhs.offset, math.mul(step, rhs.rowStride)),
                                  math.mul(prefetch.ahead, math.constant(group)));
    for (int64_t i = 0; i < prefetch.lines; ++i) {
      Value place = math.value(math.add(start, math.constant(i * kCacheLine * group)));
      memref::PrefetchOp::create(builder, loc, rhs.base, ValueRange{place}, /*isWrite=*/false,
                                 /*localityHint=*/2, /*isDataCache=*/true);
    }
  }

  Type getElement(Value base) { return cast<MemRefType>(base.getType()).getElementType(); }

  /// A vector of columns of a step: one of f32 or of pairs, or one for each half of pairs.
  SmallVector<Value> loadColumns(Value index, int64_t vector) {
    auto type = VectorType::get({tile.lanes * group}, getElement(rhs.base));
    if (!masks.empty() && masks[vector]) {
      return {
          vector::MaskedLoadOp::create(builder, loc, type, rhs.base, ValueRange{index}, masks[vector], zero)};
    }
    Value loaded = vector::LoadOp::create(builder, loc, type, rhs.base, ValueRange{index});
    return group == 1 ? SmallVector<Value>{loaded} : getPairs(loaded);
  }

  /// The elements of a row in a step, repeated: the counterparts of what loadColumns returns.
  SmallVector<Value> loadElements(OpFoldResult start, bool isHalf) {
    IndexMath math{builder, loc};
    Value place = math.value(start);
    if (tile.factors == Factors::Floats) {
      Value element = memref::LoadOp::create(builder, loc, lhs.base, ValueRange{place});
      return {vector::BroadcastOp::create(builder, loc, sumType, element)};
    }
    Type word = builder.getI32Type(), halfWord = builder.getI16Type();
    Value pair;
    if (isHalf) {
      Value element = memref::LoadOp::create(builder, loc, lhs.base, ValueRange{place});
      if (element.getType() != halfWord) {
        element = arith::BitcastOp::create(builder, loc, halfWord, element);
      }
      pair = arith::ExtUIOp::create(builder, loc, word, element);
    } else {
      auto type = VectorType::get({2}, getElement(lhs.base));
      Value loaded = vector::LoadOp::create(builder, loc, type, lhs.base, ValueRange{place});
      loaded = vector::BitCastOp::create(builder, loc, VectorType::get({1}, word), loaded);
      pair = vector::ExtractOp::create(builder, loc, loaded, 0);
    }
    return getPairs(vector::BroadcastOp::create(builder, loc, VectorType::get({tile.lanes}, word), pair));
  }

  /// What is multiplied of a vector of pairs in any type: as bf16, or both halves as f32.
  SmallVector<Value> getPairs(Value vector) {
    if (!tile.hasDot) {
      return widen(vector);
    }
    auto type = VectorType::get({2 * tile.lanes}, builder.getBF16Type());
    return {vector.getType() == type ? vector
                                     : vector::BitCastOp::create(builder, loc, type, vector).getResult()};
  }

  /// The first and the second halves of pairs of bf16 as f32.
  SmallVector<Value> widen(Value pairs) {
    auto words = VectorType::get({tile.lanes}, builder.getI32Type());
    Value bits =
        pairs.getType() == words ? pairs : vector::BitCastOp::create(builder, loc, words, pairs).getResult();
    auto constant = [&](uint32_t value) -> Value {
      return arith::ConstantOp::create(
          builder, loc, DenseElementsAttr::get(words, builder.getI32IntegerAttr(int32_t(value)).getValue()));
    };
    Value first = arith::ShLIOp::create(builder, loc, bits, constant(16));
    Value second = arith::AndIOp::create(builder, loc, bits, constant(0xffff0000));
    return {vector::BitCastOp::create(builder, loc, sumType, first),
            vector::BitCastOp::create(builder, loc, sumType, second)};
  }

  Value multiplyAdd(Value element, Value column, Value sum) {
    if (!tile.hasDot) {
      return vector::FMAOp::create(builder, loc, element, column, sum);
    }
    return LLVM::CallIntrinsicOp::create(builder, loc, sumType,
                                         builder.getStringAttr("llvm.x86.avx512bf16.dpbf16ps.512"),
                                         ValueRange{sum, element, column})
        .getResults();
  }

  OpBuilder &builder;
  Location loc;
  const RegisterTile &tile;
  const MatrixRef &lhs, &rhs;
  ArrayRef<Value> masks;
  const PrefetchStream &prefetch;
  int64_t group;
  VectorType sumType;
  Value zero;
  SmallVector<OpFoldResult> rowOffsets;
};

} // namespace

int64_t cpu::getStepLines(const MatMulTiling &tiling, int64_t panelWidth) {
  return panelWidth * tiling.tile(tiling.rows, tiling.vectors).unroll / kCacheLine;
}

OpFoldResult cpu::getPrefetchShare(OpBuilder &builder, Location loc, OpFoldResult number, int64_t lines,
                                   int64_t stepLines) {
  IndexMath math{builder, loc};
  OpFoldResult share = math.rem(number, math.constant(stepLines / lines));
  return math.mul(share, math.constant(lines * kCacheLine));
}

void cpu::emitPrefetchingTiles(OpBuilder &builder, Location loc, const MatMulTiling &tiling,
                               OpFoldResult done, int64_t stepLines, llvm::function_ref<void(int64_t)> body) {
  IndexMath math{builder, loc};
  auto emitFrom = [&](int64_t lines, auto &emitFrom) -> void {
    if (lines == kMaxPrefetchLines) {
      body(lines);
      return;
    }
    OpFoldResult enough = math.constant(llvm::divideCeil(stepLines, lines) * tiling.rows);
    Value covers =
        arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::uge, math.value(done), math.value(enough));
    scf::IfOp::create(
        builder, loc, covers,
        [&](OpBuilder &, Location) {
          body(lines);
          scf::YieldOp::create(builder, loc);
        },
        [&](OpBuilder &, Location) {
          emitFrom(2 * lines, emitFrom);
          scf::YieldOp::create(builder, loc);
        });
  };
  emitFrom(1, emitFrom);
}

SmallVector<Value> cpu::emitRegisterTile(OpBuilder &builder, Location loc, const RegisterTile &tile,
                                         const MatrixRef &lhs, const MatrixRef &rhs, OpFoldResult depth,
                                         ArrayRef<Value> init, ArrayRef<Value> masks,
                                         const PrefetchStream &prefetch) {
  IndexMath math{builder, loc};
  TileEmitter emitter(builder, loc, tile, lhs, rhs, masks, prefetch);
  SmallVector<Value> sums(init);
  sums.resize(tile.chains * tile.sums(), emitter.getZero());
  // The builder's insertion point moves with the loops' bodies, which use this same builder.
  OpFoldResult group = math.constant(getGroup(tile.factors)), unroll = math.constant(tile.unroll);
  OpFoldResult steps = math.floorDiv(depth, group);
  OpFoldResult main = math.mul(math.floorDiv(steps, unroll), unroll);
  if (!isConstantSize(main, 0)) {
    sums = emitter.emitLoop(math.constant(0), main, tile.unroll, sums);
  }
  std::optional<int64_t> constant = getConstantIntValue(depth);
  if (constant) {
    emitter.emitSteps(math.value(main), *getConstantIntValue(steps) % tile.unroll, sums);
  } else {
    sums = emitter.emitLoop(main, steps, 1, sums);
  }
  if (constant && *constant % getGroup(tile.factors)) {
    emitter.emitSteps(math.value(steps), 1, sums, /*isHalf=*/true);
  } else if (!constant && tile.factors != Factors::Floats) {
    sums = emitter.emitLoop(steps, math.ceilDiv(depth, group), 1, sums, /*isHalf=*/true);
  }
  for (int64_t width = tile.chains / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width * tile.sums(); ++i) {
      sums[i] = arith::AddFOp::create(builder, loc, sums[i], sums[i + width * tile.sums()]);
    }
  }
  sums.resize(tile.sums());
  return sums;
}

SmallVector<Value> cpu::emitTranspose(OpBuilder &builder, Location loc, ArrayRef<Value> rows) {
  SmallVector<Value> matrix(rows);
  int64_t size = matrix.size();
  // Swaps, bit by bit of the index, the off-diagonal blocks of 2 x 2 blocks.
  for (int64_t bit = 1; bit < size; bit *= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t lane = 0; lane < size; ++lane) {
      low.push_back(lane & bit ? size + lane - bit : lane);
      high.push_back(lane & bit ? size + lane : lane + bit);
    }
    for (int64_t row = 0; row < size; ++row) {
      if (row & bit) {
        continue;
      }
      Value first = matrix[row], second = matrix[row + bit];
      matrix[row] = vector::ShuffleOp::create(builder, loc, first, second, low);
      matrix[row + bit] = vector::ShuffleOp::create(builder, loc, first, second, high);
    }
  }
  return matrix;
}

Value cpu::makeScratch(OpBuilder &builder, Location loc, Type elementType, int64_t size) {
  OpBuilder::InsertionGuard guard(builder);
  Operation *parent = builder.getInsertionBlock()->getParentOp();
  auto function =
      isa<func::FuncOp>(parent) ? cast<func::FuncOp>(parent) : parent->getParentOfType<func::FuncOp>();
  builder.setInsertionPointToStart(&function.getBody().front());
  return memref::AllocaOp::create(builder, loc, MemRefType::get({size}, elementType),
                                  builder.getI64IntegerAttr(64));
}
