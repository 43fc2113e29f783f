// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s
// RUN: lathe-opt %s --emit-cuda-kernels=tf32 --canonicalize --cse | FileCheck %s --check-prefix=TF32

// A warp has 16 queries, a block 64; of 64 keys at a time come the logits, eight for each lane and each of its two rows.
// Queries stay in registers. Weights are packed in the lanes that have them; values are transposed on the way.
// CHECK-LABEL: func.func @heads(
// CHECK-SAME:    lathe.shared_bytes = 40960
// CHECK-SAME:    lathe.threads = 128
// CHECK:         nvvm.cp.async.wait.group 2
// CHECK-NEXT:    nvvm.barrier0
// CHECK-COUNT-4: nvvm.ldmatrix
// CHECK:         scf.for
// CHECK:           nvvm.cp.async.wait.group 1
// CHECK-NEXT:      nvvm.barrier0
// CHECK-COUNT-32:  nvvm.mma.sync
// CHECK-COUNT-4:   nvvm.shfl.sync
// CHECK-NOT:       nvvm.shfl.sync
// CHECK:           nvvm.cp.async.wait.group 1
// CHECK-NEXT:      nvvm.barrier0
// CHECK:           llvm.call_intrinsic "llvm.nvvm.ff2bf16x2.rn"
// CHECK:           nvvm.ldmatrix {{.*}} layout = #nvvm.mma_layout<col>
// CHECK-COUNT-32:  nvvm.mma.sync
// CHECK:           scf.yield
// CHECK:         vector.store {{.*}} : memref<{{.*}}xbf16>, vector<2xbf16>
// CHECK:       func.func @heads.tasks(
func.func @heads(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %B: index, %S: index)
    attributes {kernel.root = "attention"} {
  %q = kernel.input %0[%B, %S] : memref<?xi8> -> tensor<?x?x8x64xbf16>
  %k = kernel.input %1[%B, %S] : memref<?xi8> -> tensor<?x?x2x64xbf16>
  %v = kernel.input %2[%B, %S] : memref<?xi8> -> tensor<?x?x2x64xbf16>
  %y = nn.attention %q, %k, %v scale(0.125) causal
    : tensor<?x?x8x64xbf16>, tensor<?x?x2x64xbf16>, tensor<?x?x2x64xbf16> -> tensor<?x?x8x64xbf16>
  kernel.output %y, %3[%B, %S] : tensor<?x?x8x64xbf16>, memref<?xi8>
  return
}

// Heads of 256 features: fewer keys at a time, and queries are read from shared memory for each of them.
// CHECK-LABEL: func.func @long_heads(
// CHECK-SAME:    lathe.shared_bytes = 98304
// CHECK-NOT:     nvvm.cp.async.wait.group 2
// CHECK:       func.func @long_heads.tasks(
func.func @long_heads(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %B: index, %S: index)
    attributes {kernel.root = "attention"} {
  %q = kernel.input %0[%B, %S] : memref<?xi8> -> tensor<?x?x2x256xf16>
  %k = kernel.input %1[%B, %S] : memref<?xi8> -> tensor<?x?x2x256xf16>
  %v = kernel.input %2[%B, %S] : memref<?xi8> -> tensor<?x?x2x256xf16>
  %y = nn.attention %q, %k, %v scale(0.0625) : tensor<?x?x2x256xf16>, tensor<?x?x2x256xf16>, tensor<?x?x2x256xf16> -> tensor<?x?x2x256xf16>
  kernel.output %y, %3[%B, %S] : tensor<?x?x2x256xf16>, memref<?xi8>
  return
}

// True f32, unless TF32 is allowed.
// CHECK-LABEL: func.func @floats(
// CHECK-NOT:     nvvm.mma.sync
// CHECK:         math.fma
// CHECK:       func.func @floats.tasks(
// TF32-LABEL:  func.func @floats(
// TF32:          nvvm.mma.sync {{.*}} multiplicandAPtxType = #nvvm.mma_type<tf32>
// TF32-NOT:      ff2bf16x2
// TF32:        func.func @floats.tasks(
func.func @floats(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %B: index, %S: index)
    attributes {kernel.root = "attention"} {
  %q = kernel.input %0[%B, %S] : memref<?xi8> -> tensor<?x?x12x32xf32>
  %k = kernel.input %1[%B, %S] : memref<?xi8> -> tensor<?x?x12x32xf32>
  %v = kernel.input %2[%B, %S] : memref<?xi8> -> tensor<?x?x12x32xf32>
  %y = nn.attention %q, %k, %v scale(0.125)
    : tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32> -> tensor<?x?x12x32xf32>
  kernel.output %y, %3[%B, %S] : tensor<?x?x12x32xf32>, memref<?xi8>
  return
}
