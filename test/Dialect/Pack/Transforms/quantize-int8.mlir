// RUN: lathe-opt %s --split-input-file --pack-quantize-int8 --verify-diagnostics | FileCheck %s

// CHECK:       nn.weight private @w : tensor<64x64xf32>
// CHECK:       nn.weight private @w_scales : tensor<64xf32> computed {
// CHECK-NEXT:    %[[W:.*]] = nn.weight_use @w : tensor<64x64xf32>
// CHECK-NEXT:    %[[P:.*]] = pack.encode %[[W]] : tensor<64x64xf32> -> !pack.tensor<64x64xf32, #pack.int8<dynamic>>
// CHECK-NEXT:    %[[S:.*]] = pack.component 1 of %[[P]]
// CHECK-NEXT:    nn.yield %[[S]]
// CHECK-NEXT:  } {onnx_name = "encoder.weight"}
// CHECK:       nn.weight private @w_int8 : tensor<64x64xi8> computed {
// CHECK:         pack.component 0 of
nn.weight private @w : tensor<64x64xf32> = dense<1.0> {onnx_name = "encoder.weight"}

// Two products with one tensor quantize it once.
// CHECK-LABEL: func @dynamic
// CHECK-SAME:    (%[[X:.*]]: tensor<?x64xf32>
// CHECK:         %[[A:.*]] = nn.unary abs %[[X]]
// CHECK:         %[[M:.*]] = nn.reduce max %[[A]] axes([1]) keep_dims(true)
// CHECK:         %[[LEAST:.*]] = arith.constant dense<7.8886
// CHECK:         %[[L:.*]] = nn.binary max %[[M]], %[[LEAST]]
// CHECK:         %[[PART:.*]] = arith.constant dense<0.0078740
// CHECK:         %[[SCALE:.*]] = nn.binary mul %[[L]], %[[PART]]
// CHECK:         %[[MOST:.*]] = arith.constant dense<1.270000e+02>
// CHECK:         %[[INVERSE:.*]] = nn.binary div %[[MOST]], %[[L]]
// CHECK:         %[[SCALED:.*]] = nn.binary mul %[[X]], %[[INVERSE]]
// CHECK-DAG:     %[[ROUNDED:.*]] = nn.unary round %[[SCALED]]
// CHECK-DAG:     %[[MIDDLE:.*]] = arith.constant dense<1.280000e+02>
// CHECK:         %[[MOVED:.*]] = nn.binary add %[[ROUNDED]], %[[MIDDLE]]
// CHECK:         %[[CODES:.*]] = nn.cast %[[MOVED]] : tensor<?x64xf32> -> tensor<?x64xui8>
// CHECK-DAG:     %[[ZERO:.*]] = arith.constant dense<128> : tensor<ui8>
// CHECK-DAG:     %[[W:.*]] = nn.weight_use @w_int8 : tensor<64x64xi8>
// CHECK-DAG:     %[[S:.*]] = nn.weight_use @w_scales : tensor<64xf32>
// CHECK:         %[[SUMS:.*]] = nn.integer_matmul %[[CODES]]{{.*}}, %[[W]]
// CHECK:         %[[REAL:.*]] = nn.cast %[[SUMS]] : tensor<?x64xi32> -> tensor<?x64xf32>
// CHECK:         %[[ROWS:.*]] = nn.binary mul %[[REAL]], %[[SCALE]]
// CHECK:         nn.binary mul %[[ROWS]], %[[S]]
// CHECK-NOT:     nn.reduce
// CHECK:         nn.integer_matmul %[[CODES]]
// CHECK-NOT:     nn.matmul
// CHECK:         return
func.func @dynamic(%x: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %w = nn.weight_use @w : tensor<64x64xf32>
  // expected-remark@+1 {{[pack-quantize-int8] computed with integers of 8 bits}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  // expected-remark@+1 {{computed with integers of 8 bits}}
  %1 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>} : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  return %0, %1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// From -51 to 204 by steps of 1. The numbers are weights, so that layers of other ranges are alike.
