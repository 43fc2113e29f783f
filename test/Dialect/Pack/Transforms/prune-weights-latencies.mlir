// RUN: split-file %s %t
// RUN: lathe-opt %t/model.mlir --pack-prune-weights="target=x86-64-v4+vnni latencies=%t/table.json" 2>&1 | FileCheck %s
// RUN: lathe-opt %t/model.mlir --pack-prune-weights="target=x86-64-v4+vnni latencies=%t/other.json" 2>&1 | FileCheck %s --check-prefix=BUILTIN
// RUN: not lathe-opt %t/model.mlir --pack-prune-weights=latencies=%t/bad.json 2>&1 | FileCheck %s --check-prefix=BAD

// Times at the shares that were measured lie on lines: of blocks of f32, 90 + 40 * share here.
// CHECK: remark: [pack-prune-weights] missed: not pruned to block:75%: products take 1.00 of the time in blocks of 1 x 4, as measured for 64 x 64 x 96
// Blocks of bytes are compared with the dense product of bytes, which takes 50.
// CHECK: remark: [pack-prune-weights] pruned to block:75%: products take 0.56 of the time in blocks of 4 x 32, as measured for 64 x 64 x 96
// Single elements were not measured.
// CHECK: remark: [pack-prune-weights] pruned to unstructured:90%: products take 0.25 of the time in blocks of 1 x 1{{$}}

// BUILTIN: pruned to block:75%: products take 0.31 of the time in blocks of 1 x 4{{$}}

// BAD: kept is no number from 0 to 1

//--- model.mlir
nn.weight private @w : tensor<64x96xf32> = dense<1.0>
func.func @main(%x: tensor<64x64xf32>) -> (tensor<64x96xf32>, tensor<64x96xf32>, tensor<64x96xf32>) {
  %w = nn.weight_use @w : tensor<64x96xf32>
  %0 = nn.matmul %x, %w {pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<64x64xf32>, tensor<64x96xf32> -> tensor<64x96xf32>
  %1 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>, pack.sparsity = #pack.sparsity<block, zeros = 750>} : tensor<64x64xf32>, tensor<64x96xf32> -> tensor<64x96xf32>
  %2 = nn.matmul %x, %w {pack.sparsity = #pack.sparsity<unstructured, zeros = 900>} : tensor<64x64xf32>, tensor<64x96xf32> -> tensor<64x96xf32>
  return %0, %1, %2 : tensor<64x96xf32>, tensor<64x96xf32>, tensor<64x96xf32>
}

//--- table.json
{"version": 1, "processor": "p", "features": "0", "compiler": "c", "products": [
  {"format": "f32", "rows": 64, "depth": 64, "columns": 96, "microseconds": 100},
  {"format": "int8<dynamic>", "rows": 64, "depth": 64, "columns": 96, "microseconds": 50},
  {"format": "blocks<rows = 1, columns = 4>", "rows": 64, "depth": 64, "columns": 96, "microseconds": 110, "kept": 0.5},
  {"format": "blocks<rows = 1, columns = 4>", "rows": 64, "depth": 64, "columns": 96, "microseconds": 94, "kept": 0.1},
  {"format": "blocks<rows = 4, columns = 32>", "rows": 64, "depth": 64, "columns": 96, "microseconds": 40, "kept": 0.5},
  {"format": "blocks<rows = 4, columns = 32>", "rows": 64, "depth": 64, "columns": 96, "microseconds": 21, "kept": 0.1},
  {"format": "blocks<rows = 1, columns = 4>", "rows": 4096, "depth": 64, "columns": 96, "microseconds": 1, "kept": 0.1}]}

//--- other.json
{"version": 1, "processor": "p", "features": "0", "compiler": "c", "products": [
  {"format": "f32", "rows": 64, "depth": 64, "columns": 96, "microseconds": 100}]}

//--- bad.json
{"version": 1, "processor": "p", "features": "0", "compiler": "c", "products": [
  {"format": "f32", "rows": 64, "depth": 64, "columns": 96, "microseconds": 100, "kept": 2}]}
