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
// CHECK: nn.weight private @g : tensor<2x1x4xf32> = dense<1.000000e+00> panel <32 x 1, groups 4 joined 2>
nn.weight private @g : tensor<2x1x4xf32> = dense<1.0> panel <32 x 1, groups 4 joined 2>
// CHECK:      nn.weight private @qw : tensor<4x4xf32> computed {
// CHECK-NEXT:   %[[A:.*]] = nn.weight_use @w7 : tensor<4x2xf32>
// CHECK-NEXT:   %[[B:.*]] = nn.weight_use @q : tensor<4x2xf32>
// CHECK-NEXT:   %[[C:.*]] = nn.concat %[[A]], %[[B]] axis(1)
// CHECK-NEXT:   nn.yield %[[C]] : tensor<4x4xf32>
// CHECK-NEXT: } panel <16 x 1>
nn.weight private @qw : tensor<4x4xf32> computed {
  %a = nn.weight_use @w7 : tensor<4x2xf32>
  %b = nn.weight_use @q : tensor<4x2xf32>
  %c = nn.concat %a, %b axis(1) : tensor<4x2xf32>, tensor<4x2xf32> -> tensor<4x4xf32>
  nn.yield %c : tensor<4x4xf32>
} panel <16 x 1>

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
  // CHECK: nn.cast %{{.*}} : tensor<?x384xf32> -> tensor<?x384xf4E2M1FN>
  %low = nn.cast %x : tensor<?x384xf32> -> tensor<?x384xf4E2M1FN>
  // CHECK: nn.cast %{{.*}} saturate(false) rounding(nearest) : tensor<?x384xf32> -> tensor<?x384xf8E8M0FNU>
  %power = nn.cast %x saturate(false) rounding(nearest) : tensor<?x384xf32> -> tensor<?x384xf8E8M0FNU>
  // CHECK: nn.cast %{{.*}} : tensor<?x?xi64> -> tensor<?x?xf32>
  %5 = nn.cast %ids : tensor<?x?xi64> -> tensor<?x?xf32>
  return
}

// CHECK-LABEL: func @reductions
func.func @reductions(%x: tensor<?x384xf32>, %h: tensor<?x768xf16>, %s: tensor<768xf16>, %b: tensor<384xf32>) {
  // CHECK: nn.reduce sum %{{.*}} axes([1]) keep_dims(true) : tensor<?x384xf32> -> tensor<?x1xf32>
  %0 = nn.reduce sum %x axes([1]) keep_dims(true) : tensor<?x384xf32> -> tensor<?x1xf32>
  // CHECK: nn.arg_reduce max %{{.*}} axis(1) keep_dims(false) select_last(false) : tensor<?x384xf32> -> tensor<?xi64>
  %1 = nn.arg_reduce max %x axis(1) keep_dims(false) select_last(false) : tensor<?x384xf32> -> tensor<?xi64>
  // CHECK: nn.softmax %{{.*}} axis(1) : tensor<?x384xf32> -> tensor<?x384xf32>
  %2 = nn.softmax %x axis(1) : tensor<?x384xf32> -> tensor<?x384xf32>
  // CHECK: nn.softmax log %{{.*}} axis(0) : tensor<?x384xf32> -> tensor<?x384xf32>
  %3 = nn.softmax log %x axis(0) : tensor<?x384xf32> -> tensor<?x384xf32>
  // CHECK: nn.layer_norm %{{.*}}, %{{.*}}, %{{.*}} axis(1) epsilon(9.99999996E-13) : tensor<?x384xf32>, tensor<384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  %4 = nn.layer_norm %x, %b, %b axis(1) epsilon(1.0e-12)
    : tensor<?x384xf32>, tensor<384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  // CHECK: nn.layer_norm %{{.*}}, %{{.*}} axis(1) epsilon(9.99999996E-13) : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  %5 = nn.layer_norm %x, %b axis(1) epsilon(1.0e-12) : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  // CHECK: nn.rms_norm %{{.*}}, %{{.*}} axis(1) epsilon(9.99999974E-6) : tensor<?x768xf16>, tensor<768xf16> -> tensor<?x768xf16>
  %6 = nn.rms_norm %h, %s axis(1) epsilon(1.0e-5) : tensor<?x768xf16>, tensor<768xf16> -> tensor<?x768xf16>
  return
}

