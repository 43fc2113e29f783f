// RUN: lathe-opt %s --split-input-file --nn-outline-layers | FileCheck %s

// Three blocks that differ in their weights: what passes from one to the next comes first, then what all read, then
// the weights.
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>
nn.weight private @w2 : tensor<8x8xf32> = dense<3.0>

// CHECK-LABEL: func.func @main
// CHECK-SAME:    (%[[X:.*]]: tensor<?x8xf32> {{.*}}, %[[S:.*]]: tensor<?x8xf32>
// CHECK:         %[[W0:.*]] = nn.weight_use @w0
// CHECK:         %[[H1:.*]] = nn.layer_call @layer0 row 0(%[[X]], %[[S]], %[[W0]])
// CHECK:         %[[W1:.*]] = nn.weight_use @w1
// CHECK:         %[[H2:.*]] = nn.layer_call @layer0 row 1(%[[H1]], %[[S]], %[[W1]])
// CHECK:         %[[W2:.*]] = nn.weight_use @w2
// CHECK:         %[[H3:.*]] = nn.layer_call @layer0 row 2(%[[H2]], %[[S]], %[[W2]])
// CHECK:         return %[[H3]]
// CHECK:       func.func private @layer0
// CHECK-SAME:    (%[[A:.*]]: tensor<?x8xf32> {nn.dims = ["N", ""]}, %[[B:.*]]: tensor<?x8xf32> {nn.dims = ["N", ""]}, %[[W:.*]]: tensor<8x8xf32>)
// CHECK-SAME:    -> (tensor<?x8xf32> {nn.dims = ["N", ""]})
// CHECK-NEXT:    nn.matmul %[[A]], %[[W]]
// CHECK-COUNT-4: nn.{{unary|binary}}
// CHECK-NEXT:    return
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}, %s: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> tensor<?x8xf32> {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %m0 = nn.matmul %x, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r0 = nn.unary relu %m0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %a0 = nn.binary add %r0, %s : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %e0 = nn.unary tanh %a0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %f0 = nn.unary exp %e0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %m1 = nn.matmul %f0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r1 = nn.unary relu %m1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %a1 = nn.binary add %r1, %s : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %e1 = nn.unary tanh %a1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %f1 = nn.unary exp %e1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %w2 = nn.weight_use @w2 : tensor<8x8xf32>
  %m2 = nn.matmul %f1, %w2 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r2 = nn.unary relu %m2 : tensor<?x8xf32> -> tensor<?x8xf32>
  %a2 = nn.binary add %r2, %s : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %e2 = nn.unary tanh %a2 : tensor<?x8xf32> -> tensor<?x8xf32>
  %f2 = nn.unary exp %e2 : tensor<?x8xf32> -> tensor<?x8xf32>
  return %f2 : tensor<?x8xf32>
}

// -----

// Blocks that differ in more stay as they are.
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>

// CHECK-LABEL: func.func @main
// CHECK-NOT:     nn.layer_call
// CHECK:         return
// CHECK-NOT:   func.func private
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}, %s: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> tensor<?x8xf32> {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %m0 = nn.matmul %x, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r0 = nn.unary relu %m0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %a0 = nn.binary add %r0, %s : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %e0 = nn.unary tanh %a0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %f0 = nn.unary exp %e0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %m1 = nn.matmul %f0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r1 = nn.unary abs %m1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %a1 = nn.binary add %r1, %s : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %e1 = nn.unary tanh %a1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %f1 = nn.unary exp %e1 : tensor<?x8xf32> -> tensor<?x8xf32>
  return %f1 : tensor<?x8xf32>
}

// -----

// A layer begins with what no kernel before it computes along: the product, not the function before it.
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>

// CHECK-LABEL: func.func @main
// CHECK:         nn.unary relu
// CHECK:         nn.layer_call @layer0 row 0
// CHECK:         nn.layer_call @layer0 row 1
// CHECK:         nn.unary tanh
// CHECK-NEXT:    return
// CHECK:       func.func private @layer0
// CHECK-NEXT:    nn.matmul
// CHECK:         nn.unary relu
// CHECK-NEXT:    return
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}, %s: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> tensor<?x8xf32> {
  %r0 = nn.unary relu %x : tensor<?x8xf32> -> tensor<?x8xf32>
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %m0 = nn.matmul %r0, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %a0 = nn.binary add %m0, %s : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %e0 = nn.unary tanh %a0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %f0 = nn.unary exp %e0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %r1 = nn.unary relu %f0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %m1 = nn.matmul %r1, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %a1 = nn.binary add %m1, %s : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %e1 = nn.unary tanh %a1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %f1 = nn.unary exp %e1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %r2 = nn.unary relu %f1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t = nn.unary tanh %r2 : tensor<?x8xf32> -> tensor<?x8xf32>
  return %t : tensor<?x8xf32>
}
