// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "FusionUtils.h"

#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_FUSEPROJECTIONSPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

namespace {

/// One product with a weight, and the addition of its bias if that is its only use.
struct Projection {
  MatMulOp product;
  BinaryOp biased;
  Value bias;
  int64_t width;
};

class Fusion {
public:
  Fusion(func::FuncOp function, SymbolTable &symbols)
      : symbols(symbols), rewriter(function.getContext()), tracker(rewriter), function(function) {}

  void run();

private:
  void fuse(ArrayRef<Projection> projections);
  /// The operands side by side along `axis`: of weights a weight, of constants a constant. Null if they are
  /// mixed.
  Value join(ArrayRef<Value> parts, int64_t axis, Location loc);

  SymbolTable &symbols;
  IRRewriter rewriter;
  ShapeTracker tracker;
  func::FuncOp function;
};

} // namespace

/// A bias of `width` elements: a weight or a constant.
static bool isBias(Value value, int64_t width) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getRank() == 1 && type.getDimSize(0) == width &&
         (value.getDefiningOp<WeightUseOp>() || matchPattern(value, m_Constant()));
}

static Projection getProjection(MatMulOp product) {
  Projection projection{product, {}, {}, cast<RankedTensorType>(product.getRhs().getType()).getDimSize(1)};
  if (product->hasOneUse()) {
    auto add = dyn_cast<BinaryOp>(*product->user_begin());
    if (add && add.getKind() == BinaryKind::Add && add.getType() == product.getType()) {
      Value other = add.getLhs() == product.getResult() ? add.getRhs() : add.getLhs();
      if (other != product.getResult() && isBias(other, projection.width)) {
        projection.biased = add;
        projection.bias = other;
      }
    }
  }
  return projection;
}

Value Fusion::join(ArrayRef<Value> parts, int64_t axis, Location loc) {
  auto first = cast<RankedTensorType>(parts.front().getType());
  SmallVector<int64_t> shape(first.getShape());
  shape[axis] = 0;
  SmallVector<FlatSymbolRefAttr> names;
  SmallVector<Attribute> elements;
  bool areConstants = true;
  std::string name, onnxName;
  Operation *last = nullptr;
  for (Value part : parts) {
    shape[axis] += cast<RankedTensorType>(part.getType()).getDimSize(axis);
    if (auto use = part.getDefiningOp<WeightUseOp>()) {
      auto weight = symbols.lookup<WeightOp>(use.getWeight());
      if (!weight || weight.getPanel()) {
        return Value();
      }
      names.push_back(use.getWeightAttr());
      name += (name.empty() ? "" : "_") + use.getWeight().str();
      if (weight.getOnnxName()) {
        onnxName += (onnxName.empty() ? "" : " + ") + weight.getOnnxName()->str();
      }
      last = !last || last->isBeforeInBlock(weight) ? weight.getOperation() : last;
    }
    DenseElementsAttr constant;
    areConstants &= matchPattern(part, m_Constant(&constant)) && first.getRank() == 1;
    if (areConstants) {
      llvm::append_range(elements, constant.getValues<Attribute>());
    }
  }
  auto type = RankedTensorType::get(shape, first.getElementType());
  if (areConstants) {
    return arith::ConstantOp::create(rewriter, loc, DenseElementsAttr::get(type, elements));
  }
  if (names.size() != parts.size()) {
    return Value();
  }
  OpBuilder builder(rewriter.getContext());
  builder.setInsertionPointAfter(last);
  auto weight = WeightOp::create(builder, loc, name, onnxName, [&](OpBuilder &body, Location) -> Value {
    SmallVector<Value> uses;
    for (auto [part, weightName] : llvm::zip_equal(parts, names)) {
      uses.push_back(WeightUseOp::create(body, loc, part.getType(), weightName));
    }
    return ConcatOp::create(body, loc, type, uses, axis);
  });
  // The symbol table may give it another name.
  symbols.insert(weight);
  return WeightUseOp::create(rewriter, loc, type, FlatSymbolRefAttr::get(weight.getSymNameAttr()));
}

void Fusion::fuse(ArrayRef<Projection> projections) {
  MatMulOp first = projections.front().product;
  Location loc = rewriter.getFusedLoc(
      llvm::map_to_vector(projections, [](Projection p) { return p.product->getLoc(); }));
  rewriter.setInsertionPoint(first);
  Value weights =
      join(llvm::map_to_vector(projections, [](Projection p) -> Value { return p.product.getRhs(); }),
           /*axis=*/1, loc);
  if (!weights) {
    return;
  }
  Value result = buildMatMul(rewriter, loc, first.getLhs(), weights);
  // The biases join if there are as many as products and of one kind.
  bool haveBiases = llvm::all_of(projections, [](const Projection &p) { return bool(p.bias); });
  Value biases = haveBiases
                     ? join(llvm::map_to_vector(projections, [](const Projection &p) { return p.bias; }),
                            /*axis=*/0, loc)
                     : Value();
  if (biases) {
    result = buildBinary(rewriter, loc, BinaryKind::Add, result, biases);
  }
  FailureOr<ArrayRef<OpFoldResult>> dims = tracker.getDims(result);
  if (failed(dims)) {
    return;
  }
  SmallVector<OpFoldResult> sizes(*dims), offsets(sizes.size(), rewriter.getIndexAttr(0));
  SmallVector<int64_t> strides(sizes.size(), 1);
  int64_t offset = 0;
  for (Projection projection : projections) {
    offsets.back() = rewriter.getIndexAttr(offset);
    sizes.back() = rewriter.getIndexAttr(projection.width);
    Operation *old = biases ? projection.biased.getOperation() : projection.product.getOperation();
    rewriter.setInsertionPointAfterValue(result);
    Value slice = buildSlice(rewriter, old->getLoc(), result, offsets, sizes, strides);
    result = slice.getDefiningOp<SliceOp>().getX();
    rewriter.replaceOp(old, slice);
    offset += projection.width;
  }
  remarkPassed(result.getDefiningOp(), "nn-fuse-projections",
               "fused " + Twine(projections.size()) + " products of one tensor");
}

void Fusion::run() {
  // In the order of the function, by left side.
  llvm::MapVector<Value, SmallVector<MatMulOp>> groups;
  function.walk([&](MatMulOp op) {
    if (getRank(op.getRhs()) == 2 && op.getRhs().getDefiningOp<WeightUseOp>()) {
      groups[op.getLhs()].push_back(op);
    }
  });
  for (auto &[lhs, products] : groups) {
    // One product would have to wait for another in a different block.
    bool isOneBlock =
        llvm::all_of(products, [&](MatMulOp op) { return op->getBlock() == products.front()->getBlock(); });
    if (products.size() < 2 || !isOneBlock) {
      continue;
    }
    SmallVector<Projection> projections = llvm::map_to_vector(products, getProjection);
    fuse(projections);
  }
  eraseDeadOps(function);
}

namespace {

struct FuseProjectionsPass : lathe::nn::impl::FuseProjectionsPassBase<FuseProjectionsPass> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    SmallVector<func::FuncOp> functions(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp function : functions) {
      if (!function.isExternal()) {
        Fusion(function, symbols).run();
      }
    }
  }
};

} // namespace
