// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "IntegerTile.h"

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// Whether one instruction multiplies four unsigned by four signed bytes and adds the products up.
static bool hasByteDot(const TargetSpec &target) {
  return target.hasAVX512 ? target.hasAVX512VNNI : target.hasAVXVNNI;
}

MatMulTiling cpu::chooseIntegerTiling(const TargetSpec &target) {
  int64_t lanes = target.lanes(32);
  if (target.vectorRegisters >= 32) {
    return {/*rows=*/hasByteDot(target) ? 8 : 6, /*vectors=*/2, lanes, /*blockRows=*/96, /*blockDepth=*/1024};
  }
  // Without the instruction there are two sums for each vector.
  return {/*rows=*/hasByteDot(target) ? 6 : 3, /*vectors=*/2, lanes, /*blockRows=*/60, /*blockDepth=*/1024};
}

RegisterTile cpu::getIntegerTile(const TargetSpec &target, int64_t height, int64_t vectors) {
  RegisterTile tile = chooseIntegerTiling(target).tile(height, vectors);
  // Two sums for each vector are as good as two chains.
  tile.chains = hasByteDot(target) ? tile.chains : std::max<int64_t>(tile.chains / 2, 1);
  return tile;
}

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

namespace {

/// The state of one register tile while it is emitted. With the instruction, a sum is a vector of i32.
/// Without, it is two, of which each holds the sums of rows 0 and 1, and of rows 2 and 3, of half of the
/// columns.
class ByteTileEmitter {
public:
  ByteTileEmitter(OpBuilder &builder, Location loc, const TargetSpec &target, const RegisterTile &tile,
                  const ByteRows *lhs, const MatrixRef &rhs, const PrefetchStream &prefetch = {},
                  const ListedGroups *list = nullptr)
      : builder(builder), loc(loc), tile(tile), lhs(lhs), rhs(rhs), prefetch(prefetch), list(list),
        hasDot(hasByteDot(target)), parts(hasDot ? 1 : 2),
        sumType(VectorType::get({tile.lanes}, builder.getI32Type())),
        isOffset(hasDot && lhs && lhs->isSigned) {
    IndexMath math{builder, loc};
    zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
    for (int64_t row = 0; lhs && row < tile.rows; ++row) {
      rowOffsets.push_back(math.mul(lhs->matrix.rowStride, math.constant(row)));
    }
  }

  SmallVector<Value> emit(OpFoldResult depth) {
    IndexMath math{builder, loc};
    OpFoldResult groups = math.floorDiv(depth, math.constant(kByteGroup)),
                 unroll = math.constant(tile.unroll);
    OpFoldResult main = math.mul(math.floorDiv(groups, unroll), unroll);
    SmallVector<Value> sums(tile.chains * tile.sums() * parts + (isOffset ? tile.vectors : 0), zero);
    if (!isConstantSize(main, 0)) {
      sums = emitLoop(math.constant(0), main, tile.unroll, sums);
    }
    if (std::optional<int64_t> constant = getConstantIntValue(groups)) {
      emitSteps(math.value(main), *constant % tile.unroll, sums);
    } else {
      sums = emitLoop(main, groups, 1, sums);
    }
    return finish(sums);
  }

  SmallVector<Value> emitList() {
    IndexMath math{builder, loc};
    SmallVector<Value> sums(tile.chains * tile.sums() * parts + (isOffset ? tile.vectors : 0), zero);
    return finish(emitLoop(math.constant(0), list->count, tile.unroll, sums));
  }

private:
  /// Where the left-hand side is read for step number `step` behind `group`.
  OpFoldResult getLhsStart(Value group, int64_t step) {
    IndexMath math{builder, loc};
    OpFoldResult place = math.add(group, math.constant(step));
    if (list) {
      Value listed = memref::LoadOp::create(builder, loc, list->places,
                                            ValueRange{math.value(math.add(list->first, place))});
      place = arith::IndexCastUIOp::create(builder, loc, builder.getIndexType(), listed).getResult();
    }
    return math.add(lhs->matrix.offset, math.mul(place, math.constant(kByteGroup)));
  }

  SmallVector<Value> emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step, ArrayRef<Value> sums) {
    IndexMath math{builder, loc};
    auto body = [&](OpBuilder &, Location, Value group, ValueRange carried) {
      SmallVector<Value> next(carried);
      if (step == tile.unroll && prefetch.lines > 0) {
        emitPrefetches(group);
      }
      emitSteps(group, step, next);
      scf::YieldOp::create(builder, loc, next);
    };
    auto loop = scf::ForOp::create(builder, loc, math.value(begin), math.value(end),
                                   math.value(math.constant(step)), sums, body);
    return SmallVector<Value>(loop.getResults());
  }

