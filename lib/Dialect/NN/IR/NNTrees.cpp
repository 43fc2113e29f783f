// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Trees are walked by many lanes at once, each with a row and a tree of its own: a block of rows in one
/// tree, or, where rows are few, one row in a block of trees.

#include "lathe/Dialect/NN/IR/NNLearned.h"

#include "LoopBuilder.h"
#include "NNReference.h"
#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

using InferredDims = FailureOr<SmallVector<Dims>>;
using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;
using Values = LoopBuilder::Values;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

/// Checks a list of i32.
static LogicalResult verifyList(Operation *op, StringRef name, Value list) {
  if (failed(verifyRank(op, name, list, 1))) {
    return failure();
  }
  if (!getElementType(list).isSignlessInteger(32)) {
    return op->emitOpError() << "expects " << name << " to hold i32, but it is " << list.getType();
  }
  return success();
}

LogicalResult TreeEnsembleOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyRank(*this, "x", getX(), 2)) ||
      failed(verifyList(*this, "roots", getRoots())) || failed(verifyRank(*this, "splits", getSplits(), 1)) ||
      failed(verifyRank(*this, "weights", getWeights(), 1)) ||
      failed(verifySameElements(*this, "splits", getSplits(), "x", getX())) ||
      failed(verifySameElements(*this, "weights", getWeights(), "x", getX())) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX()))) {
    return failure();
  }
  if (!getElementType(getX()).isF32() && !getElementType(getX()).isF64()) {
    return emitOpError() << "expects x to hold f32 or f64, but it is " << getX().getType();
  }
  if (getKind() != ReduceKind::Sum && getKind() != ReduceKind::Min && getKind() != ReduceKind::Max) {
    return emitOpError() << "expects leaves to be joined by sum, min or max, but it is "
                         << stringifyReduceKind(getKind());
  }
  auto nodes = cast<RankedTensorType>(getNodes().getType());
  if (!nodes.getElementType().isSignlessInteger(32) || nodes.getRank() != 2 || !nodes.hasStaticShape() ||
      nodes.getDimSize(1) != 4 || nodes.getDimSize(0) < 1) {
    return emitOpError() << "expects nodes to be rows of four i32, but they are " << nodes;
  }
  if (failed(verifySameSize(*this, "the number of splits", getShape(getSplits())[0], "that of nodes",
                            nodes.getDimSize(0)))) {
    return failure();
  }
  if (getTargetCount() < 1 || (getLists().empty() && getTargetCount() != 1)) {
    return emitOpError() << "expects " << (getLists().empty() ? "one target without lists" : "targets")
                         << ", but there are " << getTargetCount();
  }
  if (!getLists().empty() && getLists().size() != 2) {
    return emitOpError() << "expects two lists, starts and targets, but there are " << getLists().size();
  }
  if (!getLists().empty() &&
      (failed(verifyList(*this, "starts", getLists()[0])) ||
       failed(verifyList(*this, "targets", getLists()[1])) ||
       failed(verifySameSize(*this, "the number of targets", getShape(getLists()[1])[0], "that of weights",
                             getShape(getWeights())[0])))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

InferredDims TreeEnsembleOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{{operandDims[0][0], builder.getIndexAttr(getTargetCount())}};
}

OpFoldResult TreeEnsembleOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return operandDims[0][0];
}

namespace {
/// The loops over rows and trees.
class TreeLoops {
public:
  TreeLoops(LoopBuilder &b, TreeEnsembleOp op, ValueRange inputs, Value y)
      : b(b), op(op), element(getElementType(op.getX())), nodeCount(getShape(op.getNodes())[0]),
        // 128 bytes: several vectors, whose loads overlap.
        lanes(128 / (element.getIntOrFloatBitWidth() / 8)), features(b.size(inputs[0], 1)),
        treeCount(b.size(inputs[1], 0)), roots(inputs[1]), splits(inputs[3]), weights(inputs[4]), y(y),
        i32(VectorType::get({lanes}, b.builder().getI32Type())), floats(VectorType::get({lanes}, element)),
        bits(VectorType::get({lanes}, b.builder().getI1Type())) {
    x = b.view(inputs[0], {b.mul(b.size(inputs[0], 0), features)});
    nodes = b.view(inputs[2], {b.index(4 * nodeCount)});
    if (!op.getLists().empty()) {
      starts = inputs[5];
      targets = inputs[6];
      places = b.local({lanes}, b.builder().getI32Type());
    }
  }

