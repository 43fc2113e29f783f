// RUN: lathe-opt %s --nn-fold-weights=budget=100 --verify-diagnostics | FileCheck %s

nn.weight private @w : tensor<4x8xf16> = dense<1.0>

// What does not fit stays, and what it is made of becomes a weight.
// CHECK-LABEL: func.func @too_large
// CHECK:         %[[T:.*]] = nn.weight_use @w_t : tensor<8x4xf16>
// CHECK:         nn.cast %[[T]]
func.func @too_large(%x: tensor<2x8xf32>) -> tensor<2x4xf32> {
  %w = nn.weight_use @w : tensor<4x8xf16>
  %t = nn.transpose %w perm([1, 0]) : tensor<4x8xf16> -> tensor<8x4xf16>
  // expected-remark@+1 {{[nn-fold-weights] missed: computing it in advance takes 128 B, of the budget 100 B are left (--fold-budget)}}
  %c = nn.cast %t : tensor<8x4xf16> -> tensor<8x4xf32>
  %y = nn.matmul %x, %c : tensor<2x8xf32>, tensor<8x4xf32> -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
