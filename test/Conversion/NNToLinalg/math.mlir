// RUN: lathe-opt %s --split-input-file --convert-nn-to-linalg | FileCheck %s

// CHECK-LABEL: func @matmul_accumulates_narrow_floats_in_f32
// CHECK:         linalg.fill {{.*}} tensor<4x5xf32>
// CHECK:         linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]
// CHECK:           arith.extf {{.*}} bf16 to f32
// CHECK:           arith.addf {{.*}} f32
// CHECK:         arith.truncf {{.*}} f32 to bf16
func.func @matmul_accumulates_narrow_floats_in_f32(%x: tensor<4x3xbf16>, %y: tensor<3x5xbf16>) -> tensor<4x5xbf16> {
  %z = nn.matmul %x, %y : tensor<4x3xbf16>, tensor<3x5xbf16> -> tensor<4x5xbf16>
  return %z : tensor<4x5xbf16>
}

// -----

// CHECK-LABEL: func @batches_broadcast
// CHECK:         linalg.generic
// CHECK-SAME:    ins(%{{.*}}, %{{.*}} : tensor<?x1x4x3xf32>, tensor<6x3x5xf32>)
func.func @batches_broadcast(%x: tensor<?x1x4x3xf32>, %y: tensor<6x3x5xf32>) -> tensor<?x6x4x5xf32> {
  %z = nn.matmul %x, %y : tensor<?x1x4x3xf32>, tensor<6x3x5xf32> -> tensor<?x6x4x5xf32>
  return %z : tensor<?x6x4x5xf32>
}

// -----

// CHECK-LABEL: func @reduce_max_starts_at_minus_infinity
// CHECK:         arith.constant 0xFF800000 : f32
// CHECK:         arith.maximumf
func.func @reduce_max_starts_at_minus_infinity(%x: tensor<4x?xf32>) -> tensor<4xf32> {
  %y = nn.reduce max %x axes([1]) keep_dims(false) : tensor<4x?xf32> -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// CHECK-LABEL: func @padding_is_not_read
// CHECK:         %[[IN:.*]] = arith.cmpi ult
// CHECK:         scf.if %[[IN]]
// CHECK:           tensor.extract
func.func @padding_is_not_read(%x: tensor<1x9x3xf32>, %f: tensor<3x3x4xf32>) -> tensor<1x9x4xf32> {
  %y = nn.conv %x, %f strides([1]) pads([1, 1]) dilations([1]) groups(1)
    : tensor<1x9x3xf32>, tensor<3x3x4xf32> -> tensor<1x9x4xf32>
  return %y : tensor<1x9x4xf32>
}
