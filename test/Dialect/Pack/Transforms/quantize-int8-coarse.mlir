// RUN: lathe-opt %s --pack-quantize-int8 --verify-diagnostics | FileCheck %s

// Of a gelu that is read as codes alone, a coarse one is as good; not of one that something else reads.
// CHECK-LABEL: func.func @coarse
// CHECK:         nn.unary gelu %{{.*}} {nn.coarse} : tensor<4x64xf32>
// CHECK:         nn.unary gelu %{{.*}} : tensor<5x64xf32>
nn.weight private @w : tensor<64x64xf32> = dense<1.0>
func.func @coarse(%x: tensor<4x64xf32>, %y: tensor<5x64xf32>) -> (tensor<4x64xf32>, tensor<5x64xf32>, tensor<5x64xf32>) {
  %w = nn.weight_use @w : tensor<64x64xf32>
  %g = nn.unary gelu %x : tensor<4x64xf32> -> tensor<4x64xf32>
  // expected-remark@+1 {{computed with integers of 8 bits}}
  %0 = nn.matmul %g, %w {pack.format = #pack.int8<dynamic>} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  %h = nn.unary gelu %y : tensor<5x64xf32> -> tensor<5x64xf32>
  // expected-remark@+1 {{computed with integers of 8 bits}}
  %1 = nn.matmul %h, %w {pack.format = #pack.int8<dynamic>} : tensor<5x64xf32>, tensor<64x64xf32> -> tensor<5x64xf32>
  return %0, %1, %h : tensor<4x64xf32>, tensor<5x64xf32>, tensor<5x64xf32>
}
