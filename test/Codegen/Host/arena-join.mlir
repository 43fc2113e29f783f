// RUN: lathe-opt %s --assign-weights --emit-cpu-kernels=target=x86-64-v3 --lower-host | FileCheck %s

// Two parts of a whole lie in one slot from the first part on, so that what is between them needs another.
// CHECK: module attributes {lathe.slot_count = 2 : i64
func.func @main(%x: tensor<64xf32>) -> tensor<128xf32> {
  %0 = kernel.launch @exp(%x) sizes() shapes [array<i64: 64>, array<i64: 64>] : tensor<64xf32> -> tensor<64xf32>
  %1 = kernel.launch @exp(%x) sizes() shapes [array<i64: 64>, array<i64: 64>] : tensor<64xf32> -> tensor<64xf32>
  %2 = kernel.launch @exp(%1) sizes() shapes [array<i64: 64>, array<i64: 64>] : tensor<64xf32> -> tensor<64xf32>
  %3 = kernel.join %0, %2 axis 0 : tensor<64xf32>, tensor<64xf32> -> tensor<128xf32>
  %4 = kernel.launch @double(%3) sizes() shapes [array<i64: 128>, array<i64: 128>] : tensor<128xf32> -> tensor<128xf32>
  return %4 : tensor<128xf32>
}
func.func private @exp(%x: memref<?xi8>, %y: memref<?xi8>) attributes {kernel.root = "pointwise"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<64xf32>
  %1 = nn.unary exp %0 : tensor<64xf32> -> tensor<64xf32>
  kernel.output %1, %y[] : tensor<64xf32>, memref<?xi8>
  return
}
func.func private @double(%x: memref<?xi8>, %y: memref<?xi8>) attributes {kernel.root = "pointwise"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<128xf32>
  %1 = nn.binary add %0, %0 : tensor<128xf32>, tensor<128xf32> -> tensor<128xf32>
  kernel.output %1, %y[] : tensor<128xf32>, memref<?xi8>
  return
}
