// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe inspect model.onnx`: what a model takes, gives and holds, as its file says it.

#include "lathe/Compiler/Compile.h"
#include "lathe/Compiler/Register.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "lathe/Import/Import.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"

#include <map>

using namespace mlir;
using namespace lathe;

namespace {

/// "f32", "i64", "u8", "bool".
std::string elementName(Type type) {
  if (auto integer = dyn_cast<IntegerType>(type)) {
    return integer.getWidth() == 1 ? "bool"
                                   : (integer.isUnsigned() ? "u" : "i") + std::to_string(integer.getWidth());
  }
  std::string text;
  llvm::raw_string_ostream os(text);
  type.print(os);
  return text;
}

/// An input or output of the model. Dimensions without a name are empty.
struct Value {
  std::string name, type;
  std::vector<std::string> dims;
  bool hasShape = false;

  std::string describe() const {
    auto dim = [](const std::string &d) { return d.empty() ? std::string("?") : escapeText(d); };
    return type + (hasShape ? " [" + llvm::join(llvm::map_range(dims, dim), ", ") + "]" : "");
  }
};

Value makeValue(Type type, DictionaryAttr attributes) {
  Value value;
  auto name = attributes ? attributes.getAs<StringAttr>("lathe.name") : StringAttr();
  auto dims = attributes ? attributes.getAs<ArrayAttr>("lathe.dims") : ArrayAttr();
  value.name = name ? name.str() : "";
  auto shaped = dyn_cast<ShapedType>(type);
  value.type = elementName(shaped ? shaped.getElementType() : type);
  if (!shaped || !shaped.hasRank()) {
    return value;
  }
  value.hasShape = true;
  for (auto [index, size] : llvm::enumerate(shaped.getShape())) {
    auto symbol = dims && index < dims.size() ? dyn_cast<StringAttr>(dims[index]) : StringAttr();
    value.dims.push_back(!ShapedType::isDynamic(size) ? std::to_string(size) : symbol ? symbol.str() : "");
  }
  return value;
}

struct ModelSummary {
  std::string name, producer, fingerprint;
  std::vector<Value> inputs, outputs;
  /// By "domain.Operator", with the operator set's version.
  std::map<std::string, std::pair<int64_t, uint64_t>> operators;
  std::map<std::string, std::string> metadata;
  uint64_t nodes = 0, weights = 0, weightBytes = 0;
};

ModelSummary summarize(ModuleOp module) {
  ModelSummary summary;
  auto text = [&](StringRef key) {
    auto attribute = module->getAttrOfType<StringAttr>(key);
    return attribute ? attribute.str() : std::string();
  };
  summary.name = text("lathe.graph_name");
  summary.producer = text("lathe.producer");
  summary.fingerprint = text("lathe.fingerprint");
  if (auto metadata = module->getAttrOfType<DictionaryAttr>("lathe.metadata")) {
    for (NamedAttribute entry : metadata) {
      if (auto value = dyn_cast<StringAttr>(entry.getValue())) {
        summary.metadata[entry.getName().str()] = value.str();
      }
    }
  }
  if (auto main = module.lookupSymbol<func::FuncOp>("main")) {
    for (unsigned i = 0; i < main.getNumArguments(); ++i) {
      summary.inputs.push_back(makeValue(main.getArgument(i).getType(), main.getArgAttrDict(i)));
    }
    for (unsigned i = 0; i < main.getNumResults(); ++i) {
      summary.outputs.push_back(makeValue(main.getResultTypes()[i], main.getResultAttrDict(i)));
    }
  }
  module.walk([&](Operation *op) {
    if (auto node = dyn_cast<onnx::NodeOp>(op)) {
      std::string domain = node.getCanonicalDomain().str();
      auto &[version, count] =
          summary.operators[(domain.empty() ? "" : domain + ".") + node.getOpType().str()];
      version = node.getVersion();
      ++count;
      ++summary.nodes;
    } else if (auto weight = dyn_cast<nn::WeightOp>(op)) {
      RankedTensorType type = weight.getTensorType();
      ++summary.weights;
      summary.weightBytes +=
          uint64_t(type.getNumElements()) * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
    }
  });
  return summary;
}

void printText(const ModelSummary &summary, StringRef path, llvm::raw_ostream &os) {
  os << "model " << escapeText(path) << ", graph " << quoteText(summary.name);
  if (!summary.producer.empty()) {
    os << ", made by " << escapeText(summary.producer);
  }
  os << ", fingerprint " << summary.fingerprint << '\n';
  os << "inputs\n";
  for (const Value &value : summary.inputs) {
    os << "  " << quoteText(value.name) << ' ' << value.describe() << '\n';
  }
  os << "outputs\n";
  for (const Value &value : summary.outputs) {
    os << "  " << quoteText(value.name) << ' ' << value.describe() << '\n';
  }
  os << "operators\n";
  for (const auto &[name, use] : summary.operators) {
    os << llvm::formatv("  {0,6} {1} (version {2})\n", use.second, escapeText(name), use.first);
  }
  os << summary.nodes << " nodes, " << summary.weights << " weights of " << formatBytes(summary.weightBytes)
     << '\n';
  for (const auto &[key, value] : summary.metadata) {
    os << "metadata " << escapeText(key) << " = " << quoteText(value) << '\n';
  }
}

llvm::json::Array toJSON(ArrayRef<Value> values) {
  llvm::json::Array list;
  for (const Value &value : values) {
    llvm::json::Object o{{"name", toUTF8(value.name)}, {"type", value.type}};
    if (value.hasShape) {
      llvm::json::Array dims;
      for (const std::string &dim : value.dims) {
        int64_t size;
        if (dim.empty()) {
          dims.push_back(nullptr);
        } else if (!StringRef(dim).getAsInteger(10, size)) {
          dims.push_back(size);
        } else {
          dims.push_back(toUTF8(dim));
        }
      }
      o["shape"] = std::move(dims);
    }
    list.push_back(std::move(o));
  }
  return list;
}

void printJSON(const ModelSummary &summary, llvm::raw_ostream &os) {
  llvm::json::Object operators, metadata;
  for (const auto &[name, use] : summary.operators) {
    operators[toUTF8(name)] = llvm::json::Object{{"version", use.first}, {"count", int64_t(use.second)}};
  }
  for (const auto &[key, value] : summary.metadata) {
    metadata[toUTF8(key)] = toUTF8(value);
  }
  llvm::json::Object result{{"name", toUTF8(summary.name)},
                            {"producer", toUTF8(summary.producer)},
                            {"fingerprint", summary.fingerprint},
                            {"inputs", toJSON(summary.inputs)},
                            {"outputs", toJSON(summary.outputs)},
                            {"operators", std::move(operators)},
                            {"nodes", int64_t(summary.nodes)},
                            {"weights", int64_t(summary.weights)},
                            {"weight_bytes", int64_t(summary.weightBytes)},
                            {"metadata", std::move(metadata)}};
  os << llvm::formatv("{0:2}\n", llvm::json::Value(std::move(result)));
}

} // namespace

llvm::Error lathe::inspectModel(const CompileOptions &options, bool json, llvm::raw_ostream &os) {
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  DiagnosticCollector diagnostics(&context, options.input);
  ImportOptions import;
  import.files.allowLinkedData = options.allowLinkedData;
  import.limits = options.limits;
  std::unique_ptr<ModelFile> file;
  llvm::Expected<OwningOpRef<ModuleOp>> module = importOnnx(context, options.input, import, file);
  if (!module) {
    return module.takeError();
  }
  ModelSummary summary = summarize(**module);
  // The mapped weights must outlive what was made of them.
  *module = nullptr;
  if (json) {
    printJSON(summary, os);
  } else {
    printText(summary, options.input, os);
  }
  return diagnostics.takeError();
}
