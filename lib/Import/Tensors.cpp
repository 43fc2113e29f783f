// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Tensors.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "lathe/Support/Text.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/BuiltinDialect.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/ADT/StringExtras.h"
#include <complex>

using namespace mlir;
using namespace lathe;

static std::string label(const pb::TensorProto &tensor) {
  return tensor.name().empty() ? "a tensor" : "tensor " + quoteText(tensor.name());
}

bool TensorData::isStrings() const { return isa<onnx::StringType>(type.getElementType()); }

static std::string describe(RankedTensorType type) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << type;
  return text;
}

/// Says of which tensor an error about its dimensions is.
static llvm::Error named(const pb::TensorProto &tensor, llvm::Error error) {
  return llvm::handleErrors(std::move(error), [&](std::unique_ptr<ModelError> found) -> llvm::Error {
    found->message = label(tensor) + ": " + found->message;
    return llvm::Error(std::move(found));
  });
}

static ErrorBuilder misfit(const pb::TensorProto &tensor, RankedTensorType type, const Twine &what) {
  return modelError(ErrorCode::E0109, label(tensor) + " " + what).have("type = " + describe(type));
}

/// The field of TensorProto that holds values of this type if they are not raw, and how many of its entries
/// there are to 12 elements.
static std::pair<int, int> typedField(Type element) {
  if (auto complex = dyn_cast<ComplexType>(element)) {
    return {complex.getElementType().isF32() ? 4 : 10, 24};
  }
  if (element.isF32()) {
    return {4, 12};
  }
  if (element.isF64()) {
    return {10, 12};
  }
  if (element.isUnsignedInteger(32) || element.isUnsignedInteger(64)) {
    return {11, 12};
  }
  if (element.isSignlessInteger(64)) {
    return {7, 12};
  }
  unsigned bits = element.getIntOrFloatBitWidth();
  return {5, bits == 4 ? 6 : bits == 2 ? 3 : 12};
}

llvm::Expected<TensorData> TensorReader::read(const pb::TensorProto &tensor) {
  TensorData data;
  Type element = elementType(context, tensor.data_type());
  if (!element) {
    return modelError(ErrorCode::E0204, label(tensor) + " has element type " + Twine(tensor.data_type()) +
                                            ", known are 1 to " + Twine(int(pb::TensorProto::DataType_MAX)));
  }
  SmallVector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
  for (auto [position, dim] : llvm::enumerate(dims)) {
    if (dim < 0) {
      return modelError(ErrorCode::E0204, label(tensor) + ": dimension " + Twine(position) + " is " +
                                              Twine(dim) + ", must not be negative");
    }
  }
  if (llvm::Error error = checkDims(dims, options)) {
    return named(tensor, std::move(error));
  }
  data.type = RankedTensorType::get(dims, element);
  uint64_t count = uint64_t(data.type.getNumElements());
  if (tensor.has_segment()) {
    return modelError(ErrorCode::E0308, label(tensor) + " is a segment of a larger one");
  }
  std::vector<DataRange> ranges = dataRanges(tensor.raw_data());
  bool isRaw = llvm::any_of(ranges, [](const DataRange &range) { return range.field == 9; });
  bool isTyped =
      llvm::any_of(ranges, [](const DataRange &range) { return range.field != 9 && range.length > 0; }) ||
      tensor.float_data_size() || tensor.int32_data_size() || tensor.string_data_size() ||
      tensor.int64_data_size() || tensor.double_data_size() || tensor.uint64_data_size();
  // Some writers leave an empty raw_data beside typed values.
  if (isRaw && isTyped &&
      llvm::all_of(ranges, [](const DataRange &r) { return r.field != 9 || r.length == 0; })) {
    llvm::erase_if(ranges, [](const DataRange &range) { return range.field == 9; });
    isRaw = false;
  }
  if (isRaw && isTyped) {
    return misfit(tensor, data.type, "has both raw and typed data");
  }
  if (tensor.data_location() == pb::TensorProto::EXTERNAL && (isRaw || isTyped)) {
    return misfit(tensor, data.type, "has both external data and data in the model");
  }
  if (data.isStrings()) {
    if (isRaw || tensor.data_location() == pb::TensorProto::EXTERNAL) {
      return misfit(tensor, data.type, "is of strings, which cannot be raw or external");
    }
    if (llvm::Error error = readStrings(tensor, count, data)) {
      return error;
    }
    return data;
  }
  // At most 2^59 elements of 128 bits: no overflow of the bits in 128.
  auto size = uint64_t((static_cast<unsigned __int128>(count) * storedBits(element) + 7) / 8);
  if (tensor.data_location() == pb::TensorProto::EXTERNAL) {
    if (llvm::Error error = readExternal(tensor, size, data)) {
      return error;
    }
  } else if (isRaw) {
    if (ranges.size() != 1) {
      return misfit(tensor, data.type, "has " + Twine(ranges.size()) + " fields of raw data");
    }
    if (ranges[0].length != size) {
      return misfit(tensor, data.type,
                    "has " + Twine(ranges[0].length) + " bytes, its shape and element type need " +
                        Twine(size));
    }
    data.bytes = ArrayRef<char>(file.bytes().data() + ranges[0].offset, size);
  } else if (count > 0 && !isTyped) {
    return misfit(tensor, data.type,
                  "has no data, its shape and element type need " + Twine(size) + " bytes");
  } else if (llvm::Error error = readTyped(tensor, ranges, count, data)) {
    return error;
  }
  if (data.owned.empty()) {
    mapped.push_back(data.bytes);
  }
  return data;
}

