// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Import/Wire.h"

#include <array>

using namespace lathe;

namespace {

/// Messages of the schema. Leaf has only numbers and strings that are copied as they are.
enum Kind : uint8_t {
  Leaf,
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
  Function,
  Opset,
  KindCount
};

/// What is done with a field: how it is encoded, and whether it is kept.
enum Form : uint8_t {
  Unknown, // dropped; refused at the top
  Drop,    // known, of no use here
  Number,
  Numbers, // packed or not
  Float,
  Floats,
  Text,
  Message,
  Once, // a message that must not come twice
  Data, // Numbers or Bytes of a tensor
  Bytes,
};

struct Rule {
  Form form = Unknown;
  Kind child = Leaf;
};

/// A field of a kind of message.
struct Field {
  Kind kind;
  uint8_t number;
  Form form;
  Kind child = Leaf;
};

constexpr Field fields[] = {
    {Model, 1, Number},         // ir_version
    {Model, 2, Text},           // producer_name
    {Model, 3, Text},           // producer_version
    {Model, 4, Drop},           // domain
    {Model, 5, Drop},           // model_version
    {Model, 6, Drop},           // doc_string
    {Model, 7, Once, Graph},    // graph
    {Model, 8, Message, Opset}, // opset_import
    {Model, 14, Message},       // metadata_props
    {Model, 20, Drop},          // training_info
    {Model, 25, Message, Function},
    {Model, 26, Drop}, // configuration
    {Graph, 1, Message, Node},
    {Graph, 2, Text},            // name
    {Graph, 5, Message, Tensor}, // initializer
    {Graph, 10, Drop},           // doc_string
    {Graph, 11, Message, ValueInfo},
    {Graph, 12, Message, ValueInfo},
    {Graph, 13, Message, ValueInfo},
    {Graph, 14, Drop}, // quantization_annotation
    {Graph, 15, Message, Sparse},
    {Graph, 16, Drop}, // metadata_props
    {Node, 1, Text},   // input
    {Node, 2, Text},   // output
    {Node, 3, Text},   // name
    {Node, 4, Text},   // op_type
    {Node, 5, Message, Attribute},
    {Node, 6, Drop},      // doc_string
    {Node, 7, Text},      // domain
    {Node, 8, Text},      // overload
    {Attribute, 1, Text}, // name
    {Attribute, 2, Float},
    {Attribute, 3, Number},
    {Attribute, 4, Text},
    {Attribute, 5, Message, Tensor},
    {Attribute, 6, Message, Graph},
    {Attribute, 7, Floats},
    {Attribute, 8, Numbers},
    {Attribute, 9, Text},
    {Attribute, 10, Message, Tensor},
    {Attribute, 11, Message, Graph},
    {Attribute, 13, Drop}, // doc_string
    {Attribute, 14, Message, Type},
    {Attribute, 15, Message, Type},
    {Attribute, 20, Number}, // type
    {Attribute, 21, Text},   // ref_attr_name
    {Attribute, 22, Message, Sparse},
    {Attribute, 23, Message, Sparse},
    {Tensor, 1, Numbers},  // dims
    {Tensor, 2, Number},   // data_type
    {Tensor, 3, Message},  // segment
    {Tensor, 4, Data},     // float_data
    {Tensor, 5, Data},     // int32_data
    {Tensor, 6, Text},     // string_data
    {Tensor, 7, Data},     // int64_data
    {Tensor, 8, Text},     // name
    {Tensor, 9, Bytes},    // raw_data
    {Tensor, 10, Data},    // double_data
    {Tensor, 11, Data},    // uint64_data
    {Tensor, 12, Drop},    // doc_string
    {Tensor, 13, Message}, // external_data
    {Tensor, 14, Number},  // data_location
    {Sparse, 1, Message, Tensor},
    {Sparse, 2, Message, Tensor},
    {Sparse, 3, Numbers}, // dims
    {ValueInfo, 1, Text},
    {ValueInfo, 2, Message, Type},
    {Type, 1, Message, TensorType},
    {Type, 4, Message, ElementType}, // sequence
    {Type, 5, Message, MapType},
    {Type, 7, Message},              // opaque
    {Type, 8, Message, TensorType},  // sparse tensor
    {Type, 9, Message, ElementType}, // optional
    {ElementType, 1, Message, Type},
    {MapType, 1, Number},
    {MapType, 2, Message, Type},
    {TensorType, 1, Number},
    {TensorType, 2, Message, Shape},
    {Shape, 1, Message}, // dim
    {Function, 1, Text}, // name
    {Function, 4, Text}, // input
    {Function, 5, Text}, // output
    {Function, 6, Text}, // attribute
    {Function, 7, Message, Node},
    {Function, 9, Message, Opset},
    {Function, 10, Text}, // domain
    {Function, 11, Message, Attribute},
    {Function, 12, Message, ValueInfo},
    {Function, 13, Text}, // overload
    {Opset, 1, Text},
    {Opset, 2, Number},
};

/// The rule of each field, by the kind of its message and its number.
constexpr auto allRules = [] {
  std::array<std::array<Rule, 32>, KindCount> rules{};
  for (const Field &field : fields) {
    rules[field.kind][field.number] = {field.form, field.child};
  }
  return rules;
}();

/// Whether a field of this form may have this wire type.
bool fits(Form form, unsigned wireType) {
  switch (form) {
  case Number:
    return wireType == 0;
  case Numbers:
    return wireType == 0 || wireType == 2;
  case Float:
    return wireType == 5;
  case Floats:
    return wireType == 5 || wireType == 2;
  case Text:
  case Message:
  case Once:
  case Bytes:
    return wireType == 2;
  default:
    return true;
  }
}

struct Walker {
  std::string_view file;
  const ModelLimits &limits;
  WireResult &out;
  /// Whether a whole field of a model, or a node, was seen: what is wrong after that is wrong with a model.
  bool recognized = false;
  bool hasGraph = false;

