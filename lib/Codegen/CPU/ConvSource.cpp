// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ConvSource.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/PointwiseLoops.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// A buffer as one row of elements.
static StridedView getFlatView(Value base) {
  Builder builder(base.getContext());
  return {base,
          builder.getIndexAttr(0),
          {builder.getIndexAttr(INT64_MAX)},
          {builder.getIndexAttr(1)},
          cast<MemRefType>(base.getType()).getElementType()};
}

/// The most channels whose planes are put together in registers.
static constexpr int64_t kMaxPlanes = 4;

ConvSource::ConvSource(EmitContext &context, ConvProblem &problem, const ConvGrid &grid)
    : context(context), builder(context.builder), loc(problem.op.getLoc()), problem(problem),
      elements(context),
      elementType(getMemoryType(cast<RankedTensorType>(problem.op.getX().getType()).getElementType())),
      channels(problem.groups * problem.channels), storedChannels(problem.storedChannels) {
  FailureOr<StridedView> found = getStridedView(context, problem.op.getX());
  if (succeeded(found)) {
    for (auto [stride, dim] : llvm::zip_equal(viewStrides, problem.dims)) {
      stride = dim.axis ? found->strides[dim.axis] : math().constant(0);
    }
    if (channels == 1 || isConstantSize(found->strides.back(), 1)) {
      view = *found;
    } else if (channels <= kMaxPlanes && channels == storedChannels && isConstantSize(viewStrides[2], 1) &&
               elementType.isF32() && found->element == elementType) {
      planes = *found;
    }
  }
  border = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(elementType));
  if (!view || problem.isPadded() || channels != storedChannels) {
    Value buffer = makeScratch(builder, loc, elementType, grid.patchElements);
    patch =
        memref::CastOp::create(builder, loc, MemRefType::get({ShapedType::kDynamic}, elementType), buffer);
  }
}

ConvSource::Span ConvSource::getSpan(const ConvGrid::Block &block) {
  OpFoldResult one = math().constant(1);
  std::array<OpFoldResult, 3> starts = {block.plane, block.firstRow, block.firstColumn};
  std::array<OpFoldResult, 3> counts = {one, block.rows, block.columns};
  Span span;
  for (auto [i, dim] : llvm::enumerate(problem.dims)) {
    OpFoldResult stride = math().constant(dim.stride);
    span.first[i] = math().sub(math().mul(starts[i], stride), math().constant(dim.before));
    span.sizes[i] = math().add(math().mul(math().sub(counts[i], one), stride), math().constant(dim.reach()));
  }
  return span;
}

Value ConvSource::isInside(const Span &span) {
  Value all;
  for (auto [i, dim] : llvm::enumerate(problem.dims)) {
    if (!dim.isPadded()) {
      continue;
    }
    Value last = math().value(math().add(span.first[i], span.sizes[i]));
    Value isAfterStart = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sge,
                                               math().value(span.first[i]), math().value(math().constant(0)));
    Value isBeforeEnd =
        arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sle, last, math().value(dim.in));
    Value both = arith::AndIOp::create(builder, loc, isAfterStart, isBeforeEnd);
    all = all ? arith::AndIOp::create(builder, loc, all, both).getResult() : both;
  }
  return all;
}

FailureOr<WindowRef> ConvSource::get(const ConvGrid::Task &task, Value &copied) {
  Span span = getSpan(task.block);
  WindowRef direct;
  bool readsDirectly = view && channels == storedChannels;
  if (readsDirectly) {
    direct.base = view->base;
    direct.strides = viewStrides;
    direct.offset = math().add(view->offset, math().mul(task.block.image, view->strides.front()));
    for (auto [first, stride] : llvm::zip_equal(span.first, viewStrides)) {
      direct.offset = math().add(direct.offset, math().mul(first, stride));
    }
    if (!patch) {
      return direct;
    }
  }
  Value inside = readsDirectly ? isInside(span) : Value();
  Value number = math().value(task.number);
  Value isNeeded = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, number, copied);
  if (inside) {
    Value yes = arith::ConstantOp::create(builder, loc, builder.getBoolAttr(true));
    Value isOutside = arith::XOrIOp::create(builder, loc, inside, yes);
    isNeeded = arith::AndIOp::create(builder, loc, isNeeded, isOutside);
  }
  auto branch = scf::IfOp::create(builder, loc, TypeRange{builder.getIndexType()}, isNeeded,
                                  /*addThenBlock=*/true, /*addElseBlock=*/true);
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(branch.thenBlock());
    if (failed(copy(task.block, span))) {
      return failure();
    }
    scf::YieldOp::create(builder, loc, number);
    builder.setInsertionPointToStart(branch.elseBlock());
    scf::YieldOp::create(builder, loc, copied);
  }
  copied = branch.getResult(0);
  OpFoldResult rowStride = math().mul(span.sizes[2], math().constant(storedChannels));
  WindowRef patched{patch,
                    math().constant(0),
                    {math().mul(span.sizes[1], rowStride), rowStride, math().constant(storedChannels)}};
  if (!inside) {
    return patched;
  }
  auto select = [&](OpFoldResult lhs, OpFoldResult rhs) -> OpFoldResult {
    std::optional<int64_t> number = getConstantIntValue(lhs);
    if (number && number == getConstantIntValue(rhs)) {
      return lhs;
    }
    return arith::SelectOp::create(builder, loc, inside, math().value(lhs), math().value(rhs)).getResult();
  };
  WindowRef either;
  either.base = arith::SelectOp::create(builder, loc, inside, direct.base, patched.base);
  either.offset = select(direct.offset, patched.offset);
  for (auto [i, dim] : llvm::enumerate(problem.dims)) {
    // Along a dimension of size 1 nothing is strided.
    either.strides[i] = dim.axis ? select(direct.strides[i], patched.strides[i]) : math().constant(0);
  }
  return either;
}

