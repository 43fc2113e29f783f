// RUN: lathe-opt %s --split-input-file --emit-cpu-kernels=target=x86-64-v4 | FileCheck %s

// Four blocks of four columns at a time: their places are one word, and each element is multiplied with four vectors of
// rows.
// CHECK-LABEL: func.func @product(
// CHECK-NOT:     nn.gather
// CHECK:         memref.load %{{.*}} : memref<?xi64>
// CHECK:         memref.prefetch
// CHECK-COUNT-64: vector.fma
// CHECK:         vector.extract_strided_slice {{.*}} : vector<16xf32> to vector<4xf32>
func.func @product(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>, %S: index) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%S] : memref<?xi8> -> tensor<?x64xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> !pack.tensor<64x96xf32, #pack.blocks<rows = 1, columns = 4, count = 456>>
  %2 = pack.decode %1 : !pack.tensor<64x96xf32, #pack.blocks<rows = 1, columns = 4, count = 456>> -> tensor<64x96xf32>
  %3 = nn.matmul %0, %2 : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  kernel.output %3, %y[%S] : tensor<?x96xf32>, memref<?xi8>
  return
}

// -----

// Blocks of a size that no product reads are looked up, element by element.
// CHECK-LABEL: func.func @other_blocks(
// CHECK-NOT:     memref<?xi64>
func.func @other_blocks(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>, %S: index) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%S] : memref<?xi8> -> tensor<?x64xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> !pack.tensor<64x96xf32, #pack.blocks<rows = 2, columns = 8, count = 100>>
  %2 = pack.decode %1 : !pack.tensor<64x96xf32, #pack.blocks<rows = 2, columns = 8, count = 100>> -> tensor<64x96xf32>
  %3 = nn.matmul %0, %2 : tensor<?x64xf32>, tensor<64x96xf32> -> tensor<?x96xf32>
  kernel.output %3, %y[%S] : tensor<?x96xf32>, memref<?xi8>
  return
}

// -----

// Bytes: the tile of dense products, led by the list of places.
// CHECK-LABEL: func.func @bytes(
// CHECK:         memref.load %{{.*}} : memref<?xi16>
func.func @bytes(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>, %S: index) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%S] : memref<?xi8> -> tensor<?x64xui8>
  %1 = kernel.input %w[] : memref<?xi8> -> !pack.tensor<64x96xi8, #pack.blocks<rows = 4, columns = 32, count = 21>>
  %2 = pack.decode %1 : !pack.tensor<64x96xi8, #pack.blocks<rows = 4, columns = 32, count = 21>> -> tensor<64x96xi8>
  %3 = nn.integer_matmul %0, %2 : tensor<?x64xui8>, tensor<64x96xi8> -> tensor<?x96xi32>
  kernel.output %3, %y[%S] : tensor<?x96xi32>, memref<?xi8>
  return
}
