// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

// The four heads that share keys are rows of one matrix; each warp has 16 of the 64 keys of a stage. The warps' parts take the
// place of the tiles; those of blocks go to scratch memory, and the block that draws the last ticket combines them.
// CHECK:       module attributes {{.*}}lathe.scratch_bytes
// CHECK-LABEL: func.func @one_query(
// CHECK-SAME:    %[[FAULT:[a-z0-9]+]]: !llvm.ptr, %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr)
// CHECK-NOT:     scf.if {{.*}} -> (f32
// CHECK:         nvvm.cp.async.wait.group 2
// CHECK:         scf.for
// CHECK-COUNT-8:   nvvm.mma.sync
// CHECK:           nvvm.cp.async.wait.group 1
// CHECK-COUNT-8:   nvvm.mma.sync
// CHECK-NOT:       nvvm.mma.sync
// CHECK:         llvm.fence syncscope("device") acq_rel
// CHECK-NEXT:    llvm.atomicrmw add {{.*}} syncscope("device") monotonic
// CHECK:         llvm.fence syncscope("device") acq_rel
// CHECK:         nvvm.barrier0
// CHECK:       func.func @one_query.tasks(
func.func @one_query(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %T: index)
    attributes {kernel.root = "attention"} {
  %q = kernel.input %0[] : memref<?xi8> -> tensor<1x1x8x64xbf16>
  %k = kernel.input %1[%T] : memref<?xi8> -> tensor<1x?x2x64xbf16>
  %v = kernel.input %2[%T] : memref<?xi8> -> tensor<1x?x2x64xbf16>
  %y = nn.attention %q, %k, %v scale(0.125)
    : tensor<1x1x8x64xbf16>, tensor<1x?x2x64xbf16>, tensor<1x?x2x64xbf16> -> tensor<1x1x8x64xbf16>
  kernel.output %y, %3[] : tensor<1x1x8x64xbf16>, memref<?xi8>
  return
}

// More rows than a matrix has are divided by queries. The kernel has the argument for scratch memory all the same.
// CHECK-LABEL: func.func @many_queries(
// CHECK-SAME:    !llvm.ptr, %{{[a-z0-9]+}}: !llvm.ptr)
// CHECK-NOT:     llvm.atomicrmw
// CHECK:       func.func @many_queries.tasks(
func.func @many_queries(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %T: index)
    attributes {kernel.root = "attention"} {
  %q = kernel.input %0[] : memref<?xi8> -> tensor<1x5x8x64xbf16>
  %k = kernel.input %1[%T] : memref<?xi8> -> tensor<1x?x2x64xbf16>
  %v = kernel.input %2[%T] : memref<?xi8> -> tensor<1x?x2x64xbf16>
  %y = nn.attention %q, %k, %v scale(0.125)
    : tensor<1x5x8x64xbf16>, tensor<1x?x2x64xbf16>, tensor<1x?x2x64xbf16> -> tensor<1x5x8x64xbf16>
  kernel.output %y, %3[] : tensor<1x5x8x64xbf16>, memref<?xi8>
  return
}
