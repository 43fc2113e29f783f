// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "StagedTile.h"
#include "DeviceOps.h"
#include "Factors.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

bool cuda::isCopiable(const StridedView &view, MatrixFormat format) {
  int64_t chunk = getChunkElements(format);
  if (view.alignment < kChunkBytes || view.element != getElementType(format, view.element.getContext()) ||
      !isConstantSize(view.strides.back(), 1) || !isMultipleOf(view.sizes.back(), chunk) ||
      !isMultipleOf(view.offset, chunk)) {
    return false;
  }
  return llvm::all_of(llvm::zip(ArrayRef(view.sizes).drop_back(), view.strides), [&](auto dim) {
    return isConstantSize(std::get<0>(dim), 1) || isMultipleOf(std::get<1>(dim), chunk);
  });
}

StagedTile::StagedTile(EmitContext &context, Location loc, MatrixFormat format, Side side, bool alongDepth,
                       int64_t size, int64_t depth, bool pairsDepths)
    : LoopEmitter(context.builder, loc), context(context), format(format), side(side),
      alongDepth(alongDepth) {
  shape.lines = alongDepth ? size : depth;
  shape.chunks = (alongDepth ? depth : size) / getChunkElements(format);
  shape.chunksAtOnce = readsWords() ? 2 : 1;
  shape.lineStep = readsWords() && pairsDepths ? 2 : 1;
}

void StagedTile::place(Value first, int64_t next) {
  start = first;
  distance = next;
}

Value StagedTile::number(uint64_t value) {
  return arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), int64_t(value));
}

LinearLayout StagedTile::getByteLayout() const {
  constexpr unsigned kByteBits = 4;
  LinearLayout chunks = shape.getLayout();
  SmallVector<uint64_t> images;
  for (unsigned bit = 0; bit < kByteBits; ++bit) {
    images.push_back(uint64_t(1) << bit);
  }
  for (unsigned bit = 0; bit < chunks.getBits(); ++bit) {
    images.push_back(chunks.apply(uint64_t(1) << bit) << kByteBits);
  }
  return LinearLayout(images);
}

LinearLayout StagedTile::getLaneLayout() const {
  uint64_t line = uint64_t(shape.chunks * kChunkBytes), chunk = kChunkBytes, word = 4;
  if (readsWords()) {
    // The lanes of a quad have the next lines, eight quads the next words.
    line *= uint64_t(shape.lineStep);
    return LinearLayout({line, 2 * line, word, 2 * word, chunk});
  }
  LinearLayout rows = getMatrixRows(shape, hasLinesFirst());
  SmallVector<uint64_t> images;
  for (unsigned bit = 0; bit < rows.getBits(); ++bit) {
    images.push_back(rows.apply(uint64_t(1) << bit) * kChunkBytes);
  }
  return LinearLayout(images);
}

Value StagedTile::getStage(Value stage) {
  Value offset = arith::MulIOp::create(builder, loc, stage, number(uint64_t(distance)));
  return advance(builder, loc, start, offset);
}

LogicalResult StagedTile::fill(const TileSource &source, ElementEmitter &elements, Value stage, Value line,
                               Value place, int64_t threads) {
  ElementEmitter::Scope scope(elements);
  Value to = getStage(stage);
  if (source.memory) {
    return copy(source, to, line, place, threads);
  }
  if (source.unit) {
    fillUnits(source, to, line, place, threads);
    return success();
  }
  return evaluate(source, elements, to, line, place, threads);
}

