// RUN: lathe-opt %s --resolve-ranked-shaped-type-result-dims --canonicalize --cse | FileCheck %s

// CHECK-LABEL: func @broadcast_takes_the_known_size
// CHECK-SAME:    %[[X:.*]]: tensor<?x1xf32>, %[[Y:.*]]: tensor<4xf32>
func.func @broadcast_takes_the_known_size(%x: tensor<?x1xf32>, %y: tensor<4xf32>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = nn.binary add %x, %y : tensor<?x1xf32>, tensor<4xf32> -> tensor<?x?xf32>
  // CHECK-DAG: %[[FOUR:.*]] = arith.constant 4 : index
  // CHECK-DAG: %[[D:.*]] = tensor.dim %[[X]], %c0
  // CHECK: return %[[D]], %[[FOUR]]
  %d0 = tensor.dim %0, %c0 : tensor<?x?xf32>
  %d1 = tensor.dim %0, %c1 : tensor<?x?xf32>
  return %d0, %d1 : index, index
}

// CHECK-LABEL: func @broadcast_of_unknown_sizes_takes_the_one_that_is_not_1
// CHECK-SAME:    %[[X:.*]]: tensor<?xf32>, %[[Y:.*]]: tensor<?xf32>
func.func @broadcast_of_unknown_sizes_takes_the_one_that_is_not_1(%x: tensor<?xf32>, %y: tensor<?xf32>) -> index {
  %c0 = arith.constant 0 : index
  %0 = nn.compare lt %x, %y : tensor<?xf32>, tensor<?xf32> -> tensor<?xi1>
  // CHECK-DAG: %[[A:.*]] = tensor.dim %[[X]]
  // CHECK-DAG: %[[B:.*]] = tensor.dim %[[Y]]
  // CHECK: %[[ONE:.*]] = arith.cmpi eq, %[[A]], %c1
  // CHECK: arith.select %[[ONE]], %[[B]], %[[A]]
  %d = tensor.dim %0, %c0 : tensor<?xi1>
  return %d : index
}

// CHECK-LABEL: func @matmul
// CHECK-SAME:    %[[X:.*]]: tensor<?x?x4xf32>, %[[Y:.*]]: tensor<4x?xf32>
func.func @matmul(%x: tensor<?x?x4xf32>, %y: tensor<4x?xf32>) -> (index, index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %0 = nn.matmul %x, %y : tensor<?x?x4xf32>, tensor<4x?xf32> -> tensor<?x?x?xf32>
  // CHECK-DAG: %[[B:.*]] = tensor.dim %[[X]], %c0
  // CHECK-DAG: %[[M:.*]] = tensor.dim %[[X]], %c1
  // CHECK-DAG: %[[N:.*]] = tensor.dim %[[Y]], %c1
  // CHECK: return %[[B]], %[[M]], %[[N]]
  %d0 = tensor.dim %0, %c0 : tensor<?x?x?xf32>
  %d1 = tensor.dim %0, %c1 : tensor<?x?x?xf32>
  %d2 = tensor.dim %0, %c2 : tensor<?x?x?xf32>
  return %d0, %d1, %d2 : index, index, index
}

// floor((n + 2 + 1 - 2 (3 - 1) - 1) / 2) + 1
// CHECK-LABEL: func @conv
// CHECK-SAME:    %[[X:.*]]: tensor<1x?x4xf32>
func.func @conv(%x: tensor<1x?x4xf32>, %f: tensor<3x4x8xf32>) -> index {
  %c1 = arith.constant 1 : index
  %0 = nn.conv %x, %f strides([2]) pads([2, 1]) dilations([2]) groups(1)
    : tensor<1x?x4xf32>, tensor<3x4x8xf32> -> tensor<1x?x8xf32>
  // CHECK-DAG: %[[L:.*]] = tensor.dim %[[X]], %c1
  // CHECK: %[[R:.*]] = arith.addi %[[L]], %c-2
  // CHECK: %[[Q:.*]] = arith.floordivsi %[[R]], %c2
  // CHECK: arith.addi %[[Q]], %c1
  %d = tensor.dim %0, %c1 : tensor<1x?x8xf32>
  return %d : index
}

// CHECK-LABEL: func @attention
// CHECK-SAME:    %[[Q:.*]]: tensor<?x?x12x32xf32>, %{{.*}}: tensor<?x?x12x32xf32>, %[[V:.*]]: tensor<?x?x12x?xf32>
func.func @attention(%q: tensor<?x?x12x32xf32>, %k: tensor<?x?x12x32xf32>, %v: tensor<?x?x12x?xf32>) -> (index, index) {
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %0 = nn.attention %q, %k, %v scale(1.0)
    : tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x?xf32> -> tensor<?x?x12x?xf32>
  // CHECK-DAG: %[[S:.*]] = tensor.dim %[[Q]], %c1
  // CHECK-DAG: %[[D:.*]] = tensor.dim %[[V]], %c3
  // CHECK: return %[[S]], %[[D]]
  %d1 = tensor.dim %0, %c1 : tensor<?x?x12x?xf32>
  %d3 = tensor.dim %0, %c3 : tensor<?x?x12x?xf32>
  return %d1, %d3 : index, index
}

