// RUN: lathe-opt %s --split-input-file --nn-fuse-quantized --verify-diagnostics=only-expected | FileCheck %s

nn.weight private @w : tensor<64x8xi8> = dense<1>

// CHECK-LABEL: func @product
// CHECK-SAME:    %[[X:.*]]: tensor<?x64xui8>, %[[SW:.*]]: tensor<8xf32>
// CHECK-DAG:     %[[Z:.*]] = arith.constant dense<3> : tensor<ui8>
// CHECK-DAG:     %[[W:.*]] = nn.weight_use @w
// CHECK:         %[[S:.*]] = nn.integer_matmul %[[X]], %[[W]] lhs_zero(%[[Z]] : tensor<ui8>)
// CHECK:         %[[R:.*]] = nn.cast %[[S]] : tensor<?x8xi32> -> tensor<?x8xf32>
// CHECK:         nn.binary mul %[[R]], %{{.*}} : tensor<?x8xf32>, tensor<8xf32>
// CHECK-NOT:     nn.matmul
func.func @product(%x: tensor<?x64xui8>, %sw: tensor<8xf32>) -> tensor<?x8xf32> {
  %three = arith.constant dense<3> : tensor<i32>
  %scale = arith.constant dense<0.5> : tensor<f32>
  %w = nn.weight_use @w : tensor<64x8xi8>
  %0 = nn.cast %x : tensor<?x64xui8> -> tensor<?x64xi32>
  %1 = nn.binary sub %0, %three : tensor<?x64xi32>, tensor<i32> -> tensor<?x64xi32>
  %2 = nn.cast %1 : tensor<?x64xi32> -> tensor<?x64xf32>
  %3 = nn.binary mul %2, %scale : tensor<?x64xf32>, tensor<f32> -> tensor<?x64xf32>
  %4 = nn.cast %w : tensor<64x8xi8> -> tensor<64x8xf32>
  %5 = nn.binary mul %4, %sw : tensor<64x8xf32>, tensor<8xf32> -> tensor<64x8xf32>
  // expected-remark@+1 {{[nn-fuse-quantized] computed with integers of 8 bits}}
  %6 = nn.matmul %3, %5 : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  return %6 : tensor<?x8xf32>
}

// -----

// The filter is transposed as it is stored; a quantization by one scale multiplies with its reciprocal, 4.
nn.weight private @f : tensor<8x64x3xi8> = dense<1>

// CHECK-LABEL: func @convolution
// CHECK-DAG:     %[[Q:.*]] = arith.constant dense<4.000000e+00> : tensor<f32>
// CHECK-DAG:     %[[T:.*]] = nn.transpose %{{.*}} perm([2, 1, 0]) : tensor<8x64x3xi8>
// CHECK:         %[[S:.*]] = nn.integer_conv %{{.*}}, %[[T]] strides([1])
// CHECK:         %[[M:.*]] = nn.binary mul %{{.*}}, %[[Q]] : tensor<1x8x8xf32>, tensor<f32>
// CHECK:         nn.unary round %[[M]]
func.func @convolution(%x: tensor<1x10x64xui8>, %sw: tensor<8x1x1xf32>) -> tensor<1x8x8xf32> {
  %scale = arith.constant dense<0.5> : tensor<f32>
  %quarter = arith.constant dense<0.25> : tensor<f32>
  %f = nn.weight_use @f : tensor<8x64x3xi8>
  %0 = nn.cast %x : tensor<1x10x64xui8> -> tensor<1x10x64xf32>
  %1 = nn.binary mul %scale, %0 : tensor<f32>, tensor<1x10x64xf32> -> tensor<1x10x64xf32>
  %2 = nn.cast %f : tensor<8x64x3xi8> -> tensor<8x64x3xf32>
  %3 = nn.binary mul %2, %sw : tensor<8x64x3xf32>, tensor<8x1x1xf32> -> tensor<8x64x3xf32>
  %4 = nn.transpose %3 perm([2, 1, 0]) : tensor<8x64x3xf32> -> tensor<3x64x8xf32>
  // expected-remark@+1 {{[nn-fuse-quantized] computed with integers of 8 bits}}
  %5 = nn.conv %1, %4 strides([1]) pads([0, 0]) dilations([1]) groups(1)
    : tensor<1x10x64xf32>, tensor<3x64x8xf32> -> tensor<1x8x8xf32>
  %6 = nn.binary div %5, %quarter : tensor<1x8x8xf32>, tensor<f32> -> tensor<1x8x8xf32>
  %7 = nn.unary round %6 : tensor<1x8x8xf32> -> tensor<1x8x8xf32>
  return %7 : tensor<1x8x8xf32>
}

// -----

