// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Moves transposes from operands to results, in one walk from the first op to the last: an op sees its
/// operands when theirs have moved already, so that what a model with channels second puts around every
/// convolution meets its inverse.

#include "ReshapeGroups.h"

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/NNSpatial.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_PROPAGATETRANSPOSESPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

using Perm = SmallVector<int64_t>;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Whether the permutation moves the last dimension to the second place and keeps the order of the others.
static bool movesChannels(ArrayRef<int64_t> perm) {
  int64_t rank = perm.size();
  if (rank < 3 || perm[0] != 0 || perm[1] != rank - 1) {
    return false;
  }
  return llvm::equal(perm.drop_front(2), llvm::seq<int64_t>(1, rank - 1));
}

/// The number of dimensions that are not known to be 1.
static int64_t countWide(Value value) {
  return llvm::count_if(typeOf(value).getShape(), [](int64_t size) { return size != 1; });
}

/// Whether the transpose of `value` is made when the model is compiled.
static bool isFixed(Value value) {
  return value.getDefiningOp<WeightUseOp>() || matchPattern(value, m_Constant());
}

namespace {

class TransposeSinker {
public:
  explicit TransposeSinker(func::FuncOp function)
      : function(function), b(function.getContext()), tracker(b) {}

  void run() {
    SmallVector<Operation *> ops =
        llvm::map_to_vector(function.getBody().front(), [](Operation &op) { return &op; });
    for (Operation *op : ops) {
      b.setInsertionPoint(op);
      visit(op);
    }
  }

private:
  void visit(Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](TransposeOp transpose) { merge(transpose); })
        .Case([&](ReduceOp reduce) { sinkReduce(reduce); })
        .Case([&](ReshapeOp reshape) { sinkReshape(reshape); })
        .Case([&](MatMulOp product) { absorbIntoRows(product); })
        .Case([&](SoftmaxOp softmax) {
          sinkSingle(softmax, [&](ArrayRef<int64_t> perm, Value x) {
            return buildSoftmax(b, softmax.getLoc(), x, perm[softmax.getAxis()], softmax.getLog());
          });
        })
        .Case([&](SliceOp slice) {
          sinkSingle(slice, [&](ArrayRef<int64_t> perm, Value x) -> Value {
            auto strides = unpermute(perm, slice.getStaticStrides());
            return SliceOp::create(b, slice.getLoc(), x,
                                   unpermute<OpFoldResult>(perm, slice.getMixedOffsets()),
                                   unpermute<OpFoldResult>(perm, slice.getMixedSizes()), strides);
          });
        })
        .Case([&](ExpandOp expand) {
          if (typeOf(expand.getX()).getRank() == typeOf(expand.getResult()).getRank()) {
            sinkSingle(expand, [&](ArrayRef<int64_t> perm, Value x) -> Value {
              return ExpandOp::create(b, expand.getLoc(), x,
                                      unpermute<OpFoldResult>(perm, expand.getMixedDims()));
            });
          }
        })
        .Case([&](PadOp pad) {
          sinkSingle(pad, [&](ArrayRef<int64_t> perm, Value x) { return move(pad, perm, x); });
        })
        .Case([&](ConcatOp concat) { sinkMany(concat); })
        .Case<PointwiseOpInterface>([&](Operation *pointwise) { sinkMany(pointwise); });
  }

  //===--- Values
  //-------------------------------------------------------------------------------------------===//

  /// `values` in the order that the dimensions have before a transpose by `perm`.
  template <typename T>
  static SmallVector<T> unpermute(ArrayRef<int64_t> perm, ArrayRef<T> values) {
    SmallVector<T> result(values.size());
    for (auto [to, from] : llvm::enumerate(perm)) {
      result[from] = values[to];
    }
    return result;
  }
  static RankedTensorType unpermute(ArrayRef<int64_t> perm, RankedTensorType type) {
    return RankedTensorType::get(unpermute<int64_t>(perm, type.getShape()), type.getElementType());
  }

  /// The transpose behind `value` if it may move on to the result of `op`: that of channels wherever it
  /// leads, others only if nobody else needs them.
  static TransposeOp getMovable(Value value, Operation *op) {
    auto transpose = value.getDefiningOp<TransposeOp>();
    if (!transpose) {
      return {};
    }
    bool isOnlyUser = llvm::all_of(transpose->getUsers(), [&](Operation *user) { return user == op; });
    return isOnlyUser || movesChannels(transpose.getPerm()) ? transpose : TransposeOp();
  }

  /// The transpose of `value`; two in a row are one or none.
  Value transpose(Value value, ArrayRef<int64_t> perm) {
    Perm all(perm);
    if (auto inner = value.getDefiningOp<TransposeOp>()) {
      for (int64_t &dim : all) {
        dim = inner.getPerm()[dim];
      }
      value = inner.getX();
    }
    return isIdentityPermutation(all) ? value : buildTranspose(b, value.getLoc(), value, all);
  }

  /// Puts `perm` behind `moved`, which computes `op` before the transpose.
  void replace(Operation *op, Value moved, ArrayRef<int64_t> perm) {
    Value old = op->getResult(0);
    if (moved.getType() != unpermute(perm, typeOf(old))) {
      // More or less is known of its sizes, which others may rely on.
      moved.getDefiningOp()->erase();
      return;
    }
    Value result = isIdentityPermutation(perm)
                       ? moved
                       : TransposeOp::create(b, op->getLoc(), old.getType(), moved, perm).getResult();
    old.replaceAllUsesWith(result);
  }

  void merge(TransposeOp op) {
    if (!op.getX().getDefiningOp<TransposeOp>()) {
      return;
    }
    Value merged = transpose(op.getX(), op.getPerm());
    if (merged.getType() == op.getType()) {
      op.getResult().replaceAllUsesWith(merged);
    }
  }

  //===--- Ops
  //----------------------------------------------------------------------------------------------===//

  /// An op of one tensor that keeps the number of dimensions.
  template <typename OpTy>
  void sinkSingle(OpTy op, llvm::function_ref<Value(ArrayRef<int64_t>, Value)> build) {
    if (TransposeOp transpose = getMovable(op.getX(), op)) {
      Perm perm(transpose.getPerm());
      replace(op, build(perm, transpose.getX()), perm);
    }
  }

  Value move(PadOp pad, ArrayRef<int64_t> perm, Value x) {
    auto split = [&](ArrayRef<OpFoldResult> sizes, SmallVector<int64_t> &numbers) {
      SmallVector<Value> values;
      dispatchIndexOpFoldResults(unpermute(perm, sizes), values, numbers);
      return values;
    };
    SmallVector<int64_t> before, after;
    SmallVector<Value> low = split(pad.getMixedBefore(), before), high = split(pad.getMixedAfter(), after);
    return PadOp::create(b, pad.getLoc(), unpermute(perm, typeOf(pad.getResult())), pad.getKind(), x,
                         pad.getValue(), low, high, before, after);
  }

  /// Pointwise ops and concatenations: worth it if more operands lose a transpose than get one.
  void sinkMany(Operation *op) {
    int64_t rank = typeOf(op->getResult(0)).getRank();
    TransposeOp first;
    for (Value operand : op->getOperands()) {
      first = first ? first : typeOf(operand).getRank() == rank ? getMovable(operand, op) : TransposeOp();
    }
    if (!first) {
      return;
    }
    Perm perm(first.getPerm());
    int64_t balance = 0;
    for (Value operand : op->getOperands()) {
      auto own = operand.getDefiningOp<TransposeOp>();
      if (own && own.getPerm() == ArrayRef<int64_t>(perm)) {
        ++balance;
      } else if (!moveFree(operand, perm, rank, /*dry=*/true)) {
        // Where the dimensions do not correspond one to one, nothing moves.
        if (typeOf(operand).getRank() != rank) {
          return;
        }
        --balance;
      }
    }
    if (balance <= 0) {
      return;
    }
    SmallVector<Value> operands;
    Perm inverse = invertPermutationVector(perm);
    for (Value operand : op->getOperands()) {
      Value moved = moveFree(operand, perm, rank, /*dry=*/false);
      operands.push_back(moved ? moved : transpose(operand, inverse));
    }
    Operation *moved = b.clone(*op);
    moved->setOperands(operands);
    moved->getResult(0).setType(unpermute(perm, typeOf(op->getResult(0))));
    if (auto concat = dyn_cast<ConcatOp>(moved)) {
      concat.setAxis(perm[concat.getAxis()]);
    }
    replace(op, moved->getResult(0), perm);
  }

  /// `operand` as it is before a transpose by `perm`, if that moves nothing when the model runs; else null. A
  /// dry run builds nothing and returns any value.
  Value moveFree(Value operand, ArrayRef<int64_t> perm, int64_t rank, bool dry) {
    Perm inverse = invertPermutationVector(perm);
    if (auto own = operand.getDefiningOp<TransposeOp>()) {
      if (own.getPerm() == perm) {
        return own.getX();
      }
    }
    int64_t own = typeOf(operand).getRank();
    if (countWide(operand) == 0) {
      return operand;
    }
    if (countWide(operand) == 1 || (own < rank && isFixed(operand))) {
      if (dry) {
        return operand;
      }
      FailureOr<ArrayRef<OpFoldResult>> dims = tracker.getDims(operand);
      if (failed(dims)) {
        return {};
      }
      SmallVector<OpFoldResult> wide(rank - own, b.getIndexAttr(1));
      llvm::append_range(wide, *dims);
      if (countWide(operand) > 1) {
        return buildTranspose(b, operand.getLoc(), buildReshape(b, operand.getLoc(), operand, wide), inverse);
      }
      SmallVector<OpFoldResult> moved = unpermute<OpFoldResult>(perm, wide);
      if (own < rank) {
        // Numpy broadcasting puts them back.
        auto isWide = [](OpFoldResult size) { return getConstantIntValue(size) != 1; };
        moved.erase(moved.begin(), llvm::find_if(moved, isWide));
      }
      return buildReshape(b, operand.getLoc(), operand, moved);
    }
    if (own != rank) {
      return {};
    }
    if (isFixed(operand)) {
      return dry ? operand : buildTranspose(b, operand.getLoc(), operand, inverse);
    }
    // Another op has needed it before.
    for (Operation *user : operand.getUsers()) {
      auto done = dyn_cast<TransposeOp>(user);
      if (done && done.getPerm() == ArrayRef<int64_t>(inverse) && done->getBlock() == b.getInsertionBlock() &&
          done->isBeforeInBlock(&*b.getInsertionPoint())) {
        return done;
      }
    }
    return {};
  }

  /// The dimensions that a reduction leaves keep their order.
  void sinkReduce(ReduceOp op) {
    auto transpose = op.getX().getDefiningOp<TransposeOp>();
    if (!transpose) {
      return;
    }
    ArrayRef<int64_t> perm = transpose.getPerm();
    SmallVector<int64_t> axes = llvm::map_to_vector(op.getAxes(), [&](int64_t axis) { return perm[axis]; });
    Value moved = buildReduce(b, op.getLoc(), op.getKind(), transpose.getX(), axes, op.getKeepDims());
    Perm rest;
    for (auto [position, axis] : llvm::enumerate(perm)) {
      if (op.getKeepDims()) {
        rest.push_back(axis);
      } else if (!llvm::is_contained(op.getAxes(), int64_t(position))) {
        // The number of dimensions before `axis` that are left.
        rest.push_back(axis - llvm::count_if(axes, [&](int64_t reduced) { return reduced < axis; }));
      }
    }
    replace(op, moved, rest);
  }

  FailureOr<SmallVector<ReshapeGroup>> getGroups(ReshapeOp op) {
    FailureOr<ArrayRef<OpFoldResult>> dims = tracker.getDims(op.getX());
    if (failed(dims)) {
      return failure();
    }
    SmallVector<OpFoldResult> from(*dims);
    if (failed(dims = tracker.getDims(op.getResult()))) {
      return failure();
    }
    std::optional<SmallVector<ReshapeGroup>> groups = groupReshape(from, *dims);
    if (!groups) {
      return failure();
    }
    return *groups;
  }

  /// Whether dimensions at `places` stand one behind the other in `shape`, between them only such of size 1.
  static bool areTogether(ArrayRef<int64_t> places, ArrayRef<int64_t> shape) {
    for (size_t i = 0; i + 1 < places.size(); ++i) {
      if (places[i] > places[i + 1] || llvm::any_of(shape.slice(places[i] + 1, places[i + 1] - places[i] - 1),
                                                    [](int64_t size) { return size != 1; })) {
        return false;
      }
    }
    return true;
  }

  /// A reshape whose groups of dimensions stand together before the transpose as well. Where they do not, as
  /// when channels are shuffled, that of channels moves on, and what puts each group in order stays.
  void sinkReshape(ReshapeOp op) {
    TransposeOp transpose = getMovable(op.getX(), op);
    if (!transpose) {
      return;
    }
    FailureOr<SmallVector<ReshapeGroup>> groups = getGroups(op);
    if (failed(groups)) {
      return;
    }
    ArrayRef<int64_t> perm = transpose.getPerm(), shape = typeOf(op.getX()).getShape();
    // Where the group's elements begin in the transpose's operand; those of size 1 follow the one before.
    SmallVector<std::pair<int64_t, size_t>> order;
    int64_t last = -1;
    bool isInOrder = true;
    for (auto [number, group] : llvm::enumerate(*groups)) {
      SmallVector<int64_t> places;
      for (size_t dim = group.fromBegin; dim < group.fromEnd; ++dim) {
        if (shape[dim] != 1) {
          places.push_back(perm[dim]);
        }
      }
      isInOrder &= areTogether(places, typeOf(transpose.getX()).getShape());
      last = places.empty() ? last : *llvm::min_element(places);
      order.push_back({last, number});
    }
    llvm::sort(order);
    SmallVector<OpFoldResult> dims = op.getMixedDims(), moved;
    Perm back(dims.size()), own;
    for (auto [place, number] : order) {
      const ReshapeGroup &group = (*groups)[number];
      llvm::append_range(own, perm.slice(group.fromBegin, group.fromEnd - group.fromBegin));
      for (size_t dim = group.toBegin; dim < group.toEnd; ++dim) {
        back[dim] = moved.size();
        moved.push_back(dims[dim]);
      }
    }
    Value x = transpose.getX();
    if (!isInOrder) {
      if (!movesChannels(back)) {
        return;
      }
      x = this->transpose(x, own);
    }
    replace(op, ReshapeOp::create(b, op.getLoc(), x, moved), back);
  }

  /// The rows of a product that are flattened, transposed dimensions: the rows of its weight change places
  /// instead, once and for all.
  void absorbIntoRows(MatMulOp op) {
    auto reshape = op.getLhs().getDefiningOp<ReshapeOp>();
    auto inner = reshape ? reshape.getX().getDefiningOp<TransposeOp>() : TransposeOp();
    if (!inner || typeOf(op.getRhs()).getRank() != 2 || !isFoldedWeight(op.getRhs())) {
      return;
    }
    FailureOr<SmallVector<ReshapeGroup>> groups = getGroups(reshape);
    if (failed(groups) || groups->empty()) {
      return;
    }
    // The last group is the flattened one; what stands before it does not move.
    ReshapeGroup tail = groups->back();
    Perm perm(inner.getPerm());
    RankedTensorType type = typeOf(inner.getResult());
    if (tail.toEnd - tail.toBegin != 1 || tail.fromBegin == tail.fromEnd) {
      return;
    }
    auto begin = int64_t(tail.fromBegin);
    SmallVector<OpFoldResult> rows;
    Perm rowsPerm(perm.size() - begin + 1, perm.size() - begin);
    for (auto [to, from] : llvm::enumerate(perm)) {
      bool isTail = int64_t(to) >= begin;
      if ((isTail ? from < begin : from != int64_t(to)) || (isTail && type.isDynamicDim(to))) {
        return;
      }
      if (isTail) {
        rows.push_back(b.getIndexAttr(type.getDimSize(to)));
        rowsPerm[from - begin] = int64_t(to) - begin;
      }
    }
    Location loc = op.getLoc();
    OpFoldResult columns = b.getIndexAttr(typeOf(op.getRhs()).getDimSize(1));
    SmallVector<OpFoldResult> matrix{b.getIndexAttr(typeOf(op.getRhs()).getDimSize(0)), columns};
    rows.push_back(columns);
    Value weight = buildReshape(
        b, loc, buildTranspose(b, loc, buildReshape(b, loc, op.getRhs(), rows), rowsPerm), matrix);
    Value lhs = ReshapeOp::create(b, loc, inner.getX(), reshape.getMixedDims());
    if (lhs.getType() == op.getLhs().getType() && weight.getType() == op.getRhs().getType()) {
      op.getLhsMutable().assign(lhs);
      op.getRhsMutable().assign(weight);
    }
  }

  /// A weight of static sizes, or what FoldWeights makes one of.
  static bool isFoldedWeight(Value value) {
    while (auto transpose = value.getDefiningOp<TransposeOp>()) {
      value = transpose.getX();
    }
    return isFixed(value) && typeOf(value).hasStaticShape();
  }

  func::FuncOp function;
  IRRewriter b;
  ShapeTracker tracker;
};

} // namespace

