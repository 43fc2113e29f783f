// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// A walk over a model file that leaves the weights where they are.

#ifndef LATHE_IMPORT_WIRE_H
#define LATHE_IMPORT_WIRE_H

#include "lathe/Import/Limits.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

enum class WireStatus {
  Ok,
  Empty,
  /// Not a model from its first bytes on.
  Foreign,
  Malformed,
  TooLarge,
};

/// Where the values of one field of a tensor lie in the file.
struct DataRange {
  /// The number of the field in TensorProto: raw_data, or one of the packed fields.
  uint64_t field;
  uint64_t offset, length;
};

struct WireResult {
  WireStatus status = WireStatus::Ok;
  /// What is wrong, and at which byte.
  std::string error;
  uint64_t errorAt = 0;
  /// For TooLarge: what the file exceeds.
  uint64_t ModelLimits::*limit = nullptr;
  /// A serialized ModelProto without documentation, training information and unknown fields, in which every
  /// tensor has its DataRanges in place of its data.
  std::string structure;
  uint64_t messages = 0, nodes = 0, tensors = 0;
};

/// Walks `file`, a serialized ModelProto. Limits are checked before anything is allocated for what they
/// bound.
WireResult walkModel(std::string_view file, const ModelLimits &limits = {});

/// The ranges that a tensor of the walk's result holds in its raw_data.
std::vector<DataRange> dataRanges(std::string_view rawData);

} // namespace lathe

#endif // LATHE_IMPORT_WIRE_H
