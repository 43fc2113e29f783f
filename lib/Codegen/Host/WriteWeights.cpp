// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Produces the bytes of the weight section.
///
/// A weight, however it is composed, is a list of strided blocks of mapped memory: a transposition permutes
/// strides, a concatenation shifts and collects blocks, a reshape splits dimensions (only where it merges
/// ones that do not follow each other in memory is a copy made). Rows and panels are then gathered straight
/// from the model's file.

#include "lathe/Codegen/Host/Weights.h"

#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>
#include <deque>

using namespace mlir;
using namespace lathe;
using llvm::Error;

namespace {

/// Elements `[lo, lo + size)` of a weight, at `base + sum of (index - lo) * stride` bytes.
struct StridedBlock {
  const char *base;
  SmallVector<int64_t> lo, size, stride;
};

/// Copies the part of row `index` (all dimensions but the last) between columns [first, last) to `to`.
void copyRow(ArrayRef<StridedBlock> blocks, ArrayRef<int64_t> index, int64_t first, int64_t last,
             int64_t elementBytes, char *to) {
  for (const StridedBlock &block : blocks) {
    size_t rank = block.lo.size(), column = rank - 1;
    const char *from = block.base;
    bool inside = true;
    for (size_t dim = 0; dim < column && inside; ++dim) {
      int64_t at = index[dim] - block.lo[dim];
      inside = at >= 0 && at < block.size[dim];
      from += at * block.stride[dim];
    }
    int64_t begin = std::max(first, rank ? block.lo[column] : 0);
    int64_t end = std::min(last, rank ? block.lo[column] + block.size[column] : 1);
    if (!inside || begin >= end) {
      continue;
    }
    int64_t stride = rank ? block.stride[column] : elementBytes;
    from += rank ? (begin - block.lo[column]) * stride : 0;
    char *out = to + (begin - first) * elementBytes;
    if (stride == elementBytes) {
      memcpy(out, from, (end - begin) * elementBytes);
      continue;
    }
    for (int64_t i = begin; i < end; ++i, from += stride, out += elementBytes) {
      memcpy(out, from, elementBytes);
    }
  }
}

/// Advances a row-major index; the last dimension is not part of it.
void nextRow(MutableArrayRef<int64_t> index, ArrayRef<int64_t> shape) {
  for (size_t dim = index.size(); dim-- > 0;) {
    if (++index[dim] < shape[dim]) {
      return;
    }
    index[dim] = 0;
  }
}

class WeightBlocks {
public:
  explicit WeightBlocks(ModuleOp module) : symbols(module) {}

  llvm::Expected<SmallVector<StridedBlock>> get(nn::WeightOp weight) {
    // Sources form a tree of a few levels; a bound keeps a cycle from ever being followed.
    return get(weight, /*depth=*/0);
  }

  /// Frees what the blocks got so far may refer to.
  void release() { storage.clear(); }

private:
  llvm::Expected<SmallVector<StridedBlock>> get(nn::WeightOp weight, unsigned depth) {
    if (depth > 16) {
      return llvm::createStringError("weight @%s has sources nested more than 16 deep",
                                     weight.getSymName().data());
    }
    RankedTensorType type = weight.getTensorType();
    if (auto source = dyn_cast<nn::WeightSourceAttr>(weight.getValue())) {
      return compose(weight, source, depth);
    }
    llvm::Expected<ArrayRef<char>> bytes = getBytes(weight);
    if (!bytes) {
      return bytes.takeError();
    }
    return SmallVector<StridedBlock>{
        getDense(bytes->data(), type.getShape(), codegen::getElementBytes(type.getElementType()))};
  }

