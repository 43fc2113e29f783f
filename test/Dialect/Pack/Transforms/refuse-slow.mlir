// RUN: split-file %s %t
// RUN: lathe-opt %t/products.mlir --pack-refuse-slow=latencies=%t/table.json --verify-diagnostics | FileCheck %t/products.mlir
// RUN: lathe-opt %t/codebooks.mlir --pack-refuse-slow=latencies=%t/table.json --verify-diagnostics | FileCheck %t/codebooks.mlir
// RUN: lathe-opt %t/forced.mlir --pack-refuse-slow="latencies=%t/table.json force=true" --verify-diagnostics | FileCheck %t/forced.mlir
// RUN: lathe-opt %t/forced.mlir --pack-refuse-slow | FileCheck %t/forced.mlir
// RUN: not lathe-opt %t/forced.mlir --pack-refuse-slow=latencies=%t/malformed.json 2>&1 | FileCheck %s --check-prefix=MALFORMED

// MALFORMED: products[0]: rows is no number of at least 1
// MALFORMED: malformed.json

//--- table.json
{"version": 1, "processor": "some", "features": "0", "compiler": "0.1", "products": [
  {"format": "f32", "rows": 1, "depth": 64, "columns": 64, "microseconds": 2},
  {"format": "bf16", "rows": 1, "depth": 64, "columns": 64, "microseconds": 3},
  {"format": "f32", "rows": 128, "depth": 64, "columns": 64, "microseconds": 20},
  {"format": "bf16", "rows": 128, "depth": 64, "columns": 64, "microseconds": 10},
  {"format": "bf16", "rows": 128, "depth": 512, "columns": 512, "microseconds": 10},
  {"format": "codebook<nf4, group = 64>", "rows": 1, "depth": 64, "columns": 64, "microseconds": 2.04},
  {"format": "codebook<nf4, group = 64>", "rows": 128, "depth": 64, "columns": 64, "microseconds": 21},
  {"format": "codebook<f8E4M3FN, group = 32>", "rows": 128, "depth": 64, "columns": 64, "microseconds": 30}
]}

//--- malformed.json
{"version": 1, "processor": "some", "features": "0", "compiler": "0.1", "products": [
  {"format": "f32", "rows": 0, "depth": 64, "columns": 64, "microseconds": 2}]}