LogicalResult ConvSource::copy(const ConvGrid::Block &block, const Span &span) {
  Value zero = math().value(math().constant(0)), one = math().value(math().constant(1));
  OpFoldResult rowElements = math().mul(span.sizes[2], math().constant(storedChannels));
  auto isInsideOf = [&](OpFoldResult position, const ConvDim &dim) {
    // Negative positions are huge unsigned ones.
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(position),
                                 math().value(dim.in));
  };
  OpBuilder::InsertionGuard guard(builder);
  auto planes = scf::ForOp::create(builder, loc, zero, math().value(span.sizes[0]), one);
  builder.setInsertionPointToStart(planes.getBody());
  auto rows = scf::ForOp::create(builder, loc, zero, math().value(span.sizes[1]), one);
  builder.setInsertionPointToStart(rows.getBody());
  Value plane = planes.getInductionVar(), row = rows.getInductionVar();
  OpFoldResult planeOfInput = math().add(span.first[0], plane), rowOfInput = math().add(span.first[1], row);
  Value inside = arith::AndIOp::create(builder, loc, isInsideOf(planeOfInput, problem.dims[0]),
                                       isInsideOf(rowOfInput, problem.dims[1]));
  OpFoldResult place = math().mul(math().add(math().mul(plane, span.sizes[1]), row), rowElements);
  return copyRow(block, span, {planeOfInput, rowOfInput}, inside, place);
}

LogicalResult ConvSource::copyRow(const ConvGrid::Block &block, const Span &span,
                                  ArrayRef<OpFoldResult> position, Value isRowInside, OpFoldResult place) {
  // Columns [begin, end) of the row exist.
  const ConvDim &dim = problem.dims[2];
  OpFoldResult zero = math().constant(0), first = span.first[2], size = span.sizes[2];
  OpFoldResult begin = dim.before ? math().min(math().max(math().sub(zero, first), zero), size) : zero;
  OpFoldResult end = dim.isPadded() ? math().max(math().min(math().sub(dim.in, first), size), begin) : size;
  if (problem.isPadded()) {
    end = arith::SelectOp::create(builder, loc, isRowInside, math().value(end), math().value(begin))
              .getResult();
  }
  OpFoldResult width = math().constant(storedChannels);
  OpFoldResult from = math().add(place, math().mul(begin, width)),
               to = math().add(place, math().mul(end, width)),
               last = math().add(place, math().mul(size, width));
  if (failed(fillBorder(place, from)) || failed(fillBorder(to, last))) {
    return failure();
  }
  // Copies elements [first, last) of the patch, whose values `load` gives.
  int64_t lanes = context.target.lanes(elementType.getIntOrFloatBitWidth());
  auto copyElements = [&](OpFoldResult first, OpFoldResult last,
                          llvm::function_ref<FailureOr<Value>(Value, const LoopStep &)> load) {
    SmallVector<Value> nothing;
    return emitTiledLoop(context, loc, first, last, lanes, /*unroll=*/4, nothing, [&](LoopStep &step) {
      SmallVector<Value> values;
      for (Value at : step.positions) {
        FailureOr<Value> value = load(at, step);
        if (failed(value)) {
          return failure();
        }
        values.push_back(*value);
      }
      for (auto [at, value] : llvm::zip_equal(step.positions, values)) {
        storeTile(builder, loc, value, getFlatView(patch), Tile{{at}, step.lanes, step.mask});
      }
      return success();
    });
  };
  // Where the row begins in the input.
  auto getSource = [&](const StridedView &from) {
    OpFoldResult source = math().add(from.offset, math().mul(block.image, from.strides.front()));
    for (auto [at, stride] : llvm::zip(position, viewStrides)) {
      source = math().add(source, math().mul(at, stride));
    }
    return source;
  };
  if (view && channels == storedChannels && areEqualSizes(viewStrides[2], width)) {
    OpFoldResult source = math().add(getSource(*view), math().mul(math().add(first, begin), width));
    // Where the patch's elements come from, in as many elements.
    OpFoldResult ahead = math().sub(source, from);
    return copyElements(from, to, [&](Value at, const LoopStep &step) -> FailureOr<Value> {
      Tile tile{{math().value(math().add(at, ahead))}, step.lanes, step.mask};
      return loadTile(builder, loc, getFlatView(view->base), tile);
    });
  }
  if (planes) {
    begin = copyPlanes(math().add(getSource(*planes), first), begin, end, place);
  }
  OpBuilder::InsertionGuard guard(builder);
  auto pixels = scf::ForOp::create(builder, loc, math().value(begin), math().value(end),
                                   math().value(math().constant(1)));
  builder.setInsertionPointToStart(pixels.getBody());
  Value pixel = pixels.getInductionVar();
  SmallVector<OpFoldResult> pixelOfInput(position);
  pixelOfInput.push_back(math().add(first, pixel));
  OpFoldResult start = math().add(place, math().mul(pixel, width));
  return copyElements(
      start, math().add(start, math().constant(channels)), [&](Value at, const LoopStep &step) {
        OpFoldResult channel = math().sub(at, start);
        SmallVector<Value> index =
            problem.tensorIndex(builder, loc, block.image, pixelOfInput, math().value(channel));
        elements.reset();
        return elements.evaluate(problem.op.getX(), Tile{index, step.lanes, step.mask});
      });
}

