// RUN: lathe-opt %s --split-input-file --nn-fuse-norm --verify-diagnostics=only-expected | FileCheck %s

// CHECK-LABEL: func.func @layer_norm
// CHECK-SAME:    (%[[X:.*]]: tensor<?x8xf32>, %[[S:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<8xf32>)
// CHECK-NEXT:    %[[Y:.*]] = nn.layer_norm %[[X]], %[[S]], %[[B]] axis(1) epsilon(9.99999974E-6)
// CHECK-NEXT:    return %[[Y]]
func.func @layer_norm(%x: tensor<?x8xf32>, %scale: tensor<8xf32>, %bias: tensor<8xf32>) -> tensor<?x8xf32> {
  %two = arith.constant dense<2.0> : tensor<f32>
  %eps = arith.constant dense<1.0e-5> : tensor<f32>
  %m = nn.reduce mean %x axes([1]) keep_dims(true) : tensor<?x8xf32> -> tensor<?x1xf32>
  %c = nn.binary sub %x, %m : tensor<?x8xf32>, tensor<?x1xf32> -> tensor<?x8xf32>
  %p = nn.binary pow %c, %two : tensor<?x8xf32>, tensor<f32> -> tensor<?x8xf32>
  %v = nn.reduce mean %p axes([1]) keep_dims(true) : tensor<?x8xf32> -> tensor<?x1xf32>
  %e = nn.binary add %v, %eps : tensor<?x1xf32>, tensor<f32> -> tensor<?x1xf32>
  %r = nn.unary sqrt %e : tensor<?x1xf32> -> tensor<?x1xf32>
  %d = nn.binary div %c, %r : tensor<?x8xf32>, tensor<?x1xf32> -> tensor<?x8xf32>
  %s = nn.binary mul %d, %scale : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  %y = nn.binary add %s, %bias : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// The spelling of opset 24 exports: Pow, ReduceMean, Sqrt, Reciprocal, Mul, and the scale on the left.
// CHECK-LABEL: func.func @rms_norm
// CHECK-SAME:    (%[[X:.*]]: tensor<?x8xf32>, %[[S:.*]]: tensor<8xf32>)
// CHECK-NEXT:    %[[Y:.*]] = nn.rms_norm %[[X]], %[[S]] axis(1) epsilon(9.99999997E-7)
// CHECK-NEXT:    return %[[Y]]
func.func @rms_norm(%x: tensor<?x8xf32>, %scale: tensor<8xf32>) -> tensor<?x8xf32> {
  %eps = arith.constant dense<1.0e-6> : tensor<f32>
  %p = nn.binary mul %x, %x : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %v = nn.reduce mean %p axes([1]) keep_dims(true) : tensor<?x8xf32> -> tensor<?x1xf32>
  %e = nn.binary add %v, %eps : tensor<?x1xf32>, tensor<f32> -> tensor<?x1xf32>
  %r = nn.unary sqrt %e : tensor<?x1xf32> -> tensor<?x1xf32>
  %i = nn.unary reciprocal %r : tensor<?x1xf32> -> tensor<?x1xf32>
  %d = nn.binary mul %x, %i : tensor<?x8xf32>, tensor<?x1xf32> -> tensor<?x8xf32>
  %y = nn.binary mul %scale, %d : tensor<8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// A norm over the first dimension is another thing.
// CHECK-LABEL: func.func @first_dimension
// CHECK-NOT:     nn.rms_norm
func.func @first_dimension(%x: tensor<4x8xf32>, %scale: tensor<8xf32>) -> tensor<4x8xf32> {
  %eps = arith.constant dense<1.0e-6> : tensor<f32>
  %p = nn.binary mul %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
  %v = nn.reduce mean %p axes([0]) keep_dims(true) : tensor<4x8xf32> -> tensor<1x8xf32>
  %e = nn.binary add %v, %eps : tensor<1x8xf32>, tensor<f32> -> tensor<1x8xf32>
  // expected-remark @+1 {{[nn-fuse-norm] missed: the mean is not over the last dimensions, kept with size 1}}
  %i = nn.unary rsqrt %e : tensor<1x8xf32> -> tensor<1x8xf32>
  %d = nn.binary mul %x, %i : tensor<4x8xf32>, tensor<1x8xf32> -> tensor<4x8xf32>
  %y = nn.binary mul %d, %scale : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
