// RUN: lathe-opt %s --split-input-file --verify-diagnostics --kernel-form | FileCheck %s

// A window of one pixel makes a matrix product; the hard swish after it reads its result twice and joins all the same,
// with the addition that takes both.
// CHECK-LABEL: func.func @product_with_hard_swish
// CHECK:         %[[Y:.*]] = kernel.group matmul
// CHECK:           nn.conv
// CHECK-NEXT:      nn.binary add
// CHECK-NEXT:      nn.binary add
// CHECK-NEXT:      nn.binary max
// CHECK-NEXT:      nn.binary min
// CHECK-NEXT:      nn.binary mul
// CHECK-NEXT:      nn.binary add
// CHECK-NOT:     kernel.group
// CHECK:         return %[[Y]]
func.func @product_with_hard_swish(%x: tensor<1x5x5x8xf32>, %f: tensor<1x1x8x8xf32>, %b: tensor<8xf32>)
    -> tensor<1x5x5x8xf32> {
  %three = arith.constant dense<3.0> : tensor<f32>
  %six = arith.constant dense<6.0> : tensor<f32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %0 = nn.conv %x, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x5x5x8xf32>, tensor<1x1x8x8xf32> -> tensor<1x5x5x8xf32>
  %1 = nn.binary add %0, %b : tensor<1x5x5x8xf32>, tensor<8xf32> -> tensor<1x5x5x8xf32>
  %2 = nn.binary add %1, %three : tensor<1x5x5x8xf32>, tensor<f32> -> tensor<1x5x5x8xf32>
  %3 = nn.binary max %2, %zero : tensor<1x5x5x8xf32>, tensor<f32> -> tensor<1x5x5x8xf32>
  %4 = nn.binary min %3, %six : tensor<1x5x5x8xf32>, tensor<f32> -> tensor<1x5x5x8xf32>
  %5 = nn.binary mul %1, %4 : tensor<1x5x5x8xf32>, tensor<1x5x5x8xf32> -> tensor<1x5x5x8xf32>
  %6 = nn.binary add %5, %x : tensor<1x5x5x8xf32>, tensor<1x5x5x8xf32> -> tensor<1x5x5x8xf32>
  return %6 : tensor<1x5x5x8xf32>
}

// -----

// What is read by others, too, ends the kernel: here the reduction needs the sum before it is multiplied.
// CHECK-LABEL: func.func @gate
// CHECK:         kernel.group conv
// CHECK:           nn.conv
// CHECK-NEXT:      nn.binary add
// CHECK-NEXT:      kernel.yield
// CHECK:         kernel.group rows
// CHECK:         kernel.group pointwise
func.func @gate(%x: tensor<1x5x5x8xf32>, %f: tensor<3x3x8x8xf32>, %b: tensor<8xf32>) -> tensor<1x5x5x8xf32> {
  %0 = nn.conv %x, %f strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1)
    : tensor<1x5x5x8xf32>, tensor<3x3x8x8xf32> -> tensor<1x5x5x8xf32>
  %1 = nn.binary add %0, %b : tensor<1x5x5x8xf32>, tensor<8xf32> -> tensor<1x5x5x8xf32>
  %2 = nn.reduce mean %1 axes([1, 2]) keep_dims(true) : tensor<1x5x5x8xf32> -> tensor<1x1x1x8xf32>
  %3 = nn.binary mul %1, %2 : tensor<1x5x5x8xf32>, tensor<1x1x1x8xf32> -> tensor<1x5x5x8xf32>
  return %3 : tensor<1x5x5x8xf32>
}

// -----

// CHECK-LABEL: func.func @transposed_input
// CHECK:         kernel.group conv
// CHECK:           nn.transpose
// CHECK-NEXT:      nn.conv
// CHECK-NEXT:      kernel.yield
// CHECK-NOT:     kernel.group
// CHECK:         return
func.func @transposed_input(%x: tensor<1x3x9x9xf32>, %f: tensor<3x3x3x8xf32>) -> tensor<1x7x7x8xf32> {
  %0 = nn.transpose %x perm([0, 2, 3, 1]) : tensor<1x3x9x9xf32> -> tensor<1x9x9x3xf32>
  %1 = nn.conv %0, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x9x9x3xf32>, tensor<3x3x3x8xf32> -> tensor<1x7x7x8xf32>
  return %1 : tensor<1x7x7x8xf32>
}

// -----

