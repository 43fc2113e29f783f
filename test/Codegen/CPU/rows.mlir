// RUN: lathe-opt %s --split-input-file --emit-cpu-kernels=target=x86-64-v4 --canonicalize --cse --verify-diagnostics | FileCheck %s

// The sum is stored while it is summed up, and read again from where it was stored: no row buffer.
// CHECK-LABEL: func.func @residual_norm(
// CHECK-NOT:     memref.alloca
// CHECK:         scf.for
// CHECK:           arith.addf {{.*}} vector<16xf32>
// CHECK:           vector.store
// CHECK:           math.fma
// CHECK:           math.sqrt
func.func @residual_norm(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>, %4: memref<?xi8>,
                         %B: index) attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B] : memref<?xi8> -> tensor<?x384xf32>
  %r = kernel.input %1[%B] : memref<?xi8> -> tensor<?x384xf32>
  %s = kernel.input %2[] : memref<?xi8> -> tensor<384xf32>
  %t = nn.binary add %x, %r : tensor<?x384xf32>, tensor<?x384xf32> -> tensor<?x384xf32>
  %y = nn.layer_norm %t, %s axis(1) epsilon(1.0e-5) : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  kernel.output %t, %3[%B] : tensor<?x384xf32>, memref<?xi8>
  kernel.output %y, %4[%B] : tensor<?x384xf32>, memref<?xi8>
  return
}

// -----

// What has been computed once waits on the stack.
// CHECK-LABEL: func.func @buffered_norm(
// CHECK:         memref.alloca() {alignment = 64 : i64} : memref<384xf32>
// CHECK-NOT:     memref.alloca
func.func @buffered_norm(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %B: index)
    attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B] : memref<?xi8> -> tensor<?x384xf32>
  %s = kernel.input %1[] : memref<?xi8> -> tensor<384xf32>
  %t = nn.binary mul %x, %x : tensor<?x384xf32>, tensor<?x384xf32> -> tensor<?x384xf32>
  %y = nn.rms_norm %t, %s axis(1) epsilon(1.0e-5) : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  kernel.output %y, %2[%B] : tensor<?x384xf32>, memref<?xi8>
  return
}

// -----

// CHECK-LABEL: func.func @column_maximum(
// CHECK:         iter_args
// CHECK-COUNT-4:   arith.maximumf {{.*}} vector<16xf32>
func.func @column_maximum(%0: memref<?xi8>, %1: memref<?xi8>, %B: index, %S: index)
    attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B, %S] : memref<?xi8> -> tensor<?x?x256xf32>
  %y = nn.reduce max %x axes([1]) keep_dims(false) : tensor<?x?x256xf32> -> tensor<?x256xf32>
  kernel.output %y, %1[%B] : tensor<?x256xf32>, memref<?xi8>
  return
}

// -----

// expected-error @below {{cannot be computed by rows: nn.transpose has another shape than the rows}}
func.func @moved_result(%0: memref<?xi8>, %1: memref<?xi8>, %B: index) attributes {kernel.root = "rows"} {
  %x = kernel.input %0[%B] : memref<?xi8> -> tensor<?x8xf32>
  %s = nn.softmax %x axis(1) : tensor<?x8xf32> -> tensor<?x8xf32>
  %y = nn.transpose %s perm([1, 0]) : tensor<?x8xf32> -> tensor<8x?xf32>
  kernel.output %y, %1[%B] : tensor<8x?xf32>, memref<?xi8>
  return
}
