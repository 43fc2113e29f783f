// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PackedWeights.h"

#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

static pack::FormatAttrInterface getFormat(MLIRContext *context, const PackedBlocks &blocks) {
  bool zeros = bool(blocks.zeros);
  Type scales = typeOf(blocks.scales).getElementType();
  switch (blocks.bits) {
  case 2:
    return pack::Int2Attr::get(context, blocks.blockSize, zeros, scales, blocks.roundsRows);
  case 4:
    return pack::Int4Attr::get(context, blocks.blockSize, zeros, scales, blocks.roundsRows);
  default:
    return pack::Int8GroupsAttr::get(context, blocks.blockSize, zeros, scales, blocks.roundsRows);
  }
}

namespace {
/// Builds within the body of a weight, where all sizes are numbers.
struct BodyBuilder {
  OpBuilder &b;
  Location loc;

  SmallVector<OpFoldResult> dims(ArrayRef<int64_t> shape) {
    return getAsIndexOpFoldResult(b.getContext(), shape);
  }
  Value reshape(Value x, ArrayRef<int64_t> shape) { return nn::buildReshape(b, loc, x, dims(shape)); }
  Value transpose(Value x) { return nn::buildTranspose(b, loc, x, {1, 0}); }

  /// What the constant `tensor` of the function holds.
  Value use(Value tensor) {
    if (auto use = tensor.getDefiningOp<nn::WeightUseOp>()) {
      return nn::WeightUseOp::create(b, loc, tensor.getType(), use.getWeightAttr());
    }
    Attribute value;
    matchPattern(tensor, m_Constant(&value));
    return arith::ConstantOp::create(b, loc, cast<TypedAttr>(value));
  }

  /// Zero points [columns, bytes] as [columns, blocks], a byte each.
  Value unpack(Value bytes, int64_t bits, int64_t count) {
    int64_t columns = typeOf(bytes).getDimSize(0), each = 8 / bits, size = typeOf(bytes).getDimSize(1);
    Type byte = typeOf(bytes).getElementType();
    SmallVector<APInt> shifts;
    for (int64_t i = 0; i < each; ++i) {
      shifts.push_back(APInt(8, i * bits));
    }
    Value shift = arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(RankedTensorType::get({each}, byte), ArrayRef(shifts)));
    Value parts = nn::buildBinary(b, loc, BinaryKind::ShiftRight, reshape(bytes, {columns, size, 1}), shift);
    parts = nn::buildBinary(b, loc, BinaryKind::And, parts, nn::buildScalar(b, loc, byte, (1 << bits) - 1));
    parts = reshape(parts, {columns, size * each});
    return nn::buildSlice(b, loc, parts, dims({0, 0}), dims({columns, count}), {1, 1});
  }
};
} // namespace

/// Why there is no packed matrix, if there is none.
static std::optional<std::string> findObstacle(const PackedBlocks &blocks) {
  for (auto [name, tensor] :
       {std::pair("B", blocks.bytes), {"scales", blocks.scales}, {"zero_points", blocks.zeros}}) {
    if (tensor && !tensor.getDefiningOp<nn::WeightUseOp>() && !matchPattern(tensor, m_Constant())) {
      return std::string(name) + " is no constant";
    }
  }
  if (blocks.rows % blocks.blockSize != 0) {
    return llvm::formatv("the last block of {0} rows has {1}", blocks.blockSize,
                         blocks.rows % blocks.blockSize)
        .str();
  }
  Type scales = typeOf(blocks.scales).getElementType();
  if (!scales.isF32() && !scales.isF16()) {
    return llvm::formatv("scales are {0}, formats have f32 or f16", scales).str();
  }
  if (blocks.zeros && !typeOf(blocks.zeros).getElementType().isUnsignedInteger(8)) {
    return llvm::formatv("zero points are {0}, formats have codes", typeOf(blocks.zeros).getElementType())
        .str();
  }
  return std::nullopt;
}

Value lathe::onnx::buildPackedBlocks(LegalizeContext &c, const PackedBlocks &blocks, std::string &whyNot) {
  if (std::optional<std::string> obstacle = findObstacle(blocks)) {
    whyNot = *obstacle;
    return Value();
  }
  auto module = c.b.getBlock()->getParentOp()->getParentOfType<ModuleOp>();
  int64_t count = blocks.rows / blocks.blockSize;
  auto type = RankedTensorType::get({blocks.rows, blocks.columns}, c.b.getF32Type());
  auto packed = pack::PackedTensorType::get(type, getFormat(c.b.getContext(), blocks));
  auto makeBody = [&](OpBuilder &b, Location loc) -> Value {
    BodyBuilder body{b, loc};
    auto asRows = [&](Value tensor) {
      Value rows = body.use(tensor);
      return body.reshape(rows, {blocks.columns, typeOf(rows).getNumElements() / blocks.columns});
    };
    SmallVector<Value> components{body.transpose(asRows(blocks.bytes)),
                                  body.transpose(asRows(blocks.scales))};
    if (blocks.zeros) {
      Value zeros = asRows(blocks.zeros);
      components.push_back(body.transpose(blocks.bits == 8 ? zeros : body.unpack(zeros, blocks.bits, count)));
    }
    return pack::ComposeOp::create(b, loc, packed, components);
  };
  SymbolTable symbols(module);
  OpBuilder builder(module.getContext());
  builder.setInsertionPointToStart(module.getBody());
  std::string name = "packed", onnxName;
  if (auto use = blocks.bytes.getDefiningOp<nn::WeightUseOp>()) {
    auto source = symbols.lookup<nn::WeightOp>(use.getWeight());
    builder.setInsertionPointAfter(source);
    name = (source.getSymName() + "_packed").str();
    onnxName = source.getOnnxName().value_or("").str();
  }
  auto weight = nn::WeightOp::create(builder, c.loc, name, onnxName, makeBody);
  // The symbol table may give it another name.
  symbols.insert(weight);
  Value value = nn::WeightUseOp::create(c.b, c.loc, packed, FlatSymbolRefAttr::get(weight.getSymNameAttr()));
  return pack::DecodeOp::create(c.b, c.loc, type, value);
}
