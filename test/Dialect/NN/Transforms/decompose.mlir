// RUN: lathe-opt %s --split-input-file --nn-decompose | FileCheck %s

// CHECK-LABEL: func @softmax
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>
// CHECK:         %[[MAX:.*]] = nn.reduce max %[[X]] axes([1]) keep_dims(true)
// CHECK:         %[[D:.*]] = nn.binary sub %[[X]], %[[MAX]]
// CHECK:         %[[E:.*]] = nn.unary exp %[[D]]
// CHECK:         %[[SUM:.*]] = nn.reduce sum %[[E]] axes([1]) keep_dims(true)
// CHECK:         %[[R:.*]] = nn.binary div %[[E]], %[[SUM]]
// CHECK:         return %[[R]]
func.func @softmax(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = nn.softmax %x axis(1) : tensor<?x8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func @log_softmax_takes_no_quotient
// CHECK:         %[[D:.*]] = nn.binary sub
// CHECK:         %[[L:.*]] = nn.unary log
// CHECK:         nn.binary sub %[[D]], %[[L]]
// CHECK-NOT:     div
func.func @log_softmax_takes_no_quotient(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %y = nn.softmax log %x axis(1) : tensor<4x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: func @half_softmax_is_computed_in_f32
// CHECK:         nn.cast %{{.*}} : tensor<4x8xf16> -> tensor<4x8xf32>
// CHECK:         nn.unary exp %{{.*}} : tensor<4x8xf32>
// CHECK:         nn.cast %{{.*}} : tensor<4x8xf32> -> tensor<4x8xf16>
func.func @half_softmax_is_computed_in_f32(%x: tensor<4x8xf16>) -> tensor<4x8xf16> {
  %y = nn.softmax %x axis(1) : tensor<4x8xf16> -> tensor<4x8xf16>
  return %y : tensor<4x8xf16>
}

// -----

// CHECK-LABEL: func @layer_norm
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[SCALE:.*]]: tensor<8xf32>, %[[BIAS:.*]]: tensor<8xf32>
// CHECK:         %[[MEAN:.*]] = nn.reduce mean %[[X]] axes([1]) keep_dims(true)
// CHECK:         %[[D:.*]] = nn.binary sub %[[X]], %[[MEAN]]
// CHECK:         %[[SQUARE:.*]] = nn.binary mul %[[D]], %[[D]]
// CHECK:         nn.reduce mean %[[SQUARE]] axes([1]) keep_dims(true)
// CHECK:         nn.unary sqrt
// CHECK:         %[[N:.*]] = nn.binary div %[[D]]
// CHECK:         %[[S:.*]] = nn.binary mul %[[N]], %[[SCALE]]
// CHECK:         nn.binary add %[[S]], %[[BIAS]]
func.func @layer_norm(%x: tensor<?x8xf32>, %s: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<?x8xf32> {
  %y = nn.layer_norm %x, %s, %b axis(1) epsilon(1.0e-5)
    : tensor<?x8xf32>, tensor<8xf32>, tensor<8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func @rms_norm_rounds_before_scaling
// CHECK:         %[[N:.*]] = nn.binary div
// CHECK:         %[[R:.*]] = nn.cast %[[N]] : tensor<4x8xf32> -> tensor<4x8xf16>
// CHECK:         nn.binary mul %[[R]], %{{.*}} : tensor<4x8xf16>, tensor<8xf16> -> tensor<4x8xf16>
func.func @rms_norm_rounds_before_scaling(%x: tensor<4x8xf16>, %s: tensor<8xf16>) -> tensor<4x8xf16> {
  %y = nn.rms_norm %x, %s axis(1) epsilon(1.0e-5) : tensor<4x8xf16>, tensor<8xf16> -> tensor<4x8xf16>
  return %y : tensor<4x8xf16>
}

// -----

// Query heads of one group share the key head by a broadcast, not by a copy.
// CHECK-LABEL: func @grouped_attention
// CHECK:         nn.matmul %{{.*}}, %{{.*}} : tensor<2x2x2x3x8xf32>, tensor<2x2x1x8x5xf32> -> tensor<2x2x2x3x5xf32>
// CHECK-NOT:     nn.softmax
// CHECK:         nn.matmul %{{.*}}, %{{.*}} : tensor<2x2x2x3x5xf32>, tensor<2x2x1x5x6xf32> -> tensor<2x2x2x3x6xf32>
func.func @grouped_attention(%q: tensor<2x3x4x8xf32>, %k: tensor<2x5x2x8xf32>, %v: tensor<2x5x2x6xf32>)
    -> tensor<2x3x4x6xf32> {
  %y = nn.attention %q, %k, %v scale(0.25)
    : tensor<2x3x4x8xf32>, tensor<2x5x2x8xf32>, tensor<2x5x2x6xf32> -> tensor<2x3x4x6xf32>
  return %y : tensor<2x3x4x6xf32>
}

// -----

// CHECK-LABEL: func @bool_mask_selects
// CHECK-SAME:    %[[MASK:[a-z0-9]+]]: tensor<3x5xi1>
// CHECK:         nn.select %[[MASK]]
func.func @bool_mask_selects(%q: tensor<2x3x4x8xf32>, %k: tensor<2x5x4x8xf32>, %v: tensor<2x5x4x6xf32>,
                             %m: tensor<3x5xi1>) -> tensor<2x3x4x6xf32> {
  %y = nn.attention %q, %k, %v mask(%m) scale(0.25)
    : tensor<2x3x4x8xf32>, tensor<2x5x4x8xf32>, tensor<2x5x4x6xf32>, tensor<3x5xi1> -> tensor<2x3x4x6xf32>
  return %y : tensor<2x3x4x6xf32>
}
