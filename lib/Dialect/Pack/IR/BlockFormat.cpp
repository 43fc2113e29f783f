// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The format of matrices of which only some blocks are not zero.

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include <cstring>
#include <limits>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;
using nn::BinaryKind;
using nn::CompareKind;

/// Places of blocks are numbers of 16 bits, and a matrix has far less rows.
static constexpr int64_t kMostRowBlocks = 1 << 16;

static BlockLayout layoutOf(BlocksAttr format, RankedTensorType type) {
  return {getMatrixRows(type), type.getShape().back(), format.getRows(),
          format.getColumns(), format.getCount(),      type.getElementType()};
}

int64_t BlocksAttr::getRoom(int64_t count, int64_t columnBlocks) {
  return count + (BlockLayout::kStep - 1) * columnBlocks;
}

BlocksAttr BlocksAttr::getFor(const nn::ConstantTensor &tensor, int64_t rows, int64_t columns) {
  RankedTensorType type = tensor.getType();
  int64_t columnBlocks = llvm::divideCeil(type.getShape().back(), columns);
  return get(type.getContext(), rows, columns, getRoom(countBlocks(tensor, rows, columns), columnBlocks));
}

LogicalResult BlocksAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t columns,
                                 int64_t count) {
  constexpr int64_t kMost = 1024;
  if (rows < 1 || columns < 1 || rows > kMost || columns > kMost) {
    return emitError() << "expects blocks of 1 to " << kMost << " rows and columns, but they are " << rows
                       << " x " << columns;
  }
  if (count < 1 || count > std::numeric_limits<int32_t>::max() / (rows * columns)) {
    return emitError() << "expects room for 1 to 2^31 elements in blocks, but it is for " << count
                       << " blocks of " << rows << " x " << columns;
  }
  return success();
}

bool BlocksAttr::takesElements(Type element) const { return element.isF32() || element.isSignlessInteger(8); }

LogicalResult BlocksAttr::verifyTensor(function_ref<InFlightDiagnostic()> emitError,
                                       RankedTensorType type) const {
  if (type.getRank() < 2 || type.getNumElements() == 0) {
    return emitError() << "expects a matrix for blocks, but it is " << type;
  }
  int64_t blocks = layoutOf(*this, type).rowBlocks();
  if (blocks > kMostRowBlocks) {
    return emitError() << "expects at most " << kMostRowBlocks << " rows of blocks, but there are " << blocks;
  }
  return success();
}

SmallVector<RankedTensorType> BlocksAttr::getComponents(RankedTensorType type) const {
  BlockLayout layout = layoutOf(*this, type);
  MLIRContext *context = getContext();
  Type index = IntegerType::get(context, 32), place = IntegerType::get(context, 16, IntegerType::Unsigned);
  SmallVector<RankedTensorType> types{
      RankedTensorType::get({layout.columnBlocks() + 1}, index), RankedTensorType::get({layout.count}, place),
      RankedTensorType::get({layout.count, layout.blockColumns, layout.blockRows}, layout.element)};
  if (!layout.element.isF32()) {
    types.push_back(RankedTensorType::get({layout.columnBlocks() * layout.blockColumns}, index));
  }
  return types;
}

float BlocksAttr::getLimit() const { return std::numeric_limits<float>::max(); }

std::optional<BlockLayout> BlocksAttr::getBlockLayout(RankedTensorType type) const {
  return layoutOf(*this, type);
}

/// Where each column's blocks begin.
static std::vector<int32_t> getStarts(const BlockLayout &layout, const nn::ConstantTensor &tensor) {
  std::vector<int64_t> counts(layout.columnBlocks());
  forEachBlock(tensor, layout.blockRows, layout.blockColumns,
               [&](int64_t, int64_t column, ArrayRef<char>) { ++counts[column]; });
  std::vector<int32_t> starts(counts.size() + 1);
  for (auto [column, count] : llvm::enumerate(counts)) {
    starts[column + 1] = starts[column] + int32_t(llvm::alignTo(count, BlockLayout::kStep));
  }
  return starts;
}

std::optional<std::string> BlocksAttr::findObstacle(const nn::ConstantTensor &tensor) const {
  int32_t stored = getStarts(layoutOf(*this, tensor.getType()), tensor).back();
  if (stored <= getCount()) {
    return std::nullopt;
  }
  return "it takes " + std::to_string(stored) + " blocks, there is room for " + std::to_string(getCount());
}

