// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s

// The windows of a convolution are rows of a matrix that is nowhere in memory: of each chunk of eight channels the place in
// the input is found, by divisions of 32 bits, and those on a border are filled with zeros.
// CHECK-LABEL: func.func @windows(
// CHECK-SAME:    lathe.threads = 256
// CHECK:         scf.for
// CHECK:           arith.remui {{.*}} : i32
// CHECK:           %[[A:.*]] = arith.cmpi ult
// CHECK:           %[[B:.*]] = arith.cmpi ult
// CHECK:           arith.andi %{{.*}}, %{{.*}} : i1
// CHECK:           nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache =  cg, %{{.*}}
// CHECK:           nvvm.cp.async.shared.global
// CHECK:         nvvm.mma.sync
// CHECK-NOT:     math.fma
// CHECK:       func.func @windows.tasks(
func.func @windows(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %N: index) attributes {kernel.root = "conv"} {
  %x = kernel.input %0[%N] : memref<?xi8> -> tensor<?x14x14x32xbf16>
  %f = kernel.input %1[] : memref<?xi8> -> tensor<3x3x32x64xbf16>
  %p = nn.conv %x, %f strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1) : tensor<?x14x14x32xbf16>, tensor<3x3x32x64xbf16> -> tensor<?x14x14x64xf32>
  %y = nn.unary relu %p : tensor<?x14x14x64xf32> -> tensor<?x14x14x64xf32>
  kernel.output %y, %2[%N] : tensor<?x14x14x64xf32>, memref<?xi8>
  return
}

// Three channels are no chunk: elements come to the same tiles one by one.
// CHECK-LABEL: func.func @colors(
// CHECK:         llvm.store {{.*}} : bf16, !llvm.ptr<3>
// CHECK:         nvvm.mma.sync
// CHECK:       func.func @colors.tasks(
func.func @colors(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %N: index) attributes {kernel.root = "conv"} {
  %x = kernel.input %0[%N] : memref<?xi8> -> tensor<?x14x14x3xbf16>
  %f = kernel.input %1[] : memref<?xi8> -> tensor<3x3x3x64xbf16>
  %y = nn.conv %x, %f strides([2, 2]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1) : tensor<?x14x14x3xbf16>, tensor<3x3x3x64xbf16> -> tensor<?x7x7x64xf32>
  kernel.output %y, %2[%N] : tensor<?x7x7x64xf32>, memref<?xi8>
  return
}

// Groups stay with the direct form.
// CHECK-LABEL: func.func @depthwise(
// CHECK-NOT:     nvvm.mma.sync
// CHECK:       func.func @depthwise.tasks(
func.func @depthwise(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %N: index) attributes {kernel.root = "conv"} {
  %x = kernel.input %0[%N] : memref<?xi8> -> tensor<?x14x14x32xbf16>
  %f = kernel.input %1[] : memref<?xi8> -> tensor<3x3x1x32xbf16>
  %y = nn.conv %x, %f strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(32) : tensor<?x14x14x32xbf16>, tensor<3x3x1x32xbf16> -> tensor<?x14x14x32xf32>
  kernel.output %y, %2[%N] : tensor<?x14x14x32xf32>, memref<?xi8>
  return
}

// True f32 takes the same way, and multiplies by itself.
// CHECK-LABEL: func.func @floats(
// CHECK:         nvvm.cp.async.shared.global
// CHECK:         math.fma
// CHECK-NOT:     nvvm.mma.sync
// CHECK:       func.func @floats.tasks(
func.func @floats(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %N: index) attributes {kernel.root = "conv"} {
  %x = kernel.input %0[%N] : memref<?xi8> -> tensor<?x14x14x32xf32>
  %f = kernel.input %1[] : memref<?xi8> -> tensor<3x3x32x64xf32>
  %y = nn.conv %x, %f strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1) : tensor<?x14x14x32xf32>, tensor<3x3x32x64xf32> -> tensor<?x14x14x64xf32>
  kernel.output %y, %2[%N] : tensor<?x14x14x64xf32>, memref<?xi8>
  return
}
