// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Inputs that are sequences, optionals or maps.

#include "Arguments.h"
#include "Legalizer.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// The most elements of a sequence: each is an input.
static constexpr int64_t kMaxElements = 4096;

namespace {
class ArgumentExpander {
public:
  ArgumentExpander(func::FuncOp main, ArrayRef<std::string> options)
      : main(main), builder(main.getContext()), options(options.begin(), options.end()) {}

  LogicalResult expand(SmallVectorImpl<std::string> &rest);

private:
  /// The value of type `type` that an input called `name` is: new arguments, and nodes that make one of them.
  FailureOr<Value> make(const std::string &name, Type type, Location loc);
  FailureOr<Value> makeTensor(const std::string &name, Type type, Location loc);
  FailureOr<Value> makeMap(const std::string &name, MapType type, Location loc);
  /// What the option for `name` says, which is used up then; nothing without one.
  std::optional<std::string> takeOption(StringRef name);
  /// The number of elements of `name`; nothing, after an error, if the option gives none.
  std::optional<int64_t> takeCount(StringRef name, Location loc);
  Value makeNode(StringRef op, ValueRange inputs, Type type, Location loc, StringRef domain = "");
  void addMetadata(const std::string &key, int64_t count);

  func::FuncOp main;
  OpBuilder builder;
  SmallVector<std::string> options;
  SmallVector<DictionaryAttr> attributes;
};
} // namespace

std::optional<std::string> ArgumentExpander::takeOption(StringRef name) {
  auto *found = llvm::find_if(options, [&](StringRef option) { return option.rsplit('=').first == name; });
  if (found == options.end()) {
    return std::nullopt;
  }
  std::string value = StringRef(*found).rsplit('=').second.str();
  options.erase(found);
  return value;
}

std::optional<int64_t> ArgumentExpander::takeCount(StringRef name, Location loc) {
  std::optional<std::string> option = takeOption(name);
  if (!option) {
    emitError(loc) << "[E0308] input \"" << name << "\" is a sequence, whose length is not known: --shape "
                   << name << "=3 says that it has 3 elements";
    return std::nullopt;
  }
  int64_t count;
  if (StringRef(*option).getAsInteger(10, count) || count < 0 || count > kMaxElements) {
    emitError(loc) << "[E0004] option \"" << name << "=" << *option
                   << "\" gives no number of elements from 0 to " << kMaxElements;
    return std::nullopt;
  }
  return count;
}

Value ArgumentExpander::makeNode(StringRef op, ValueRange inputs, Type type, Location loc, StringRef domain) {
  constexpr int64_t kVersion = 15;
  return NodeOp::create(builder, loc, TypeRange{type}, op, domain, kVersion, builder.getDictionaryAttr({}),
                        builder.getStrArrayAttr({""}),
                        /*subgraphs=*/ArrayAttr(), inputs, /*bodiesCount=*/0)
      ->getResult(0);
}

void ArgumentExpander::addMetadata(const std::string &key, int64_t count) {
  auto module = main->getParentOfType<ModuleOp>();
  NamedAttrList entries(module->getAttrOfType<DictionaryAttr>(OnnxDialect::kMetadataAttr));
  entries.set(key, builder.getStringAttr(std::to_string(count)));
  module->setAttr(OnnxDialect::kMetadataAttr, entries.getDictionary(main.getContext()));
}

