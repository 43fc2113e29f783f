// RUN: lathe-opt %s --split-input-file --nn-propagate-transposes --nn-fold-weights | FileCheck %s

// A convolution of a model with channels first: pointwise ops and the pool move before the transpose back.
// CHECK: nn.weight private @b_t : tensor<1x6x8xf32> = #nn.source<transpose [@b] [0, 2, 1]>
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
