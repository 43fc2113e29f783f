// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// com.microsoft's weights of 2, 4 and 8 bits with a scale for each block: MatMulNBits, MatMulBnb4 and
/// GatherBlockQuantized.

#include "PackedWeights.h"
#include "Products.h"
#include "Quantize.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;

/// The numbers of `bits` bits in the bytes of the last dimension, lowest first unless `highFirst`, of which
/// `count` are there.
static Value unpack(LegalizeContext &c, Value bytes, int64_t bits, Size count, bool highFirst = false) {
  Size first = c.b.getIndexAttr(0);
  if (bits == 8) {
    return c.slice(bytes, nn::getRank(bytes) - 1, first, count);
  }
  int64_t each = 8 / bits;
  Type byte = nn::getElementType(bytes);
  SmallVector<APInt> shifts;
  for (int64_t i = 0; i < each; ++i) {
    shifts.push_back(APInt(8, (highFirst ? each - 1 - i : i) * bits));
  }
  Value shift = arith::ConstantOp::create(
      c.b, c.loc, DenseElementsAttr::get(RankedTensorType::get({each}, byte), ArrayRef(shifts)));
  Sizes dims = c.shapeOf(bytes);
  dims.push_back(c.one());
  Value parts = c.binary(BinaryKind::ShiftRight, c.reshape(bytes, dims), shift);
  parts = c.binary(BinaryKind::And, parts, nn::buildScalar(c.b, c.loc, byte, (1 << bits) - 1));
  dims.pop_back();
  dims.back() = c.sizes.mul(dims.back(), c.b.getIndexAttr(each));
  return c.slice(c.reshape(parts, dims), dims.size() - 1, first, count);
}

/// Attribute `bits`, which must be 2, 4 or 8.
static std::optional<int64_t> getBits(LegalizeContext &c) {
  int64_t bits = c.intAttr("bits", 4);
  if (bits != 2 && bits != 4 && bits != 8) {
    (void)c.unsupported(llvm::formatv("weights of {0} bits, only 2, 4 and 8", bits).str());
    return std::nullopt;
  }
  return bits;
}

namespace {
/// The attributes of a MatMulNBits.
struct BlockMatrix {
  int64_t rows, columns, bits, blockSize, blocks;
};
} // namespace

static std::optional<BlockMatrix> getMatrix(LegalizeContext &c) {
  std::optional<int64_t> bits = getBits(c);
  if (!bits) {
    return std::nullopt;
  }
  BlockMatrix m{c.intAttr("K", 0), c.intAttr("N", 0), *bits, c.intAttr("block_size", 0), 0};
  for (auto [name, value] : {std::pair("K", m.rows), {"N", m.columns}, {"block_size", m.blockSize}}) {
    if (value < 1 || value > (int64_t(1) << 31)) {
      (void)c.error("E0304", llvm::formatv("{0} is {1}, must be from 1 to 2^31", name, value).str(), name);
      return std::nullopt;
    }
  }
  if (m.blockSize * m.bits % 8 != 0) {
    (void)c.error(
        "E0304",
        llvm::formatv("block_size is {0}, must fill bytes with {1} bits each", m.blockSize, m.bits).str(),
        "block_size");
    return std::nullopt;
  }
  m.blocks = (m.rows + m.blockSize - 1) / m.blockSize;
  return m;
}

/// Operand `i` as [N, `count`]; reports another number of elements.
static Value asRows(LegalizeContext &c, unsigned i, int64_t columns, int64_t count) {
  Sizes dims = c.shapeOf(i);
  Size size = c.sizes.product(dims), wanted = c.b.getIndexAttr(columns * count);
  if (nn::areDifferentSizes(size, wanted)) {
    (void)c.error("E0307",
                  llvm::formatv("operand {0} has {1} elements, must have {2} for each of the {3} columns", i,
                                *getConstantIntValue(size), count, columns)
                      .str());
    return c.operand(i);
  }
  if (!getConstantIntValue(size)) {
    c.require(c.sizes.compare(nn::CompareKind::Equal, size, wanted),
              "an operand has another number of elements");
  }
  return c.reshape(c.operand(i), {c.b.getIndexAttr(columns), c.b.getIndexAttr(count)});
}

/// [N, blocks] parameters as [N, K]: one for each block, or where `groups` tells for each row of the matrix.
static Value spread(LegalizeContext &c, Value list, const BlockMatrix &m, Value groups) {
  return groups ? nn::buildGather(c.b, c.loc, list, groups, 1)
                : repeatBlocks(c, list, 1, m.blockSize, c.b.getIndexAttr(m.rows));
}