//--- products.mlir
// A product is judged by the nearest shape that was measured in both formats; of an unknown number of rows, by the one
// that the format suits best. What was not measured stays.
// CHECK-LABEL: func.func @products
// CHECK:         nn.matmul %{{.*}} : tensor<3x64xf32>
// CHECK:         nn.matmul %{{.*}} {pack.format = #pack.bf16} : tensor<100x64xf32>
// CHECK:         nn.matmul %{{.*}} {pack.format = #pack.bf16} : tensor<?x64xf32>
// CHECK:         nn.matmul %{{.*}} {pack.format = #pack.int8<dynamic>} : tensor<3x64xf32>
nn.weight private @w : tensor<64x48xf32> = dense<1.0>
func.func @products(%a: tensor<3x64xf32>, %b: tensor<100x64xf32>, %c: tensor<?x64xf32>)
    -> (tensor<3x48xf32>, tensor<100x48xf32>, tensor<?x48xf32>, tensor<3x48xf32>) {
  %w = nn.weight_use @w : tensor<64x48xf32>
  // expected-remark@+1 {{[pack-refuse-slow] missed: not computed as bf16, which takes 1.50 of the time of f32, as measured for 1 x 64 x 64}}
  %0 = nn.matmul %a, %w {pack.format = #pack.bf16} : tensor<3x64xf32>, tensor<64x48xf32> -> tensor<3x48xf32>
  %1 = nn.matmul %b, %w {pack.format = #pack.bf16} : tensor<100x64xf32>, tensor<64x48xf32> -> tensor<100x48xf32>
  %2 = nn.matmul %c, %w {pack.format = #pack.bf16} : tensor<?x64xf32>, tensor<64x48xf32> -> tensor<?x48xf32>
  %3 = nn.matmul %a, %w {pack.format = #pack.int8<dynamic>}
    : tensor<3x64xf32>, tensor<64x48xf32> -> tensor<3x48xf32>
  return %0, %1, %2, %3 : tensor<3x48xf32>, tensor<100x48xf32>, tensor<?x48xf32>, tensor<3x48xf32>
}

//--- codebooks.mlir
// Codebooks save bytes: they are refused only where products take longer than measurements differ by. Others are like those of
// as many bits; what was not measured in any such way stays.
// CHECK-LABEL: func.func @codebooks
// CHECK:         nn.matmul %{{.*}} {pack.format = #pack.codebook<nf4, group = 64>} : tensor<1x64xf32>
// CHECK:         nn.matmul %{{.*}} : tensor<128x64xf32>
// CHECK:         nn.matmul %{{.*}} : tensor<128x64xf32>
// CHECK:         nn.matmul %{{.*}} : tensor<128x64xf32>
// CHECK:         nn.matmul %{{.*}} {pack.format = #pack.codebook<int3, group = 32>} : tensor<128x64xf32>
nn.weight private @w : tensor<64x48xf32> = dense<1.0>
func.func @codebooks(%a: tensor<1x64xf32>, %b: tensor<128x64xf32>)
    -> (tensor<1x48xf32>, tensor<128x48xf32>, tensor<128x48xf32>, tensor<128x48xf32>, tensor<128x48xf32>) {
  %w = nn.weight_use @w : tensor<64x48xf32>
  %0 = nn.matmul %a, %w {pack.format = #pack.codebook<nf4, group = 64>} : tensor<1x64xf32>, tensor<64x48xf32> -> tensor<1x48xf32>
  // expected-remark@+1 {{[pack-refuse-slow] missed: not stored as codebook<nf4, group = 64>, which takes 1.05 of the time of f32, as measured for 128 x 64 x 64}}
  %1 = nn.matmul %b, %w {pack.format = #pack.codebook<nf4, group = 64>} : tensor<128x64xf32>, tensor<64x48xf32> -> tensor<128x48xf32>
  // expected-remark@+1 {{takes 1.05 of the time of f32, as measured for 128 x 64 x 64 of codebook<nf4, group = 64>}}
  %2 = nn.matmul %b, %w {pack.format = #pack.codebook<f4E2M1FN, group = 32>} : tensor<128x64xf32>, tensor<64x48xf32> -> tensor<128x48xf32>
  // expected-remark@+1 {{takes 1.50 of the time of f32, as measured for 128 x 64 x 64 of codebook<f8E4M3FN, group = 32>}}
  %3 = nn.matmul %b, %w {pack.format = #pack.codebook<f8E5M2, group = 32>} : tensor<128x64xf32>, tensor<64x48xf32> -> tensor<128x48xf32>
  %4 = nn.matmul %b, %w {pack.format = #pack.codebook<int3, group = 32>} : tensor<128x64xf32>, tensor<64x48xf32> -> tensor<128x48xf32>
  return %0, %1, %2, %3, %4 : tensor<1x48xf32>, tensor<128x48xf32>, tensor<128x48xf32>, tensor<128x48xf32>, tensor<128x48xf32>
}

//--- forced.mlir
// CHECK-LABEL: func.func @forced
// CHECK:         nn.matmul %{{.*}} {pack.format = #pack.bf16} : tensor<3x64xf32>
nn.weight private @w : tensor<64x48xf32> = dense<1.0>
func.func @forced(%a: tensor<3x64xf32>) -> tensor<3x48xf32> {
  %w = nn.weight_use @w : tensor<64x48xf32>
  // expected-remark@+1 {{[pack-refuse-slow] forced as bf16, which takes 1.50 of the time of f32, as measured for 1 x 64 x 64}}
  %0 = nn.matmul %a, %w {pack.format = #pack.bf16} : tensor<3x64xf32>, tensor<64x48xf32> -> tensor<3x48xf32>
  return %0 : tensor<3x48xf32>
}
