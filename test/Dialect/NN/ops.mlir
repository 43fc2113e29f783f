// RUN: lathe-opt %s | lathe-opt | FileCheck %s
// RUN: lathe-opt %s --mlir-print-op-generic | lathe-opt | FileCheck %s

// CHECK-LABEL: func @dim_symbol
func.func @dim_symbol() -> (index, index, index) {
  // CHECK: nn.dim_symbol "S" min 1 max 512
  %s = nn.dim_symbol "S" min 1 max 512
  // CHECK: nn.dim_symbol "B" min 1
  %b = nn.dim_symbol "B" min 1
  // CHECK: nn.dim_symbol "N"
  %n = nn.dim_symbol "N"
  return %s, %b, %n : index, index, index
}
// CHECK: nn.weight private @w7 : tensor<4x2xf32> = dense_resource<w7> {onnx_name = "encoder.w"}
nn.weight private @w7 : tensor<4x2xf32> = dense_resource<w7> {onnx_name = "encoder.w"}
// CHECK: nn.weight private @q : tensor<4x2xf32> = dense<1.000000e+00> panel <16 x 1>
nn.weight private @q : tensor<4x2xf32> = dense<1.0> panel <16 x 1>
// CHECK: nn.weight private @qw : tensor<4x4xf32> = #nn.source<concat [@w7, @q] [1]>
nn.weight private @qw : tensor<4x4xf32> = #nn.source<concat [@w7, @q] [1]>

// CHECK-LABEL: func @weight_use
func.func @weight_use() -> tensor<4x2xf32> {
  // CHECK: nn.weight_use @w7 : tensor<4x2xf32>
  %w = nn.weight_use @w7 : tensor<4x2xf32>
  return %w : tensor<4x2xf32>
}

// CHECK-LABEL: func @pointwise
func.func @pointwise(%x: tensor<?x384xf32>, %bias: tensor<384xf32>, %ids: tensor<?x?xi64>, %id: tensor<i64>) {
  // CHECK: nn.unary gelu %{{.*}} : tensor<?x384xf32> -> tensor<?x384xf32>
  %0 = nn.unary gelu %x : tensor<?x384xf32> -> tensor<?x384xf32>
  // CHECK: nn.unary hard_sigmoid %{{.*}} alpha(2.000000e-01) beta(5.000000e-01) : tensor<?x384xf32>
  %1 = nn.unary hard_sigmoid %x alpha(0.2) beta(0.5) : tensor<?x384xf32> -> tensor<?x384xf32>
  // CHECK: nn.binary add %{{.*}}, %{{.*}} : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  %2 = nn.binary add %x, %bias : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  // CHECK: nn.compare eq %{{.*}}, %{{.*}} : tensor<?x?xi64>, tensor<i64> -> tensor<?x?xi1>
  %3 = nn.compare eq %ids, %id : tensor<?x?xi64>, tensor<i64> -> tensor<?x?xi1>
  // CHECK: nn.select %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x?xi1>, tensor<?x?xi64>, tensor<i64> -> tensor<?x?xi64>
  %4 = nn.select %3, %ids, %id : tensor<?x?xi1>, tensor<?x?xi64>, tensor<i64> -> tensor<?x?xi64>
  // CHECK: nn.cast %{{.*}} : tensor<?x?xi64> -> tensor<?x?xf32>
  %5 = nn.cast %ids : tensor<?x?xi64> -> tensor<?x?xf32>
  return
}
