// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

// A warp a row, four rows a block: no barrier, and a maximum and a sum by shuffles. A lane has three times four elements
// of the row, which it loads once; exponentials stay in registers.
// CHECK-LABEL: func.func @softmax_by_warps(
// CHECK-SAME:    lathe.threads = 128
// CHECK-NOT:     nvvm.barrier0
// CHECK-NOT:     scf.for
// CHECK:         scf.if
// CHECK-COUNT-3:   vector.load {{.*}} {alignment = 16 : i64} : memref<{{.*}}xf32>, vector<4xf32>
// CHECK-NOT:       vector.load
// CHECK-COUNT-5:   nvvm.shfl.sync
// CHECK-COUNT-5:   nvvm.shfl.sync
// CHECK-COUNT-3:   vector.store {{.*}} {alignment = 16 : i64} : memref<{{.*}}xf32>, vector<4xf32>
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
// CHECK-COUNT-4: vector.load {{.*}} vector<4xf32>
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

// Of 200 elements some lanes have a second vector and others none: these take the last one again, add nothing for it, and
// do not store it.
// CHECK-LABEL: func.func @uneven_rows(
// CHECK:         scf.if
// CHECK:           arith.minsi
// CHECK:           arith.select %{{.*}}, %{{.*}}, %{{.*}} : vector<4xf32>
// CHECK:           vector.store
// CHECK:           scf.if
// CHECK:      vector.store
// CHECK:       func.func @uneven_rows.tasks(
func.func @uneven_rows(%0: memref<?xi8>, %1: memref<?xi8>, %B: index) attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B] : memref<?xi8> -> tensor<?x200xf32>
  %y = nn.softmax %x axis(1) : tensor<?x200xf32> -> tensor<?x200xf32>
  kernel.output %y, %1[%B] : tensor<?x200xf32>, memref<?xi8>
  return
}

// Long rows do not fit the registers, and odd ones do not divide into vectors.
// CHECK-LABEL: func.func @long_rows(
// CHECK:         scf.for
// CHECK:           vector.load {{.*}} {alignment = 16 : i64}
// CHECK:         scf.for
// CHECK:       func.func @odd_rows(
// CHECK:         scf.for
// CHECK:           memref.load
func.func @long_rows(%0: memref<?xi8>, %1: memref<?xi8>, %B: index) attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B] : memref<?xi8> -> tensor<?x16384xf32>
  %y = nn.softmax %x axis(1) : tensor<?x16384xf32> -> tensor<?x16384xf32>
  kernel.output %y, %1[%B] : tensor<?x16384xf32>, memref<?xi8>
  return
}
func.func @odd_rows(%0: memref<?xi8>, %1: memref<?xi8>, %B: index) attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B] : memref<?xi8> -> tensor<?x77xf32>
  %y = nn.softmax %x axis(1) : tensor<?x77xf32> -> tensor<?x77xf32>
  kernel.output %y, %1[%B] : tensor<?x77xf32>, memref<?xi8>
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
