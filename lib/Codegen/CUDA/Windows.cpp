// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Windows.h"
#include "DeviceOps.h"
#include "Factors.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

Windows::Windows(EmitContext &context, const MatMulProblem &problem, ElementEmitter &elements)
    : context(context), problem(problem), elements(elements), loc(problem.root->getLoc()) {
  auto conv = cast<nn::ConvOp>(problem.root);
  dims = llvm::to_vector(*context.shapes.getDims(problem.lhs));
  auto filter = cast<RankedTensorType>(problem.rhs.getType());
  window = llvm::to_vector(filter.getShape().drop_back(2));
  strides = llvm::to_vector(conv.getStrides());
  dilations = llvm::to_vector(conv.getDilations());
  before = llvm::to_vector(conv.getPads().take_front(strides.size()));
}

Windows::Row Windows::findRow(Value line) {
  SmallVector<OpFoldResult> position = math().delinearize(line, problem.flattened);
  Row row{position.front(), {}};
  for (auto [dim, at] : llvm::enumerate(ArrayRef(position).drop_front())) {
    OpFoldResult first = math().mul(at, math().constant(strides[dim]));
    row.starts.push_back(math().sub(first, math().constant(before[dim])));
  }
  return row;
}

Windows::Element Windows::findElement(const Row &row, Value place) {
  OpBuilder &builder = context.builder;
  // Elements of a window are few: 32 bits are divided faster.
  Type i32 = builder.getI32Type();
  Value rest = arith::IndexCastOp::create(builder, loc, i32, place);
  auto takeOff = [&](int64_t size) -> OpFoldResult {
    Value divisor = arith::ConstantIntOp::create(builder, loc, i32, size);
    Value digit = arith::RemUIOp::create(builder, loc, rest, divisor);
    rest = arith::DivUIOp::create(builder, loc, rest, divisor);
    return arith::IndexCastOp::create(builder, loc, builder.getIndexType(), digit).getResult();
  };
  Element element;
  element.channel = takeOff(*getConstantIntValue(dims.back()));
  element.at.resize(window.size());
  for (size_t dim = window.size(); dim-- > 0;) {
    OpFoldResult step = window[dim] == 1 ? math().constant(0) : takeOff(window[dim]);
    OpFoldResult at = math().add(row.starts[dim], math().mul(step, math().constant(dilations[dim])));
    element.at[dim] = at;
    // Before the first element it is negative: the largest of all numbers without a sign.
    Value isInside = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(at),
                                           math().value(dims[dim + 1]));
    element.exists = emitBoth(builder, loc, element.exists, isInside);
  }
  return element;
}

TileSource Windows::getSource(MatrixFormat format) {
  TileSource source;
  source.lines = problem.m;
  source.length = problem.k;
  source.element = [this](Value line, Value place) -> FailureOr<Value> {
    Row row = findRow(line);
    Element element = findElement(row, place);
    Tile tile{math().values({row.image}), 0, Value()};
    llvm::append_range(tile.index, math().values(element.at));
    tile.index.push_back(math().value(element.channel));
    Type type = cast<RankedTensorType>(problem.lhs.getType()).getElementType();
    Value zero = arith::ConstantOp::create(context.builder, loc, context.builder.getZeroAttr(type));
    return emitWhere(context.builder, loc, element.exists, zero,
                     [&] { return elements.evaluate(problem.lhs, tile); });
  };
  FailureOr<StridedView> view = getStridedView(context, problem.lhs);
  if (failed(view) || !isCopiable(*view, format)) {
    return source;
  }
  source.memory = *view;
  source.findLine = [this, view = *view](Value line) -> ChunkFinder {
    Row row = findRow(line);
    OpFoldResult base = math().add(view.offset, math().mul(row.image, view.strides.front()));
    return [this, view, row, base](Value place) {
      Element element = findElement(row, place);
      OpFoldResult offset = math().add(base, element.channel);
      for (auto [at, stride] : llvm::zip(element.at, ArrayRef(view.strides).drop_front())) {
        offset = math().add(offset, math().mul(at, stride));
      }
      return TileChunk{offset, element.exists};
    };
  };
  return source;
}
