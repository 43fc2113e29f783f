// RUN: lathe-opt %s --verify-diagnostics --pack-convert-bf16=target=x86-64-v4+bf16 | FileCheck %s

// What computes a factor for each channel takes no time, and its error would be that of every position.
nn.weight private @big : tensor<1x1x64x64xf32> = dense<1.0>
nn.weight private @small : tensor<1x1x64x64xf32> = dense<1.0>

// CHECK-LABEL: func.func @factors_of_channels
// CHECK:         nn.conv %{{.*}} : tensor<1x1x1x64xf32>, tensor<1x1x64x64xf32>
// CHECK:         nn.conv %{{.*}} : tensor<1x512x512x64xbf16>, tensor<1x1x64x64xbf16>
func.func @factors_of_channels(%x: tensor<1x512x512x64xf32>, %pooled: tensor<1x1x1x64xf32>) -> tensor<1x512x512x64xf32> {
  %b = nn.weight_use @big : tensor<1x1x64x64xf32>
  %s = nn.weight_use @small : tensor<1x1x64x64xf32>
  // expected-remark@+1 {{missed: not computed in bf16: of all products it is too small a part to save time}}
  %0 = nn.conv %pooled, %s strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1) {pack.format = #pack.bf16}
    : tensor<1x1x1x64xf32>, tensor<1x1x64x64xf32> -> tensor<1x1x1x64xf32>
  %1 = nn.binary mul %x, %0 : tensor<1x512x512x64xf32>, tensor<1x1x1x64xf32> -> tensor<1x512x512x64xf32>
  // expected-remark@+1 {{computed in bf16 with sums of f32}}
  %2 = nn.conv %1, %b strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1) {pack.format = #pack.bf16}
    : tensor<1x512x512x64xf32>, tensor<1x1x64x64xf32> -> tensor<1x512x512x64xf32>
  return %2 : tensor<1x512x512x64xf32>
}
