// RUN: lathe-opt %s --split-input-file --nn-skip-layers --verify-diagnostics | FileCheck %s

// What a layer makes of the hidden state is what it got, and the weight that only it reads is gone.
// CHECK:         nn.weight private @w0
// CHECK-NOT:     @w1
// CHECK:         nn.weight private @w2
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>
nn.weight private @w2 : tensor<8x8xf32> = dense<3.0>

// CHECK-LABEL: func.func @main
// CHECK-SAME:    (%[[X:.*]]: tensor<?x8xf32>
// CHECK-NOT:     nn.skip
// CHECK:         %[[M0:.*]] = nn.matmul %[[X]], %{{.*}}
// CHECK:         %[[H0:.*]] = nn.binary add %{{.*}}, %[[X]]
// CHECK:         %[[M2:.*]] = nn.matmul %[[H0]], %{{.*}}
// CHECK:         %[[H2:.*]] = nn.binary add %{{.*}}, %[[H0]]
// CHECK-NEXT:    return %[[H2]]
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> tensor<?x8xf32> attributes {nn.skip = {all = array<i64: 1>}} {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %w2 = nn.weight_use @w2 : tensor<8x8xf32>
  %m0 = nn.matmul %x, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r0 = nn.unary relu %m0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t0 = nn.unary tanh %r0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %h0 = nn.binary add %t0, %x : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m1 = nn.matmul %h0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r1 = nn.unary relu %m1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t1 = nn.unary tanh %r1 : tensor<?x8xf32> -> tensor<?x8xf32>
  // expected-remark @+1 {{[nn-skip-layers] left out layer 1}}
  %h1 = nn.binary add %t1, %h0 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m2 = nn.matmul %h1, %w2 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r2 = nn.unary relu %m2 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t2 = nn.unary tanh %r2 : tensor<?x8xf32> -> tensor<?x8xf32>
  %h2 = nn.binary add %t2, %h1 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %h2 : tensor<?x8xf32>
}

// -----

// Norms behind the sums: the layers begin behind a norm, although the first norm makes a block of the same form begin
// one op earlier.
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>

// CHECK-LABEL: func.func @main
// CHECK-SAME:    (%[[X:.*]]: tensor<?x8xf32>
// CHECK:         %[[N:.*]] = nn.layer_norm %[[X]], %{{.*}} epsilon(1
// CHECK:         nn.matmul %[[N]], %{{.*}}
// CHECK:         %[[S:.*]] = nn.binary add %{{.*}}, %[[N]]
// CHECK-NEXT:    %[[R:.*]] = nn.layer_norm %[[S]]
// CHECK-NEXT:    return %[[R]]
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}, %g0: tensor<8xf32>, %g1: tensor<8xf32>, %g2: tensor<8xf32>)
    -> tensor<?x8xf32> attributes {nn.skip = {all = array<i64: 0>}} {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %n = nn.layer_norm %x, %g0 axis(1) epsilon(1.0) : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  %m0 = nn.matmul %n, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r0 = nn.unary relu %m0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %s0 = nn.binary add %r0, %n : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  // expected-remark @+1 {{[nn-skip-layers] left out layer 0}}
  %h0 = nn.layer_norm %s0, %g0 axis(1) epsilon(1.0) : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  %m1 = nn.matmul %h0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r1 = nn.unary relu %m1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %s1 = nn.binary add %r1, %h0 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %h1 = nn.layer_norm %s1, %g0 axis(1) epsilon(1.0) : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  return %h1 : tensor<?x8xf32>
}

// -----

// Of layer 0 the attention goes, of layer 1 what is behind it.
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>

