// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Produces the bytes of the weight section. Rows and panels are gathered straight from the model's file
/// wherever a weight is only a view of others.

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "llvm/Support/MathExtras.h"

#include <cstring>
#include <functional>
#include <numeric>

using namespace mlir;
using namespace lathe;
using llvm::Error;
using nn::StridedBlock;

namespace {

/// Counts what is not finite, and what is zero, in floating-point elements of one layout.
template <typename Bits, Bits exponent, Bits mantissa>
void countElements(ArrayRef<char> bytes, codegen::ElementCount &count) {
  size_t n = bytes.size() / sizeof(Bits);
  auto at = [&](size_t i) {
    Bits bits;
    memcpy(&bits, bytes.data() + i * sizeof(Bits), sizeof bits);
    return bits;
  };
  // Nearly all weights are finite: this loop is vectorized, and the bytes were written just now.
  Bits any = 0;
  int64_t zeros = 0;
  for (size_t i = 0; i < n; ++i) {
    any |= Bits((at(i) & exponent) == exponent);
    zeros += (at(i) & (exponent | mantissa)) == 0;
  }
  count.zeros = count.zeros.value_or(0) + zeros;
  for (size_t i = 0; any && i < n; ++i) {
    if ((at(i) & exponent) == exponent) {
      ++((at(i) & mantissa) ? count.nan : count.infinite);
    }
  }
}

/// The same by element type; other types have only finite values, and their zeros are not counted.
void countElements(Type element, ArrayRef<char> bytes, codegen::ElementCount &count) {
  if (element.isF32()) {
    countElements<uint32_t, 0x7f800000, 0x007fffff>(bytes, count);
  } else if (element.isF64()) {
    countElements<uint64_t, 0x7ff0000000000000, 0x000fffffffffffff>(bytes, count);
  } else if (element.isF16()) {
    countElements<uint16_t, 0x7c00, 0x03ff>(bytes, count);
  } else if (element.isBF16()) {
    countElements<uint16_t, 0x7f80, 0x007f>(bytes, count);
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

/// The product of sizes.
int64_t getProduct(ArrayRef<int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<int64_t>());
}

/// Writes columns [first, last) of a weight of shape `shape`, whose dimensions before the last count as rows,
/// as panels.
Error writePanels(Type element, ArrayRef<StridedBlock> blocks, ArrayRef<int64_t> shape,
                  std::pair<int64_t, int64_t> range, int64_t width, Buffer &buffer,
                  codegen::ElementCount &seen) {
  int64_t bytes = codegen::getElementBytes(element);
  int64_t rows = shape.empty() ? 1 : getProduct(shape.drop_back());
  // Row-major is one panel as wide as the matrix; wide rows are written in parts.
  constexpr int64_t kPart = 1 << 14;
  auto [begin, columns] = range;
  for (int64_t first = begin; first < columns; first += width) {
    SmallVector<int64_t> index(shape.size() - (shape.empty() ? 0 : 1), 0);
    for (int64_t k = 0; k < rows; ++k) {
      for (int64_t part = 0; part < width; part += kPart) {
        int64_t end = std::min(part + kPart, width);
        llvm::Expected<char *> to = buffer.reserve((end - part) * bytes);
        if (!to) {
          return to.takeError();
        }
        int64_t last = std::min(first + end, columns), copied = std::max<int64_t>(last - first - part, 0);
        nn::copyRow(blocks, index, first + part, last, bytes, *to);
        countElements(element, ArrayRef(*to, copied * bytes), seen);
      }
      nn::advance(index, shape);
    }
  }
  return Error::success();
}

/// The same where `interleave` elements of a column lie together; the dimension before the last is filled up
/// with zeros.
Error writeInterleavedPanels(Type element, ArrayRef<StridedBlock> blocks, ArrayRef<int64_t> shape,
                             std::pair<int64_t, int64_t> range, nn::PanelAttr panel, Buffer &buffer,
                             codegen::ElementCount &seen) {
  int64_t bytes = codegen::getElementBytes(element), width = panel.getWidth(), group = panel.getInterleave();
  int64_t depth = shape[shape.size() - 2], places = getProduct(shape.drop_back(2));
  std::vector<char> row(width * bytes);
  for (int64_t first = range.first; first < range.second; first += width) {
    int64_t count = std::min(width, range.second - first);
    SmallVector<int64_t> index(shape.size() - 1, 0);
    for (int64_t place = 0; place < places; ++place) {
      for (int64_t k = 0; k < depth; k += group) {
        llvm::Expected<char *> to = buffer.reserve(width * group * bytes);
        if (!to) {
          return to.takeError();
        }
        for (int64_t j = 0; j < group && k + j < depth; ++j) {
          nn::copyRow(blocks, index, first, first + count, bytes, row.data());
          nn::advance(index, shape);
          countElements(element, ArrayRef(row).take_front(count * bytes), seen);
          for (int64_t i = 0; i < count; ++i) {
            memcpy(*to + (i * group + j) * bytes, row.data() + i * bytes, bytes);
          }
        }
      }
    }
  }
  return Error::success();
}

/// Writes columns [first, last) of a matrix of bytes as panels with the sums of their columns behind each.
/// `shape` is that of the whole weight.
Error writeBytePanels(bool isSigned, ArrayRef<StridedBlock> blocks, ArrayRef<int64_t> shape,
                      std::pair<int64_t, int64_t> range, nn::PanelAttr panel, Buffer &buffer) {
  int64_t width = panel.getWidth(), group = panel.getInterleave(), depth = shape[shape.size() - 2];
  int64_t places = getProduct(shape.drop_back(2));
  std::vector<char> row(width);
  for (int64_t first = range.first; first < range.second; first += width) {
    int64_t count = std::min(width, range.second - first);
    std::vector<int32_t> sums(width, 0);
    SmallVector<int64_t> index(shape.size() - 1, 0);
    for (int64_t place = 0; place < places; ++place) {
      for (int64_t k = 0; k < depth; k += group) {
        llvm::Expected<char *> to = buffer.reserve(width * group);
        if (!to) {
          return to.takeError();
        }
        for (int64_t j = 0; j < group && k + j < depth; ++j) {
          nn::copyRow(blocks, index, first, first + count, /*elementBytes=*/1, row.data());
          nn::advance(index, shape);
          for (int64_t i = 0; i < count; ++i) {
            char byte = isSigned ? row[i] : char(row[i] ^ 0x80);
            (*to)[i * group + j] = byte;
            sums[i] += static_cast<signed char>(byte);
          }
        }
      }
    }
    llvm::Expected<char *> to = buffer.reserve(width * sizeof(int32_t));
    if (!to) {
      return to.takeError();
    }
    memcpy(*to, sums.data(), width * sizeof(int32_t));
  }
  return Error::success();
}

/// Writes the filter of a convolution whose groups are joined: row (place in the window, group, channel) of a
/// matrix holds the columns of that group alone.
Error writeJoinedPanels(RankedTensorType type, nn::PanelAttr panel, ArrayRef<StridedBlock> blocks,
                        Buffer &buffer, codegen::ElementCount &seen) {
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
          char *copied = *to + (begin - first) * bytes;
          nn::copyRow(blocks, index, group * columns + begin, group * columns + end, bytes, copied);
          countElements(type.getElementType(), ArrayRef(copied, (end - begin) * bytes), seen);
        }
        if ((row + 1) % (joined * channels) == 0) {
          nn::advance(MutableArrayRef(index).drop_back(), window.drop_back());
        }
      }
    }
  }
  return Error::success();
}

