// RUN: lathe-opt %s --emit-cpu-kernels=target=x86-64-v4 --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,V4
// RUN: lathe-opt %s --emit-cpu-kernels=target=x86-64-v3 --canonicalize --cse | FileCheck %s --check-prefixes=CHECK,V3

// All dimensions are one, in blocks; what is left behind whole vectors is masked or scalar.
// CHECK-LABEL: func.func @add_is_one_loop(
// CHECK:         scf.for
// CHECK:           scf.for
// V4:                vector.load {{.*}} vector<16xf32>
// V4:                arith.addf {{.*}} vector<16xf32>
// V4:              scf.for
// V4:                vector.create_mask
// V4:                vector.maskedload
// V4:                vector.maskedstore
// V3:                arith.addf {{.*}} vector<8xf32>
// V3-NOT:            vector.maskedload
// V3:                memref.store
// CHECK-NOT:       scf.for
// CHECK:         return
func.func @add_is_one_loop(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %B: index)
    attributes {kernel.root = "pointwise"} {
  %a = kernel.input %0[%B] : memref<?xi8> -> tensor<?x3x7xf32>
  %b = kernel.input %1[%B] : memref<?xi8> -> tensor<?x3x7xf32>
  %y = nn.binary add %a, %b : tensor<?x3x7xf32>, tensor<?x3x7xf32> -> tensor<?x3x7xf32>
  kernel.output %y, %2[%B] : tensor<?x3x7xf32>, memref<?xi8>
  return
}

// The tasks are positions of the outer dimensions; bools stay bytes in memory.
// CHECK-LABEL: func.func @bools(
// CHECK-NOT:     memref<{{.*}}xi1>
// CHECK:         arith.extui
// CHECK:       func.func @bools.tasks(%[[B:.*]]: index)
// CHECK:         return %[[B]],
func.func @bools(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %B: index)
    attributes {kernel.root = "pointwise"} {
  %a = kernel.input %0[%B] : memref<?xi8> -> tensor<?x64xi1>
  %b = kernel.input %1[] : memref<?xi8> -> tensor<64xi1>
  %y = nn.binary and %a, %b : tensor<?x64xi1>, tensor<64xi1> -> tensor<?x64xi1>
  kernel.output %y, %2[%B] : tensor<?x64xi1>, memref<?xi8>
  return
}

// Each piece of a concatenation has its own loops.
// CHECK-LABEL: func.func @concat(
// CHECK-NOT:     scf.if
// CHECK-COUNT-2: vector.load {{.*}} vector<{{.*}}xf32>
func.func @concat(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %B: index)
    attributes {kernel.root = "pointwise"} {
  %a = kernel.input %0[%B] : memref<?xi8> -> tensor<?x64xf32>
  %b = kernel.input %1[%B] : memref<?xi8> -> tensor<?x32xf32>
  %y = nn.concat %a, %b axis(1) : tensor<?x64xf32>, tensor<?x32xf32> -> tensor<?x96xf32>
  kernel.output %y, %2[%B] : tensor<?x96xf32>, memref<?xi8>
  return
}