/// The [K, N] matrix as it is in the file, decoded where it is read; null, with a remark, if it is no
/// constant or has no format.
static Value buildPackedMatrix(LegalizeContext &c, const BlockMatrix &m) {
  PackedBlocks blocks{m.rows, m.columns, m.bits, m.blockSize, c.operand(1), c.operand(2), c.operandOrNull(3)};
  // The file allows that rows are rounded to integers of 8 bits.
  blocks.roundsRows =
      c.intAttr("accuracy_level", 0) == 4 && m.blockSize % pack::PanelLayout::kRoundedGroup == 0;
  std::string whyNot;
  Value matrix = c.has(4) ? Value() : buildPackedBlocks(c, blocks, whyNot);
  if (!matrix) {
    emitRemark(c.loc) << "[convert-onnx-to-nn] missed: the weights of MatMulNBits are stored as numbers: "
                      << (c.has(4) ? "g_idx puts their rows into groups of its own" : whyNot);
  }
  return matrix;
}

/// Operands: A, B, scales, zero points, g_idx, bias.
static LogicalResult legalizeMatMulNBits(LegalizeContext &c) {
  std::optional<BlockMatrix> m = getMatrix(c);
  if (!m) {
    return failure();
  }
  Value lhs = c.operand(0);
  Type type = c.elementType(0), f32 = c.b.getF32Type();
  if (!c.elementType(1).isUnsignedInteger(8)) {
    return c.error("E0306", llvm::formatv("B holds {0}, must hold ui8", c.elementType(1)).str());
  }
  Value bytes = asRows(c, 1, m->columns, m->blocks * m->blockSize * m->bits / 8),
        scales = asRows(c, 2, m->columns, m->blocks);
  Value groups;
  if (c.has(4)) {
    Sizes dims = c.shapeOf(4);
    Size rows = c.b.getIndexAttr(m->rows);
    if (dims.size() != 1 || (getConstantIntValue(dims[0]) && *getConstantIntValue(dims[0]) < m->rows)) {
      return c.error("E0307", llvm::formatv("g_idx must be a list of {0} numbers", m->rows).str());
    }
    groups = c.slice(c.operand(4), 0, c.b.getIndexAttr(0), rows);
  }
  bool arePacked = c.has(3) && c.elementType(3).isUnsignedInteger(8);
  Value list =
      c.has(3) ? asRows(c, 3, m->columns, arePacked ? (m->blocks * m->bits + 7) / 8 : m->blocks) : Value();
  if (c.hasFailed()) {
    return failure();
  }
  auto finish = [&](Value matrix) -> LogicalResult {
    Value result = matmul(c, c.cast(lhs, f32), matrix);
    if (c.hasFailed()) {
      return failure();
    }
    if (c.has(5)) {
      result = c.add(result, c.cast(c.operand(5), f32));
    }
    return c.set(c.cast(result, type));
  };
  if (Value packed = buildPackedMatrix(c, *m)) {
    return finish(packed);
  }
  Value zeros = nn::buildScalar(c.b, c.loc, f32, double(int64_t(1) << (m->bits - 1)));
  if (list) {
    list = arePacked ? unpack(c, list, m->bits, c.b.getIndexAttr(m->blocks)) : list;
    zeros = spread(c, c.cast(list, f32), *m, groups);
  }
  Value numbers = c.cast(unpack(c, bytes, m->bits, c.b.getIndexAttr(m->rows)), f32);
  numbers = c.mul(c.binary(BinaryKind::Sub, numbers, zeros), spread(c, c.cast(scales, f32), *m, groups));
  return finish(c.transpose(numbers, {1, 0}));
}

