// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

// An element by each thread; the host gets the number of blocks, and 0.
// CHECK-LABEL: func.func @add(
// CHECK-SAME:    %{{.*}}: !llvm.ptr {llvm.noalias}, %{{.*}}: !llvm.ptr {llvm.noalias}, %{{.*}}: !llvm.ptr {llvm.noalias}, %[[B:.*]]: i64, %{{.*}}: !llvm.ptr) attributes
// CHECK-SAME:    lathe.shared_bytes = 0
// CHECK-SAME:    lathe.threads = 256
// CHECK-DAG:     %[[THREAD:.*]] = nvvm.read.ptx.sreg.tid.x
// CHECK-DAG:     %[[BLOCK:.*]] = nvvm.read.ptx.sreg.ctaid.x
// CHECK:         arith.cmpi ult
// CHECK:         scf.if
// CHECK-COUNT-2:   memref.load
// CHECK:           arith.addf
// CHECK:           memref.store
// CHECK-NOT:     scf.for
// CHECK:         return{{$}}
// CHECK:       func.func @add.tasks(%[[SIZE:.*]]: index) -> (index, index)
// CHECK-DAG:     %[[ZERO:.*]] = arith.constant 0 : index
// CHECK-DAG:     arith.constant 256 : index
// CHECK:         %[[BLOCKS:.*]] = arith.divui
// CHECK:         return %[[BLOCKS]], %[[ZERO]]
func.func @add(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %B: index)
    attributes {kernel.root = "pointwise"} {
  %a = kernel.input %0[%B] : memref<?xi8> -> tensor<?x3x7xf32>
  %b = kernel.input %1[%B] : memref<?xi8> -> tensor<?x3x7xf32>
  %y = nn.binary add %a, %b : tensor<?x3x7xf32>, tensor<?x3x7xf32> -> tensor<?x3x7xf32>
  kernel.output %y, %2[%B] : tensor<?x3x7xf32>, memref<?xi8>
  return
}

// Rows of 384 elements divide into vectors of 16 bytes of the widest result, here f32; what is loaded has 8 bytes then. A
// row that is repeated does, too.
// CHECK-LABEL: func.func @vectors(
// CHECK:         scf.if
// CHECK:           vector.load {{.*}} {alignment = 8 : i64} : memref<?xbf16>, vector<4xbf16>
// CHECK:           vector.load {{.*}} {alignment = 16 : i64} : memref<{{.*}}xf32>, vector<4xf32>
// CHECK:           vector.store {{.*}} {alignment = 16 : i64} : memref<?xf32>, vector<4xf32>
// CHECK:       func.func @vectors.tasks(
// CHECK:         arith.constant 1024 : index
func.func @vectors(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %B: index)
    attributes {kernel.root = "pointwise"} {
  %a = kernel.input %0[%B] : memref<?xi8> -> tensor<?x384xbf16>
  %b = kernel.input %1[] : memref<?xi8> -> tensor<384xf32>
  %c = nn.cast %a : tensor<?x384xbf16> -> tensor<?x384xf32>
  %y = nn.binary add %c, %b : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  kernel.output %y, %2[%B] : tensor<?x384xf32>, memref<?xi8>
  return
}

// A position out of bounds is written to the last argument; what is loaded stays within bounds.
// CHECK-LABEL: func.func @gather(
// CHECK-SAME:    %[[FAULT:[a-z0-9]*]]: !llvm.ptr)
// CHECK:         %[[CODE:.*]] = arith.constant 1 : i32
// CHECK:         scf.if
// CHECK:           scf.if
// CHECK-NEXT:        llvm.store %[[CODE]], %[[FAULT]] : i32, !llvm.ptr
func.func @gather(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %B: index)
    attributes {kernel.root = "pointwise"} {
  %x = kernel.input %0[] : memref<?xi8> -> tensor<31x4xf32>
  %i = kernel.input %1[%B] : memref<?xi8> -> tensor<?xi64>
  %y = nn.gather %x, %i axis(0) : tensor<31x4xf32>, tensor<?xi64> -> tensor<?x4xf32>
  kernel.output %y, %2[%B] : tensor<?x4xf32>, memref<?xi8>
  return
}

// The blocks of a piece of a concatenation follow those of the piece before.
// CHECK-LABEL: func.func @concat(
// CHECK-COUNT-2: scf.if
// CHECK:       func.func @concat.tasks()
// CHECK:         %[[THREE:.*]] = arith.constant 3 : index
// CHECK:         return %[[THREE]],
func.func @concat(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>) attributes {kernel.root = "pointwise"} {
  %a = kernel.input %0[] : memref<?xi8> -> tensor<300xf32>
  %b = kernel.input %1[] : memref<?xi8> -> tensor<7xf32>
  %y = nn.concat %a, %b axis(0) : tensor<300xf32>, tensor<7xf32> -> tensor<307xf32>
  kernel.output %y, %2[] : tensor<307xf32>, memref<?xi8>
  return
}

// Constants lie in the module, not on the stack of each thread.
// CHECK:       memref.global "private" constant @[[TABLE:.*]] : memref<3xf32> = dense<[1.000000e+00, 2.000000e+00, 3.000000e+00]>
// CHECK-LABEL: func.func @table(
// CHECK:         memref.get_global @[[TABLE]]
// CHECK-NOT:     memref.alloca
func.func @table(%0: memref<?xi8>, %1: memref<?xi8>, %B: index) attributes {kernel.root = "pointwise"} {
  %a = kernel.input %0[%B] : memref<?xi8> -> tensor<?x3xf32>
  %c = arith.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %y = nn.binary add %a, %c : tensor<?x3xf32>, tensor<3xf32> -> tensor<?x3xf32>
  kernel.output %y, %1[%B] : tensor<?x3xf32>, memref<?xi8>
  return
}
