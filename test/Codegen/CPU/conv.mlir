// RUN: lathe-opt %s --split-input-file --verify-diagnostics --emit-cpu-kernels=target=x86-64-v4 \
// RUN:   --check-cpu-kernels="target=x86-64-v4 strict" | FileCheck %s
// RUN: lathe-opt %s --split-input-file --verify-diagnostics --emit-cpu-kernels=target=x86-64-v3 \
// RUN:   --check-cpu-kernels="target=x86-64-v3 strict" | FileCheck %s --check-prefix=AVX2

// Without a border nothing is copied. The places of a row of the window and their channels are one run of 48: a loop over
// rows of the window around one over the run, its sums in registers, where the tile runs its epilogue on them.
// CHECK-LABEL: func.func @no_border(
// CHECK-NOT:     memref.alloca
// CHECK:         %{{.*}}:16 = scf.for %{{.*}} = %c0{{.*}} to %c3{{.*}} step %c1
// CHECK:           %{{.*}}:16 = scf.for %{{.*}} = %c0{{.*}} to %c48{{.*}} step %c4
// CHECK-COUNT-64:    vector.fma {{.*}} : vector<16xf32>
// CHECK-NOT:         vector.fma
// CHECK:           scf.yield
// CHECK:         arith.select {{.*}} : vector<16xi1>, vector<16xf32>
// CHECK-NOT:     vector.maskedstore

// AVX2-LABEL: func.func @no_border(
// AVX2:         %{{.*}}:12 = scf.for
// AVX2:           %{{.*}}:12 = scf.for
// AVX2-COUNT-48:    vector.fma {{.*}} : vector<8xf32>
// AVX2-NOT:         vector.fma
// AVX2:           scf.yield
func.func @no_border(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}, %y: memref<?xi8>,
                     %N: index) attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[%N] : memref<?xi8> -> tensor<?x26x26x16xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x16x64xf32>
  %2 = nn.conv %0, %1 strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<?x26x26x16xf32>, tensor<3x3x16x64xf32> -> tensor<?x24x24x64xf32>
  %3 = nn.unary relu %2 : tensor<?x24x24x64xf32> -> tensor<?x24x24x64xf32>
  kernel.output %3, %y[%N] : tensor<?x24x24x64xf32>, memref<?xi8>
  return
}

// -----

// With a border, the input of a block is copied once, with zeros around it, where it sticks out.
// CHECK-LABEL: func.func @border(
// CHECK-COUNT-1: memref.alloca
// CHECK-NOT:     memref.alloca
// CHECK:         scf.for {{.*}} iter_args(%[[COPIED:.*]] = %c-1
// CHECK:           %[[NEW:.*]] = arith.cmpi ne, %{{.*}}, %[[COPIED]]
// CHECK:           scf.if
// CHECK:           arith.select {{.*}} : memref<?xf32>

// AVX2-LABEL: func.func @border(
func.func @border(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}, %y: memref<?xi8>,
                  %N: index, %W: index) attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[%N, %W] : memref<?xi8> -> tensor<?x26x?x16xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x16x64xf32>
  %2 = nn.conv %0, %1 strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1)
    : tensor<?x26x?x16xf32>, tensor<3x3x16x64xf32> -> tensor<?x26x?x64xf32>
  kernel.output %2, %y[%N, %W] : tensor<?x26x?x64xf32>, memref<?xi8>
  return
}

// -----

// Of a deep filter all pixels of a block sum up one part after the other, which the first-level cache holds: halves of a
// row of the window here. With the first part, tiles fetch what the epilogue reads and writes.
// CHECK-LABEL: func.func @deep(
// CHECK-COUNT-1: memref.alloca
// CHECK:         scf.for %{{.*}} = %c0{{.*}} to %c3{{.*}} step %c1
// CHECK:           scf.for %{{.*}} = %c0{{.*}} to %c384{{.*}} step %c192
// CHECK:             scf.if
// CHECK:               memref.prefetch {{.*}}, write, locality<2>, data
// CHECK:               memref.prefetch {{.*}}, read, locality<2>, data
// CHECK:             }
// CHECK-COUNT-16:    arith.select {{.*}} : vector<16xf32>
// CHECK:             %{{.*}}:16 = scf.for %{{.*}} = %c0{{.*}} to %c192{{.*}} step %c4

// AVX2-LABEL: func.func @deep(
func.func @deep(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}, %r: memref<?xi8>,
                %y: memref<?xi8>) attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<1x10x10x128xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x128x64xf32>
  %2 = kernel.input %r[] : memref<?xi8> -> tensor<1x8x8x64xf32>
  %3 = nn.conv %0, %1 strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x10x10x128xf32>, tensor<3x3x128x64xf32> -> tensor<1x8x8x64xf32>
  %4 = nn.binary add %3, %2 : tensor<1x8x8x64xf32>, tensor<1x8x8x64xf32> -> tensor<1x8x8x64xf32>
  kernel.output %4, %y[] : tensor<1x8x8x64xf32>, memref<?xi8>
  return
}