llvm::Error TensorReader::readStrings(const pb::TensorProto &tensor, uint64_t count, TensorData &data) {
  if (uint64_t(tensor.string_data_size()) != count) {
    return misfit(tensor, data.type,
                  "has " + Twine(tensor.string_data_size()) + " strings, its shape needs " + Twine(count));
  }
  data.strings.assign(tensor.string_data().begin(), tensor.string_data().end());
  return llvm::Error::success();
}

/// The decimal number `text`, without sign, spaces or leading zeros beyond one.
static bool parseDecimal(StringRef text, uint64_t &value) {
  return !text.empty() && llvm::all_of(text, llvm::isDigit) && !text.getAsInteger(10, value) &&
         value <= INT64_MAX;
}

llvm::Error TensorReader::readExternal(const pb::TensorProto &tensor, uint64_t size, TensorData &data) {
  std::optional<StringRef> location;
  uint64_t offset = 0, length = size;
  llvm::SmallVector<StringRef> seen;
  for (const pb::StringStringEntryProto &entry : tensor.external_data()) {
    StringRef key = entry.key(), value = entry.value();
    if (llvm::is_contained(seen, key)) {
      return modelError(ErrorCode::E0105,
                        label(tensor) + " gives " + quoteText(key) + " of its external data twice");
    }
    seen.push_back(key);
    if (key == "location") {
      location = value;
    } else if (key == "offset" || key == "length") {
      if (!parseDecimal(value, key == "offset" ? offset : length)) {
        return modelError(ErrorCode::E0106, label(tensor) + ": " + key + " of its external data is " +
                                                quoteText(value) +
                                                ", must be a decimal number that is not negative");
      }
    } else if (key != "checksum") {
      return modelError(ErrorCode::E0105, label(tensor) + ": external data has the unknown key " +
                                              quoteText(key) +
                                              ", known are location, offset, length and checksum");
    }
  }
  if (!location) {
    return modelError(ErrorCode::E0105, label(tensor) + " has external data without a location");
  }
  if (length != size) {
    return modelError(ErrorCode::E0106, label(tensor) + " has " + Twine(length) +
                                            " bytes of external data, its shape and element type need " +
                                            Twine(size))
        .have("type = " + describe(data.type));
  }
  llvm::Expected<StringRef> bytes = file.externalData(*location);
  if (!bytes) {
    return bytes.takeError();
  }
  if (offset > bytes->size() || size > bytes->size() - offset) {
    return modelError(ErrorCode::E0106, label(tensor) + " lies at " + Twine(offset) + " with " + Twine(size) +
                                            " bytes in " + quoteText(*location) + ", which has " +
                                            Twine(bytes->size()));
  }
  data.bytes = ArrayRef<char>(bytes->data() + offset, size);
  return llvm::Error::success();
}

