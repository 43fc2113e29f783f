// RUN: lathe-opt %s --canonicalize --split-input-file | FileCheck %s

// CHECK-LABEL: func @reshapes_compose
// CHECK-SAME:    %[[X:.*]]: tensor<?x?x384xf32>, %[[B:.*]]: index, %[[S:.*]]: index
func.func @reshapes_compose(%x: tensor<?x?x384xf32>, %B: index, %S: index) -> tensor<?x?x12x32xf32> {
  %n = arith.muli %B, %S : index
  %0 = nn.reshape %x to [%n, 384] : tensor<?x?x384xf32> -> tensor<?x384xf32>
  // CHECK: nn.reshape %[[X]] to [%[[B]], %[[S]], 12, 32]
  %1 = nn.reshape %0 to [%B, %S, 12, 32] : tensor<?x384xf32> -> tensor<?x?x12x32xf32>
  return %1 : tensor<?x?x12x32xf32>
}

// -----

// With one unknown size the number of elements decides it.
// CHECK-LABEL: func @reshape_to_same_type
// CHECK-SAME:    %[[X:.*]]: tensor<?x384xf32>
func.func @reshape_to_same_type(%x: tensor<?x384xf32>, %n: index) -> tensor<?x384xf32> {
  %0 = nn.reshape %x to [%n, 384] : tensor<?x384xf32> -> tensor<?x384xf32>
  // CHECK: return %[[X]]
  return %0 : tensor<?x384xf32>
}

// -----

