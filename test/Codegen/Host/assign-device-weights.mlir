// RUN: lathe-opt %s --split-input-file --kernel-form=on-device --kernel-outline --assign-weights=on-device | FileCheck %s

// Devices read matrices of floats as they are; bytes in pieces of 16 of a column, the rows filled up to a multiple of 16.
// CHECK: nn.weight private @f : tensor<40x8xf32> = {{.*}} {lathe.offset = 0 : i64}
// CHECK: nn.weight private @w : tensor<40x8xi8> = {{.*}} panel <32 x 16> {lathe.offset = 1280 : i64}
nn.weight private @f : tensor<40x8xf32> = dense<1.0>
nn.weight private @w : tensor<40x8xi8> = dense<1>
// CHECK: func.func private @{{.*}}: memref<?xi8> {kernel.panel = #nn.panel<32 x 16>}
func.func @main(%x: tensor<2x40xf32>, %q: tensor<2x40xui8>) -> (tensor<2x8xf32>, tensor<2x8xi32>) {
  %f = nn.weight_use @f : tensor<40x8xf32>
  %w = nn.weight_use @w : tensor<40x8xi8>
  %0 = nn.matmul %x, %f : tensor<2x40xf32>, tensor<40x8xf32> -> tensor<2x8xf32>
  %1 = nn.integer_matmul %q, %w : tensor<2x40xui8>, tensor<40x8xi8> -> tensor<2x8xi32>
  return %0, %1 : tensor<2x8xf32>, tensor<2x8xi32>
}

// -----

// A table is looked up nowhere, so that such codes stay row-major.
// CHECK: } panel <32 x 8> {lathe.offset
// CHECK: nn.weight private @nf4
// CHECK-NOT: panel <
// CHECK: func.func @main
!int4 = !pack.tensor<64x8xf32, #pack.int4<group = 32>>
!nf4 = !pack.tensor<64x8xf32, #pack.codebook<nf4, group = 64>>
nn.weight private @f : tensor<64x8xf32> = dense<1.0>
nn.weight private @int4 : !int4 computed {
  %f = nn.weight_use @f : tensor<64x8xf32>
  %p = pack.encode %f : tensor<64x8xf32> -> !int4
  nn.yield %p : !int4
}
nn.weight private @nf4 : !nf4 computed {
  %f = nn.weight_use @f : tensor<64x8xf32>
  %p = pack.encode %f : tensor<64x8xf32> -> !nf4
  nn.yield %p : !nf4
}
func.func @main(%x: tensor<2x64xf32>) -> (tensor<2x8xf32>, tensor<2x8xf32>) {
  %0 = nn.weight_use @int4 : !int4
  %1 = nn.weight_use @nf4 : !nf4
  %2 = pack.decode %0 : !int4 -> tensor<64x8xf32>
  %3 = pack.decode %1 : !nf4 -> tensor<64x8xf32>
  %4 = nn.matmul %x, %2 : tensor<2x64xf32>, tensor<64x8xf32> -> tensor<2x8xf32>
  %5 = nn.matmul %x, %3 : tensor<2x64xf32>, tensor<64x8xf32> -> tensor<2x8xf32>
  return %4, %5 : tensor<2x8xf32>, tensor<2x8xf32>
}
