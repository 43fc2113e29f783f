// RUN: lathe-opt %s --kernel-form=on-device | FileCheck %s
// RUN: lathe-opt %s --kernel-form | FileCheck %s --check-prefix=CPU

// Tensor cores multiply pairs of f16, and of bf16 that are no weights; processors have loops for them.
// CHECK-LABEL: func.func @products
// CHECK:         kernel.group matmul
// CHECK:         kernel.group matmul
// CPU-LABEL:   func.func @products
// CPU-COUNT-2:   kernel.group reference
func.func @products(%x: tensor<4x16xf16>, %w: tensor<16x8xf16>, %a: tensor<4x16xbf16>, %b: tensor<16x8xbf16>)
    -> (tensor<4x8xf16>, tensor<4x8xf32>) {
  %0 = nn.matmul %x, %w : tensor<4x16xf16>, tensor<16x8xf16> -> tensor<4x8xf16>
  %1 = nn.matmul %a, %b : tensor<4x16xbf16>, tensor<16x8xbf16> -> tensor<4x8xf32>
  return %0, %1 : tensor<4x8xf16>, tensor<4x8xf32>
}

// So do they in attention, whose logits may have a cap there.
// CHECK-LABEL: func.func @attention
// CHECK:         kernel.group attention
// CPU-LABEL:   func.func @attention
// CPU-NOT:       kernel.group attention
func.func @attention(%q: tensor<1x4x2x24xf16>) -> tensor<1x4x2x24xf16> {
  %0 = nn.attention %q, %q, %q scale(0.125) softcap(2.0)
    : tensor<1x4x2x24xf16>, tensor<1x4x2x24xf16>, tensor<1x4x2x24xf16> -> tensor<1x4x2x24xf16>
  return %0 : tensor<1x4x2x24xf16>
}
