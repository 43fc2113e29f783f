// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CUDA/LinearLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"

#include <bit>

using namespace mlir;
using namespace lathe::cuda;

LinearLayout LinearLayout::identity(unsigned bits) {
  LinearLayout layout({});
  for (unsigned bit = 0; bit < bits; ++bit) {
    layout.images.push_back(uint64_t(1) << bit);
  }
  return layout;
}

LinearLayout LinearLayout::swizzled(unsigned from, unsigned to, unsigned count) const {
  LinearLayout layout = *this;
  for (unsigned bit = 0; bit < count; ++bit) {
    layout.images[from + bit] ^= uint64_t(1) << (to + bit);
  }
  return layout;
}

LinearLayout LinearLayout::then(const LinearLayout &next) const {
  LinearLayout layout = *this;
  for (uint64_t &image : layout.images) {
    image = next.apply(image);
  }
  return layout;
}

uint64_t LinearLayout::apply(uint64_t number) const {
  uint64_t place = 0;
  for (auto [bit, image] : llvm::enumerate(images)) {
    place ^= number >> bit & 1 ? image : 0;
  }
  return place;
}

uint64_t LinearLayout::getImage(uint64_t mask) const {
  uint64_t all = 0;
  for (auto [bit, image] : llvm::enumerate(images)) {
    all |= mask >> bit & 1 ? image : 0;
  }
  return all;
}

bool LinearLayout::isBijective() const {
  // Gauss' elimination: as many independent images as bits, all of which are below 2^bits.
  SmallVector<uint64_t> independent;
  for (uint64_t image : images) {
    for (uint64_t other : independent) {
      image = std::min(image, image ^ other);
    }
    if (image == 0 || image >> images.size() != 0) {
      return false;
    }
    independent.push_back(image);
  }
  return true;
}

Value LinearLayout::build(OpBuilder &builder, Location loc, Value number) const {
  Type type = number.getType();
  auto constant = [&](uint64_t value) -> Value {
    return arith::ConstantOp::create(builder, loc, builder.getIntegerAttr(type, int64_t(value)));
  };
  // The bits that move by the same distance do so together.
  llvm::MapVector<int, uint64_t> masks;
  for (auto [bit, image] : llvm::enumerate(images)) {
    for (uint64_t rest = image; rest; rest &= rest - 1) {
      masks[std::countr_zero(rest) - int(bit)] |= uint64_t(1) << bit;
    }
  }
  Value place;
  for (auto [distance, mask] : masks) {
    Value part = number;
    if (mask != llvm::maskTrailingOnes<uint64_t>(getBits())) {
      part = arith::AndIOp::create(builder, loc, part, constant(mask));
    }
    if (distance > 0) {
      part = arith::ShLIOp::create(builder, loc, part, constant(uint64_t(distance)));
    } else if (distance < 0) {
      part = arith::ShRUIOp::create(builder, loc, part, constant(uint64_t(-distance)));
    }
    place = place ? arith::XOrIOp::create(builder, loc, place, part).getResult() : part;
  }
  return place ? place : constant(0);
}

LinearLayout SharedTileShape::getLayout() const {
  unsigned lineBits = llvm::Log2_64(lines), chunkBits = llvm::Log2_64(chunks),
           atOnce = llvm::Log2_64(chunksAtOnce);
  LinearLayout layout = LinearLayout::identity(lineBits + chunkBits);
  // 128 bytes, eight chunks, are all banks. Where a line has fewer, so do the next lines.
  constexpr unsigned kBankBits = 3;
  if (chunkBits <= atOnce) {
    return layout;
  }
  unsigned spread = std::min(chunkBits, kBankBits) - atOnce;
  unsigned covered = kBankBits - std::min(chunkBits, kBankBits) + llvm::Log2_64(uint64_t(lineStep));
  spread = std::min(spread, lineBits - std::min(lineBits, covered));
  return layout.swizzled(/*from=*/chunkBits + covered, /*to=*/atOnce, spread);
}

LinearLayout lathe::cuda::getAccumulatorLayout() {
  // Lanes: two bits of the column, three of the row. Registers: the next column, the next eight rows.
  return LinearLayout({2, 4, 8, 16, 32, 1, 64});
}

LinearLayout lathe::cuda::getMatrixRows(const SharedTileShape &shape, bool linesFirst) {
  uint64_t line = uint64_t(shape.chunks), nextLines = 8 * line, nextChunk = 1;
  return LinearLayout(
      {line, 2 * line, 4 * line, linesFirst ? nextLines : nextChunk, linesFirst ? nextChunk : nextLines});
}
