// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "MatrixTiles.h"

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

// Registers 0 to 3 hold the sums of (rows, columns) (0, 0), (0, 1), (1, 0), (1, 1), 4 and 5 the rows of the
// left-hand side, 6 and 7 the columns of the right-hand side. They are named in the code that is emitted:
// nothing spills them, and no other function may use them in between.

MatrixTiles::MatrixTiles(OpBuilder &builder, Location loc, Element element)
    : builder(builder), loc(loc), element(element), elementBytes(element == Element::BF16 ? 2 : 1) {
  // See the instruction LDTILECFG: the palette, bytes of a row of each register, rows of each register.
  SmallVector<int8_t> bytes(64, 0);
  bytes[0] = 1;
  for (int64_t i = 0; i < 8; ++i) {
    bytes[16 + 2 * i] = kDepthBytes;
    bytes[48 + i] = kRows;
  }
  configuration = makeScratch(builder, loc, builder.getI8Type(), bytes.size());
  configured = makeScratch(builder, loc, builder.getI64Type(), 1);
  Value zero = arith::ConstantIndexOp::create(builder, loc, 0);
  auto type = VectorType::get({int64_t(bytes.size())}, builder.getI8Type());
  Value image = arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, ArrayRef(bytes)));
  vector::StoreOp::create(builder, loc, image, configuration, ValueRange{zero});
  Value none = arith::ConstantIntOp::create(builder, loc, builder.getI64Type(), 0);
  memref::StoreOp::create(builder, loc, none, configured, ValueRange{zero});
}

Value MatrixTiles::pointer(Value base, OpFoldResult offset, int64_t bytes) {
  IndexMath math{builder, loc};
  Value start = memref::ExtractAlignedPointerAsIndexOp::create(builder, loc, base);
  Value place = math.value(math.add(start, math.mul(offset, math.constant(bytes))));
  Value address = arith::IndexCastOp::create(builder, loc, builder.getI64Type(), place);
  return LLVM::IntToPtrOp::create(builder, loc, LLVM::LLVMPointerType::get(builder.getContext()), address);
}

void MatrixTiles::call(StringRef intrinsic, ValueRange operands) {
  LLVM::CallIntrinsicOp::create(builder, loc, builder.getStringAttr(intrinsic), operands);
}

Value MatrixTiles::number(int64_t value) {
  return LLVM::ConstantOp::create(builder, loc, builder.getI8Type(), builder.getI8IntegerAttr(value));
}

Value MatrixTiles::stride(OpFoldResult elements, int64_t bytes) {
  IndexMath math{builder, loc};
  Value size = math.value(math.mul(elements, math.constant(bytes)));
  return arith::IndexCastOp::create(builder, loc, builder.getI64Type(), size);
}

void MatrixTiles::configure(const Tile &tile) {
  IndexMath math{builder, loc};
  Value zero = math.value(math.constant(0));
  // A register must have rows, also where it is not used.
  OpFoldResult upper = tile.rows.front().count, lower = tile.rows.back().count;
  Value key = math.value(math.add(math.mul(upper, math.constant(2 * kRows)), lower));
  Value wanted = arith::IndexCastOp::create(builder, loc, builder.getI64Type(), key);
  Value now = memref::LoadOp::create(builder, loc, configured, ValueRange{zero});
  Value differs = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, now, wanted);
  scf::IfOp::create(builder, loc, differs, [&](OpBuilder &, Location) {
    memref::StoreOp::create(builder, loc, wanted, configured, ValueRange{zero});
    auto setRows = [&](int64_t number, OpFoldResult count) {
      Value byte = arith::IndexCastOp::create(builder, loc, builder.getI8Type(), math.value(count));
      Value place = math.value(math.constant(48 + number));
      memref::StoreOp::create(builder, loc, byte, configuration, ValueRange{place});
    };
    for (int64_t number : {0, 1, 4}) {
      setRows(number, upper);
    }
    for (int64_t number : {2, 3, 5}) {
      setRows(number, lower);
    }
    call("llvm.x86.ldtilecfg", pointer(configuration, math.constant(0), 1));
    scf::YieldOp::create(builder, loc);
  });
}

void MatrixTiles::move(StringRef intrinsic, const Tile &tile) {
  IndexMath math{builder, loc};
  Value distance = stride(tile.sums.rowStride, 4);
  for (auto [row, rows] : llvm::enumerate(tile.rows)) {
    for (int64_t column = 0; column < tile.vectors; ++column) {
      OpFoldResult place = math.add(rows.sumsOffset, math.constant(column * kColumns));
      call(intrinsic, {number(2 * row + column), pointer(tile.sums.base, place, 4), distance});
    }
  }
}

