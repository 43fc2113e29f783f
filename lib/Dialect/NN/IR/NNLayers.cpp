// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace lathe::nn;

FailureOr<SmallVector<SmallVector<OpFoldResult>>>
LayerCallOp::inferDims(OpBuilder &builder, ArrayRef<SmallVector<OpFoldResult>>) {
  auto function = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(*this, getLayerAttr());
  if (!function) {
    return failure();
  }
  Block &entry = (*this)->getParentOfType<func::FuncOp>().getBody().front();
  SmallVector<SmallVector<OpFoldResult>> results;
  for (OpResult result : getOperation()->getResults()) {
    auto names = function.getResultAttrOfType<ArrayAttr>(result.getResultNumber(), NNDialect::kDimsAttr);
    SmallVector<OpFoldResult> &dims = results.emplace_back();
    for (auto [index, size] : llvm::enumerate(cast<RankedTensorType>(result.getType()).getShape())) {
      if (!ShapedType::isDynamic(size)) {
        dims.push_back(builder.getIndexAttr(size));
        continue;
      }
      StringRef name = names ? cast<StringAttr>(names[index]).getValue() : StringRef();
      if (name.empty()) {
        return failure();
      }
      dims.push_back(getDimSymbol(builder, entry, name));
    }
  }
  return results;
}