  int64_t laneCount() const { return lanes; }

  /// A lane for each of the rows from `row` on, one tree after the other.
  void doRows(Value row) {
    Value step = splat(b.fromIndex(features, b.builder().getI32Type()));
    Value offsets = b.mul(countUp(), step), all = b.integer(bits, 1), first = b.mul(row, features);
    auto walkFrom = [&](Value tree) { return walk(splat(b.load(roots, {tree})), first, offsets); };
    if (!starts) {
      Values joined =
          b.loop(b.index(0), treeCount, {initial(floats)}, [&](Value tree, ValueRange carried) -> Values {
            return {join(carried[0], getLeafWeights(walkFrom(tree), all))};
          });
      vector::StoreOp::create(b.builder(), b.location(), finish(joined[0]), y, ValueRange{row, b.index(0)});
      return;
    }
    forRows(row, b.index(lanes), [&](Value at) { return initial(element); });
    b.loop(b.index(0), treeCount, [&](Value tree) {
      storePlaces(walkFrom(tree));
      b.loop(b.index(0), b.index(lanes),
             [&](Value lane) { addLeaf(b.load(places, {lane}), b.add(row, lane)); });
    });
    finishRows(row, b.index(lanes));
  }

  /// A lane for each of some trees, one row.
  void doRow(Value row) {
    Value one = b.index(1), groups = b.floorDiv(b.add(treeCount, b.index(lanes - 1)), b.index(lanes));
    Value first = b.mul(row, features), offsets = b.zero(i32);
    auto walkGroup = [&](Value group, llvm::function_ref<void(Value, Value, Value)> use) {
      Value tree = b.mul(group, b.index(lanes)), left = b.minIndex(b.sub(treeCount, tree), b.index(lanes));
      Value isTree = vector::CreateMaskOp::create(b.builder(), b.location(), bits, ValueRange{left});
      // Lanes without a tree are at a leaf from the beginning.
      Value place = vector::MaskedLoadOp::create(b.builder(), b.location(), i32, roots, ValueRange{tree},
                                                 isTree, b.integer(i32, nodeCount));
      use(walk(place, first, offsets), isTree, left);
    };
    if (!starts) {
      Values joined =
          b.loop(b.index(0), groups, {initial(floats)}, [&](Value group, ValueRange carried) -> Values {
            Value next;
            walkGroup(group, [&](Value place, Value isTree, Value) {
              next = join(carried[0], getLeafWeights(place, isTree));
            });
            return {next};
          });
      Value result = finish(reduce(joined[0]));
      b.store(result, y, {row, b.index(0)});
      return;
    }
    forRows(row, one, [&](Value at) { return initial(element); });
    b.loop(b.index(0), groups, [&](Value group) {
      walkGroup(group, [&](Value place, Value, Value left) {
        storePlaces(place);
        b.loop(b.index(0), left, [&](Value lane) { addLeaf(b.load(places, {lane}), row); });
      });
    });
    finishRows(row, one);
  }

private:
  /// The leaves that all lanes reach from `place`; their features begin at `first` plus an offset each.
  Value walk(Value place, Value first, Value offsets) {
    auto isNode = [&](Value at) { return b.compare(CmpI::slt, at, nodeCount); };
    Values leaves = b.loopWhile(
        {place},
        [&](ValueRange at) -> Value {
          return vector::ReductionOp::create(b.builder(), b.location(), vector::CombiningKind::OR,
                                             isNode(at[0]));
        },
        [&](ValueRange at) -> Values {
          Value active = isNode(at[0]), node = b.shiftLeft(at[0], 2), zero = b.index(0);
          Value feature = gather(i32, nodes, zero, node, active, b.zero(i32));
          Value split = gather(floats, splits, zero, at[0], active, b.zero(floats));
          Value number = gather(floats, x, first, b.add(offsets, feature), active, b.zero(floats));
          Value isAtMost = b.compare(CmpF::OLE, number, split), isNaN = b.compare(CmpF::UNO, number, number);
          Value way = b.select(isAtMost, b.integer(i32, 1), b.integer(i32, 2));
          way = b.select(isNaN, b.integer(i32, 3), way);
          return {gather(i32, nodes, zero, b.add(node, way), active, at[0])};
        });
    return leaves[0];
  }

