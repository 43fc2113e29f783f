// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "CompressionReport.h"

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Dialect/NN/Transforms/Layers.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace lathe;

CompressionReport::CompressionReport(ModuleOp module, ArrayRef<pack::RefusedRequest> refused) {
  addRequests(module);
  addSparsities(module);
  for (const pack::RefusedRequest &request : refused) {
    Asked &one = asked.emplace_back();
    one.sources.assign(request.symbols.begin(), request.symbols.end());
    one.reason = request.reason;
    one.entry.kind = "weight";
    one.entry.names = request.names;
    one.entry.nodes = request.nodes;
    one.entry.requested = request.requested;
    one.entry.became = request.became;
    one.entry.bytesBefore = request.bytes;
  }
  addLayers(module);
}

static std::vector<std::string> nodesOf(Operation *op) {
  std::vector<std::string> nodes;
  for (const NodeOrigin &origin : originsOf(op->getLoc())) {
    nodes.push_back(origin.name);
  }
  return nodes;
}

static int64_t countBytes(RankedTensorType type) {
  return type.getNumElements() * nn::getElementBytes(type.getElementType());
}

void CompressionReport::addRequests(ModuleOp module) {
  SymbolTable symbols(module);
  for (pack::Request &request : pack::collectRequests(module)) {
    Asked &one = asked.emplace_back();
    one.place = request.op->getLoc().getAsOpaquePointer();
    one.entry.kind = "weight";
    one.entry.nodes = nodesOf(request.op);
    one.entry.requested = pack::formatText(request.format);
    one.entry.bytesBefore = countBytes(request.weight.getTensorType());
    llvm::raw_string_ostream(one.entry.became) << request.weight.getTensorType().getElementType();
    for (nn::WeightOp source : pack::getSources(request.weight, symbols)) {
      one.sources.push_back(source.getSymName().str());
      one.entry.names.push_back(source.getOnnxName().value_or(source.getSymName()).str());
    }
  }
}

void CompressionReport::addSparsities(ModuleOp module) {
  SymbolTable symbols(module);
  for (pack::SparsityRequest &request : pack::collectSparsityRequests(module)) {
    Asked &one = asked.emplace_back();
    one.place = request.op->getLoc().getAsOpaquePointer();
    one.isSparsity = true;
    one.entry.kind = "weight";
    one.entry.nodes = nodesOf(request.op);
    one.entry.requested = pack::sparsityText(request.sparsity);
    one.entry.bytesBefore = countBytes(request.weight.getTensorType());
    llvm::raw_string_ostream(one.entry.became) << request.weight.getTensorType().getElementType();
    for (nn::WeightOp source : pack::getSources(request.weight, symbols)) {
      one.sources.push_back(source.getSymName().str());
      one.entry.names.push_back(source.getOnnxName().value_or(source.getSymName()).str());
    }
  }
}

void CompressionReport::addLayers(ModuleOp module) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  auto skipped = main ? main->getAttrOfType<DictionaryAttr>(nn::kSkipAttr) : DictionaryAttr();
  if (!skipped) {
    return;
  }
  SymbolTable symbols(module);
  SmallVector<nn::Layer> layers = nn::findLayers(main);
  layerCount = layers.size();
  for (NamedAttribute part : skipped) {
    for (int64_t number : cast<DenseI64ArrayAttr>(part.getValue()).asArrayRef()) {
      if (number < 0 || number >= int64_t(layers.size())) {
        continue; // IR that somebody has edited; the pass says so
      }
      Asked &one = asked.emplace_back();
      one.place = layers[number].ops.back()->getLoc().getAsOpaquePointer();
      one.entry.kind = "layer";
      one.entry.names = {std::to_string(number)};
      one.entry.requested = part.getName().str();
      one.entry.became = "kept";
      llvm::SetVector<Operation *> read;
      for (Operation *op : layers[number].ops) {
        for (const std::string &node : nodesOf(op)) {
          one.entry.nodes.push_back(node);
        }
        for (Value operand : op->getOperands()) {
          auto use = operand.getDefiningOp<nn::WeightUseOp>();
          if (auto weight = use ? symbols.lookup<nn::WeightOp>(use.getWeight()) : nn::WeightOp()) {
            read.insert(weight);
          }
        }
      }
      for (Operation *weight : read) {
        one.entry.bytesBefore += countBytes(cast<nn::WeightOp>(weight).getTensorType());
        for (nn::WeightOp source : pack::getSources(cast<nn::WeightOp>(weight), symbols)) {
          one.sources.push_back(source.getSymName().str());
        }
      }
    }
  }
}

