// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Packed tensors in kernels that do not read what is stored of them: decoded element by element.

#include "lathe/Codegen/Element/ElementContext.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace lathe;

bool codegen::liesInPanels(func::FuncOp kernel, pack::DecodeOp decode) {
  auto argument = cast<BlockArgument>(decode.getX().getDefiningOp<kernel::InputOp>().getBytes());
  return bool(kernel.getArgAttr(argument.getArgNumber(), kernel::KernelDialect::kPanelAttr));
}

void codegen::expandPackedInputs(func::FuncOp kernel, llvm::function_ref<bool(pack::DecodeOp)> readsStored) {
  Block &body = kernel.getBody().front();
  for (auto decode : llvm::make_early_inc_range(body.getOps<pack::DecodeOp>())) {
    if (readsStored(decode)) {
      continue;
    }
    auto input = decode.getX().getDefiningOp<kernel::InputOp>();
    auto argument = cast<BlockArgument>(input.getBytes());
    OpBuilder builder(decode);
    Location loc = decode.getLoc();
    IndexMath math{builder, loc};
    pack::PackedTensorType type = decode.getX().getType();
    SmallVector<Value> components;
    int64_t offset = 0;
    for (RankedTensorType component : type.getComponents()) {
      int64_t bytes = component.getNumElements() * nn::getElementBytes(component.getElementType());
      Value view = memref::ViewOp::create(builder, loc, cast<MemRefType>(argument.getType()), argument,
                                          math.value(math.constant(offset)),
                                          ValueRange{math.value(math.constant(bytes))});
      components.push_back(
          kernel::InputOp::create(builder, loc, component, view, ValueRange(), /*pitch=*/IntegerAttr()));
      offset += llvm::alignTo(bytes, nn::kComponentAlignment);
    }
    decode.replaceAllUsesWith(type.getFormat().buildDecode(builder, loc, type.getTensorType(), components));
    decode.erase();
    if (input->use_empty()) {
      input.erase();
    }
  }
}
