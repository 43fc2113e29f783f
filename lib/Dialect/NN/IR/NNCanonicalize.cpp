#include "lathe/Dialect/NN/IR/NN.h"
using namespace mlir;
using namespace lathe::nn;
#define F(OP)                                                                                                \
  OpFoldResult OP::fold(FoldAdaptor) { return {}; }
#define C(OP)                                                                                                \
  void OP::getCanonicalizationPatterns(RewritePatternSet &, MLIRContext *) {}
F(UnaryOp)
C(UnaryOp)
F(BinaryOp) C(BinaryOp) F(CompareOp) F(SelectOp) C(SelectOp) F(CastOp) C(CastOp) F(ReduceOp) F(ReshapeOp)
    C(ReshapeOp) F(TransposeOp) C(TransposeOp) F(ExpandOp) C(ExpandOp) F(SliceOp) C(SliceOp) F(ConcatOp)
        F(GatherOp) F(FromScalarsOp)