  llvm::Expected<SmallVector<StridedBlock>> compose(nn::WeightOp weight, nn::WeightSourceAttr source,
                                                    unsigned depth) {
    SmallVector<StridedBlock> blocks;
    if (source.getKind().getValue() == "reshape") {
      return reshape(weight, source, depth);
    }
    bool concat = source.getKind().getValue() == "concat";
    int64_t shift = 0;
    for (FlatSymbolRefAttr name : source.getOperands()) {
      auto operand = symbols.lookup<nn::WeightOp>(name.getValue());
      if (!operand) {
        return llvm::createStringError("weight @%s has no source @%s", weight.getSymName().data(),
                                       name.getValue().data());
      }
      llvm::Expected<SmallVector<StridedBlock>> parts = get(operand, depth + 1);
      if (!parts) {
        return parts.takeError();
      }
      for (StridedBlock &block : *parts) {
        if (concat) {
          block.lo[source.getIndices()[0]] += shift;
        } else {
          StridedBlock permuted = block;
          for (auto [to, from] : llvm::enumerate(source.getIndices())) {
            permuted.lo[to] = block.lo[from];
            permuted.size[to] = block.size[from];
            permuted.stride[to] = block.stride[from];
          }
          block = permuted;
        }
        blocks.push_back(block);
      }
      if (concat) {
        shift += operand.getTensorType().getDimSize(source.getIndices()[0]);
      }
    }
    return blocks;
  }

  llvm::Expected<SmallVector<StridedBlock>> reshape(nn::WeightOp weight, nn::WeightSourceAttr source,
                                                    unsigned depth) {
    auto operand = symbols.lookup<nn::WeightOp>(source.getOperands().front().getValue());
    if (!operand) {
      return llvm::createStringError("weight @%s has no source @%s", weight.getSymName().data(),
                                     source.getOperands().front().getValue().data());
    }
    llvm::Expected<SmallVector<StridedBlock>> parts = get(operand, depth + 1);
    if (!parts) {
      return parts.takeError();
    }
    RankedTensorType type = operand.getTensorType();
    ArrayRef<int64_t> shape = source.getIndices();
    if (parts->size() == 1) {
      if (std::optional<StridedBlock> view = reshapeView(parts->front(), shape)) {
        return SmallVector<StridedBlock>{*view};
      }
    }
    int64_t bytes = codegen::getElementBytes(type.getElementType());
    std::string &owned = storage.emplace_back(type.getNumElements() * bytes, '\0');
    int64_t columns = type.getRank() ? type.getShape().back() : 1;
    int64_t rows = columns ? type.getNumElements() / columns : 0;
    SmallVector<int64_t> index(std::max<int64_t>(type.getRank() - 1, 0), 0);
    for (int64_t row = 0; row < rows; ++row) {
      copyRow(*parts, index, 0, columns, bytes, owned.data() + row * columns * bytes);
      nextRow(index, type.getShape());
    }
    return SmallVector<StridedBlock>{getDense(owned.data(), shape, bytes)};
  }

  /// Row-major elements.
  static StridedBlock getDense(const char *base, ArrayRef<int64_t> shape, int64_t bytes) {
    StridedBlock block{base, SmallVector<int64_t>(shape.size(), 0), llvm::to_vector(shape),
                       SmallVector<int64_t>(shape.size())};
    for (size_t dim = shape.size(); dim-- > 0;) {
      block.stride[dim] = bytes;
      bytes *= shape[dim];
    }
    return block;
  }

  /// The same memory under another shape, if dimensions that merge follow each other in it.
  static std::optional<StridedBlock> reshapeView(const StridedBlock &from, ArrayRef<int64_t> shape) {
    StridedBlock to = getDense(from.base, shape, 1);
    SmallVector<int64_t> sizes, strides;
    for (auto [size, stride] : llvm::zip_equal(from.size, from.stride)) {
      if (size != 1) {
        sizes.push_back(size);
        strides.push_back(stride);
      }
    }
    size_t i = 0;
    for (size_t j = 0; j < shape.size();) {
      if (shape[j] == 1) {
        to.stride[j++] = 1;
        continue;
      }
      if (i == sizes.size()) {
        return std::nullopt;
      }
      size_t iEnd = i + 1, jEnd = j + 1;
      for (int64_t left = sizes[i], right = shape[j]; left != right;) {
        if (left < right && iEnd < sizes.size()) {
          if (strides[iEnd - 1] != sizes[iEnd] * strides[iEnd]) {
            return std::nullopt;
          }
          left *= sizes[iEnd++];
        } else if (right < left && jEnd < shape.size()) {
          right *= shape[jEnd++];
        } else {
          return std::nullopt; // an empty tensor
        }
      }
      int64_t stride = strides[iEnd - 1];
      for (size_t dim = jEnd; dim-- > j;) {
        to.stride[dim] = stride;
        stride *= shape[dim];
      }
      i = iEnd;
      j = jEnd;
    }
    return to;
  }