// CHECK-LABEL: func @float_operand
// CHECK:         nn.matmul
func.func @float_operand(%x: tensor<?x64xf32>, %w: tensor<64x8xi8>) -> tensor<?x8xf32> {
  %scale = arith.constant dense<0.5> : tensor<f32>
  %0 = nn.cast %w : tensor<64x8xi8> -> tensor<64x8xf32>
  %1 = nn.binary mul %0, %scale : tensor<64x8xf32>, tensor<f32> -> tensor<64x8xf32>
  // expected-remark@+1 {{missed: the left operand is computed with floats: no integers of 8 bits stand for it}}
  %2 = nn.matmul %x, %1 : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func @computed_operand
// CHECK:         nn.matmul
func.func @computed_operand(%x: tensor<?x64xui8>, %w: tensor<64x8xi8>) -> tensor<?x8xf32> {
  %scale = arith.constant dense<0.5> : tensor<f32>
  %0 = nn.cast %x : tensor<?x64xui8> -> tensor<?x64xf32>
  %1 = nn.binary mul %0, %scale : tensor<?x64xf32>, tensor<f32> -> tensor<?x64xf32>
  %2 = nn.cast %w : tensor<64x8xi8> -> tensor<64x8xf32>
  %3 = nn.binary mul %2, %scale : tensor<64x8xf32>, tensor<f32> -> tensor<64x8xf32>
  // expected-remark@+1 {{missed: the right operand is no weight: its columns would be arranged anew in every run}}
  %4 = nn.matmul %1, %3 : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// -----

nn.weight private @w : tensor<64x8xi8> = dense<1>

// CHECK-LABEL: func @scales_along_the_depth
// CHECK:         nn.matmul
func.func @scales_along_the_depth(%x: tensor<?x64xui8>, %sw: tensor<64x1xf32>) -> tensor<?x8xf32> {
  %scale = arith.constant dense<0.5> : tensor<f32>
  %w = nn.weight_use @w : tensor<64x8xi8>
  %0 = nn.cast %x : tensor<?x64xui8> -> tensor<?x64xf32>
  %1 = nn.binary mul %0, %scale : tensor<?x64xf32>, tensor<f32> -> tensor<?x64xf32>
  %2 = nn.cast %w : tensor<64x8xi8> -> tensor<64x8xf32>
  %3 = nn.binary mul %2, %sw : tensor<64x8xf32>, tensor<64x1xf32> -> tensor<64x8xf32>
  // expected-remark@+1 {{missed: the weights have a scale for each row}}
  %4 = nn.matmul %1, %3 : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func @maximum
// CHECK:         nn.pool max %{{.*}} : tensor<1x8x4xui8> -> tensor<1x4x4xui8>
func.func @maximum(%x: tensor<1x8x4xui8>) -> tensor<1x4x4xf32> {
  %scale = arith.constant dense<0.5> : tensor<f32>
  %0 = nn.cast %x : tensor<1x8x4xui8> -> tensor<1x8x4xf32>
  %1 = nn.binary mul %0, %scale : tensor<1x8x4xf32>, tensor<f32> -> tensor<1x8x4xf32>
  %2 = nn.pool max %1 window([2]) strides([2]) dilations([1]) before [0] after [0] sizes [4]
    : tensor<1x8x4xf32> -> tensor<1x4x4xf32>
  return %2 : tensor<1x4x4xf32>
}

// -----

// The order of numbers is another with a negative scale.
// CHECK-LABEL: func @maximum_of_negated
// CHECK:         nn.pool max %{{.*}} : tensor<1x8x4xf32> -> tensor<1x4x4xf32>
func.func @maximum_of_negated(%x: tensor<1x8x4xui8>) -> tensor<1x4x4xf32> {
  %scale = arith.constant dense<-0.5> : tensor<f32>
  %0 = nn.cast %x : tensor<1x8x4xui8> -> tensor<1x8x4xf32>
  %1 = nn.binary mul %0, %scale : tensor<1x8x4xf32>, tensor<f32> -> tensor<1x8x4xf32>
  %2 = nn.pool max %1 window([2]) strides([2]) dilations([1]) before [0] after [0] sizes [4]
    : tensor<1x8x4xf32> -> tensor<1x4x4xf32>
  return %2 : tensor<1x4x4xf32>
}

// -----

// A scale that is computed is divided by once, if products of bytes alone see the result.
nn.weight private @w : tensor<64x8xi8> = dense<1>

// CHECK-LABEL: func @dynamic
// CHECK-SAME:    %{{.*}}: tensor<?x64xf32>, %[[S:.*]]: tensor<f32>
// CHECK:         %[[R:.*]] = nn.binary div %{{.*}}, %[[S]] : tensor<f32>, tensor<f32>
// CHECK:         nn.binary mul %{{.*}}, %[[R]] : tensor<?x64xf32>, tensor<f32>
func.func @dynamic(%x: tensor<?x64xf32>, %s: tensor<f32>) -> tensor<?x8xi32> {
  %w = nn.weight_use @w : tensor<64x8xi8>
  %0 = nn.binary div %x, %s : tensor<?x64xf32>, tensor<f32> -> tensor<?x64xf32>
  %1 = nn.unary round %0 : tensor<?x64xf32> -> tensor<?x64xf32>
  %2 = nn.cast %1 : tensor<?x64xf32> -> tensor<?x64xi8>
  %3 = nn.integer_matmul %2, %w : tensor<?x64xi8>, tensor<64x8xi8> -> tensor<?x8xi32>
  return %3 : tensor<?x8xi32>
}

// -----

// CHECK-LABEL: func @dynamic_and_seen
// CHECK:         nn.binary div %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<f32>
func.func @dynamic_and_seen(%x: tensor<?x64xf32>, %s: tensor<f32>) -> tensor<?x64xi8> {
  %0 = nn.binary div %x, %s : tensor<?x64xf32>, tensor<f32> -> tensor<?x64xf32>
  %1 = nn.unary round %0 : tensor<?x64xf32> -> tensor<?x64xf32>
  %2 = nn.cast %1 : tensor<?x64xf32> -> tensor<?x64xi8>
  return %2 : tensor<?x64xi8>
}

// -----

// Zero points too many for a constant that are all the same are one number.
nn.weight private @w : tensor<64x8xi8> = dense<1>
nn.weight private @z : tensor<8xi8> = dense_resource<zeros>
{-# dialect_resources: { builtin: { zeros: "0x010000000000000000000000" } } #-}

// CHECK-LABEL: func @equal_zeros
// CHECK:         %[[Z:.*]] = arith.constant dense<0> : tensor<i8>
// CHECK:         nn.integer_matmul %{{.*}} rhs_zero(%[[Z]] : tensor<i8>)
func.func @equal_zeros(%x: tensor<?x64xui8>) -> tensor<?x8xi32> {
  %w = nn.weight_use @w : tensor<64x8xi8>
  %z = nn.weight_use @z : tensor<8xi8>
  %0 = nn.integer_matmul %x, %w rhs_zero(%z : tensor<8xi8>) : tensor<?x64xui8>, tensor<64x8xi8> -> tensor<?x8xi32>
  return %0 : tensor<?x8xi32>
}

// -----

// A zero point that is a constant of 32 bits, beside an operand that no bytes stand for: what is made of it goes again.
// CHECK-LABEL: func @constant_zero_and_floats
// CHECK:         nn.matmul
func.func @constant_zero_and_floats(%x: tensor<1x3xui8>, %w: tensor<3x15xf32>) -> tensor<1x15xf32> {
  %scale = arith.constant dense<6.250000e-02> : tensor<f32>
  %zero = arith.constant dense<4> : tensor<i32>
  %0 = nn.cast %x : tensor<1x3xui8> -> tensor<1x3xi32>
  %1 = nn.binary sub %0, %zero : tensor<1x3xi32>, tensor<i32> -> tensor<1x3xi32>
  %2 = nn.cast %1 : tensor<1x3xi32> -> tensor<1x3xf32>
  %3 = nn.binary mul %2, %scale : tensor<1x3xf32>, tensor<f32> -> tensor<1x3xf32>
  %4 = nn.matmul %3, %w : tensor<1x3xf32>, tensor<3x15xf32> -> tensor<1x15xf32>
  return %4 : tensor<1x15xf32>
}

// CHECK-LABEL: func @constant_zero_and_a_mean
// CHECK:         nn.pool mean
func.func @constant_zero_and_a_mean(%x: tensor<1x4x4x3xui8>) -> tensor<1x3x3x3xf32> {
  %scale = arith.constant dense<6.250000e-02> : tensor<f32>
  %zero = arith.constant dense<4> : tensor<i32>
  %0 = nn.cast %x : tensor<1x4x4x3xui8> -> tensor<1x4x4x3xi32>
  %1 = nn.binary sub %0, %zero : tensor<1x4x4x3xi32>, tensor<i32> -> tensor<1x4x4x3xi32>
  %2 = nn.cast %1 : tensor<1x4x4x3xi32> -> tensor<1x4x4x3xf32>
  %3 = nn.binary mul %2, %scale : tensor<1x4x4x3xf32>, tensor<f32> -> tensor<1x4x4x3xf32>
  %4 = nn.pool mean %3 window([2, 2]) strides([1, 1]) dilations([1, 1]) before [0, 0] after [0, 0] sizes [3, 3]
    : tensor<1x4x4x3xf32> -> tensor<1x3x3x3xf32>
  return %4 : tensor<1x3x3x3xf32>
}
