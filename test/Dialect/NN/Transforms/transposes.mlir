// RUN: lathe-opt %s --split-input-file --nn-propagate-transposes --nn-fold-weights | FileCheck %s

// A convolution of a model with channels first: pointwise ops and the pool move before the transpose back.
// CHECK:      nn.weight private @b_t : tensor<1x6x8xf32> computed {
// CHECK-NEXT:   %[[OLD:.*]] = nn.weight_use @b :
// CHECK-NEXT:   nn.transpose %[[OLD]] perm([0, 2, 1])
nn.weight private @b : tensor<1x8x6xf32> = dense<1.0>

// CHECK-LABEL: func.func @bias_and_pool
// CHECK-SAME:    %[[X:.*]]: tensor<2x6x8xf32>
// CHECK:         %[[B:.*]] = nn.weight_use @b_t
// CHECK:         %[[S:.*]] = nn.binary add %[[X]], %[[B]]
// CHECK:         %[[R:.*]] = nn.unary relu %[[S]]
// CHECK:         %[[M:.*]] = nn.reduce max %[[R]] axes([1]) keep_dims(false) : tensor<2x6x8xf32> -> tensor<2x8xf32>
// CHECK:         return %[[M]]
func.func @bias_and_pool(%x: tensor<2x6x8xf32>) -> tensor<2x8xf32> {
  %b = nn.weight_use @b : tensor<1x8x6xf32>
  %t = nn.transpose %x perm([0, 2, 1]) : tensor<2x6x8xf32> -> tensor<2x8x6xf32>
  %s = nn.binary add %t, %b : tensor<2x8x6xf32>, tensor<1x8x6xf32> -> tensor<2x8x6xf32>
  %r = nn.unary relu %s : tensor<2x8x6xf32> -> tensor<2x8x6xf32>
  %m = nn.reduce max %r axes([2]) keep_dims(false) : tensor<2x8x6xf32> -> tensor<2x8xf32>
  return %m : tensor<2x8xf32>
}

// -----

// CHECK-LABEL: func.func @there_and_back
// CHECK-NOT:     nn.transpose
// CHECK:         nn.softmax %{{.*}} axis(2)
// CHECK-NOT:     nn.transpose
func.func @there_and_back(%x: tensor<?x8x6xf32>) -> tensor<?x8x6xf32> {
  %t = nn.transpose %x perm([0, 2, 1]) : tensor<?x8x6xf32> -> tensor<?x6x8xf32>
  %s = nn.softmax %t axis(1) : tensor<?x6x8xf32> -> tensor<?x6x8xf32>
  %y = nn.transpose %s perm([0, 2, 1]) : tensor<?x6x8xf32> -> tensor<?x8x6xf32>
  return %y : tensor<?x8x6xf32>
}

// -----

// A reduction over the transposed axis 1 of three, without keeping it, leaves the others in another order.
// CHECK-LABEL: func.func @reorders_the_rest
// CHECK:         %[[R:.*]] = nn.reduce sum %{{.*}} axes([0]) keep_dims(false) : tensor<2x3x4xf32> -> tensor<3x4xf32>
// CHECK:         nn.transpose %[[R]] perm([1, 0]) : tensor<3x4xf32> -> tensor<4x3xf32>
func.func @reorders_the_rest(%x: tensor<2x3x4xf32>) -> tensor<4x3xf32> {
  %t = nn.transpose %x perm([2, 0, 1]) : tensor<2x3x4xf32> -> tensor<4x2x3xf32>
  %r = nn.reduce sum %t axes([1]) keep_dims(false) : tensor<4x2x3xf32> -> tensor<4x3xf32>
  return %r : tensor<4x3xf32>
}

// -----

// The transpose of channels moves although others use it, and a vector over the channels turns with it.
// CHECK-LABEL: func.func @concat_of_branches
// CHECK-SAME:    %[[X:.*]]: tensor<?x4x4x8xf32>, %[[S:.*]]: tensor<8x1x1xf32>
// CHECK-DAG:     %[[V:.*]] = nn.reshape %[[S]] to [8]
// CHECK-DAG:     %[[Y:.*]] = nn.binary mul %[[X]], %[[V]] : tensor<?x4x4x8xf32>, tensor<8xf32>
// CHECK:         %[[C:.*]] = nn.concat %[[Y]], %[[X]] axis(3)
// CHECK-NOT:     nn.transpose
// CHECK:         return %[[C]]
func.func @concat_of_branches(%x: tensor<?x4x4x8xf32>, %s: tensor<8x1x1xf32>) -> tensor<?x4x4x16xf32> {
  %t = nn.transpose %x perm([0, 3, 1, 2]) : tensor<?x4x4x8xf32> -> tensor<?x8x4x4xf32>
  %y = nn.binary mul %t, %s : tensor<?x8x4x4xf32>, tensor<8x1x1xf32> -> tensor<?x8x4x4xf32>
  %c = nn.concat %y, %t axis(1) : tensor<?x8x4x4xf32>, tensor<?x8x4x4xf32> -> tensor<?x16x4x4xf32>
  %r = nn.transpose %c perm([0, 2, 3, 1]) : tensor<?x16x4x4xf32> -> tensor<?x4x4x16xf32>
  return %r : tensor<?x4x4x16xf32>
}