  /// Elements of fewer than 8 bits, which lie side by side in a model's file, from the low bits on: a byte
  /// each.
  static llvm::Expected<std::string> unpack(nn::WeightOp weight, ArrayRef<char> packed) {
    RankedTensorType type = weight.getTensorType();
    unsigned bits = type.getElementTypeBitWidth();
    auto count = size_t(type.getNumElements());
    if (packed.size() != llvm::divideCeil(count * bits, 8)) {
      return llvm::createStringError("weight @%s needs %zu bytes, its data has %zu",
                                     weight.getSymName().data(), size_t(llvm::divideCeil(count * bits, 8)),
                                     packed.size());
    }
    std::string bytes(count, '\0');
    for (size_t i = 0; i < count; ++i) {
      size_t at = i * bits, byte = at / 8, shift = at % 8;
      unsigned pair = uint8_t(packed[byte]);
      if (shift + bits > 8) {
        pair |= unsigned(uint8_t(packed[byte + 1])) << 8;
      }
      bytes[i] = char(pair >> shift & ((1u << bits) - 1));
    }
    return bytes;
  }

  /// The elements of a weight that holds data, one byte per bool.
  llvm::Expected<ArrayRef<char>> getBytes(nn::WeightOp weight) {
    RankedTensorType type = weight.getTensorType();
    size_t size = type.getNumElements() * codegen::getElementBytes(type.getElementType());
    if (auto resource = dyn_cast<DenseResourceElementsAttr>(weight.getValue())) {
      AsmResourceBlob *blob = resource.getRawHandle().getBlob();
      if (unsigned bits = type.getElementTypeBitWidth(); blob && bits > 1 && bits < 8) {
        llvm::Expected<std::string> bytes = unpack(weight, blob->getData());
        if (!bytes) {
          return bytes.takeError();
        }
        std::string &owned = storage.emplace_back(std::move(*bytes));
        return ArrayRef<char>(owned.data(), owned.size());
      }
      if (!blob || blob->getData().size() != size) {
        return llvm::createStringError("weight @%s needs %zu bytes, its data has %zu",
                                       weight.getSymName().data(), size,
                                       blob ? blob->getData().size() : size_t(0));
      }
      return blob->getData();
    }
    auto dense = dyn_cast<DenseElementsAttr>(weight.getValue());
    if (!dense) {
      return llvm::createStringError("weight @%s has no data", weight.getSymName().data());
    }
    if (!dense.isSplat() && !type.getElementType().isInteger(1)) {
      return dense.getRawData();
    }
    std::string &owned = storage.emplace_back(size, '\0');
    if (type.getElementType().isInteger(1)) {
      for (auto [position, value] : llvm::enumerate(dense.getValues<bool>())) {
        owned[position] = value;
      }
    } else {
      ArrayRef<char> element = dense.getRawData();
      for (size_t at = 0; at < size; at += element.size()) {
        memcpy(&owned[at], element.data(), element.size());
      }
    }
    return ArrayRef<char>(owned.data(), owned.size());
  }