/// Appends elements of `bits` bits to a packed sequence.
static void putBits(std::vector<char> &out, uint64_t index, unsigned bits, uint64_t value) {
  for (unsigned bit = 0; bit < bits; ++bit) {
    uint64_t at = index * bits + bit;
    out[at / 8] = char(uint8_t(out[at / 8]) | ((value >> bit & 1) << (at % 8)));
  }
}

template <typename T>
llvm::Error TensorReader::readVarints(const pb::TensorProto &tensor, ArrayRef<DataRange> ranges,
                                      const google::protobuf::RepeatedField<T> &loose, uint64_t count,
                                      TensorData &data) {
  Type element = data.type.getElementType();
  unsigned bits = storedBits(element);
  auto [field, ratio] = typedField(element);
  // Elements of 4 and 2 bits share an entry.
  unsigned perEntry = ratio < 12 ? 12 / ratio : 1;
  uint64_t entries = llvm::divideCeil(count, perEntry), present = uint64_t(loose.size());
  StringRef bytes = file.bytes();
  for (const DataRange &range : ranges) {
    present += uint64_t(
        llvm::count_if(bytes.substr(range.offset, range.length), [](char c) { return uint8_t(c) < 128; }));
  }
  if (present != entries) {
    return misfit(tensor, data.type, "has " + Twine(present) + " values, its shape needs " + Twine(entries));
  }
  // The memory is bounded by what is present in the file.
  unsigned entryBits = perEntry > 1 ? 8 : bits;
  data.owned.assign(llvm::divideCeil(entries * entryBits, 8), 0);
  uint64_t index = 0;
  bool inRange = true;
  auto put = [&](uint64_t value) {
    // Narrow types are written sign extended or zero extended.
    if (entryBits < 64) {
      auto number = int64_t(value);
      if (field != 11) {
        inRange &= number >= -(int64_t(1) << (entryBits - 1)) && number < int64_t(1) << entryBits;
      } else {
        inRange &= value < uint64_t(1) << entryBits;
      }
    }
    if (element.isInteger(1)) {
      value = value != 0;
    }
    if (entryBits % 8 == 0) {
      std::memcpy(&data.owned[index * entryBits / 8], &value, entryBits / 8);
    } else {
      putBits(data.owned, index, entryBits, value);
    }
    ++index;
  };
  for (T value : loose) {
    put(uint64_t(value));
  }
  for (const DataRange &range : ranges) {
    uint64_t value = 0;
    unsigned shift = 0;
    for (char c : bytes.substr(range.offset, range.length)) {
      if (shift < 64) {
        value |= uint64_t(c & 127) << shift;
      }
      shift += 7;
      if (uint8_t(c) < 128) {
        if (std::is_same_v<T, int32_t>) {
          value = uint64_t(int64_t(int32_t(value)));
        }
        put(value);
        value = 0, shift = 0;
      } else if (shift >= 70) {
        return misfit(tensor, data.type, "has a number longer than 64 bits");
      }
    }
    if (shift != 0) {
      return misfit(tensor, data.type, "ends in the middle of a number");
    }
  }
  if (!inRange) {
    return misfit(tensor, data.type, "has values that its element type cannot hold");
  }
  data.owned.resize(llvm::divideCeil(count * bits, 8));
  data.bytes = data.owned;
  return llvm::Error::success();
}