/// Operands: data, indices, scales, zero points.
static LogicalResult legalizeGatherBlockQuantized(LegalizeContext &c) {
  std::optional<int64_t> bits = getBits(c);
  int64_t rank = c.rank(0), gatherAxis = c.intAttr("gather_axis", 0), axis = c.intAttr("quantize_axis", 1);
  int64_t blockSize = c.intAttr("block_size", 128);
  if (!bits || !c.normalizeAxis(gatherAxis, rank, "gather_axis") ||
      !c.normalizeAxis(axis, rank, "quantize_axis")) {
    return failure();
  }
  if (blockSize < 1 || c.rank(2) != rank) {
    return c.error("E0304",
                   llvm::formatv("block_size is {0}, and data and scales have {1} and {2} dimensions",
                                 blockSize, rank, c.rank(2))
                       .str());
  }
  bool isPacked = c.elementType(0).isUnsignedInteger(8);
  if (isPacked && *bits != 8 && (axis != rank - 1 || gatherAxis == rank - 1)) {
    return c.error("E0304",
                   "numbers in bytes stand along the last dimension, which is quantized and not gathered");
  }
  auto gather = [&](Value x) { return nn::buildGather(c.b, c.loc, x, c.operand(1), gatherAxis); };
  // The gathered dimension becomes those of the indices.
  int64_t resultAxis = axis > gatherAxis ? axis + c.rank(1) - 1 : axis;
  if (gatherAxis == axis) {
    return c.error("E0304", "gather_axis and quantize_axis are the same");
  }
  Value data = gather(c.operand(0)), scales = gather(c.operand(2));
  Size size = c.shapeOf(data)[resultAxis];
  if (isPacked) {
    size = c.sizes.mul(size, c.b.getIndexAttr(8 / *bits));
    data = unpack(c, data, *bits, size);
  }
  Type f32 = c.b.getF32Type();
  Value numbers = c.cast(data, f32);
  Value zeros = nn::buildScalar(c.b, c.loc, f32, isPacked ? double(int64_t(1) << (*bits - 1)) : 0);
  if (c.has(3)) {
    Value list = gather(c.operand(3));
    Size blocks = c.shapeOf(scales)[resultAxis];
    list = isPacked ? unpack(c, list, *bits, blocks) : list;
    zeros = repeatBlocks(c, c.cast(list, f32), resultAxis, blockSize, size);
  }
  numbers = c.mul(c.binary(BinaryKind::Sub, numbers, zeros),
                  repeatBlocks(c, c.cast(scales, f32), resultAxis, blockSize, size));
  return c.set(c.cast(numbers, c.elementType(2)));
}

/// The numbers that the four bits of a MatMulBnb4 stand for, as multiples of a block's largest.
static constexpr float kFloat4[16] = {
    0,  5.208333333e-03f,  0.66666667f,  1,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
    -0, -5.208333333e-03f, -0.66666667f, -1, -0.33333333f, -0.5f, -0.16666667f, -0.25f};

/// Operands: A, the bytes of B [N, K] in one row, the largest number of each of its blocks.
static LogicalResult legalizeMatMulBnb4(LegalizeContext &c) {
  int64_t rows = c.intAttr("K", 0), columns = c.intAttr("N", 0), blockSize = c.intAttr("block_size", 0);
  for (auto [name, value] : {std::pair("K", rows), {"N", columns}, {"block_size", blockSize}}) {
    if (value < 1 || value > (int64_t(1) << 31)) {
      return c.error("E0304", llvm::formatv("{0} is {1}, must be from 1 to 2^31", name, value).str(), name);
    }
  }
  int64_t type = c.intAttr("quant_type", 0);
  if (type != 0 && type != 1) {
    return c.error("E0304", llvm::formatv("quant_type is {0}, must be 0 or 1", type).str(), "quant_type");
  }
  if (c.intAttr("transB", 1) == 0) {
    return c.unsupported("transB = 0");
  }
  if (!c.elementType(1).isUnsignedInteger(8)) {
    return c.error("E0306", llvm::formatv("B holds {0}, must hold ui8", c.elementType(1)).str());
  }
  int64_t count = rows * columns;
  Value bytes = asRows(c, 1, 1, (count + 1) / 2),
        largest = asRows(c, 2, 1, (count + blockSize - 1) / blockSize);
  if (c.hasFailed()) {
    return failure();
  }
  Type f32 = c.b.getF32Type();
  SmallVector<float> ofCodes = type == 0 ? SmallVector<float>(ArrayRef(kFloat4)) : pack::getNamedTable("nf4");
  Value table = arith::ConstantOp::create(
      c.b, c.loc, DenseElementsAttr::get(RankedTensorType::get({16}, f32), ArrayRef(ofCodes)));
  Value positions =
      c.cast(unpack(c, bytes, 4, c.b.getIndexAttr(count), /*highFirst=*/true), c.b.getI64Type());
  Value numbers = c.mul(nn::buildGather(c.b, c.loc, table, positions, 0),
                        repeatBlocks(c, c.cast(largest, f32), 1, blockSize, c.b.getIndexAttr(count)));
  numbers = c.reshape(numbers, {c.b.getIndexAttr(columns), c.b.getIndexAttr(rows)});
  Value result = matmul(c, c.cast(c.operand(0), f32), c.transpose(numbers, {1, 0}));
  return c.hasFailed() ? failure() : c.set(c.cast(result, c.elementType(0)));
}

void lathe::onnx::registerBlockQuantized(LegalizerRegistry &registry) {
  registry.add("MatMulNBits", 3, 6, legalizeMatMulNBits, kMicrosoft);
  registry.add("MatMulBnb4", 3, 3, legalizeMatMulBnb4, kMicrosoft);
  registry.add("GatherBlockQuantized", 3, 4, legalizeGatherBlockQuantized, kMicrosoft);
}
