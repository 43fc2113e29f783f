// RUN: lathe-opt %s --split-input-file --nn-fuse-attention --canonicalize --verify-diagnostics=only-expected | FileCheck %s

// PyTorch's older exporter: scale after the product, additive mask, k transposed at once. All transposes cancel.
// CHECK-LABEL: func.func @scale_after
// CHECK-SAME:    (%[[Q:.*]]: tensor<2x7x4x16xf32>, %[[K:.*]]: tensor<2x9x4x16xf32>, %[[V:.*]]: tensor<2x9x4x16xf32>, %[[M:.*]]: tensor<2x1x1x9xf32>)
// CHECK-NEXT:    %[[A:.*]] = nn.attention %[[Q]], %[[K]], %[[V]] mask(%[[M]]) scale(2.500000e-01)
// CHECK-NEXT:    return %[[A]]
func.func @scale_after(%q: tensor<2x7x4x16xf32>, %k: tensor<2x9x4x16xf32>, %v: tensor<2x9x4x16xf32>,
                       %mask: tensor<2x1x1x9xf32>) -> tensor<2x7x4x16xf32> {
  %four = arith.constant dense<4.0> : tensor<f32>
  %qt = nn.transpose %q perm([0, 2, 1, 3]) : tensor<2x7x4x16xf32> -> tensor<2x4x7x16xf32>
  %kt = nn.transpose %k perm([0, 2, 3, 1]) : tensor<2x9x4x16xf32> -> tensor<2x4x16x9xf32>
  %vt = nn.transpose %v perm([0, 2, 1, 3]) : tensor<2x9x4x16xf32> -> tensor<2x4x9x16xf32>
  %s = nn.matmul %qt, %kt : tensor<2x4x7x16xf32>, tensor<2x4x16x9xf32> -> tensor<2x4x7x9xf32>
  %d = nn.binary div %s, %four : tensor<2x4x7x9xf32>, tensor<f32> -> tensor<2x4x7x9xf32>
  %m = nn.binary add %d, %mask : tensor<2x4x7x9xf32>, tensor<2x1x1x9xf32> -> tensor<2x4x7x9xf32>
  %w = nn.softmax %m axis(3) : tensor<2x4x7x9xf32> -> tensor<2x4x7x9xf32>
  %c = nn.matmul %w, %vt : tensor<2x4x7x9xf32>, tensor<2x4x9x16xf32> -> tensor<2x4x7x16xf32>
  %y = nn.transpose %c perm([0, 2, 1, 3]) : tensor<2x4x7x16xf32> -> tensor<2x7x4x16xf32>
  return %y : tensor<2x7x4x16xf32>
}

// -----

// Newer exporters scale both sides by the root, transpose k twice, and guard rows that are NaN.
// CHECK-LABEL: func.func @scale_both_sides_guarded
// CHECK:         nn.attention %{{.*}}, %{{.*}}, %{{.*}} mask(%{{.*}}) scale(2.500000e-01) guard_empty
// CHECK-NOT:     nn.softmax
func.func @scale_both_sides_guarded(%q: tensor<2x4x7x16xf32>, %k: tensor<2x4x9x16xf32>, %v: tensor<2x4x9x16xf32>,
                                    %keep: tensor<2x1x7x9xi1>) -> tensor<2x4x7x16xf32> {
  %half = arith.constant dense<0.5> : tensor<f32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %low = arith.constant dense<0xFF800000> : tensor<f32>
  %qs = nn.binary mul %q, %half : tensor<2x4x7x16xf32>, tensor<f32> -> tensor<2x4x7x16xf32>
  %kt = nn.transpose %k perm([0, 1, 3, 2]) : tensor<2x4x9x16xf32> -> tensor<2x4x16x9xf32>
  %ks = nn.binary mul %kt, %half : tensor<2x4x16x9xf32>, tensor<f32> -> tensor<2x4x16x9xf32>
  %mask = nn.select %keep, %zero, %low : tensor<2x1x7x9xi1>, tensor<f32>, tensor<f32> -> tensor<2x1x7x9xf32>
  %s = nn.matmul %qs, %ks : tensor<2x4x7x16xf32>, tensor<2x4x16x9xf32> -> tensor<2x4x7x9xf32>
  %m = nn.binary add %s, %mask : tensor<2x4x7x9xf32>, tensor<2x1x7x9xf32> -> tensor<2x4x7x9xf32>
  %w = nn.softmax %m axis(3) : tensor<2x4x7x9xf32> -> tensor<2x4x7x9xf32>
  %n = nn.unary is_nan %w : tensor<2x4x7x9xf32> -> tensor<2x4x7x9xi1>
  %g = nn.select %n, %zero, %w : tensor<2x4x7x9xi1>, tensor<f32>, tensor<2x4x7x9xf32> -> tensor<2x4x7x9xf32>
  %c = nn.matmul %g, %v : tensor<2x4x7x9xf32>, tensor<2x4x9x16xf32> -> tensor<2x4x7x16xf32>
  return %c : tensor<2x4x7x16xf32>
}

// -----

