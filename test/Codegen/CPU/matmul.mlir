// RUN: lathe-opt %s --split-input-file --verify-diagnostics --emit-cpu-kernels=target=x86-64-v4 | FileCheck %s
// RUN: lathe-opt %s --split-input-file --verify-diagnostics --emit-cpu-kernels=target=x86-64-v3 \
// RUN:   | FileCheck %s --check-prefix=AVX2

// An 8 x 32 tile: 16 sums live through a loop over the depth that does no index arithmetic but additions.
// Eight tiles fetch one line of the next panel in every step, at least four two lines, fewer four; the lower tile
// of the last rows fetches ahead of itself. Each tile fetches the places of its results first.
// What follows is short, and each tile does it with its sums.
// CHECK-LABEL: func.func @panels(
// CHECK-NOT:     memref.alloca
// CHECK:         scf.if
// CHECK-COUNT-16:  memref.prefetch {{.*}}, write, locality<2>, data
// CHECK:           %{{.*}}:16 = scf.for
// CHECK-COUNT-1:     memref.prefetch {{.*}}, read, locality<2>, data
// CHECK-NOT:         memref.prefetch
// CHECK-COUNT-64:    vector.fma {{.*}} : vector<16xf32>
// CHECK-NOT:         vector.fma
// CHECK:           scf.yield
// CHECK-COUNT-16:  arith.mulf {{.*}} : vector<16xf32>
// CHECK-NOT:       arith.mulf
// CHECK:           scf.if
// CHECK:             %{{.*}}:16 = scf.for
// CHECK-COUNT-2:       memref.prefetch {{.*}}, read
// CHECK-NOT:           memref.prefetch
// CHECK:               vector.fma
// CHECK:             %{{.*}}:16 = scf.for
// CHECK-COUNT-4:       memref.prefetch {{.*}}, read
// CHECK-NOT:           memref.prefetch
// CHECK:         scf.index_switch
// CHECK:           scf.for
// CHECK-COUNT-8:     memref.prefetch {{.*}}, read
// CHECK-NOT:         memref.prefetch
// CHECK:             vector.fma
// CHECK-COUNT-2:   arith.mulf {{.*}} : vector<16xf32>
// CHECK-NOT:     vector.maskedstore

// AVX2-LABEL: func.func @panels(
// AVX2:         scf.for
// AVX2:           %{{.*}}:12 = scf.for
// AVX2:             vector.fma {{.*}} : vector<8xf32>
func.func @panels(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}, %b: memref<?xi8>,
                  %y: memref<?xi8>, %S: index) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%S] : memref<?xi8> -> tensor<?x64xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<64x96xf32>
  %2 = kernel.input %b[] : memref<?xi8> -> tensor<96xf32>
  %3 = nn.matmul %0, %1 : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  %4 = nn.binary mul %3, %2 : tensor<?x96xf32>, tensor<96xf32> -> tensor<?x96xf32>
  kernel.output %4, %y[%S] : tensor<?x96xf32>, memref<?xi8>
  return
}

// -----

// A longer epilogue is there once for all tile heights, and reads the sums from memory.
// CHECK-LABEL: func.func @long_epilogue(
// CHECK-COUNT-1: memref.alloca
// CHECK-COUNT-2: arith.divf {{.*}} : vector<16xf32>
// CHECK-NOT:     arith.divf
func.func @long_epilogue(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}, %y: memref<?xi8>,
                         %S: index) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%S] : memref<?xi8> -> tensor<?x64xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<64x96xf32>
  %2 = nn.matmul %0, %1 : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  %3 = nn.unary sigmoid %2 : tensor<?x96xf32> -> tensor<?x96xf32>
  kernel.output %3, %y[%S] : tensor<?x96xf32>, memref<?xi8>
  return
}

// -----

// CHECK-LABEL: func.func @masked_columns(
// CHECK:         vector.maskedstore
func.func @masked_columns(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}, %y: memref<?xi8>,
                          %S: index) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%S] : memref<?xi8> -> tensor<?x64xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<64x90xf32>
  %2 = nn.matmul %0, %1 : tensor<?x64xf32>, tensor<64x90xf32> -> tensor<?x90xf32>
  kernel.output %2, %y[%S] : tensor<?x90xf32>, memref<?xi8>
  return
}

// -----

func.func @wide_element(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<4x8xf64>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<8x4xf64>
  // expected-error @+1 {{only products of f32 and of bf16 have a micro-kernel}}
  %2 = nn.matmul %0, %1 : tensor<4x8xf64>, tensor<8x4xf64> -> tensor<4x4xf64>
  kernel.output %2, %y[] : tensor<4x4xf64>, memref<?xi8>
  return
}

// -----

func.func @unknown_panel(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<24 x 2>}, %y: memref<?xi8>)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<4x8xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<8x4xf32>
  // expected-error-re @+1 {{cannot read panels of 24 x 2 with a tile of {{[0-9]+}} columns}}
  %2 = nn.matmul %0, %1 : tensor<4x8xf32>, tensor<8x4xf32> -> tensor<4x4xf32>
  kernel.output %2, %y[] : tensor<4x4xf32>, memref<?xi8>
  return
}