func.func @wide_elements(%x: tensor<1x9x9x3xf64>, %f: tensor<3x3x3x8xf64>) -> tensor<1x7x7x8xf64> {
  // expected-remark @+1 {{[kernel-form] missed: nn.conv runs as plain loops: only convolutions of f32, and of bf16 by weights, have kernels}}
  %0 = nn.conv %x, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x9x9x3xf64>, tensor<3x3x3x8xf64> -> tensor<1x7x7x8xf64>
  return %0 : tensor<1x7x7x8xf64>
}

// -----

func.func @channels_of_unknown_number(%x: tensor<1x9x9x?xf32> {nn.dims = ["", "", "", "C"]}, %f: tensor<3x3x3x8xf32>)
    -> tensor<1x7x7x8xf32> {
  // expected-remark @+1 {{the number of channels or the size of the window is dynamic}}
  %0 = nn.conv %x, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x9x9x?xf32>, tensor<3x3x3x8xf32> -> tensor<1x7x7x8xf32>
  return %0 : tensor<1x7x7x8xf32>
}

// -----

func.func @long_stride(%x: tensor<1x9x9x3xf32>, %f: tensor<3x3x3x8xf32>) -> tensor<1x1x7x8xf32> {
  // expected-remark @+1 {{a stride, border or window is longer than 2147483648 elements}}
  %0 = nn.conv %x, %f strides([4294967296, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x9x9x3xf32>, tensor<3x3x3x8xf32> -> tensor<1x1x7x8xf32>
  return %0 : tensor<1x1x7x8xf32>
}

// -----

func.func @four_dimensions(%x: tensor<1x5x5x5x5x3xf32>, %f: tensor<3x3x3x3x3x8xf32>) -> tensor<1x3x3x3x3x8xf32> {
  // expected-remark @+1 {{only convolutions over up to 3 dimensions have kernels}}
  %0 = nn.conv %x, %f strides([1, 1, 1, 1]) pads([0, 0, 0, 0, 0, 0, 0, 0]) dilations([1, 1, 1, 1]) groups(1)
    : tensor<1x5x5x5x5x3xf32>, tensor<3x3x3x3x3x8xf32> -> tensor<1x3x3x3x3x8xf32>
  return %0 : tensor<1x3x3x3x3x8xf32>
}

// -----

// Shuffled channels lie apart, and a window of each channel would gather each of its elements nine times: they are
// brought in order before. A slice of the pixels leaves them in order.
// CHECK-LABEL: func.func @shuffled_channels
// CHECK:         kernel.group pointwise
// CHECK-COUNT-2:   nn.transpose
// CHECK:         kernel.group conv
// CHECK-NOT:       nn.transpose
// CHECK:           nn.slice
// CHECK-NEXT:      nn.conv
func.func @shuffled_channels(%x: tensor<1x8x8x32xf32>, %f: tensor<3x3x1x32xf32>, %g: tensor<3x3x1x32xf32>)
    -> tensor<1x3x4x32xf32> {
  %0 = nn.reshape %x to [1, 8, 8, 4, 8] : tensor<1x8x8x32xf32> -> tensor<1x8x8x4x8xf32>
  %1 = nn.transpose %0 perm([0, 4, 3, 1, 2]) : tensor<1x8x8x4x8xf32> -> tensor<1x8x4x8x8xf32>
  %2 = nn.reshape %1 to [1, 32, 8, 8] : tensor<1x8x4x8x8xf32> -> tensor<1x32x8x8xf32>
  %3 = nn.transpose %2 perm([0, 2, 3, 1]) : tensor<1x32x8x8xf32> -> tensor<1x8x8x32xf32>
  %4 = nn.conv %3, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(32)
    : tensor<1x8x8x32xf32>, tensor<3x3x1x32xf32> -> tensor<1x6x6x32xf32>
  %5 = nn.slice %4 offsets [0, 0, 0, 0] sizes [1, 5, 6, 32] strides [1, 1, 1, 1]
    : tensor<1x6x6x32xf32> -> tensor<1x5x6x32xf32>
  %6 = nn.conv %5, %g strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(32)
    : tensor<1x5x6x32xf32>, tensor<3x3x1x32xf32> -> tensor<1x3x4x32xf32>
  return %6 : tensor<1x3x4x32xf32>
}

// -----

// What a residual sum adds is computed from its bytes where it is added.
// CHECK-LABEL: func.func @residual_of_bytes
// CHECK:         kernel.group conv
// CHECK:           nn.conv
// CHECK:           nn.cast
// CHECK:           nn.binary mul
// CHECK:           nn.binary add
// CHECK:           kernel.yield
// CHECK-NOT:     kernel.group
// CHECK:         return
func.func @residual_of_bytes(%x: tensor<1x5x5x8xf32>, %f: tensor<3x3x8x8xf32>, %r: tensor<1x5x5x8xui8>)
    -> tensor<1x5x5x8xf32> {
  %scale = arith.constant dense<0.5> : tensor<f32>
  %0 = nn.conv %x, %f strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1)
    : tensor<1x5x5x8xf32>, tensor<3x3x8x8xf32> -> tensor<1x5x5x8xf32>
  %1 = nn.cast %r : tensor<1x5x5x8xui8> -> tensor<1x5x5x8xf32>
  %2 = nn.binary mul %1, %scale : tensor<1x5x5x8xf32>, tensor<f32> -> tensor<1x5x5x8xf32>
  %3 = nn.binary add %0, %2 : tensor<1x5x5x8xf32>, tensor<1x5x5x8xf32> -> tensor<1x5x5x8xf32>
  return %3 : tensor<1x5x5x8xf32>
}

// -----

// What goes into the product, and what others read, stays outside.
// CHECK-LABEL: func.func @input_of_bytes
// CHECK:         kernel.group pointwise
// CHECK:         kernel.group conv
// CHECK-NOT:       nn.cast
// CHECK:           nn.conv
// CHECK:         return
func.func @input_of_bytes(%f: tensor<3x3x8x8xf32>, %r: tensor<1x5x5x8xui8>) -> tensor<1x5x5x8xf32> {
  %1 = nn.cast %r : tensor<1x5x5x8xui8> -> tensor<1x5x5x8xf32>
  %0 = nn.conv %1, %f strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1)
    : tensor<1x5x5x8xf32>, tensor<3x3x8x8xf32> -> tensor<1x5x5x8xf32>
  %3 = nn.binary add %0, %1 : tensor<1x5x5x8xf32>, tensor<1x5x5x8xf32> -> tensor<1x5x5x8xf32>
  return %3 : tensor<1x5x5x8xf32>
}

