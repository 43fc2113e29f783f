// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

// Keys and values come through shared memory; the maximum, the sum and the 32 features of a query's result stay in
// registers. With 32 features a thread has a whole query: no shuffles.
// CHECK-LABEL: func.func @short_heads(
// CHECK-SAME:    lathe.shared_bytes = 8192
// CHECK-SAME:    lathe.threads = 128
// CHECK-NOT:     nvvm.shfl.sync
// CHECK:         scf.for
// CHECK:           scf.for
// CHECK:             memref.store {{.*}} memref<{{.*}}xf32, 3>
// CHECK:           scf.for
// CHECK:             memref.store {{.*}} memref<{{.*}}xf32, 3>
// CHECK:           nvvm.barrier0
// CHECK:           scf.for
// CHECK:             math.fma
// CHECK:           nvvm.barrier0
// CHECK-NOT:     nvvm.shfl.sync
// CHECK:         return
// CHECK:       func.func @short_heads.tasks(
func.func @short_heads(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %B: index)
    attributes {kernel.root = "attention"} {
  %q = kernel.input %0[%B] : memref<?xi8> -> tensor<?x40x12x32xf32>
  %k = kernel.input %1[%B] : memref<?xi8> -> tensor<?x40x12x32xf32>
  %v = kernel.input %2[%B] : memref<?xi8> -> tensor<?x40x12x32xf32>
  %y = nn.attention %q, %k, %v scale(0.125)
    : tensor<?x40x12x32xf32>, tensor<?x40x12x32xf32>, tensor<?x40x12x32xf32> -> tensor<?x40x12x32xf32>
  kernel.output %y, %3[%B] : tensor<?x40x12x32xf32>, memref<?xi8>
  return
}

// Longer heads are spread over neighbouring threads, four of them here: two shuffles a logit.
// CHECK-LABEL: func.func @long_heads(
// CHECK-COUNT-8: nvvm.shfl.sync
// CHECK-NOT:     nvvm.shfl.sync
// CHECK:         return
func.func @long_heads(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %B: index)
    attributes {kernel.root = "attention"} {
  %q = kernel.input %0[%B] : memref<?xi8> -> tensor<?x40x8x128xf32>
  %k = kernel.input %1[%B] : memref<?xi8> -> tensor<?x40x2x128xf32>
  %v = kernel.input %2[%B] : memref<?xi8> -> tensor<?x40x2x128xf32>
  %y = nn.attention %q, %k, %v scale(0.125) causal
    : tensor<?x40x8x128xf32>, tensor<?x40x2x128xf32>, tensor<?x40x2x128xf32> -> tensor<?x40x8x128xf32>
  kernel.output %y, %3[%B] : tensor<?x40x8x128xf32>, memref<?xi8>
  return
}
