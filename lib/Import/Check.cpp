// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Check.h"

#include "OpTable.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace lathe;

using Kind = pb::AttributeProto::AttributeType;

static std::string domainLabel(llvm::StringRef domain) {
  return canonicalDomain(domain).empty() ? "the default domain" : "domain " + quoteText(domain);
}

//===----------------------------------------------------------------------===//
// Versions
//===----------------------------------------------------------------------===//

template <typename Imports>
void OpsetScope::add(const Imports &imports) {
  for (const pb::OperatorSetIdProto &entry : imports) {
    // Exporters write a domain twice: the newer one is meant.
    auto [place, isNew] = versions.try_emplace(canonicalDomain(entry.domain()), entry.version());
    if (!isNew) {
      place->second = std::max(place->second, entry.version());
    }
  }
}

OpsetScope::OpsetScope(const pb::ModelProto &model) {
  add(model.opset_import());
  // Before IR version 3 there were no imports.
  if (model.ir_version() < 3) {
    versions.try_emplace("", 1);
  }
}

OpsetScope::OpsetScope(const pb::FunctionProto &function, const OpsetScope &model) {
  add(function.opset_import());
  for (const auto &entry : model.versions) {
    versions.try_emplace(entry.getKey(), entry.getValue());
  }
}

std::optional<int64_t> OpsetScope::version(llvm::StringRef domain) const {
  auto found = versions.find(canonicalDomain(domain));
  return found == versions.end() ? std::nullopt : std::optional(found->second);
}

llvm::Error OpsetScope::check() const {
  // A map of strings has no order of its own; a message must not depend on it.
  llvm::SmallVector<std::pair<llvm::StringRef, int64_t>> sorted;
  for (const auto &entry : versions) {
    sorted.emplace_back(entry.getKey(), entry.getValue());
  }
  llvm::sort(sorted);
  for (auto [domain, version] : sorted) {
    std::optional<int64_t> newest = newestOpset(domain);
    if (newest && (version < 1 || version > *newest)) {
      return modelError(ErrorCode::E0104, "operator set version " + llvm::Twine(version) + " of " +
                                              domainLabel(domain) + " is unknown, known are 1 to " +
                                              llvm::Twine(*newest));
    }
  }
  return llvm::Error::success();
}