// -----

// What one convolution adds to another's result lies between their kernels as bytes: it is dequantized where it is added.
// CHECK-LABEL: func.func @bytes_between
// CHECK:         %[[Y:.*]] = kernel.group matmul
// CHECK:           nn.integer_conv
// CHECK:           %[[B:.*]] = nn.cast %{{.*}} : tensor<1x5x5x8xf32> -> tensor<1x5x5x8xui8>
// CHECK-NEXT:      kernel.yield %[[B]]
// CHECK:         kernel.group matmul
// CHECK:           nn.cast %{{.*}} : tensor<1x5x5x8xui8> -> tensor<1x5x5x8xf32>
// CHECK:           nn.binary add
// CHECK-NOT:     kernel.group
func.func @bytes_between(%x: tensor<1x5x5x8xui8>, %f: tensor<1x1x8x8xi8>, %g: tensor<1x1x8x8xi8>)
    -> tensor<1x5x5x8xf32> {
  %scale = arith.constant dense<3.0> : tensor<f32>
  %0 = nn.integer_conv %x, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x5x5x8xui8>, tensor<1x1x8x8xi8> -> tensor<1x5x5x8xi32>
  %1 = nn.integer_conv %x, %g strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x5x5x8xui8>, tensor<1x1x8x8xi8> -> tensor<1x5x5x8xi32>
  %2 = nn.cast %0 : tensor<1x5x5x8xi32> -> tensor<1x5x5x8xf32>
  %3 = nn.cast %1 : tensor<1x5x5x8xi32> -> tensor<1x5x5x8xf32>
  %4 = nn.cast %3 : tensor<1x5x5x8xf32> -> tensor<1x5x5x8xui8>
  %5 = nn.cast %4 : tensor<1x5x5x8xui8> -> tensor<1x5x5x8xf32>
  %6 = nn.binary mul %5, %scale : tensor<1x5x5x8xf32>, tensor<f32> -> tensor<1x5x5x8xf32>
  %7 = nn.binary add %2, %6 : tensor<1x5x5x8xf32>, tensor<1x5x5x8xf32> -> tensor<1x5x5x8xf32>
  return %7 : tensor<1x5x5x8xf32>
}
