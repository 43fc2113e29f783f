// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include <system_error>

using namespace llvm;
using namespace lathe;

char ModelError::ID = 0;

static const ErrorCodeInfo codes[] = {
#define LATHE_ERROR(code, errorClass, title, explanation)                                                    \
  {ErrorCode::code, #code, ErrorClass::errorClass, title, explanation},
#include "lathe/Support/ErrorCodes.def"
};

ArrayRef<ErrorCodeInfo> lathe::allErrorCodes() { return codes; }

const ErrorCodeInfo &lathe::infoOf(ErrorCode code) { return codes[static_cast<size_t>(code)]; }

std::optional<ErrorCode> lathe::parseErrorCode(StringRef name) {
  for (const ErrorCodeInfo &info : codes) {
    if (info.name == name) {
      return info.code;
    }
  }
  return std::nullopt;
}

/// Long lists belong into the report; a terminal gets their beginning.
static constexpr size_t maxNotes = 50;

/// `  --> model.onnx: node #17 "/backbone/conv1/Conv" (Conv, opset 17), attribute `strides``, as far as it is
/// known.
static void renderPlace(const ModelError &e, raw_ostream &os) {
  SmallVector<std::string> parts;
  std::string node;
  if (!e.node.empty() || e.nodeIndex || !e.opType.empty()) {
    node = "node";
    if (e.nodeIndex) {
      node += " #" + std::to_string(*e.nodeIndex);
    }
    if (!e.node.empty()) {
      node += " " + quoteText(e.node);
    }
    if (!e.opType.empty()) {
      node += " (" + (e.domain.empty() ? "" : escapeText(e.domain) + ".") + escapeText(e.opType);
      node += (e.opset ? ", opset " + std::to_string(*e.opset) : "") + ")";
    }
    parts.push_back(node);
  }
  if (!e.attribute.empty()) {
    parts.push_back("attribute `" + escapeText(e.attribute) + "`");
  }
  if (e.file.empty() && parts.empty()) {
    return;
  }
  os << "  --> " << escapeText(e.file);
  if (!e.position.empty()) {
    os << ':' << escapeText(e.position);
  }
  os << (e.file.empty() || parts.empty() ? "" : ": ") << join(parts, ", ") << '\n';
}

void ModelError::render(raw_ostream &os) const {
  os << "error[" << infoOf(code).name << "]: " << escapeText(message, /*limit=*/2000) << '\n';
  renderPlace(*this, os);
  if (!graphPath.empty()) {
    os << "  in: ";
    interleave(graphPath, os, [&](const std::string &part) { os << escapeText(part); }, " > ");
    os << '\n';
  }
  if (!have.empty()) {
    os << "  have: " << escapeText(have, /*limit=*/2000) << '\n';
  }
  for (const std::string &note : ArrayRef(notes).take_front(maxNotes)) {
    os << "  note: " << escapeText(note, /*limit=*/2000) << '\n';
  }
  if (notes.size() > maxNotes) {
    os << "  note: and " << notes.size() - maxNotes << " more\n";
  }
  if (!help.empty()) {
    os << "  help: " << escapeText(help, /*limit=*/2000) << '\n';
  }
}

std::string ModelError::render() const {
  std::string text;
  raw_string_ostream os(text);
  render(os);
  return text;
}

json::Object ModelError::toJSON() const {
  json::Object o{
      {"code", infoOf(code).name}, {"class", static_cast<int>(errorClass())}, {"message", toUTF8(message)}};
  auto add = [&](StringRef key, const std::string &value) {
    if (!value.empty()) {
      o[key] = toUTF8(value);
    }
  };
  auto addList = [&](StringRef key, const std::vector<std::string> &values) {
    if (!values.empty()) {
      o[key] = json::Array(map_range(values, toUTF8));
    }
  };
  add("file", file);
  add("position", position);
  add("node", node);
  add("op", opType);
  add("domain", domain);
  if (nodeIndex) {
    o["index"] = *nodeIndex;
  }
  if (opset) {
    o["opset"] = *opset;
  }
  add("attribute", attribute);
  addList("graph", graphPath);
  add("have", have);
  addList("notes", notes);
  add("help", help);
  return o;
}

std::optional<ModelError> ModelError::fromJSON(const json::Value &value) {
  const json::Object *o = value.getAsObject();
  if (!o) {
    return std::nullopt;
  }
  std::optional<StringRef> name = o->getString("code"), message = o->getString("message");
  std::optional<ErrorCode> code = name ? parseErrorCode(*name) : std::nullopt;
  if (!code || !message) {
    return std::nullopt;
  }
  ModelError e(*code, *message);
  auto get = [&](StringRef key, std::string &to) { to = o->getString(key).value_or("").str(); };
  auto getList = [&](StringRef key, std::vector<std::string> &to) {
    if (const json::Array *list = o->getArray(key)) {
      for (const json::Value &v : *list) {
        to.push_back(v.getAsString().value_or("").str());
      }
    }
  };
  get("file", e.file);
  get("position", e.position);
  get("node", e.node);
  get("op", e.opType);
  get("domain", e.domain);
  e.nodeIndex = o->getInteger("index");
  e.opset = o->getInteger("opset");
  get("attribute", e.attribute);
  getList("graph", e.graphPath);
  get("have", e.have);
  getList("notes", e.notes);
  get("help", e.help);
  return e;
}

ErrorBuilder lathe::systemError(ErrorCode code, const Twine &what, int errorNumber) {
  std::string reason = std::error_code(errorNumber, std::generic_category()).message();
  if (!reason.empty()) {
    reason[0] = toLower(reason[0]);
  }
  return modelError(code, what + ": " + reason);
}

std::vector<ModelError> lathe::takeModelErrors(Error error) {
  std::vector<ModelError> all;
  handleAllErrors(
      std::move(error), [&](const ModelError &e) { all.push_back(e); },
      [&](const ErrorInfoBase &e) { all.emplace_back(ErrorCode::E0900, e.message()); });
  return all;
}

int lathe::reportError(Error error, raw_ostream &os) {
  std::vector<ModelError> all = takeModelErrors(std::move(error));
  for (const ModelError &e : all) {
    e.render(os);
  }
  return all.empty() ? 0 : static_cast<int>(all.front().errorClass());
}