  bool fail(uint64_t at, std::string why, WireStatus status = WireStatus::Malformed) {
    out.status = status == WireStatus::Malformed && !recognized ? WireStatus::Foreign : status;
    out.error = std::move(why);
    out.errorAt = at;
    return false;
  }

  bool varint(uint64_t &pos, uint64_t end, uint64_t &value) {
    value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (pos >= end) {
        return fail(pos, "the file ends in the middle of a number");
      }
      uint8_t byte = file[pos++];
      if (shift == 63 && byte > 1) {
        break;
      }
      value |= uint64_t(byte & 127) << shift;
      if (byte < 128) {
        return true;
      }
    }
    return fail(pos, "a number is longer than 64 bits");
  }

  bool exceeds(uint64_t at, std::string why, uint64_t ModelLimits::*limit) {
    out.limit = limit;
    return fail(at, std::move(why), WireStatus::TooLarge);
  }

  bool room(uint64_t bytes, uint64_t at) {
    uint64_t used = out.structure.size();
    if (used > limits.structureBytes || bytes > limits.structureBytes - used) {
      return exceeds(at,
                     "the model's structure (everything but the data of its tensors) is larger than " +
                         std::to_string(limits.structureBytes) + " bytes",
                     &ModelLimits::structureBytes);
    }
    return true;
  }

  bool copy(uint64_t from, uint64_t to) {
    if (!room(to - from, from)) {
      return false;
    }
    out.structure.append(file.data() + from, to - from);
    return true;
  }

  void appendVarint(uint64_t value) {
    for (; value > 127; value >>= 7) {
      out.structure += char((value & 127) | 128);
    }
    out.structure += char(value);
  }

  /// A length of five bytes, patched later. Protobuf's readers accept the padding.
  void patch(size_t at, uint64_t length) {
    for (int i = 0; i < 5; ++i) {
      out.structure[at + i] = char((length >> (7 * i) & 127) | (i < 4 ? 128 : 0));
    }
  }

  bool countMessage(uint64_t at) {
    if (++out.messages > limits.messages) {
      return exceeds(at,
                     "the model has more than " + std::to_string(limits.messages) + " messages and strings",
                     &ModelLimits::messages);
    }
    return true;
  }

