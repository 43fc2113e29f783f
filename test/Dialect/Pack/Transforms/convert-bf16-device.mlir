// RUN: lathe-opt %s --verify-diagnostics --pack-convert-bf16="target=x86-64-v3 on-device=true all=true" | FileCheck %s

// A CUDA device multiplies bf16 whatever the processor of the host program does: with any number of rows, in attention
// of any heads.
nn.weight private @w : tensor<64x32xf32> = dense<1.0>

// CHECK-LABEL: func.func @main
// CHECK:         nn.matmul {{.*}} : tensor<?x64xbf16>, tensor<64x32xbf16> -> tensor<?x32xf32>
// CHECK:         nn.attention {{.*}} softcap(2.000000e+00) : tensor<1x?x2x24xbf16>
func.func @main(%x: tensor<?x64xf32> {nn.dims = ["N", ""]}, %q: tensor<1x?x2x24xf32> {nn.dims = ["", "S", "", ""]})
    -> (tensor<?x32xf32>, tensor<1x?x2x24xf32>) {
  %0 = nn.weight_use @w : tensor<64x32xf32>
  // expected-remark @+1 {{[pack-convert-bf16] computed in bf16 with sums of f32}}
  %1 = nn.matmul %x, %0 : tensor<?x64xf32>, tensor<64x32xf32> -> tensor<?x32xf32>
  // expected-remark @+1 {{[pack-convert-bf16] computed in bf16 with sums of f32}}
  %2 = nn.attention %q, %q, %q scale(0.125) softcap(2.0)
    : tensor<1x?x2x24xf32>, tensor<1x?x2x24xf32>, tensor<1x?x2x24xf32> -> tensor<1x?x2x24xf32>
  return %1, %2 : tensor<?x32xf32>, tensor<1x?x2x24xf32>
}
