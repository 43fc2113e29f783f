// RUN: lathe-opt %s --split-input-file --count-kernel-costs --cse --canonicalize | FileCheck %s

// Static sizes: 2 x 8 x 4 x 16 for the product, 8 x 16 for the bias and again for the activation. The input, the
// matrix, the bias and the result make 4 (32 + 64 + 16 + 128) bytes, the matrix and the bias 320 of them.
// CHECK-LABEL: func.func private @product.cost() -> (index, index, index) {
// CHECK-DAG:     %[[FLOPS:.*]] = arith.constant 1280 : index
// CHECK-DAG:     %[[BYTES:.*]] = arith.constant 960 : index
// CHECK-DAG:     %[[WEIGHTS:.*]] = arith.constant 320 : index
// CHECK:         return %[[FLOPS]], %[[BYTES]], %[[WEIGHTS]] : index, index, index
nn.weight private @w : tensor<4x16xf32> = dense<1.0>
nn.weight private @b : tensor<16xf32> = dense<1.0>
func.func @main(%x: tensor<8x4xf32>) -> tensor<8x16xf32> {
  %w = nn.weight_use @w : tensor<4x16xf32>
  %b = nn.weight_use @b : tensor<16xf32>
  %y = kernel.launch @product(%x, %w, %b) sizes() shapes [array<i64: 8, 4>, array<i64: 4, 16>, array<i64: 16>, array<i64: 8, 16>] : tensor<8x4xf32>, tensor<4x16xf32>, tensor<16xf32> -> tensor<8x16xf32>
  return %y : tensor<8x16xf32>
}
func.func private @product(%x: memref<?xi8>, %w: memref<?xi8>, %b: memref<?xi8>, %y: memref<?xi8>)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<8x4xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<4x16xf32>
  %2 = kernel.input %b[] : memref<?xi8> -> tensor<16xf32>
  %3 = nn.matmul %0, %1 : tensor<8x4xf32>, tensor<4x16xf32> -> tensor<8x16xf32>
  %4 = nn.binary add %3, %2 : tensor<8x16xf32>, tensor<16xf32> -> tensor<8x16xf32>
  %5 = nn.unary gelu %4 : tensor<8x16xf32> -> tensor<8x16xf32>
  kernel.output %5, %y[] : tensor<8x16xf32>, memref<?xi8>
  return
}

// -----

// A formula of the sizes: both products, 2 x 2 x 12 x 32 for each query and key.
// CHECK-LABEL: func.func private @attention.cost(
// CHECK-SAME:      %[[Q:.*]]: index, %[[K:.*]]: index)
// CHECK-DAG:     %[[PRODUCT:.*]] = arith.constant 768 : index
// CHECK-DAG:     %[[QUERIES:.*]] = arith.muli %[[Q]], %[[PRODUCT]] : index
// CHECK:         %[[ONE:.*]] = arith.muli %[[QUERIES]], %[[K]] : index
// CHECK:         %[[FLOPS:.*]] = arith.addi %[[ONE]], %[[ONE]] : index
// CHECK:         return %[[FLOPS]],
func.func private @attention(%q: memref<?xi8>, %k: memref<?xi8>, %v: memref<?xi8>, %y: memref<?xi8>, %Q: index,
                             %K: index) attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[%Q] : memref<?xi8> -> tensor<1x?x12x32xf32>
  %1 = kernel.input %k[%K] : memref<?xi8> -> tensor<1x?x12x32xf32>
  %2 = kernel.input %v[%K] : memref<?xi8> -> tensor<1x?x12x32xf32>
  %3 = nn.attention %0, %1, %2 scale(0.125)
    : tensor<1x?x12x32xf32>, tensor<1x?x12x32xf32>, tensor<1x?x12x32xf32> -> tensor<1x?x12x32xf32>
  kernel.output %3, %y[%Q] : tensor<1x?x12x32xf32>, memref<?xi8>
  return
}

// -----