  bool message(Kind kind, uint64_t pos, uint64_t end, unsigned depth) {
    if (depth > limits.depth) {
      return exceeds(pos,
                     "messages lie more than " + std::to_string(limits.depth) + " deep inside each other",
                     &ModelLimits::depth);
    }
    if (kind == Node && ++out.nodes > limits.nodes) {
      return exceeds(pos, "the model has more than " + std::to_string(limits.nodes) + " nodes",
                     &ModelLimits::nodes);
    }
    std::vector<DataRange> ranges;
    while (pos < end) {
      uint64_t start = pos, tag = 0, length = 0;
      if (!varint(pos, end, tag)) {
        return false;
      }
      uint64_t number = tag >> 3;
      unsigned wireType = tag & 7;
      if (number == 0 || tag > UINT32_MAX) {
        return fail(start, "a field has number " + std::to_string(number));
      }
      switch (wireType) {
      case 0:
        if (!varint(pos, end, length)) {
          return false;
        }
        length = 0;
        break;
      case 1:
        length = 8;
        break;
      case 5:
        length = 4;
        break;
      case 2:
        if (!varint(pos, end, length)) {
          return false;
        }
        break;
      default:
        return fail(start, "a field has wire type " + std::to_string(wireType));
      }
      if (length > end - pos) {
        return fail(start, length > file.size() - pos
                               ? "the file ends in the middle of a field: " + std::to_string(length) +
                                     " bytes declared, " + std::to_string(file.size() - pos) + " left"
                               : "a field reaches beyond the end of its message");
      }
      uint64_t body = pos;
      pos += length;
      Rule rule = kind != Leaf && number < 32 ? allRules[kind][number] : Rule{kind == Leaf ? Text : Unknown};
      if (rule.form == Unknown && kind == Model) {
        return fail(start,
                    "a model has no field " + std::to_string(number) + ": bytes behind the end of a model?");
      }
      if (rule.form == Unknown || rule.form == Drop) {
        continue;
      }
      if (kind != Leaf && !fits(rule.form, wireType)) {
        return fail(start, "field " + std::to_string(number) + " has wire type " + std::to_string(wireType));
      }
      if (wireType == 2 && !countMessage(start)) {
        return false;
      }
      if (rule.form == Bytes || (rule.form == Data && wireType == 2)) {
        ranges.push_back({number, body, length});
        continue;
      }
      if (rule.form != Message && rule.form != Once) {
        if (!copy(start, pos)) {
          return false;
        }
        recognized = recognized || kind == Model;
        continue;
      }
      if (rule.form == Once && hasGraph) {
        return fail(start, "a second graph: bytes behind the end of a model?");
      }
      hasGraph = hasGraph || rule.form == Once;
      if (!room(16, start)) {
        return false;
      }
      appendVarint(tag);
      size_t at = out.structure.size();
      out.structure.append(5, '\0');
      if (!message(rule.child, body, pos, depth + 1)) {
        return false;
      }
      recognized = recognized || kind == Model || rule.child == Node;
      patch(at, out.structure.size() - at - 5);
    }
    if (!ranges.empty()) {
      uint64_t bytes = ranges.size() * sizeof(DataRange);
      if (!room(bytes + 16, end)) {
        return false;
      }
      out.structure += '\x4a'; // raw_data
      appendVarint(bytes);
      out.structure.append(reinterpret_cast<const char *>(ranges.data()), bytes);
      ++out.tensors;
    }
    return true;
  }
};

} // namespace

WireResult lathe::walkModel(std::string_view file, const ModelLimits &limits) {
  WireResult out;
  if (file.empty()) {
    out.status = WireStatus::Empty;
    out.error = "the file is empty";
    return out;
  }
  Walker walker{file, limits, out};
  walker.message(Model, 0, file.size(), 0);
  if (out.status != WireStatus::Ok) {
    out.structure.clear();
  }
  return out;
}

std::vector<DataRange> lathe::dataRanges(std::string_view rawData) {
  std::vector<DataRange> ranges(rawData.size() / sizeof(DataRange));
  if (!ranges.empty()) {
    std::memcpy(ranges.data(), rawData.data(), ranges.size() * sizeof(DataRange));
  }
  return ranges;
}