// -----

// What a product flattens changes places in its weight.
// CHECK:      nn.weight private @w_r : tensor<24x5xf32> computed {
// CHECK-NEXT:   %[[OLD:.*]] = nn.weight_use @w :
// CHECK-NEXT:   %[[R:.*]] = nn.reshape %[[OLD]] to [2, 3, 4, 5]
// CHECK-NEXT:   %[[T:.*]] = nn.transpose %[[R]] perm([1, 2, 0, 3])
// CHECK-NEXT:   nn.reshape %[[T]] to [24, 5]
nn.weight private @w : tensor<24x5xf32> = dense<1.0>

// CHECK-LABEL: func.func @flatten
// CHECK-SAME:    %[[X:.*]]: tensor<?x3x4x2xf32>
// CHECK-NOT:     nn.transpose
// CHECK-DAG:     %[[R:.*]] = nn.reshape %[[X]] to [%{{.*}}, 24]
// CHECK-DAG:     %[[W:.*]] = nn.weight_use @w_r
// CHECK:         nn.matmul %[[R]], %[[W]]
func.func @flatten(%x: tensor<?x3x4x2xf32> {nn.dims = ["N", "", "", ""]}) -> tensor<?x5xf32> {
  %n = nn.dim_symbol "N"
  %t = nn.transpose %x perm([0, 3, 1, 2]) : tensor<?x3x4x2xf32> -> tensor<?x2x3x4xf32>
  %r = nn.reshape %t to [%n, 24] : tensor<?x2x3x4xf32> -> tensor<?x24xf32>
  %w = nn.weight_use @w : tensor<24x5xf32>
  %y = nn.matmul %r, %w : tensor<?x24xf32>, tensor<24x5xf32> -> tensor<?x5xf32>
  return %y : tensor<?x5xf32>
}

// -----

// Groups of channels: the dimension that is split moves as one.
// CHECK-LABEL: func.func @split_channels
// CHECK:         nn.reshape %{{.*}} to [2, 16, 2, 4] : tensor<2x16x8xf32> -> tensor<2x16x2x4xf32>
// CHECK:         nn.transpose %{{.*}} perm([0, 2, 3, 1])
func.func @split_channels(%x: tensor<2x16x8xf32>) -> tensor<2x2x4x16xf32> {
  %t = nn.transpose %x perm([0, 2, 1]) : tensor<2x16x8xf32> -> tensor<2x8x16xf32>
  %r = nn.reshape %t to [2, 2, 4, 16] : tensor<2x8x16xf32> -> tensor<2x2x4x16xf32>
  return %r : tensor<2x2x4x16xf32>
}

// Channels change places where they stand, last; the transposes around cancel.
// CHECK-LABEL: func.func @shuffle
// CHECK-SAME:    %[[X:.*]]: tensor<1x5x5x6xf32>
// CHECK:         %[[G:.*]] = nn.reshape %[[X]] to [1, 5, 5, 2, 3]
// CHECK-NEXT:    %[[T:.*]] = nn.transpose %[[G]] perm([0, 1, 2, 4, 3])
// CHECK-NEXT:    %[[Y:.*]] = nn.reshape %[[T]] to [1, 5, 5, 6]
// CHECK-NEXT:    return %[[Y]]
func.func @shuffle(%x: tensor<1x5x5x6xf32>) -> tensor<1x5x5x6xf32> {
  %0 = nn.transpose %x perm([0, 3, 1, 2]) : tensor<1x5x5x6xf32> -> tensor<1x6x5x5xf32>
  %1 = nn.reshape %0 to [1, 2, 3, 5, 5] : tensor<1x6x5x5xf32> -> tensor<1x2x3x5x5xf32>
  %2 = nn.transpose %1 perm([0, 2, 1, 3, 4]) : tensor<1x2x3x5x5xf32> -> tensor<1x3x2x5x5xf32>
  %3 = nn.reshape %2 to [1, 6, 5, 5] : tensor<1x3x2x5x5xf32> -> tensor<1x6x5x5xf32>
  %4 = nn.transpose %3 perm([0, 2, 3, 1]) : tensor<1x6x5x5xf32> -> tensor<1x5x5x6xf32>
  return %4 : tensor<1x5x5x6xf32>
}
