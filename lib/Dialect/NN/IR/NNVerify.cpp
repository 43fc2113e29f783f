// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/ShapeArith.h"

using namespace mlir;
using namespace lathe::nn;

/// Checks that the shapes of the results do not contradict what follows from the operands; they may say more
/// or less.
static LogicalResult verifyResultShapes(Operation *op) {
  FailureOr<SmallVector<SmallVector<int64_t>>> shapes = inferStaticShapes(op);
  if (failed(shapes)) {
    return op->emitOpError() << "expects operands of compatible shapes, but they are "
                             << op->getOperandTypes();
  }
  for (auto [result, shape] : llvm::zip_equal(op->getResults(), *shapes)) {
    auto type = cast<RankedTensorType>(result.getType());
    if (failed(verifyCompatibleShape(type.getShape(), shape))) {
      return op->emitOpError() << "expects a result of shape "
                               << RankedTensorType::get(shape, type.getElementType()) << ", but it is "
                               << type;
    }
  }
  return success();
}
#define V(OP)                                                                                                \
  LogicalResult OP::verify() { return verifyResultShapes(*this); }
#define F(OP)                                                                                                \
  OpFoldResult OP::fold(FoldAdaptor) { return {}; }
#define C(OP)                                                                                                \
  void OP::getCanonicalizationPatterns(RewritePatternSet &, MLIRContext *) {}
V(UnaryOp)
F(UnaryOp)
C(UnaryOp) V(BinaryOp) F(BinaryOp) C(BinaryOp) V(CompareOp) F(CompareOp) V(SelectOp) F(SelectOp) C(SelectOp)
    V(CastOp) F(CastOp) C(CastOp) V(ReduceOp) F(ReduceOp) V(ArgReduceOp) V(SoftmaxOp) V(LayerNormOp)
        V(RMSNormOp) V(MatMulOp) V(ConvOp) V(AttentionOp) V(ReshapeOp) F(ReshapeOp) C(ReshapeOp)
            V(TransposeOp) F(TransposeOp) C(TransposeOp) V(ExpandOp) F(ExpandOp) C(ExpandOp) V(SliceOp)
                F(SliceOp) C(SliceOp) V(ConcatOp) F(ConcatOp) V(GatherOp) F(GatherOp) V(GatherNDOp) V(RangeOp)
                    V(FromScalarsOp) F(FromScalarsOp) LogicalResult DimSymbolOp::verify() {
  return success();
}
LogicalResult WeightOp::verify() { return success(); }
LogicalResult WeightUseOp::verifySymbolUses(SymbolTableCollection &) { return success(); }
LogicalResult LayerCallOp::verifySymbolUses(SymbolTableCollection &) { return success(); }
