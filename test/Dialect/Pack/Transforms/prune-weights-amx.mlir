// RUN: lathe-opt %s --pack-prune-weights=target=x86-64-v4+amx --verify-diagnostics | FileCheck %s
// RUN: lathe-opt %s --pack-prune-weights="target=x86-64-v4+amx force" 2>&1 | FileCheck %s --check-prefix=FORCED

// Matrix registers multiply all of the matrix in less time than vectors do a quarter.
// CHECK-LABEL: func @bytes
// CHECK-NOT:     pack.blocks
// FORCED:        remark: [pack-prune-weights] pruned to block:75%, as forced: products take
// FORCED-LABEL: func @bytes
// FORCED:         pack.blocks = #pack.blocks<rows = 4, columns = 32, count = 21>
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @bytes(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{missed: not pruned to block:75%: products take 1.}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>, pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}
