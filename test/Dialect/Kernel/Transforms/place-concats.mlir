// RUN: lathe-opt %s --split-input-file --kernel-form --kernel-place-concats | FileCheck %s
// RUN: lathe-opt %s --split-input-file --kernel-form --kernel-place-concats --kernel-outline | FileCheck %s --check-prefix=OUTLINE
// RUN: lathe-opt %s --split-input-file --kernel-form --kernel-place-concats=alignment=16 | FileCheck %s --check-prefix=ALIGNED

// The channels of two convolutions: both know how far the rows of the whole lie apart, and nothing is copied.
// CHECK-LABEL: func.func @convolutions
// CHECK:         %[[A:.*]] = kernel.group matmul(%{{.*}}, %{{.*}}) {{.*}} pitches [0, 0, 24]
// CHECK:         %[[B:.*]] = kernel.group conv(%{{.*}}, %{{.*}}) {{.*}} pitches [0, 0, 24]
// CHECK-NOT:     kernel.group
// CHECK:         %[[Y:.*]] = kernel.join %[[A]], %[[B]] axis 3
// CHECK:         return %[[Y]]

// OUTLINE-LABEL: func.func @convolutions
// OUTLINE:         kernel.launch @matmul_0(%{{.*}}) {{.*}} pitches [0, 0, 24]
// OUTLINE:         kernel.launch @conv_0(%{{.*}}) {{.*}} pitches [0, 0, 24]
// OUTLINE:         kernel.join
// OUTLINE:       func.func private @matmul_0
// OUTLINE:         kernel.output %{{.*}}, %{{.*}}[%{{.*}}] pitch 24
func.func @convolutions(%x: tensor<1x?x?x4xf32> {nn.dims = ["", "H", "W", ""]}, %f: tensor<1x1x4x8xf32>, %g: tensor<3x3x4x16xf32>)
    -> tensor<1x?x?x24xf32> {
  %0 = nn.conv %x, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1) : tensor<1x?x?x4xf32>, tensor<1x1x4x8xf32> -> tensor<1x?x?x8xf32>
  %1 = nn.conv %x, %g strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1) : tensor<1x?x?x4xf32>, tensor<3x3x4x16xf32> -> tensor<1x?x?x16xf32>
  %2 = nn.concat %0, %1 axis(3) : tensor<1x?x?x8xf32>, tensor<1x?x?x16xf32> -> tensor<1x?x?x24xf32>
  return %2 : tensor<1x?x?x24xf32>
}

// -----

// A dense block: what one concatenation gives is a part of the next, and a kernel that reads it knows the pitch of the
// whole. The argument is copied.
// CHECK-LABEL: func.func @block
// CHECK-DAG:     %[[A:.*]] = kernel.group conv(%{{.*}}) {{.*}} pitches [0, 0, 20]
// CHECK-DAG:     %[[X:.*]] = kernel.group pointwise(%arg0) {{.*}} pitches [0, 20]
// CHECK:         %[[AB:.*]] = kernel.join %[[X]], %[[A]] axis 3
// CHECK:         kernel.group pointwise(%[[AB]]) {{.*}} pitches [20, 0]
// CHECK:         %[[C:.*]] = kernel.group conv(%{{.*}}) {{.*}} pitches [0, 0, 20]
// CHECK:         kernel.join %[[AB]], %[[C]] axis 3
func.func @block(%x: tensor<1x8x8x4xf32>, %f: tensor<3x3x4x8xf32>, %g: tensor<3x3x12x8xf32>) -> tensor<1x8x8x20xf32> {
  %0 = nn.conv %x, %f strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1) : tensor<1x8x8x4xf32>, tensor<3x3x4x8xf32> -> tensor<1x8x8x8xf32>
  %1 = nn.concat %x, %0 axis(3) : tensor<1x8x8x4xf32>, tensor<1x8x8x8xf32> -> tensor<1x8x8x12xf32>
  %2 = nn.unary relu %1 : tensor<1x8x8x12xf32> -> tensor<1x8x8x12xf32>
  %3 = nn.conv %2, %g strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1) : tensor<1x8x8x12xf32>, tensor<3x3x12x8xf32> -> tensor<1x8x8x8xf32>
  %4 = nn.concat %1, %3 axis(3) : tensor<1x8x8x12xf32>, tensor<1x8x8x8xf32> -> tensor<1x8x8x20xf32>
  return %4 : tensor<1x8x8x20xf32>
}

// -----

// Along the first dimension parts are dense: any kernel writes them.
// CHECK-LABEL: func.func @first_dimension
// CHECK-NOT:     pitches
// CHECK:         %[[A:.*]] = kernel.group rows
// CHECK:         %[[B:.*]] = kernel.group pointwise
// CHECK-NOT:     kernel.group
// CHECK:         kernel.join %[[A]], %[[B]] axis 0
func.func @first_dimension(%x: tensor<4x8xf32>, %y: tensor<2x8xf32>) -> tensor<6x8xf32> {
  %0 = nn.softmax %x axis(1) : tensor<4x8xf32> -> tensor<4x8xf32>
  %1 = nn.unary exp %y : tensor<2x8xf32> -> tensor<2x8xf32>
  %2 = nn.concat %0, %1 axis(0) : tensor<4x8xf32>, tensor<2x8xf32> -> tensor<6x8xf32>
  return %2 : tensor<6x8xf32>
}