void CompressionReport::noteLeft(ModuleOp module) {
  for (pack::Request &request : pack::collectRequests(module)) {
    for (Asked &one : asked) {
      if (!one.isSparsity && one.place == request.op->getLoc().getAsOpaquePointer()) {
        one.reason = "nothing computes with weights of this format";
      }
    }
  }
}

/// What a layer becomes, and a weight that only such layers read.
static constexpr llvm::StringLiteral kLeftOut = "left out";

/// "24/24 weights as int8<dynamic>", in the order of the plan.
static std::string describe(ArrayRef<CompressionEntry> entries) {
  llvm::MapVector<StringRef, std::pair<size_t, size_t>> byFormat;
  int64_t before = 0, after = 0;
  for (const CompressionEntry &entry : entries) {
    // What is left out with its layer is not stored in any format.
    if (entry.kind == "weight" && entry.became != kLeftOut) {
      auto &[done, all] = byFormat[entry.requested];
      done += entry.done;
      ++all;
      before += entry.bytesBefore;
      after += entry.bytesAfter;
    }
  }
  std::string text;
  for (const auto &[format, counts] : byFormat) {
    text += (text.empty() ? "" : ", ") + std::to_string(counts.first) + "/" + std::to_string(counts.second) +
            " products' weights as " + format.str();
  }
  return text.empty() ? text : text + ": " + formatBytes(before) + " → " + formatBytes(after);
}

void CompressionReport::finish(ModuleOp module, StringRef latencies, Report &report) const {
  SymbolTable symbols(module);
  // By the weights of the file: what is stored of them, and a layer that reads them.
  llvm::StringMap<SmallVector<nn::WeightOp>> stored;
  llvm::StringMap<StringRef> layerOf;
  for (const Asked &one : asked) {
    if (one.entry.kind == "layer") {
      for (const std::string &source : one.sources) {
        layerOf.try_emplace(source, one.entry.names.front());
      }
    }
  }
  for (auto weight : module.getOps<nn::WeightOp>()) {
    if (weight->hasAttr(codegen::kOffsetAttr)) {
      for (nn::WeightOp source : pack::getSources(weight, symbols)) {
        stored[source.getSymName()].push_back(weight);
      }
    }
  }
  size_t left = 0, layersAsked = 0;
  for (Asked one : asked) {
    llvm::SetVector<Operation *> parts;
    for (const std::string &source : one.sources) {
      auto found = stored.find(source);
      if (found != stored.end()) {
        parts.insert(found->second.begin(), found->second.end());
      }
    }
    for (Operation *part : parts) {
      one.entry.bytesAfter += codegen::getStoredBytes(cast<nn::WeightOp>(part));
    }
    bool isLayer = one.entry.kind == "layer";
    one.entry.done = one.reason.empty();
    one.entry.reason = one.reason;
    for (const Remark &remark : report.remarks) {
      bool isCompression = one.isSparsity ? remark.pass == "pack-prune-weights"
                                          : (StringRef(remark.pass).starts_with("pack-") &&
                                             remark.pass != "pack-prune-weights") ||
                                                remark.pass == "nn-skip-layers";
      if (one.place && remark.place == one.place && isCompression && remark.kind == Remark::Missed) {
        one.entry.done = false;
        one.entry.reason = remark.message;
      }
    }
    if (one.entry.done) {
      one.entry.became = isLayer ? kLeftOut.str() : one.entry.requested;
    }
    StringRef layer = one.sources.empty() ? StringRef() : layerOf.lookup(one.sources.front());
    if (!isLayer && parts.empty() && !layer.empty()) {
      one.entry.done = false;
      one.entry.became = kLeftOut;
      one.entry.reason = "layer " + layer.str() + ", which reads it, is left out";
    }
    layersAsked += isLayer;
    left += isLayer && one.entry.done;
    report.compression.push_back(std::move(one.entry));
  }
  if (layersAsked) {
    report.digest.push_back(std::to_string(left) + " of " + std::to_string(layerCount) +
                            " layers skipped, wholly or in part");
  }
  if (std::string text = describe(report.compression); !text.empty()) {
    report.digest.push_back(text);
    report.digest.push_back("what pays is up to " + (latencies.empty() ? "built-in rules" : latencies).str());
  }
}