  SymbolTable symbols;
  std::deque<std::string> storage;
};

/// Counts what is not finite in floating-point elements of one layout.
template <typename Bits, Bits exponent, Bits mantissa>
void countNotFinite(ArrayRef<char> bytes, codegen::NotFiniteCount &count) {
  size_t n = bytes.size() / sizeof(Bits);
  auto at = [&](size_t i) {
    Bits bits;
    memcpy(&bits, bytes.data() + i * sizeof(Bits), sizeof bits);
    return bits;
  };
  // Nearly all weights are finite: this loop is vectorized, and the bytes were written just now.
  Bits any = 0;
  for (size_t i = 0; i < n; ++i) {
    any |= Bits((at(i) & exponent) == exponent);
  }
  for (size_t i = 0; any && i < n; ++i) {
    if ((at(i) & exponent) == exponent) {
      ++((at(i) & mantissa) ? count.nan : count.infinite);
    }
  }
}

/// The same by element type; other types have only finite values.
void countNotFinite(Type element, ArrayRef<char> bytes, codegen::NotFiniteCount &count) {
  if (element.isF32()) {
    countNotFinite<uint32_t, 0x7f800000, 0x007fffff>(bytes, count);
  } else if (element.isF64()) {
    countNotFinite<uint64_t, 0x7ff0000000000000, 0x000fffffffffffff>(bytes, count);
  } else if (element.isF16()) {
    countNotFinite<uint16_t, 0x7c00, 0x03ff>(bytes, count);
  } else if (element.isBF16()) {
    countNotFinite<uint16_t, 0x7f80, 0x007f>(bytes, count);
  }
}

/// Collects small writes.
class Buffer {
public:
  explicit Buffer(llvm::function_ref<Error(ArrayRef<char>)> sink) : sink(sink) {}

  /// Room for `size` bytes, zeroed, that the next flush will write.
  llvm::Expected<char *> reserve(size_t size) {
    if (data.size() + size > kLimit && !data.empty()) {
      if (Error error = flush()) {
        return error;
      }
    }
    data.resize(data.size() + size, 0);
    written += size;
    return data.data() + data.size() - size;
  }

  Error flush() {
    Error error = sink(ArrayRef<char>(data));
    data.clear();
    return error;
  }

