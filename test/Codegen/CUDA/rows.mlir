// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

// A warp a row, four rows a block: no barrier, and a maximum and a sum by shuffles.
// CHECK-LABEL: func.func @softmax_by_warps(
// CHECK-SAME:    lathe.threads = 128
// CHECK-NOT:     nvvm.barrier0
// CHECK:         scf.if
// CHECK:           scf.for
// CHECK-COUNT-5:   nvvm.shfl.sync
// CHECK:           scf.for
// CHECK-COUNT-5:   nvvm.shfl.sync
// CHECK:           scf.for
// CHECK-NOT:     nvvm.barrier0
// CHECK:         return
// CHECK:       func.func @softmax_by_warps.tasks(
// CHECK:         arith.constant 4 : index
func.func @softmax_by_warps(%0: memref<?xi8>, %1: memref<?xi8>, %B: index) attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B] : memref<?xi8> -> tensor<?x384xf32>
  %y = nn.softmax %x axis(1) : tensor<?x384xf32> -> tensor<?x384xf32>
  kernel.output %y, %1[%B] : tensor<?x384xf32>, memref<?xi8>
  return
}

// A block a row: what its warps have is put together in shared memory, after a barrier.
// CHECK-LABEL: func.func @sum_by_a_block(
// CHECK-SAME:    lathe.shared_bytes = 32
// CHECK-SAME:    lathe.threads = 256
// CHECK:         scf.for
// CHECK-COUNT-5: nvvm.shfl.sync
// CHECK:         memref.store {{.*}} memref<{{.*}}xf32, 3>
// CHECK:         nvvm.barrier0
// CHECK-COUNT-8: memref.load {{.*}} memref<{{.*}}xf32, 3>
// CHECK:         memref.store
// CHECK:       func.func @sum_by_a_block.tasks(%[[B:.*]]: index)
// CHECK:         return %[[B]],
func.func @sum_by_a_block(%0: memref<?xi8>, %1: memref<?xi8>, %B: index) attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B] : memref<?xi8> -> tensor<?x4096xf32>
  %y = nn.reduce sum %x axes([1]) keep_dims(false) : tensor<?x4096xf32> -> tensor<?xf32>
  kernel.output %y, %1[%B] : tensor<?xf32>, memref<?xi8>
  return
}

// A column by each thread, where another dimension than the last is reduced.
// CHECK-LABEL: func.func @mean_of_columns(
// CHECK-NOT:     nvvm.shfl.sync
// CHECK:         scf.if
// CHECK:           scf.for
// CHECK:           arith.divf
// CHECK:           memref.store
// CHECK-NOT:     nvvm.shfl.sync
// CHECK:         return
func.func @mean_of_columns(%0: memref<?xi8>, %1: memref<?xi8>, %B: index, %S: index)
    attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B, %S] : memref<?xi8> -> tensor<?x?x40xf32>
  %y = nn.reduce mean %x axes([1]) keep_dims(false) : tensor<?x?x40xf32> -> tensor<?x40xf32>
  kernel.output %y, %1[%B] : tensor<?x40xf32>, memref<?xi8>
  return
}
