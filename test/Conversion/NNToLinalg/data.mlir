// RUN: lathe-opt %s --split-input-file --convert-nn-to-linalg | FileCheck %s

// CHECK-LABEL: func @gather_is_checked_before_it_reads
// CHECK:         %[[IN:.*]] = arith.cmpi ult
// CHECK:         %[[OUT:.*]] = arith.xori %[[IN]]
// CHECK:         kernel.trap_if %[[OUT]], 1
// CHECK:         scf.if %[[IN]]
// CHECK:           tensor.extract
func.func @gather_is_checked_before_it_reads(%x: tensor<9x4xf32>, %i: tensor<3xi64>) -> tensor<3x4xf32> {
  %y = nn.gather %x, %i axis(0) : tensor<9x4xf32>, tensor<3xi64> -> tensor<3x4xf32>
  return %y : tensor<3x4xf32>
}

// -----

// CHECK-LABEL: func @splitting_heads_moves_nothing
// CHECK-NOT:     linalg.generic
// CHECK:         tensor.expand_shape %{{.*}} {{\[}}[0], [1], [2, 3]]
// CHECK-NOT:     linalg.generic
func.func @splitting_heads_moves_nothing(%x: tensor<?x?x384xf32>) -> tensor<?x?x12x32xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %a = tensor.dim %x, %c0 : tensor<?x?x384xf32>
  %b = tensor.dim %x, %c1 : tensor<?x?x384xf32>
  %e = tensor.empty(%a, %b) : tensor<?x?x384xf32>
  %y = nn.reshape %e to [%a, %b, 12, 32] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  return %y : tensor<?x?x12x32xf32>
}

// -----

// CHECK-LABEL: func @concat_calls_nothing
// CHECK-NOT:     tensor.insert_slice
// CHECK:         linalg.generic
// CHECK:           scf.if
func.func @concat_calls_nothing(%x: tensor<2x3xf32>, %y: tensor<2x4xf32>) -> tensor<2x7xf32> {
  %z = nn.concat %x, %y axis(1) : tensor<2x3xf32>, tensor<2x4xf32> -> tensor<2x7xf32>
  return %z : tensor<2x7xf32>
}

// -----

// CHECK-LABEL: func @from_scalars_of_rank_0
// CHECK:         arith.index_cast %{{.*}} : index to i64
// CHECK:         tensor.insert %{{.*}} into %{{.*}}[] : tensor<i64>
func.func @from_scalars_of_rank_0(%n: index) -> tensor<i64> {
  %y = nn.from_scalars %n : tensor<i64>
  return %y : tensor<i64>
}
