// RUN: lathe-opt %s --split-input-file --convert-nn-to-linalg | FileCheck %s

// CHECK-DAG:   #[[ID:.*]] = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-DAG:   #[[ROW:.*]] = affine_map<(d0, d1) -> (d1)>
// CHECK-LABEL: func @one_unknown_size_needs_no_check
// CHECK:         linalg.generic {indexing_maps = [#[[ID]], #[[ROW]], #[[ID]]]
// CHECK:           arith.addf
// CHECK-NOT:     tensor.extract
func.func @one_unknown_size_needs_no_check(%x: tensor<?x8xf32>, %y: tensor<8xf32>) -> tensor<?x8xf32> {
  %z = nn.binary add %x, %y : tensor<?x8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}

// -----

// Either may have size 1 at run time.
// CHECK-LABEL: func @two_unknown_sizes_are_read_by_index
// CHECK:         linalg.generic
// CHECK:           arith.select
// CHECK:           tensor.extract
func.func @two_unknown_sizes_are_read_by_index(%x: tensor<?xf32>, %y: tensor<?xf32>) -> tensor<?xf32> {
  %z = nn.binary add %x, %y : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
  return %z : tensor<?xf32>
}

// -----

// CHECK-LABEL: func @evidently_equal_sizes_are_mapped
// CHECK:         linalg.generic
// CHECK:         linalg.generic
// CHECK:           arith.mulf
// CHECK-NOT:     tensor.extract
func.func @evidently_equal_sizes_are_mapped(%x: tensor<?xf32>) -> tensor<?xf32> {
  %a = nn.unary abs %x : tensor<?xf32> -> tensor<?xf32>
  %b = nn.unary neg %x : tensor<?xf32> -> tensor<?xf32>
  %z = nn.binary mul %a, %b : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
  return %z : tensor<?xf32>
}

// -----

// CHECK-LABEL: func @signs_are_dropped
// CHECK-SAME:    tensor<4xi8>, %{{.*}}: tensor<4xi8>) -> tensor<4xi8>
// CHECK:         arith.divui
// CHECK-NOT:     ui8
func.func @signs_are_dropped(%x: tensor<4xui8>, %y: tensor<4xui8>) -> tensor<4xui8> {
  %z = nn.binary div %x, %y : tensor<4xui8>, tensor<4xui8> -> tensor<4xui8>
  return %z : tensor<4xui8>
}

// -----

// CHECK-LABEL: func @no_function_is_called
// CHECK-NOT:     math.{{exp|tanh|erf|log|powf}}
// CHECK:         math.fma
func.func @no_function_is_called(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = nn.unary gelu %x : tensor<4xf32> -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// A divisor of 0 or -1 would end the process.
// CHECK-LABEL: func @division_is_guarded
// CHECK:         arith.ori
// CHECK:         %[[SAFE:.*]] = arith.select
// CHECK:         arith.divsi %{{.*}}, %[[SAFE]]
func.func @division_is_guarded(%x: tensor<4xi32>, %y: tensor<4xi32>) -> tensor<4xi32> {
  %z = nn.binary div %x, %y : tensor<4xi32>, tensor<4xi32> -> tensor<4xi32>
  return %z : tensor<4xi32>
}
