// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Emit.h"

#include "OpTable.h"
#include "lathe/Support/Text.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace lathe;

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

Value ModelEmitter::none() {
  if (!noneValue) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(&main.getBody().front());
    noneValue = onnx::NoneOp::create(builder, builder.getUnknownLoc(), builder.getNoneType());
  }
  return noneValue;
}

Value ModelEmitter::lookup(const std::string &name) {
  if (name.empty()) {
    return none();
  }
  auto found = frame->values.find(name);
  return found == frame->values.end() || found->second.empty() ? Value() : found->second.back();
}

void ModelEmitter::bind(const std::string &name, Value value) {
  if (!name.empty()) {
    frame->values[name].push_back(value);
    bound.push_back(name);
  }
}

void ModelEmitter::unbind(size_t mark) {
  for (; bound.size() > mark; bound.pop_back()) {
    frame->values[bound.back()].pop_back();
  }
}

std::string ModelEmitter::symbolName(StringRef name) {
  std::string base;
  for (char c : name.take_back(100)) {
    base += llvm::isAlnum(c) || c == '_' || c == '.' ? c : '_';
  }
  if (base.empty() || llvm::isDigit(base[0])) {
    base.insert(0, "w");
  }
  // "main" is the function.
  if (base == onnx::OnnxDialect::kMain) {
    base += "_";
  }
  std::string unique = base;
  while (!symbols.try_emplace(unique, 0).second) {
    unique = base + "." + std::to_string(++symbols[base]);
  }
  return unique;
}

Location ModelEmitter::locationOf(const pb::NodeProto &node, const Place &place) {
  SmallVector<Attribute> graphs;
  for (const std::string &step : path) {
    graphs.push_back(builder.getStringAttr(step));
  }
  auto name = builder.getStringAttr(frame->prefix + node.name());
  NamedAttribute entries[] = {
      builder.getNamedAttr("node", name),
      builder.getNamedAttr("op", builder.getStringAttr(node.op_type())),
      builder.getNamedAttr("domain", builder.getStringAttr(canonicalDomain(node.domain()))),
      builder.getNamedAttr("opset", builder.getI64IntegerAttr(place.opset.value_or(0))),
      builder.getNamedAttr("index", builder.getI64IntegerAttr(place.index)),
      builder.getNamedAttr("graph", builder.getArrayAttr(graphs)),
  };
  return FusedLoc::get(builder.getContext(), {NameLoc::get(name)}, builder.getDictionaryAttr(entries));
}

DictionaryAttr ModelEmitter::valueAttrs(const pb::ValueInfoProto &info) {
  NamedAttrList attrs;
  attrs.set(onnx::OnnxDialect::kNameAttr, builder.getStringAttr(info.name()));
  std::vector<std::string> names = dimensionNames(info.type());
  if (!names.empty()) {
    SmallVector<Attribute> dims;
    for (const std::string &name : names) {
      dims.push_back(builder.getStringAttr(name));
    }
    attrs.set(onnx::OnnxDialect::kDimsAttr, builder.getArrayAttr(dims));
  }
  return attrs.getDictionary(builder.getContext());
}

