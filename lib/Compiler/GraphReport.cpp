// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "GraphReport.h"

#include "lathe/Codegen/Host/ArenaPlan.h"
#include "lathe/Codegen/Host/HostABI.h"
#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"
#include "lathe/Dialect/NN/Transforms/Layers.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace lathe;
using llvm::json::Array;
using llvm::json::Object;

static Array namesOf(Location loc) {
  Array names;
  for (const NodeOrigin &origin : originsOf(loc)) {
    names.push_back(toUTF8(origin.name));
  }
  return names;
}

//===----------------------------------------------------------------------===//
// Nodes and layers
//===----------------------------------------------------------------------===//

int64_t GraphReport::findNode(StringRef name) const {
  auto found = nodeNumbers.find(name);
  return found == nodeNumbers.end() ? -1 : found->second;
}

void GraphReport::addNodes(ModuleOp module) {
  SymbolTable symbols(module);
  llvm::DenseMap<Operation *, int64_t> numbers;
  module.walk<WalkOrder::PreOrder>([&](onnx::NodeOp op) {
    Node node;
    std::vector<NodeOrigin> origins = originsOf(op.getLoc());
    node.name = origins.empty() ? "" : std::move(origins.front().name);
    node.type = op.getOpType().str();
    for (Value input : op.getInputs()) {
      Operation *source = input.getDefiningOp();
      if (auto use = dyn_cast_or_null<nn::WeightUseOp>(source)) {
        if (auto weight = symbols.lookup<nn::WeightOp>(use.getWeight())) {
          node.weights.push_back(weight.getOnnxName().value_or(weight.getSymName()).str());
        }
      } else if (auto found = numbers.find(source); source && found != numbers.end()) {
        node.inputs.push_back(found->second);
      }
    }
    numbers[op] = int64_t(nodes.size());
    nodeNumbers.try_emplace(node.name, nodes.size());
    nodes.push_back(std::move(node));
  });
}

void GraphReport::addLayers(ModuleOp module) {
  // Finding layers moves what they share.
  OwningOpRef<ModuleOp> copy = module.clone();
  auto main = copy->lookupSymbol<func::FuncOp>("main");
  if (!main) {
    return;
  }
  SmallVector<nn::Layer> layers = nn::findLayers(main);
  layerCount = layers.size();
  for (auto [number, layer] : llvm::enumerate(layers)) {
    for (auto [position, op] : llvm::enumerate(layer.ops)) {
      std::vector<NodeOrigin> own = originsOf(op->getLoc()), first;
      if (position < layers.front().ops.size()) {
        first = originsOf(layers.front().ops[position]->getLoc());
      }
      for (auto [i, origin] : llvm::enumerate(own)) {
        int64_t node = findNode(origin.name);
        if (node < 0 || nodes[node].layer >= 0) {
          continue;
        }
        nodes[node].layer = int64_t(number);
        bool isLike = number > 0 && own.size() == first.size() && origin.opType == first[i].opType;
        nodes[node].like = isLike ? findNode(first[i].name) : -1;
      }
    }
  }
  llvm::StringSet<> computed; // nodes that ops are still named after
  main.walk([&](Operation *op) {
    if (isa<nn::WeightUseOp>(op) || op->hasTrait<OpTrait::ConstantLike>()) {
      return;
    }
    for (const NodeOrigin &origin : originsOf(op->getLoc())) {
      computed.insert(origin.name);
    }
  });
  // Nodes that have become constants belong to the layer that alone reads them.
  constexpr int64_t kUnread = -2;
  std::vector<int64_t> readBy(nodes.size(), kUnread);
  for (size_t i = nodes.size(); i-- > 0;) {
    if (nodes[i].layer < 0 && readBy[i] >= 0 && !computed.contains(nodes[i].name)) {
      nodes[i].layer = readBy[i];
    }
    for (int64_t input : nodes[i].inputs) {
      bool isFirst = readBy[input] == kUnread;
      readBy[input] = isFirst || readBy[input] == nodes[i].layer ? nodes[i].layer : -1;
    }
  }
}

//===----------------------------------------------------------------------===//
// Kernels and the arena
//===----------------------------------------------------------------------===//