// CHECK-LABEL: func.func @main
// CHECK-SAME:    (%[[X:.*]]: tensor<?x4x2x8xf32>
// CHECK-NOT:     nn.attention
// CHECK:         %[[M:.*]] = nn.matmul %[[X]], %{{.*}}
// CHECK:         %[[H0:.*]] = nn.binary add %{{.*}}, %[[X]]
// CHECK-NEXT:    %[[A:.*]] = nn.attention %[[H0]], %[[H0]], %[[H0]]
// CHECK-NEXT:    %[[H1:.*]] = nn.binary add %[[A]], %[[H0]]
// CHECK-NEXT:    return %[[H1]]
func.func @main(%x: tensor<?x4x2x8xf32> {nn.dims = ["N", "", "", ""]}) -> tensor<?x4x2x8xf32>
    attributes {nn.skip = {attention = array<i64: 0>, ffn = array<i64: 1>}} {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %a0 = nn.attention %x, %x, %x scale(0.5) : tensor<?x4x2x8xf32>, tensor<?x4x2x8xf32>, tensor<?x4x2x8xf32> -> tensor<?x4x2x8xf32>
  %b0 = nn.binary add %a0, %x : tensor<?x4x2x8xf32>, tensor<?x4x2x8xf32> -> tensor<?x4x2x8xf32>
  %m0 = nn.matmul %b0, %w0 : tensor<?x4x2x8xf32>, tensor<8x8xf32> -> tensor<?x4x2x8xf32>
  %r0 = nn.unary relu %m0 : tensor<?x4x2x8xf32> -> tensor<?x4x2x8xf32>
  // expected-remark @+1 {{[nn-skip-layers] left out the attention of layer 0}}
  %h0 = nn.binary add %r0, %b0 : tensor<?x4x2x8xf32>, tensor<?x4x2x8xf32> -> tensor<?x4x2x8xf32>
  %a1 = nn.attention %h0, %h0, %h0 scale(0.5) : tensor<?x4x2x8xf32>, tensor<?x4x2x8xf32>, tensor<?x4x2x8xf32> -> tensor<?x4x2x8xf32>
  %b1 = nn.binary add %a1, %h0 : tensor<?x4x2x8xf32>, tensor<?x4x2x8xf32> -> tensor<?x4x2x8xf32>
  %m1 = nn.matmul %b1, %w1 : tensor<?x4x2x8xf32>, tensor<8x8xf32> -> tensor<?x4x2x8xf32>
  %r1 = nn.unary relu %m1 : tensor<?x4x2x8xf32> -> tensor<?x4x2x8xf32>
  // expected-remark @+1 {{[nn-skip-layers] left out the feed-forward part of layer 1}}
  %h1 = nn.binary add %r1, %b1 : tensor<?x4x2x8xf32>, tensor<?x4x2x8xf32> -> tensor<?x4x2x8xf32>
  return %h1 : tensor<?x4x2x8xf32>
}

// -----

// Layers that only transform pass nothing on.
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>

// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: nn.matmul
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> tensor<?x8xf32> attributes {nn.skip = {all = array<i64: 1>}} {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %m0 = nn.matmul %x, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r0 = nn.unary relu %m0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t0 = nn.unary tanh %r0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %h0 = nn.unary exp %t0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %m1 = nn.matmul %h0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r1 = nn.unary relu %m1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t1 = nn.unary tanh %r1 : tensor<?x8xf32> -> tensor<?x8xf32>
  // expected-remark @+1 {{[nn-skip-layers] missed: layer 1 stays: what it computes is not added to what it gets}}
  %h1 = nn.unary exp %t1 : tensor<?x8xf32> -> tensor<?x8xf32>
  return %h1 : tensor<?x8xf32>
}

// -----

// What is read outside of a layer keeps it, and a layer that is not there is said to be missing.
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>

// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: nn.matmul
// expected-remark @+1 {{[nn-skip-layers] missed: there is no layer 7, the model has 2}}
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> (tensor<?x8xf32>, tensor<?x8xf32>)
    attributes {nn.skip = {all = array<i64: 0, 7>, attention = array<i64: 1>}} {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %m0 = nn.matmul %x, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r0 = nn.unary relu %m0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t0 = nn.unary tanh %r0 : tensor<?x8xf32> -> tensor<?x8xf32>
  // expected-remark @+1 {{[nn-skip-layers] missed: layer 0 stays: the result of nn.unary is read outside of it}}
  %h0 = nn.binary add %t0, %x : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m1 = nn.matmul %h0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %r1 = nn.unary relu %m1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t1 = nn.unary tanh %r1 : tensor<?x8xf32> -> tensor<?x8xf32>
  // expected-remark @+1 {{[nn-skip-layers] missed: layer 1 stays: no part of it is known to be its attention}}
  %h1 = nn.binary add %t1, %h0 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %h1, %r0 : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// Two tensors that pass from layer to layer are no single hidden state.
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>

// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: nn.matmul
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}, %y: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> tensor<?x8xf32>
    attributes {nn.skip = {all = array<i64: 0>}} {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %m0 = nn.matmul %x, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %t0 = nn.unary tanh %m0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %a0 = nn.binary add %t0, %y : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  // expected-remark @+1 {{[nn-skip-layers] missed: layer 0 stays: 2 tensors pass from layer to layer}}
  %h0 = nn.binary mul %a0, %x : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m1 = nn.matmul %h0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %t1 = nn.unary tanh %m1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %a1 = nn.binary add %t1, %a0 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %h1 = nn.binary mul %a1, %h0 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %h1 : tensor<?x8xf32>
}
