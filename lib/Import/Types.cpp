// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Types.h"

#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "lathe/Support/Text.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;

Type lathe::elementType(MLIRContext *context, int32_t dataType) {
  return onnx::getElementType(context, dataType);
}

unsigned lathe::storedBits(Type elementType) {
  if (auto complex = dyn_cast<ComplexType>(elementType)) {
    return 2 * complex.getElementType().getIntOrFloatBitWidth();
  }
  unsigned bits = elementType.getIntOrFloatBitWidth();
  return bits == 1 ? 8 : bits;
}

llvm::Error lathe::checkDims(ArrayRef<int64_t> dims, const ImportOptions &options) {
  if (dims.size() > options.limits.rank) {
    return limitError(ErrorCode::E0103,
                      "a tensor has rank " + Twine(dims.size()) + ", the limit is " +
                          Twine(options.limits.rank),
                      &ModelLimits::rank);
  }
  // A zero does not hide an overflow of the others.
  int64_t product = 1;
  for (auto [position, dim] : llvm::enumerate(dims)) {
    if (ShapedType::isDynamic(dim)) {
      continue;
    }
    if (dim < 0 || dim > nn::kMaxDim) {
      return modelError(ErrorCode::E0204, "dimension " + Twine(position) + " is " + Twine(dim) +
                                              ", must be from 0 to " + Twine(nn::kMaxDim));
    }
    if (dim > 0 && (llvm::MulOverflow(product, dim, product) || product > INT64_MAX / 16)) {
      return modelError(ErrorCode::E0204, "the product of dimensions overflows")
          .have("dims = [" +
                llvm::join(
                    llvm::map_range(
                        dims, [](int64_t d) { return ShapedType::isDynamic(d) ? "?" : std::to_string(d); }),
                    ", ") +
                "]");
    }
  }
  if (uint64_t(product) > options.limits.elements && !llvm::is_contained(dims, 0)) {
    return limitError(ErrorCode::E0103,
                      "a tensor has " + Twine(product) + " elements, the limit is " +
                          Twine(options.limits.elements),
                      &ModelLimits::elements);
  }
  return llvm::Error::success();
}

static llvm::Expected<Type> declaredTensor(MLIRContext *context, const pb::TypeProto::Tensor &tensor,
                                           const ImportOptions &options) {
  if (tensor.elem_type() == pb::TensorProto::UNDEFINED) {
    return onnx::UnknownType::get(context);
  }
  Type element = elementType(context, tensor.elem_type());
  if (!element) {
    return modelError(ErrorCode::E0204, "element type " + Twine(tensor.elem_type()) +
                                            " is unknown, the newest is " +
                                            Twine(int(pb::TensorProto::DataType_MAX)));
  }
  if (!tensor.has_shape()) {
    return UnrankedTensorType::get(element);
  }
  SmallVector<int64_t> dims;
  for (const auto &dim : tensor.shape().dim()) {
    // Some exporters write -1 for a size that they do not know. The value that stands for `?` in MLIR is no
    // valid size.
    if (dim.has_dim_value() && dim.dim_value() == -1) {
      dims.push_back(ShapedType::kDynamic);
      continue;
    }
    if (dim.has_dim_value() && dim.dim_value() < 0) {
      return modelError(ErrorCode::E0204, "dimension " + Twine(dims.size()) + " is " +
                                              Twine(dim.dim_value()) + ", must be from 0 to " +
                                              Twine(nn::kMaxDim))
          .help("a dimension that is not known has a name or nothing");
    }
    dims.push_back(dim.has_dim_value() ? dim.dim_value() : ShapedType::kDynamic);
  }
  if (llvm::Error error = checkDims(dims, options)) {
    return error;
  }
  return RankedTensorType::get(dims, element);
}

llvm::Expected<Type> lathe::declaredType(MLIRContext *context, const pb::TypeProto &type,
                                         const ImportOptions &options) {
  // The depth of nested types is bounded by the walk over the file.
  auto wrap = [&](const pb::TypeProto &element, auto make) -> llvm::Expected<Type> {
    llvm::Expected<Type> inner = declaredType(context, element, options);
    if (!inner) {
      return inner.takeError();
    }
    return make(*inner);
  };
  switch (type.value_case()) {
  case pb::TypeProto::kTensorType:
    return declaredTensor(context, type.tensor_type(), options);
  case pb::TypeProto::kSequenceType:
    return wrap(type.sequence_type().elem_type(),
                [](Type t) -> Type { return onnx::SequenceType::get(t.getContext(), t); });
  case pb::TypeProto::kOptionalType:
    return wrap(type.optional_type().elem_type(),
                [](Type t) -> Type { return onnx::OptionalType::get(t.getContext(), t); });
  case pb::TypeProto::kMapType: {
    Type key = elementType(context, type.map_type().key_type());
    if (!key) {
      return modelError(ErrorCode::E0204,
                        "key type " + Twine(type.map_type().key_type()) + " of a map is unknown");
    }
    return wrap(type.map_type().value_type(),
                [&](Type t) -> Type { return onnx::MapType::get(t.getContext(), key, t); });
  }
  default: // nothing, or sparse and opaque, of which no operator of the standard has any
    return onnx::UnknownType::get(context);
  }
}

std::vector<std::string> lathe::dimensionNames(const pb::TypeProto &type) {
  std::vector<std::string> names;
  bool any = false;
  for (const auto &dim : type.tensor_type().shape().dim()) {
    // Some exporters write a question mark for every size that they do not know.
    names.push_back(dim.dim_param() == "?" ? "" : dim.dim_param());
    any |= !names.back().empty();
  }
  if (!any) {
    names.clear();
  }
  return names;
}
