// RUN: lathe-opt %s --canonicalize | FileCheck %s

// CHECK-LABEL: func @encode_of_decode
// CHECK-SAME:    %[[P:.*]]: !pack
// CHECK-NEXT:    return %[[P]]
func.func @encode_of_decode(%p: !pack.tensor<64x96xf32, #pack.int4<group = 32>>)
    -> !pack.tensor<64x96xf32, #pack.int4<group = 32>> {
  %w = pack.decode %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>> -> tensor<64x96xf32>
  %q = pack.encode %w : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  return %q : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
}

// CHECK-LABEL: func @encode_in_another_format
// CHECK:         pack.decode
// CHECK:         pack.encode
func.func @encode_in_another_format(%p: !pack.tensor<64x96xf32, #pack.int4<group = 32>>)
    -> !pack.tensor<64x96xf32, #pack.bf16> {
  %w = pack.decode %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>> -> tensor<64x96xf32>
  %q = pack.encode %w : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.bf16>
  return %q : !pack.tensor<64x96xf32, #pack.bf16>
}

// What is lost in encoding does not come back.
// CHECK-LABEL: func @decode_of_encode
// CHECK:         pack.encode
// CHECK:         pack.decode
func.func @decode_of_encode(%w: tensor<64x96xf32>) -> tensor<64x96xf32> {
  %p = pack.encode %w : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.bf16>
  %v = pack.decode %p : !pack.tensor<64x96xf32, #pack.bf16> -> tensor<64x96xf32>
  return %v : tensor<64x96xf32>
}

// CHECK-LABEL: func @component_of_compose
// CHECK-SAME:    %{{.*}}: tensor<4x8xi8>, %[[SCALES:.*]]: tensor<8xf32>
// CHECK-NEXT:    return %[[SCALES]]
func.func @component_of_compose(%codes: tensor<4x8xi8>, %scales: tensor<8xf32>) -> tensor<8xf32> {
  %p = pack.compose %codes, %scales : (tensor<4x8xi8>, tensor<8xf32>) -> !pack.tensor<4x8xf32, #pack.int8<dynamic>>
  %s = pack.component 1 of %p : !pack.tensor<4x8xf32, #pack.int8<dynamic>> -> tensor<8xf32>
  return %s : tensor<8xf32>
}
