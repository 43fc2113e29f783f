// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --canonicalize | FileCheck %s

// The operators of com.microsoft become what their standard twins become.

// The sum is normalized as it is, and rounded as a result only.
// CHECK-LABEL: func.func @main
// CHECK:         %[[S:.*]] = nn.binary add %{{.*}}, %{{.*}} : tensor<2x3x8xf32>, tensor<2x3x8xf32> -> tensor<2x3x8xf32>
// CHECK-DAG:     %[[R:.*]] = nn.cast %[[S]] : tensor<2x3x8xf32> -> tensor<2x3x8xf16>
// CHECK-DAG:     %[[N:.*]] = nn.rms_norm %[[S]], %{{.*}} axis(2)
// CHECK:         %[[Y:.*]] = nn.cast %[[N]]
// CHECK:         return %[[Y]], %[[R]]
func.func @main(%x: tensor<2x3x8xf16> {lathe.name = "x"}, %s: tensor<2x3x8xf16> {lathe.name = "s"},
                %g: tensor<8xf16> {lathe.name = "g"}) -> (tensor<*xf16>, tensor<*xf16>) {
  %y:4 = onnx.node "SkipSimplifiedLayerNormalization"(%x, %s, %g) domain "com.microsoft" version 1 {}
    outputs ["y", "", "", "sum"]
    : (tensor<2x3x8xf16>, tensor<2x3x8xf16>, tensor<8xf16>) -> (tensor<*xf16>, none, none, tensor<*xf16>)
  return %y#0, %y#3 : tensor<*xf16>, tensor<*xf16>
}

// -----

// CHECK-LABEL: func.func @main
// CHECK:         %[[B:.*]] = nn.binary add
// CHECK:         nn.unary gelu %[[B]]
func.func @main(%x: tensor<2x8xf32> {lathe.name = "x"}, %b: tensor<8xf32> {lathe.name = "b"}) -> tensor<*xf32> {
  %y = onnx.node "BiasGelu"(%x, %b) domain "com.microsoft" version 1 {} outputs ["y"]
    : (tensor<2x8xf32>, tensor<8xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// What is stored [rows, batch, columns] is brought into order first.
// CHECK-LABEL: func.func @main
// CHECK:         %[[A:.*]] = nn.transpose %{{.*}} perm([1, 0, 2]) : tensor<3x2x4xf32> -> tensor<2x3x4xf32>
// CHECK:         %[[B:.*]] = nn.transpose %{{.*}} perm([0, 2, 1]) : tensor<2x5x4xf32> -> tensor<2x4x5xf32>
// CHECK:         nn.matmul %[[A]], %[[B]]
func.func @main(%x: tensor<3x2x4xf32> {lathe.name = "x"}, %w: tensor<2x5x4xf32> {lathe.name = "w"}) -> tensor<*xf32> {
  %y = onnx.node "FusedMatMul"(%x, %w) domain "com.microsoft" version 1 {transBatchA = 1 : i64, transB = 1 : i64}
    outputs ["y"] : (tensor<3x2x4xf32>, tensor<2x5x4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Channels that are last stay there: nothing is transposed but the filter.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     tensor<1x3x5x6xf32>
// CHECK:         %[[C:.*]] = nn.conv %{{.*}} : tensor<1x5x6x3xf32>, tensor<2x2x3x4xf32> -> tensor<1x4x5x4xf32>
// CHECK:         nn.unary relu
func.func @main(%x: tensor<1x5x6x3xf32> {lathe.name = "x"}, %w: tensor<4x3x2x2xf32> {lathe.name = "w"}) -> tensor<*xf32> {
  %y = onnx.node "NhwcFusedConv"(%x, %w) domain "com.microsoft" version 1 {activation = "Relu"} outputs ["y"]
    : (tensor<1x5x6x3xf32>, tensor<4x3x2x2xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// One product makes queries, keys and values; a mask of lengths hides keys by an addend, and causality needs no mask.
// CHECK-LABEL: func.func @main
// CHECK-DAG:     %[[P:.*]] = nn.matmul
// CHECK-DAG:     %[[K:.*]] = nn.compare lt %{{.*}}, %{{.*}} : tensor<1x1x1x3xi64>, tensor<2x1x1x1xi64>
// CHECK-DAG:     %[[M:.*]] = nn.select %[[K]]
// CHECK:         nn.attention %{{.*}}, %{{.*}}, %{{.*}} mask(%[[M]]) scale(5.000000e-01) causal
func.func @main(%x: tensor<2x3x10xf32> {lathe.name = "x"}, %w: tensor<10x24xf32> {lathe.name = "w"},
                %m: tensor<2xi32> {lathe.name = "m"}) -> tensor<*xf32> {
  %b = onnx.none
  %y = onnx.node "Attention"(%x, %w, %b, %m) domain "com.microsoft" version 1
    {num_heads = 2 : i64, unidirectional = 1 : i64} outputs ["y"]
    : (tensor<2x3x10xf32>, tensor<10x24xf32>, none, tensor<2xi32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// New keys are written where each row has got to, and a query sees those before it.
// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: nn.update_cache
// CHECK:         %[[M:.*]] = nn.compare le %{{.*}}, %{{.*}} : tensor<1x1x1x9xi64>, tensor<2x1x1x1xi64>
// CHECK:         nn.attention %{{.*}}, %{{.*}}, %{{.*}} mask(%[[M]]) scale({{.*}}) guard_empty
func.func @main(%q: tensor<2x1x32xf32> {lathe.name = "q"}, %k: tensor<2x1x16xf32> {lathe.name = "k"},
                %v: tensor<2x1x16xf32> {lathe.name = "v"}, %pk: tensor<2x2x9x8xf32> {lathe.name = "pk"},
                %pv: tensor<2x2x9x8xf32> {lathe.name = "pv"}, %n: tensor<2xi32> {lathe.name = "n"}) -> tensor<*xf32> {
  %t = arith.constant dense<9> : tensor<i32>
  %y = onnx.node "GroupQueryAttention"(%q, %k, %v, %pk, %pv, %n, %t) domain "com.microsoft" version 1
    {num_heads = 4 : i64, kv_num_heads = 2 : i64} outputs ["y"]
    : (tensor<2x1x32xf32>, tensor<2x1x16xf32>, tensor<2x1x16xf32>, tensor<2x2x9x8xf32>, tensor<2x2x9x8xf32>,
       tensor<2xi32>, tensor<i32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
