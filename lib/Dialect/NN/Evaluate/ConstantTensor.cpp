// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/Evaluate/ConstantTensor.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "llvm/ADT/STLExtras.h"

#include <cstring>
#include <optional>

using namespace mlir;
using namespace lathe::nn;

int64_t lathe::nn::getElementBytes(Type type) { return std::max(1u, type.getIntOrFloatBitWidth() / 8); }

void lathe::nn::copyRow(ArrayRef<StridedBlock> blocks, ArrayRef<int64_t> index, int64_t first, int64_t last,
                        int64_t elementBytes, char *to) {
  for (const StridedBlock &block : blocks) {
    size_t rank = block.lo.size(), column = rank - 1;
    const char *from = block.base;
    bool inside = true;
    for (size_t dim = 0; rank && dim < column && inside; ++dim) {
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

void lathe::nn::advance(MutableArrayRef<int64_t> index, ArrayRef<int64_t> shape) {
  for (size_t dim = index.size(); dim-- > 0;) {
    if (++index[dim] < shape[dim]) {
      return;
    }
    index[dim] = 0;
  }
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

ConstantTensor ConstantTensor::makeDense(RankedTensorType type, const char *data, Buffer owner) {
  ConstantTensor tensor(type);
  tensor.blocks.push_back(getDense(data, type.getShape(), getElementBytes(type.getElementType())));
  if (owner) {
    tensor.owners.push_back(std::move(owner));
  }
  return tensor;
}

ConstantTensor ConstantTensor::makeSplat(RankedTensorType type, ArrayRef<char> element) {
  auto owner = std::make_shared<std::string>(element.data(), element.size());
  ConstantTensor tensor = makeDense(type, owner->data(), owner);
  llvm::fill(tensor.blocks.front().stride, 0);
  return tensor;
}

ConstantTensor ConstantTensor::withShape(ArrayRef<int64_t> shape, StridedBlock block) const {
  ConstantTensor tensor(type.clone(shape));
  tensor.blocks.push_back(std::move(block));
  tensor.owners = owners;
  return tensor;
}

ConstantTensor ConstantTensor::transpose(ArrayRef<int64_t> perm) const {
  ConstantTensor tensor(type.clone(applyPermutation(type.getShape(), perm)));
  for (const StridedBlock &block : blocks) {
    tensor.blocks.push_back({block.base, applyPermutation(ArrayRef(block.lo), perm),
                             applyPermutation(ArrayRef(block.size), perm),
                             applyPermutation(ArrayRef(block.stride), perm)});
  }
  tensor.owners = owners;
  return tensor;
}

ConstantTensor ConstantTensor::reshape(ArrayRef<int64_t> shape) const {
  if (blocks.size() == 1) {
    if (std::optional<StridedBlock> view = reshapeView(blocks.front(), shape)) {
      return withShape(shape, std::move(*view));
    }
  }
  ConstantTensor dense = toDense();
  int64_t bytes = getElementBytes(type.getElementType());
  return dense.withShape(shape, getDense(dense.getData(), shape, bytes));
}

ConstantTensor ConstantTensor::expand(ArrayRef<int64_t> shape) const {
  ConstantTensor one = toOneBlock();
  const StridedBlock &from = one.blocks.front();
  StridedBlock to = getDense(from.base, shape, 1);
  size_t added = shape.size() - from.size.size();
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    bool isBroadcast = dim < added || from.size[dim - added] != shape[dim];
    to.stride[dim] = isBroadcast ? 0 : from.stride[dim - added];
  }
  return one.withShape(shape, std::move(to));
}

ConstantTensor ConstantTensor::slice(ArrayRef<int64_t> offsets, ArrayRef<int64_t> sizes,
                                     ArrayRef<int64_t> strides) const {
  ConstantTensor one = toOneBlock();
  StridedBlock to = one.blocks.front();
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    to.base += sizes[dim] ? offsets[dim] * to.stride[dim] : 0;
    to.size[dim] = sizes[dim];
    to.stride[dim] *= strides[dim];
  }
  return one.withShape(sizes, std::move(to));
}

ConstantTensor ConstantTensor::concat(ArrayRef<ConstantTensor> parts, int64_t axis) {
  SmallVector<int64_t> shape(parts.front().type.getShape());
  shape[axis] = 0;
  SmallVector<StridedBlock> blocks;
  SmallVector<Buffer> owners;
  for (const ConstantTensor &part : parts) {
    for (StridedBlock block : part.blocks) {
      block.lo[axis] += shape[axis];
      blocks.push_back(std::move(block));
    }
    llvm::append_range(owners, part.owners);
    shape[axis] += part.type.getDimSize(axis);
  }
  ConstantTensor tensor(parts.front().type.clone(shape));
  tensor.blocks = std::move(blocks);
  tensor.owners = std::move(owners);
  return tensor;
}

bool ConstantTensor::isDense() const {
  if (blocks.size() != 1) {
    return false;
  }
  int64_t stride = getElementBytes(type.getElementType());
  const StridedBlock &block = blocks.front();
  for (size_t dim = block.size.size(); dim-- > 0;) {
    if (block.size[dim] != 1 && block.stride[dim] != stride) {
      return false;
    }
    stride *= block.size[dim];
  }
  return true;
}

ConstantTensor ConstantTensor::toDense() const {
  if (isDense()) {
    return *this;
  }
  int64_t elements = type.getNumElements();
  auto owner = std::make_shared<std::string>(elements * getElementBytes(type.getElementType()), '\0');
  copy(0, elements, owner->data());
  return makeDense(type, owner->data(), owner);
}

ConstantTensor ConstantTensor::toOneBlock() const { return blocks.size() == 1 ? *this : toDense(); }

void ConstantTensor::copy(int64_t first, int64_t count, char *to) const {
  int64_t bytes = getElementBytes(type.getElementType());
  if (isDense()) {
    memcpy(to, getData() + first * bytes, count * bytes);
    return;
  }
  ArrayRef<int64_t> shape = type.getShape();
  int64_t columns = shape.empty() ? 1 : shape.back();
  ArrayRef<int64_t> outer = shape.empty() ? shape : shape.drop_back();
  SmallVector<int64_t> index(outer.size());
  int64_t row = count ? first / columns : 0;
  for (size_t dim = outer.size(); dim-- > 0 && row;) {
    index[dim] = row % outer[dim];
    row /= outer[dim];
  }
  for (int64_t column = count ? first % columns : 0; count > 0; column = 0) {
    int64_t n = std::min(count, columns - column);
    copyRow(blocks, index, column, column + n, bytes, to);
    to += n * bytes;
    count -= n;
    advance(index, outer);
  }
}