// A selection of -inf is a mask of bools.
// CHECK-LABEL: func.func @selecting_mask
// CHECK-SAME:    %[[KEEP:[^:]*]]: tensor<1x1x7x9xi1>
// CHECK:         nn.attention %{{.*}}, %{{.*}}, %{{.*}} mask(%[[KEEP]]) scale(1.000000e+00)
func.func @selecting_mask(%q: tensor<2x4x7x16xf32>, %kt: tensor<2x4x16x9xf32>, %v: tensor<2x4x9x16xf32>,
                          %keep: tensor<1x1x7x9xi1>) -> tensor<2x4x7x16xf32> {
  %low = arith.constant dense<0xFF800000> : tensor<f32>
  %s = nn.matmul %q, %kt : tensor<2x4x7x16xf32>, tensor<2x4x16x9xf32> -> tensor<2x4x7x9xf32>
  %m = nn.select %keep, %s, %low : tensor<1x1x7x9xi1>, tensor<2x4x7x9xf32>, tensor<f32> -> tensor<2x4x7x9xf32>
  %w = nn.softmax %m axis(3) : tensor<2x4x7x9xf32> -> tensor<2x4x7x9xf32>
  %c = nn.matmul %w, %v : tensor<2x4x7x9xf32>, tensor<2x4x9x16xf32> -> tensor<2x4x7x16xf32>
  return %c : tensor<2x4x7x16xf32>
}

// -----

// Without a dimension of heads there is one head.
// CHECK-LABEL: func.func @one_head
// CHECK:         nn.attention %{{.*}} : tensor<8x7x1x16xf32>, tensor<8x9x1x16xf32>, tensor<8x9x1x16xf32> -> tensor<8x7x1x16xf32>
func.func @one_head(%q: tensor<8x7x16xf32>, %kt: tensor<8x16x9xf32>, %v: tensor<8x9x16xf32>) -> tensor<8x7x16xf32> {
  %s = nn.matmul %q, %kt : tensor<8x7x16xf32>, tensor<8x16x9xf32> -> tensor<8x7x9xf32>
  %w = nn.softmax %s axis(2) : tensor<8x7x9xf32> -> tensor<8x7x9xf32>
  %c = nn.matmul %w, %v : tensor<8x7x9xf32>, tensor<8x9x16xf32> -> tensor<8x7x16xf32>
  return %c : tensor<8x7x16xf32>
}

// -----

// CHECK-LABEL: func.func @weights_are_a_result
// CHECK-NOT:     nn.attention
func.func @weights_are_a_result(%q: tensor<2x4x7x16xf32>, %kt: tensor<2x4x16x9xf32>, %v: tensor<2x4x9x16xf32>)
    -> (tensor<2x4x7x16xf32>, tensor<2x4x7x9xf32>) {
  %s = nn.matmul %q, %kt : tensor<2x4x7x16xf32>, tensor<2x4x16x9xf32> -> tensor<2x4x7x9xf32>
  // expected-remark @+1 {{[nn-fuse-attention] missed: the attention weights have other uses than the product with the values}}
  %w = nn.softmax %s axis(3) : tensor<2x4x7x9xf32> -> tensor<2x4x7x9xf32>
  %c = nn.matmul %w, %v : tensor<2x4x7x9xf32>, tensor<2x4x9x16xf32> -> tensor<2x4x7x16xf32>
  return %c, %w : tensor<2x4x7x16xf32>, tensor<2x4x7x9xf32>
}

// -----

// A softmax over the queries is no attention.
// CHECK-LABEL: func.func @other_axis
// CHECK-NOT:     nn.attention
func.func @other_axis(%q: tensor<2x4x7x16xf32>, %kt: tensor<2x4x16x9xf32>, %v: tensor<2x4x9x16xf32>)
    -> tensor<2x4x7x16xf32> {
  %s = nn.matmul %q, %kt : tensor<2x4x7x16xf32>, tensor<2x4x16x9xf32> -> tensor<2x4x7x9xf32>
  // expected-remark @+1 {{[nn-fuse-attention] missed: the softmax is not over the keys}}
  %w = nn.softmax %s axis(2) : tensor<2x4x7x9xf32> -> tensor<2x4x7x9xf32>
  %c = nn.matmul %w, %v : tensor<2x4x7x9xf32>, tensor<2x4x9x16xf32> -> tensor<2x4x7x16xf32>
  return %c : tensor<2x4x7x16xf32>
}

// -----

// A scale outside of the mask would have to scale the mask, too.
// CHECK-LABEL: func.func @scale_of_masked
// CHECK-NOT:     nn.attention
// CHECK:         nn.softmax
func.func @scale_of_masked(%q: tensor<2x4x7x16xf32>, %kt: tensor<2x4x16x9xf32>, %v: tensor<2x4x9x16xf32>,
                           %mask: tensor<2x1x1x9xf32>) -> tensor<2x4x7x16xf32> {
  %half = arith.constant dense<0.5> : tensor<f32>
  %s = nn.matmul %q, %kt : tensor<2x4x7x16xf32>, tensor<2x4x16x9xf32> -> tensor<2x4x7x9xf32>
  %m = nn.binary add %s, %mask : tensor<2x4x7x9xf32>, tensor<2x1x1x9xf32> -> tensor<2x4x7x9xf32>
  %h = nn.binary mul %m, %half : tensor<2x4x7x9xf32>, tensor<f32> -> tensor<2x4x7x9xf32>
  %w = nn.softmax %h axis(3) : tensor<2x4x7x9xf32> -> tensor<2x4x7x9xf32>
  %c = nn.matmul %w, %v : tensor<2x4x7x9xf32>, tensor<2x4x9x16xf32> -> tensor<2x4x7x16xf32>
  return %c : tensor<2x4x7x16xf32>
}