llvm::Error TensorReader::readTyped(const pb::TensorProto &tensor, ArrayRef<DataRange> ranges, uint64_t count,
                                    TensorData &data) {
  auto [field, ratio] = typedField(data.type.getElementType());
  int foreign = tensor.string_data_size() + (field != 4 ? tensor.float_data_size() : 0) +
                (field != 5 ? tensor.int32_data_size() : 0) + (field != 7 ? tensor.int64_data_size() : 0) +
                (field != 10 ? tensor.double_data_size() : 0) + (field != 11 ? tensor.uint64_data_size() : 0);
  SmallVector<DataRange> used;
  for (const DataRange &range : ranges) {
    if (range.length == 0) {
      continue;
    }
    foreign += int(range.field) != field;
    used.push_back(range);
  }
  if (foreign != 0) {
    static constexpr const char *names[] = {"float_data", "int32_data",  "",           "int64_data", "",
                                            "",           "double_data", "uint64_data"};
    return misfit(tensor, data.type, Twine("has data in another field than ") + names[field - 4]);
  }
  switch (field) {
  case 5:
    return readVarints(tensor, used, tensor.int32_data(), count, data);
  case 7:
    return readVarints(tensor, used, tensor.int64_data(), count, data);
  case 11:
    return readVarints(tensor, used, tensor.uint64_data(), count, data);
  default:
    break;
  }
  // Packed floats lie in the file as raw ones do.
  uint64_t width = field == 4 ? 4 : 8;
  uint64_t values = count * uint64_t(ratio) / 12;
  uint64_t loose = uint64_t(field == 4 ? tensor.float_data_size() : tensor.double_data_size());
  uint64_t present = loose * width;
  for (const DataRange &range : used) {
    present += range.length;
  }
  if (present != values * width) {
    return misfit(tensor, data.type,
                  "has " + Twine(present) + " bytes of values, its shape needs " + Twine(values * width));
  }
  if (used.size() == 1 && loose == 0) {
    data.bytes = ArrayRef<char>(file.bytes().data() + used[0].offset, used[0].length);
    return llvm::Error::success();
  }
  data.owned.resize(present);
  char *out = data.owned.data();
  auto append = [&](const void *from, uint64_t bytes) {
    if (bytes > 0) {
      std::memcpy(out, from, bytes);
      out += bytes;
    }
  };
  if (field == 4) {
    append(tensor.float_data().data(), loose * width);
  } else {
    append(tensor.double_data().data(), loose * width);
  }
  for (const DataRange &range : used) {
    append(file.bytes().data() + range.offset, range.length);
  }
  data.bytes = data.owned;
  return llvm::Error::success();
}

llvm::Expected<TensorData> TensorReader::read(const pb::SparseTensorProto &sparse) {
  llvm::Expected<TensorData> values = read(sparse.values());
  if (!values) {
    return values.takeError();
  }
  llvm::Expected<TensorData> indices = read(sparse.indices());
  if (!indices) {
    return indices.takeError();
  }
  SmallVector<int64_t> dims(sparse.dims().begin(), sparse.dims().end());
  std::string name = "sparse " + label(sparse.values());
  for (int64_t dim : dims) {
    if (dim < 0) {
      return modelError(ErrorCode::E0204, name + " has dimension " + Twine(dim) + ", must not be negative");
    }
  }
  if (llvm::Error error = checkDims(dims, options)) {
    return error;
  }
  Type element = values->type.getElementType();
  auto type = RankedTensorType::get(dims, element);
  int64_t count = values->type.getNumElements();
  ArrayRef<int64_t> shape = indices->type.getShape();
  bool linear = shape.size() == 1;
  bool fits = values->type.getRank() == 1 && indices->type.getElementType().isSignlessInteger(64) &&
              !shape.empty() && shape.size() <= 2 && shape[0] == count &&
              (linear || shape[1] == type.getRank());
  if (!fits || values->isStrings() || storedBits(element) % 8 != 0) {
    return modelError(ErrorCode::E0109, name + ": values and indices do not fit each other")
        .have("dims = " + describe(type) + "; values = " + describe(values->type) +
              "; indices = " + describe(indices->type));
  }
  uint64_t width = storedBits(element) / 8;
  if (uint64_t(type.getNumElements()) > options.limits.denseBytes / width) {
    return limitError(ErrorCode::E0103,
                      name + " would have " + Twine(type.getNumElements()) + " elements of " + Twine(width) +
                          " bytes, the limit is " + Twine(options.limits.denseBytes) + " bytes",
                      &ModelLimits::denseBytes);
  }
  TensorData data;
  data.type = type;
  data.owned.assign(uint64_t(type.getNumElements()) * width, 0);
  int64_t before = -1;
  for (int64_t i = 0; i < count; ++i) {
    int64_t position = 0;
    for (int64_t j = 0, n = linear ? 1 : type.getRank(); j < n; ++j) {
      int64_t index;
      std::memcpy(&index, indices->bytes.data() + (i * n + j) * 8, 8);
      int64_t bound = linear ? type.getNumElements() : dims[j];
      if (index < 0 || index >= bound) {
        return modelError(ErrorCode::E0109, name + ": index " + Twine(i) + " is " + Twine(index) +
                                                ", must be from 0 to " + Twine(bound - 1));
      }
      position = linear ? index : position * dims[j] + index;
    }
    if (position <= before) {
      return modelError(ErrorCode::E0109,
                        name + ": index " + Twine(i) + " repeats or precedes the one before it");
    }
    before = position;
    std::memcpy(&data.owned[uint64_t(position) * width], values->bytes.data() + uint64_t(i) * width, width);
  }
  data.bytes = data.owned;
  return data;
}

