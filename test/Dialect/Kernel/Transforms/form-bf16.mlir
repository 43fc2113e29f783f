// RUN: lathe-opt %s --kernel-form | FileCheck %s

// A norm whose result is added to what follows, and rounded for a product, stores both.
// CHECK-LABEL: func.func @rounded_norm
// CHECK:         %[[N:.*]]:2 = kernel.group rows
// CHECK:           %[[L:.*]] = nn.layer_norm
// CHECK:           %[[C:.*]] = nn.cast %[[L]]
// CHECK:           kernel.yield %[[L]], %[[C]] : tensor<?x64xf32>, tensor<?x64xbf16>
// CHECK:         kernel.group matmul(%[[N]]#1
// CHECK-NOT:     kernel.group
nn.weight private @w : tensor<64x64xbf16> = dense<1.0>
func.func @rounded_norm(%x: tensor<?x64xf32> {nn.dims = ["N", ""]}, %s: tensor<64xf32>, %b: tensor<64xf32>)
    -> tensor<?x64xf32> {
  %w = nn.weight_use @w : tensor<64x64xbf16>
  %0 = nn.layer_norm %x, %s, %b axis(1) epsilon(1.0e-5)
    : tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %1 = nn.cast %0 : tensor<?x64xf32> -> tensor<?x64xbf16>
  %2 = nn.matmul %1, %w : tensor<?x64xbf16>, tensor<64x64xbf16> -> tensor<?x64xf32>
  %3 = nn.binary add %2, %0 : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  return %3 : tensor<?x64xf32>
}

// What only products read is stored in bf16 alone: after a product with its activation, and after attention.
// CHECK-LABEL: func.func @rounded_results
// CHECK:         kernel.group matmul
// CHECK:           nn.matmul
// CHECK-NEXT:      nn.unary gelu
// CHECK-NEXT:      %[[A:.*]] = nn.cast
// CHECK-NEXT:      kernel.yield %[[A]] : tensor<4x64xbf16>
// CHECK:         kernel.group attention
// CHECK:           nn.attention
// CHECK-NEXT:      %[[B:.*]] = nn.cast
// CHECK-NEXT:      kernel.yield %[[B]] : tensor<1x4x2x32xbf16>
// CHECK-NOT:     kernel.group
func.func @rounded_results(%x: tensor<4x64xbf16>, %q: tensor<1x4x2x32xf32>)
    -> (tensor<4x64xbf16>, tensor<1x4x2x32xbf16>) {
  %w = nn.weight_use @w : tensor<64x64xbf16>
  %0 = nn.matmul %x, %w : tensor<4x64xbf16>, tensor<64x64xbf16> -> tensor<4x64xf32>
  %1 = nn.unary gelu %0 : tensor<4x64xf32> -> tensor<4x64xf32>
  %2 = nn.cast %1 : tensor<4x64xf32> -> tensor<4x64xbf16>
  %3 = nn.attention %q, %q, %q scale(1.0)
    : tensor<1x4x2x32xf32>, tensor<1x4x2x32xf32>, tensor<1x4x2x32xf32> -> tensor<1x4x2x32xf32>
  %4 = nn.cast %3 : tensor<1x4x2x32xf32> -> tensor<1x4x2x32xbf16>
  return %2, %4 : tensor<4x64xbf16>, tensor<1x4x2x32xbf16>
}

// What is computed does not lie in panels.
// CHECK-LABEL: func.func @two_tensors
// CHECK:         kernel.group reference
func.func @two_tensors(%x: tensor<4x64xbf16>, %y: tensor<64x64xbf16>) -> tensor<4x64xf32> {
  %0 = nn.matmul %x, %y : tensor<4x64xbf16>, tensor<64x64xbf16> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}