void StagedTile::fillUnits(const TileSource &source, Value to, Value line, Value place, int64_t threads) {
  int64_t length = shape.chunks * getChunkElements(format), bytes = getElementBytes(format);
  int64_t together = std::min(source.unit, getChunkElements(format));
  auto type = VectorType::get({together}, getElementType(format, builder.getContext()));
  LinearLayout layout = getByteLayout();
  OpFoldResult lines = math().constant(shape.lines);
  emitLoop(context.thread, math().constant(shape.lines * length / source.unit), threads, [&](Value number) {
    // Neighbouring threads have neighbouring lines: what they read lies side by side.
    OpFoldResult lineOfTile = math().rem(number, lines);
    OpFoldResult first = math().mul(math().floorDiv(number, lines), math().constant(source.unit));
    OpFoldResult ownLine = math().add(line, lineOfTile), ownPlace = math().add(place, first);
    OpFoldResult byte = math().add(math().mul(lineOfTile, math().constant(getLineBytes())),
                                   math().mul(first, math().constant(bytes)));
    auto store = [&](int64_t begin, Value values) {
      OpFoldResult own = math().add(byte, math().constant(begin * bytes));
      Value at = arith::IndexCastOp::create(builder, loc, builder.getI32Type(), math().value(own));
      LLVM::StoreOp::create(builder, loc, values, advance(builder, loc, to, layout.build(builder, loc, at)),
                            unsigned(together * bytes));
    };
    auto storeUnit = [&] {
      SmallVector<Value> unit = source.units(math().value(ownLine), math().value(ownPlace));
      for (int64_t begin = 0; begin < source.unit; begin += together) {
        store(begin,
              vector::FromElementsOp::create(builder, loc, type, ArrayRef(unit).slice(begin, together)));
      }
    };
    auto storeZeros = [&] {
      for (int64_t begin = 0; begin < source.unit; begin += together) {
        store(begin, arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type)));
      }
    };
    Value exists = emitBoth(builder, loc, emitIsInside(math(), ownLine, source.lines, shape.lines),
                            emitIsInside(math(), ownPlace, source.length, length));
    if (exists) {
      emitIf(exists, storeUnit, storeZeros);
    } else {
      storeUnit();
    }
  });
}

void StagedTile::keepLines(const TileSource &source, Value line, int64_t threads) {
  for (int64_t done = 0; source.findLine && done < shape.lines * shape.chunks; done += threads) {
    OpFoldResult number = math().add(context.thread, math().constant(done));
    OpFoldResult ownLine = math().add(line, math().floorDiv(number, math().constant(shape.chunks)));
    finders.push_back(source.findLine(math().value(ownLine)));
  }
}

LogicalResult StagedTile::copy(const TileSource &source, Value to, Value line, Value place, int64_t threads) {
  const StridedView &memory = *source.memory;
  int64_t chunk = getChunkElements(format), bytes = getElementBytes(format);
  Value from = getPointer(builder, loc, memory.base);
  LinearLayout layout = getByteLayout();
  for (int64_t done = 0; done < shape.lines * shape.chunks; done += threads) {
    OpFoldResult number = math().add(context.thread, math().constant(done));
    OpFoldResult ownLine = math().add(line, math().floorDiv(number, math().constant(shape.chunks)));
    OpFoldResult column =
        math().mul(math().rem(number, math().constant(shape.chunks)), math().constant(chunk));
    OpFoldResult ownPlace = math().add(place, column);
    auto emit = [&] {
      Value exists = emitBoth(builder, loc, emitIsInside(math(), ownLine, source.lines, shape.lines),
                              emitIsInside(math(), ownPlace, source.length, shape.chunks * chunk));
      Value address;
      if (finders.empty()) {
        // What does not change from stage to stage first: it leaves the loop.
        OpFoldResult row = math().add(memory.offset, math().mul(ownLine, memory.strides[0]));
        address = advance(builder, loc, from, math().mul(math().add(row, column), math().constant(bytes)));
        address = advance(builder, loc, address, math().mul(place, math().constant(bytes)));
      } else {
        TileChunk found = finders[size_t(done / threads)](math().value(ownPlace));
        address = advance(builder, loc, from, math().mul(found.offset, math().constant(bytes)));
        exists = emitBoth(builder, loc, exists, found.exists);
      }
      Value size;
      if (exists) {
        size = arith::SelectOp::create(builder, loc, exists, this->number(kChunkBytes), this->number(0));
      }
      Value byte = arith::IndexCastOp::create(builder, loc, builder.getI32Type(),
                                              math().value(math().mul(number, math().constant(kChunkBytes))));
      emitCopy(builder, loc, advance(builder, loc, to, layout.build(builder, loc, byte)), address, size);
    };
    if (done + threads <= shape.lines * shape.chunks) {
      emit();
    } else {
      emitIf(arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(number),
                                   math().value(math().constant(shape.lines * shape.chunks))),
             emit);
    }
  }
  return success();
}

