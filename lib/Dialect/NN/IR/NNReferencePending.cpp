// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Reference lowerings that are still to be written; each fails, and gives way to the real definition.

#include "lathe/Dialect/NN/IR/NN.h"

using namespace mlir;
using namespace lathe::nn;

#define LATHE_PRIMITIVE(OP)                                                                                  \
  __attribute__((weak)) FailureOr<SmallVector<Value>> OP::lowerToLinalg(OpBuilder &, ValueRange,             \
                                                                        ValueRange) {                        \
    return failure();                                                                                        \
  }
#define LATHE_COMPOSITE(OP)                                                                                  \
  __attribute__((weak)) FailureOr<SmallVector<Value>> OP::decompose(RewriterBase &) { return failure(); }

LATHE_PRIMITIVE(UnaryOp)
LATHE_PRIMITIVE(BinaryOp)
LATHE_PRIMITIVE(CompareOp)
LATHE_PRIMITIVE(SelectOp)
LATHE_PRIMITIVE(CastOp)
LATHE_PRIMITIVE(ReduceOp)
LATHE_PRIMITIVE(ArgReduceOp)
LATHE_PRIMITIVE(MatMulOp)
LATHE_PRIMITIVE(ConvOp)
LATHE_PRIMITIVE(ReshapeOp)
LATHE_PRIMITIVE(TransposeOp)
LATHE_PRIMITIVE(ExpandOp)
LATHE_PRIMITIVE(SliceOp)
LATHE_PRIMITIVE(ConcatOp)
LATHE_PRIMITIVE(GatherOp)
LATHE_PRIMITIVE(GatherNDOp)
LATHE_PRIMITIVE(RangeOp)
LATHE_PRIMITIVE(FromScalarsOp)
LATHE_COMPOSITE(SoftmaxOp)
LATHE_COMPOSITE(LayerNormOp)
LATHE_COMPOSITE(RMSNormOp)
LATHE_COMPOSITE(AttentionOp)