// CHECK-LABEL: func @reshape_that_swaps_unknown_sizes
func.func @reshape_that_swaps_unknown_sizes(%x: tensor<?x?xf32>, %a: index, %b: index) -> tensor<?x?xf32> {
  // CHECK: nn.reshape
  %0 = nn.reshape %x to [%a, %b] : tensor<?x?xf32> -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

// -----

// Splitting the batch off and joining it again changes nothing, as the symbols tell.
// CHECK-LABEL: func @reshape_back_to_symbols
// CHECK-SAME:    %[[X:[a-z0-9]*]]: tensor<?x?x384xf32>
func.func @reshape_back_to_symbols(%x: tensor<?x?x384xf32> {nn.dims = ["B", "S", ""]}) -> tensor<?x?x384xf32> {
  %B = nn.dim_symbol "B"
  %S = nn.dim_symbol "S"
  %n = arith.muli %B, %S : index
  // CHECK: %[[E:.*]] = nn.unary exp %[[X]]
  %0 = nn.unary exp %x : tensor<?x?x384xf32> -> tensor<?x?x384xf32>
  %1 = nn.reshape %0 to [%n, 384] : tensor<?x?x384xf32> -> tensor<?x384xf32>
  %2 = nn.reshape %1 to [%B, %S, 384] : tensor<?x384xf32> -> tensor<?x?x384xf32>
  // CHECK-NEXT: return %[[E]]
  return %2 : tensor<?x?x384xf32>
}

// -----

// CHECK-LABEL: func @constant_sizes_become_numbers
func.func @constant_sizes_become_numbers(%x: tensor<?xf32>, %s: tensor<1xf32>, %n: index)
    -> (tensor<?x?xf32>, tensor<?x?xf32>, tensor<?xf32>) {
  %two = arith.constant 2 : index
  // CHECK: nn.reshape %{{.*}} to [%{{.*}}, 2] : tensor<?xf32> -> tensor<?x?xf32>
  %0 = nn.reshape %x to [%n, %two] : tensor<?xf32> -> tensor<?x?xf32>
  // CHECK: nn.expand %{{.*}} to [2, %{{.*}}] : tensor<1xf32> -> tensor<?x?xf32>
  %1 = nn.expand %s to [%two, %n] : tensor<1xf32> -> tensor<?x?xf32>
  // CHECK: nn.slice %{{.*}} offsets [2] sizes [%{{.*}}] strides [1] : tensor<?xf32> -> tensor<?xf32>
  %2 = nn.slice %x offsets [%two] sizes [%n] strides [1] : tensor<?xf32> -> tensor<?xf32>
  return %0, %1, %2 : tensor<?x?xf32>, tensor<?x?xf32>, tensor<?xf32>
}

// -----

// Sizes that cannot be are left to the run to report.
// CHECK-LABEL: func @contradicting_constants_stay
func.func @contradicting_constants_stay(%x: tensor<6xf32>) -> (tensor<?xf32>, tensor<?xf32>, tensor<2xf32>) {
  %seven = arith.constant 7 : index
  // CHECK: nn.reshape %{{.*}} to [%
  %0 = nn.reshape %x to [%seven] : tensor<6xf32> -> tensor<?xf32>
  // CHECK: nn.expand %{{.*}} to [%
  %1 = nn.expand %x to [%seven] : tensor<6xf32> -> tensor<?xf32>
  // CHECK: nn.slice %{{.*}} offsets [%
  %2 = nn.slice %x offsets [%seven] sizes [2] strides [1] : tensor<6xf32> -> tensor<2xf32>
  return %0, %1, %2 : tensor<?xf32>, tensor<?xf32>, tensor<2xf32>
}

// -----

// CHECK-LABEL: func @transposes_compose
// CHECK-SAME:    %[[X:.*]]: tensor<?x?x12x32xf32>
func.func @transposes_compose(%x: tensor<?x?x12x32xf32>) -> (tensor<?x?x12x32xf32>, tensor<?x12x32x?xf32>) {
  %0 = nn.transpose %x perm([0, 2, 1, 3]) : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  %1 = nn.transpose %0 perm([0, 2, 1, 3]) : tensor<?x12x?x32xf32> -> tensor<?x?x12x32xf32>
  // CHECK: %[[T:.*]] = nn.transpose %[[X]] perm([0, 2, 3, 1])
  %2 = nn.transpose %0 perm([0, 1, 3, 2]) : tensor<?x12x?x32xf32> -> tensor<?x12x32x?xf32>
  // CHECK: return %[[X]], %[[T]]
  return %1, %2 : tensor<?x?x12x32xf32>, tensor<?x12x32x?xf32>
}

// -----

// CHECK-LABEL: func @transpose_of_unit_dimensions
func.func @transpose_of_unit_dimensions(%x: tensor<1x4x1x8xf32>) -> (tensor<4x1x8x1xf32>, tensor<1x8x1x4xf32>) {
  // CHECK: nn.reshape %{{.*}} to [4, 1, 8, 1]
  %0 = nn.transpose %x perm([1, 0, 3, 2]) : tensor<1x4x1x8xf32> -> tensor<4x1x8x1xf32>
  // CHECK: nn.transpose
  %1 = nn.transpose %x perm([0, 3, 2, 1]) : tensor<1x4x1x8xf32> -> tensor<1x8x1x4xf32>
  return %0, %1 : tensor<4x1x8x1xf32>, tensor<1x8x1x4xf32>
}

// -----

// CHECK-LABEL: func @expands
// CHECK-SAME:    %[[X:.*]]: tensor<2x3xf32>, %[[Y:.*]]: tensor<1xf32>
func.func @expands(%x: tensor<2x3xf32>, %y: tensor<1xf32>, %n: index) -> (tensor<2x3xf32>, tensor<?x4xf32>) {
  %0 = nn.expand %x to [2, 3] : tensor<2x3xf32> -> tensor<2x3xf32>
  %1 = nn.expand %y to [4] : tensor<1xf32> -> tensor<4xf32>
  // CHECK: %[[E:.*]] = nn.expand %[[Y]] to [%{{.*}}, 4] : tensor<1xf32>
  %2 = nn.expand %1 to [%n, 4] : tensor<4xf32> -> tensor<?x4xf32>
  // CHECK: return %[[X]], %[[E]]
  return %0, %2 : tensor<2x3xf32>, tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func @slices
// CHECK-SAME:    %[[X:.*]]: tensor<10xf32>
func.func @slices(%x: tensor<10xf32>) -> (tensor<10xf32>, tensor<2xf32>) {
  %0 = nn.slice %x offsets [0] sizes [10] strides [1] : tensor<10xf32> -> tensor<10xf32>
  %1 = nn.slice %x offsets [9] sizes [5] strides [-2] : tensor<10xf32> -> tensor<5xf32>
  // CHECK: %[[S:.*]] = nn.slice %[[X]] offsets [7] sizes [2] strides [-4] : tensor<10xf32> -> tensor<2xf32>
  %2 = nn.slice %1 offsets [1] sizes [2] strides [2] : tensor<5xf32> -> tensor<2xf32>
  // CHECK: return %[[X]], %[[S]]
  return %0, %2 : tensor<10xf32>, tensor<2xf32>
}

// -----

// CHECK-LABEL: func @slice_of_all
// CHECK-SAME:    %[[X:.*]]: tensor<?xf32>
func.func @slice_of_all(%x: tensor<?xf32>, %n: index) -> (tensor<?xf32>, tensor<?xf32>) {
  %zero = arith.constant 0 : index
  %d = tensor.dim %x, %zero : tensor<?xf32>
  %0 = nn.slice %x offsets [0] sizes [%d] strides [1] : tensor<?xf32> -> tensor<?xf32>
  // CHECK: %[[S:.*]] = nn.slice
  %1 = nn.slice %x offsets [0] sizes [%n] strides [1] : tensor<?xf32> -> tensor<?xf32>
  // CHECK: return %[[X]], %[[S]]
  return %0, %1 : tensor<?xf32>, tensor<?xf32>
}

// -----

// CHECK-LABEL: func @concat_of_one
// CHECK-SAME:    %[[X:.*]]: tensor<?xf32>
func.func @concat_of_one(%x: tensor<?xf32>) -> tensor<?xf32> {
  %0 = nn.concat %x axis(0) : tensor<?xf32> -> tensor<?xf32>
  // CHECK: return %[[X]]
  return %0 : tensor<?xf32>
}

// -----

// CHECK-LABEL: func @pointwise_ops_broadcast_by_themselves
// CHECK-SAME:    %[[X:[a-z0-9]*]]: tensor<?x12x?xf32> {{.*}}, %[[M:[a-z0-9]*]]: tensor<?x1x1xf32>
func.func @pointwise_ops_broadcast_by_themselves(%x: tensor<?x12x?xf32> {nn.dims = ["B", "", "S"]},
                                                 %m: tensor<?x1x1xf32>) -> tensor<?x12x?xf32> {
  %B = nn.dim_symbol "B"
  %S = nn.dim_symbol "S"
  // CHECK-NOT: nn.expand
  // CHECK: nn.binary add %[[X]], %[[M]] : tensor<?x12x?xf32>, tensor<?x1x1xf32> -> tensor<?x12x?xf32>
  %0 = nn.expand %m to [%B, 1, %S] : tensor<?x1x1xf32> -> tensor<?x1x?xf32>
  %1 = nn.binary add %x, %0 : tensor<?x12x?xf32>, tensor<?x1x?xf32> -> tensor<?x12x?xf32>
  return %1 : tensor<?x12x?xf32>
}

// -----

// CHECK-LABEL: func @expand_that_decides_the_size
func.func @expand_that_decides_the_size(%x: tensor<1xf32>, %y: tensor<1xf32>, %n: index) -> tensor<?xf32> {
  // CHECK: nn.expand
  %0 = nn.expand %y to [%n] : tensor<1xf32> -> tensor<?xf32>
  %1 = nn.binary add %x, %0 : tensor<1xf32>, tensor<?xf32> -> tensor<?xf32>
  return %1 : tensor<?xf32>
}

// -----

// CHECK-LABEL: func @expand_that_adds_a_dimension
func.func @expand_that_adds_a_dimension(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<1x4xf32> {
  // CHECK: nn.expand
  %0 = nn.expand %y to [1, 4] : tensor<4xf32> -> tensor<1x4xf32>
  %1 = nn.binary add %x, %0 : tensor<4xf32>, tensor<1x4xf32> -> tensor<1x4xf32>
  return %1 : tensor<1x4xf32>
}

// -----

// CHECK-LABEL: func @expand_after_pointwise_ops
// CHECK-SAME:    %[[M:[a-z0-9]*]]: tensor<?x1x1x?xi1>
func.func @expand_after_pointwise_ops(%m: tensor<?x1x1x?xi1>, %B: index, %S: index) -> tensor<?x1x?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %low = arith.constant dense<-1.0> : tensor<f32>
  // CHECK: %[[N:.*]] = nn.unary not %[[M]] : tensor<?x1x1x?xi1> -> tensor<?x1x1x?xi1>
  // CHECK: %[[F:.*]] = nn.cast %[[N]] : tensor<?x1x1x?xi1> -> tensor<?x1x1x?xf32>
  // CHECK: %[[P:.*]] = nn.binary mul %[[F]], %{{.*}} : tensor<?x1x1x?xf32>, tensor<f32> -> tensor<?x1x1x?xf32>
  // CHECK: %[[E:.*]] = nn.expand %[[P]]
  // CHECK: return %[[E]]
  %0 = nn.expand %m to [%B, 1, %S, %S] : tensor<?x1x1x?xi1> -> tensor<?x1x?x?xi1>
  %1 = nn.unary not %0 : tensor<?x1x?x?xi1> -> tensor<?x1x?x?xi1>
  %2 = nn.cast %1 : tensor<?x1x?x?xi1> -> tensor<?x1x?x?xf32>
  %3 = nn.binary mul %2, %low : tensor<?x1x?x?xf32>, tensor<f32> -> tensor<?x1x?x?xf32>
  return %3 : tensor<?x1x?x?xf32>
}

// -----

// CHECK-LABEL: func @expand_before_two_tensors
func.func @expand_before_two_tensors(%x: tensor<1xf32>, %y: tensor<?xf32>, %n: index) -> tensor<?xf32> {
  // CHECK: nn.expand
  // CHECK-NEXT: nn.binary
  %0 = nn.expand %x to [%n] : tensor<1xf32> -> tensor<?xf32>
  %1 = nn.binary add %0, %y : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
  return %1 : tensor<?xf32>
}

// -----

// CHECK-LABEL: func @mask_broadcasts_to_logits
// CHECK-SAME:    %[[M:[a-z0-9]*]]: tensor<?x1x1x?xf32>
func.func @mask_broadcasts_to_logits(%m: tensor<?x1x1x?xf32>, %x: tensor<?x?x384xf32> {nn.dims = ["B", "S", ""]})
    -> tensor<?x12x?x?xf32> {
  %B = nn.dim_symbol "B"
  %S = nn.dim_symbol "S"
  %h = nn.reshape %x to [%B, %S, 12, 32] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %q = nn.transpose %h perm([0, 2, 1, 3]) : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  %k = nn.transpose %h perm([0, 2, 3, 1]) : tensor<?x?x12x32xf32> -> tensor<?x12x32x?xf32>
  // CHECK: %[[L:.*]] = nn.matmul
  %logits = nn.matmul %q, %k : tensor<?x12x?x32xf32>, tensor<?x12x32x?xf32> -> tensor<?x12x?x?xf32>
  // CHECK-NEXT: nn.binary add %[[L]], %[[M]]
  %e = nn.expand %m to [%B, 1, %S, %S] : tensor<?x1x1x?xf32> -> tensor<?x1x?x?xf32>
  %0 = nn.binary add %logits, %e : tensor<?x12x?x?xf32>, tensor<?x1x?x?xf32> -> tensor<?x12x?x?xf32>
  return %0 : tensor<?x12x?x?xf32>
}
