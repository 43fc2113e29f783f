// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe;

/// The same mistake in 10,000 nodes: enough to see the pattern.
static constexpr size_t maxErrors = 20;

static NodeOrigin originFromMetadata(DictionaryAttr metadata) {
  NodeOrigin origin;
  auto text = [&](StringRef key) {
    auto attr = metadata.getAs<StringAttr>(key);
    return attr ? attr.str() : std::string();
  };
  auto number = [&](StringRef key) -> std::optional<int64_t> {
    auto attr = metadata.getAs<IntegerAttr>(key);
    return attr ? std::optional(attr.getValue().getSExtValue()) : std::nullopt;
  };
  origin.name = text("node");
  origin.opType = text("op");
  origin.domain = text("domain");
  origin.opset = number("opset");
  origin.index = number("index");
  if (auto graph = metadata.getAs<StringAttr>("graph"); graph && !graph.empty()) {
    origin.graphPath.push_back(graph.str());
  } else if (auto path = metadata.getAs<ArrayAttr>("graph")) {
    for (Attribute part : path) {
      if (auto name = dyn_cast<StringAttr>(part)) {
        origin.graphPath.push_back(name.str());
      }
    }
  }
  return origin;
}

/// Calls `visit` for every location inside `loc` that carries metadata, a name or a file position, until it
/// returns false. Without recursion: locations of inlined code can be deep.
static void walkLocation(Location loc, llvm::function_ref<bool(Location)> visit) {
  SmallVector<Location> stack{loc};
  llvm::DenseSet<Attribute> seen;
  while (!stack.empty()) {
    Location current = stack.pop_back_val();
    if (!seen.insert(current).second) {
      continue;
    }
    if (!visit(current)) {
      return;
    }
    if (auto fused = dyn_cast<FusedLoc>(current)) {
      // What a node's own location is made of does not say more than its metadata.
      if (!isa_and_present<DictionaryAttr>(fused.getMetadata())) {
        for (Location inner : llvm::reverse(fused.getLocations())) {
          stack.push_back(inner);
        }
      }
    } else if (auto name = dyn_cast<NameLoc>(current)) {
      stack.push_back(name.getChildLoc());
    } else if (auto call = dyn_cast<CallSiteLoc>(current)) {
      stack.push_back(call.getCaller());
      stack.push_back(call.getCallee());
    }
  }
}

std::vector<NodeOrigin> lathe::originsOf(Location loc) {
  std::vector<NodeOrigin> origins;
  walkLocation(loc, [&](Location inner) {
    if (auto fused = dyn_cast<FusedLoc>(inner)) {
      if (auto metadata = dyn_cast_if_present<DictionaryAttr>(fused.getMetadata())) {
        origins.push_back(originFromMetadata(metadata));
      }
    } else if (auto name = dyn_cast<NameLoc>(inner)) {
      NodeOrigin origin;
      origin.name = name.getName().str();
      origins.push_back(std::move(origin));
    }
    return true;
  });
  return origins;
}

void lathe::setPlace(ModelError &error, Location loc) {
  if (error.node.empty() && !error.nodeIndex) {
    std::vector<NodeOrigin> origins = originsOf(loc);
    if (!origins.empty()) {
      NodeOrigin &origin = origins.front();
      error.node = std::move(origin.name);
      error.opType = std::move(origin.opType);
      error.domain = std::move(origin.domain);
      error.opset = origin.opset;
      error.nodeIndex = origin.index;
      error.graphPath = std::move(origin.graphPath);
    }
  }
  if (!error.position.empty()) {
    return;
  }
  walkLocation(loc, [&](Location inner) {
    auto position = dyn_cast<FileLineColLoc>(inner);
    if (!position) {
      return true;
    }
    error.file = position.getFilename().str();
    error.position = std::to_string(position.getLine()) + ":" + std::to_string(position.getColumn());
    return false;
  });
}

DiagnosticCollector::DiagnosticCollector(MLIRContext *context, StringRef file, ErrorCode defaultCode)
    : context(context), file(file.str()), defaultCode(defaultCode) {
  handlerId = context->getDiagEngine().registerHandler([this](Diagnostic &d) { return handle(d); });
}

DiagnosticCollector::~DiagnosticCollector() { context->getDiagEngine().eraseHandler(handlerId); }

LogicalResult DiagnosticCollector::handle(Diagnostic &diagnostic) {
  if (diagnostic.getSeverity() != DiagnosticSeverity::Error) {
    return failure();
  }
  std::string text = diagnostic.str();
  StringRef message = text;
  ErrorCode code = defaultCode;
  // MLIR puts "'nn.conv' op " before what an emitOpError says: the code may stand after it.
  size_t open = message.find("[E");
  if (open != StringRef::npos && message.size() >= open + 7 && message[open + 6] == ']') {
    if (std::optional<ErrorCode> parsed = parseErrorCode(message.substr(open + 1, 5))) {
      code = *parsed;
      text = (message.take_front(open) + message.substr(open + 7).ltrim()).str();
    }
  }
  ModelError error(code, text);
  error.file = file;
  setPlace(error, diagnostic.getLocation());
  for (Diagnostic &note : diagnostic.getNotes()) {
    std::string noteText = note.str();
    StringRef rest = noteText;
    if (rest.consume_front("have: ")) {
      error.have = rest.str();
    } else if (rest.consume_front("help: ")) {
      error.help = rest.str();
    } else if (rest.consume_front("attribute: ")) {
      error.attribute = rest.str();
    } else if (!rest.starts_with("see current operation")) { // whole functions, for developers
      error.notes.push_back(noteText);
    }
  }
  errors.push_back(std::move(error));
  return success();
}

llvm::Error DiagnosticCollector::takeError() {
  llvm::Error result = llvm::Error::success();
  size_t kept = 0, left = 0;
  ErrorCode code = errors.empty() ? ErrorCode::E0900 : errors.front().code;
  for (ModelError &error : errors) {
    if (error.code != code) {
      continue;
    }
    if (kept == maxErrors) {
      ++left;
      continue;
    }
    result = llvm::joinErrors(std::move(result), llvm::make_error<ModelError>(std::move(error)));
    ++kept;
  }
  if (left > 0) {
    result = llvm::joinErrors(std::move(result),
                              modelError(code, "and " + llvm::Twine(left) + " more of this kind").file(file));
  }
  errors.clear();
  return result;
}

llvm::Error DiagnosticCollector::takeFailure(const llvm::Twine &step) {
  if (errors.empty()) {
    return modelError(defaultCode, step + " failed without a message").file(file);
  }
  return takeError();
}
