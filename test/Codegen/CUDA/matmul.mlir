// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

// A tile of 64 x 64 by each block: 16 of its sums in the registers of each thread, two barriers a step. Columns
// that are a multiple of the tile need no check; what follows the product is done to each sum.
// CHECK-LABEL: func.func @gemm_relu(
// CHECK-SAME:    lathe.threads = 256
// CHECK:         scf.for {{.*}} -> (f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32)
// CHECK:           memref.store {{.*}} memref<{{.*}}xf32, 3>
// CHECK:           nvvm.barrier0
// CHECK:           math.fma
// CHECK:           nvvm.barrier0
// CHECK:           scf.yield
// CHECK:         scf.if
// CHECK-NOT:       scf.if
// CHECK:           arith.addf
// CHECK:           memref.store
// CHECK:       func.func @gemm_relu.tasks(
// CHECK:         arith.constant 6 : index
func.func @gemm_relu(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %M: index)
    attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[%M] : memref<?xi8> -> tensor<?x384xf32>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<384x384xf32>
  %b = kernel.input %2[] : memref<?xi8> -> tensor<384xf32>
  %p = nn.matmul %x, %w : tensor<?x384xf32>, tensor<384x384xf32> -> tensor<?x384xf32>
  %s = nn.binary add %p, %b : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  %y = nn.unary relu %s : tensor<?x384xf32> -> tensor<?x384xf32>
  kernel.output %y, %3[%M] : tensor<?x384xf32>, memref<?xi8>
  return
}

// Bytes less their zero points, in i32.
// CHECK-LABEL: func.func @bytes(
// CHECK:         scf.for {{.*}} -> (i32,
// CHECK:           arith.extui
// CHECK:           arith.subi
// CHECK:           arith.extsi
// CHECK:           arith.muli {{.*}} : i32
func.func @bytes(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %M: index)
    attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[%M] : memref<?xi8> -> tensor<?x20xui8>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<20x7xi8>
  %z = kernel.input %2[] : memref<?xi8> -> tensor<ui8>
  %y = nn.integer_matmul %x, %w lhs_zero(%z : tensor<ui8>) : tensor<?x20xui8>, tensor<20x7xi8> -> tensor<?x7xi32>
  kernel.output %y, %3[%M] : tensor<?x7xi32>, memref<?xi8>
  return
}
