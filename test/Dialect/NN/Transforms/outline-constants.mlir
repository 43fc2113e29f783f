// RUN: lathe-opt %s --nn-outline-constants | FileCheck %s

// CHECK-DAG: nn.weight private @[[A:.*]] : tensor<2xf32> = dense<[1.000000e+00, 2.000000e+00]>
// CHECK-DAG: nn.weight private @[[B:.*]] : tensor<2xi64> = dense<[1, 2]>
// CHECK-NOT: nn.weight private

// CHECK-LABEL: func.func @equal_constants
// CHECK:         nn.weight_use @[[A]]
// CHECK:         nn.weight_use @[[A]]
func.func @equal_constants() -> (tensor<2xf32>, tensor<2xf32>) {
  %0 = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %1 = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  return %0, %1 : tensor<2xf32>, tensor<2xf32>
}

// CHECK-LABEL: func.func @other_type
// CHECK:         nn.weight_use @[[B]]
func.func @other_type() -> tensor<2xi64> {
  %0 = arith.constant dense<[1, 2]> : tensor<2xi64>
  return %0 : tensor<2xi64>
}

// CHECK-LABEL: func.func @splats_and_numbers_stay
// CHECK-NOT:     nn.weight_use
// CHECK:         return
func.func @splats_and_numbers_stay() -> (tensor<2xf32>, tensor<f32>, index) {
  %0 = arith.constant dense<1.0> : tensor<2xf32>
  %1 = arith.constant dense<2.0> : tensor<f32>
  %2 = arith.constant 3 : index
  return %0, %1, %2 : tensor<2xf32>, tensor<f32>, index
}