// -----

// Left as they are: parts of which most would be copied, a part that a kernel of rows writes or reads and that is not
// dense, and a part that is a result, too.
// CHECK-LABEL: func.func @arguments
// CHECK-NOT:     kernel.join
func.func @arguments(%x: tensor<4x8xf32>, %y: tensor<4x2xf32>) -> tensor<4x10xf32> {
  %0 = nn.unary exp %y : tensor<4x2xf32> -> tensor<4x2xf32>
  %1 = nn.softmax %0 axis(1) : tensor<4x2xf32> -> tensor<4x2xf32>
  %2 = nn.concat %x, %1 axis(1) : tensor<4x8xf32>, tensor<4x2xf32> -> tensor<4x10xf32>
  return %2 : tensor<4x10xf32>
}

// CHECK-LABEL: func.func @read_by_rows
// CHECK-NOT:     kernel.join
func.func @read_by_rows(%x: tensor<4x8xf32>, %f: tensor<8x8xf32>) -> (tensor<4x16xf32>, tensor<4x8xf32>) {
  %0 = nn.matmul %x, %f : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %1 = nn.concat %0, %x axis(1) : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x16xf32>
  %2 = nn.softmax %0 axis(1) : tensor<4x8xf32> -> tensor<4x8xf32>
  return %1, %2 : tensor<4x16xf32>, tensor<4x8xf32>
}

// CHECK-LABEL: func.func @part_is_a_result
// CHECK-NOT:     kernel.join
func.func @part_is_a_result(%x: tensor<4x8xf32>, %f: tensor<8x8xf32>) -> (tensor<4x16xf32>, tensor<4x8xf32>) {
  %0 = nn.matmul %x, %f : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %1 = nn.concat %0, %x axis(1) : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x16xf32>
  return %1, %0 : tensor<4x16xf32>, tensor<4x8xf32>
}

// -----

// The second part begins behind 12 bytes, which is no place for kernels that access 16 at once.
// CHECK-LABEL:   func.func @uneven_first
// CHECK:           kernel.join
// ALIGNED-LABEL: func.func @uneven_first
// ALIGNED-NOT:     kernel.join
// ALIGNED:         return
func.func @uneven_first(%x: tensor<3xf32>, %y: tensor<8xf32>) -> tensor<11xf32> {
  %0 = nn.unary exp %x : tensor<3xf32> -> tensor<3xf32>
  %1 = nn.unary exp %y : tensor<8xf32> -> tensor<8xf32>
  %2 = nn.concat %0, %1 axis(0) : tensor<3xf32>, tensor<8xf32> -> tensor<11xf32>
  return %2 : tensor<11xf32>
}

// -----

// ALIGNED-LABEL: func.func @even_first
// ALIGNED:         kernel.join
func.func @even_first(%x: tensor<4xf32>, %y: tensor<7xf32>) -> tensor<11xf32> {
  %0 = nn.unary exp %x : tensor<4xf32> -> tensor<4xf32>
  %1 = nn.unary exp %y : tensor<7xf32> -> tensor<7xf32>
  %2 = nn.concat %0, %1 axis(0) : tensor<4xf32>, tensor<7xf32> -> tensor<11xf32>
  return %2 : tensor<11xf32>
}

// -----

// A pool reads a part and writes another; what sorts does not know pitches.
// CHECK-LABEL: func.func @pool
// CHECK:         %[[A:.*]] = kernel.group conv(%{{.*}}) {{.*}} pitches [0, 0, 16]
// CHECK:         %[[B:.*]] = kernel.group loops(%[[A]]) {{.*}} pitches [16, 16]
// CHECK-NOT:     kernel.group
// CHECK:         kernel.join %[[A]], %[[B]] axis 3
func.func @pool(%x: tensor<1x8x8x4xf32>, %f: tensor<3x3x4x8xf32>) -> tensor<1x8x8x16xf32> {
  %0 = nn.conv %x, %f strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1) : tensor<1x8x8x4xf32>, tensor<3x3x4x8xf32> -> tensor<1x8x8x8xf32>
  %1 = nn.pool max %0 window([3, 3]) strides([1, 1]) dilations([1, 1]) before [1, 1] after [1, 1] sizes [8, 8] : tensor<1x8x8x8xf32> -> tensor<1x8x8x8xf32>
  %2 = nn.concat %0, %1 axis(3) : tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32> -> tensor<1x8x8x16xf32>
  return %2 : tensor<1x8x8x16xf32>
}

// CHECK-LABEL: func.func @running_sums
// CHECK-NOT:     kernel.join
func.func @running_sums(%x: tensor<4x8xf32>, %f: tensor<8x8xf32>) -> tensor<4x16xf32> {
  %0 = nn.matmul %x, %f : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %1 = nn.cumulate sum %0 axis(1) : tensor<4x8xf32> -> tensor<4x8xf32>
  %2 = nn.concat %0, %1 axis(1) : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x16xf32>
  return %2 : tensor<4x16xf32>
}