/// How an index op is written in formulas: what pages compute with.
static StringRef getOperator(Operation *op) {
  return llvm::StringSwitch<StringRef>(op->getName().getStringRef())
      .Case("arith.addi", "+")
      .Case("arith.subi", "-")
      .Case("arith.muli", "*")
      .Cases({"arith.floordivsi", "arith.divui", "arith.divsi"}, "/")
      .Cases({"arith.ceildivsi", "arith.ceildivui"}, "ceil/")
      .Cases({"arith.remsi", "arith.remui"}, "%")
      .Cases({"arith.maxsi", "arith.maxui"}, "max")
      .Cases({"arith.minsi", "arith.minui"}, "min")
      .Default("");
}

/// An index value: a number, the name of a symbol, or an operator and two operands; null if it is nothing of
/// the kind, or needs more than `budget` of such.
static llvm::json::Value makeFormula(Value value, unsigned &budget) {
  Operation *op = value.getDefiningOp();
  if (!op || budget == 0) {
    return nullptr;
  }
  --budget;
  if (std::optional<int64_t> constant = getConstantIntValue(value)) {
    return *constant;
  }
  if (auto symbol = dyn_cast<nn::DimSymbolOp>(op)) {
    return toUTF8(symbol.getName());
  }
  std::optional<std::pair<Value, Value>> sizes = nn::getBroadcastSizes(value);
  StringRef name = sizes ? "broadcast" : getOperator(op);
  if (name.empty()) {
    return nullptr;
  }
  Array formula{name};
  for (Value operand :
       sizes ? SmallVector<Value>{sizes->first, sizes->second} : SmallVector<Value>(op->getOperands())) {
    formula.push_back(makeFormula(operand, budget));
    if (formula.back().kind() == llvm::json::Value::Null) {
      return nullptr;
    }
  }
  return formula;
}

static llvm::json::Value makeTenant(const codegen::Tenant &tenant) {
  if (tenant.layer) {
    return Object{{"layer", toUTF8(func::FuncOp(tenant.layer).getName())}};
  }
  Array sizes;
  for (Value size : tenant.sizes) {
    constexpr unsigned kMostOperators = 64;
    unsigned budget = kMostOperators;
    sizes.push_back(makeFormula(size, budget));
  }
  return Object{{"bytes", tenant.factor}, {"sizes", std::move(sizes)}};
}

namespace {
/// What one host function does, step by step, and where its tensors lie.
class FunctionReport {
public:
  FunctionReport(func::FuncOp function, const codegen::ArenaPlan &plan) : function(function), plan(plan) {
    function.walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (isa<kernel::LaunchOp, nn::LayerCallOp>(op)) {
        numbers[op] = int64_t(steps.size());
        steps.push_back(op);
      }
    });
  }

  Object toJSON() {
    Array slots, stepList, tensors;
    llvm::DenseSet<Value> placed;
    for (const codegen::Slot &slot : plan.getSlots()) {
      slots.push_back(Array(llvm::map_range(slot.tenants, makeTenant)));
    }
    for (Operation *step : steps) {
      stepList.push_back(describeStep(step));
      auto addTensor = [&](int64_t slot, unsigned last, Object tensor) {
        tensor["slot"] = slot;
        tensor["step"] = numbers[step];
        tensor["last"] = std::max(numbers[step], stepBefore(last));
        tensors.push_back(std::move(tensor));
      };
      for (Value result : step->getResults()) {
        // Joined tensors are one, from the first part on.
        Value root = codegen::ArenaPlan::getRoot(result);
        if (int64_t slot = plan.getSlot(root); slot >= 0 && placed.insert(root).second) {
          addTensor(slot, plan.getLifetime(root).second,
                    std::move(*makeTenant(plan.getTenant(root)).getAsObject()));
        }
      }
      if (auto call = dyn_cast<nn::LayerCallOp>(step)) {
        addTensor(plan.getScratchSlot(step), plan.getPosition(step),
                  Object{{"layer", toUTF8(call.getLayer())}});
      }
    }
    return Object{{"name", toUTF8(function.getName())},
                  {"steps", std::move(stepList)},
                  {"slots", std::move(slots)},
                  {"buffers", int64_t(plan.getBufferCount())},
                  {"tensors", std::move(tensors)}};
  }

