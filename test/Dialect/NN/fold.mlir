// RUN: lathe-opt %s --canonicalize --split-input-file | FileCheck %s

// CHECK-LABEL: func @binary_of_constants
func.func @binary_of_constants() -> (tensor<2x2xi32>, tensor<2xf32>, tensor<2xui8>) {
  %a = arith.constant dense<[[1], [2]]> : tensor<2x1xi32>
  %b = arith.constant dense<[10, 20]> : tensor<2xi32>
  // CHECK-DAG: arith.constant dense<{{\[\[}}11, 21], [12, 22]]> : tensor<2x2xi32>
  %0 = nn.binary add %a, %b : tensor<2x1xi32>, tensor<2xi32> -> tensor<2x2xi32>
  %c = arith.constant dense<[7.0, -8.0]> : tensor<2xf32>
  %d = arith.constant dense<3.0> : tensor<f32>
  // CHECK-DAG: arith.constant dense<[2.33333325, -2.66666675]> : tensor<2xf32>
  %1 = nn.binary div %c, %d : tensor<2xf32>, tensor<f32> -> tensor<2xf32>
  // Unsigned numbers stay unsigned.
  %e = arith.constant dense<[200, 100]> : tensor<2xui8>
  %f = arith.constant dense<3> : tensor<ui8>
  // CHECK-DAG: arith.constant dense<[66, 33]> : tensor<2xui8>
  %2 = nn.binary div %e, %f : tensor<2xui8>, tensor<ui8> -> tensor<2xui8>
  return %0, %1, %2 : tensor<2x2xi32>, tensor<2xf32>, tensor<2xui8>
}

// -----

// CHECK-LABEL: func @integer_division_has_the_kernels_corners
func.func @integer_division_has_the_kernels_corners() -> tensor<4xi8> {
  %a = arith.constant dense<[-7, 7, 5, -128]> : tensor<4xi8>
  %b = arith.constant dense<[2, -2, 3, -1]> : tensor<4xi8>
  // CHECK: arith.constant dense<[-3, -3, 1, -128]> : tensor<4xi8>
  %0 = nn.binary div %a, %b : tensor<4xi8>, tensor<4xi8> -> tensor<4xi8>
  return %0 : tensor<4xi8>
}

// -----

// The run fails; of floats, it does not.
// CHECK-LABEL: func @integer_division_by_zero_is_left_to_the_run
// CHECK-DAG:     arith.constant dense<0x7F800000> : tensor<f32>
// CHECK:         nn.binary div
// CHECK:         nn.binary mod
func.func @integer_division_by_zero_is_left_to_the_run() -> (tensor<2xi8>, tensor<2xui8>, tensor<f32>) {
  %a = arith.constant dense<[-7, 7]> : tensor<2xi8>
  %b = arith.constant dense<[2, 0]> : tensor<2xi8>
  %0 = nn.binary div %a, %b : tensor<2xi8>, tensor<2xi8> -> tensor<2xi8>
  %c = arith.constant dense<[7, 7]> : tensor<2xui8>
  %d = arith.constant dense<[0, 2]> : tensor<2xui8>
  %1 = nn.binary mod %c, %d : tensor<2xui8>, tensor<2xui8> -> tensor<2xui8>
  %e = arith.constant dense<1.0> : tensor<f32>
  %f = arith.constant dense<0.0> : tensor<f32>
  %2 = nn.binary div %e, %f : tensor<f32>, tensor<f32> -> tensor<f32>
  return %0, %1, %2 : tensor<2xi8>, tensor<2xui8>, tensor<f32>
}

// -----

