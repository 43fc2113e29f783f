// RUN: lathe-opt %s | lathe-opt | FileCheck %s
// RUN: lathe-opt %s --mlir-print-op-generic | lathe-opt | FileCheck %s

nn.weight private @w : tensor<64x96xf32> = dense_resource<w>

// CHECK: nn.weight private @int4 : !pack.tensor<64x96xf32, #pack.int4<group = 32>> computed {
// CHECK:   %[[W:.*]] = nn.weight_use @w : tensor<64x96xf32>
// CHECK:   %[[P:.*]] = pack.encode %[[W]] : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
// CHECK:   nn.yield %[[P]] : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
nn.weight private @int4 : !pack.tensor<64x96xf32, #pack.int4<group = 32>> computed {
  %w = nn.weight_use @w : tensor<64x96xf32>
  %p = pack.encode %w : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  nn.yield %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
}

nn.weight private @gram : tensor<64x64xf32> = dense_resource<g>

// CHECK:       pack.encode %{{.*}} gram(%{{.*}} : tensor<64x64xf32>) : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
nn.weight private @compensated : !pack.tensor<64x96xf32, #pack.int4<group = 32>> computed {
  %w = nn.weight_use @w : tensor<64x96xf32>
  %g = nn.weight_use @gram : tensor<64x64xf32>
  %p = pack.encode %w gram(%g : tensor<64x64xf32>) : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  nn.yield %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
}

// CHECK-LABEL: func @decode
// CHECK:         %[[P:.*]] = nn.weight_use @int4 : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
// CHECK:         pack.decode %[[P]] : !pack.tensor<64x96xf32, #pack.int4<group = 32>> -> tensor<64x96xf32>
func.func @decode() -> tensor<64x96xf32> {
  %p = nn.weight_use @int4 : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  %w = pack.decode %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>> -> tensor<64x96xf32>
  return %w : tensor<64x96xf32>
}

// CHECK-LABEL: func @compose
// CHECK:         pack.compose %{{.*}}, %{{.*}} : (tensor<32x96xui8>, tensor<2x96xf16>) -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
func.func @compose(%codes: tensor<32x96xui8>, %scales: tensor<2x96xf16>)
    -> !pack.tensor<64x96xf32, #pack.int4<group = 32>> {
  %p = pack.compose %codes, %scales : (tensor<32x96xui8>, tensor<2x96xf16>)
    -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  return %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
}

// CHECK-LABEL: func @component
// CHECK:         pack.component 0 of %{{.*}} : !pack.tensor<64x96xf32, #pack.int8<dynamic>> -> tensor<64x96xi8>
func.func @component(%p: !pack.tensor<64x96xf32, #pack.int8<dynamic>>) -> tensor<64x96xi8> {
  %codes = pack.component 0 of %p : !pack.tensor<64x96xf32, #pack.int8<dynamic>> -> tensor<64x96xi8>
  return %codes : tensor<64x96xi8>
}

// Parameters that have their usual values are not printed.
// CHECK-LABEL: func private @formats
// CHECK-SAME:    !pack.tensor<4x8xf32, #pack.bf16>
// CHECK-SAME:    !pack.tensor<f32, #pack.f16>
// CHECK-SAME:    !pack.tensor<4x8xf32, #pack.int8<dynamic>>
// CHECK-SAME:    !pack.tensor<4x8xf32, #pack.int8<static>>
// CHECK-SAME:    !pack.tensor<2x3x4x8xf32, #pack.int8<weight_only>>
// CHECK-SAME:    !pack.tensor<3x64x8xf32, #pack.int4<group = 64, zeros = true>>
// CHECK-SAME:    !pack.tensor<64x8xf32, #pack.int4<group = 32, zeros = true, scales = f32>>
// CHECK-SAME:    !pack.tensor<64x8xf32, #pack.int2<group = 16>>
// CHECK-SAME:    !pack.tensor<64x8xf32, #pack.int8_groups<group = 16>>
// CHECK-SAME:    !pack.tensor<64x8xf32, #pack.codebook<int3, group = 32>>
// CHECK-SAME:    !pack.tensor<64x8xf32, #pack.codebook<int3, group = 32, scales = f32>>
// CHECK-SAME:    !pack.tensor<3x64x8xf32, #pack.codebook<f8E4M3FN, group = 64>>
// CHECK-SAME:    !pack.tensor<64x8xf32, #pack.codebook<[-1.000000e+00, 0.000000e+00, 2.500000e+00], group = 16>>
func.func private @formats(
  !pack.tensor<4x8xf32, #pack.bf16>, !pack.tensor<f32, #pack.f16>,
  !pack.tensor<4x8xf32, #pack.int8<dynamic>>, !pack.tensor<4x8xf32, #pack.int8<static>>,
  !pack.tensor<2x3x4x8xf32, #pack.int8<weight_only>>, !pack.tensor<3x64x8xf32, #pack.int4<group = 64, zeros = true>>,
  !pack.tensor<64x8xf32, #pack.int4<scales = f32, group = 32, zeros = true>>,
  !pack.tensor<64x8xf32, #pack.int2<group = 16, zeros = false, scales = f16>>,
  !pack.tensor<64x8xf32, #pack.int8_groups<group = 16>>,
  !pack.tensor<64x8xf32, #pack.codebook<[-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0], group = 32>>,
  !pack.tensor<64x8xf32, #pack.codebook<int3, group = 32, scales = f32>>,
  !pack.tensor<3x64x8xf32, #pack.codebook<f8E4M3FN, group = 64>>,
  !pack.tensor<64x8xf32, #pack.codebook<[-1.0, 0.0, 2.5], group = 16>>)

// CHECK-LABEL: func @request
// CHECK:         nn.matmul {{.*}} {pack.format = #pack.int4<group = 32>}
func.func @request(%x: tensor<4x64xf32>) -> tensor<4x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  %y = nn.matmul %x, %w {pack.format = #pack.int4<group = 32>} : tensor<4x64xf32>, tensor<64x96xf32> -> tensor<4x96xf32>
  return %y : tensor<4x96xf32>
}

// CHECK-LABEL: func @prune
// CHECK:         pack.prune %{{.*}} <block, zeros = 750> blocks(1 x 4) : tensor<64x96xf32>
// CHECK:         pack.prune %{{.*}} <two_of_four, zeros = 500> blocks(1 x 1) norms(%{{.*}} : tensor<64xf32>) : tensor<64x96xf32>
func.func @prune(%x: tensor<64x96xf32>, %n: tensor<64xf32>) -> (tensor<64x96xf32>, tensor<64x96xf32>) {
  %0 = pack.prune %x <block, zeros = 750> blocks(1 x 4) : tensor<64x96xf32>
  %1 = pack.prune %x <two_of_four, zeros = 500> blocks(1 x 1) norms(%n : tensor<64xf32>) : tensor<64x96xf32>
  return %0, %1 : tensor<64x96xf32>, tensor<64x96xf32>
}

// CHECK-LABEL: func @blocks
// CHECK:         pack.decode %{{.*}} : !pack.tensor<64x96xi8, #pack.blocks<rows = 4, columns = 32, count = 21>> -> tensor<64x96xi8>
func.func @blocks(%p: !pack.tensor<64x96xi8, #pack.blocks<rows = 4, columns = 32, count = 21>>) -> tensor<64x96xi8> {
  %w = pack.decode %p : !pack.tensor<64x96xi8, #pack.blocks<rows = 4, columns = 32, count = 21>> -> tensor<64x96xi8>
  return %w : tensor<64x96xi8>
}
