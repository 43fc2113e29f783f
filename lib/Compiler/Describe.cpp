// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Reads off a module what its artifact's table will say.

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Compiler/Table.h"
#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/NNService.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/abi.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace lathe;

/// The number of an element type, which is ONNX's; none for what is not kept as elements of one size.
static std::optional<uint32_t> dtypeOf(Type type) {
  int64_t number = onnx::getDataType(type);
  return number && type.isIntOrFloat() ? std::optional<uint32_t>(number) : std::nullopt;
}

/// The number of complex numbers whose parts have a type.
static uint32_t complexOf(uint32_t dtype) {
  return dtype == LATHE_FLOAT64 ? LATHE_COMPLEX128 : LATHE_COMPLEX64;
}

static llvm::Error describeValue(ValueDescription &value, StringAttr name, Type type,
                                 const llvm::Twine &fallback) {
  value.name = name ? name.str() : fallback.str();
  auto tensor = dyn_cast<RankedTensorType>(type);
  std::optional<uint32_t> dtype = tensor ? dtypeOf(tensor.getElementType()) : std::nullopt;
  if (!dtype) {
    std::string text;
    llvm::raw_string_ostream(text) << type;
    return modelError(ErrorCode::E0401, "value \"" + value.name + "\" has type " + text +
                                            ", which an artifact cannot take or give");
  }
  value.dtype = *dtype;
  return llvm::Error::success();
}

static std::string nodesOf(Location loc) {
  std::vector<std::string> names;
  for (const NodeOrigin &origin : originsOf(loc)) {
    names.push_back(origin.name);
  }
  return llvm::join(names, "\n");
}

/// In how many instances of layers each kernel is launched.
static llvm::StringMap<unsigned> countLayers(ModuleOp module) {
  llvm::StringMap<unsigned> instances, layers;
  module.walk([&](nn::LayerCallOp call) { ++instances[call.getLayer()]; });
  module.walk([&](kernel::LaunchOp launch) {
    unsigned &count = layers[launch.getCallee()];
    count = std::max(count, instances.lookup(launch->getParentOfType<func::FuncOp>().getName()));
  });
  return layers;
}

void lathe::describeHost(ModelDescription &model, ModuleOp module) {
  if (auto slots = module->getAttrOfType<IntegerAttr>(codegen::kSlotCountAttr)) {
    model.slotCount = std::max<uint64_t>(model.slotCount, slots.getInt());
  }
  if (auto buffers = module->getAttrOfType<IntegerAttr>(codegen::kBufferCountAttr)) {
    model.bufferCount = std::max<uint64_t>(model.bufferCount, buffers.getInt());
  }
  if (auto services = module->getAttrOfType<ArrayAttr>(codegen::kServicesAttr)) {
    model.services.clear();
    for (auto service : services.getAsRange<ArrayAttr>()) {
      model.services.push_back({cast<StringAttr>(service[0]).str(), cast<StringAttr>(service[1]).str(),
                                unsigned(cast<IntegerAttr>(service[2]).getInt())});
    }
  }
  // Of several variants of the same kernels, all have the same places; those before them are of other
  // kernels.
  auto first = module->getAttrOfType<IntegerAttr>(codegen::kFirstPlaceAttr);
  model.places.resize(first ? size_t(first.getInt()) - model.kernels.size() : 0);
  if (auto places = module->getAttrOfType<ArrayAttr>(codegen::kPlacesAttr)) {
    for (Attribute place : places) {
      model.places.push_back(nodesOf(cast<LocationAttr>(place)));
    }
  }
}