// CHECK-LABEL: func @reductions
// CHECK-SAME:    %[[X:.*]]: tensor<?x?x4xf32>
func.func @reductions(%x: tensor<?x?x4xf32>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %0 = nn.reduce sum %x axes([0, 2]) keep_dims(false) : tensor<?x?x4xf32> -> tensor<?xf32>
  %1 = nn.arg_reduce max %x axis(1) keep_dims(true) select_last(false) : tensor<?x?x4xf32> -> tensor<?x1x4xi64>
  // CHECK-DAG: %[[A:.*]] = tensor.dim %[[X]], %c1
  // CHECK-DAG: %[[B:.*]] = tensor.dim %[[X]], %c0
  // CHECK: return %[[A]], %[[B]]
  %d0 = tensor.dim %0, %c0 : tensor<?xf32>
  %d1 = tensor.dim %1, %c0 : tensor<?x1x4xi64>
  return %d0, %d1 : index, index
}

// CHECK-LABEL: func @data_movement
// CHECK-SAME:    %[[X:.*]]: tensor<?x?xf32>, %[[Y:.*]]: tensor<?x?xf32>, %[[I:.*]]: tensor<?xi64>, %{{[a-z0-9]*}}: tensor<i64>, %[[N:[a-z0-9]*]]: index
func.func @data_movement(%x: tensor<?x?xf32>, %y: tensor<?x?xf32>, %i: tensor<?xi64>, %s: tensor<i64>, %n: index)
    -> (index, index, index, index, index, index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  // CHECK-DAG: %[[X1:.*]] = tensor.dim %[[X]], %c1
  // CHECK-DAG: %[[Y1:.*]] = tensor.dim %[[Y]], %c1
  // CHECK-DAG: %[[I0:.*]] = tensor.dim %[[I]], %c0
  // CHECK-DAG: %[[SUM:.*]] = arith.addi %[[X1]], %[[Y1]]
  // CHECK: return %[[X1]], %[[SUM]], %[[N]], %[[I0]], %[[N]], %[[N]], %[[N]]
  %0 = nn.transpose %x perm([1, 0]) : tensor<?x?xf32> -> tensor<?x?xf32>
  %d0 = tensor.dim %0, %c0 : tensor<?x?xf32>
  %1 = nn.concat %x, %y axis(1) : tensor<?x?xf32>, tensor<?x?xf32> -> tensor<?x?xf32>
  %d1 = tensor.dim %1, %c1 : tensor<?x?xf32>
  %2 = nn.reshape %x to [%n, 2] : tensor<?x?xf32> -> tensor<?x2xf32>
  %d2 = tensor.dim %2, %c0 : tensor<?x2xf32>
  %3 = nn.gather %x, %i axis(1) : tensor<?x?xf32>, tensor<?xi64> -> tensor<?x?xf32>
  %d3 = tensor.dim %3, %c1 : tensor<?x?xf32>
  %4 = nn.expand %y to [%n, 3] : tensor<?x?xf32> -> tensor<?x3xf32>
  %d4 = tensor.dim %4, %c0 : tensor<?x3xf32>
  %5 = nn.slice %x offsets [0, 0] sizes [%n, 1] strides [1, 1] : tensor<?x?xf32> -> tensor<?x1xf32>
  %d5 = tensor.dim %5, %c0 : tensor<?x1xf32>
  %6 = nn.range %s, %s size %n : tensor<i64>, tensor<i64> -> tensor<?xi64>
  %d6 = tensor.dim %6, %c0 : tensor<?xi64>
  return %d0, %d1, %d2, %d3, %d4, %d5, %d6 : index, index, index, index, index, index, index
}

// CHECK-LABEL: func @gather_nd
// CHECK-SAME:    %[[X:.*]]: tensor<?x4x?xf32>, %[[I:.*]]: tensor<?x?x1xi64>
func.func @gather_nd(%x: tensor<?x4x?xf32>, %i: tensor<?x?x1xi64>) -> (index, index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %0 = nn.gather_nd %x, %i batch_dims(1) : tensor<?x4x?xf32>, tensor<?x?x1xi64> -> tensor<?x?x?xf32>
  // CHECK-DAG: %[[I0:.*]] = tensor.dim %[[I]], %c0
  // CHECK-DAG: %[[I1:.*]] = tensor.dim %[[I]], %c1
  // CHECK-DAG: %[[X2:.*]] = tensor.dim %[[X]], %c2
  // CHECK: return %[[I0]], %[[I1]], %[[X2]]
  %d0 = tensor.dim %0, %c0 : tensor<?x?x?xf32>
  %d1 = tensor.dim %0, %c1 : tensor<?x?x?xf32>
  %d2 = tensor.dim %0, %c2 : tensor<?x?x?xf32>
  return %d0, %d1, %d2 : index, index, index
}
