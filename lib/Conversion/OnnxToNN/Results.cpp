// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Results.h"

#include "Complex.h"
#include "Strings.h"

#include "lathe/Dialect/NN/IR/NNService.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

namespace {
class ResultConverter {
public:
  ResultConverter(LegalizeContext &c, func::FuncOp main, llvm::function_ref<LegalValue *(Value)> find)
      : c(c), main(main), find(find) {}

  LogicalResult convertReturn();
  /// Says which results are strings, and what the texts are that are numbered.
  LogicalResult recordStrings();

private:
  /// Adds to what the artifact says about the model.
  void addMetadata(const Twine &key, const std::string &text);
  /// The tensors that a result of the model becomes, and their names.
  LogicalResult convertResult(LegalValue value, const std::string &name);

  LegalizeContext &c;
  func::FuncOp main;
  llvm::function_ref<LegalValue *(Value)> find;
  SmallVector<Value> results;
  SmallVector<std::string> names;
  /// The results that are strings, and those of complex numbers.
  SmallVector<unsigned> stringResults, complexResults;
};
} // namespace

/// A list of texts as JSON.
static std::string toJson(const std::vector<std::string> &texts) {
  llvm::json::Array list;
  for (const std::string &text : texts) {
    list.push_back(llvm::json::fixUTF8(text));
  }
  return llvm::formatv("{0}", llvm::json::Value(std::move(list))).str();
}

void ResultConverter::addMetadata(const Twine &key, const std::string &text) {
  auto module = main->getParentOfType<ModuleOp>();
  NamedAttrList entries(module->getAttrOfType<DictionaryAttr>(OnnxDialect::kMetadataAttr));
  entries.set(key.str(), c.b.getStringAttr(text));
  module->setAttr(OnnxDialect::kMetadataAttr, entries.getDictionary(main.getContext()));
}

LogicalResult ResultConverter::convertResult(LegalValue value, const std::string &name) {
  if (Size presence = std::exchange(value.presence, Size())) {
    // Whether it is there is a result of its own.
    addMetadata("lathe.optional." + name, "1");
    LegalValue flag;
    flag.scalars = Scalars{c.b.getI1Type(), {}, {presence}};
    if (failed(convertResult(flag, name + "?"))) {
      return failure();
    }
  }
  if (value.keys) {
    return emitError(main.getLoc()) << "[E0308] result \"" << name
                                    << "\" is a map, but results must be tensors";
  }
  if (value.shapes) {
    // The contents of all elements, and their shapes.
    addMetadata("lathe.sequence." + name, "*");
    LegalValue shapes;
    shapes.tensor = std::exchange(value.shapes, Value());
    if (failed(convertResult(value, name + "[]"))) {
      return failure();
    }
    return convertResult(shapes, name + "[].shape");
  }
  if (value.elements) {
    // Its elements are results of their own.
    addMetadata("lathe.sequence." + name, std::to_string(value.elements->size()));
    for (auto [i, element] : llvm::enumerate(*value.elements)) {
      if (failed(convertResult(element, name + "[" + std::to_string(i) + "]"))) {
        return failure();
      }
    }
    return success();
  }
  if (value.isEmptyOptional) {
    return emitError(main.getLoc())
           << "[E0308] result \"" << name
           << "\" is an optional that is empty, but results must be tensors or sequences";
  }
  if (std::exchange(value.isString, false)) {
    stringResults.push_back(results.size());
  }
  if (value.imaginary) {
    complexResults.push_back(results.size());
    value.tensor = joinParts(c, value);
    value.imaginary = Value();
  }
  if (value.labels) {
    addMetadata("lathe.labels." + name, toJson(*value.labels));
  }
  results.push_back(c.asTensor(value));
  names.push_back(name);
  return success(!c.hasFailed());
}

LogicalResult ResultConverter::convertReturn() {
  auto terminator = cast<func::ReturnOp>(main.front().getTerminator());
  for (auto [i, operand] : llvm::enumerate(terminator.getOperands())) {
    LegalValue *known = find(operand);
    if (!known) {
      return emitError(main.getLoc()) << "[E0308] a result of the model is of type " << operand.getType();
    }
    auto name = main.getResultAttrOfType<StringAttr>(i, OnnxDialect::kNameAttr);
    if (failed(convertResult(*known, name ? name.str() : ""))) {
      return failure();
    }
  }
  terminator.getOperandsMutable().assign(results);
  main.setAllResultAttrs(SmallVector<DictionaryAttr>(main.getNumResults(), c.b.getDictionaryAttr({})));
  main.setFunctionType(c.b.getFunctionType(main.getArgumentTypes(), ValueRange(results).getTypes()));
  for (auto [i, name] : llvm::enumerate(names)) {
    if (!name.empty()) {
      main.setResultAttr(i, nn::NNDialect::kNameAttr, c.b.getStringAttr(name));
    }
  }
  for (unsigned i : complexResults) {
    main.setResultAttr(i, nn::kComplexAttr, c.b.getUnitAttr());
  }
  return success();
}

LogicalResult ResultConverter::recordStrings() {
  constexpr size_t kMaxTexts = 1 << 20;
  for (unsigned result : stringResults) {
    main.setResultAttr(result, nn::kStringAttr, c.b.getUnitAttr());
  }
  bool isUsed = !stringResults.empty();
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    isUsed |= bool(main.getArgAttr(i, nn::kStringAttr));
  }
  main.walk([&](nn::ServiceOp service) { isUsed |= service.getName().starts_with("text."); });
  if (!isUsed || c.texts.get().empty()) {
    return success();
  }
  if (c.texts.get().size() > kMaxTexts) {
    return emitError(main.getLoc()) << "[E0308] the model names " << c.texts.get().size()
                                    << " strings, the limit is " << kMaxTexts;
  }
  // A string attribute may hold any bytes.
  SmallVector<Attribute> list = llvm::map_to_vector(
      c.texts.get(), [&](const std::string &text) { return Attribute(c.b.getStringAttr(text)); });
  main->getParentOfType<ModuleOp>()->setAttr(nn::kTextsAttr, c.b.getArrayAttr(list));
  return success();
}

LogicalResult lathe::onnx::convertResults(LegalizeContext &c, func::FuncOp main,
                                          llvm::function_ref<LegalValue *(Value)> find) {
  ResultConverter results(c, main, find);
  return failure(failed(results.convertReturn()) || failed(results.recordStrings()));
}