bool TensorReader::isSmall(const TensorData &data) const {
  return data.isStrings() || data.bytes.size() <= options.maxConstantBytes;
}

/// A small tensor in the context. MLIR keeps a byte for elements of less than 8 bits and a bit for a bool.
static DenseElementsAttr denseAttribute(const TensorData &data) {
  Type element = data.type.getElementType();
  auto count = uint64_t(data.type.getNumElements());
  if (element.isInteger(1)) {
    SmallVector<bool> values;
    for (char c : data.bytes) {
      values.push_back(c != 0);
    }
    return DenseElementsAttr::get(data.type, values);
  }
  unsigned bits = storedBits(element);
  if (bits % 8 == 0 && count > 0) {
    return DenseElementsAttr::getFromRawBuffer(data.type, data.bytes);
  }
  SmallVector<APInt> values;
  for (uint64_t i = 0; i < count && !isa<ComplexType>(element); ++i) {
    uint64_t value = 0;
    for (unsigned bit = 0; bit < bits; ++bit) {
      uint64_t at = i * bits + bit;
      value |= uint64_t(uint8_t(data.bytes[at / 8]) >> (at % 8) & 1) << bit;
    }
    values.emplace_back(bits, value);
  }
  if (auto floatType = dyn_cast<FloatType>(element)) {
    SmallVector<APFloat> floats;
    for (const APInt &value : values) {
      floats.emplace_back(floatType.getFloatSemantics(), value);
    }
    return DenseElementsAttr::get(data.type, floats);
  }
  if (isa<ComplexType>(element)) {
    return DenseElementsAttr::get(data.type, ArrayRef<std::complex<APFloat>>());
  }
  return DenseElementsAttr::get(data.type, values);
}

ElementsAttr TensorReader::attribute(TensorData data, StringRef name) {
  if (data.isStrings()) {
    return DenseStringElementsAttr::get(data.type, data.strings);
  }
  if (isSmall(data)) {
    return denseAttribute(data);
  }
  AsmResourceBlob blob;
  if (!data.owned.empty()) {
    blob = HeapAsmResourceBlob::allocateAndCopyWithAlign(data.owned, 64, /*dataIsMutable=*/false);
  } else {
    // Where the file has it: any alignment. What reads a weight copies or uses unaligned loads.
    auto address = reinterpret_cast<uintptr_t>(data.bytes.data());
    size_t align = address % 64 == 0 ? 64 : size_t(address & -address);
    blob = UnmanagedAsmResourceBlob::allocateWithAlign(data.bytes, align);
  }
  auto &manager = DenseResourceElementsHandle::getManagerInterface(context);
  return DenseResourceElementsAttr::get(data.type, manager.insert(name, std::move(blob)));
}
