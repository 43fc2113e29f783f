// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Where in the model the importer is.

#ifndef LATHE_LIB_IMPORT_PLACE_H
#define LATHE_LIB_IMPORT_PLACE_H

#include "lathe/Support/Error.h"
#include "lathe_onnx.pb.h"
#include <string>
#include <vector>

namespace lathe {

namespace pb = ::lathe::onnx;

using GraphPath = std::vector<std::string>;

inline std::string graphStep(llvm::StringRef name) { return "graph \"" + name.str() + "\""; }
inline std::string functionStep(const pb::FunctionProto &function) {
  return "function \"" + (function.domain().empty() ? "" : function.domain() + ".") + function.name() + "\"";
}
inline std::string subgraphStep(const pb::NodeProto &node, llvm::StringRef attribute) {
  return node.op_type() + " \"" + node.name() + "\" " + attribute.str();
}

/// A node and the graphs around it.
struct Place {
  const GraphPath *path = nullptr;
  const pb::NodeProto *node = nullptr;
  int64_t index = 0;
  std::optional<int64_t> opset;

  /// Fills the place of `error`, as far as it is empty.
  void fill(ModelError &error) const {
    if (path && error.graphPath.empty()) {
      error.graphPath = *path;
    }
    if (node && error.opType.empty()) {
      error.node = node->name();
      error.nodeIndex = index;
      error.opType = node->op_type();
      error.domain = node->domain();
      error.opset = opset;
    }
  }
  llvm::Error fill(llvm::Error error) const {
    return llvm::handleErrors(std::move(error), [&](std::unique_ptr<ModelError> found) -> llvm::Error {
      fill(*found);
      return llvm::Error(std::move(found));
    });
  }
};

/// A node as it is named in lists: `"name" (Op)`, or `#17 (Op)` without a name.
std::string nodeLabel(const pb::NodeProto &node, int64_t index);

} // namespace lathe

#endif // LATHE_LIB_IMPORT_PLACE_H
