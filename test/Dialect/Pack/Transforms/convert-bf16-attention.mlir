// RUN: lathe-opt %s --split-input-file --verify-diagnostics --pack-convert-bf16=target=x86-64-v4+amx | FileCheck %s

// Parts of one product are rounded before they are taken apart, and the next product reads the result as it is. Nothing
// of the f32 is left.
// CHECK-LABEL: func.func @main
// CHECK:         %[[P:.*]] = nn.matmul %{{.*}} -> tensor<1x?x192xf32>
// CHECK-NEXT:    %[[C:.*]] = nn.cast %[[P]] : tensor<1x?x192xf32> -> tensor<1x?x192xbf16>
// CHECK-NOT:     xf32>
// CHECK-COUNT-3: nn.slice %[[C]] {{.*}} : tensor<1x?x192xbf16> -> tensor<1x?x64xbf16>
// CHECK:         %[[A:.*]] = nn.attention %{{.*}} mask(%{{.*}}) scale(1.250000e-01) : {{.*}}, tensor<1x1x1x?xf32> -> tensor<1x?x2x32xbf16>
// CHECK-NOT:     nn.cast
// CHECK:         %[[R:.*]] = nn.reshape %[[A]] to {{.*}} -> tensor<1x?x64xbf16>
// CHECK:         nn.matmul %[[R]], %{{.*}} -> tensor<1x?x64xf32>
nn.weight private @in : tensor<64x192xf32> = dense<1.0>
nn.weight private @out : tensor<64x64xf32> = dense<1.0>
func.func @main(%x: tensor<1x?x64xf32>, %m: tensor<1x1x1x?xf32>, %S: index) -> tensor<1x?x64xf32> {
  %in = nn.weight_use @in : tensor<64x192xf32>
  // expected-remark@+1 {{computed in bf16 with sums of f32}}
  %p = nn.matmul %x, %in {pack.format = #pack.bf16} : tensor<1x?x64xf32>, tensor<64x192xf32> -> tensor<1x?x192xf32>
  %0 = nn.slice %p offsets [0, 0, 0] sizes [1, %S, 64] strides [1, 1, 1] : tensor<1x?x192xf32> -> tensor<1x?x64xf32>
  %1 = nn.slice %p offsets [0, 0, 64] sizes [1, %S, 64] strides [1, 1, 1] : tensor<1x?x192xf32> -> tensor<1x?x64xf32>
  %2 = nn.slice %p offsets [0, 0, 128] sizes [1, %S, 64] strides [1, 1, 1] : tensor<1x?x192xf32> -> tensor<1x?x64xf32>
  %q = nn.reshape %0 to [1, %S, 2, 32] : tensor<1x?x64xf32> -> tensor<1x?x2x32xf32>
  %k = nn.reshape %1 to [1, %S, 2, 32] : tensor<1x?x64xf32> -> tensor<1x?x2x32xf32>
  %v = nn.reshape %2 to [1, %S, 2, 32] : tensor<1x?x64xf32> -> tensor<1x?x2x32xf32>
  // expected-remark@+1 {{computed in bf16 with sums of f32}}
  %a = nn.attention %q, %k, %v mask(%m) scale(0.125) {pack.format = #pack.bf16}
    : tensor<1x?x2x32xf32>, tensor<1x?x2x32xf32>, tensor<1x?x2x32xf32>, tensor<1x1x1x?xf32> -> tensor<1x?x2x32xf32>
  %r = nn.reshape %a to [1, %S, 64] : tensor<1x?x2x32xf32> -> tensor<1x?x64xf32>
  %out = nn.weight_use @out : tensor<64x64xf32>
  // expected-remark@+1 {{computed in bf16 with sums of f32}}
  %y = nn.matmul %r, %out {pack.format = #pack.bf16} : tensor<1x?x64xf32>, tensor<64x64xf32> -> tensor<1x?x64xf32>
  return %y : tensor<1x?x64xf32>
}

// -----

// What is read as f32, too, is widened again.
// CHECK-LABEL: func.func @other_reader
// CHECK:         %[[A:.*]] = nn.attention {{.*}} -> tensor<1x4x2x32xbf16>
// CHECK:         nn.cast %[[A]] : tensor<1x4x2x32xbf16> -> tensor<1x4x2x32xf32>
func.func @other_reader(%x: tensor<1x4x2x32xf32>) -> tensor<1x4x2x32xf32> {
  // expected-remark@+1 {{computed in bf16 with sums of f32}}
  %a = nn.attention %x, %x, %x scale(1.0) {pack.format = #pack.bf16}
    : tensor<1x4x2x32xf32>, tensor<1x4x2x32xf32>, tensor<1x4x2x32xf32> -> tensor<1x4x2x32xf32>
  return %a : tensor<1x4x2x32xf32>
}

// -----

// CHECK-LABEL: func.func @refused
// CHECK-NOT:     bf16
func.func @refused(%q: tensor<1x4x2x20xf32>, %x: tensor<1x4x2x32xf32>, %v: tensor<1x4x2x8xf32>)
    -> (tensor<1x4x2x20xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x32xf32>) {
  // expected-remark@+1 {{the features of queries, 20 of a head, are no multiple of 32, which fill matrix registers}}
  %0 = nn.attention %q, %q, %q scale(1.0) {pack.format = #pack.bf16}
    : tensor<1x4x2x20xf32>, tensor<1x4x2x20xf32>, tensor<1x4x2x20xf32> -> tensor<1x4x2x20xf32>
  // expected-remark@+1 {{the features of values, 8 of a head, are no multiple of 16, which fill matrix registers}}
  %1 = nn.attention %x, %x, %v scale(1.0) {pack.format = #pack.bf16}
    : tensor<1x4x2x32xf32>, tensor<1x4x2x32xf32>, tensor<1x4x2x8xf32> -> tensor<1x4x2x8xf32>
  // expected-remark@+1 {{attention is computed in f32: with a softcap it has no kernel}}
  %2 = nn.attention %x, %x, %x scale(1.0) softcap(5.0) {pack.format = #pack.bf16}
    : tensor<1x4x2x32xf32>, tensor<1x4x2x32xf32>, tensor<1x4x2x32xf32> -> tensor<1x4x2x32xf32>
  return %0, %1, %2 : tensor<1x4x2x20xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x32xf32>
}
