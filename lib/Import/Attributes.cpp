// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Emit.h"

#include "OpTable.h"
#include "lathe/Support/Text.h"

using namespace mlir;
using namespace lathe;

llvm::SmallVector<std::pair<StringRef, const pb::AttributeProto *>>
ModelEmitter::resolved(const pb::NodeProto &node) {
  llvm::SmallVector<std::pair<StringRef, const pb::AttributeProto *>> attributes;
  for (const pb::AttributeProto &attribute : node.attribute()) {
    const pb::AttributeProto *value = &attribute;
    if (!attribute.ref_attr_name().empty()) {
      // Neither given nor with a default: the node does not have it.
      value = frame->attributes.lookup(attribute.ref_attr_name());
    }
    if (value) {
      attributes.emplace_back(attribute.name(), value);
    }
  }
  return attributes;
}

llvm::Expected<Attribute> ModelEmitter::attribute(const pb::AttributeProto &proto, StringRef name) {
  auto unsupported = [&](const char *what) {
    return modelError(ErrorCode::E0308, "attribute " + quoteText(name) + " is " + what).attribute(name);
  };
  auto tensor = [&](auto &&source) -> llvm::Expected<Attribute> {
    llvm::Expected<TensorData> data = tensors.read(source);
    if (!data) {
      return data.takeError();
    }
    return tensors.attribute(std::move(*data), symbolName(name));
  };
  auto list = [&](auto &&sources, auto make) -> llvm::Expected<Attribute> {
    SmallVector<Attribute> elements;
    for (const auto &source : sources) {
      llvm::Expected<Attribute> element = make(source);
      if (!element) {
        return element.takeError();
      }
      elements.push_back(*element);
    }
    return builder.getArrayAttr(elements);
  };
  auto type = [&](const pb::TypeProto &source) -> llvm::Expected<Attribute> {
    llvm::Expected<Type> declared = declaredType(builder.getContext(), source, options);
    if (!declared) {
      return declared.takeError();
    }
    return TypeAttr::get(*declared);
  };
  llvm::Expected<pb::AttributeProto::AttributeType> kind = attributeKind(proto);
  if (!kind) {
    return kind.takeError();
  }
  switch (*kind) {
  case pb::AttributeProto::FLOAT:
    return builder.getF32FloatAttr(proto.f());
  case pb::AttributeProto::INT:
    return builder.getI64IntegerAttr(proto.i());
  case pb::AttributeProto::STRING:
    return builder.getStringAttr(proto.s());
  case pb::AttributeProto::FLOATS:
    return builder.getDenseF32ArrayAttr(ArrayRef<float>(proto.floats().data(), size_t(proto.floats_size())));
  case pb::AttributeProto::INTS:
    return builder.getDenseI64ArrayAttr(SmallVector<int64_t>(proto.ints().begin(), proto.ints().end()));
  case pb::AttributeProto::STRINGS:
    return list(proto.strings(), [&](const std::string &text) -> llvm::Expected<Attribute> {
      return builder.getStringAttr(text);
    });
  case pb::AttributeProto::TENSOR:
    return tensor(proto.t());
  case pb::AttributeProto::TENSORS:
    return list(proto.tensors(), tensor);
  case pb::AttributeProto::SPARSE_TENSOR:
    return tensor(proto.sparse_tensor());
  case pb::AttributeProto::SPARSE_TENSORS:
    return list(proto.sparse_tensors(), tensor);
  case pb::AttributeProto::TYPE_PROTO:
    return type(proto.tp());
  case pb::AttributeProto::TYPE_PROTOS:
    return list(proto.type_protos(), type);
  case pb::AttributeProto::GRAPH:
  case pb::AttributeProto::GRAPHS:
    // Its names would be those of the caller.
    return unsupported("a graph handed to a function");
  default:
    return unsupported("of an unknown type");
  }
}

llvm::Error ModelEmitter::emitConstant(const pb::NodeProto &node, Location loc) {
  auto attributes = resolved(node);
  if (attributes.size() != 1) {
    return modelError(ErrorCode::E0303,
                      "Constant has " + Twine(attributes.size()) + " attributes, must have one value");
  }
  auto [name, proto] = attributes.front();
  auto wrong = [&, name = name]() -> llvm::Error {
    return modelError(ErrorCode::E0303, "attribute " + quoteText(name) + " is no value of a Constant")
        .attribute(name);
  };
  auto numbers = [&](Type element, ArrayRef<int64_t> shape, const void *from, size_t bytes) {
    TensorData data;
    data.type = RankedTensorType::get(shape, element);
    data.owned.assign(static_cast<const char *>(from), static_cast<const char *>(from) + bytes);
    data.bytes = data.owned;
    return data;
  };
  auto strings = [&](ArrayRef<int64_t> shape, std::vector<StringRef> values) {
    TensorData data;
    data.type = RankedTensorType::get(shape, onnx::StringType::get(builder.getContext()));
    data.strings = std::move(values);
    return data;
  };
  llvm::Expected<TensorData> data = TensorData();
  if (name == "value" && proto->has_t()) {
    data = tensors.read(proto->t());
  } else if (name == "sparse_value" && proto->has_sparse_tensor()) {
    data = tensors.read(proto->sparse_tensor());
  } else if (name == "value_float") {
    float value = proto->f();
    data = numbers(builder.getF32Type(), {}, &value, sizeof value);
  } else if (name == "value_int") {
    int64_t value = proto->i();
    data = numbers(builder.getI64Type(), {}, &value, sizeof value);
  } else if (name == "value_floats") {
    data = numbers(builder.getF32Type(), proto->floats_size(), proto->floats().data(),
                   size_t(proto->floats_size()) * 4);
  } else if (name == "value_ints") {
    data = numbers(builder.getI64Type(), proto->ints_size(), proto->ints().data(),
                   size_t(proto->ints_size()) * 8);
  } else if (name == "value_string") {
    data = strings({}, {proto->s()});
  } else if (name == "value_strings") {
    data = strings(proto->strings_size(), {proto->strings().begin(), proto->strings().end()});
  } else {
    llvm::consumeError(data.takeError());
    return wrong();
  }
  if (!data) {
    return data.takeError();
  }
  const std::string &output = node.output(0);
  llvm::Expected<Value> value = emitTensor(std::move(*data), output, loc, proto);
  if (!value) {
    return value.takeError();
  }
  bind(output, *value);
  return llvm::Error::success();
}
