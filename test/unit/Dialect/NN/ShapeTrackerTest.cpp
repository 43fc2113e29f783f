// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

using namespace mlir;
using namespace lathe::nn;

namespace {

class ShapeTrackerTest : public testing::Test {
protected:
  ShapeTrackerTest() : builder(&context) {
    context.loadDialect<NNDialect, func::FuncDialect, arith::ArithDialect, tensor::TensorDialect>();
  }

  /// Parses a module with one function and puts the builder at its end.
  func::FuncOp parse(StringRef text) {
    module = parseSourceString<ModuleOp>(text, &context);
    if (!module) {
      return {};
    }
    auto function = *module->getOps<func::FuncOp>().begin();
    builder.setInsertionPoint(function.getBody().front().getTerminator());
    return function;
  }

  /// The value that the function returns at `index`.
  static Value getReturned(func::FuncOp function, unsigned index) {
    return function.getBody().front().getTerminator()->getOperand(index);
  }

  template <typename OpTy>
  static int64_t count(func::FuncOp function) {
    return std::distance(function.getBody().op_begin<OpTy>(), function.getBody().op_end<OpTy>());
  }

  MLIRContext context;
  OpBuilder builder;
  OwningOpRef<ModuleOp> module;
};

TEST_F(ShapeTrackerTest, NamedSizesOfArgumentsAreOneSymbol) {
  func::FuncOp function = parse(R"(
    func.func @f(%x: tensor<?x?xf32> {nn.dims = ["B", "S"]}, %y: tensor<?x4xf32> {nn.dims = ["B", ""]})
        -> (tensor<?x?xf32>, tensor<?x4xf32>) {
      return %x, %y : tensor<?x?xf32>, tensor<?x4xf32>
    })");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  SmallVector<OpFoldResult> x(*tracker.getDims(function.getArgument(0)));
  SmallVector<OpFoldResult> y(*tracker.getDims(function.getArgument(1)));
  EXPECT_EQ(x[0], y[0]);
  EXPECT_NE(x[0], x[1]);
  EXPECT_EQ(y[1], OpFoldResult(builder.getIndexAttr(4)));
  EXPECT_EQ(count<DimSymbolOp>(function), 2);
  EXPECT_TRUE(succeeded(verify(*module)));
}

TEST_F(ShapeTrackerTest, ArgumentsWithoutNamesAreMeasured) {
  func::FuncOp function =
      parse("func.func @f(%x: tensor<?xf32>) -> tensor<?xf32> { return %x : tensor<?xf32> }");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  SmallVector<OpFoldResult> dims(*tracker.getDims(function.getArgument(0)));
  EXPECT_TRUE(cast<Value>(dims[0]).getDefiningOp<tensor::DimOp>());
  EXPECT_TRUE(succeeded(verify(*module)));
}

TEST_F(ShapeTrackerTest, EqualArithmeticIsBuiltOnce) {
  func::FuncOp function = parse(R"(
    func.func @f(%x: tensor<?xf32> {nn.dims = ["A"]}, %y: tensor<?xf32> {nn.dims = ["B"]})
        -> (tensor<?xf32>, tensor<?xf32>, tensor<?xf32>) {
      %0 = nn.concat %x, %y axis(0) : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      %1 = nn.unary exp %x : tensor<?xf32> -> tensor<?xf32>
      %2 = nn.concat %1, %y axis(0) : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      %3 = nn.concat %0, %2 axis(0) : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      return %0, %2, %3 : tensor<?xf32>, tensor<?xf32>, tensor<?xf32>
    })");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  // Asked for in the order that places earlier arithmetic last.
  ASSERT_TRUE(succeeded(tracker.getDims(getReturned(function, 2))));
  SmallVector<OpFoldResult> second(*tracker.getDims(getReturned(function, 1)));
  SmallVector<OpFoldResult> first(*tracker.getDims(getReturned(function, 0)));
  EXPECT_EQ(first, second);
  EXPECT_EQ(count<arith::AddIOp>(function), 2);
  EXPECT_TRUE(succeeded(verify(*module)));
}

TEST_F(ShapeTrackerTest, SizesAreKnownWhereTheTensorIs) {
  func::FuncOp function = parse(R"(
    func.func @f(%x: tensor<?xf32> {nn.dims = ["A"]}) -> tensor<?xf32> {
      %0 = nn.concat %x, %x axis(0) : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      %1 = nn.unary exp %0 : tensor<?xf32> -> tensor<?xf32>
      return %1 : tensor<?xf32>
    })");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  Value result = getReturned(function, 0);
  SmallVector<OpFoldResult> dims(*tracker.getDims(result));
  Operation *sum = cast<Value>(dims[0]).getDefiningOp<arith::AddIOp>();
  ASSERT_TRUE(sum);
  EXPECT_TRUE(sum->isBeforeInBlock(getReturned(function, 0).getDefiningOp()));
  EXPECT_TRUE(sum->isBeforeInBlock(*function.getBody().op_begin<ConcatOp>()));
}

TEST_F(ShapeTrackerTest, MaximaDoNotGrow) {
  func::FuncOp function = parse(R"(
    func.func @f(%x: tensor<?xf32> {nn.dims = ["A"]}, %y: tensor<?xf32> {nn.dims = ["B"]})
        -> (tensor<?xf32>, tensor<?xf32>, tensor<?xf32>) {
      %0 = nn.binary add %x, %y : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      %1 = nn.binary add %0, %x : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      %2 = nn.binary add %y, %1 : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      return %0, %1, %2 : tensor<?xf32>, tensor<?xf32>, tensor<?xf32>
    })");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  SmallVector<OpFoldResult> first(*tracker.getDims(getReturned(function, 0)));
  SmallVector<OpFoldResult> second(*tracker.getDims(getReturned(function, 1)));
  SmallVector<OpFoldResult> third(*tracker.getDims(getReturned(function, 2)));
  EXPECT_TRUE(getBroadcastSizes(cast<Value>(first[0])));
  EXPECT_EQ(first, second);
  EXPECT_EQ(first, third);
}

TEST_F(ShapeTrackerTest, AMinimumBroadcastsToItsOperand) {
  func::FuncOp function = parse(R"(
    func.func @f(%x: tensor<?xf32> {nn.dims = ["A"]}, %table: tensor<512xf32>) -> tensor<?xf32> {
      %a = nn.dim_symbol "A"
      %c512 = arith.constant 512 : index
      %m = arith.minsi %a, %c512 : index
      %0 = nn.slice %table offsets [0] sizes [%m] strides [1] : tensor<512xf32> -> tensor<?xf32>
      %1 = nn.binary add %x, %0 : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      return %1 : tensor<?xf32>
    })");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  SmallVector<OpFoldResult> dims(*tracker.getDims(getReturned(function, 0)));
  EXPECT_TRUE(cast<Value>(dims[0]).getDefiningOp<DimSymbolOp>());
}

TEST_F(ShapeTrackerTest, TypesSayMoreThanOperands) {
  func::FuncOp function = parse(R"(
    func.func @f(%x: tensor<?xf32>, %n: index) -> tensor<?x3xf32> {
      %c3 = arith.constant 3 : index
      %0 = nn.reshape %x to [%n, %c3] : tensor<?xf32> -> tensor<?x3xf32>
      return %0 : tensor<?x3xf32>
    })");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  SmallVector<OpFoldResult> dims(*tracker.getDims(getReturned(function, 0)));
  EXPECT_EQ(dims[0], OpFoldResult(function.getArgument(1)));
  EXPECT_EQ(dims[1], OpFoldResult(builder.getIndexAttr(3)));
}

TEST_F(ShapeTrackerTest, StatedSizesWin) {
  func::FuncOp function = parse(R"(
    func.func @f(%x: tensor<?xf32>, %n: index) -> tensor<?xf32> {
      %0 = nn.unary exp %x : tensor<?xf32> -> tensor<?xf32>
      return %0 : tensor<?xf32>
    })");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  tracker.setDims(function.getArgument(0), {OpFoldResult(function.getArgument(1))});
  EXPECT_EQ((*tracker.getDims(getReturned(function, 0)))[0], OpFoldResult(function.getArgument(1)));
}

TEST_F(ShapeTrackerTest, UnknownOpsFail) {
  context.allowUnregisteredDialects();
  func::FuncOp function = parse(R"(
    func.func @f() -> tensor<?xf32> {
      %0 = "some.op"() : () -> tensor<?xf32>
      %1 = nn.unary exp %0 : tensor<?xf32> -> tensor<?xf32>
      return %1 : tensor<?xf32>
    })");
  ASSERT_TRUE(function);
  ShapeTracker tracker(builder);
  EXPECT_TRUE(failed(tracker.getDims(getReturned(function, 0))));
}

TEST_F(ShapeTrackerTest, DeepGraphsNeedNoStack) {
  func::FuncOp function = parse("func.func @f(%x: tensor<?xf32>) { return }");
  ASSERT_TRUE(function);
  Value x = function.getArgument(0);
  for (unsigned i = 0; i < 100000; ++i) {
    x = buildUnary(builder, builder.getUnknownLoc(), UnaryKind::Abs, x);
  }
  ShapeTracker tracker(builder);
  EXPECT_TRUE(succeeded(tracker.getDims(x)));
}

} // namespace