private:
  /// The last step that does not come after a position of the plan.
  int64_t stepBefore(unsigned position) const {
    auto after = llvm::partition_point(steps, [&](Operation *s) { return plan.getPosition(s) <= position; });
    return after - steps.begin() - 1;
  }

  /// Adds the steps that compute `tensor`: several if it is joined.
  void addSources(Value tensor, llvm::SetVector<int64_t> &sources) const {
    Operation *source = tensor.getDefiningOp();
    if (isa_and_nonnull<nn::ReshapeOp, kernel::JoinOp>(source)) {
      for (Value operand : source->getOperands()) {
        addSources(operand, sources);
      }
    } else if (auto found = numbers.find(source); source && found != numbers.end()) {
      sources.insert(found->second);
    }
  }

  Object describeStep(Operation *step) {
    llvm::SetVector<int64_t> inputs;
    for (Value operand : step->getOperands()) {
      addSources(operand, inputs);
    }
    Object o{{"inputs", Array(inputs.getArrayRef())}};
    if (auto call = dyn_cast<nn::LayerCallOp>(step)) {
      o["layer"] = toUTF8(call.getLayer());
      o["row"] = call.getRow();
      o["nodes"] = namesOf(step->getLoc());
    } else {
      o["kernel"] = toUTF8(cast<kernel::LaunchOp>(step).getCallee());
    }
    return o;
  }

  func::FuncOp function;
  const codegen::ArenaPlan &plan;
  SmallVector<Operation *> steps;
  llvm::DenseMap<Operation *, int64_t> numbers;
};

/// The kernels that read a value, within layers, too.
struct KernelReaders {
  const SymbolTable &symbols;
  llvm::SetVector<StringRef> kernels;

  void add(Value value) {
    for (OpOperand &use : value.getUses()) {
      if (auto launch = dyn_cast<kernel::LaunchOp>(use.getOwner())) {
        kernels.insert(launch.getCallee());
      } else if (auto call = dyn_cast<nn::LayerCallOp>(use.getOwner())) {
        // Layers call no layers.
        if (auto layer = symbols.lookup<func::FuncOp>(call.getLayer())) {
          add(layer.getArgument(use.getOperandNumber()));
        }
      }
    }
  }
};
} // namespace

static std::string typeText(RankedTensorType type) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  for (int64_t size : type.getShape()) {
    stream << size << 'x';
  }
  stream << type.getElementType();
  return text;
}

void GraphReport::addWeights(ModuleOp module) {
  SymbolTable symbols(module);
  llvm::StringMap<KernelReaders> readers;
  module.walk([&](nn::WeightUseOp use) {
    readers.try_emplace(use.getWeight(), KernelReaders{symbols, {}}).first->second.add(use);
  });
  llvm::StringMap<llvm::SetVector<int64_t>> layers; // of the nodes that read a weight of the file
  for (const Node &node : nodes) {
    for (const std::string &name : node.weights) {
      if (node.layer >= 0) {
        layers[name].insert(node.layer);
      }
    }
  }
  for (auto weight : module.getOps<nn::WeightOp>()) {
    if (!weight->hasAttr(codegen::kOffsetAttr)) {
      continue; // only a source of others
    }
    RankedTensorType type = weight.getTensorType();
    Object o{{"type", typeText(type)},
             {"bytes", codegen::getStoredBytes(weight)},
             {"dense_bytes", type.getNumElements() * nn::getElementBytes(type.getElementType())}};
    Array names;
    llvm::SetVector<int64_t> own;
    for (nn::WeightOp source : pack::getSources(weight, symbols)) {
      StringRef name = source.getOnnxName().value_or(source.getSymName());
      names.push_back(toUTF8(name));
      own.insert_range(layers[name]);
    }
    o["names"] = std::move(names);
    o["layers"] = Array(own.getArrayRef());
    if (auto packed = dyn_cast<pack::PackedTensorType>(weight.getType())) {
      o["format"] = toUTF8(pack::formatText(packed.getFormat()));
      if (std::optional<pack::BlockLayout> blocks = packed.getFormat().getBlockLayout(type)) {
        double stored = double(blocks->count * blocks->blockRows * blocks->blockColumns);
        o["zeros"] = std::max(0.0, 1 - stored / double(type.getNumElements()));
      }
    } else {
      o["format"] = pack::toText(TypeAttr::get(type.getElementType()));
    }
    if (auto found = readers.find(weight.getSymName()); found != readers.end()) {
      o["kernels"] = Array(llvm::map_range(found->second.kernels, toUTF8));
    }
    weightNumbers[weight.getSymName()] = weights.size();
    weights.push_back(std::move(o));
  }
}

