// RUN: lathe-opt %s --split-input-file --kernel-form --kernel-outline --assign-weights | FileCheck %s

// A product decodes its weight itself, from panels: 3 groups of 64 + 4 * 128 bytes for each of 2 panels.
// CHECK: module attributes {lathe.weight_bytes = 3456 : i64}
// CHECK: } panel <32 x 8> {lathe.offset = 0 : i64}
!int4 = !pack.tensor<96x40xf32, #pack.int4<group = 32>>
nn.weight private @w : tensor<96x40xf32> = dense<1.0>
nn.weight private @p : !int4 computed {
  %0 = nn.weight_use @w : tensor<96x40xf32>
  %1 = pack.encode %0 : tensor<96x40xf32> -> !int4
  nn.yield %1 : !int4
}
// CHECK:      func.func @main
// CHECK-NOT:    pack.decode
// CHECK:        kernel.launch @matmul_0({{.*}} : !pack.tensor<96x40xf32, #pack.int4<group = 32>>, tensor<?x96xf32> -> tensor<?x40xf32>
// CHECK:      func.func private @matmul_0(%[[W:.*]]: memref<?xi8> {kernel.panel = #nn.panel<32 x 8>}
// CHECK:        %[[P:.*]] = kernel.input %[[W]][] : memref<?xi8> -> !pack.tensor<96x40xf32, #pack.int4<group = 32>>
// CHECK:        %[[M:.*]] = pack.decode %[[P]]
// CHECK:        nn.matmul %{{.*}}, %[[M]]
func.func @main(%x: tensor<?x96xf32> {nn.dims = ["S", ""]}) -> tensor<?x40xf32> {
  %p = nn.weight_use @p : !int4
  %m = pack.decode %p : !int4 -> tensor<96x40xf32>
  %0 = nn.matmul %x, %m : tensor<?x96xf32>, tensor<96x40xf32> -> tensor<?x40xf32>
  return %0 : tensor<?x40xf32>
}

// -----

// What others read is decoded by a kernel of its own, from components: 512 bytes of codes, 64 of scales.
// CHECK: module attributes {lathe.weight_bytes = 576 : i64}
// CHECK-NOT: panel <
// CHECK:      func.func private @pointwise_0
// CHECK:        pack.decode
// CHECK-NEXT:   kernel.output
// CHECK-NOT:  kernel.panel
!int4 = !pack.tensor<32x32xf32, #pack.int4<group = 32>>
nn.weight private @w : tensor<32x32xf32> = dense<1.0>
nn.weight private @p : !int4 computed {
  %0 = nn.weight_use @w : tensor<32x32xf32>
  %1 = pack.encode %0 : tensor<32x32xf32> -> !int4
  nn.yield %1 : !int4
}
func.func @main(%x: tensor<2x32xf32>) -> (tensor<2x32xf32>, tensor<32x32xf32>) {
  %p = nn.weight_use @p : !int4
  %m = pack.decode %p : !int4 -> tensor<32x32xf32>
  %0 = nn.matmul %x, %m : tensor<2x32xf32>, tensor<32x32xf32> -> tensor<2x32xf32>
  %1 = nn.unary exp %m : tensor<32x32xf32> -> tensor<32x32xf32>
  return %0, %1 : tensor<2x32xf32>, tensor<32x32xf32>
}
