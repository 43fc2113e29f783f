// RUN: lathe-opt %s --split-input-file --pack-prune-weights=target=x86-64-v4+vnni --verify-diagnostics | FileCheck %s

// CHECK:      nn.weight private @w_pruned : tensor<64x96xf32> computed {
// CHECK-NEXT:   %[[W:.*]] = nn.weight_use @w : tensor<64x96xf32>
// CHECK-NEXT:   %[[P:.*]] = pack.prune %[[W]] <block, zeros = 750> blocks(1 x 4) : tensor<64x96xf32>
// CHECK-NEXT:   nn.yield %[[P]]
// CHECK-NEXT: } {onnx_name = "encoder.weight"}
nn.weight private @w : tensor<64x96xf32> = dense<1.0> {onnx_name = "encoder.weight"}

// Of 64 blocks of each of 24 columns 16 stay, and there is room for 3 that fill it up.
// CHECK-LABEL: func @block
// CHECK-NOT:     pack.sparsity
// CHECK:         %[[W:.*]] = nn.weight_use @w_pruned
// CHECK:         nn.matmul %{{.*}}, %[[W]] {pack.format = #pack.blocks<rows = 1, columns = 4, count = 456>}
// CHECK:         nn.weight_use @w_pruned
func.func @block(%x: tensor<?x64xf32>, %y: tensor<4x64xf32>) -> (tensor<?x96xf32>, tensor<4x96xf32>) {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{[pack-prune-weights] pruned to block:75%: products take}}
  %0 = nn.matmul %x, %w {pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  // expected-remark@+1 {{pruned to block:75%}}
  %1 = nn.matmul %y, %w {pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<4x64xf32>, tensor<64x96xf32> -> tensor<4x96xf32>
  return %0, %1 : tensor<?x96xf32>, tensor<4x96xf32>
}

// -----

// CHECK-LABEL: func @unstructured
// CHECK:         pack.format = #pack.blocks<rows = 1, columns = 1, count = 960>
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @unstructured(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{pruned to unstructured:90%: products take}}
  %0 = nn.matmul %x, %w {pack.sparsity = #pack.sparsity<unstructured, zeros = 900>} : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}

// -----

// Codes are made of what is left, by the pass that quantizes.
// CHECK-LABEL: func @bytes
// CHECK:         nn.matmul {{.*}} {pack.blocks = #pack.blocks<rows = 4, columns = 32, count = 21>, pack.format = #pack.int8<dynamic>}
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @bytes(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{pruned to block:75%}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>, pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}

// -----

// CHECK-LABEL: func @single_bytes
// CHECK-NOT:     pack.blocks
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @single_bytes(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{missed: not pruned to unstructured:90%: codes of 8 bits are read in blocks only}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>, pack.sparsity = #pack.sparsity<unstructured, zeros = 900>} : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}

// -----

// CHECK-LABEL: func @does_not_pay
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @does_not_pay(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{missed: not pruned to block:10%: products take}}
  %0 = nn.matmul %x, %w {pack.sparsity = #pack.sparsity<block, zeros = 100>} : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}

// -----

// CHECK-LABEL: func @two_of_four
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @two_of_four(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{missed: not pruned to 2:4: products take 1.}}
  %0 = nn.matmul %x, %w {pack.sparsity = #pack.sparsity<two_of_four, zeros = 500>} : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}

// -----

// CHECK-LABEL: func @too_few
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x48xf32> = dense<1.0>
func.func @too_few(%x: tensor<?x64xf32>) -> tensor<?x48xf32> {
  %w = nn.weight_use @w : tensor<64x48xf32>
  // expected-remark@+1 {{missed: not pruned to block:75%: 64 x 48 weights are too few, below 64 x 64 nothing is saved}}
  %0 = nn.matmul %x, %w {pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<?x64xf32>, tensor<64x48xf32> -> tensor<?x48xf32>
  return %0 : tensor<?x48xf32>
}

// -----

// CHECK-LABEL: func @too_deep
nn.weight private @w : tensor<4100x64xf32> = dense<1.0>
func.func @too_deep(%x: tensor<?x4100xf32>) -> tensor<?x64xf32> {
  %w = nn.weight_use @w : tensor<4100x64xf32>
  // expected-remark@+1 {{missed: not pruned to block:75%: it has 4100 rows, products read blocks of up to 4096}}
  %0 = nn.matmul %x, %w {pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<?x4100xf32>, tensor<4100x64xf32> -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// CHECK-LABEL: func @other_format
// CHECK:         {pack.format = #pack.bf16}
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @other_format(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{missed: not pruned to block:75%: no kernel reads blocks of #pack.bf16}}
  %0 = nn.matmul %x, %w {pack.format = #pack.bf16, pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}

// -----

// Zeros that are there are used as they are.
// CHECK-LABEL: func @found
// CHECK:         %[[W:.*]] = nn.weight_use @w : tensor<64x96xf32>
// CHECK:         nn.matmul %{{.*}}, %[[W]] {pack.format = #pack.blocks<rows = 1, columns = 4, count = 72>}
nn.weight private @w : tensor<64x96xf32> = dense<0.0>
func.func @found(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  // expected-remark@+1 {{[pack-prune-weights] 100.0 % of the weight are zeros: products take}}
  %0 = nn.matmul %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}

// -----

// CHECK-LABEL: func @no_zeros
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @no_zeros(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %w = nn.weight_use @w : tensor<64x96xf32>
  %0 = nn.matmul %x, %w : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  return %0 : tensor<?x96xf32>
}