// Of a table only the rows that are picked are read: 3 x 384 floats, and as many written, and 3 indices.
// CHECK-LABEL: func.func private @lookup.cost()
// CHECK-DAG:     %[[FLOPS:.*]] = arith.constant 0 : index
// CHECK-DAG:     %[[BYTES:.*]] = arith.constant 9240 : index
// CHECK:         return %[[FLOPS]], %[[BYTES]], %[[FLOPS]]
func.func private @lookup(%t: memref<?xi8>, %i: memref<?xi8>, %y: memref<?xi8>) attributes {kernel.root = "pointwise"} {
  %0 = kernel.input %t[] : memref<?xi8> -> tensor<30522x384xf32>
  %1 = kernel.input %i[] : memref<?xi8> -> tensor<3xi64>
  %2 = nn.gather %0, %1 axis(0) : tensor<30522x384xf32>, tensor<3xi64> -> tensor<3x384xf32>
  kernel.output %2, %y[] : tensor<3x384xf32>, memref<?xi8>
  return
}

// -----

// What is picked more often than it has elements is read once: 4 (10 + 100 + 200) bytes.
// CHECK-LABEL: func.func private @small_lookup.cost()
// CHECK:         arith.constant 1240 : index
func.func private @small_lookup(%t: memref<?xi8>, %i: memref<?xi8>, %y: memref<?xi8>)
    attributes {kernel.root = "pointwise"} {
  %0 = kernel.input %t[] : memref<?xi8> -> tensor<2x5xf32>
  %1 = kernel.input %i[] : memref<?xi8> -> tensor<100xi32>
  %2 = nn.gather %0, %1 axis(1) : tensor<2x5xf32>, tensor<100xi32> -> tensor<2x100xf32>
  %3 = nn.cast %2 : tensor<2x100xf32> -> tensor<2x100xi32>
  kernel.output %3, %y[] : tensor<2x100xi32>, memref<?xi8>
  return
}
// -----

// 2 for each of 6 x 16 results, 3 places and 8 channels; then a norm of 96 elements with a bias.
// CHECK-LABEL: func.func private @conv.cost()
// CHECK:         arith.constant 5280 : index
func.func private @conv(%x: memref<?xi8>, %w: memref<?xi8>, %s: memref<?xi8>, %b: memref<?xi8>, %y: memref<?xi8>)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<1x8x8xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<3x8x16xf32>
  %2 = kernel.input %s[] : memref<?xi8> -> tensor<16xf32>
  %3 = kernel.input %b[] : memref<?xi8> -> tensor<16xf32>
  %4 = nn.conv %0, %1 strides([1]) pads([0, 0]) dilations([1]) groups(1)
    : tensor<1x8x8xf32>, tensor<3x8x16xf32> -> tensor<1x6x16xf32>
  %5 = nn.layer_norm %4, %2, %3 axis(2) epsilon(1.0e-12)
    : tensor<1x6x16xf32>, tensor<16xf32>, tensor<16xf32> -> tensor<1x6x16xf32>
  kernel.output %5, %y[] : tensor<1x6x16xf32>, memref<?xi8>
  return
}

// -----

// Of a matrix in blocks what is stored counts: 8 blocks of 4 elements, 2 for each column. The input, the components in
// multiples of 64 bytes, and the result make 128 + 256 + 512 bytes.
// CHECK-LABEL: func.func private @blocks.cost() -> (index, index, index) {
// CHECK-DAG:     %[[FLOPS:.*]] = arith.constant 512 : index
// CHECK-DAG:     %[[BYTES:.*]] = arith.constant 896 : index
// CHECK:         return %[[FLOPS]], %[[BYTES]],
func.func private @blocks(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[] : memref<?xi8> -> tensor<8x4xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> !pack.tensor<4x16xf32, #pack.blocks<rows = 1, columns = 4, count = 8>>
  %2 = pack.decode %1 : !pack.tensor<4x16xf32, #pack.blocks<rows = 1, columns = 4, count = 8>> -> tensor<4x16xf32>
  %3 = nn.matmul %0, %2 : tensor<8x4xf32>, tensor<4x16xf32> -> tensor<8x16xf32>
  kernel.output %3, %y[] : tensor<8x16xf32>, memref<?xi8>
  return
}