llvm::Error ModelEmitter::collectTypes(const google::protobuf::RepeatedPtrField<pb::ValueInfoProto> &infos,
                                       ValueTypes &types) {
  for (const pb::ValueInfoProto &info : infos) {
    llvm::Expected<Type> type = declaredType(builder.getContext(), info.type(), options);
    if (!type) {
      return llvm::handleErrors(type.takeError(), [&](std::unique_ptr<ModelError> error) -> llvm::Error {
        error->message = "value " + quoteText(info.name()) + ": " + error->message;
        error->graphPath = path;
        return llvm::Error(std::move(error));
      });
    }
    types.try_emplace(info.name(), *type);
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

llvm::Expected<Value> ModelEmitter::emitTensor(TensorData data, StringRef name, Location loc,
                                               const void *key) {
  Operation *op = nullptr;
  if (data.isStrings()) {
    ElementsAttr value = tensors.attribute(std::move(data), name);
    op = onnx::ConstantOp::create(builder, loc, value.getType(), value);
  } else if (tensors.isSmall(data)) {
    op = arith::ConstantOp::create(builder, loc, cast<TypedAttr>(tensors.attribute(std::move(data), name)));
  } else {
    nn::WeightOp &weight = weights[key];
    if (!weight) {
      std::string symbol = symbolName(name);
      RankedTensorType type = data.type;
      ElementsAttr value = tensors.attribute(std::move(data), symbol);
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(main);
      weight =
          nn::WeightOp::create(builder, loc, builder.getStringAttr(symbol), builder.getStringAttr("private"),
                               TypeAttr::get(type), value, /*panel=*/nullptr, builder.getStringAttr(name));
    }
    op = nn::WeightUseOp::create(builder, loc, weight.getTensorType(),
                                 FlatSymbolRefAttr::get(builder.getContext(), weight.getSymName()));
  }
  constants.push_back(op);
  return op->getResult(0);
}

llvm::Error ModelEmitter::emitInitializers(const pb::GraphProto &graph) {
  auto emit = [&](const auto &tensor, const std::string &name) -> llvm::Error {
    Place place;
    place.path = &path;
    llvm::Expected<TensorData> data = tensors.read(tensor);
    if (!data) {
      return place.fill(data.takeError());
    }
    llvm::Expected<Value> value =
        emitTensor(std::move(*data), name, NameLoc::get(builder.getStringAttr(name)), &tensor);
    if (!value) {
      return value.takeError();
    }
    bind(name, *value);
    return llvm::Error::success();
  };
  for (const pb::TensorProto &tensor : graph.initializer()) {
    if (llvm::Error error = emit(tensor, tensor.name())) {
      return error;
    }
  }
  for (const pb::SparseTensorProto &sparse : graph.sparse_initializer()) {
    if (llvm::Error error = emit(sparse, sparse.values().name())) {
      return error;
    }
  }
  return llvm::Error::success();
}

void ModelEmitter::eraseUnused() {
  llvm::DenseSet<StringAttr> used;
  for (Operation *op : constants) {
    if (op->use_empty()) {
      op->erase();
    } else if (auto use = dyn_cast<nn::WeightUseOp>(op)) {
      used.insert(use.getWeightAttr().getAttr());
    }
  }
  for (nn::WeightOp weight : llvm::make_early_inc_range(module.getOps<nn::WeightOp>())) {
    if (!used.contains(weight.getSymNameAttr())) {
      weight.erase();
    }
  }
  if (noneValue && noneValue.use_empty()) {
    noneValue.getDefiningOp()->erase();
  }
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

llvm::Error ModelEmitter::emitNodes(const google::protobuf::RepeatedPtrField<pb::NodeProto> &nodes,
                                    const void *key, const ValueTypes &types) {
  llvm::ArrayRef<int> order = orders.of(key);
  for (int i = 0; i < nodes.size(); ++i) {
    int index = order.empty() ? i : order[size_t(i)];
    const pb::NodeProto &node = nodes[index];
    Place place;
    place.path = &path;
    place.node = &node;
    place.index = index;
    place.opset = frame->opsets->version(node.domain());
    const pb::FunctionProto *called = functions.callee(node);
    // What happens in a function has its own place.
    llvm::Error error = called ? emitCall(node, *called, types) : emitNode(node, place, types);
    if (error) {
      return place.fill(std::move(error));
    }
  }
  return llvm::Error::success();
}

llvm::Error ModelEmitter::emitNode(const pb::NodeProto &node, const Place &place, const ValueTypes &types) {
  Location loc = locationOf(node, place);
  if (node.op_type() == "Constant" && canonicalDomain(node.domain()).empty()) {
    return emitConstant(node, loc);
  }
  SmallVector<Value> inputs;
  for (const std::string &input : node.input()) {
    inputs.push_back(lookup(input));
  }
  while (!inputs.empty() && isa<NoneType>(inputs.back().getType())) {
    inputs.pop_back();
  }
  SmallVector<Type> resultTypes;
  SmallVector<Attribute> outputs;
  for (const std::string &output : node.output()) {
    Type type = types.lookup(output);
    resultTypes.push_back(output.empty() ? builder.getNoneType()
                          : type         ? type
                                         : onnx::UnknownType::get(builder.getContext()));
    StringRef outer = frame->outputNames.lookup(output);
    outputs.push_back(
        builder.getStringAttr(outer.empty() && !output.empty() ? frame->prefix + output : outer.str()));
  }
  NamedAttrList attributes;
  SmallVector<Attribute> subgraphNames;
  SmallVector<const pb::GraphProto *> subgraphs;
  for (auto [name, proto] : resolved(node)) {
    bool own =
        llvm::any_of(node.attribute(), [proto = proto](const pb::AttributeProto &a) { return &a == proto; });
    if (own && (proto->has_g() || proto->graphs_size() > 0)) {
      continue;
    }
    llvm::Expected<Attribute> value = attribute(*proto, name);
    if (!value) {
      return llvm::handleErrors(value.takeError(),
                                [&, name = name](std::unique_ptr<ModelError> error) -> llvm::Error {
                                  if (error->attribute.empty()) {
                                    error->attribute = name.str();
                                  }
                                  return llvm::Error(std::move(error));
                                });
    }
    attributes.set(name, *value);
  }
  forEachSubgraph(node, [&](const pb::GraphProto &graph, const std::string &name) {
    subgraphs.push_back(&graph);
    subgraphNames.push_back(builder.getStringAttr(name));
  });
  auto op = onnx::NodeOp::create(
      builder, loc, resultTypes, builder.getStringAttr(node.op_type()),
      builder.getStringAttr(canonicalDomain(node.domain())),
      builder.getI64IntegerAttr(place.opset.value_or(0)), attributes.getDictionary(builder.getContext()),
      builder.getArrayAttr(outputs), subgraphs.empty() ? ArrayAttr() : builder.getArrayAttr(subgraphNames),
      inputs, unsigned(subgraphs.size()));
  for (auto [position, graph] : llvm::enumerate(subgraphs)) {
    path.push_back(subgraphStep(node, cast<StringAttr>(subgraphNames[position])));
    llvm::Error error = emitSubgraph(*graph, op.getBodies()[position]);
    path.pop_back();
    if (error) {
      return error;
    }
  }
  for (auto [output, result] : llvm::zip_equal(node.output(), op.getResults())) {
    bind(output, result);
  }
  return llvm::Error::success();
}

llvm::Error ModelEmitter::emitSubgraph(const pb::GraphProto &graph, Region &region) {
  OpBuilder::InsertionGuard guard(builder);
  size_t mark = bound.size();
  ValueTypes types;
  for (const auto *infos : {&graph.input(), &graph.output(), &graph.value_info()}) {
    if (llvm::Error error = collectTypes(*infos, types)) {
      return error;
    }
  }
  llvm::StringSet<> initializers;
  for (const pb::TensorProto &tensor : graph.initializer()) {
    initializers.insert(tensor.name());
  }
  Block *block = builder.createBlock(&region);
  for (const pb::ValueInfoProto &input : graph.input()) {
    if (!initializers.contains(input.name())) {
      bind(input.name(),
           block->addArgument(types.lookup(input.name()),
                              NameLoc::get(builder.getStringAttr(frame->prefix + input.name()))));
    }
  }
  if (llvm::Error error = emitInitializers(graph)) {
    return error;
  }
  if (llvm::Error error = emitNodes(graph.node(), &graph, types)) {
    return error;
  }
  SmallVector<Value> results;
  for (const pb::ValueInfoProto &output : graph.output()) {
    results.push_back(lookup(output.name()));
  }
  onnx::YieldOp::create(builder, region.getParentOp()->getLoc(), results);
  unbind(mark);
  return llvm::Error::success();
}

llvm::Error ModelEmitter::emitCall(const pb::NodeProto &node, const pb::FunctionProto &function,
                                   const ValueTypes &types) {
  Frame inner;
  OpsetScope opsets(function, *frame->opsets);
  inner.opsets = &opsets;
  inner.prefix = frame->prefix + (node.name().empty() ? node.op_type() : node.name()) + "/";
  for (const pb::AttributeProto &attribute : function.attribute_proto()) {
    inner.attributes[attribute.name()] = &attribute;
  }
  for (auto [name, proto] : resolved(node)) {
    inner.attributes[name] = proto;
  }
  ValueTypes innerTypes;
  if (llvm::Error error = collectTypes(function.value_info(), innerTypes)) {
    return error;
  }
  for (int i = 0; i < node.output_size(); ++i) {
    const std::string &formal = function.output(i), &actual = node.output(i);
    if (Type type = types.lookup(actual)) {
      innerTypes[formal] = type;
    }
    StringRef outer = frame->outputNames.lookup(actual);
    // A name that outlives this call: of the file, or already an outer one.
    if (!actual.empty() && (frame->prefix.empty() || !outer.empty())) {
      inner.outputNames.try_emplace(formal, outer.empty() ? StringRef(actual) : outer);
    }
  }
  SmallVector<Value> arguments;
  for (int i = 0; i < function.input_size(); ++i) {
    arguments.push_back(i < node.input_size() ? lookup(node.input(i)) : none());
  }
  GraphPath outerPath = std::move(path);
  path = outerPath;
  path.push_back(functionStep(function) + " called by " + nodeLabel(node, 0));
  Frame *outer = std::exchange(frame, &inner);
  size_t mark = bound.size();
  for (auto [name, value] : llvm::zip_equal(function.input(), arguments)) {
    bind(name, value);
  }
  llvm::Error error = emitNodes(function.node(), &function, innerTypes);
  SmallVector<Value> results;
  for (int i = 0; !error && i < node.output_size(); ++i) {
    results.push_back(lookup(function.output(i)));
  }
  bound.resize(mark);
  frame = outer;
  path = std::move(outerPath);
  if (error) {
    return error;
  }
  for (auto [name, value] : llvm::zip_equal(node.output(), results)) {
    bind(name, value);
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// The model
//===----------------------------------------------------------------------===//

llvm::Error ModelEmitter::emitMain(const pb::ModelProto &model) {
  const pb::GraphProto &graph = model.graph();
  ValueTypes types;
  for (const auto *infos : {&graph.input(), &graph.output(), &graph.value_info()}) {
    if (llvm::Error error = collectTypes(*infos, types)) {
      return error;
    }
  }
  llvm::StringSet<> initializers, outputs;
  for (const pb::TensorProto &tensor : graph.initializer()) {
    initializers.insert(tensor.name());
  }
  for (const pb::SparseTensorProto &sparse : graph.sparse_initializer()) {
    initializers.insert(sparse.values().name());
  }
  Block *block = main.addEntryBlock();
  builder.setInsertionPointToStart(block);
  SmallVector<Attribute> argAttrs, resultAttrs;
  for (const pb::ValueInfoProto &input : graph.input()) {
    if (initializers.contains(input.name())) {
      continue;
    }
    Type type = types.lookup(input.name());
    if (isa<onnx::UnknownType>(type)) {
      return modelError(ErrorCode::E0204, "input " + quoteText(input.name()) + " has no type")
          .graphPath(path);
    }
    bind(input.name(), block->addArgument(type, NameLoc::get(builder.getStringAttr(input.name()))));
    argAttrs.push_back(valueAttrs(input));
  }
  if (llvm::Error error = emitInitializers(graph)) {
    return error;
  }
  if (llvm::Error error = emitNodes(graph.node(), &graph, types)) {
    return error;
  }
  SmallVector<Value> results;
  for (const pb::ValueInfoProto &output : graph.output()) {
    if (!outputs.insert(output.name()).second) {
      return modelError(ErrorCode::E0202, "the output " + quoteText(output.name()) + " is listed twice")
          .graphPath(path);
    }
    results.push_back(lookup(output.name()));
    resultAttrs.push_back(valueAttrs(output));
  }
  func::ReturnOp::create(builder, main.getLoc(), results);
  main.setFunctionType(builder.getFunctionType(block->getArgumentTypes(), ValueRange(results).getTypes()));
  main.setArgAttrsAttr(builder.getArrayAttr(argAttrs));
  main.setResAttrsAttr(builder.getArrayAttr(resultAttrs));
  return llvm::Error::success();
}

llvm::Error ModelEmitter::run(const pb::ModelProto &model, const OpsetScope &opsets) {
  Frame outermost;
  outermost.opsets = &opsets;
  frame = &outermost;
  path = {graphStep(model.graph().name())};
  builder.setInsertionPointToEnd(module.getBody());
  main = func::FuncOp::create(builder, NameLoc::get(builder.getStringAttr(model.graph().name())),
                              onnx::OnnxDialect::kMain, builder.getFunctionType({}, {}));
  if (llvm::Error error = emitMain(model)) {
    return error;
  }
  eraseUnused();
  NamedAttrList metadata;
  for (const pb::StringStringEntryProto &entry : model.metadata_props()) {
    if (!entry.key().empty()) {
      metadata.set(entry.key(), builder.getStringAttr(entry.value()));
    }
  }
  module->setAttr(onnx::OnnxDialect::kGraphNameAttr, builder.getStringAttr(model.graph().name()));
  module->setAttr(onnx::OnnxDialect::kMetadataAttr, metadata.getDictionary(builder.getContext()));
  std::string producer = model.producer_name();
  if (!model.producer_version().empty()) {
    producer += (producer.empty() ? "" : " ") + model.producer_version();
  }
  module->setAttr(onnx::OnnxDialect::kProducerAttr, builder.getStringAttr(producer));
  return llvm::Error::success();
}
