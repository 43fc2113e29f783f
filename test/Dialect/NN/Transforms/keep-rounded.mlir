// RUN: lathe-opt %s --split-input-file --nn-keep-rounded | FileCheck %s

// 8 bits less their zero point are between -100 and 155.
// CHECK-LABEL: func @unsigned
// CHECK-DAG:     %[[LEAST:.*]] = arith.constant dense<-1.000000e+02> : tensor<f32>
// CHECK-DAG:     %[[MOST:.*]] = arith.constant dense<1.550000e+02> : tensor<f32>
// CHECK:         %[[R:.*]] = nn.unary round
// CHECK:         %[[G:.*]] = nn.compare gt %[[R]], %[[LEAST]]
// CHECK:         %[[A:.*]] = nn.select %[[G]], %[[R]], %[[LEAST]]
// CHECK:         %[[L:.*]] = nn.compare lt %[[A]], %[[MOST]]
// CHECK:         %[[B:.*]] = nn.select %[[L]], %[[A]], %[[MOST]]
// CHECK:         return %[[B]]
func.func @unsigned(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant dense<100.0> : tensor<f32>
  %code = arith.constant dense<100> : tensor<i32>
  %0 = nn.unary round %x : tensor<4x8xf32> -> tensor<4x8xf32>
  %1 = nn.binary add %0, %zero : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %2 = nn.cast %1 : tensor<4x8xf32> -> tensor<4x8xui8>
  %3 = nn.cast %2 : tensor<4x8xui8> -> tensor<4x8xi32>
  %4 = nn.binary sub %3, %code : tensor<4x8xi32>, tensor<i32> -> tensor<4x8xi32>
  %5 = nn.cast %4 : tensor<4x8xi32> -> tensor<4x8xf32>
  return %5 : tensor<4x8xf32>
}

// -----

// Code 0, which NaN becomes, is not the least of signed numbers.
// CHECK-LABEL: func @signed
// CHECK-DAG:     %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<f32>
// CHECK:         %[[R:.*]] = nn.unary round
// CHECK:         %[[E:.*]] = nn.compare eq %[[R]], %[[R]]
// CHECK:         nn.select %[[E]], %[[R]], %[[ZERO]]
// CHECK-COUNT-2: nn.select
func.func @signed(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.unary round %x : tensor<4x8xf32> -> tensor<4x8xf32>
  %1 = nn.cast %0 : tensor<4x8xf32> -> tensor<4x8xi8>
  %2 = nn.cast %1 : tensor<4x8xi8> -> tensor<4x8xf32>
  return %2 : tensor<4x8xf32>
}

// -----

// Integers that are stored, too, numbers that are not rounded, and another zero point.
// CHECK-LABEL: func @stays
// CHECK-NOT:     nn.select
func.func @stays(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xui8>, tensor<4xf32>, tensor<4xf32>) {
  %zero = arith.constant dense<100> : tensor<i32>
  %0 = nn.unary round %x : tensor<4xf32> -> tensor<4xf32>
  %1 = nn.cast %0 : tensor<4xf32> -> tensor<4xui8>
  %2 = nn.cast %1 : tensor<4xui8> -> tensor<4xf32>
  %3 = nn.cast %x : tensor<4xf32> -> tensor<4xi8>
  %4 = nn.cast %3 : tensor<4xi8> -> tensor<4xf32>
  %5 = nn.cast %0 : tensor<4xf32> -> tensor<4xui8>
  %6 = nn.cast %5 : tensor<4xui8> -> tensor<4xi32>
  %7 = nn.binary sub %6, %zero : tensor<4xi32>, tensor<i32> -> tensor<4xi32>
  %8 = nn.cast %7 : tensor<4xi32> -> tensor<4xf32>
  return %2, %1, %4, %8 : tensor<4xf32>, tensor<4xui8>, tensor<4xf32>, tensor<4xf32>
}