  void emitSteps(Value group, int64_t count, MutableArrayRef<Value> sums) {
    IndexMath math{builder, loc};
    OpFoldResult rhsStart = math.add(rhs.offset, math.mul(group, rhs.rowStride));
    OpFoldResult lhsStart = lhs && !list ? getLhsStart(group, 0) : OpFoldResult();
    for (int64_t step = 0; step < count; ++step) {
      if (list) {
        lhsStart = getLhsStart(group, step);
      }
      SmallVector<Value> columns;
      for (int64_t vector = 0; vector < tile.vectors; ++vector) {
        for (int64_t part = 0; part < parts; ++part) {
          int64_t ahead = kByteGroup * (vector * tile.lanes + part * tile.lanes / parts);
          OpFoldResult place = math.add(math.mul(rhs.rowStride, math.constant(step)), math.constant(ahead));
          columns.push_back(loadColumns(math.value(math.add(rhsStart, place))));
        }
      }
      int64_t first = step % tile.chains * tile.sums() * parts;
      for (int64_t row = 0; row < tile.rows; ++row) {
        Value bytes;
        if (lhs) {
          OpFoldResult ahead = math.add(rowOffsets[row], math.constant(list ? 0 : step * kByteGroup));
          bytes = loadBytes(math.value(math.add(lhsStart, ahead)));
        } else {
          bytes = getSplat(1);
        }
        for (auto [i, column] : llvm::enumerate(columns)) {
          Value &sum = sums[first + row * columns.size() + i];
          sum = dot(sum, bytes, column);
        }
      }
      if (isOffset) {
        for (auto [i, column] : llvm::enumerate(columns)) {
          Value &sum = sums[tile.chains * tile.sums() + i];
          sum = dot(sum, getSplat(-128), column);
        }
      }
    }
  }

  /// The lines of the step that begins at `group`.
  void emitPrefetches(Value group) {
    constexpr int64_t kLineBytes = 4 * kCacheLine;
    IndexMath math{builder, loc};
    OpFoldResult start = math.add(math.add(rhs.offset, math.mul(group, rhs.rowStride)), prefetch.ahead);
    for (int64_t i = 0; i < prefetch.lines; ++i) {
      Value place = math.value(math.add(start, math.constant(i * kLineBytes)));
      memref::PrefetchOp::create(builder, loc, rhs.base, ValueRange{place}, /*isWrite=*/false,
                                 /*localityHint=*/2, /*isDataCache=*/true);
    }
  }

  /// A vector of bytes as `dot` takes them.
  Value getSplat(int8_t byte) {
    unsigned width = hasDot ? 8 : 16;
    int64_t count = tile.lanes * (hasDot ? kByteGroup : 2);
    auto type = VectorType::get({count}, builder.getIntegerType(width));
    APInt value(width, uint64_t(byte), /*isSigned=*/true, /*implicitTrunc=*/true);
    return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, value));
  }

  /// Four bytes of the left-hand side, repeated. Signed ones get 128 added where they must be unsigned.
  Value loadBytes(Value index) {
    auto type = VectorType::get({kByteGroup}, builder.getI8Type());
    Value bytes = vector::LoadOp::create(builder, loc, type, lhs->matrix.base, ValueRange{index});
    Type unit = builder.getI32Type();
    if (!hasDot) {
      Type wide = VectorType::get({kByteGroup}, builder.getI16Type());
      bytes = lhs->isSigned ? Value(arith::ExtSIOp::create(builder, loc, wide, bytes))
                            : Value(arith::ExtUIOp::create(builder, loc, wide, bytes));
      unit = builder.getI64Type();
    }
    bytes = vector::BitCastOp::create(builder, loc, VectorType::get({1}, unit), bytes);
    bytes = vector::ExtractOp::create(builder, loc, bytes, 0);
    auto repeated = VectorType::get({tile.lanes / parts}, unit);
    bytes = vector::BroadcastOp::create(builder, loc, repeated, bytes);
    int64_t count = tile.lanes * (hasDot ? kByteGroup : 2);
    auto whole = VectorType::get({count}, builder.getIntegerType(hasDot ? 8 : 16));
    bytes = vector::BitCastOp::create(builder, loc, whole, bytes);
    return isOffset ? arith::XOrIOp::create(builder, loc, bytes, getSplat(-128)).getResult() : bytes;
  }

  Value loadColumns(Value index) {
    int64_t count = kByteGroup * tile.lanes / parts;
    auto type = VectorType::get({count}, builder.getI8Type());
    Value bytes = vector::LoadOp::create(builder, loc, type, rhs.base, ValueRange{index});
    return hasDot
               ? bytes
               : arith::ExtSIOp::create(builder, loc, VectorType::get({count}, builder.getI16Type()), bytes)
                     .getResult();
  }

  Value dot(Value sum, Value bytes, Value columns) {
    bool isWide = tile.lanes == 16;
    if (hasDot) {
      StringRef name = isWide ? "llvm.x86.avx512.vpdpbusd.512" : "llvm.x86.avx512.vpdpbusd.256";
      return LLVM::CallIntrinsicOp::create(builder, loc, sumType, builder.getStringAttr(name),
                                           ValueRange{sum, bytes, columns})
          .getResults();
    }
    StringRef name = isWide ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd";
    Value products = LLVM::CallIntrinsicOp::create(builder, loc, sumType, builder.getStringAttr(name),
                                                   ValueRange{bytes, columns})
                         .getResults();
    return arith::AddIOp::create(builder, loc, sum, products);
  }

  /// One vector of i32 for each sum: chains added up, the halves of pairs joined, offsets taken off.
  SmallVector<Value> finish(SmallVector<Value> sums) {
    SmallVector<Value> offsets(ArrayRef<Value>(sums).take_back(isOffset ? tile.vectors : 0));
    int64_t each = tile.sums() * parts;
    for (int64_t width = tile.chains / 2; width > 0; width /= 2) {
      for (int64_t i = 0; i < width * each; ++i) {
        sums[i] = arith::AddIOp::create(builder, loc, sums[i], sums[i + width * each]);
      }
    }
    SmallVector<int64_t> even, odd;
    for (int64_t lane = 0; lane < tile.lanes; ++lane) {
      even.push_back(2 * lane);
      odd.push_back(2 * lane + 1);
    }
    SmallVector<Value> result;
    for (int64_t i = 0; i < tile.sums(); ++i) {
      Value sum = sums[i * parts];
      if (!hasDot) {
        Value other = sums[i * parts + 1];
        sum = arith::AddIOp::create(builder, loc, vector::ShuffleOp::create(builder, loc, sum, other, even),
                                    vector::ShuffleOp::create(builder, loc, sum, other, odd));
      }
      if (isOffset) {
        sum = arith::SubIOp::create(builder, loc, sum, offsets[i % tile.vectors]);
      }
      result.push_back(sum);
    }
    return result;
  }

  OpBuilder &builder;
  Location loc;
  const RegisterTile &tile;
  /// Null: all ones.
  const ByteRows *lhs;
  const MatrixRef &rhs;
  PrefetchStream prefetch;
  /// Null: all groups.
  const ListedGroups *list;
  bool hasDot;
  int64_t parts;
  VectorType sumType;
  /// The instruction takes an unsigned left-hand side: 128 is added to a signed one, and 128 times the sums
  /// of the columns are taken off again.
  bool isOffset;
  Value zero;
  SmallVector<OpFoldResult> rowOffsets;
};

} // namespace