LogicalResult StagedTile::evaluate(const TileSource &source, ElementEmitter &elements, Value to, Value line,
                                   Value place, int64_t threads) {
  int64_t length = shape.chunks * getChunkElements(format), bytes = getElementBytes(format);
  Type element = getElementType(format, builder.getContext());
  LinearLayout layout = getByteLayout();
  LogicalResult status = success();
  emitLoop(context.thread, math().constant(shape.lines * length), threads, [&](Value number) {
    ElementEmitter::Scope scope(elements);
    OpFoldResult ownLine = math().add(line, math().floorDiv(number, math().constant(length)));
    OpFoldResult ownPlace = math().add(place, math().rem(number, math().constant(length)));
    auto load = [&]() -> FailureOr<Value> {
      FailureOr<Value> value = source.element(math().value(ownLine), math().value(ownPlace));
      if (failed(value) || value->getType() == element) {
        return value;
      }
      return arith::TruncFOp::create(builder, loc, element, *value).getResult();
    };
    Value exists = emitBoth(builder, loc, emitIsInside(math(), ownLine, source.lines, shape.lines),
                            emitIsInside(math(), ownPlace, source.length, length));
    Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(element));
    FailureOr<Value> value = exists ? emitWhere(builder, loc, exists, zero, load) : load();
    if (failed(value)) {
      status = failure();
      return;
    }
    Value byte = arith::IndexCastOp::create(builder, loc, builder.getI32Type(),
                                            math().value(math().mul(number, math().constant(bytes))));
    LLVM::StoreOp::create(builder, loc, *value, advance(builder, loc, to, layout.build(builder, loc, byte)));
  });
  return status;
}

void StagedTile::beginAt(Value lane, Value first, int64_t size) {
  LinearLayout lanes = getLaneLayout();
  auto toNumber = [&](Value index) -> Value {
    return arith::IndexCastOp::create(builder, loc, builder.getI32Type(), index);
  };
  int64_t step = alongDepth ? shape.chunks * kChunkBytes : getElementBytes(format);
  Value own = lanes.build(builder, loc, toNumber(lane));
  Value warp = toNumber(math().value(math().mul(first, math().constant(step))));
  uint64_t end = uint64_t(alongDepth ? getBytes() : shape.chunks * kChunkBytes);
  uint64_t warpBits = (end - 1) & ~uint64_t(size * step - 1);
  beginAtByte(arith::AddIOp::create(builder, loc, own, warp), lanes.getImage(kWarp - 1) | warpBits);
}

void StagedTile::beginAtDepth(Value lane, Value first, int64_t size) {
  assert(!alongDepth && "lines along the depth have all of it");
  LinearLayout lanes = getLaneLayout();
  auto toNumber = [&](Value index) -> Value {
    return arith::IndexCastOp::create(builder, loc, builder.getI32Type(), index);
  };
  Value own = lanes.build(builder, loc, toNumber(lane));
  Value warp = toNumber(math().value(math().mul(first, math().constant(getLineBytes()))));
  uint64_t warpBits = uint64_t(getBytes() - 1) & ~uint64_t(size * getLineBytes() - 1);
  beginAtByte(arith::AddIOp::create(builder, loc, own, warp), lanes.getImage(kWarp - 1) | warpBits);
}

void StagedTile::beginAtByte(Value first, uint64_t bits) {
  LinearLayout layout = getByteLayout();
  lanePlace = layout.build(builder, loc, first);
  laneBits = layout.getImage(bits);
}

Value StagedTile::getAddress(Value stage, int64_t bytes) {
  // Of a constant part, those bits that the lane may have are xored, the others added.
  uint64_t place = getByteLayout().apply(uint64_t(bytes)), common = place & laneBits;
  Value own = lanePlace;
  if (common) {
    own = arith::XOrIOp::create(builder, loc, own, number(common));
  }
  Value address = advance(builder, loc, getStage(stage), own);
  return advance(builder, loc, address, builder.getI64IntegerAttr(int64_t(place & ~laneBits)));
}

SmallVector<Value> StagedTile::load(Value stage, int64_t block, int64_t step) {
  int64_t line = getLineBytes();
  // 16 rows or columns are so many lines, or bytes of a line; a step of the depth likewise.
  int64_t offset = alongDepth
                       ? block * kMatrixRows * line + step * 2 * kChunkBytes
                       : step * getDepth(format) * line + block * kMatrixRows * getElementBytes(format);
  SmallVector<Value> registers;
  if (readsWords()) {
    int64_t nextLines = (shape.lineStep == 2 ? 1 : 4) * line, nextChunks = 2 * kChunkBytes;
    int64_t second = hasLinesFirst() ? nextLines : nextChunks,
            third = hasLinesFirst() ? nextChunks : nextLines;
    for (int64_t further : {int64_t(0), second, third, second + third}) {
      registers.push_back(
          LLVM::LoadOp::create(builder, loc, builder.getI32Type(), getAddress(stage, offset + further)));
    }
  } else {
    registers = loadMatrices(builder, loc, getAddress(stage, offset), /*transposed=*/!alongDepth);
  }
  if (format == MatrixFormat::TF32) {
    for (Value &value : registers) {
      value = roundToTF32(builder, loc, value);
    }
  }
  return registers;
}