void MatrixTiles::begin(const Tile &tile, Value isFirst) {
  configure(tile);
  auto clear = [&] {
    for (int64_t row = 0; row < int64_t(tile.rows.size()); ++row) {
      for (int64_t column = 0; column < tile.vectors; ++column) {
        call("llvm.x86.tilezero", number(2 * row + column));
      }
    }
  };
  if (!isFirst) {
    return clear();
  }
  scf::IfOp::create(
      builder, loc, isFirst,
      [&](OpBuilder &, Location) {
        clear();
        scf::YieldOp::create(builder, loc);
      },
      [&](OpBuilder &, Location) {
        move("llvm.x86.tileloadd64", tile);
        scf::YieldOp::create(builder, loc);
      });
}

/// The instruction that multiplies two registers and adds to a third.
static StringRef getProduct(MatrixTiles::Element element) {
  switch (element) {
  case MatrixTiles::Element::SignedByte:
    return "llvm.x86.tdpbssd";
  case MatrixTiles::Element::UnsignedByte:
    return "llvm.x86.tdpbusd";
  case MatrixTiles::Element::BF16:
    return "llvm.x86.tdpbf16ps";
  }
  return {};
}

void MatrixTiles::fetch(const MatrixRef &rhs, OpFoldResult from, const Prefetch &prefetch) {
  constexpr int64_t kLineBytes = 64;
  IndexMath math{builder, loc};
  OpFoldResult start = math.add(from, prefetch.ahead);
  scf::ForOp::create(builder, loc, math.value(math.constant(0)), math.value(prefetch.lines),
                     math.value(math.constant(kFetchedLines)), ValueRange(),
                     [&](OpBuilder &, Location, Value first, ValueRange) {
                       for (int64_t line = 0; line < kFetchedLines; ++line) {
                         OpFoldResult number = math.add(first, math.constant(line));
                         OpFoldResult place =
                             math.add(start, math.mul(number, math.constant(kLineBytes / elementBytes)));
                         memref::PrefetchOp::create(builder, loc, rhs.base, ValueRange{math.value(place)},
                                                    /*isWrite=*/false, /*localityHint=*/2,
                                                    /*isDataCache=*/true);
                       }
                       scf::YieldOp::create(builder, loc);
                     });
}

void MatrixTiles::multiply(const Tile &tile, OpFoldResult lhsAhead, const MatrixRef &rhs, OpFoldResult depth,
                           std::optional<Prefetch> prefetch) {
  IndexMath math{builder, loc};
  Value lhsStride = stride(tile.lhs.rowStride, elementBytes), rhsStride = stride(rhs.rowStride, elementBytes);
  int64_t group = 4 / elementBytes;
  auto body = [&](OpBuilder &, Location, Value k, ValueRange) {
    OpFoldResult from = math.add(rhs.offset, math.mul(math.floorDiv(k, math.constant(group)), rhs.rowStride));
    for (int64_t column = 0; column < tile.vectors; ++column) {
      OpFoldResult place = math.add(from, math.constant(column * kColumns * group));
      call("llvm.x86.tileloadd64", {number(6 + column), pointer(rhs.base, place, elementBytes), rhsStride});
    }
    if (prefetch) {
      fetch(rhs, from, *prefetch);
    }
    OpFoldResult ahead = math.add(lhsAhead, k);
    for (auto [row, rows] : llvm::enumerate(tile.rows)) {
      Value place = pointer(tile.lhs.base, math.add(rows.lhsOffset, ahead), elementBytes);
      call("llvm.x86.tileloadd64", {number(4 + row), place, lhsStride});
    }
    for (int64_t row = 0; row < int64_t(tile.rows.size()); ++row) {
      for (int64_t column = 0; column < tile.vectors; ++column) {
        call(getProduct(element), {number(2 * row + column), number(4 + row), number(6 + column)});
      }
    }
    scf::YieldOp::create(builder, loc);
  };
  scf::ForOp::create(builder, loc, math.value(math.constant(0)), math.value(depth),
                     math.value(math.constant(this->depth())), ValueRange(), body);
}

void MatrixTiles::end(const Tile &tile) { move("llvm.x86.tilestored64", tile); }

void MatrixTiles::release() { call("llvm.x86.tilerelease", {}); }