/// Where only dimensions of size 1 change places, nothing moves.
static void reshapeInsteadOfTranspose(func::FuncOp function) {
  IRRewriter rewriter(function.getContext());
  ShapeTracker tracker(rewriter);
  function.walk([&](TransposeOp op) {
    auto shape = typeOf(op.getX()).getShape();
    auto isMoved = [&](int64_t axis) { return shape[axis] != 1; };
    if (!llvm::is_sorted(llvm::filter_to_vector(op.getPerm(), isMoved)) ||
        op.getX().getDefiningOp<WeightUseOp>()) {
      return;
    }
    FailureOr<ArrayRef<OpFoldResult>> dims = tracker.getDims(op.getResult());
    if (succeeded(dims)) {
      SmallVector<OpFoldResult> sizes(*dims);
      rewriter.setInsertionPointAfter(op);
      Value reshape = ReshapeOp::create(rewriter, op.getLoc(), op.getX(), sizes);
      if (reshape.getType() == op.getType()) {
        op.getResult().replaceAllUsesWith(reshape);
      }
    }
  });
}

namespace {

struct PropagateTransposesPass : lathe::nn::impl::PropagateTransposesPassBase<PropagateTransposesPass> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal()) {
      return;
    }
    TransposeSinker(function).run();
    reshapeInsteadOfTranspose(function);
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.getBody().front()))) {
      // Symbols stay, they are part of the interface.
      if (isOpTriviallyDead(&op) && !isa<DimSymbolOp>(op)) {
        op.erase();
      }
    }
  }
};

} // namespace
