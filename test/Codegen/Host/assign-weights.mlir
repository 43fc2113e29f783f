// RUN: lathe-opt %s --split-input-file --kernel-form --kernel-outline --assign-weights | FileCheck %s

// A matrix that products alone read is arranged in panels: 8 columns take the 32 of a panel, 1024 bytes.
// The bias is row-major and comes next.
// CHECK: module attributes {lathe.weight_bytes = 576 : i64}
// CHECK: nn.weight private @w : tensor<4x8xf32> = {{.*}} panel <32 x 1> {lathe.offset = 0 : i64}
// CHECK: nn.weight private @b : tensor<8xf32> = dense<2.000000e+00> {lathe.offset = 512 : i64}
// Nobody reads it: it has no place.
// CHECK: nn.weight private @unused : tensor<8xf32> = dense<3.000000e+00>{{$}}
nn.weight private @w : tensor<4x8xf32> = dense<1.0>
nn.weight private @b : tensor<8xf32> = dense<2.0>
nn.weight private @unused : tensor<8xf32> = dense<3.0>

// CHECK: func.func private @matmul_0({{.*}}: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = nn.weight_use @w : tensor<4x8xf32>
  %b = nn.weight_use @b : tensor<8xf32>
  %0 = nn.matmul %x, %w : tensor<2x4xf32>, tensor<4x8xf32> -> tensor<2x8xf32>
  %1 = nn.binary add %0, %b : tensor<2x8xf32>, tensor<8xf32> -> tensor<2x8xf32>
  return %1 : tensor<2x8xf32>
}

// -----

// Read by something else, too: row-major for both.
// CHECK: module attributes {lathe.weight_bytes = 64 : i64}
// CHECK: nn.weight private @w : tensor<4x4xf32> = dense<1.000000e+00> {lathe.offset = 0 : i64}
// CHECK-NOT: kernel.panel
nn.weight private @w : tensor<4x4xf32> = dense<1.0>
func.func @main(%x: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<4x4xf32>) {
  %w = nn.weight_use @w : tensor<4x4xf32>
  %0 = nn.matmul %x, %w : tensor<2x4xf32>, tensor<4x4xf32> -> tensor<2x4xf32>
  %1 = nn.unary exp %w : tensor<4x4xf32> -> tensor<4x4xf32>
  return %0, %1 : tensor<2x4xf32>, tensor<4x4xf32>
}

// -----

// One kernel for a weight and a computed tensor: row-major.
// CHECK: nn.weight private @w : tensor<4x4xf32> = dense<1.000000e+00> {lathe.offset = 0 : i64}
// CHECK-NOT: kernel.panel
nn.weight private @w : tensor<4x4xf32> = dense<1.0>
func.func @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %w = nn.weight_use @w : tensor<4x4xf32>
  %0 = nn.matmul %x, %w : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  %1 = nn.matmul %x, %0 : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  return %1 : tensor<4x4xf32>
}

// -----

// A filter is a matrix for each group; groups of few filters share one, as many as fill eight columns: here two matrices
// of one panel, each of 9 x 2 x 4 rows, 18432 bytes.
// CHECK: module attributes {lathe.weight_bytes = 18432 : i64}
// CHECK: panel <32 x 1, groups 4 joined 2> {lathe.offset = 0 : i64}
// CHECK: func.func private @conv_0({{.*}}: memref<?xi8> {kernel.panel = #nn.panel<32 x 1, groups 4 joined 2>}
nn.weight private @w : tensor<3x3x4x16xf32> = dense<1.0>
func.func @main(%x: tensor<1x9x9x16xf32>) -> tensor<1x7x7x16xf32> {
  %w = nn.weight_use @w : tensor<3x3x4x16xf32>
  %0 = nn.conv %x, %w strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(4)
    : tensor<1x9x9x16xf32>, tensor<3x3x4x16xf32> -> tensor<1x7x7x16xf32>
  return %0 : tensor<1x7x7x16xf32>
}

// -----

// A convolution of each channel by itself reads rows of channels.
// CHECK: nn.weight private @w : tensor<3x3x1x16xf32> = dense<1.000000e+00> {lathe.offset = 0 : i64}
// CHECK-NOT: kernel.panel
nn.weight private @w : tensor<3x3x1x16xf32> = dense<1.0>
func.func @main(%x: tensor<1x9x9x16xf32>) -> tensor<1x7x7x16xf32> {
  %w = nn.weight_use @w : tensor<3x3x1x16xf32>
  %0 = nn.conv %x, %w strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(16)
    : tensor<1x9x9x16xf32>, tensor<3x3x1x16xf32> -> tensor<1x7x7x16xf32>
  return %0 : tensor<1x7x7x16xf32>
}

// -----

// Bytes lie in groups of four rows: 5 are padded to 8, and the sums of 32 columns take as much as 4 more.
// CHECK: module attributes {lathe.weight_bytes = 384 : i64}
// CHECK: nn.weight private @w : tensor<5x8xui8> = {{.*}} panel <32 x 4 sums true> {lathe.offset = 0 : i64}
nn.weight private @w : tensor<5x8xui8> = dense<1>
func.func @main(%x: tensor<2x5xui8>) -> tensor<2x8xi32> {
  %w = nn.weight_use @w : tensor<5x8xui8>
  %0 = nn.integer_matmul %x, %w : tensor<2x5xui8>, tensor<5x8xui8> -> tensor<2x8xi32>
  return %0 : tensor<2x8xi32>
}

// -----

// Pairs of bf16: 5 rows are padded to 6, of 32 columns.
// CHECK: module attributes {lathe.weight_bytes = 384 : i64}
// CHECK: nn.weight private @w : tensor<5x8xbf16> = {{.*}} panel <32 x 2> {lathe.offset = 0 : i64}
nn.weight private @w : tensor<5x8xbf16> = dense<1.0>
func.func @main(%x: tensor<2x5xbf16>) -> tensor<2x8xf32> {
  %w = nn.weight_use @w : tensor<5x8xbf16>
  %0 = nn.matmul %x, %w : tensor<2x5xbf16>, tensor<5x8xbf16> -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// -----

// Of a convolution, the channels of each place in the window are: 3 x 3 places of 4.
// CHECK: module attributes {lathe.weight_bytes = 2304 : i64}
// CHECK: nn.weight private @w : tensor<3x3x3x16xbf16> = {{.*}} panel <32 x 2> {lathe.offset = 0 : i64}
nn.weight private @w : tensor<3x3x3x16xbf16> = dense<1.0>
func.func @main(%x: tensor<1x9x9x3xbf16>) -> tensor<1x7x7x16xf32> {
  %w = nn.weight_use @w : tensor<3x3x3x16xbf16>
  %0 = nn.conv %x, %w strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x9x9x3xbf16>, tensor<3x3x3x16xbf16> -> tensor<1x7x7x16xf32>
  return %0 : tensor<1x7x7x16xf32>
}

// -----

// No columns make no panels.
// CHECK: nn.weight private @w : tensor<4x0xf32> = {{.*}} {lathe.offset = 0 : i64}
// CHECK-NOT: kernel.panel
nn.weight private @w : tensor<4x0xf32> = dense<1.0>
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x0xf32> {
  %w = nn.weight_use @w : tensor<4x0xf32>
  %0 = nn.matmul %x, %w : tensor<2x4xf32>, tensor<4x0xf32> -> tensor<2x0xf32>
  return %0 : tensor<2x0xf32>
}
