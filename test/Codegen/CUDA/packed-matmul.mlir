// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

!packed = !pack.tensor<4096x96xf32, #pack.int4<group = 32>>

// One row: a lane has four pieces of the weight under way, eight rows of four columns each, and multiplies them by itself;
// what lanes and warps have of a column is added up in the end.
// CHECK-LABEL: func.func @one_row(
// CHECK-SAME:    lathe.threads = 256
// CHECK:         scf.for {{.*}} -> (vector<4xf32>)
// CHECK-COUNT-4:   llvm.load {{.*}} : !llvm.ptr -> vector<4xi32>
// CHECK:           arith.extf {{.*}} : vector<4xf16> to vector<4xf32>
// CHECK-NOT:       llvm.load
// CHECK:           vector.fma
// CHECK:           scf.yield
// CHECK:         nvvm.shfl.sync
// CHECK:         nvvm.barrier0
// CHECK-NOT:     nvvm.barrier0
// CHECK:       func.func @one_row.tasks(
// CHECK:         arith.constant 6 : index
func.func @one_row(%0: memref<?xi8>, %1: memref<?xi8> {kernel.panel = #nn.panel<32 x 8>}, %2: memref<?xi8>)
    attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[] : memref<?xi8> -> tensor<1x4096xf32>
  %p = kernel.input %1[] : memref<?xi8> -> !packed
  %w = pack.decode %p : !packed -> tensor<4096x96xf32>
  %y = nn.matmul %x, %w : tensor<1x4096xf32>, tensor<4096x96xf32> -> tensor<1x96xf32>
  kernel.output %y, %2[] : tensor<1x96xf32>, memref<?xi8>
  return
}

// Many rows: the other operand is copied, the weight is decoded on the way to shared memory, a word of eight rows at a time.
// CHECK-LABEL: func.func @many_rows(
// CHECK:         nvvm.cp.async.shared.global
// CHECK:         llvm.load {{.*}} : !llvm.ptr -> vector<1xi32>
// CHECK-COUNT-2: llvm.store {{.*}} : vector<4xf32>, !llvm.ptr<3>
// CHECK:       func.func @many_rows.tasks(
func.func @many_rows(%0: memref<?xi8>, %1: memref<?xi8> {kernel.panel = #nn.panel<32 x 8>}, %2: memref<?xi8>)
    attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[] : memref<?xi8> -> tensor<640x4096xf32>
  %p = kernel.input %1[] : memref<?xi8> -> !packed
  %w = pack.decode %p : !packed -> tensor<4096x96xf32>
  %y = nn.matmul %x, %w : tensor<640x4096xf32>, tensor<4096x96xf32> -> tensor<640x96xf32>
  kernel.output %y, %2[] : tensor<640x96xf32>, memref<?xi8>
  return
}

// Not in panels: element by element.
// CHECK-LABEL: func.func @row_major(
// CHECK-NOT:     vector<1xi32>
// CHECK:       func.func @row_major.tasks(
func.func @row_major(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>) attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[] : memref<?xi8> -> tensor<640x4096xf32>
  %p = kernel.input %1[] : memref<?xi8> -> !packed
  %w = pack.decode %p : !packed -> tensor<4096x96xf32>
  %y = nn.matmul %x, %w : tensor<640x4096xf32>, tensor<4096x96xf32> -> tensor<640x96xf32>
  kernel.output %y, %2[] : tensor<640x96xf32>, memref<?xi8>
  return
}