SmallVector<Value> cpu::emitIntegerTile(OpBuilder &builder, Location loc, const TargetSpec &target,
                                        const RegisterTile &tile, const ByteRows &lhs, const MatrixRef &rhs,
                                        OpFoldResult depth, ArrayRef<Value> init,
                                        const PrefetchStream &prefetch) {
  SmallVector<Value> sums = ByteTileEmitter(builder, loc, target, tile, &lhs, rhs, prefetch).emit(depth);
  for (auto [sum, before] : llvm::zip(sums, init)) {
    sum = arith::AddIOp::create(builder, loc, before, sum);
  }
  return sums;
}

SmallVector<Value> cpu::emitListedTile(OpBuilder &builder, Location loc, const TargetSpec &target,
                                       const RegisterTile &tile, const ByteRows &lhs, const MatrixRef &rhs,
                                       const ListedGroups &groups) {
  return ByteTileEmitter(builder, loc, target, tile, &lhs, rhs, /*prefetch=*/{}, &groups).emitList();
}

SmallVector<Value> cpu::emitColumnSums(OpBuilder &builder, Location loc, const TargetSpec &target,
                                       int64_t vectors, int64_t lanes, const MatrixRef &rhs,
                                       OpFoldResult depth) {
  RegisterTile tile{/*rows=*/1, vectors, lanes, /*unroll=*/4, /*chains=*/4};
  return ByteTileEmitter(builder, loc, target, tile, /*lhs=*/nullptr, rhs).emit(depth);
}

Value cpu::emitByteSum(OpBuilder &builder, Location loc, Value base, OpFoldResult offset, OpFoldResult depth,
                       bool isSigned) {
  constexpr int64_t kLanes = 16;
  IndexMath math{builder, loc};
  auto bytes = VectorType::get({kLanes}, builder.getI8Type());
  auto wide = VectorType::get({kLanes}, builder.getI32Type());
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(wide));
  Value none = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(bytes));
  auto loop = scf::ForOp::create(
      builder, loc, math.value(math.constant(0)), math.value(depth), math.value(math.constant(kLanes)),
      ValueRange{zero}, [&](OpBuilder &, Location, Value k, ValueRange carried) {
        Value mask = vector::CreateMaskOp::create(
            builder, loc, VectorType::get({kLanes}, builder.getI1Type()), math.value(math.sub(depth, k)));
        Value loaded = vector::MaskedLoadOp::create(builder, loc, bytes, base,
                                                    ValueRange{math.value(math.add(offset, k))}, mask, none);
        Value extended = isSigned ? Value(arith::ExtSIOp::create(builder, loc, wide, loaded))
                                  : Value(arith::ExtUIOp::create(builder, loc, wide, loaded));
        Value sum = arith::AddIOp::create(builder, loc, carried.front(), extended);
        scf::YieldOp::create(builder, loc, sum);
      });
  return vector::ReductionOp::create(builder, loc, vector::CombiningKind::ADD, loop.getResult(0));
}
