// RUN: lathe-opt %s --kernel-form | FileCheck %s --check-prefixes=CHECK,FUSED
// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(kernel-form{fuse=false}))' | FileCheck %s --check-prefixes=CHECK,PLAIN

// What follows a product and keeps its shape joins it.
// CHECK-LABEL: func.func @product_and_activation
// FUSED:         kernel.group matmul
// FUSED:           nn.matmul
// FUSED-NEXT:      nn.unary relu
// FUSED-NOT:     kernel.group
// PLAIN:         kernel.group reference
// PLAIN:           nn.matmul
// PLAIN:         kernel.group reference
// PLAIN:           nn.unary relu
// CHECK:         return
func.func @product_and_activation(%x: tensor<?x4xf32> {nn.dims = ["N", ""]}, %w: tensor<4x8xf32>) -> tensor<?x8xf32> {
  %0 = nn.matmul %x, %w : tensor<?x4xf32>, tensor<4x8xf32> -> tensor<?x8xf32>
  %1 = nn.unary relu %0 : tensor<?x8xf32> -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// What is read twice is computed once, in a kernel of its own.
// CHECK-LABEL: func.func @two_readers
// CHECK-COUNT-2: kernel.group
// CHECK:         return
func.func @two_readers(%x: tensor<4x4xf32>, %w: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %0 = nn.matmul %x, %w : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  %1 = nn.matmul %0, %0 : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  return %1 : tensor<4x4xf32>
}

// A reshape between kernels renames bytes and is none itself.
// CHECK-LABEL: func.func @reshape_stays_outside
// CHECK:         kernel.group
// CHECK:         }
// CHECK:         nn.reshape
// CHECK-NEXT:    return
func.func @reshape_stays_outside(%x: tensor<4x4xf32>) -> tensor<16xf32> {
  %0 = nn.unary exp %x : tensor<4x4xf32> -> tensor<4x4xf32>
  %1 = nn.reshape %0 to [16] : tensor<4x4xf32> -> tensor<16xf32>
  return %1 : tensor<16xf32>
}

// The copy has the type that the function promises, although more is known of its sizes.
// CHECK-LABEL: func.func @returned_sizes_that_are_constants
// CHECK:         %[[COPY:.*]] = kernel.group
// CHECK:         return %[[COPY]] : tensor<?x?xf32>
func.func @returned_sizes_that_are_constants(%x: tensor<6xf32>) -> tensor<?x?xf32> {
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %0 = nn.reshape %x to [%c2, %c3] : tensor<6xf32> -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

// A result that no kernel computes gets one that copies it.
// CHECK-LABEL: func.func @returned_argument
// CHECK:         %[[Y:.*]] = kernel.group
// CHECK:           nn.expand
// CHECK:         return %[[Y]]
func.func @returned_argument(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}

// Loops are a kernel of their own, nothing is fused with them.
// CHECK-LABEL: func @loops_stand_alone
// CHECK:         kernel.group
// CHECK:         kernel.group loops
// CHECK:           nn.cumulate
// CHECK-NEXT:      kernel.yield
// CHECK:         kernel.group
func.func @loops_stand_alone(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.unary exp %x : tensor<4x8xf32> -> tensor<4x8xf32>
  %1 = nn.cumulate sum %0 axis(1) : tensor<4x8xf32> -> tensor<4x8xf32>
  %2 = nn.unary exp %1 : tensor<4x8xf32> -> tensor<4x8xf32>
  return %2 : tensor<4x8xf32>
}

// With one element to reduce, rows and their results have one shape: plain loops.
// CHECK-LABEL: func @rows_of_one_element
// FUSED:         kernel.group reference
func.func @rows_of_one_element(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %0 = nn.reduce sum_square %x axes([1]) keep_dims(true) : tensor<?x1xf32> -> tensor<?x1xf32>
  return %0 : tensor<?x1xf32>
}

// A norm over a dimension of one element is none of rows, and by itself needs memory for its parts: these get kernels.
// CHECK-LABEL: func @norm_over_one_element
// CHECK-NOT:     nn.layer_norm
// CHECK:         nn.reduce
// CHECK:         return
func.func @norm_over_one_element(%x: tensor<1x?x?x1xf32> {nn.dims = ["", "C", "S", ""]}, %s: tensor<1xf32>) -> tensor<1x?x?x1xf32> {
  %0 = nn.layer_norm %x, %s axis(2) epsilon(1.0e-5) : tensor<1x?x?x1xf32>, tensor<1xf32> -> tensor<1x?x?x1xf32>
  return %0 : tensor<1x?x?x1xf32>
}
