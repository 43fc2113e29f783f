// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CPU/MicroKernel.h"
#include "lathe/Codegen/CPU/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
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
  return {height, vectors, lanes, /*unroll=*/4, chains};
}

MatMulTiling cpu::chooseMatMulTiling(const TargetSpec &target, unsigned elementBits) {
  int64_t lanes = target.lanes(elementBits);
  if (target.vectorRegisters >= 32) {
    // 16 registers for the sums and 2 for the right-hand side. Taller and wider tiles are within 1 % on
    // Zen 4.
    return {/*rows=*/8, /*vectors=*/2, lanes, /*blockRows=*/64, /*blockDepth=*/2048};
  }
  // 12 registers for the sums, 2 for the right-hand side, 1 for the broadcast element.
  return {/*rows=*/6, /*vectors=*/2, lanes, /*blockRows=*/60, /*blockDepth=*/2048};
}

namespace {

/// The state of one register tile while it is emitted.
class TileEmitter {
public:
  TileEmitter(OpBuilder &builder, Location loc, const RegisterTile &tile, const MatrixRef &lhs,
              const MatrixRef &rhs, ArrayRef<Value> masks, const PrefetchStream &prefetch)
      : builder(builder), loc(loc), tile(tile), lhs(lhs), rhs(rhs), masks(masks), prefetch(prefetch) {
    vectorType = VectorType::get({tile.lanes}, cast<MemRefType>(rhs.base.getType()).getElementType());
    zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(vectorType));
    IndexMath math{builder, loc};
    for (int64_t row = 0; row < tile.rows; ++row) {
      rowOffsets.push_back(math.mul(lhs.rowStride, math.constant(row)));
    }
  }

  /// Adds the products of `count` steps from `k` on, each step to the next chain.
  void emitSteps(Value k, int64_t count, MutableArrayRef<Value> sums) {
    IndexMath math{builder, loc};
    OpFoldResult lhsStart = math.add(lhs.offset, math.mul(k, lhs.columnStride));
    OpFoldResult rhsStart = math.add(rhs.offset, math.mul(k, rhs.rowStride));
    for (int64_t step = 0; step < count; ++step) {
      SmallVector<Value> rhsVectors;
      for (int64_t vector = 0; vector < tile.vectors; ++vector) {
        OpFoldResult ahead =
            math.add(math.mul(rhs.rowStride, math.constant(step)), math.constant(vector * tile.lanes));
        rhsVectors.push_back(loadVector(math.value(math.add(rhsStart, ahead)), vector));
      }
      for (int64_t row = 0; row < tile.rows; ++row) {
        OpFoldResult ahead = math.add(rowOffsets[row], math.mul(lhs.columnStride, math.constant(step)));
        Value element =
            memref::LoadOp::create(builder, loc, lhs.base, ValueRange{math.value(math.add(lhsStart, ahead))});
        Value broadcast = vector::BroadcastOp::create(builder, loc, vectorType, element);
        for (int64_t vector = 0; vector < tile.vectors; ++vector) {
          Value &sum = sums[(step % tile.chains) * tile.sums() + row * tile.vectors + vector];
          sum = vector::FMAOp::create(builder, loc, broadcast, rhsVectors[vector], sum);
        }
      }
    }
  }

  /// A loop over k in [begin, end) by `step`; returns the sums after it.
  SmallVector<Value> emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step, ArrayRef<Value> sums) {
    IndexMath math{builder, loc};
    auto body = [&](OpBuilder &, Location, Value k, ValueRange carried) {
      SmallVector<Value> next(carried);
      if (step == tile.unroll && prefetch.lines > 0) {
        emitPrefetches(k);
      }
      emitSteps(k, step, next);
      scf::YieldOp::create(builder, loc, next);
    };
    auto loop = scf::ForOp::create(builder, loc, math.value(begin), math.value(end),
                                   math.value(math.constant(step)), sums, body);
    return SmallVector<Value>(loop.getResults());
  }

  Value getZero() const { return zero; }

private:
  /// The lines of the step that begins at `k`.
  void emitPrefetches(Value k) {
    IndexMath math{builder, loc};
    OpFoldResult start = math.add(math.add(rhs.offset, math.mul(k, rhs.rowStride)), prefetch.ahead);
    for (int64_t i = 0; i < prefetch.lines; ++i) {
      Value place = math.value(math.add(start, math.constant(i * kCacheLine)));
      memref::PrefetchOp::create(builder, loc, rhs.base, ValueRange{place}, /*isWrite=*/false,
                                 /*localityHint=*/2, /*isDataCache=*/true);
    }
  }

  Value loadVector(Value index, int64_t vector) {
    if (masks.empty() || !masks[vector]) {
      return vector::LoadOp::create(builder, loc, vectorType, rhs.base, ValueRange{index});
    }
    return vector::MaskedLoadOp::create(builder, loc, vectorType, rhs.base, ValueRange{index}, masks[vector],
                                        zero);
  }

  OpBuilder &builder;
  Location loc;
  const RegisterTile &tile;
  const MatrixRef &lhs, &rhs;
  ArrayRef<Value> masks;
  const PrefetchStream &prefetch;
  VectorType vectorType;
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
  OpFoldResult unroll = math.constant(tile.unroll);
  OpFoldResult main = math.mul(math.floorDiv(depth, unroll), unroll);
  if (!isConstantSize(main, 0)) {
    sums = emitter.emitLoop(math.constant(0), main, tile.unroll, sums);
  }
  if (std::optional<int64_t> constant = getConstantIntValue(depth)) {
    emitter.emitSteps(math.value(main), *constant % tile.unroll, sums);
  } else {
    sums = emitter.emitLoop(main, depth, 1, sums);
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