// CHECK-DAG:   nn.weight private @zero_code : tensor<ui8> = dense<51>
// CHECK-DAG:   nn.weight private @zero : tensor<f32> = dense<5.100000e+01>
// CHECK-DAG:   nn.weight private @inverse : tensor<f32> = dense<1.000000e+00>
// CHECK-LABEL: func @static
// CHECK-NOT:     nn.reduce
// CHECK:         %[[ONE:.*]] = nn.weight_use @inverse
// CHECK:         nn.binary mul %{{.*}}, %[[ONE]]
// CHECK-DAG:     nn.unary round
// CHECK-DAG:     %[[MIDDLE:.*]] = nn.weight_use @zero : tensor<f32>
// CHECK:         nn.binary add %{{.*}}, %[[MIDDLE]]
// CHECK:         nn.cast %{{.*}} -> tensor<4x64xui8>
// CHECK:         %[[ZERO:.*]] = nn.weight_use @zero_code
// CHECK:         %[[SUMS:.*]] = nn.integer_matmul %{{.*}} lhs_zero(%[[ZERO]] : tensor<ui8>)
// CHECK:         %[[REAL:.*]] = nn.cast %[[SUMS]]
// CHECK:         %[[S:.*]] = nn.weight_use @w_scales_static
// CHECK-NEXT:    nn.binary mul %[[REAL]], %[[S]]
nn.weight private @w : tensor<64x64xf32> = dense<1.0>
func.func @static(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %w = nn.weight_use @w : tensor<64x64xf32>
  // expected-remark@+1 {{computed with integers of 8 bits}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<static>, pack.range = array<f32: -51.0, 204.0>} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// Factors of channels are part of the one by which codes are found.
// CHECK-LABEL: func @divided
// CHECK-SAME:    (%[[X:.*]]: tensor<4x64xf32>
// CHECK:         %[[F:.*]] = arith.constant dense<2.000000e+00> : tensor<64xf32>
// CHECK-NEXT:    %[[S:.*]] = nn.binary mul %[[X]], %[[F]]
// CHECK:         nn.unary round %[[S]]
// CHECK-NOT:     nn.binary mul %[[X]]
nn.weight private @w : tensor<64x64xf32> = dense<1.0>
func.func @divided(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %c = arith.constant dense<4.0> : tensor<64xf32>
  %d = nn.binary mul %x, %c : tensor<4x64xf32>, tensor<64xf32> -> tensor<4x64xf32>
  %w = nn.weight_use @w : tensor<64x64xf32>
  // expected-remark@+1 {{computed with integers of 8 bits}}
  %0 = nn.matmul %d, %w {pack.format = #pack.int8<static>, pack.range = array<f32: 0.0, 510.0>} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// Only codes are rounded by sums of products.
// CHECK:       nn.weight private @w_scales
// CHECK:         pack.encode %{{[^ ]*}} : tensor
// CHECK:       nn.weight private @w_int8
// CHECK:         %[[G:.*]] = nn.weight_use @g
// CHECK:         pack.encode %{{.*}} gram(%[[G]] : tensor<64x64xf32>) : tensor
// CHECK-LABEL: func @compensated
nn.weight private @g : tensor<64x64xf32> = dense<1.0>
nn.weight private @w : tensor<64x64xf32> = dense<1.0>
func.func @compensated(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %w = nn.weight_use @w : tensor<64x64xf32>
  // expected-remark@+1 {{computed with integers of 8 bits}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>, pack.gram = @g} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// CHECK-LABEL: func @static_without_range
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x64xf32> = dense<1.0>
func.func @static_without_range(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %w = nn.weight_use @w : tensor<64x64xf32>
  // expected-remark@+1 {{[pack-quantize-int8] missed: not computed as #pack.int8<static>: the range of its left operand is not known: it was not calibrated}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<static>} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// CHECK-LABEL: func @range_of_zero
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x64xf32> = dense<1.0>
func.func @range_of_zero(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %w = nn.weight_use @w : tensor<64x64xf32>
  // expected-remark@+1 {{missed: not computed as #pack.int8<static>: the range of its left operand, 0 to 0, gives no scale}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<static>, pack.range = array<f32: 0.0, 0.0>} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// CHECK-LABEL: func @infinite_weight
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x64xf32> = dense<0x7F800000>
func.func @infinite_weight(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %w = nn.weight_use @w : tensor<64x64xf32>
  // expected-remark@+1 {{[pack-quantize-int8] missed: not computed as #pack.int8<dynamic>: }}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// CHECK-LABEL: func @few_weights
// CHECK-NOT:     pack.
nn.weight private @w : tensor<64x2xf32> = dense<1.0>
func.func @few_weights(%x: tensor<4x64xf32>) -> tensor<4x2xf32> {
  %w = nn.weight_use @w : tensor<64x2xf32>
  // expected-remark@+1 {{missed: not computed as #pack.int8<dynamic>: 64 x 2 weights are too few}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>} : tensor<4x64xf32>, tensor<64x2xf32> -> tensor<4x2xf32>
  return %0 : tensor<4x2xf32>
}

// -----

// CHECK-LABEL: func @no_weight
// CHECK-NOT:     pack.
func.func @no_weight(%x: tensor<4x64xf32>, %w: tensor<64x64xf32>) -> tensor<4x64xf32> {
  // expected-remark@+1 {{missed: not computed as #pack.int8<dynamic>: its right operand is no weight}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<dynamic>} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// CHECK-LABEL: func @no_product
// CHECK-NOT:     pack.
func.func @no_product(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // expected-remark@+1 {{missed: not computed as #pack.int8<dynamic>: only products and convolutions are computed with integers of 8 bits}}
  %0 = nn.unary relu %x {pack.format = #pack.int8<dynamic>} : tensor<4x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// What is only stored so is the work of another pass.
// CHECK-LABEL: func @stored
// CHECK:         nn.matmul {{.*}} {pack.format = #pack.int8<weight_only>}
nn.weight private @w : tensor<64x64xf32> = dense<1.0>
func.func @stored(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  %w = nn.weight_use @w : tensor<64x64xf32>
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<weight_only>} : tensor<4x64xf32>, tensor<64x64xf32> -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// Of a pixel alone the scale is its own, of a larger window that of the image.
// CHECK-LABEL: func @convolutions
// CHECK:         nn.reduce max %{{.*}} axes([3]) keep_dims(true)
// CHECK:         nn.integer_conv
// CHECK:         nn.reduce max %{{.*}} axes([1, 2, 3]) keep_dims(true)
// CHECK:         nn.integer_conv
nn.weight private @pixel : tensor<1x1x64x64xf32> = dense<1.0>
nn.weight private @window : tensor<3x3x64x64xf32> = dense<1.0>
func.func @convolutions(%x: tensor<2x8x8x64xf32>) -> tensor<2x8x8x64xf32> {
  %p = nn.weight_use @pixel : tensor<1x1x64x64xf32>
  %w = nn.weight_use @window : tensor<3x3x64x64xf32>
  // expected-remark@+1 {{computed with integers of 8 bits}}
  %0 = nn.conv %x, %p strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1) {pack.format = #pack.int8<dynamic>} : tensor<2x8x8x64xf32>, tensor<1x1x64x64xf32> -> tensor<2x8x8x64xf32>
  // expected-remark@+1 {{computed with integers of 8 bits}}
  %1 = nn.conv %0, %w strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(1) {pack.format = #pack.int8<dynamic>} : tensor<2x8x8x64xf32>, tensor<3x3x64x64xf32> -> tensor<2x8x8x64xf32>
  return %1 : tensor<2x8x8x64xf32>
}

// -----

// CHECK-LABEL: func @depthwise
// CHECK:         nn.conv
// CHECK-NOT:     pack.
nn.weight private @w : tensor<3x3x1x64xf32> = dense<1.0>
func.func @depthwise(%x: tensor<2x8x8x64xf32>) -> tensor<2x8x8x64xf32> {
  %w = nn.weight_use @w : tensor<3x3x1x64xf32>
  // expected-remark@+1 {{missed: not computed as #pack.int8<dynamic>: groups of channels that are no multiple of 4 are multiplied as floats}}
  %0 = nn.conv %x, %w strides([1, 1]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(64) {pack.format = #pack.int8<dynamic>} : tensor<2x8x8x64xf32>, tensor<3x3x1x64xf32> -> tensor<2x8x8x64xf32>
  return %0 : tensor<2x8x8x64xf32>
}
