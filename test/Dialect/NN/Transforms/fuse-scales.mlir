// RUN: lathe-opt %s --split-input-file --nn-fuse-scales | FileCheck %s

// A factor before a rounding goes into the scales, a weight, and the biases.
nn.weight private @w : tensor<64x8xi8> = dense<1>
nn.weight private @s : tensor<8xf32> = dense<2.0>
nn.weight private @b : tensor<8xf32> = dense<3.0>

// CHECK-LABEL: func @scales_and_biases
// CHECK-DAG:     %[[F:.*]] = arith.constant dense<4.000000e+00> : tensor<f32>
// CHECK-DAG:     %[[S:.*]] = nn.weight_use @s
// CHECK-DAG:     %[[B:.*]] = nn.weight_use @b
// CHECK:         %[[R:.*]] = nn.cast %{{.*}} : tensor<?x8xi32> -> tensor<?x8xf32>
// CHECK:         %[[SF:.*]] = nn.binary mul %[[S]], %[[F]]
// CHECK:         %[[M:.*]] = nn.binary mul %[[R]], %[[SF]] : tensor<?x8xf32>, tensor<8xf32>
// CHECK:         %[[BF:.*]] = nn.binary mul %[[B]], %[[F]]
// CHECK:         %[[A:.*]] = nn.binary add %[[M]], %[[BF]] : tensor<?x8xf32>, tensor<8xf32>
// CHECK:         nn.unary round %[[A]]
func.func @scales_and_biases(%x: tensor<?x64xui8>) -> tensor<?x8xui8> {
  %factor = arith.constant dense<4.0> : tensor<f32>
  %w = nn.weight_use @w : tensor<64x8xi8>
  %s = nn.weight_use @s : tensor<8xf32>
  %b = nn.weight_use @b : tensor<8xf32>
  %0 = nn.integer_matmul %x, %w : tensor<?x64xui8>, tensor<64x8xi8> -> tensor<?x8xi32>
  %1 = nn.cast %0 : tensor<?x8xi32> -> tensor<?x8xf32>
  %2 = nn.binary mul %1, %s : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  %3 = nn.binary add %2, %b : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  %4 = nn.binary mul %3, %factor : tensor<?x8xf32>, tensor<f32> -> tensor<?x8xf32>
  %5 = nn.unary round %4 : tensor<?x8xf32> -> tensor<?x8xf32>
  %6 = nn.cast %5 : tensor<?x8xf32> -> tensor<?x8xui8>
  return %6 : tensor<?x8xui8>
}

// -----

// Through a sum of two and a relu, which unsigned integers need not.
nn.weight private @w : tensor<64x8xi8> = dense<1>

// CHECK-LABEL: func @residual
// CHECK-DAG:     %[[S:.*]] = arith.constant dense<2.000000e+00> : tensor<f32>
// CHECK-DAG:     %[[T:.*]] = arith.constant dense<1.200000e+01> : tensor<f32>
// CHECK-DAG:     %[[M:.*]] = nn.binary mul %{{.*}}, %[[S]] : tensor<4x8xf32>
// CHECK-DAG:     %[[N:.*]] = nn.binary mul %{{.*}}, %[[T]] : tensor<4x8xf32>
// CHECK:         %[[A:.*]] = nn.binary add %[[M]], %[[N]]
// CHECK-NEXT:    nn.unary round %[[A]]
// CHECK-NOT:     nn.unary relu
func.func @residual(%x: tensor<4x64xui8>, %y: tensor<4x8xui8>) -> tensor<4x8xui8> {
  %half = arith.constant dense<0.5> : tensor<f32>
  %three = arith.constant dense<3.0> : tensor<f32>
  %factor = arith.constant dense<4.0> : tensor<f32>
  %w = nn.weight_use @w : tensor<64x8xi8>
  %0 = nn.integer_matmul %x, %w : tensor<4x64xui8>, tensor<64x8xi8> -> tensor<4x8xi32>
  %1 = nn.cast %0 : tensor<4x8xi32> -> tensor<4x8xf32>
  %2 = nn.binary mul %1, %half : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %3 = nn.cast %y : tensor<4x8xui8> -> tensor<4x8xf32>
  %4 = nn.binary mul %3, %three : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %5 = nn.binary add %2, %4 : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
  %6 = nn.unary relu %5 : tensor<4x8xf32> -> tensor<4x8xf32>
  %7 = nn.binary mul %6, %factor : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %8 = nn.unary round %7 : tensor<4x8xf32> -> tensor<4x8xf32>
  %9 = nn.cast %8 : tensor<4x8xf32> -> tensor<4x8xui8>
  return %9 : tensor<4x8xui8>
}

// -----

// What is read elsewhere, too, or comes from no exact sums, stays; and so does a relu before signed integers.
nn.weight private @w : tensor<64x8xi8> = dense<1>

// CHECK-LABEL: func @stays
// CHECK:         nn.binary mul %{{.*}} : tensor<4x8xf32>, tensor<f32>
// CHECK:         nn.unary relu
// CHECK:         nn.binary mul %{{.*}} : tensor<4x8xf32>, tensor<f32>
// CHECK:         nn.binary mul %{{.*}} : tensor<4x8xf32>, tensor<f32>
// CHECK:         nn.unary relu
// CHECK-NEXT:    nn.unary round
func.func @stays(%x: tensor<4x64xui8>, %y: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xui8>, tensor<4x8xi8>) {
  %half = arith.constant dense<0.5> : tensor<f32>
  %factor = arith.constant dense<4.0> : tensor<f32>
  %w = nn.weight_use @w : tensor<64x8xi8>
  %0 = nn.integer_matmul %x, %w : tensor<4x64xui8>, tensor<64x8xi8> -> tensor<4x8xi32>
  %1 = nn.cast %0 : tensor<4x8xi32> -> tensor<4x8xf32>
  %2 = nn.binary mul %1, %half : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %3 = nn.unary relu %2 : tensor<4x8xf32> -> tensor<4x8xf32>
  %4 = nn.binary mul %3, %factor : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %5 = nn.unary round %4 : tensor<4x8xf32> -> tensor<4x8xf32>
  %6 = nn.cast %5 : tensor<4x8xf32> -> tensor<4x8xui8>
  %7 = nn.binary mul %y, %factor : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %8 = nn.unary relu %7 : tensor<4x8xf32> -> tensor<4x8xf32>
  %9 = nn.unary round %8 : tensor<4x8xf32> -> tensor<4x8xf32>
  %10 = nn.cast %9 : tensor<4x8xf32> -> tensor<4x8xi8>
  return %3, %6, %10 : tensor<4x8xf32>, tensor<4x8xui8>, tensor<4x8xi8>
}
