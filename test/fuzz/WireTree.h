// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// A serialized ONNX model as a tree of fields that can be changed and written again.

#ifndef LATHE_TEST_FUZZ_WIRETREE_H
#define LATHE_TEST_FUZZ_WIRETREE_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::fuzz {

/// What a field of length-delimited bytes holds.
enum class Kind : uint8_t {
  Bytes, // texts, packed numbers, data
  Model,
  Graph,
  Node,
  Attribute,
  Tensor,
  Sparse,
  ValueInfo,
  Type,
  ElementType,
  MapType,
  TensorType,
  Shape,
  Dimension,
  Function,
  Opset,
  Entry,
};

struct Field {
  uint32_t number = 0;
  /// 0, 1, 2 or 5, as on the wire.
  uint8_t wireType = 0;
  Kind kind = Kind::Bytes;
  /// For wire types 0, 1 and 5.
  uint64_t value = 0;
  /// For wire type 2: bytes, or fields if `kind` is a message.
  std::string bytes;
  std::vector<Field> fields;

  bool isMessage() const { return kind != Kind::Bytes; }
};

/// The message in field `number` of a `parent`, or Bytes.
Kind childKind(Kind parent, uint32_t number);

/// None if the bytes are no message.
std::optional<std::vector<Field>> parseMessage(Kind kind, std::string_view bytes, unsigned depth = 0);
std::string writeMessage(const std::vector<Field> &fields);

} // namespace lathe::fuzz

#endif // LATHE_TEST_FUZZ_WIRETREE_H
