// RUN: lathe-opt %s --split-input-file --verify-diagnostics --pack-convert-bf16=target=x86-64-v4+bf16 | FileCheck %s

// The cast of the left operand stands where it is computed, before it is reshaped, and once for both products. Each
// weight is computed once, too.
// CHECK:       nn.weight private @w : tensor<64x48xf32>
// CHECK-NEXT:  nn.weight private @w_bf16 : tensor<64x48xbf16> computed {
// CHECK-NEXT:    %[[F:.*]] = nn.weight_use @w : tensor<64x48xf32>
// CHECK-NEXT:    %[[R:.*]] = nn.cast %[[F]] : tensor<64x48xf32> -> tensor<64x48xbf16>
// CHECK-NEXT:    nn.yield %[[R]]
// CHECK-NOT:   nn.weight private
// CHECK-LABEL: func.func @main
// CHECK:         %[[G:.*]] = nn.unary gelu
// CHECK-NEXT:    %[[C:.*]] = nn.cast %[[G]] : tensor<?x4x16xf32> -> tensor<?x4x16xbf16>
// CHECK:         %[[S:.*]] = nn.reshape %[[C]] to [%{{.*}}, 64] : tensor<?x4x16xbf16> -> tensor<?x64xbf16>
// CHECK:         %[[W:.*]] = nn.weight_use @w_bf16 : tensor<64x48xbf16>
// CHECK-NEXT:    nn.matmul %[[S]], %[[W]] : tensor<?x64xbf16>, tensor<64x48xbf16> -> tensor<?x48xf32>
// CHECK:         nn.matmul %[[S]], %{{.*}} : tensor<?x64xbf16>, tensor<64x48xbf16> -> tensor<?x48xf32>
// CHECK-NOT:     pack.format
nn.weight private @w : tensor<64x48xf32> = dense<1.0>
func.func @main(%x: tensor<?x4x16xf32>, %B: index) -> (tensor<?x48xf32>, tensor<?x48xf32>) {
  %w = nn.weight_use @w : tensor<64x48xf32>
  %g = nn.unary gelu %x : tensor<?x4x16xf32> -> tensor<?x4x16xf32>
  %r = nn.reshape %g to [%B, 64] : tensor<?x4x16xf32> -> tensor<?x64xf32>
  // expected-remark@+1 {{[pack-convert-bf16] computed in bf16 with sums of f32}}
  %0 = nn.matmul %r, %w {pack.format = #pack.bf16} : tensor<?x64xf32>, tensor<64x48xf32> -> tensor<?x48xf32>
  // expected-remark@+1 {{[pack-convert-bf16] computed in bf16 with sums of f32}}
  %1 = nn.matmul %r, %w {pack.format = #pack.bf16} : tensor<?x64xf32>, tensor<64x48xf32> -> tensor<?x48xf32>
  return %0, %1 : tensor<?x48xf32>, tensor<?x48xf32>
}

// -----

// CHECK-LABEL: func.func @convolution
// CHECK:         nn.conv %{{.*}}, %{{.*}} strides([1, 1]) {{.*}} : tensor<1x?x8x3xbf16>, tensor<3x3x3x16xbf16> -> tensor<1x?x6x16xf32>
nn.weight private @f : tensor<3x3x3x16xf32> = dense<1.0>
func.func @convolution(%x: tensor<1x?x8x3xf32>) -> tensor<1x?x6x16xf32> {
  %f = nn.weight_use @f : tensor<3x3x3x16xf32>
  // expected-remark@+1 {{computed in bf16 with sums of f32}}
  %0 = nn.conv %x, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1) {pack.format = #pack.bf16}
    : tensor<1x?x8x3xf32>, tensor<3x3x3x16xf32> -> tensor<1x?x6x16xf32>
  return %0 : tensor<1x?x6x16xf32>
}

// -----

// What is not asked for stays.
// CHECK-LABEL: func.func @no_request
// CHECK:         nn.matmul %{{.*}} : tensor<4x64xf32>, tensor<64x48xf32> -> tensor<4x48xf32>
nn.weight private @w : tensor<64x48xf32> = dense<1.0>
func.func @no_request(%x: tensor<4x64xf32>) -> tensor<4x48xf32> {
  %w = nn.weight_use @w : tensor<64x48xf32>
  %0 = nn.matmul %x, %w : tensor<4x64xf32>, tensor<64x48xf32> -> tensor<4x48xf32>
  return %0 : tensor<4x48xf32>
}

// -----

// CHECK-LABEL: func.func @refused
// CHECK-NOT:     bf16
nn.weight private @w : tensor<64x8xf32> = dense<1.0>
nn.weight private @huge : tensor<64x32xf32> = dense<3.4e38>
nn.weight private @h : tensor<64x32xf16> = dense<1.0>
nn.weight private @d : tensor<3x1x16xf32> = dense<1.0>
func.func @refused(%x: tensor<4x64xf32>, %y: tensor<64x32xf32>, %z: tensor<4x64xf16>, %q: tensor<1x5x2x8xf32>,
                   %s: tensor<1x5x16xf32>)
    -> (tensor<4x8xf32>, tensor<4x32xf32>, tensor<4x32xf32>, tensor<4x32xf16>, tensor<1x5x2x8xf32>,
        tensor<1x3x16xf32>) {
  %w = nn.weight_use @w : tensor<64x8xf32>
  // expected-remark@+1 {{missed: not computed in bf16: with 8 columns, fewer than 16, rounding the left operand costs more than the product gains}}
  %0 = nn.matmul %x, %w {pack.format = #pack.bf16} : tensor<4x64xf32>, tensor<64x8xf32> -> tensor<4x8xf32>
  // expected-remark@+1 {{missed: not computed in bf16: its right operand is no weight}}
  %1 = nn.matmul %x, %y {pack.format = #pack.bf16} : tensor<4x64xf32>, tensor<64x32xf32> -> tensor<4x32xf32>
  %huge = nn.weight_use @huge : tensor<64x32xf32>
  // expected-remark@+1 {{missed: not computed in bf16: }}
  %2 = nn.matmul %x, %huge {pack.format = #pack.bf16} : tensor<4x64xf32>, tensor<64x32xf32> -> tensor<4x32xf32>
  %h = nn.weight_use @h : tensor<64x32xf16>
  // expected-remark@+1 {{missed: not computed in bf16: a product of f16 is not of f32}}
  %3 = nn.matmul %z, %h {pack.format = #pack.bf16} : tensor<4x64xf16>, tensor<64x32xf16> -> tensor<4x32xf16>
  // expected-remark@+1 {{missed: not computed in bf16: attention is computed in f32: most of its time goes to what lies between its products, unless matrix registers make them, which x86-64-v4+bf16 has not}}
  %4 = nn.attention %q, %q, %q scale(1.0) {pack.format = #pack.bf16}
    : tensor<1x5x2x8xf32>, tensor<1x5x2x8xf32>, tensor<1x5x2x8xf32> -> tensor<1x5x2x8xf32>
  %d = nn.weight_use @d : tensor<3x1x16xf32>
  // expected-remark@+1 {{missed: not computed in bf16: a depthwise convolution has no pairs of channels to multiply at a time}}
  %5 = nn.conv %s, %d strides([1]) pads([0, 0]) dilations([1]) groups(16) {pack.format = #pack.bf16}
    : tensor<1x5x16xf32>, tensor<3x1x16xf32> -> tensor<1x3x16xf32>
  return %0, %1, %2, %3, %4, %5 : tensor<4x8xf32>, tensor<4x32xf32>, tensor<4x32xf32>, tensor<4x32xf16>,
                                 tensor<1x5x2x8xf32>, tensor<1x3x16xf32>
}
