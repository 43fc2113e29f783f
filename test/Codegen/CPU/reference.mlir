// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(kernel-form{fuse=false}),kernel-outline,emit-cpu-kernels)' | FileCheck %s --check-prefixes=CHECK,O0
// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(kernel-form),kernel-outline,emit-cpu-kernels)' | FileCheck %s --check-prefixes=CHECK,FUSED

// A composite op that no kernel computes as a whole is made of kernels that each write nothing but their result.
// CHECK-LABEL: func.func @main(
// O0-COUNT-5:    kernel.launch @reference
// FUSED:         kernel.launch @rows
// FUSED:         kernel.launch @pointwise
// FUSED:         kernel.launch @rows
// FUSED:         kernel.launch @pointwise
// CHECK-NOT:   memref.alloc(
// CHECK-NOT:   linalg.
func.func @main(%x: tensor<?x?xf32> {nn.dims = ["B", "S"]}) -> tensor<?x?xf32> {
  %y = nn.softmax %x axis(0) : tensor<?x?xf32> -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// Where both operands are read by index, nothing but a temporary's size tells how long the sum is: it takes no memory.
// CHECK-LABEL: func.func @unrelated_batches(
// CHECK:         kernel.launch @reference
// CHECK-NOT:   memref.alloc(
// CHECK-NOT:   linalg.
func.func @unrelated_batches(%x: tensor<?x?x?xf64> {nn.dims = ["B", "M", "K"]},
                             %y: tensor<?x?x?xf64> {nn.dims = ["C", "L", "N"]}) -> tensor<?x?x?xf64> {
  %z = nn.matmul %x, %y : tensor<?x?x?xf64>, tensor<?x?x?xf64> -> tensor<?x?x?xf64>
  return %z : tensor<?x?x?xf64>
}
