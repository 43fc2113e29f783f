// RUN: lathe-opt %s --split-input-file --verify-diagnostics

func.func @of_shorts(%x: tensor<2x4xi16>, %w: tensor<4x3xi8>) {
  // expected-error@+1 {{expects lhs to hold integers of 8 bits, but it is 'tensor<2x4xi16>'}}
  %0 = nn.integer_matmul %x, %w : tensor<2x4xi16>, tensor<4x3xi8> -> tensor<2x3xi32>
  return
}

// -----

func.func @zero_of_another_sign(%x: tensor<2x4xui8>, %w: tensor<4x3xi8>, %z: tensor<i8>) {
  // expected-error@+1 {{expects its zero point to have the elements of lhs, 'ui8', but they are 'i8'}}
  %0 = nn.integer_matmul %x, %w lhs_zero(%z : tensor<i8>) : tensor<2x4xui8>, tensor<4x3xi8> -> tensor<2x3xi32>
  return
}

// -----

func.func @zero_for_each_row_of_the_depth(%x: tensor<2x4xui8>, %w: tensor<4x3xi8>, %z: tensor<4x1xi8>) {
  // expected-error@+1 {{rhs_zero}}
  %0 = nn.integer_matmul %x, %w rhs_zero(%z : tensor<4x1xi8>) : tensor<2x4xui8>, tensor<4x3xi8> -> tensor<2x3xi32>
  return
}

// -----

func.func @sums_of_bytes(%x: tensor<2x4xui8>, %w: tensor<4x3xi8>) {
  // expected-error@+1 {{expects a result of i32, but it is 'tensor<2x3xi8>'}}
  %0 = nn.integer_matmul %x, %w : tensor<2x4xui8>, tensor<4x3xi8> -> tensor<2x3xi8>
  return
}

// -----

func.func @border_for_each_channel(%x: tensor<1x8x4xui8>, %w: tensor<3x4x3xi8>, %z: tensor<4xui8>) {
  // expected-error@+1 {{expects zero to have rank 0, but it is 'tensor<4xui8>'}}
  %0 = nn.integer_conv %x, %w zero(%z : tensor<4xui8>) strides([1]) pads([0, 0]) dilations([1]) groups(1)
    : tensor<1x8x4xui8>, tensor<3x4x3xi8> -> tensor<1x6x3xi32>
  return
}

// -----

func.func @filters_zero_of_another_size(%x: tensor<1x8x4xui8>, %w: tensor<3x4x3xi8>, %z: tensor<4xi8>) {
  // expected-error@+1 {{filter_zero}}
  %0 = nn.integer_conv %x, %w filter_zero(%z : tensor<4xi8>) strides([1]) pads([0, 0]) dilations([1]) groups(1)
    : tensor<1x8x4xui8>, tensor<3x4x3xi8> -> tensor<1x6x3xi32>
  return
}
