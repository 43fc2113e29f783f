// RUN: lathe-opt %s --split-input-file --pack-encode-weights --verify-diagnostics | FileCheck %s

// CHECK:       nn.weight private @w : tensor<64x8xf32>
// CHECK-NEXT:  nn.weight private @w_packed : !pack.tensor<64x8xf32, #pack.int4<group = 32>> computed {
// CHECK-NEXT:    %[[W:.*]] = nn.weight_use @w : tensor<64x8xf32>
// CHECK-NEXT:    %[[P:.*]] = pack.encode %[[W]] : tensor<64x8xf32> -> !pack.tensor<64x8xf32, #pack.int4<group = 32>>
// CHECK-NEXT:    nn.yield %[[P]]
// CHECK-NEXT:  } {onnx_name = "encoder.weight"}
nn.weight private @w : tensor<64x8xf32> = dense<1.0> {onnx_name = "encoder.weight"}

// Two products ask for the same, so they share what they get.
// CHECK-LABEL: func @two_products
// CHECK-NOT:     nn.weight_use @w :
// CHECK:         %[[A:.*]] = nn.weight_use @w_packed : !pack.tensor<64x8xf32, #pack.int4<group = 32>>
// CHECK:         %[[B:.*]] = pack.decode %[[A]] : !pack.tensor<64x8xf32, #pack.int4<group = 32>> -> tensor<64x8xf32>
// CHECK:         nn.matmul %{{.*}}, %[[B]] : tensor<?x64xf32>
// CHECK:         nn.weight_use @w_packed
// CHECK:         nn.matmul
// CHECK-NOT:     pack.format
func.func @two_products(%x: tensor<?x64xf32>, %y: tensor<4x64xf32>) -> (tensor<?x8xf32>, tensor<4x8xf32>) {
  %w = nn.weight_use @w : tensor<64x8xf32>
  // expected-remark@+1 {{[pack-encode-weights] weight stored as #pack.int4<group = 32> in 288 of 2048 bytes}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int4<group = 32>} : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  // expected-remark@+1 {{weight stored as #pack.int4<group = 32>}}
  %1 = nn.matmul %y, %w {pack.format = #pack.int4<group = 32>} : tensor<4x64xf32>, tensor<64x8xf32> -> tensor<4x8xf32>
  return %0, %1 : tensor<?x8xf32>, tensor<4x8xf32>
}

// -----

// What is multiplied with integers is the work of another pass.
// CHECK-LABEL: func @quantized_activations
// CHECK:         nn.matmul {{.*}} {pack.format = #pack.int8<dynamic>}
nn.weight private @w : tensor<64x8xf32> = dense<1.0>
func.func @quantized_activations(%x: tensor<4x64xf32>) -> tensor<4x8xf32> {
  %w = nn.weight_use @w : tensor<64x8xf32>
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>} : tensor<4x64xf32>, tensor<64x8xf32> -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: func @no_weight
// CHECK-NOT:     pack.
func.func @no_weight(%x: tensor<4x64xf32>, %w: tensor<64x8xf32>) -> tensor<4x8xf32> {
  // expected-remark@+1 {{[pack-encode-weights] missed: not stored as #pack.bf16: its right operand is no weight}}
  %0 = nn.matmul %x, %w {pack.format = #pack.bf16} : tensor<4x64xf32>, tensor<64x8xf32> -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: func @no_product
// CHECK-NOT:     pack.
func.func @no_product(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // expected-remark@+1 {{missed: not stored as #pack.bf16: only products are read from other formats}}
  %0 = nn.unary relu %x {pack.format = #pack.bf16} : tensor<4x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// CHECK-LABEL: func @group_does_not_divide
// CHECK-NOT:     pack.
nn.weight private @w : tensor<48x8xf32> = dense<1.0>
func.func @group_does_not_divide(%x: tensor<4x48xf32>) -> tensor<4x8xf32> {
  %w = nn.weight_use @w : tensor<48x8xf32>
  // expected-remark@+1 {{missed: not stored as #pack.int4<group = 32>: expects a multiple of 32 rows for its groups, but there are 48}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int4<group = 32>} : tensor<4x48xf32>, tensor<48x8xf32> -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: func @not_smaller
// CHECK-NOT:     pack.
nn.weight private @w : tensor<2x8xf32> = dense<1.0>
func.func @not_smaller(%x: tensor<4x2xf32>) -> tensor<4x8xf32> {
  %w = nn.weight_use @w : tensor<2x8xf32>
  // expected-remark@+1 {{missed: not stored as #pack.int8_groups<group = 1, zeros = true, scales = f32>: it would take 96 bytes instead of 64}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8_groups<group = 1, zeros = true, scales = f32>} : tensor<4x2xf32>, tensor<2x8xf32> -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: func @other_elements
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x8xf16> = dense<1.0>
func.func @other_elements(%x: tensor<4x64xf16>) -> tensor<4x8xf16> {
  %w = nn.weight_use @w : tensor<64x8xf16>
  // expected-remark@+1 {{missed: not stored as #pack.bf16: #pack.bf16 does not store elements of its weight, tensor<64x8xf16>}}
  %0 = nn.matmul %x, %w {pack.format = #pack.bf16} : tensor<4x64xf16>, tensor<64x8xf16> -> tensor<4x8xf16>
  return %0 : tensor<4x8xf16>
}

// -----

// CHECK-LABEL: func @not_finite
// CHECK-NOT:     pack.
nn.weight private @w : tensor<2x2xf32> = dense<[[1.0, 0x7FC00000], [0xFF800000, 2.0]]>
func.func @not_finite(%x: tensor<4x2xf32>) -> tensor<4x2xf32> {
  %w = nn.weight_use @w : tensor<2x2xf32>
  // expected-remark@+1 {{missed: not stored as #pack.bf16: 2 of its 4 elements are not finite}}
  %0 = nn.matmul %x, %w {pack.format = #pack.bf16} : tensor<4x2xf32>, tensor<2x2xf32> -> tensor<4x2xf32>
  return %0 : tensor<4x2xf32>
}

// -----

// CHECK-LABEL: func @too_large
// CHECK-NOT:     pack.
nn.weight private @w : tensor<2x2xf32> = dense<[[1.0, 2.0], [-65536.0, 2.0]]>
func.func @too_large(%x: tensor<4x2xf32>) -> tensor<4x2xf32> {
  %w = nn.weight_use @w : tensor<2x2xf32>
  // expected-remark@+1 {{missed: not stored as #pack.f16: its largest magnitude is 65536, the limit is 65504}}
  %0 = nn.matmul %x, %w {pack.format = #pack.f16} : tensor<4x2xf32>, tensor<2x2xf32> -> tensor<4x2xf32>
  return %0 : tensor<4x2xf32>
}

// -----

// CHECK-LABEL: func @read_elsewhere
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x8xf32> = dense<1.0>
func.func @read_elsewhere(%x: tensor<4x64xf32>) -> (tensor<4x8xf32>, tensor<64x8xf32>) {
  %w = nn.weight_use @w : tensor<64x8xf32>
  // expected-remark@+1 {{missed: not stored as #pack.bf16: its weight is also read by nn.unary, which does not ask for the same}}
  %0 = nn.matmul %x, %w {pack.format = #pack.bf16} : tensor<4x64xf32>, tensor<64x8xf32> -> tensor<4x8xf32>
  %1 = nn.unary relu %w : tensor<64x8xf32> -> tensor<64x8xf32>
  return %0, %1 : tensor<4x8xf32>, tensor<64x8xf32>
}

// -----

// CHECK-LABEL: func @two_formats
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x8xf32> = dense<1.0>
func.func @two_formats(%x: tensor<4x64xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %w = nn.weight_use @w : tensor<64x8xf32>
  // expected-remark@+1 {{missed: not stored as #pack.bf16: its weight is also read by nn.matmul, which does not ask for the same}}
  %0 = nn.matmul %x, %w {pack.format = #pack.bf16} : tensor<4x64xf32>, tensor<64x8xf32> -> tensor<4x8xf32>
  // expected-remark@+1 {{missed: not stored as #pack.f16: its weight is also read by nn.matmul, which does not ask for the same}}
  %1 = nn.matmul %x, %w {pack.format = #pack.f16} : tensor<4x64xf32>, tensor<64x8xf32> -> tensor<4x8xf32>
  return %0, %1 : tensor<4x8xf32>, tensor<4x8xf32>
}

// -----

// Another weight that is made of it is no reader.
// CHECK:       nn.weight private @w_packed
// CHECK-LABEL: func @source_of_another
// CHECK:         pack.decode
nn.weight private @w : tensor<64x64xf32> = dense<1.0>
nn.weight private @w_t : tensor<64x64xf32> computed {
  %0 = nn.weight_use @w : tensor<64x64xf32>
  %1 = nn.transpose %0 perm([1, 0]) : tensor<64x64xf32> -> tensor<64x64xf32>
  nn.yield %1 : tensor<64x64xf32>
}
func.func @source_of_another(%x: tensor<4x64xf32>) -> (tensor<4x64xf32>, tensor<64x64xf32>) {
  %w = nn.weight_use @w : tensor<64x64xf32>
  // expected-remark@+1 {{weight stored as #pack.bf16 in 8192 of 16384 bytes}}
  %0 = nn.matmul %x, %w {pack.format = #pack.bf16} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  %t = nn.weight_use @w_t : tensor<64x64xf32>
  return %0, %t : tensor<4x64xf32>, tensor<64x64xf32>
}

// -----

// What the file stores in a format can at most round rows.
// CHECK:       nn.weight private @w : !pack.tensor<64x96xf32, #pack.int4<group = 32, scales = f32, dynamic = true>> computed
// CHECK:         pack.compose {{.*}} -> !pack.tensor<64x96xf32, #pack.int4<group = 32, scales = f32, dynamic = true>>
// CHECK-LABEL: func @packed
// CHECK:         %[[P:.*]] = nn.weight_use @w : !pack.tensor<64x96xf32, #pack.int4<group = 32, scales = f32, dynamic = true>>
// CHECK:         %[[W:.*]] = pack.decode %[[P]]
// CHECK:         nn.matmul %{{.*}}, %[[W]] :
// CHECK:         %[[Q:.*]] = nn.weight_use @v : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
// CHECK:         nn.matmul {{.*}} :
nn.weight private @codes : tensor<32x96xui8> = dense<1>
nn.weight private @scales : tensor<2x96xf32> = dense<1.0>
nn.weight private @w : !pack.tensor<64x96xf32, #pack.int4<group = 32, scales = f32>> computed {
  %c = nn.weight_use @codes : tensor<32x96xui8>
  %s = nn.weight_use @scales : tensor<2x96xf32>
  %p = pack.compose %c, %s : (tensor<32x96xui8>, tensor<2x96xf32>) -> !pack.tensor<64x96xf32, #pack.int4<group = 32, scales = f32>>
  nn.yield %p : !pack.tensor<64x96xf32, #pack.int4<group = 32, scales = f32>>
}
nn.weight private @dense : tensor<64x96xf32> = dense<1.0>
nn.weight private @v : !pack.tensor<64x96xf32, #pack.int4<group = 32>> computed {
  %d = nn.weight_use @dense : tensor<64x96xf32>
  %p = pack.encode %d : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  nn.yield %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
}
func.func @packed(%x: tensor<4x64xf32>) -> (tensor<4x96xf32>, tensor<4x96xf32>) {
  %p = nn.weight_use @w : !pack.tensor<64x96xf32, #pack.int4<group = 32, scales = f32>>
  %w = pack.decode %p : !pack.tensor<64x96xf32, #pack.int4<group = 32, scales = f32>> -> tensor<64x96xf32>
  // expected-remark@+1 {{weight stays in the bytes of the file, as #pack.int4<group = 32, scales = f32, dynamic = true>}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int4<group = 32, scales = f32, dynamic = true>} : tensor<4x64xf32>, tensor<64x96xf32> -> tensor<4x96xf32>
  %q = nn.weight_use @v : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  %v = pack.decode %q : !pack.tensor<64x96xf32, #pack.int4<group = 32>> -> tensor<64x96xf32>
  // expected-remark@+1 {{not stored as #pack.int4<group = 64>: the file stores its weight as #pack.int4<group = 32>}}
  %1 = nn.matmul %x, %v {pack.format = #pack.int4<group = 64>} : tensor<4x64xf32>, tensor<64x96xf32> -> tensor<4x96xf32>
  return %0, %1 : tensor<4x96xf32>, tensor<4x96xf32>
}
