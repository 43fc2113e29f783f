// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Strings.h"

#include "Learned.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/StringMap.h"
#include <set>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

static void collect(Attribute attribute, std::set<std::string> &words) {
  if (auto list = dyn_cast<ArrayAttr>(attribute)) {
    for (Attribute element : list) {
      collect(element, words);
    }
  } else if (auto text = dyn_cast<StringAttr>(attribute)) {
    words.insert(text.str());
  } else if (auto tensor = dyn_cast<DenseStringElementsAttr>(attribute)) {
    for (StringRef text : tensor.getValues<StringRef>()) {
      words.insert(text.str());
    }
  }
}

/// Whether an attribute holds strings that are data, not the name of a mode.
static bool holdsWords(NamedAttribute attribute) {
  StringRef name = attribute.getName().getValue();
  return name.ends_with("_strings") || name.ends_with("_string") || name == "string_vocabulary" ||
         isa<DenseStringElementsAttr>(attribute.getValue());
}

Vocabulary::Vocabulary(Operation *main) {
  std::set<std::string> found;
  main->walk([&](Operation *op) {
    if (auto constant = dyn_cast<ConstantOp>(op)) {
      collect(constant.getValue(), found);
    }
    auto node = dyn_cast<NodeOp>(op);
    for (NamedAttribute attribute : node ? node.getNodeAttrs() : DictionaryAttr::get(op->getContext())) {
      if (holdsWords(attribute)) {
        collect(attribute.getValue(), found);
      }
    }
    if (node && (node.getOpType() == "LabelEncoder" || node.getOpType() == "CategoryMapper")) {
      found.insert("_Unused"); // their default
    }
  });
  words = std::make_shared<const std::vector<std::string>>(found.begin(), found.end());
}

LegalValue Vocabulary::bind(OpBuilder &builder, ConstantOp constant) const {
  LegalValue value;
  auto strings = dyn_cast<DenseStringElementsAttr>(constant.getValue());
  if (!strings) {
    return value;
  }
  SmallVector<int64_t> positions;
  for (StringRef text : strings.getValues<StringRef>()) {
    positions.push_back(llvm::lower_bound(*words, text) - words->begin());
  }
  auto type = RankedTensorType::get(strings.getType().getShape(), builder.getI64Type());
  value.tensor = arith::ConstantOp::create(builder, constant.getLoc(),
                                           DenseElementsAttr::get(type, ArrayRef(positions)));
  value.words = words;
  return value;
}

void StringList::give(LegalizeContext &c, LegalValue &value) const {
  value.tensor = c.asTensor(value);
  value.scalars.reset();
  value.words = words;
  value.isOpen = isOpen;
}

std::optional<StringList> lathe::onnx::takeStrings(SmallVectorImpl<LegalValue *> &operands) {
  StringList strings;
  for (LegalValue *operand : operands) {
    if (!operand || !operand->words) {
      continue;
    }
    if (strings.words && strings.words != operand->words) {
      return std::nullopt;
    }
    strings.words = operand->words;
    strings.isOpen |= operand->isOpen;
  }
  if (!strings.words) {
    return std::nullopt;
  }
  for (LegalValue *&operand : operands) {
    if (operand && operand->words) {
      strings.positions.push_back(std::make_unique<LegalValue>(*operand));
      operand = strings.positions.back().get();
      operand->words = nullptr;
    }
  }
  return strings;
}

Value lathe::onnx::findWords(LegalizeContext &c, const LegalValue &x, ArrayRef<std::string> list) {
  llvm::StringMap<int64_t> positions;
  for (auto [i, word] : llvm::enumerate(list)) {
    positions[word] = i;
  }
  SmallVector<int64_t> table;
  for (const std::string &word : *x.words) {
    auto found = positions.find(word);
    table.push_back(found == positions.end() ? int64_t(list.size()) : found->second);
  }
  if (x.isOpen || table.empty()) {
    table.push_back(list.size());
  }
  return nn::buildGather(c.b, c.loc, buildTable(c, ArrayRef<int64_t>(table), c.b.getI64Type()), x.tensor,
                         /*axis=*/0);
}

LogicalResult lathe::onnx::compareStrings(LegalizeContext &c) {
  const LegalValue &lhs = c.legal(0), &rhs = c.legal(1);
  if (!lhs.words || !rhs.words) {
    return c.error("E0306", "one operand holds strings, the other does not");
  }
  if (lhs.isOpen && rhs.isOpen) {
    return c.unsupported(
        "both operands hold strings of inputs, of which only those that the model names are known");
  }
  // Both as positions in the list of the one that is not open; what is not in it is equal to nothing in it.
  const LegalValue &closed = rhs.isOpen ? lhs : rhs, &other = rhs.isOpen ? rhs : lhs;
  return c.set(c.compare(nn::CompareKind::Equal, findWords(c, other, *closed.words),
                         findWords(c, closed, *closed.words)));
}

void lathe::onnx::registerStrings(LegalizerRegistry &registry) {
  registry.moveStrings({"Concat", "Expand", "Flatten", "Gather", "GatherND", "Reshape", "Slice", "Split",
                        "Squeeze", "Tile", "Transpose", "Unsqueeze"});
}
