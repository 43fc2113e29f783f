// RUN: lathe-opt %s --kernel-form --kernel-outline | FileCheck %s

// Equal groups share a function; a size is given as an index.
// CHECK-LABEL: func.func @equal_groups
// CHECK:         %[[N:.*]] = nn.dim_symbol "N"
// CHECK:         %[[Y:.*]] = kernel.launch @[[K:matmul_[0-9]+]](%{{.*}}, %{{.*}}) sizes(%[[N]]) shapes [array<i64: -1, 4>, array<i64: 4, 4>, array<i64: -1, 4>]
// CHECK-NEXT:    kernel.launch @[[K]](%[[Y]], %{{.*}}) sizes(%[[N]])
func.func @equal_groups(%x: tensor<?x4xf32> {nn.dims = ["N", ""]}, %v: tensor<4x4xf32>, %w: tensor<4x4xf32>)
    -> tensor<?x4xf32> {
  %0 = nn.matmul %x, %v : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %1 = nn.matmul %0, %w : tensor<?x4xf32>, tensor<4x4xf32> -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// Groups that differ in an attribute do not.
// CHECK-LABEL: func.func @different_kinds
// CHECK:         kernel.launch @[[EXP:pointwise_[0-9]+]]
// CHECK-NOT:     @[[EXP]]
// CHECK:         kernel.launch @pointwise_
func.func @different_kinds(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>) {
  %0 = nn.unary exp %x : tensor<8xf32> -> tensor<8xf32>
  %1 = nn.unary tanh %x : tensor<8xf32> -> tensor<8xf32>
  return %0, %1 : tensor<8xf32>, tensor<8xf32>
}

// CHECK:       func.func private @matmul_0(%[[X:.*]]: memref<?xi8>, %[[W:.*]]: memref<?xi8>, %[[Y:.*]]: memref<?xi8>, %[[N:.*]]: index) attributes {kernel.root = "matmul"}
// CHECK-NEXT:    %[[A:.*]] = kernel.input %[[X]][%[[N]]] : memref<?xi8> -> tensor<?x4xf32>
// CHECK-NEXT:    %[[B:.*]] = kernel.input %[[W]][] : memref<?xi8> -> tensor<4x4xf32>
// CHECK-NEXT:    %[[C:.*]] = nn.matmul %[[A]], %[[B]]
// CHECK-NEXT:    kernel.output %[[C]], %[[Y]][%[[N]]] : tensor<?x4xf32>, memref<?xi8>
// CHECK-NOT:   func.func private @matmul_1
