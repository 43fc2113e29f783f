// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Legalizer.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

Scalars Scalars::pick(ArrayRef<int64_t> resultShape,
                      llvm::function_ref<SmallVector<int64_t>(ArrayRef<int64_t>)> from) const {
  Scalars result{elementType, llvm::to_vector(resultShape), {}};
  SmallVector<int64_t> strides = computeStrides(shape), resultStrides = computeStrides(resultShape);
  for (int64_t i = 0, count = ShapedType::getNumElements(resultShape); i < count; ++i) {
    result.elements.push_back(elements[linearize(from(delinearize(i, resultStrides)), strides)]);
  }
  return result;
}