llvm::Error lathe::checkIrVersion(const pb::ModelProto &model) {
  if (model.ir_version() < 1 || model.ir_version() > newestIrVersion()) {
    return modelError(ErrorCode::E0104,
                      (model.has_ir_version()
                           ? "IR version " + std::to_string(model.ir_version()) + " is unknown"
                           : std::string("the model has no IR version")) +
                          ", known are 1 to " + llvm::Twine(newestIrVersion()));
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

static const char *kindName(Kind kind) {
  switch (kind) {
  case pb::AttributeProto::FLOAT:
    return "a float";
  case pb::AttributeProto::INT:
    return "an integer";
  case pb::AttributeProto::STRING:
    return "a string";
  case pb::AttributeProto::TENSOR:
    return "a tensor";
  case pb::AttributeProto::GRAPH:
    return "a graph";
  case pb::AttributeProto::SPARSE_TENSOR:
    return "a sparse tensor";
  case pb::AttributeProto::TYPE_PROTO:
    return "a type";
  case pb::AttributeProto::FLOATS:
    return "a list of floats";
  case pb::AttributeProto::INTS:
    return "a list of integers";
  case pb::AttributeProto::STRINGS:
    return "a list of strings";
  case pb::AttributeProto::TENSORS:
    return "a list of tensors";
  case pb::AttributeProto::GRAPHS:
    return "a list of graphs";
  case pb::AttributeProto::SPARSE_TENSORS:
    return "a list of sparse tensors";
  case pb::AttributeProto::TYPE_PROTOS:
    return "a list of types";
  case pb::AttributeProto::UNDEFINED:
    break;
  }
  return "nothing";
}

static char kindLetter(Kind kind) {
  // The numbers of the kinds: 1 to 14.
  static constexpr char letters[] = " fistgFISTGpPyY";
  return kind >= 0 && kind <= 14 ? letters[kind] : ' ';
}

static Kind kindOfLetter(char letter) {
  for (int kind = 1; kind <= 14; ++kind) {
    if (kindLetter(Kind(kind)) == letter) {
      return Kind(kind);
    }
  }
  return pb::AttributeProto::UNDEFINED;
}

llvm::Expected<Kind> lathe::attributeKind(const pb::AttributeProto &a) {
  Kind held = pb::AttributeProto::UNDEFINED;
  int kinds = 0;
  auto note = [&](bool present, Kind kind) {
    if (present) {
      held = kind;
      ++kinds;
    }
  };
  note(a.has_f(), pb::AttributeProto::FLOAT);
  note(a.has_i(), pb::AttributeProto::INT);
  note(a.has_s(), pb::AttributeProto::STRING);
  note(a.has_t(), pb::AttributeProto::TENSOR);
  note(a.has_g(), pb::AttributeProto::GRAPH);
  note(a.has_sparse_tensor(), pb::AttributeProto::SPARSE_TENSOR);
  note(a.has_tp(), pb::AttributeProto::TYPE_PROTO);
  note(a.floats_size() > 0, pb::AttributeProto::FLOATS);
  note(a.ints_size() > 0, pb::AttributeProto::INTS);
  note(a.strings_size() > 0, pb::AttributeProto::STRINGS);
  note(a.tensors_size() > 0, pb::AttributeProto::TENSORS);
  note(a.graphs_size() > 0, pb::AttributeProto::GRAPHS);
  note(a.sparse_tensors_size() > 0, pb::AttributeProto::SPARSE_TENSORS);
  note(a.type_protos_size() > 0, pb::AttributeProto::TYPE_PROTOS);
  auto refuse = [&](const llvm::Twine &what) {
    return modelError(ErrorCode::E0303, "attribute " + quoteText(a.name()) + " " + what).attribute(a.name());
  };
  if (kinds > 1) {
    return refuse("holds values of " + llvm::Twine(kinds) + " types");
  }
  Kind declared = a.type();
  if (declared == pb::AttributeProto::UNDEFINED) {
    if (kinds == 0) {
      return refuse("has no type and no value");
    }
    return held;
  }
  if (kinds == 1 && held != declared) {
    return refuse(llvm::Twine("is declared as ") + kindName(declared) + " but holds " + kindName(held));
  }
  // Writers leave out a number that is zero and a list that is empty.
  bool needsValue = declared == pb::AttributeProto::TENSOR || declared == pb::AttributeProto::GRAPH ||
                    declared == pb::AttributeProto::SPARSE_TENSOR ||
                    declared == pb::AttributeProto::TYPE_PROTO;
  if (kinds == 0 && needsValue) {
    return refuse(llvm::Twine("is declared as ") + kindName(declared) + " but holds nothing");
  }
  return declared;
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

void NodeChecker::noteUnknown(const pb::NodeProto &node, const Place &place, const std::string &why) {
  std::string key = quoteText(node.op_type(), 120) + " of " + domainLabel(node.domain()) + why;
  auto [index, isNew] = unknownIndex.try_emplace(key, unknown.size());
  if (isNew) {
    unknown.push_back({key, Unknown{ModelError(ErrorCode::E0302, ""), 0, {}}});
    place.fill(unknown.back().second.first);
  }
  Unknown &entry = unknown[index->second].second;
  if (++entry.count <= 5) {
    entry.names.push_back(node.name().empty() ? "#" + std::to_string(place.index)
                                              : quoteText(node.name(), 120));
  }
}

llvm::Error NodeChecker::checkAttributes(const pb::NodeProto &node, const pb::FunctionProto *function) {
  llvm::StringSet<> names;
  for (const pb::AttributeProto &attribute : node.attribute()) {
    auto refuse = [&](const llvm::Twine &what) {
      return modelError(ErrorCode::E0303, "attribute " + quoteText(attribute.name()) + " " + what)
          .attribute(attribute.name());
    };
    if (attribute.name().empty()) {
      return modelError(ErrorCode::E0303, "an attribute has no name");
    }
    if (!names.insert(attribute.name()).second) {
      return refuse("is given twice");
    }
    if (attribute.ref_attr_name().empty()) {
      if (llvm::Expected<Kind> kind = attributeKind(attribute); !kind) {
        return kind.takeError();
      }
      continue;
    }
    auto isNamed = [&](const std::string &name) { return name == attribute.ref_attr_name(); };
    if (!function) {
      return refuse("refers to an attribute of a function, outside of any function");
    }
    if (llvm::none_of(function->attribute(), isNamed) &&
        llvm::none_of(function->attribute_proto(),
                      [&](const pb::AttributeProto &a) { return isNamed(a.name()); })) {
      return refuse("refers to " + quoteText(attribute.ref_attr_name()) +
                    ", which is no attribute of its function");
    }
  }
  return llvm::Error::success();
}

llvm::Error NodeChecker::checkDefinition(const pb::NodeProto &node, int64_t version,
                                         const OperatorInfo &info) {
  auto count = [&](int have, int min, int max, const char *what) -> llvm::Error {
    if (have >= min && (max < 0 || have <= max)) {
      return llvm::Error::success();
    }
    return modelError(ErrorCode::E0305, node.op_type() + " has " + llvm::Twine(have) + " " + what +
                                            ", must have " +
                                            (max == min ? std::to_string(min)
                                             : max < 0 ? "at least " + std::to_string(min)
                                                       : std::to_string(min) + " to " + std::to_string(max)));
  };
  if (llvm::Error error = count(node.input_size(), info.minInputs, info.maxInputs, "inputs")) {
    return error;
  }
  if (llvm::Error error = count(node.output_size(), info.minOutputs, info.maxOutputs, "outputs")) {
    return error;
  }
  for (const pb::AttributeProto &attribute : node.attribute()) {
    std::optional<OperatorInfo::Attribute> defined = info.attribute(attribute.name());
    if (!defined) {
      // ONNX Runtime adds attributes to its operators without a new version.
      if (!info.domain.empty()) {
        continue;
      }
      return modelError(ErrorCode::E0303, node.op_type() + " has no attribute " +
                                              quoteText(attribute.name()) + " in version " +
                                              llvm::Twine(version))
          .attribute(attribute.name());
    }
    if (!attribute.ref_attr_name().empty()) {
      continue;
    }
    llvm::Expected<Kind> kind = attributeKind(attribute);
    if (!kind) {
      return kind.takeError();
    }
    if (kindLetter(*kind) != defined->type) {
      return modelError(ErrorCode::E0303, "attribute " + quoteText(attribute.name()) + " is " +
                                              kindName(*kind) + ", must be " +
                                              kindName(kindOfLetter(defined->type)))
          .attribute(attribute.name());
    }
  }
  for (llvm::StringRef name : info.requiredAttributes()) {
    if (llvm::none_of(node.attribute(), [&](const pb::AttributeProto &a) { return a.name() == name; })) {
      return modelError(ErrorCode::E0303, "attribute " + quoteText(name) + " is missing").attribute(name);
    }
  }
  return llvm::Error::success();
}

llvm::Error NodeChecker::check(const pb::NodeProto &node, const Place &place, const OpsetScope &scope,
                               const pb::FunctionProto *function, const pb::FunctionProto *called) {
  auto note = [&](llvm::Error error) {
    if (!firstError && error) {
      firstError = takeModelErrors(place.fill(std::move(error))).front();
    } else {
      llvm::consumeError(std::move(error));
    }
  };
  if (llvm::Error error = checkAttributes(node, function)) {
    note(std::move(error));
    return llvm::Error::success();
  }
  if (called) {
    if (node.input_size() > called->input_size() || node.output_size() > called->output_size()) {
      note(modelError(ErrorCode::E0305,
                      functionStep(*called) + " is called with " + llvm::Twine(node.input_size()) +
                          " inputs and " + llvm::Twine(node.output_size()) + " outputs, it has " +
                          llvm::Twine(called->input_size()) + " and " + llvm::Twine(called->output_size())));
    }
    return llvm::Error::success();
  }
  std::optional<int64_t> version = scope.version(node.domain());
  llvm::ArrayRef<OperatorInfo> versions = operatorVersions(node.domain(), node.op_type());
  if (!version) {
    if (versions.empty()) {
      noteUnknown(node, place, ", which the model does not import");
      return llvm::Error::success();
    }
    return place.fill(
        modelError(ErrorCode::E0104, "the model imports no operator set of " + domainLabel(node.domain())));
  }
  if (versions.empty()) {
    noteUnknown(node, place, "");
    return llvm::Error::success();
  }
  const OperatorInfo *info = nullptr;
  for (const OperatorInfo &candidate : versions) {
    if (candidate.since <= *version) {
      info = &candidate;
    }
  }
  if (!info) {
    noteUnknown(node, place,
                ", which is new in version " + std::to_string(versions.front().since) +
                    " and the model imports version " + std::to_string(*version));
    return llvm::Error::success();
  }
  note(checkDefinition(node, *version, *info));
  return llvm::Error::success();
}

llvm::Error NodeChecker::finish() {
  if (unknown.empty()) {
    return firstError ? llvm::make_error<ModelError>(std::move(*firstError)) : llvm::Error::success();
  }
  ModelError error = std::move(unknown.begin()->second.first);
  uint64_t nodes = 0;
  for (auto &[key, entry] : unknown) {
    nodes += entry.count;
    if (error.notes.size() == 50) {
      continue;
    }
    std::string line = key + ": " + std::to_string(entry.count) +
                       (entry.count == 1 ? " node, " : " nodes, ") + llvm::join(entry.names, ", ");
    error.notes.push_back(line + (entry.count > entry.names.size() ? ", ..." : ""));
  }
  error.message = unknown.size() == 1 ? "unknown operator " + unknown.begin()->first
                                      : std::to_string(unknown.size()) + " unknown operators in " +
                                            std::to_string(nodes) + " nodes";
  return llvm::make_error<ModelError>(std::move(error));
}
