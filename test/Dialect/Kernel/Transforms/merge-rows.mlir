// RUN: lathe-opt %s --kernel-form --kernel-merge-rows | FileCheck %s

// A norm that others read, and the same row as bytes with their scale: one kernel with three results.
// CHECK-LABEL: func.func @norm_and_its_bytes
// CHECK:         %[[K:.*]]:3 = kernel.group rows
// CHECK:           %[[V:.*]] = nn.layer_norm
// CHECK:           %[[A:.*]] = nn.unary abs %[[V]]
// CHECK:           nn.reduce max %[[A]]
// CHECK:           %[[SCALE:.*]] = nn.binary mul %{{.*}} : tensor<?x1xf32>
// CHECK:           %[[CODES:.*]] = nn.cast
// CHECK:           kernel.yield %[[V]], %[[SCALE]], %[[CODES]]
// CHECK-NOT:     kernel.group
// CHECK:         return %[[K]]#0, %[[K]]#2, %[[K]]#1
func.func @norm_and_its_bytes(%x: tensor<?x384xf32> {nn.dims = ["N", ""]}, %s: tensor<384xf32>, %b: tensor<384xf32>)
    -> (tensor<?x384xf32>, tensor<?x384xi8>, tensor<?x1xf32>) {
  %c = arith.constant dense<127.0> : tensor<f32>
  %d = arith.constant dense<0.0078125> : tensor<f32>
  %0 = nn.layer_norm %x, %s, %b axis(1) epsilon(1.0e-5) : tensor<?x384xf32>, tensor<384xf32>, tensor<384xf32> -> tensor<?x384xf32>
  %1 = nn.unary abs %0 : tensor<?x384xf32> -> tensor<?x384xf32>
  %2 = nn.reduce max %1 axes([1]) keep_dims(true) : tensor<?x384xf32> -> tensor<?x1xf32>
  %3 = nn.binary mul %2, %d : tensor<?x1xf32>, tensor<f32> -> tensor<?x1xf32>
  %4 = nn.binary div %c, %2 : tensor<f32>, tensor<?x1xf32> -> tensor<?x1xf32>
  %5 = nn.binary mul %0, %4 : tensor<?x384xf32>, tensor<?x1xf32> -> tensor<?x384xf32>
  %6 = nn.cast %5 : tensor<?x384xf32> -> tensor<?x384xi8>
  return %0, %6, %3 : tensor<?x384xf32>, tensor<?x384xi8>, tensor<?x1xf32>
}

// Two extremes of the same rows, however long: one pass.
// CHECK-LABEL: func.func @extremes
// CHECK:         kernel.group rows
// CHECK-DAG:       nn.reduce max
// CHECK-DAG:       nn.reduce min
// CHECK:           nn.binary sub
// CHECK-NOT:     kernel.group
// CHECK:         return
func.func @extremes(%x: tensor<?x?xf32> {nn.dims = ["N", "L"]}) -> tensor<f32> {
  %0 = nn.reduce max %x axes([0, 1]) keep_dims(false) : tensor<?x?xf32> -> tensor<f32>
  %1 = nn.reduce min %x axes([0, 1]) keep_dims(false) : tensor<?x?xf32> -> tensor<f32>
  %2 = nn.binary sub %0, %1 : tensor<f32>, tensor<f32> -> tensor<f32>
  return %2 : tensor<f32>
}

// A long row would be read from memory again, by one task.
// CHECK-LABEL: func.func @long_rows
// CHECK:         kernel.group rows
// CHECK:         kernel.group pointwise
// CHECK:         return
func.func @long_rows(%x: tensor<2x8192xf32>) -> tensor<2x8192xf32> {
  %0 = nn.reduce sum %x axes([1]) keep_dims(true) : tensor<2x8192xf32> -> tensor<2x1xf32>
  %1 = nn.binary div %x, %0 : tensor<2x8192xf32>, tensor<2x1xf32> -> tensor<2x8192xf32>
  return %1 : tensor<2x8192xf32>
}

// So would rows of a length that only the run knows.
// CHECK-LABEL: func.func @unknown_rows
// CHECK:         kernel.group rows
// CHECK:         kernel.group pointwise
// CHECK:         return
func.func @unknown_rows(%x: tensor<2x?xf32> {nn.dims = ["", "L"]}) -> tensor<2x?xf32> {
  %0 = nn.reduce sum %x axes([1]) keep_dims(true) : tensor<2x?xf32> -> tensor<2x1xf32>
  %1 = nn.binary div %x, %0 : tensor<2x?xf32>, tensor<2x1xf32> -> tensor<2x?xf32>
  return %1 : tensor<2x?xf32>
}

// What comes between may depend on the first kernel: then the second one stays behind it.
// CHECK-LABEL: func.func @product_between
// CHECK:         kernel.group rows
// CHECK:         kernel.group matmul
// CHECK:         kernel.group rows
// CHECK:         return
func.func @product_between(%x: tensor<4x64xf32>, %w: tensor<64x64xf32>) -> (tensor<4x64xf32>, tensor<4x1xf32>) {
  %0 = nn.softmax %x axis(1) : tensor<4x64xf32> -> tensor<4x64xf32>
  %1 = nn.matmul %0, %w : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  %2 = nn.binary add %0, %1 : tensor<4x64xf32>, tensor<4x64xf32> -> tensor<4x64xf32>
  %3 = nn.reduce sum %2 axes([1]) keep_dims(true) : tensor<4x64xf32> -> tensor<4x1xf32>
  return %1, %3 : tensor<4x64xf32>, tensor<4x1xf32>
}

// The transposed rows are other rows.
// CHECK-LABEL: func.func @other_rows
// CHECK:         kernel.group rows
// CHECK:         kernel.group rows
// CHECK:         return
func.func @other_rows(%x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %0 = nn.softmax %x axis(1) : tensor<64x64xf32> -> tensor<64x64xf32>
  %1 = nn.transpose %0 perm([1, 0]) : tensor<64x64xf32> -> tensor<64x64xf32>
  %2 = nn.softmax %1 axis(1) : tensor<64x64xf32> -> tensor<64x64xf32>
  return %2 : tensor<64x64xf32>
}
