// RUN: lathe-opt %s --split-input-file --pack-round-rows="target=x86-64-v4+vnni" | FileCheck %s
// RUN: lathe-opt %s --split-input-file --pack-round-rows="target=x86-64-v3" --verify-diagnostics | FileCheck %s --check-prefix=SLOW
// RUN: lathe-opt %s --split-input-file --pack-round-rows="target=x86-64-v3 force" | FileCheck %s

// Two products with one tensor round it once, in groups of 32.
// CHECK-LABEL: func @twice
// CHECK-SAME:    (%[[X:.*]]: tensor<?x64xf32>
// CHECK:         %[[G:.*]] = nn.reshape %[[X]] {{.*}} -> tensor<?x2x32xf32>
// CHECK:         %[[A:.*]] = nn.unary abs %[[G]]
// CHECK:         %[[M:.*]] = nn.reduce max %[[A]] axes([2]) keep_dims(true)
// CHECK:         %[[TINY:.*]] = arith.constant dense<7.8886
// CHECK:         %[[L:.*]] = nn.binary max %[[M]], %[[TINY]]
// CHECK:         %[[I:.*]] = nn.binary div %{{.*}}, %[[L]]
// CHECK:         %[[SCALED:.*]] = nn.binary mul %[[G]], %[[I]]
// CHECK:         %[[CODES:.*]] = nn.unary round %[[SCALED]]
// CHECK:         %[[S:.*]] = nn.binary mul %[[L]], %{{.*}}
// CHECK:         %[[R:.*]] = nn.binary mul %[[CODES]], %[[S]]
// CHECK:         %[[ROWS:.*]] = nn.reshape %[[R]] {{.*}} -> tensor<?x64xf32>
// CHECK-NOT:     nn.reduce
// CHECK:         nn.matmul %[[ROWS]], %{{.*}} {pack.rounded}
// CHECK:         nn.matmul %[[ROWS]], %{{.*}} {pack.rounded}
// SLOW-LABEL:  func @twice
// SLOW-NOT:      nn.unary round
// SLOW-NOT:      pack.rounded
nn.weight private @w : !pack.tensor<64x96xf32, #pack.int4<group = 32, dynamic = true>> computed {
  %w = arith.constant dense<1.0> : tensor<64x96xf32>
  %p = pack.encode %w : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32, dynamic = true>>
  nn.yield %p : !pack.tensor<64x96xf32, #pack.int4<group = 32, dynamic = true>>
}
func.func @twice(%x: tensor<?x64xf32> {nn.dims = ["S", ""]}) -> (tensor<?x96xf32>, tensor<?x96xf32>) {
  %p = nn.weight_use @w : !pack.tensor<64x96xf32, #pack.int4<group = 32, dynamic = true>>
  %w = pack.decode %p : !pack.tensor<64x96xf32, #pack.int4<group = 32, dynamic = true>> -> tensor<64x96xf32>
  // expected-remark@+1 {{[pack-round-rows] missed: its rows are not rounded to 8 bits: x86-64-v3 has no dot products of bytes, which would gain by it}}
  %0 = nn.matmul %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  // expected-remark@+1 {{its rows are not rounded to 8 bits}}
  %1 = nn.matmul %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0, %1 : tensor<?x96xf32>, tensor<?x96xf32>
}

// -----

// CHECK-LABEL: func @weight_only
// CHECK-NOT:     nn.reduce
nn.weight private @w : !pack.tensor<64x96xf32, #pack.int4<group = 32>> computed {
  %w = arith.constant dense<1.0> : tensor<64x96xf32>
  %p = pack.encode %w : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  nn.yield %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
}
func.func @weight_only(%x: tensor<4x64xf32>) -> tensor<4x96xf32> {
  %p = nn.weight_use @w : !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  %w = pack.decode %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>> -> tensor<64x96xf32>
  %0 = nn.matmul %x, %w : tensor<4x64xf32>, tensor<64x96xf32> -> tensor<4x96xf32>
  return %0 : tensor<4x96xf32>
}