llvm::Expected<ModelDescription> lathe::describeModel(ModuleOp module) {
  ModelDescription model;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main) {
    return modelError(ErrorCode::E0901, "the module has no function @main");
  }
  if (auto name = module->getAttrOfType<StringAttr>("lathe.graph_name")) {
    model.name = name.str();
  }
  if (auto fingerprint = module->getAttrOfType<StringAttr>("lathe.fingerprint")) {
    if (fingerprint.getValue().getAsInteger(16, model.fingerprint)) {
      return modelError(ErrorCode::E0403, "lathe.fingerprint is \"" + fingerprint.getValue() +
                                              "\", expects 16 hexadecimal digits");
    }
  }
  model.symbolId = llvm::formatv("{0}", llvm::format_hex_no_prefix(model.fingerprint, 16)).str();
  if (auto metadata = module->getAttrOfType<DictionaryAttr>("lathe.metadata")) {
    for (NamedAttribute entry : metadata) {
      if (auto text = dyn_cast<StringAttr>(entry.getValue())) {
        model.metadata.emplace_back(entry.getName().str(), text.str());
      }
    }
  }
  if (auto texts = module->getAttrOfType<ArrayAttr>(nn::kTextsAttr)) {
    for (auto text : texts.getAsRange<StringAttr>()) {
      model.texts.push_back(text.str());
    }
  }
  if (auto bytes = module->getAttrOfType<IntegerAttr>(codegen::kWeightBytesAttr)) {
    model.weightBytes = bytes.getInt();
  }

  model.symbols = codegen::collectSymbols(main);
  llvm::StringMap<int64_t> symbolIndex;
  for (auto [index, symbol] : llvm::enumerate(model.symbols)) {
    symbolIndex[symbol.name] = index;
  }
  for (BlockArgument argument : main.getArguments()) {
    unsigned number = argument.getArgNumber();
    ValueDescription &input = model.inputs.emplace_back();
    auto name = main.getArgAttrOfType<StringAttr>(number, nn::NNDialect::kNameAttr);
    if (llvm::Error error = describeValue(input, name, argument.getType(), "input" + llvm::Twine(number))) {
      return error;
    }
    if (main.getArgAttr(number, nn::kStringAttr)) {
      input.dtype = LATHE_STRING;
    }
    auto names = main.getArgAttrOfType<ArrayAttr>(number, nn::NNDialect::kDimsAttr);
    for (auto [index, size] : llvm::enumerate(cast<RankedTensorType>(argument.getType()).getShape())) {
      if (!ShapedType::isDynamic(size)) {
        input.dims.push_back(size);
        continue;
      }
      StringRef symbol = names ? cast<StringAttr>(names[index]).getValue() : StringRef();
      auto found = symbolIndex.find(symbol);
      if (found == symbolIndex.end()) {
        return modelError(ErrorCode::E0901, "dimension " + llvm::Twine(index) + " of input \"" + input.name +
                                                "\" is dynamic and has no symbol");
      }
      input.dims.push_back(~found->second);
    }
    if (main.getArgAttr(number, nn::kComplexAttr)) {
      input.dtype = complexOf(input.dtype);
      input.dims.pop_back();
    }
  }

  OpBuilder builder(main.getBody().front().getTerminator());
  nn::ShapeTracker shapes(builder);
  for (OpOperand &operand : main.getBody().front().getTerminator()->getOpOperands()) {
    unsigned number = operand.getOperandNumber();
    ValueDescription &output = model.outputs.emplace_back();
    auto name = main.getResultAttrOfType<StringAttr>(number, nn::NNDialect::kNameAttr);
    if (llvm::Error error =
            describeValue(output, name, operand.get().getType(), "output" + llvm::Twine(number))) {
      return error;
    }
    if (main.getResultAttr(number, nn::kStringAttr)) {
      output.dtype = LATHE_STRING;
    }
    if (auto shares = main.getResultAttrOfType<IntegerAttr>(number, nn::NNDialect::kSharesAttr)) {
      output.shares = int32_t(shares.getInt());
    }
    FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(operand.get());
    for (auto [index, size] : llvm::enumerate(cast<RankedTensorType>(operand.get().getType()).getShape())) {
      int64_t dim = ShapedType::isDynamic(size) ? LATHE_DIM_COMPUTED : size;
      if (succeeded(dims)) {
        if (std::optional<int64_t> constant = getConstantIntValue((*dims)[index])) {
          dim = *constant;
        } else if (auto symbol = cast<Value>((*dims)[index]).getDefiningOp<nn::DimSymbolOp>()) {
          dim = ~symbolIndex.lookup(symbol.getName());
        }
      }
      output.dims.push_back(dim);
    }
    if (main.getResultAttr(number, nn::kComplexAttr)) {
      output.dtype = complexOf(output.dtype);
      output.dims.pop_back();
    }
  }
  llvm::StringMap<unsigned> layers = countLayers(module);
  for (func::FuncOp kernel : codegen::collectKernels(module)) {
    StringRef name = kernel.getName();
    model.kernels.push_back({name.str(), nodesOf(kernel.getLoc()), std::max(layers.lookup(name), 1u)});
  }
  return model;
}