Error writeWeight(nn::WeightOp weight, ArrayRef<StridedBlock> blocks, Buffer &buffer,
                  codegen::ElementCount &seen) {
  RankedTensorType type = weight.getTensorType();
  int64_t columns = type.getRank() ? type.getShape().back() : 1;
  if (type.getNumElements() == 0) {
    return Error::success();
  }
  Type element = type.getElementType();
  nn::PanelAttr panel = weight.getPanelAttr();
  if (!panel) {
    return writePanels(element, blocks, type.getShape(), {0, columns}, columns, buffer, seen);
  }
  if (panel.getJoined() > 1) {
    return writeJoinedPanels(type, panel, blocks, buffer, seen);
  }
  int64_t each = columns / panel.getGroups();
  auto writeGroup = [&](std::pair<int64_t, int64_t> range) {
    if (panel.getSums()) {
      return writeBytePanels(!element.isUnsignedInteger(), blocks, type.getShape(), range, panel, buffer);
    }
    if (panel.getInterleave() > 1) {
      return writeInterleavedPanels(element, blocks, type.getShape(), range, panel, buffer, seen);
    }
    return writePanels(element, blocks, type.getShape(), range, panel.getWidth(), buffer, seen);
  };
  for (int64_t first = 0; first < columns; first += each) {
    if (Error error = writeGroup({first, first + each})) {
      return error;
    }
  }
  return Error::success();
}

/// Writes a packed weight: its panels, or its components one after the other.
Error writePacked(nn::WeightOp weight, const nn::ConstantParts &parts, Buffer &buffer) {
  auto type = cast<pack::PackedTensorType>(weight.getType());
  if (weight.getPanelAttr()) {
    return pack::writePanels(*type.getFormat().getPanelLayout(type.getTensorType()), parts,
                             [&](size_t size) { return buffer.reserve(size); });
  }
  for (const nn::ConstantTensor &part : parts) {
    int64_t elements = part.getType().getNumElements();
    int64_t bytes = elements * codegen::getElementBytes(part.getType().getElementType());
    llvm::Expected<char *> to = buffer.reserve(llvm::alignTo(bytes, nn::kComponentAlignment));
    if (!to) {
      return to.takeError();
    }
    part.copy(0, elements, *to);
  }
  return Error::success();
}

} // namespace

Error codegen::writeWeights(ModuleOp module, llvm::function_ref<Error(ArrayRef<char>)> sink,
                            llvm::function_ref<void(nn::WeightOp, ElementCount)> counted, uint64_t from) {
  nn::Evaluator evaluator(module);
  Buffer buffer(sink);
  buffer.written = from;
  for (auto weight : module.getOps<nn::WeightOp>()) {
    auto offset = weight->getAttrOfType<IntegerAttr>(kOffsetAttr);
    if (!offset || uint64_t(offset.getInt()) < from) {
      continue; // only a source of others, or among those that lie before
    }
    llvm::Expected<nn::ConstantParts> parts = evaluator.readParts(weight);
    if (!parts) {
      return parts.takeError();
    }
    ElementCount seen;
    if (Error error = isa<nn::PackedTypeInterface>(weight.getType())
                          ? writePacked(weight, *parts, buffer)
                          : writeWeight(weight, parts->front().getBlocks(), buffer, seen)) {
      return error;
    }
    counted(weight, seen);
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
