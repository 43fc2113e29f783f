// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Register.h"
#include "lathe/Compiler/Table.h"
#include "lathe/Support/Error.h"
#include "lathe/abi.h"

#include "mlir/IR/OwningOpRef.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

using namespace mlir;
using namespace lathe;

namespace {

class DescribeTest : public testing::Test {
protected:
  DescribeTest() {
    DialectRegistry registry;
    registerDialects(registry);
    context.appendDialectRegistry(registry);
  }

  ModelDescription describe(llvm::StringRef text) {
    module = parseSourceString<ModuleOp>(text, &context);
    if (!module) {
      ADD_FAILURE() << "the test's module does not parse";
      return {};
    }
    llvm::Expected<ModelDescription> described = describeModel(*module);
    if (!described) {
      ADD_FAILURE() << llvm::toString(described.takeError());
      return {};
    }
    return std::move(*described);
  }

  ModelError failure(llvm::StringRef text) {
    module = parseSourceString<ModuleOp>(text, &context);
    llvm::Expected<ModelDescription> described = describeModel(*module);
    if (described) {
      ADD_FAILURE() << "there is no error";
      return ModelError(ErrorCode::E0901, "");
    }
    return takeModelErrors(described.takeError()).front();
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

TEST_F(DescribeTest, ValuesHaveNamesTypesAndSymbols) {
  ModelDescription model = describe(R"(
    func.func @main(%x: tensor<?x4xf32> {nn.name = "x", nn.dims = ["N", ""]},
                    %m: tensor<?x?xi1> {nn.name = "m", nn.dims = ["S", "N"]})
        -> (tensor<?x4xf32> {nn.name = "y"}) attributes {nn.bounds = {S = array<i64: 1, 512>}} {
      return %x : tensor<?x4xf32>
    }
  )");
  ASSERT_EQ(model.inputs.size(), 2u);
  EXPECT_EQ(model.inputs[0].name, "x");
  EXPECT_EQ(model.inputs[0].dtype, uint32_t(LATHE_FLOAT32));
  EXPECT_EQ(model.inputs[0].dims, std::vector<int64_t>({~0, 4}));
  EXPECT_EQ(model.inputs[1].dtype, uint32_t(LATHE_BOOL));
  EXPECT_EQ(model.inputs[1].dims, std::vector<int64_t>({~1, ~0}));
  ASSERT_EQ(model.symbols.size(), 2u);
  EXPECT_EQ(model.symbols[0].name, "N");
  EXPECT_EQ(model.symbols[1].name, "S");
  EXPECT_EQ(model.symbols[1].min, 1);
  EXPECT_EQ(model.symbols[1].max, 512);
  ASSERT_EQ(model.outputs.size(), 1u);
  EXPECT_EQ(model.outputs[0].name, "y");
  EXPECT_EQ(model.outputs[0].dims, std::vector<int64_t>({~0, 4}));
}

TEST_F(DescribeTest, ValuesWithoutANameAreNumbered) {
  ModelDescription model = describe(R"(
    func.func @main(%x: tensor<1xf32>, %y: tensor<1xui8>) -> tensor<1xui8> { return %y : tensor<1xui8> }
  )");
  EXPECT_EQ(model.inputs[1].name, "input1");
  EXPECT_EQ(model.outputs[0].name, "output0");
  EXPECT_EQ(model.outputs[0].dtype, uint32_t(LATHE_UINT8));
}

TEST_F(DescribeTest, AComputedSizeIsSaidToBeComputed) {
  ModelDescription model = describe(R"(
    func.func @main(%x: tensor<?xf32> {nn.dims = ["N"]}) -> tensor<?xf32> {
      %0 = nn.concat %x, %x axis(0) : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
      return %0 : tensor<?xf32>
    }
  )");
  EXPECT_EQ(model.outputs[0].dims, std::vector<int64_t>({LATHE_DIM_COMPUTED}));
}

TEST_F(DescribeTest, TheModulesAttributesAreTheModels) {
  ModelDescription model = describe(R"(
    module attributes {lathe.graph_name = "g", lathe.fingerprint = "00000000000000ab",
                       lathe.metadata = {author = "me"}, lathe.weight_bytes = 128 : i64} {
      func.func @main() { return }
      func.func private @k(%a: memref<?xi8>) attributes {kernel.root = "rows"} { return }
    }
  )");
  EXPECT_EQ(model.name, "g");
  EXPECT_EQ(model.fingerprint, 0xabu);
  EXPECT_EQ(model.tableName(), "lathe_model_00000000000000ab");
  EXPECT_EQ(model.weightBytes, 128u);
  ASSERT_EQ(model.metadata.size(), 1u);
  EXPECT_EQ(model.metadata[0], std::make_pair(std::string("author"), std::string("me")));
  ASSERT_EQ(model.kernels.size(), 1u);
  EXPECT_EQ(model.kernels[0].name, "k");
}

TEST_F(DescribeTest, AKernelNamesItsNodes) {
  ModelDescription model = describe(R"(
    #a = loc(fused<{domain = "", graph = "", index = 0, node = "first", op = "Exp", opset = 17}>["m.onnx"])
    #b = loc(fused<{domain = "", graph = "", index = 1, node = "second", op = "Add", opset = 17}>["m.onnx"])
    module {
      func.func @main() { return }
      func.func private @k(%a: memref<?xi8>) attributes {kernel.root = "rows"} { return } loc(fused[#a, #b])
    }
  )");
  ASSERT_EQ(model.kernels.size(), 1u);
  EXPECT_EQ(model.kernels[0].nodes, "first\nsecond");
}

TEST_F(DescribeTest, AModuleWithoutMainIsRefused) {
  EXPECT_EQ(failure("func.func @other() { return }").message, "the module has no function @main");
}

TEST_F(DescribeTest, AFingerprintThatIsNoNumberIsRefused) {
  EXPECT_EQ(failure(R"(
    module attributes {lathe.fingerprint = "xyz"} { func.func @main() { return } }
  )")
                .message,
            "lathe.fingerprint is \"xyz\", expects 16 hexadecimal digits");
}

TEST_F(DescribeTest, ATypeThatNoArtifactTakesIsRefused) {
  ModelError error = failure("func.func @main(%x: tensor<2xcomplex<f32>>) { return }");
  EXPECT_EQ(error.code, ErrorCode::E0401);
  EXPECT_EQ(error.message,
            "value \"input0\" has type tensor<2xcomplex<f32>>, which an artifact cannot take or give");
}

TEST_F(DescribeTest, ADynamicSizeWithoutASymbolIsRefused) {
  EXPECT_EQ(failure("func.func @main(%x: tensor<?xf32>) { return }").message,
            "dimension 0 of input \"input0\" is dynamic and has no symbol");
}

} // namespace