/// Vectors of the same pixels of several channels as vectors of all channels of each pixel.
static SmallVector<Value> interleave(OpBuilder &builder, Location loc, ArrayRef<Value> channels,
                                     int64_t lanes) {
  int64_t count = channels.size();
  SmallVector<Value> result;
  for (int64_t vector = 0; vector < count; ++vector) {
    Value merged = channels[0];
    for (int64_t channel = 1; channel < count; ++channel) {
      SmallVector<int64_t> from;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        int64_t element = vector * lanes + lane, pixel = element / count, own = element % count;
        // At first the pixels of channel 0 move to their lanes, too.
        from.push_back(own == channel ? lanes + pixel : channel == 1 && own == 0 ? pixel : lane);
      }
      merged = vector::ShuffleOp::create(builder, loc, merged, channels[channel], from);
    }
    result.push_back(merged);
  }
  return result;
}

OpFoldResult ConvSource::copyPlanes(OpFoldResult source, OpFoldResult begin, OpFoldResult end,
                                    OpFoldResult place) {
  int64_t lanes = context.target.lanes(elementType.getIntOrFloatBitWidth());
  auto type = VectorType::get({lanes}, elementType);
  OpFoldResult step = math().constant(lanes);
  OpFoldResult whole = math().mul(math().floorDiv(math().sub(end, begin), step), step);
  OpFoldResult stop = math().add(begin, whole);
  auto loop = scf::ForOp::create(builder, loc, math().value(begin), math().value(stop), math().value(step));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(loop.getBody());
  OpFoldResult pixel = loop.getInductionVar();
  SmallVector<Value> vectors;
  for (int64_t channel = 0; channel < channels; ++channel) {
    OpFoldResult plane = math().mul(planes->strides.back(), math().constant(channel));
    Value at = math().value(math().add(math().add(source, pixel), plane));
    vectors.push_back(vector::LoadOp::create(builder, loc, type, planes->base, ValueRange{at}));
  }
  OpFoldResult to = math().add(place, math().mul(pixel, math().constant(channels)));
  for (auto [i, vector] : llvm::enumerate(interleave(builder, loc, vectors, lanes))) {
    Value at = math().value(math().add(to, math().constant(int64_t(i) * lanes)));
    vector::StoreOp::create(builder, loc, vector, patch, ValueRange{at});
  }
  return stop;
}

LogicalResult ConvSource::fillBorder(OpFoldResult begin, OpFoldResult end) {
  SmallVector<Value> nothing;
  return emitTiledLoop(context, loc, begin, end, context.target.lanes(elementType.getIntOrFloatBitWidth()),
                       /*unroll=*/1, nothing, [&](LoopStep &step) {
                         Tile tile{{step.positions.front()}, step.lanes, step.mask};
                         Value value = toLanes(builder, loc, border, step.lanes);
                         storeTile(builder, loc, value, getFlatView(patch), tile);
                         return success();
                       });
}