// -----

// The planes of a picture are put together as pixels in registers: three vectors of each channel at a time.
// CHECK-LABEL: func.func @picture(
// CHECK-COUNT-3: vector.load {{.*}} : memref<?xf32>, vector<16xf32>
// CHECK-COUNT-6: vector.shuffle {{.*}} : vector<16xf32>, vector<16xf32>
// CHECK-NOT:     vector.shuffle
// CHECK-COUNT-3: vector.store {{.*}} : memref<?xf32>, vector<16xf32>

// AVX2-LABEL: func.func @picture(
// AVX2-COUNT-6: vector.shuffle {{.*}} : vector<8xf32>, vector<8xf32>
func.func @picture(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}, %y: memref<?xi8>)
    attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<1x3x64x64xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x3x32xf32>
  %2 = nn.transpose %0 perm([0, 2, 3, 1]) : tensor<1x3x64x64xf32> -> tensor<1x64x64x3xf32>
  %3 = nn.conv %2, %1 strides([2, 2]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1)
    : tensor<1x64x64x3xf32>, tensor<3x3x3x32xf32> -> tensor<1x32x32x32xf32>
  kernel.output %3, %y[] : tensor<1x32x32x32xf32>, memref<?xi8>
  return
}

// -----

// 24 filters are a tile of 16 columns and one of 8 where vectors have 8 lanes: none is computed for nothing or masked.
// AVX2-LABEL: func.func @narrow_last_tile(
// AVX2:         scf.if
// AVX2:           %{{.*}}:12 = scf.for
// AVX2:         else
// AVX2-NOT:       vector.maskedstore
// AVX2:         return

// CHECK-LABEL: func.func @narrow_last_tile(
// CHECK:         vector.maskedstore
func.func @narrow_last_tile(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1>}, %y: memref<?xi8>,
                            %N: index) attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[%N] : memref<?xi8> -> tensor<?x26x26x16xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x16x24xf32>
  %2 = nn.conv %0, %1 strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<?x26x26x16xf32>, tensor<3x3x16x24xf32> -> tensor<?x24x24x24xf32>
  kernel.output %2, %y[%N] : tensor<?x24x24x24xf32>, memref<?xi8>
  return
}

// -----

// Channels by themselves: vectors of them, no broadcast of elements, sums of several pixels in registers, stored only
// once.
// CHECK-LABEL: func.func @depthwise(
// CHECK-NOT:     memref.alloca
// CHECK:         scf.for
// CHECK-NOT:     vector.broadcast
// CHECK:         vector.fma {{.*}} : vector<16xf32>
// CHECK:         return

// AVX2-LABEL: func.func @depthwise(
// AVX2-NOT:     vector.broadcast
// AVX2:         vector.fma {{.*}} : vector<8xf32>
// AVX2-NOT:     math.fma
// AVX2:         return
func.func @depthwise(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>, %N: index)
    attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[%N] : memref<?xi8> -> tensor<?x26x26x32xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x1x32xf32>
  %2 = nn.conv %0, %1 strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(32)
    : tensor<?x26x26x32xf32>, tensor<3x3x1x32xf32> -> tensor<?x26x26x32xf32>
  kernel.output %2, %y[%N] : tensor<?x26x26x32xf32>, memref<?xi8>
  return
}

// -----

func.func @other_panels(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 1, groups 4 joined 2>},
                        %y: memref<?xi8>) attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<1x9x9x8xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x4x8xf32>
  // expected-error-re @+1 {{cannot read #nn.panel<32 x 1, groups 4 joined 2> with a tile of {{[0-9]+}} columns and 2 groups}}
  %2 = nn.conv %0, %1 strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(2)
    : tensor<1x9x9x8xf32>, tensor<3x3x4x8xf32> -> tensor<1x7x7x8xf32>
  kernel.output %2, %y[] : tensor<1x7x7x8xf32>, memref<?xi8>
  return
}

// -----

func.func @wide_element(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>) attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<1x9x9x8xf64>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x8x8xf64>
  // expected-error @+1 {{only convolutions of f32, and of bf16 that are not depthwise, have kernels}}
  %2 = nn.conv %0, %1 strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x9x9x8xf64>, tensor<3x3x8x8xf64> -> tensor<1x7x7x8xf64>
  kernel.output %2, %y[] : tensor<1x7x7x8xf64>, memref<?xi8>
  return
}

// -----

func.func @window_of_many_elements(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>)
    attributes {kernel.root = "conv"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<1x9x9x16000xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x3x16000x8xf32>
  // expected-error @+1 {{one window spans 144000 elements of the input, more than 131072}}
  %2 = nn.conv %0, %1 strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x9x9x16000xf32>, tensor<3x3x16000x8xf32> -> tensor<1x7x7x8xf32>
  kernel.output %2, %y[] : tensor<1x7x7x8xf32>, memref<?xi8>
  return
}