nn::ConstantParts BlocksAttr::encode(const nn::ConstantTensor &tensor) const {
  BlockLayout layout = layoutOf(*this, tensor.getType());
  nn::ConstantParts parts;
  SmallVector<nn::ConstantTensor::Buffer> buffers;
  for (RankedTensorType type : getComponents(tensor.getType())) {
    int64_t bytes = type.getNumElements() * nn::getElementBytes(type.getElementType());
    buffers.push_back(std::make_shared<std::string>(bytes, '\0'));
    parts.push_back(nn::ConstantTensor::makeDense(type, buffers.back()->data(), buffers.back()));
  }
  std::vector<int32_t> starts = getStarts(layout, tensor), next(starts.begin(), std::prev(starts.end()));
  memcpy(buffers[0]->data(), starts.data(), starts.size() * sizeof(int32_t));
  auto *places = reinterpret_cast<uint16_t *>(buffers[1]->data());
  auto *sums = buffers.size() > 3 ? reinterpret_cast<int32_t *>(buffers[3]->data()) : nullptr;
  forEachBlock(
      tensor, layout.blockRows, layout.blockColumns,
      [&](int64_t row, int64_t column, ArrayRef<char> elements) {
        places[next[column]] = uint16_t(row);
        memcpy(buffers[2]->data() + next[column] * elements.size(), elements.data(), elements.size());
        ++next[column];
        for (size_t i = 0; sums && i < elements.size(); ++i) {
          sums[column * layout.blockColumns + i / layout.blockRows] += static_cast<signed char>(elements[i]);
        }
      });
  // What fills a column up stands at the place of its last block.
  for (auto [column, end] : llvm::enumerate(next)) {
    std::fill(places + end, places + starts[column + 1], end > 0 ? places[end - 1] : uint16_t(0));
  }
  return parts;
}

/// Looks the place of an element's block up among those of its column, by halving: 0 where it is not stored.
Value BlocksAttr::buildDecode(OpBuilder &builder, Location loc, RankedTensorType type,
                              ValueRange components) const {
  BlockLayout layout = layoutOf(*this, type);
  Type index = builder.getI32Type();
  auto number = [&](int64_t value) { return nn::buildScalar(builder, loc, index, double(value)); };
  auto binary = [&](BinaryKind kind, Value lhs, Value rhs) {
    return nn::buildBinary(builder, loc, kind, lhs, rhs);
  };
  auto numbers = [&](int64_t count, ArrayRef<int64_t> shape) {
    Value range = nn::buildRange(builder, loc, number(0), number(1), builder.getIndexAttr(count));
    auto dims =
        llvm::map_to_vector(shape, [&](int64_t size) -> OpFoldResult { return builder.getIndexAttr(size); });
    return nn::buildReshape(builder, loc, range, dims);
  };
  Value row = numbers(layout.rows, {layout.rows, 1}), column = numbers(layout.columns, {1, layout.columns});
  Value blockRow = binary(BinaryKind::Div, row, number(layout.blockRows));
  Value blockColumn = binary(BinaryKind::Div, column, number(layout.blockColumns));
  auto gather = [&](Value from, Value places) {
    return nn::buildGather(builder, loc, from, places, /*axis=*/0);
  };
  Value low = gather(components[0], blockColumn);
  Value end = gather(components[0], binary(BinaryKind::Add, blockColumn, number(1)));
  auto within = [&](Value place) { return binary(BinaryKind::Min, place, number(layout.count - 1)); };
  auto placeAt = [&](Value place) {
    return nn::buildCast(builder, loc, gather(components[1], within(place)), index);
  };
  auto compare = [&](CompareKind kind, Value lhs, Value rhs) {
    return nn::buildCompare(builder, loc, kind, lhs, rhs);
  };
  auto select = [&](Value condition, Value lhs, Value rhs) {
    return nn::buildSelect(builder, loc, condition, lhs, rhs);
  };
  // The first block that does not stand above the element's, or the end.
  for (int64_t step = llvm::PowerOf2Ceil(layout.rowBlocks() + BlockLayout::kStep); step > 0; step /= 2) {
    Value next = binary(BinaryKind::Add, low, number(step));
    Value isAbove = compare(CompareKind::Less, placeAt(binary(BinaryKind::Sub, next, number(1))), blockRow);
    low = select(compare(CompareKind::LessOrEqual, next, end), select(isAbove, next, low), low);
  }
  Value place = binary(BinaryKind::Mul, within(low), number(layout.blockElements()));
  place = binary(BinaryKind::Add, place,
                 binary(BinaryKind::Mul, binary(BinaryKind::Mod, column, number(layout.blockColumns)),
                        number(layout.blockRows)));
  place = binary(BinaryKind::Add, place, binary(BinaryKind::Mod, row, number(layout.blockRows)));
  OpFoldResult size = builder.getIndexAttr(layout.count * layout.blockElements());
  Value value = gather(nn::buildReshape(builder, loc, components[2], size), place);
  Value zero = nn::buildScalar(builder, loc, type.getElementType(), 0);
  Value isStored = compare(CompareKind::Equal, placeAt(low), blockRow);
  value = select(compare(CompareKind::Less, low, end), select(isStored, value, zero), zero);
  auto dims = llvm::map_to_vector(type.getShape(),
                                  [&](int64_t size) -> OpFoldResult { return builder.getIndexAttr(size); });
  return nn::buildReshape(builder, loc, value, dims);
}
