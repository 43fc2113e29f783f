// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

// True f32 takes the way of tensor cores but for the product itself: 16 sums in the registers of each thread, and two
// elements of the depth at a time. Columns that are a multiple of the tile need no check; what follows the product is done
// to four elements at a time.
// CHECK-LABEL: func.func @gemm_relu(
// CHECK-SAME:    lathe.threads = 256
// CHECK:         scf.for {{.*}} -> (f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, i32, i32)
// CHECK:           nvvm.cp.async.wait.group
// CHECK:           nvvm.barrier0
// CHECK-COUNT-2:   nvvm.cp.async.shared.global
// CHECK:           llvm.load {{.*}} {alignment = 8 : i64} : !llvm.ptr<3> -> vector<2xf32>
// CHECK:           math.fma
// CHECK-NOT:       nvvm.mma.sync
// CHECK:           scf.yield
// CHECK:         llvm.store {{.*}} {alignment = 16 : i64} : vector<4xf32>, !llvm.ptr<3>
// CHECK:         vector.store {{.*}} {alignment = 16 : i64} : memref<{{.*}}xf32>, vector<4xf32>
// CHECK:       func.func @gemm_relu.tasks(
// CHECK:         arith.constant 48 : index
func.func @gemm_relu(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>)
    attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[] : memref<?xi8> -> tensor<500x384xf32>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<384x384xf32>
  %b = kernel.input %2[] : memref<?xi8> -> tensor<384xf32>
  %p = nn.matmul %x, %w : tensor<500x384xf32>, tensor<384x384xf32> -> tensor<500x384xf32>
  %s = nn.binary add %p, %b : tensor<500x384xf32>, tensor<384xf32> -> tensor<500x384xf32>
  %y = nn.unary relu %s : tensor<500x384xf32> -> tensor<500x384xf32>
  kernel.output %y, %3[] : tensor<500x384xf32>, memref<?xi8>
  return
}

// Bytes by tensor cores, of any sign, in i32. What the zero point takes off is its product with the sums of columns, which
// lanes add up as they multiply. Rows of 100 bytes are read one by one.
// CHECK-LABEL: func.func @bytes(
// CHECK:         scf.for {{.*}} -> (i32,
// CHECK:           nvvm.ldmatrix
// CHECK:           llvm.call_intrinsic "llvm.nvvm.idp4a.s.s"
// CHECK:           nvvm.mma.sync {{.*}}intOverflowBehavior = #nvvm.mma_int_overflow<wrapped>
// CHECK-SAME:        multiplicandAPtxType = #nvvm.mma_type<u8>, multiplicandBPtxType = #nvvm.mma_type<s8>
// CHECK:           scf.yield
// CHECK:         nvvm.shfl.sync bfly
// CHECK:         nvvm.shfl.sync idx
// CHECK:         arith.muli {{.*}} : i32
// CHECK:         arith.subi {{.*}} : i32
// CHECK:       func.func @bytes.tasks(
func.func @bytes(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %M: index)
    attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[%M] : memref<?xi8> -> tensor<?x100xui8>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<100x7xi8>
  %z = kernel.input %2[] : memref<?xi8> -> tensor<ui8>
  %y = nn.integer_matmul %x, %w lhs_zero(%z : tensor<ui8>) : tensor<?x100xui8>, tensor<100x7xi8> -> tensor<?x7xi32>
  kernel.output %y, %3[%M] : tensor<?x7xi32>, memref<?xi8>
  return
}

// In panels, both operands are copied by 16 bytes; without zero points nothing is added up.
// CHECK-LABEL: func.func @byte_panels(
// CHECK-COUNT-2: nvvm.cp.async.shared.global
// CHECK-NOT:     idp4a
// CHECK:         nvvm.mma.sync
// CHECK-NOT:     nvvm.shfl.sync
// CHECK:       func.func @byte_panels.tasks(
func.func @byte_panels(%0: memref<?xi8>, %1: memref<?xi8> {kernel.panel = #nn.panel<32 x 16>}, %2: memref<?xi8>, %M: index)
    attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[%M] : memref<?xi8> -> tensor<?x128xi8>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<128x96xi8>
  %y = nn.integer_matmul %x, %w : tensor<?x128xi8>, tensor<128x96xi8> -> tensor<?x96xi32>
  kernel.output %y, %2[%M] : tensor<?x96xi32>, memref<?xi8>
  return
}