FailureOr<Value> ArgumentExpander::makeTensor(const std::string &name, Type type, Location loc) {
  if (auto unranked = dyn_cast<UnrankedTensorType>(type)) {
    std::optional<std::string> option = takeOption(name);
    SmallVector<StringRef> parts;
    SmallVector<int64_t> shape;
    // An empty option is the shape of a scalar.
    StringRef(option.value_or("")).split(parts, 'x', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
    for (StringRef part : parts) {
      int64_t size;
      if (part.getAsInteger(10, size) || size < 0) {
        return emitError(loc) << "[E0004] option \"" << name << "=" << *option << "\" is no shape";
      }
      shape.push_back(size);
    }
    if (!option) {
      return emitError(loc) << "[E0308] input \"" << name << "\" has type " << type << ": --shape " << name
                            << "=2x3 gives it a shape";
    }
    type = RankedTensorType::get(shape, unranked.getElementType());
  }
  attributes.push_back(
      builder.getDictionaryAttr(builder.getNamedAttr(OnnxDialect::kNameAttr, builder.getStringAttr(name))));
  return Value(main.front().addArgument(type, loc));
}

/// A map is its keys and its values, equally many.
FailureOr<Value> ArgumentExpander::makeMap(const std::string &name, MapType type, Location loc) {
  auto values = dyn_cast<TensorType>(type.getValue());
  if (!values) {
    return emitError(loc) << "[E0308] input \"" << name << "\" has type " << type
                          << ", but the values of maps must be numbers or strings";
  }
  SmallVector<Value> parts;
  for (auto [part, element] : {std::pair(StringRef("keys"), type.getKey()),
                               std::pair(StringRef("values"), values.getElementType())}) {
    attributes.push_back(builder.getDictionaryAttr(
        {builder.getNamedAttr(OnnxDialect::kNameAttr, builder.getStringAttr(name + "." + part)),
         builder.getNamedAttr(OnnxDialect::kDimsAttr, builder.getStrArrayAttr({name + ".size"}))}));
    parts.push_back(main.front().addArgument(RankedTensorType::get({ShapedType::kDynamic}, element), loc));
  }
  auto module = main->getParentOfType<ModuleOp>();
  NamedAttrList entries(module->getAttrOfType<DictionaryAttr>(OnnxDialect::kMetadataAttr));
  entries.set("lathe.map." + name, builder.getStringAttr("1"));
  module->setAttr(OnnxDialect::kMetadataAttr, entries.getDictionary(main.getContext()));
  return makeNode("Map", parts, type, loc, kOwnDomain);
}

FailureOr<Value> ArgumentExpander::make(const std::string &name, Type type, Location loc) {
  if (auto map = dyn_cast<MapType>(type)) {
    return makeMap(name, map, loc);
  }
  if (auto optional = dyn_cast<OptionalType>(type)) {
    auto *none = llvm::find(options, name + "=none");
    if (none == options.end()) {
      return make(name, optional.getElement(), loc);
    }
    options.erase(none);
    addMetadata("lathe.elements." + name, 0);
    return makeNode("Optional", {}, type, loc);
  }
  auto sequence = dyn_cast<SequenceType>(type);
  if (!sequence) {
    return makeTensor(name, type, loc);
  }
  std::optional<int64_t> count = takeCount(name, loc);
  if (!count) {
    return failure();
  }
  addMetadata("lathe.elements." + name, *count);
  SmallVector<Value> elements;
  for (int64_t i = 0; i < *count; ++i) {
    FailureOr<Value> element = make(name + "[" + std::to_string(i) + "]", sequence.getElement(), loc);
    if (failed(element)) {
      return failure();
    }
    elements.push_back(*element);
  }
  return makeNode(elements.empty() ? "SequenceEmpty" : "SequenceConstruct", elements, type, loc);
}

LogicalResult ArgumentExpander::expand(SmallVectorImpl<std::string> &rest) {
  builder.setInsertionPointToStart(&main.front());
  Block &block = main.front();
  unsigned count = block.getNumArguments();
  bool hasLists = llvm::any_of(block.getArgumentTypes(),
                               [](Type type) { return isa<OptionalType, SequenceType, MapType>(type); });
  for (unsigned i = 0; hasLists && i < count; ++i) {
    BlockArgument argument = block.getArgument(i);
    auto name = main.getArgAttrOfType<StringAttr>(i, OnnxDialect::kNameAttr);
    FailureOr<Value> value;
    if (isa<OptionalType, SequenceType, MapType>(argument.getType())) {
      value = make(name ? name.str() : "", argument.getType(), argument.getLoc());
      if (failed(value)) {
        return failure();
      }
    } else {
      attributes.push_back(main.getArgAttrDict(i));
      value = Value(block.addArgument(argument.getType(), argument.getLoc()));
    }
    argument.replaceAllUsesWith(*value);
  }
  if (hasLists) {
    block.eraseArguments(0, count);
    main.removeArgAttrsAttr();
    main.setFunctionType(builder.getFunctionType(block.getArgumentTypes(), main.getResultTypes()));
    main.setAllArgAttrs(attributes);
  }
  rest.assign(options.begin(), options.end());
  return success();
}

LogicalResult lathe::onnx::expandArguments(func::FuncOp main, ArrayRef<std::string> shapes,
                                           SmallVectorImpl<std::string> &rest) {
  return ArgumentExpander(main, shapes).expand(rest);
}
