// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Makes what products read, and what layers get and pass on, outputs of the model, or lets an input say
/// which products are rounded: for calibration.

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/Transforms/Layers.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

namespace lathe::pack {
#define GEN_PASS_DEF_EXPOSEOPERANDSPASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static constexpr llvm::StringLiteral kPass = "pack-expose-operands";

namespace {

/// Of a tensor that products read.
struct Operand {
  SmallVector<Operation *> products;
  /// The weights of the file.
  SmallVector<nn::WeightOp> sources;
};

class Exposer {
public:
  Exposer(ModuleOp module, func::FuncOp main) : module(module), symbols(module), main(main) {}

  /// Makes outputs; or, with `rounding`, the input.
  void run(bool rounding);

private:
  void collectOperands();
  /// The name of the output that shows `value`.
  std::string expose(Value value);
  llvm::json::Array describeOperands(bool areOutputs);
  llvm::json::Array describeLayers(ArrayRef<nn::Layer> layers);
  void addOutputs();
  void addSwitches();

  ModuleOp module;
  SymbolTable symbols;
  func::FuncOp main;
  llvm::MapVector<Value, Operand> operands;
  llvm::MapVector<Value, std::string> outputs;
};

} // namespace

static bool isShown(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getElementType().isF32() && type.getRank() > 0;
}

void Exposer::collectOperands() {
  module.walk([&](Operation *op) {
    nn::WeightOp weight = isProduct(op) ? getWeight(op, symbols) : nn::WeightOp();
    if (!weight) {
      return;
    }
    Value x = op->getOperand(0);
    if (op->getBlock() != &main.getBody().front()) {
      return nn::remarkMissed(op, kPass, "what it reads is not shown: it is in a branch or a loop");
    }
    if (!isShown(x)) {
      return nn::remarkMissed(op, kPass, "what it reads is not shown: it is not f32");
    }
    Operand &operand = operands[x];
    operand.products.push_back(op);
    llvm::append_range(operand.sources, getSources(weight, symbols));
  });
}

std::string Exposer::expose(Value value) {
  std::string &name = outputs[value];
  if (name.empty()) {
    name = "lathe.tensor." + std::to_string(outputs.size() - 1);
  }
  return name;
}

/// Whether a row of the operand is multiplied with the whole of the weight.
static bool isRowProduct(Operation *op) {
  auto conv = dyn_cast<nn::ConvOp>(op);
  return !conv || (conv.isProduct() && conv.getGroups() == 1);
}

static void addNodes(Operation *op, llvm::json::Array &to) {
  for (const NodeOrigin &origin : originsOf(op->getLoc())) {
    if (!origin.name.empty()) {
      to.push_back(toUTF8(origin.name));
    }
  }
}

llvm::json::Array Exposer::describeOperands(bool areOutputs) {
  llvm::json::Array list;
  for (auto &[value, operand] : operands) {
    llvm::json::Array nodes, weights;
    for (Operation *op : operand.products) {
      addNodes(op, nodes);
    }
    for (nn::WeightOp source : operand.sources) {
      if (source.getOnnxName()) {
        weights.push_back(toUTF8(*source.getOnnxName()));
      }
    }
    llvm::json::Object object{{"nodes", std::move(nodes)},
                              {"weights", std::move(weights)},
                              {"rows", llvm::all_of(operand.products, isRowProduct)}};
    if (areOutputs) {
      object["output"] = expose(value);
    }
    list.push_back(std::move(object));
  }
  return list;
}

llvm::json::Array Exposer::describeLayers(ArrayRef<nn::Layer> layers) {
  llvm::json::Array list;
  for (auto [number, layer] : llvm::enumerate(layers)) {
    llvm::json::Object parts;
    auto add = [&](StringRef part, Value input, Value output) {
      if (input && output && isShown(input) && input.getType() == output.getType()) {
        parts[part] = llvm::json::Array{expose(input), expose(output)};
      }
    };
    add("all", layer.input, layer.output);
    for (const nn::Sublayer &sublayer : layer.sublayers) {
      add(sublayer.isAttention ? "attention" : "ffn", sublayer.input, sublayer.output);
    }
    llvm::json::Array nodes;
    addNodes(layer.ops.front(), nodes);
    addNodes(layer.ops.back(), nodes);
    list.push_back(llvm::json::Object{
        {"layer", int64_t(number)}, {"nodes", std::move(nodes)}, {"parts", std::move(parts)}});
  }
  return list;
}

void Exposer::addOutputs() {
  Operation *terminator = main.getBody().front().getTerminator();
  SmallVector<Value> results(terminator->getOperands());
  SmallVector<Type> types(main.getResultTypes());
  size_t first = results.size();
  for (const auto &[value, name] : outputs) {
    results.push_back(value);
    types.push_back(value.getType());
  }
  terminator->setOperands(results);
  SmallVector<DictionaryAttr> attributes;
  main.getAllResultAttrs(attributes);
  main.setType(FunctionType::get(module.getContext(), main.getArgumentTypes(), types));
  for (auto [number, entry] : llvm::enumerate(outputs)) {
    main.setResultAttr(first + number, nn::NNDialect::kNameAttr,
                       StringAttr::get(module.getContext(), entry.second));
  }
}

/// `x`, rounded to bf16 where `flag`, of one element, is true.
static Value buildRounded(OpBuilder &builder, Value flag, Value x) {
  Location loc = x.getLoc();
  Value rounded = nn::buildCast(builder, loc, x, builder.getBF16Type());
  return nn::buildSelect(builder, loc, flag, nn::buildCast(builder, loc, rounded, builder.getF32Type()), x);
}

void Exposer::addSwitches() {
  Block &body = main.getBody().front();
  OpBuilder builder(module.getContext());
  auto type = RankedTensorType::get({int64_t(operands.size())}, builder.getI1Type());
  NamedAttrList attributes;
  attributes.set(nn::NNDialect::kNameAttr, builder.getStringAttr("lathe.rounded"));
  unsigned number = main.getNumArguments();
  if (failed(
          main.insertArgument(number, type, attributes.getDictionary(module.getContext()), main.getLoc()))) {
    return;
  }
  for (auto [place, entry] : llvm::enumerate(operands)) {
    auto &[value, operand] = entry;
    builder.setInsertionPointToStart(&body);
    OpFoldResult first = builder.getIndexAttr(place), one = builder.getIndexAttr(1);
    Value flag =
        nn::buildSlice(builder, value.getLoc(), body.getArgument(number), first, one, /*strides=*/int64_t(1));
    Value rounded;
    for (Operation *op : operand.products) {
      if (auto conv = dyn_cast<nn::ConvOp>(op); conv && conv.isDepthwise()) {
        continue; // it is never computed in bf16
      }
      if (!rounded) {
        builder.setInsertionPointAfterValue(value);
        if (isa<BlockArgument>(value)) {
          builder.setInsertionPointAfterValue(flag);
        }
        rounded = buildRounded(builder, flag, value);
      }
      builder.setInsertionPoint(op);
      op->setOperand(0, rounded);
      op->setOperand(1, buildRounded(builder, flag, op->getOperand(1)));
    }
  }
}

void Exposer::run(bool rounding) {
  collectOperands();
  // Before there are outputs: what a layer has inside is read by nothing else.
  SmallVector<nn::Layer> layers = nn::findLayers(main);
  llvm::json::Object all{{"tensors", describeOperands(/*areOutputs=*/!rounding)}};
  if (!rounding) {
    all["layers"] = describeLayers(layers);
  }
  if (auto fingerprint = module->getAttrOfType<StringAttr>(onnx::OnnxDialect::kFingerprintAttr)) {
    all["model"] = fingerprint.getValue();
  }
  rounding ? addSwitches() : addOutputs();
  Builder builder(module.getContext());
  NamedAttrList metadata(module->getAttrOfType<DictionaryAttr>(onnx::OnnxDialect::kMetadataAttr));
  metadata.set("lathe.calibration",
               builder.getStringAttr(llvm::formatv("{0}", llvm::json::Value(std::move(all))).str()));
  module->setAttr(onnx::OnnxDialect::kMetadataAttr, metadata.getDictionary(module.getContext()));
}

namespace {

struct ExposeOperandsPass : pack::impl::ExposeOperandsPassBase<ExposeOperandsPass> {
  using ExposeOperandsPassBase::ExposeOperandsPassBase;

  void runOnOperation() override {
    if (auto main = getOperation().lookupSymbol<func::FuncOp>("main")) {
      Exposer(getOperation(), main).run(rounding);
    }
  }
};

} // namespace