  Value gather(VectorType type, Value memory, Value first, Value offsets, Value mask, Value otherwise) {
    return vector::GatherOp::create(b.builder(), b.location(), type, memory, ValueRange{first}, offsets, mask,
                                    otherwise);
  }
  Value splat(Value number) {
    return vector::BroadcastOp::create(b.builder(), b.location(), VectorType::get({lanes}, number.getType()),
                                       number);
  }
  Value countUp() {
    SmallVector<int32_t> numbers(llvm::to_vector(llvm::seq<int32_t>(0, lanes)));
    return arith::ConstantOp::create(b.builder(), b.location(),
                                     DenseElementsAttr::get(i32, ArrayRef<int32_t>(numbers)));
  }

  /// The weights of the leaves of lanes that count; others have one that changes nothing.
  Value getLeafWeights(Value place, Value counts) {
    return gather(floats, weights, b.index(0), b.sub(place, b.integer(i32, nodeCount)), counts,
                  initial(floats));
  }
  bool isSum() { return op.getKind() == ReduceKind::Sum; }
  /// What is there before the first leaf. No smallest or largest weight is NaN.
  Value initial(Type type) { return isSum() ? b.zero(type) : b.nan(type); }
  Value join(Value sum, Value weight) {
    if (isSum()) {
      return b.add(sum, weight);
    }
    Value isBetter = b.compare(op.getKind() == ReduceKind::Min ? CmpF::OLT : CmpF::OGT, weight, sum);
    return b.select(b.bitOr(isBetter, b.compare(CmpF::UNO, sum, sum)), weight, sum);
  }
  Value reduce(Value lanesSum) {
    vector::CombiningKind kind = isSum()                           ? vector::CombiningKind::ADD
                                 : op.getKind() == ReduceKind::Min ? vector::CombiningKind::MINNUMF
                                                                   : vector::CombiningKind::MAXNUMF;
    return vector::ReductionOp::create(b.builder(), b.location(), kind, lanesSum,
                                       arith::FastMathFlags::reassoc);
  }
  Value finish(Value sum) {
    return isSum() ? sum : b.select(b.compare(CmpF::UNO, sum, sum), b.zero(sum.getType()), sum);
  }

  void storePlaces(Value place) {
    vector::StoreOp::create(b.builder(), b.location(), place, places, ValueRange{b.index(0)});
  }
  /// Joins all weights of a leaf to those of a row.
  void addLeaf(Value place, Value row) {
    Value leaf = b.sub(b.toIndex(place), b.index(nodeCount));
    Value begin = b.toIndex(b.load(starts, {leaf})),
          end = b.toIndex(b.load(starts, {b.add(leaf, b.index(1))}));
    b.loop(begin, end, [&](Value i) {
      Values at = {row, b.toIndex(b.load(targets, {i}))};
      b.store(join(b.load(y, at), b.load(weights, {i})), y, at);
    });
  }
  /// Stores `make(old)` in all elements of some rows of the result.
  void forRows(Value row, Value count, llvm::function_ref<Value(Value)> make) {
    b.loop(row, b.add(row, count), [&](Value at) {
      b.loop(b.index(0), b.index(op.getTargetCount()),
             [&](Value target) { b.store(make(b.load(y, {at, target})), y, {at, target}); });
    });
  }
  void finishRows(Value row, Value count) {
    if (!isSum()) {
      forRows(row, count, [&](Value sum) { return finish(sum); });
    }
  }

  LoopBuilder &b;
  TreeEnsembleOp op;
  Type element;
  int64_t nodeCount, lanes;
  Value features, treeCount, roots, splits, weights, y, x, nodes, starts, targets, places;
  VectorType i32, floats, bits;
};
} // namespace

LogicalResult TreeEnsembleOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                         Value begin, Value end) {
  LoopBuilder b(builder, getLoc());
  TreeLoops loops(b, *this, inputs, outputs[0]);
  Value lanes = b.index(loops.laneCount());
  Value blocks = b.floorDiv(b.sub(end, begin), lanes);
  b.loop(b.index(0), blocks, [&](Value block) { loops.doRows(b.add(begin, b.mul(block, lanes))); });
  b.loop(b.add(begin, b.mul(blocks, lanes)), end, [&](Value row) { loops.doRow(row); });
  return success();
}