// CHECK-LABEL: func @transcendental_functions
func.func @transcendental_functions() -> (tensor<2xf32>, tensor<2xf16>) {
  %x = arith.constant dense<[0.0, 1.0]> : tensor<2xf32>
  // CHECK-DAG: arith.constant dense<[1.000000e+00, 2.71828{{[0-9]*}}]> : tensor<2xf32>
  %0 = nn.unary exp %x : tensor<2xf32> -> tensor<2xf32>
  %h = arith.constant dense<[0.0, 1.0]> : tensor<2xf16>
  // CHECK-DAG: arith.constant dense<[0.000000e+00, 7.6{{[0-9]*}}e-01]> : tensor<2xf16>
  %1 = nn.unary tanh %h : tensor<2xf16> -> tensor<2xf16>
  return %0, %1 : tensor<2xf32>, tensor<2xf16>
}

// -----

// CHECK-LABEL: func @comparisons_with_nan
func.func @comparisons_with_nan() -> (tensor<2xi1>, tensor<2xi1>) {
  %x = arith.constant dense<[0x7FC00000, 1.0]> : tensor<2xf32>
  // CHECK-DAG: arith.constant dense<[false, true]> : tensor<2xi1>
  %0 = nn.compare eq %x, %x : tensor<2xf32>, tensor<2xf32> -> tensor<2xi1>
  // CHECK-DAG: arith.constant dense<[true, false]> : tensor<2xi1>
  %1 = nn.compare ne %x, %x : tensor<2xf32>, tensor<2xf32> -> tensor<2xi1>
  return %0, %1 : tensor<2xi1>, tensor<2xi1>
}

// -----

// CHECK-LABEL: func @casts_of_constants
func.func @casts_of_constants() -> (tensor<3xi8>, tensor<2xi1>, tensor<2xf32>, tensor<f16>) {
  %x = arith.constant dense<[1.9, -1.9, 1000.0]> : tensor<3xf32>
  // CHECK-DAG: arith.constant dense<[1, -1, 127]> : tensor<3xi8>
  %0 = nn.cast %x : tensor<3xf32> -> tensor<3xi8>
  %i = arith.constant dense<[0, 256]> : tensor<2xi32>
  // CHECK-DAG: arith.constant dense<[false, true]> : tensor<2xi1>
  %1 = nn.cast %i : tensor<2xi32> -> tensor<2xi1>
  // CHECK-DAG: arith.constant dense<[0.000000e+00, 2.550000e+02]> : tensor<2xf32>
  %u = arith.constant dense<[0, 255]> : tensor<2xui8>
  %2 = nn.cast %u : tensor<2xui8> -> tensor<2xf32>
  %d = arith.constant dense<0.1> : tensor<f64>
  // CHECK-DAG: arith.constant dense<9.997550e-02> : tensor<f16>
  %3 = nn.cast %d : tensor<f64> -> tensor<f16>
  return %0, %1, %2, %3 : tensor<3xi8>, tensor<2xi1>, tensor<2xf32>, tensor<f16>
}

// -----