  uint64_t written = 0;

private:
  static constexpr size_t kLimit = 1 << 20;
  llvm::function_ref<Error(ArrayRef<char>)> sink;
  std::vector<char> data;
};

/// Writes `rows` rows (the elements of the leading dimensions `shape`) of columns [first, last) as panels.
Error writePanels(Type element, ArrayRef<StridedBlock> blocks, ArrayRef<int64_t> shape, int64_t rows,
                  std::pair<int64_t, int64_t> range, int64_t width, int64_t interleave, Buffer &buffer,
                  codegen::NotFiniteCount &notFinite) {
  int64_t bytes = codegen::getElementBytes(element);
  // Row-major is one panel as wide as the matrix; wide rows are written in parts.
  constexpr int64_t kPart = 1 << 14;
  std::vector<char> row;
  auto [begin, columns] = range;
  for (int64_t first = begin; first < columns; first += width) {
    SmallVector<int64_t> index(shape.size() - (shape.empty() ? 0 : 1), 0);
    for (int64_t k = 0; k < rows; k += interleave) {
      if (interleave == 1) {
        for (int64_t part = 0; part < width; part += kPart) {
          int64_t end = std::min(part + kPart, width);
          llvm::Expected<char *> to = buffer.reserve((end - part) * bytes);
          if (!to) {
            return to.takeError();
          }
          copyRow(blocks, index, first + part, std::min(first + end, columns), bytes, *to);
          countNotFinite(element, ArrayRef(*to, (end - part) * bytes), notFinite);
        }
        nextRow(index, shape);
        continue;
      }
      llvm::Expected<char *> to = buffer.reserve(width * interleave * bytes);
      if (!to) {
        return to.takeError();
      }
      for (int64_t j = 0; j < interleave && k + j < rows; ++j) {
        row.assign(width * bytes, 0);
        copyRow(blocks, index, first, std::min(first + width, columns), bytes, row.data());
        for (int64_t i = 0; i < width; ++i) {
          memcpy(*to + (i * interleave + j) * bytes, row.data() + i * bytes, bytes);
        }
        nextRow(index, shape);
      }
      countNotFinite(element, ArrayRef(*to, width * interleave * bytes), notFinite);
    }
  }
  return Error::success();
}

/// Writes the filter of a convolution whose groups are joined: row (place in the window, group, channel) of a
/// matrix holds the columns of that group alone.
Error writeJoinedPanels(RankedTensorType type, nn::PanelAttr panel, ArrayRef<StridedBlock> blocks,
                        Buffer &buffer, codegen::NotFiniteCount &notFinite) {
  int64_t bytes = codegen::getElementBytes(type.getElementType());
  int64_t channels = type.getDimSize(type.getRank() - 2);
  int64_t columns = type.getShape().back() / panel.getGroups(), joined = panel.getJoined();
  int64_t places = type.getNumElements() / (channels * columns * panel.getGroups());
  ArrayRef<int64_t> window = type.getShape().drop_back(1);
  for (int64_t group = 0; group < panel.getGroups(); group += joined) {
    for (int64_t first = 0; first < joined * columns; first += panel.getWidth()) {
      SmallVector<int64_t> index(window.size(), 0);
      for (int64_t row = 0; row < places * joined * channels; ++row) {
        llvm::Expected<char *> to = buffer.reserve(panel.getWidth() * bytes);
        if (!to) {
          return to.takeError();
        }
        // The columns of the row's group that lie in this panel.
        int64_t own = row / channels % joined;
        int64_t begin = std::max(first, own * columns);
        int64_t end = std::min(first + panel.getWidth(), (own + 1) * columns);
        index.back() = row % channels;
        if (begin < end) {
          copyRow(blocks, index, group * columns + begin, group * columns + end, bytes,
                  *to + (begin - first) * bytes);
          countNotFinite(type.getElementType(), ArrayRef(*to, panel.getWidth() * bytes), notFinite);
        }
        if ((row + 1) % (joined * channels) == 0) {
          nextRow(MutableArrayRef(index).drop_back(), window.drop_back());
        }
      }
    }
  }
  return Error::success();
}

Error writeWeight(nn::WeightOp weight, ArrayRef<StridedBlock> blocks, Buffer &buffer,
                  codegen::NotFiniteCount &notFinite) {
  RankedTensorType type = weight.getTensorType();
  int64_t columns = type.getRank() ? type.getShape().back() : 1;
  if (type.getNumElements() == 0) {
    return Error::success();
  }
  int64_t rows = type.getNumElements() / columns;
  nn::PanelAttr panel = weight.getPanelAttr();
  if (!panel) {
    return writePanels(type.getElementType(), blocks, type.getShape(), rows, {0, columns}, columns,
                       /*interleave=*/1, buffer, notFinite);
  }
  if (panel.getJoined() > 1) {
    return writeJoinedPanels(type, panel, blocks, buffer, notFinite);
  }
  int64_t each = columns / panel.getGroups();
  for (int64_t first = 0; first < columns; first += each) {
    if (Error error = writePanels(type.getElementType(), blocks, type.getShape(), rows, {first, first + each},
                                  panel.getWidth(), panel.getInterleave(), buffer, notFinite)) {
      return error;
    }
  }
  return Error::success();
}

} // namespace

Error codegen::writeWeights(ModuleOp module, llvm::function_ref<Error(ArrayRef<char>)> sink,
                            llvm::function_ref<void(nn::WeightOp, NotFiniteCount)> foundNotFinite) {
  WeightBlocks sources(module);
  Buffer buffer(sink);
  for (auto weight : module.getOps<nn::WeightOp>()) {
    auto offset = weight->getAttrOfType<IntegerAttr>(kOffsetAttr);
    if (!offset) {
      continue; // only a source of others
    }
    llvm::Expected<SmallVector<StridedBlock>> blocks = sources.get(weight);
    if (!blocks) {
      return blocks.takeError();
    }
    NotFiniteCount notFinite;
    if (Error error = writeWeight(weight, *blocks, buffer, notFinite)) {
      return error;
    }
    sources.release();
    if (notFinite.nan || notFinite.infinite) {
      foundNotFinite(weight, notFinite);
    }
    uint64_t end = uint64_t(offset.getInt()) + getStoredBytes(weight);
    if (buffer.written != end) {
      return llvm::createStringError("weight @%s ends at byte %llu of its section instead of %llu",
                                     weight.getSymName().data(), (unsigned long long)buffer.written,
                                     (unsigned long long)end);
    }
    llvm::Expected<char *> padding = buffer.reserve(llvm::alignTo(end, kWeightAlignment) - end);
    if (!padding) {
      return padding.takeError();
    }
  }
  return buffer.flush();
}
