// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Changes models into other well-formed files: fields vanish, come twice, trade places with others of their
/// kind, and numbers and names become others that occur or that are known to hurt. Left to itself libFuzzer
/// spends its time on files that the reader refuses.

#include "OpTable.h"
#include "WireTree.h"

#include <algorithm>
#include <random>

using namespace lathe::fuzz;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

/// A message, and its place in the tree.
struct Message {
  Kind kind;
  std::vector<Field> *fields;
};

class Mutator {
public:
  explicit Mutator(unsigned seed) : random(seed) {}

  void mutate(std::vector<Field> &model, std::vector<Field> &donor) {
    std::vector<Message> messages, donors;
    collect(Kind::Model, model, messages);
    collect(Kind::Model, donor, donors);
    names.clear();
    for (const Message &message : messages) {
      for (const Field &field : *message.fields) {
        if (isName(message.kind, field)) {
          names.push_back(field.bytes);
        }
      }
    }
    mutateOne(messages[pick(messages.size())], donors);
  }

private:
  size_t pick(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(random); }

  static void collect(Kind kind, std::vector<Field> &fields, std::vector<Message> &into) {
    into.push_back({kind, &fields});
    for (Field &field : fields) {
      if (field.isMessage()) {
        collect(field.kind, field.fields, into);
      }
    }
  }

  /// Of a value.
  static bool isName(Kind kind, const Field &field) {
    return field.wireType == 2 && !field.isMessage() &&
           ((kind == Kind::Node && field.number <= 2) || (kind == Kind::ValueInfo && field.number == 1) ||
            (kind == Kind::Tensor && field.number == 8));
  }

  void mutateOne(Message message, const std::vector<Message> &donors) {
    std::vector<Field> &fields = *message.fields;
    size_t what = pick(12);
    if (fields.empty() || what == 0) {
      insert(message, donors);
      return;
    }
    size_t at = pick(fields.size());
    switch (what) {
    case 1:
      fields.erase(fields.begin() + int64_t(at));
      break;
    case 2:
      fields.insert(fields.begin() + int64_t(pick(fields.size() + 1)), Field(fields[at]));
      break;
    case 3:
      std::swap(fields[at], fields[pick(fields.size())]);
      break;
    case 4:
      replace(message, at, donors);
      break;
    case 5:
      if (message.kind == Kind::Node && pick(2) == 0) {
        giveOperator(message);
        break;
      }
      [[fallthrough]];
    default:
      change(message.kind, fields[at]);
    }
  }

  /// A field of a message of the same kind, from anywhere.
  const Field *borrow(Kind kind, const std::vector<Message> &donors, uint32_t number = 0) {
    std::vector<const Field *> found;
    for (const Message &donor : donors) {
      for (const Field &field : *donor.fields) {
        if (donor.kind == kind && (number == 0 || field.number == number)) {
          found.push_back(&field);
        }
      }
    }
    return found.empty() ? nullptr : found[pick(found.size())];
  }

  void insert(Message message, const std::vector<Message> &donors) {
    if (const Field *field = borrow(message.kind, donors)) {
      Field copy = *field;
      message.fields->insert(message.fields->begin() + int64_t(pick(message.fields->size() + 1)),
                             std::move(copy));
    }
  }

  void replace(Message message, size_t at, const std::vector<Message> &donors) {
    if (const Field *field = borrow(message.kind, donors, (*message.fields)[at].number)) {
      Field copy = *field;
      (*message.fields)[at] = std::move(copy);
    }
  }

