// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/Builders.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Verifier.h"

#include <gtest/gtest.h>

using namespace mlir;
using namespace lathe::nn;

namespace {

class BuildersTest : public testing::Test {
protected:
  BuildersTest() : builder(&context), loc(builder.getUnknownLoc()) {
    context.loadDialect<NNDialect, arith::ArithDialect>();
    module = ModuleOp::create(loc);
    builder.setInsertionPointToStart(module->getBody());
  }

  /// A value of type tensor<`shape` x f32>.
  Value makeTensor(ArrayRef<int64_t> shape) {
    return UnrealizedConversionCastOp::create(
               builder, loc, RankedTensorType::get(shape, builder.getF32Type()), ValueRange())
        .getResult(0);
  }

  static ArrayRef<int64_t> getShape(Value value) {
    return cast<RankedTensorType>(value.getType()).getShape();
  }

  static constexpr int64_t kDynamic = ShapedType::kDynamic;
  MLIRContext context;
  OpBuilder builder;
  Location loc;
  OwningOpRef<ModuleOp> module;
};

TEST_F(BuildersTest, ResultsFollowFromOperands) {
  Value x = makeTensor({kDynamic, 1, 8});
  Value y = makeTensor({4, 8});
  Value sum = buildBinary(builder, loc, BinaryKind::Add, x, y);
  EXPECT_EQ(getShape(sum), ArrayRef<int64_t>({kDynamic, 4, 8}));
  Value isLess = buildCompare(builder, loc, CompareKind::Less, x, y);
  EXPECT_TRUE(getElementType(isLess).isInteger(1));
  EXPECT_EQ(getShape(buildMatMul(builder, loc, sum, makeTensor({8, 5}))),
            ArrayRef<int64_t>({kDynamic, 4, 5}));
  EXPECT_EQ(getShape(buildTranspose(builder, loc, sum, {2, 0, 1})), ArrayRef<int64_t>({8, kDynamic, 4}));
  EXPECT_EQ(getShape(buildConcat(builder, loc, {sum, sum}, -1)), ArrayRef<int64_t>({kDynamic, 4, 16}));
  EXPECT_TRUE(succeeded(verify(*module)));
}

TEST_F(BuildersTest, AxesMayBeNegativeAndUnsorted) {
  Value x = makeTensor({2, 3, 4});
  EXPECT_EQ(getShape(buildReduce(builder, loc, ReduceKind::Sum, x, {-1, 0}, false)), ArrayRef<int64_t>({3}));
  EXPECT_EQ(getShape(buildArgReduce(builder, loc, ArgReduceKind::Max, x, -2, true, false)),
            ArrayRef<int64_t>({2, 1, 4}));
  EXPECT_TRUE(succeeded(verify(*module)));
}

TEST_F(BuildersTest, ConstantSizesBecomeStatic) {
  Value two = arith::ConstantIndexOp::create(builder, loc, 2);
  Value x = makeTensor({6});
  Value y = buildReshape(builder, loc, x, {OpFoldResult(two), OpFoldResult(builder.getIndexAttr(3))});
  EXPECT_EQ(getShape(y), ArrayRef<int64_t>({2, 3}));
  EXPECT_EQ(buildReshape(builder, loc, x, {OpFoldResult(builder.getIndexAttr(6))}), x);
}

TEST_F(BuildersTest, WhatDoesNotFitIsRefusedByTheVerifier) {
  ScopedDiagnosticHandler handler(&context, [](Diagnostic &) { return success(); });
  Value product = buildMatMul(builder, loc, makeTensor({2, 3}), makeTensor({4, 5}));
  ASSERT_TRUE(product);
  // Nor does what follows crash.
  ASSERT_TRUE(buildTranspose(builder, loc, product, {1, 0}));
  EXPECT_TRUE(failed(verify(product.getDefiningOp())));
}

TEST_F(BuildersTest, ScalarsAreRounded) {
  auto value = buildScalar(builder, loc, builder.getF16Type(), 0.1).getDefiningOp<arith::ConstantOp>();
  EXPECT_EQ(cast<DenseElementsAttr>(value.getValue()).getSplatValue<APFloat>().convertToFloat(),
            0.0999755859375f);
  auto integer = buildScalar(builder, loc, builder.getI8Type(), -3).getDefiningOp<arith::ConstantOp>();
  EXPECT_EQ(cast<DenseElementsAttr>(integer.getValue()).getSplatValue<APInt>().getSExtValue(), -3);
  auto boolean = buildScalar(builder, loc, builder.getI1Type(), 1).getDefiningOp<arith::ConstantOp>();
  EXPECT_TRUE(cast<DenseElementsAttr>(boolean.getValue()).getSplatValue<bool>());
}

} // namespace
