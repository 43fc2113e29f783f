// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PackedColumns.h"
#include "TensorOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;
using pack::PanelLayout;

PackedColumns::PackedColumns(Value rhs) {
  auto decode = rhs.getDefiningOp<pack::DecodeOp>();
  pack::PackedTensorType type = decode.getX().getType();
  format = type.getFormat();
  layout = *format.getPanelLayout(type.getTensorType());
  bytes = decode.getX().getDefiningOp<kernel::InputOp>().getBytes();
}

PackedColumns::Words PackedColumns::load(IndexMath math, OpFoldResult column, OpFoldResult unit,
                                         int64_t lanes) const {
  OpBuilder &builder = math.builder;
  Location loc = math.loc;
  auto constant = [&](int64_t value) { return math.constant(value); };
  OpFoldResult width = constant(PanelLayout::kWidth), own = math.rem(column, width);
  OpFoldResult group = constant(0);
  if (layout.group < layout.rows) {
    OpFoldResult units = constant(layout.group / layout.unitRows());
    group = math.floorDiv(unit, units);
    unit = math.rem(unit, units);
  }
  OpFoldResult panel = math.mul(math.floorDiv(column, width), constant(layout.panelBytes()));
  OpFoldResult first = math.add(panel, math.mul(group, constant(layout.groupBytes())));
  Value parameters = advance(builder, loc, getPointer(builder, loc, bytes), first);
  auto loadVector = [&](Type element, int64_t offset, OpFoldResult further) -> Value {
    int64_t size = element.getIntOrFloatBitWidth() / 8;
    OpFoldResult place = math.add(math.mul(own, constant(size)), further);
    Value address = advance(builder, loc, advance(builder, loc, parameters, constant(offset)), place);
    return LLVM::LoadOp::create(builder, loc, VectorType::get({lanes}, element), address,
                                unsigned(size * lanes));
  };
  Words result;
  OpFoldResult place = math.mul(unit, constant(layout.unitWords() * PanelLayout::kWidth * 4));
  for (int64_t word = 0; word < layout.unitWords(); ++word) {
    result.words.push_back(
        loadVector(builder.getI32Type(), layout.parameterBytes() + word * PanelLayout::kWidth * 4, place));
  }
  if (layout.hasZeros) {
    result.zeros = loadVector(builder.getI8Type(), layout.scaleBytes(), constant(0));
  }
  if (layout.scales) {
    result.scales = loadVector(layout.scales, 0, constant(0));
  }
  return result;
}

PackedColumns::Unit PackedColumns::decode(IndexMath math, const Words &words) const {
  auto floats = cast<VectorType>(words.words.front().getType()).clone(math.builder.getF32Type());
  Unit result;
  result.scales = words.scales;
  if (layout.scales && !layout.scales.isF32()) {
    result.scales = arith::ExtFOp::create(math.builder, math.loc, floats, words.scales);
  }
  Value zeros = words.zeros ? arith::UIToFPOp::create(math.builder, math.loc, floats, words.zeros).getResult()
                            : Value();
  for (int64_t row = 0; row < layout.unitRows(); ++row) {
    result.codes.push_back(format.buildCode(math.builder, math.loc, words.words, row, zeros));
  }
  return result;
}