  void giveOperator(Message node) {
    llvm::ArrayRef<lathe::OperatorInfo> all = lathe::allOperators();
    const lathe::OperatorInfo &info = all[pick(all.size())];
    auto set = [&](uint32_t number, llvm::StringRef text) {
      for (Field &field : *node.fields) {
        if (field.number == number && field.wireType == 2) {
          field.bytes = text.str();
          return;
        }
      }
      node.fields->push_back({number, 2, Kind::Bytes, 0, text.str(), {}});
    };
    set(4, info.name);
    set(7, info.domain);
    llvm::SmallVector<llvm::StringRef> entries;
    info.attributes.split(entries, ',', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
    if (!entries.empty()) {
      addAttribute(node, entries[pick(entries.size())]);
    }
  }

  /// `axis:i!`, as in OpTable.inc, with some value.
  void addAttribute(Message node, llvm::StringRef entry) {
    auto [name, type] = entry.split(':');
    Field attribute{5, 2, Kind::Attribute, 0, "", {{1, 2, Kind::Bytes, 0, name.str(), {}}}};
    auto add = [&](uint32_t number, uint8_t wireType, uint64_t value, uint64_t kind, size_t count = 1) {
      for (size_t i = 0; i < count; ++i) {
        attribute.fields.push_back({number, wireType, Kind::Bytes, value, "", {}});
      }
      attribute.fields.push_back({20, 0, Kind::Bytes, kind, "", {}});
    };
    switch (type.front()) {
    case 'i':
      add(3, 0, number(), 2);
      break;
    case 'f':
      add(2, 5, 0x3f800000, 1);
      break;
    case 'I':
      add(8, 0, number(), 7, 1 + pick(4));
      break;
    default:
      add(4, 2, 0, 3);
    }
    node.fields->push_back(std::move(attribute));
  }

  uint64_t number() {
    static constexpr int64_t interesting[] = {
        0,         1,       2,         3,         4,         5,         6,         7,         8,
        9,         10,      11,        12,        13,        16,        64,        -1,        -2,
        -3,        127,     128,       255,       256,       65535,     INT32_MAX, INT32_MIN, INT64_MAX,
        INT64_MIN, 1 << 20, 1LL << 31, 1LL << 32, 1LL << 40, 1LL << 48, 1LL << 62};
    return uint64_t(interesting[pick(std::size(interesting))]);
  }

  void change(Kind kind, Field &field) {
    static constexpr uint32_t floats[] = {0, 0x80000000, 0x3f800000, 0x7f800000, 0x7fc00000, 0xff7fffff, 1};
    switch (field.wireType) {
    case 0:
      field.value = pick(3) == 0 ? field.value + (pick(2) ? 1 : uint64_t(-1)) : number();
      return;
    case 1:
    case 5:
      field.value = floats[pick(std::size(floats))];
      return;
    default:
      break;
    }
    if (field.isMessage()) {
      if (!field.fields.empty()) {
        change(field.kind, field.fields[pick(field.fields.size())]);
      }
    } else if (isName(kind, field) && !names.empty() && pick(4) != 0) {
      field.bytes = names[pick(names.size())];
    } else {
      size_t size = field.bytes.size();
      field.bytes.resize(size + 16);
      field.bytes.resize(
          LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(field.bytes.data()), size, field.bytes.size()));
    }
  }

  std::mt19937 random;
  std::vector<std::string> names;
};

size_t store(const std::vector<Field> &model, uint8_t *data, size_t maxSize) {
  std::string out = writeMessage(model);
  if (out.size() > maxSize) {
    return 0;
  }
  std::copy(out.begin(), out.end(), data);
  return out.size();
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  auto model = parseMessage(Kind::Model, {reinterpret_cast<const char *>(data), size});
  // Some files are to be malformed.
  if (!model || seed % 50 == 0) {
    return LLVMFuzzerMutate(data, size, maxSize);
  }
  Mutator mutator(seed);
  for (unsigned i = 0; i <= seed / 50 % 3; ++i) {
    std::vector<Field> donor = *model;
    mutator.mutate(*model, donor);
  }
  size_t stored = store(*model, data, maxSize);
  return stored != 0 ? stored : LLVMFuzzerMutate(data, size, maxSize);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t firstSize, const uint8_t *second,
                                            size_t secondSize, uint8_t *out, size_t maxSize, unsigned seed) {
  auto model = parseMessage(Kind::Model, {reinterpret_cast<const char *>(first), firstSize});
  auto donor = parseMessage(Kind::Model, {reinterpret_cast<const char *>(second), secondSize});
  if (!model || !donor) {
    return 0;
  }
  Mutator mutator(seed);
  for (unsigned i = 0; i < 4; ++i) {
    mutator.mutate(*model, *donor);
  }
  return store(*model, out, maxSize);
}
