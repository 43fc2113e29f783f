// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "WireTree.h"

#include <cstring>

using namespace lathe::fuzz;

static constexpr unsigned maxDepth = 200;

namespace {
struct Child {
  Kind parent;
  uint32_t number;
  Kind kind;
};
constexpr Child children[] = {
    {Kind::Model, 7, Kind::Graph},         {Kind::Model, 8, Kind::Opset},
    {Kind::Model, 14, Kind::Entry},        {Kind::Model, 25, Kind::Function},
    {Kind::Graph, 1, Kind::Node},          {Kind::Graph, 5, Kind::Tensor},
    {Kind::Graph, 11, Kind::ValueInfo},    {Kind::Graph, 12, Kind::ValueInfo},
    {Kind::Graph, 13, Kind::ValueInfo},    {Kind::Graph, 15, Kind::Sparse},
    {Kind::Node, 5, Kind::Attribute},      {Kind::Attribute, 5, Kind::Tensor},
    {Kind::Attribute, 6, Kind::Graph},     {Kind::Attribute, 10, Kind::Tensor},
    {Kind::Attribute, 11, Kind::Graph},    {Kind::Attribute, 14, Kind::Type},
    {Kind::Attribute, 15, Kind::Type},     {Kind::Attribute, 22, Kind::Sparse},
    {Kind::Attribute, 23, Kind::Sparse},   {Kind::Tensor, 13, Kind::Entry},
    {Kind::Sparse, 1, Kind::Tensor},       {Kind::Sparse, 2, Kind::Tensor},
    {Kind::ValueInfo, 2, Kind::Type},      {Kind::Type, 1, Kind::TensorType},
    {Kind::Type, 4, Kind::ElementType},    {Kind::Type, 5, Kind::MapType},
    {Kind::Type, 8, Kind::TensorType},     {Kind::Type, 9, Kind::ElementType},
    {Kind::ElementType, 1, Kind::Type},    {Kind::MapType, 2, Kind::Type},
    {Kind::TensorType, 2, Kind::Shape},    {Kind::Shape, 1, Kind::Dimension},
    {Kind::Function, 7, Kind::Node},       {Kind::Function, 9, Kind::Opset},
    {Kind::Function, 11, Kind::Attribute}, {Kind::Function, 12, Kind::ValueInfo},
};

struct Reader {
  std::string_view bytes;
  size_t at = 0;

  bool varint(uint64_t &value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && at < bytes.size(); shift += 7) {
      auto byte = uint8_t(bytes[at++]);
      value |= uint64_t(byte & 127) << shift;
      if (byte < 128) {
        return true;
      }
    }
    return false;
  }
  bool fixed(void *to, size_t size) {
    if (bytes.size() - at < size) {
      return false;
    }
    std::memcpy(to, bytes.data() + at, size);
    at += size;
    return true;
  }
};
} // namespace

Kind lathe::fuzz::childKind(Kind parent, uint32_t number) {
  for (const Child &child : children) {
    if (child.parent == parent && child.number == number) {
      return child.kind;
    }
  }
  return Kind::Bytes;
}

std::optional<std::vector<Field>> lathe::fuzz::parseMessage(Kind kind, std::string_view bytes,
                                                            unsigned depth) {
  if (depth > maxDepth) {
    return std::nullopt;
  }
  std::vector<Field> fields;
  Reader reader{bytes};
  while (reader.at < bytes.size()) {
    uint64_t tag = 0, length = 0;
    Field field;
    if (!reader.varint(tag) || tag > UINT32_MAX) {
      return std::nullopt;
    }
    field.number = uint32_t(tag >> 3);
    field.wireType = tag & 7;
    bool good = false;
    switch (field.wireType) {
    case 0:
      good = reader.varint(field.value);
      break;
    case 1:
      good = reader.fixed(&field.value, 8);
      break;
    case 5:
      good = reader.fixed(&field.value, 4);
      break;
    case 2:
      good = reader.varint(length) && length <= bytes.size() - reader.at;
      break;
    default:
      break;
    }
    if (!good) {
      return std::nullopt;
    }
    if (field.wireType == 2) {
      std::string_view body = bytes.substr(reader.at, length);
      reader.at += length;
      field.kind = childKind(kind, field.number);
      std::optional<std::vector<Field>> inner;
      if (field.isMessage()) {
        inner = parseMessage(field.kind, body, depth + 1);
      }
      if (inner) {
        field.fields = std::move(*inner);
      } else {
        field.kind = Kind::Bytes;
        field.bytes = body;
      }
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

static void putVarint(std::string &out, uint64_t value) {
  for (; value > 127; value >>= 7) {
    out += char((value & 127) | 128);
  }
  out += char(value);
}

std::string lathe::fuzz::writeMessage(const std::vector<Field> &fields) {
  std::string out;
  for (const Field &field : fields) {
    putVarint(out, uint64_t(field.number) << 3 | field.wireType);
    switch (field.wireType) {
    case 0:
      putVarint(out, field.value);
      break;
    case 1:
    case 5:
      out.append(reinterpret_cast<const char *>(&field.value), field.wireType == 1 ? 8 : 4);
      break;
    default: {
      std::string body = field.isMessage() ? writeMessage(field.fields) : field.bytes;
      putVarint(out, body.size());
      out += body;
    }
    }
  }
  return out;
}