// CHECK-LABEL: func @select_of_constants
func.func @select_of_constants() -> tensor<2xf32> {
  %c = arith.constant dense<[true, false]> : tensor<2xi1>
  %a = arith.constant dense<1.0> : tensor<f32>
  %b = arith.constant dense<2.0> : tensor<2xf32>
  // CHECK: arith.constant dense<[1.000000e+00, 2.000000e+00]> : tensor<2xf32>
  %0 = nn.select %c, %a, %b : tensor<2xi1>, tensor<f32>, tensor<2xf32> -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// -----

// CHECK-LABEL: func @no_large_constants
func.func @no_large_constants() -> (tensor<512xf32>, tensor<512xf32>) {
  %x = arith.constant dense<1.0> : tensor<512xf32>
  %s = arith.constant dense<1.5> : tensor<f32>
  // CHECK: nn.binary add
  %0 = nn.binary add %x, %s : tensor<512xf32>, tensor<f32> -> tensor<512xf32>
  // CHECK: nn.expand
  %1 = nn.expand %s to [512] : tensor<f32> -> tensor<512xf32>
  return %0, %1 : tensor<512xf32>, tensor<512xf32>
}

// -----

// CHECK-LABEL: func @reductions_of_constants
func.func @reductions_of_constants() -> (tensor<2xi32>, tensor<1x3xf32>, tensor<i1>, tensor<f32>, tensor<2xui8>) {
  %i = arith.constant dense<[[1, 2, 3], [4, 5, 6]]> : tensor<2x3xi32>
  // CHECK-DAG: arith.constant dense<[6, 15]> : tensor<2xi32>
  %0 = nn.reduce sum %i axes([1]) keep_dims(false) : tensor<2x3xi32> -> tensor<2xi32>
  %f = arith.constant dense<[[1.0, 2.0, 0x7FC00000], [4.0, -5.0, 6.0]]> : tensor<2x3xf32>
  // CHECK-DAG: arith.constant dense<{{\[\[}}4.000000e+00, 2.000000e+00, 0x7FC00000]]> : tensor<1x3xf32>
  %1 = nn.reduce max %f axes([0]) keep_dims(true) : tensor<2x3xf32> -> tensor<1x3xf32>
  %b = arith.constant dense<[true, false]> : tensor<2xi1>
  // CHECK-DAG: arith.constant dense<false> : tensor<i1>
  %2 = nn.reduce all %b axes([0]) keep_dims(false) : tensor<2xi1> -> tensor<i1>
  %s = arith.constant dense<[3.0, 4.0]> : tensor<2xf32>
  // CHECK-DAG: arith.constant dense<2.500000e+01> : tensor<f32>
  %3 = nn.reduce sum_square %s axes([0]) keep_dims(false) : tensor<2xf32> -> tensor<f32>
  %u = arith.constant dense<[[200, 100], [100, 200]]> : tensor<2x2xui8>
  // CHECK-DAG: arith.constant dense<200> : tensor<2xui8>
  %4 = nn.reduce max %u axes([1]) keep_dims(false) : tensor<2x2xui8> -> tensor<2xui8>
  return %0, %1, %2, %3, %4 : tensor<2xi32>, tensor<1x3xf32>, tensor<i1>, tensor<f32>, tensor<2xui8>
}

// -----

// Whether the sums are exact depends on the kernel; over nothing the result is none of the elements.
// CHECK-LABEL: func @reductions_left_to_the_run
func.func @reductions_left_to_the_run() -> (tensor<f16>, tensor<f32>, tensor<f32>) {
  %h = arith.constant dense<[1.0, 2.0]> : tensor<2xf16>
  // CHECK: nn.reduce sum
  %0 = nn.reduce sum %h axes([0]) keep_dims(false) : tensor<2xf16> -> tensor<f16>
  %e = arith.constant dense<> : tensor<0xf32>
  // CHECK: nn.reduce max
  %1 = nn.reduce max %e axes([0]) keep_dims(false) : tensor<0xf32> -> tensor<f32>
  %f = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  // CHECK: nn.reduce mean
  %2 = nn.reduce mean %f axes([0]) keep_dims(false) : tensor<2xf32> -> tensor<f32>
  return %0, %1, %2 : tensor<f16>, tensor<f32>, tensor<f32>
}

// -----

// CHECK-LABEL: func @data_movement_of_constants
func.func @data_movement_of_constants()
    -> (tensor<3x2xi64>, tensor<3x2xi64>, tensor<2x3xi64>, tensor<2x2xi64>, tensor<4xi64>, tensor<2xi64>, tensor<2x2xi64>) {
  %x = arith.constant dense<[[1, 2, 3], [4, 5, 6]]> : tensor<2x3xi64>
  // CHECK-DAG: arith.constant dense<{{\[\[}}1, 2], [3, 4], [5, 6]]> : tensor<3x2xi64>
  %0 = nn.reshape %x to [3, 2] : tensor<2x3xi64> -> tensor<3x2xi64>
  // CHECK-DAG: arith.constant dense<{{\[\[}}1, 4], [2, 5], [3, 6]]> : tensor<3x2xi64>
  %1 = nn.transpose %x perm([1, 0]) : tensor<2x3xi64> -> tensor<3x2xi64>
  %v = arith.constant dense<[7, 8, 9]> : tensor<3xi64>
  // CHECK-DAG: arith.constant dense<{{\[\[}}7, 8, 9], [7, 8, 9]]> : tensor<2x3xi64>
  %2 = nn.expand %v to [2, 3] : tensor<3xi64> -> tensor<2x3xi64>
  // CHECK-DAG: arith.constant dense<{{\[\[}}6, 4], [3, 1]]> : tensor<2x2xi64>
  %3 = nn.slice %x offsets [1, 2] sizes [2, 2] strides [-1, -2] : tensor<2x3xi64> -> tensor<2x2xi64>
  %w = arith.constant dense<0> : tensor<1xi64>
  // CHECK-DAG: arith.constant dense<[7, 8, 9, 0]> : tensor<4xi64>
  %4 = nn.concat %v, %w axis(0) : tensor<3xi64>, tensor<1xi64> -> tensor<4xi64>
  %i = arith.constant dense<-1> : tensor<i64>
  // CHECK-DAG: arith.constant dense<[3, 6]> : tensor<2xi64>
  %5 = nn.gather %x, %i axis(1) : tensor<2x3xi64>, tensor<i64> -> tensor<2xi64>
  %j = arith.constant dense<[2, 0]> : tensor<2xi64>
  // CHECK-DAG: arith.constant dense<{{\[\[}}3, 1], [6, 4]]> : tensor<2x2xi64>
  %6 = nn.gather %x, %j axis(1) : tensor<2x3xi64>, tensor<2xi64> -> tensor<2x2xi64>
  return %0, %1, %2, %3, %4, %5, %6 : tensor<3x2xi64>, tensor<3x2xi64>, tensor<2x3xi64>, tensor<2x2xi64>,
    tensor<4xi64>, tensor<2xi64>, tensor<2x2xi64>
}

// -----

// CHECK-LABEL: func @gather_out_of_bounds_is_left
func.func @gather_out_of_bounds_is_left() -> tensor<i64> {
  %x = arith.constant dense<[1, 2]> : tensor<2xi64>
  %i = arith.constant dense<2> : tensor<i64>
  // CHECK: nn.gather
  %0 = nn.gather %x, %i axis(0) : tensor<2xi64>, tensor<i64> -> tensor<i64>
  return %0 : tensor<i64>
}

// -----

// CHECK-LABEL: func @scalars
func.func @scalars() -> (tensor<2xi64>, tensor<i32>) {
  %a = arith.constant 5 : index
  %b = arith.constant 7 : index
  // CHECK-DAG: arith.constant dense<[5, 7]> : tensor<2xi64>
  %0 = nn.from_scalars %a, %b : tensor<2xi64>
  // CHECK-DAG: arith.constant dense<7> : tensor<i32>
  %1 = nn.from_scalars %b : tensor<i32>
  return %0, %1 : tensor<2xi64>, tensor<i32>
}

// One value everywhere is folded whatever the number of elements: a weight that nobody keeps must not be left.
// CHECK-LABEL: func @rearranged_splat
// CHECK-DAG:     %[[R:.*]] = arith.constant dense<5.000000e-01> : tensor<512x8x1xf32>
// CHECK-DAG:     %[[T:.*]] = arith.constant dense<5.000000e-01> : tensor<8x512xf32>
// CHECK:         return %[[R]], %[[T]]
func.func @rearranged_splat() -> (tensor<512x8x1xf32>, tensor<8x512xf32>) {
  %x = arith.constant dense<0.5> : tensor<512x8xf32>
  %0 = nn.reshape %x to [512, 8, 1] : tensor<512x8xf32> -> tensor<512x8x1xf32>
  %1 = nn.transpose %x perm([1, 0]) : tensor<512x8xf32> -> tensor<8x512xf32>
  return %0, %1 : tensor<512x8x1xf32>, tensor<8x512xf32>
}
