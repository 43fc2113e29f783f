// RUN: lathe-opt %s --kernel-form --kernel-outline | FileCheck %s
// RUN: lathe-opt %s --kernel-form --kernel-outline --emit-cpu-kernels=target=x86-64-v4 | FileCheck %s --check-prefix=EMIT

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

// A kernel of rows is told that a size is what two others broadcast to: only so it knows that all that it computes has the
// shape of its rows.
// CHECK-LABEL: func.func @related_sizes
// CHECK-DAG:     %[[A:.*]] = nn.dim_symbol "A"
// CHECK-DAG:     %[[B:.*]] = nn.dim_symbol "B"
// CHECK-DAG:     %[[A1:.*]] = arith.cmpi eq, %[[A]], %c1
// CHECK-DAG:     %[[B1:.*]] = arith.cmpi eq, %[[B]], %c1
// CHECK-DAG:     %[[BA:.*]] = arith.select %[[B1]], %[[A]], %[[B]]
// CHECK-DAG:     %[[AB:.*]] = arith.select %[[A1]], %[[B]], %[[A]]
// CHECK:         %[[T:.*]] = kernel.launch @pointwise_
// CHECK-NEXT:    kernel.launch @rows_0(%{{.*}}, %{{.*}}, %[[T]]) sizes(%[[A]], %[[B]], %[[BA]], %[[AB]])
// CHECK-NEXT:    return
func.func @related_sizes(%x: tensor<?x4xf32> {nn.dims = ["A", ""]}, %m: tensor<?x4xf32> {nn.dims = ["B", ""]})
    -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %0 = nn.binary add %m, %x : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  %1 = nn.binary mul %x, %m : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  %2 = nn.softmax %1 axis(1) : tensor<?x4xf32> -> tensor<?x4xf32>
  %3 = nn.binary mul %2, %0 : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %0, %3 : tensor<?x4xf32>, tensor<?x4xf32>
}

// The same of a minimum, which broadcasts to what it is a minimum of; that is given to the kernel, too.
// CHECK-LABEL: func.func @related_minimum
// CHECK:         %[[A:.*]] = nn.dim_symbol "A"
// CHECK-NEXT:    %[[N:.*]] = arith.minui %[[A]], %{{.*}}
// CHECK-NEXT:    %[[S:.*]] = kernel.launch @rows_1(%{{.*}}) sizes(%[[N]], %[[A]])
// CHECK-NEXT:    kernel.launch @rows_2(%{{.*}}, %[[S]]) sizes(%[[A]], %[[N]])
// CHECK-NEXT:    return
func.func @related_minimum(%x: tensor<?x4xf32> {nn.dims = ["A", ""]}, %v: tensor<4x4xf32>) -> tensor<?x4xf32> {
  %c9 = arith.constant 9 : index
  %A = nn.dim_symbol "A"
  %n = arith.minui %A, %c9 : index
  %0 = nn.expand %v to [%n, 4, 4] : tensor<4x4xf32> -> tensor<?x4x4xf32>
  %1 = nn.reduce sum %0 axes([1]) keep_dims(false) : tensor<?x4x4xf32> -> tensor<?x4xf32>
  %2 = nn.softmax %x axis(1) : tensor<?x4xf32> -> tensor<?x4xf32>
  %3 = nn.binary mul %2, %1 : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %3 : tensor<?x4xf32>
}

// CHECK:       func.func private @matmul_0(%[[X:.*]]: memref<?xi8>, %[[W:.*]]: memref<?xi8>, %[[Y:.*]]: memref<?xi8>, %[[N:.*]]: index) attributes {kernel.root = "matmul"}
// CHECK-NEXT:    %[[A:.*]] = kernel.input %[[X]][%[[N]]] : memref<?xi8> -> tensor<?x4xf32>
// CHECK-NEXT:    %[[B:.*]] = kernel.input %[[W]][] : memref<?xi8> -> tensor<4x4xf32>
// CHECK-NEXT:    %[[C:.*]] = nn.matmul %[[A]], %[[B]]
// CHECK-NEXT:    kernel.output %[[C]], %[[Y]][%[[N]]] : tensor<?x4xf32>, memref<?xi8>
// CHECK-NOT:   func.func private @matmul_1

// CHECK:       func.func private @rows_0({{.*}}, %[[A:.*]]: index, %[[B:.*]]: index, %{{.*}}: index, %{{.*}}: index)
// CHECK-DAG:     %[[A1:.*]] = arith.cmpi eq, %[[A]], %c1
// CHECK-DAG:     %[[B1:.*]] = arith.cmpi eq, %[[B]], %c1
// CHECK-DAG:     %[[BA:.*]] = arith.select %[[B1]], %[[A]], %[[B]]
// CHECK-DAG:     %[[AB:.*]] = arith.select %[[A1]], %[[B]], %[[A]]
// CHECK:         kernel.input %{{.*}}[%[[BA]]]
// CHECK:         nn.softmax
// CHECK-NEXT:    nn.binary mul
// CHECK-NEXT:    kernel.output %{{.*}}[%[[AB]]]
// EMIT:        func.func private @rows_0(
// EMIT:          arith.divf

// CHECK:       func.func private @rows_2({{.*}}, %[[A:.*]]: index, %{{.*}}: index)
// CHECK-NEXT:    %[[C9:.*]] = arith.constant 9
// CHECK-NEXT:    %[[N:.*]] = arith.minui %[[A]], %[[C9]]
// CHECK:         kernel.input %{{.*}}[%[[N]]]
// CHECK:         nn.softmax
// CHECK-NEXT:    nn.binary mul
// CHECK-NEXT:    kernel.output %{{.*}}[%[[A]]]
// EMIT:        func.func private @rows_2(
// EMIT:          arith.divf
