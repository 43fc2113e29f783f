// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --verify-diagnostics | FileCheck %s

// The file's bytes become components: each column's stand side by side there, each row's here.
// CHECK:      nn.weight private @b_packed : !pack.tensor<64x3xf32, #pack.int4<group = 32, zeros = true, scales = f32>> computed {
// CHECK-DAG:    %[[B:.*]] = nn.weight_use @b : tensor<3x2x16xui8>
// CHECK-DAG:    %[[ROWS:.*]] = nn.reshape %[[B]] to [3, 32]
// CHECK-DAG:    %[[CODES:.*]] = nn.transpose %[[ROWS]] perm([1, 0]) : tensor<3x32xui8> -> tensor<32x3xui8>
// CHECK-DAG:    %[[S:.*]] = nn.weight_use @s : tensor<6xf32>
// CHECK-DAG:    %[[SR:.*]] = nn.reshape %[[S]] to [3, 2]
// CHECK-DAG:    %[[SCALES:.*]] = nn.transpose %[[SR]] perm([1, 0]) : tensor<3x2xf32> -> tensor<2x3xf32>
// CHECK-DAG:    nn.binary shift_right
// CHECK:        pack.compose %[[CODES]], %[[SCALES]], %{{.*}} : (tensor<32x3xui8>, tensor<2x3xf32>, tensor<2x3xui8>)
// CHECK:      } {onnx_name = "layer.weight"}
nn.weight private @b : tensor<3x2x16xui8> = dense<1> {onnx_name = "layer.weight"}
nn.weight private @s : tensor<6xf32> = dense<1.0>
// CHECK-LABEL: func.func @main
// CHECK:         %[[P:.*]] = nn.weight_use @b_packed
// CHECK:         %[[M:.*]] = pack.decode %[[P]] {{.*}} -> tensor<64x3xf32>
// CHECK:         nn.matmul %{{.*}}, %[[M]]
func.func @main(%a: tensor<5x64xf32> {lathe.name = "a"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %b = nn.weight_use @b : tensor<3x2x16xui8>
  %s = nn.weight_use @s : tensor<6xf32>
  %z = arith.constant dense<7> : tensor<3xui8>
  %y = onnx.node "MatMulNBits"(%a, %b, %s, %z) domain "com.microsoft" version 1 {K = 64 : i64, N = 3 : i64, block_size = 32 : i64} outputs ["y"] : (tensor<5x64xf32>, tensor<3x2x16xui8>, tensor<6xf32>, tensor<3xui8>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// A constant that is no weight becomes part of one.
// CHECK: nn.weight private @packed : !pack.tensor<16x1xf32, #pack.int8_groups<group = 16>> computed {
// CHECK-LABEL: func.func @main
// CHECK:         pack.decode
func.func @main(%a: tensor<5x16xf32> {lathe.name = "a"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %b = arith.constant dense<1> : tensor<1x1x16xui8>
  %s = arith.constant dense<1.0> : tensor<1xf16>
  %y = onnx.node "MatMulNBits"(%a, %b, %s) domain "com.microsoft" version 1 {K = 16 : i64, N = 1 : i64, bits = 8 : i64, block_size = 16 : i64} outputs ["y"] : (tensor<5x16xf32>, tensor<1x1x16xui8>, tensor<1xf16>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// CHECK-LABEL: func.func @main
// CHECK-NOT:     pack.
func.func @main(%a: tensor<5x32xf32> {lathe.name = "a"}, %b: tensor<1x1x16xui8> {lathe.name = "b"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %s = arith.constant dense<1.0> : tensor<1xf32>
  // expected-remark@+1 {{missed: the weights of MatMulNBits are stored as numbers: B is no constant}}
  %y = onnx.node "MatMulNBits"(%a, %b, %s) domain "com.microsoft" version 1 {K = 32 : i64, N = 1 : i64, block_size = 32 : i64} outputs ["y"] : (tensor<5x32xf32>, tensor<1x1x16xui8>, tensor<1xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%a: tensor<5x40xf32> {lathe.name = "a"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %b = arith.constant dense<1> : tensor<1x2x16xui8>
  %s = arith.constant dense<1.0> : tensor<2xf32>
  // expected-remark@+1 {{missed: the weights of MatMulNBits are stored as numbers: the last block of 32 rows has 8}}
  %y = onnx.node "MatMulNBits"(%a, %b, %s) domain "com.microsoft" version 1 {K = 40 : i64, N = 1 : i64, block_size = 32 : i64} outputs ["y"] : (tensor<5x40xf32>, tensor<1x2x16xui8>, tensor<2xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%a: tensor<5x32xf32> {lathe.name = "a"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %b = arith.constant dense<1> : tensor<1x1x16xui8>
  %s = arith.constant dense<1.0> : tensor<1xf32>
  %z = arith.constant dense<1.5> : tensor<1xf32>
  // expected-remark@+1 {{missed: the weights of MatMulNBits are stored as numbers: zero points are f32, formats have codes}}
  %y = onnx.node "MatMulNBits"(%a, %b, %s, %z) domain "com.microsoft" version 1 {K = 32 : i64, N = 1 : i64, block_size = 32 : i64} outputs ["y"] : (tensor<5x32xf32>, tensor<1x1x16xui8>, tensor<1xf32>, tensor<1xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%a: tensor<5x32xbf16> {lathe.name = "a"}) -> (tensor<*xbf16> {lathe.name = "y"}) {
  %b = arith.constant dense<1> : tensor<1x1x16xui8>
  %s = arith.constant dense<1.0> : tensor<1xbf16>
  // expected-remark@+1 {{missed: the weights of MatMulNBits are stored as numbers: scales are bf16, formats have f32 or f16}}
  %y = onnx.node "MatMulNBits"(%a, %b, %s) domain "com.microsoft" version 1 {K = 32 : i64, N = 1 : i64, block_size = 32 : i64} outputs ["y"] : (tensor<5x32xbf16>, tensor<1x1x16xui8>, tensor<1xbf16>) -> tensor<*xbf16>
  return %y : tensor<*xbf16>
}

// -----

func.func @main(%a: tensor<5x32xf32> {lathe.name = "a"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %b = arith.constant dense<1> : tensor<1x2x8xui8>
  %s = arith.constant dense<1.0> : tensor<2xf32>
  %g = arith.constant dense<0> : tensor<32xi32>
  %none = onnx.none
  // expected-remark@+1 {{missed: the weights of MatMulNBits are stored as numbers: g_idx puts their rows into groups of its own}}
  %y = onnx.node "MatMulNBits"(%a, %b, %s, %none, %g) domain "com.microsoft" version 1 {K = 32 : i64, N = 1 : i64, block_size = 16 : i64} outputs ["y"] : (tensor<5x32xf32>, tensor<1x2x8xui8>, tensor<2xf32>, none, tensor<32xi32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