void GraphReport::addInterface(ModuleOp module) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main) {
    return;
  }
  for (const codegen::Symbol &symbol : codegen::collectSymbols(main)) {
    symbols.push_back(Object{{"name", toUTF8(symbol.name)}, {"min", symbol.min}, {"max", symbol.max}});
  }
  for (BlockArgument argument : main.getArguments()) {
    unsigned number = argument.getArgNumber();
    auto name = main.getArgAttrOfType<StringAttr>(number, nn::NNDialect::kNameAttr);
    auto names = main.getArgAttrOfType<ArrayAttr>(number, nn::NNDialect::kDimsAttr);
    Array dims;
    for (auto [index, size] : llvm::enumerate(cast<RankedTensorType>(argument.getType()).getShape())) {
      if (ShapedType::isDynamic(size) && names) {
        dims.push_back(toUTF8(cast<StringAttr>(names[index]).getValue()));
      } else {
        dims.push_back(size);
      }
    }
    inputs.push_back(Object{{"name", name ? toUTF8(name.getValue()) : ""}, {"dims", std::move(dims)}});
  }
}

void GraphReport::addKernels(ModuleOp module, Report &report) {
  for (func::FuncOp kernel : codegen::collectKernels(module)) {
    KernelEntry &entry = report.kernels.emplace_back();
    entry.name = kernel.getName().str();
    entry.root = kernel->getAttrOfType<StringAttr>(kernel::KernelDialect::kRootAttr).str();
    for (NodeOrigin &origin : originsOf(kernel.getLoc())) {
      entry.nodes.push_back(std::move(origin.name));
    }
  }
  addWeights(module);
  addInterface(module);
  // Following shapes builds arithmetic. What cannot be laid out fails when the host program is made.
  OwningOpRef<ModuleOp> copy = module.clone();
  ScopedDiagnosticHandler silence(module.getContext(), [](Diagnostic &) { return success(); });
  SymbolTable symbols(*copy);
  for (auto function : copy->getOps<func::FuncOp>()) {
    if (function.isExternal() || function->hasAttr(kernel::KernelDialect::kRootAttr)) {
      continue;
    }
    OpBuilder builder(function.getContext());
    nn::ShapeTracker shapes(builder);
    FailureOr<codegen::ArenaPlan> plan = codegen::ArenaPlan::create(function, shapes, symbols);
    if (succeeded(plan)) {
      functions.push_back(FunctionReport(function, *plan).toJSON());
    }
  }
}

void GraphReport::addCount(nn::WeightOp weight, codegen::ElementCount count) {
  auto found = weightNumbers.find(weight.getSymName());
  int64_t elements = weight.getTensorType().getNumElements();
  if (found != weightNumbers.end() && count.zeros && elements > 0) {
    (*weights[found->second].getAsObject())["zeros"] = double(*count.zeros) / double(elements);
  }
}

void GraphReport::writeTo(Report &report) {
  Array list;
  for (const Node &node : nodes) {
    Object o{{"name", toUTF8(node.name)}, {"op", toUTF8(node.type)}};
    if (!node.inputs.empty()) {
      o["inputs"] = Array(node.inputs);
    }
    if (!node.weights.empty()) {
      o["weights"] = Array(llvm::map_range(node.weights, toUTF8));
    }
    if (node.layer >= 0) {
      o["layer"] = node.layer;
    }
    if (node.like >= 0) {
      o["like"] = node.like;
    }
    list.push_back(std::move(o));
  }
  report.graph = Object{{"nodes", std::move(list)},          {"layers", int64_t(layerCount)},
                        {"symbols", std::move(symbols)},     {"inputs", std::move(inputs)},
                        {"functions", std::move(functions)}, {"weights", std::move(weights)}};
}