// CHECK-LABEL: func @products
func.func @products(%x: tensor<?x?x384xf32>, %w: tensor<384x1536xf32>, %i: tensor<?x512x64xf32>,
                    %f: tensor<5x64x128xf32>, %q: tensor<?x?x12x32xf32>, %m: tensor<?x1x1x?xf32>) {
  // CHECK: nn.matmul %{{.*}}, %{{.*}} : tensor<?x?x384xf32>, tensor<384x1536xf32> -> tensor<?x?x1536xf32>
  %0 = nn.matmul %x, %w : tensor<?x?x384xf32>, tensor<384x1536xf32> -> tensor<?x?x1536xf32>
  // CHECK: nn.conv %{{.*}}, %{{.*}} strides([1]) pads([0, 0]) dilations([1]) groups(1) : tensor<?x512x64xf32>, tensor<5x64x128xf32> -> tensor<?x508x128xf32>
  %1 = nn.conv %i, %f strides([1]) pads([0, 0]) dilations([1]) groups(1)
    : tensor<?x512x64xf32>, tensor<5x64x128xf32> -> tensor<?x508x128xf32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} mask(%{{.*}}) scale(1.250000e-01) : tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x1x1x?xf32> -> tensor<?x?x12x32xf32>
  %2 = nn.attention %q, %q, %q mask(%m) scale(0.125)
    : tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x1x1x?xf32>
    -> tensor<?x?x12x32xf32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} scale(1.250000e-01) softcap(3.000000e+01) causal guard_empty : tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32> -> tensor<?x?x12x32xf32>
  %3 = nn.attention %q, %q, %q scale(0.125) softcap(30.0) causal guard_empty
    : tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32> -> tensor<?x?x12x32xf32>
  return
}

// CHECK-LABEL: func @data_movement
func.func @data_movement(%x: tensor<?x?x384xf32>, %h: tensor<?x?x12x32xf32>, %m: tensor<?x1x1x?xi1>,
                         %t: tensor<?x1152xf32>, %table: tensor<30522x384xf32>, %ids: tensor<?x?xi64>,
                         %mask: tensor<?x?xi1>, %tuples: tensor<?x?x2xi64>, %i: tensor<i64>, %B: index, %S: index) {
  // CHECK: nn.reshape %{{.*}} to [%{{.*}}, %{{.*}}, 12, 32] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %0 = nn.reshape %x to [%B, %S, 12, 32] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  // CHECK: nn.transpose %{{.*}} perm([0, 2, 1, 3]) : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  %1 = nn.transpose %h perm([0, 2, 1, 3]) : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  // CHECK: nn.expand %{{.*}} to [%{{.*}}, 1, %{{.*}}, %{{.*}}] : tensor<?x1x1x?xi1> -> tensor<?x1x?x?xi1>
  %2 = nn.expand %m to [%B, 1, %S, %S] : tensor<?x1x1x?xi1> -> tensor<?x1x?x?xi1>
  // CHECK: nn.slice %{{.*}} offsets [0, %{{.*}}] sizes [%{{.*}}, 384] strides [1, -1] : tensor<?x1152xf32> -> tensor<?x384xf32>
  %3 = nn.slice %t offsets [0, %S] sizes [%B, 384] strides [1, -1] : tensor<?x1152xf32> -> tensor<?x384xf32>
  // CHECK: nn.concat %{{.*}}, %{{.*}} axis(1) : tensor<?x1152xf32>, tensor<?x384xf32> -> tensor<?x1536xf32>
  %4 = nn.concat %t, %3 axis(1) : tensor<?x1152xf32>, tensor<?x384xf32> -> tensor<?x1536xf32>
  // CHECK: nn.gather %{{.*}}, %{{.*}} axis(0) : tensor<30522x384xf32>, tensor<?x?xi64> -> tensor<?x?x384xf32>
  %5 = nn.gather %table, %ids axis(0) : tensor<30522x384xf32>, tensor<?x?xi64> -> tensor<?x?x384xf32>
  // CHECK: nn.gather_nd %{{.*}}, %{{.*}} batch_dims(0) : tensor<?x?xi1>, tensor<?x?x2xi64> -> tensor<?x?xi1>
  %6 = nn.gather_nd %mask, %tuples batch_dims(0) : tensor<?x?xi1>, tensor<?x?x2xi64> -> tensor<?x?xi1>
  // CHECK: nn.range %{{.*}}, %{{.*}} size %{{.*}} : tensor<i64>, tensor<i64> -> tensor<?xi64>
  %7 = nn.range %i, %i size %S : tensor<i64>, tensor<i64> -> tensor<?xi64>
  // CHECK: nn.from_scalars %{{.*}}, %{{.*}} : tensor<2xi64>
  %8 = nn.from_scalars %B, %S : tensor<2xi64>
  return
}

func.func private @layer0(tensor<?x384xf32>, index) -> tensor<?x384xf32>

// CHECK-LABEL: func @layers
func.func @layers(%x: tensor<?x384xf32>, %B: index) -> tensor<?x384xf32> {
  // CHECK: nn.layer_call @layer0 row 3(%{{.*}}, %{{.*}}) : (tensor<?x384xf32>, index) -> tensor<?x384xf32>
  %0 = nn.layer_call @layer0 row 3(%x, %B) : (tensor<?x384xf32>, index) -> tensor<?x384xf32>
  return %0 : tensor<?x384xf32>
}

{-#
  dialect_resources: { builtin: { w7: "0x040000000000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f" } }
#-}
