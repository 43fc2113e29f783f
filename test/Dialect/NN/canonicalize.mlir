// RUN: lathe-opt %s --canonicalize --split-input-file | FileCheck %s

// CHECK-LABEL: func @integer_identities
// CHECK-SAME:    %[[X:.*]]: tensor<?x4xi32>
func.func @integer_identities(%x: tensor<?x4xi32>) -> (tensor<?x4xi32>, tensor<?x4xi32>, tensor<?x4xi32>) {
  %zero = arith.constant dense<0> : tensor<i32>
  %one = arith.constant dense<1> : tensor<4xi32>
  %0 = nn.binary add %zero, %x : tensor<i32>, tensor<?x4xi32> -> tensor<?x4xi32>
  %1 = nn.binary mul %x, %one : tensor<?x4xi32>, tensor<4xi32> -> tensor<?x4xi32>
  %2 = nn.binary max %x, %x : tensor<?x4xi32>, tensor<?x4xi32> -> tensor<?x4xi32>
  // CHECK-NOT: nn.binary
  // CHECK: return %[[X]], %[[X]], %[[X]]
  return %0, %1, %2 : tensor<?x4xi32>, tensor<?x4xi32>, tensor<?x4xi32>
}

// -----

// CHECK-LABEL: func @float_identities
// CHECK-SAME:    %[[X:.*]]: tensor<?xf32>
func.func @float_identities(%x: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>, tensor<?xf32>, tensor<?xf32>) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %minus_zero = arith.constant dense<-0.0> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %0 = nn.binary sub %x, %zero : tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  %1 = nn.binary add %x, %minus_zero : tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  %2 = nn.binary div %x, %one : tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  %3 = nn.binary pow %x, %one : tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  // CHECK: return %[[X]], %[[X]], %[[X]], %[[X]]
  return %0, %1, %2, %3 : tensor<?xf32>, tensor<?xf32>, tensor<?xf32>, tensor<?xf32>
}

// -----

// -0 + 0 is 0, and 0 x is NaN for some x.
// CHECK-LABEL: func @float_non_identities
func.func @float_non_identities(%x: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  // CHECK: nn.binary add
  %0 = nn.binary add %x, %zero : tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  // CHECK: nn.binary mul
  %1 = nn.binary mul %x, %zero : tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  return %0, %1 : tensor<?xf32>, tensor<?xf32>
}

// -----

// Adding zeros may still broadcast.
// CHECK-LABEL: func @broadcasting_is_no_identity
func.func @broadcasting_is_no_identity(%x: tensor<?xi32>, %y: tensor<1xi32>) -> (tensor<?xi32>, tensor<4xi32>) {
  %zeros = arith.constant dense<0> : tensor<4xi32>
  // CHECK: nn.binary add
  %0 = nn.binary add %x, %zeros : tensor<?xi32>, tensor<4xi32> -> tensor<?xi32>
  // CHECK: nn.binary add
  %1 = nn.binary add %y, %zeros : tensor<1xi32>, tensor<4xi32> -> tensor<4xi32>
  return %0, %1 : tensor<?xi32>, tensor<4xi32>
}

// -----

// CHECK-LABEL: func @constant_moves_right
// CHECK-SAME:    %[[X:.*]]: tensor<?xf32>
func.func @constant_moves_right(%x: tensor<?xf32>) -> tensor<?xf32> {
  // CHECK: %[[C:.*]] = arith.constant
  %c = arith.constant dense<3.0> : tensor<f32>
  // CHECK: nn.binary add %[[X]], %[[C]] : tensor<?xf32>, tensor<f32>
  %0 = nn.binary add %c, %x : tensor<f32>, tensor<?xf32> -> tensor<?xf32>
  return %0 : tensor<?xf32>
}

// -----

// CHECK-LABEL: func @division_by_power_of_two
func.func @division_by_power_of_two(%x: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>) {
  %eight = arith.constant dense<8.0> : tensor<f32>
  %three = arith.constant dense<3.0> : tensor<f32>
  // CHECK-DAG: %[[EIGHTH:.*]] = arith.constant dense<1.250000e-01>
  // CHECK-DAG: %[[THREE:.*]] = arith.constant dense<3.000000e+00>
  // CHECK: nn.binary mul %{{.*}}, %[[EIGHTH]]
  %0 = nn.binary div %x, %eight : tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  // CHECK: nn.binary div %{{.*}}, %[[THREE]]
  %1 = nn.binary div %x, %three : tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  return %0, %1 : tensor<?xf32>, tensor<?xf32>
}

// -----

// CHECK-LABEL: func @involutions_and_projections
// CHECK-SAME:    %[[X:.*]]: tensor<?xf32>, %[[B:.*]]: tensor<?xi1>
func.func @involutions_and_projections(%x: tensor<?xf32>, %b: tensor<?xi1>)
    -> (tensor<?xf32>, tensor<?xi1>, tensor<?xf32>) {
  %0 = nn.unary neg %x : tensor<?xf32> -> tensor<?xf32>
  %1 = nn.unary neg %0 : tensor<?xf32> -> tensor<?xf32>
  %2 = nn.unary not %b : tensor<?xi1> -> tensor<?xi1>
  %3 = nn.unary not %2 : tensor<?xi1> -> tensor<?xi1>
  // CHECK: %[[R:.*]] = nn.unary relu
  %4 = nn.unary relu %x : tensor<?xf32> -> tensor<?xf32>
  // CHECK-NOT: nn.unary
  %5 = nn.unary relu %4 : tensor<?xf32> -> tensor<?xf32>
  // CHECK: return %[[X]], %[[B]], %[[R]]
  return %1, %3, %5 : tensor<?xf32>, tensor<?xi1>, tensor<?xf32>
}

// -----

// CHECK-LABEL: func @negated_comparison
func.func @negated_comparison(%x: tensor<?xf32>, %i: tensor<?xi32>) -> (tensor<?xi1>, tensor<?xi1>, tensor<?xi1>) {
  // CHECK: nn.compare ge {{.*}}xi32>
  %0 = nn.compare lt %i, %i : tensor<?xi32>, tensor<?xi32> -> tensor<?xi1>
  %1 = nn.unary not %0 : tensor<?xi1> -> tensor<?xi1>
  // CHECK: nn.compare ne {{.*}}xf32>
  %2 = nn.compare eq %x, %x : tensor<?xf32>, tensor<?xf32> -> tensor<?xi1>
  %3 = nn.unary not %2 : tensor<?xi1> -> tensor<?xi1>
  // NaN is neither below nor above.
  // CHECK: nn.compare lt {{.*}}xf32>
  %4 = nn.compare lt %x, %x : tensor<?xf32>, tensor<?xf32> -> tensor<?xi1>
  // CHECK: nn.unary not
  %5 = nn.unary not %4 : tensor<?xi1> -> tensor<?xi1>
  return %1, %3, %5 : tensor<?xi1>, tensor<?xi1>, tensor<?xi1>
}

// -----

// CHECK-LABEL: func @select
// CHECK-SAME:    %[[C:.*]]: tensor<?xi1>, %[[X:.*]]: tensor<?xf32>, %[[Y:.*]]: tensor<f32>
func.func @select(%c: tensor<?xi1>, %x: tensor<?xf32>, %y: tensor<f32>) -> (tensor<?xf32>, tensor<?xf32>) {
  %true = arith.constant dense<true> : tensor<i1>
  %0 = nn.select %true, %x, %y : tensor<i1>, tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  %n = nn.unary not %c : tensor<?xi1> -> tensor<?xi1>
  // CHECK: %[[S:.*]] = nn.select %[[C]], %[[Y]], %[[X]]
  %1 = nn.select %n, %x, %y : tensor<?xi1>, tensor<?xf32>, tensor<f32> -> tensor<?xf32>
  // CHECK: return %[[X]], %[[S]]
  return %0, %1 : tensor<?xf32>, tensor<?xf32>
}

// -----

// The branch that is taken is broadcast to the one that is not.
// CHECK-LABEL: func @select_still_broadcasts
func.func @select_still_broadcasts(%x: tensor<?xf32>, %y: tensor<?xf32>) -> tensor<?xf32> {
  %true = arith.constant dense<true> : tensor<i1>
  // CHECK: nn.select
  %0 = nn.select %true, %x, %y : tensor<i1>, tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>
  return %0 : tensor<?xf32>
}

// -----

// CHECK-LABEL: func @casts
// CHECK-SAME:    %[[I:.*]]: tensor<?xi32>, %[[H:.*]]: tensor<?xf16>
func.func @casts(%i: tensor<?xi32>, %h: tensor<?xf16>) -> (tensor<?xi32>, tensor<?xf16>, tensor<?xi8>, tensor<?xi32>) {
  %0 = nn.cast %i : tensor<?xi32> -> tensor<?xi32>
  %1 = nn.cast %h : tensor<?xf16> -> tensor<?xf32>
  %2 = nn.cast %1 : tensor<?xf32> -> tensor<?xf16>
  // CHECK: %[[N:.*]] = nn.cast %[[I]] : tensor<?xi32> -> tensor<?xi8>
  %3 = nn.cast %i : tensor<?xi32> -> tensor<?xi64>
  %4 = nn.cast %3 : tensor<?xi64> -> tensor<?xi8>
  %5 = nn.cast %i : tensor<?xi32> -> tensor<?xf64>
  %6 = nn.cast %5 : tensor<?xf64> -> tensor<?xi32>
  // CHECK: return %[[I]], %[[H]], %[[N]], %[[I]]
  return %0, %2, %4, %6 : tensor<?xi32>, tensor<?xf16>, tensor<?xi8>, tensor<?xi32>
}

// -----

// f32 does not hold every i32; a float saturates where an integer wraps.
// CHECK-LABEL: func @casts_that_matter
func.func @casts_that_matter(%i: tensor<?xi32>) -> (tensor<?xi32>, tensor<?xi8>) {
  // CHECK-COUNT-4: nn.cast
  %0 = nn.cast %i : tensor<?xi32> -> tensor<?xf32>
  %1 = nn.cast %0 : tensor<?xf32> -> tensor<?xi32>
  %2 = nn.cast %i : tensor<?xi32> -> tensor<?xf64>
  %3 = nn.cast %2 : tensor<?xf64> -> tensor<?xi8>
  return %1, %3 : tensor<?xi32>, tensor<?xi8>
}

// -----

// An infinity becomes the largest number on its way back.
// CHECK-LABEL: func @casts_of_small_floats
func.func @casts_of_small_floats(%x: tensor<?xf8E5M2>, %s: tensor<4xf8E8M0FNU>) -> (tensor<?xf8E5M2>, tensor<?xi4>) {
  // CHECK: %[[W:.*]] = nn.cast %{{.*}} : tensor<?xf8E5M2> -> tensor<?xf32>
  // CHECK: nn.cast %[[W]] : tensor<?xf32> -> tensor<?xf8E5M2>
  %0 = nn.cast %x : tensor<?xf8E5M2> -> tensor<?xf32>
  %1 = nn.cast %0 : tensor<?xf32> -> tensor<?xf8E5M2>
  %2 = nn.cast %0 : tensor<?xf32> -> tensor<?xi4>
  return %1, %2 : tensor<?xf8E5M2>, tensor<?xi4>
}

// -----

// CHECK-LABEL: func @folded_casts_of_small_floats
func.func @folded_casts_of_small_floats() -> (tensor<4xf8E4M3FN>, tensor<4xf8E4M3FN>, tensor<4xf8E8M0FNU>, tensor<4xi4>) {
  %x = arith.constant dense<[1.06, -0.0, 3.0, 1.0e6]> : tensor<4xf32>
  // CHECK-DAG: dense<[1.000000e+00, -0.000000e+00, 3.000000e+00, 4.480000e+02]> : tensor<4xf8E4M3FN>
  %0 = nn.cast %x : tensor<4xf32> -> tensor<4xf8E4M3FN>
  // CHECK-DAG: dense<[1.000000e+00, -0.000000e+00, 3.000000e+00, 0x7F]> : tensor<4xf8E4M3FN>
  %1 = nn.cast %x saturate(false) : tensor<4xf32> -> tensor<4xf8E4M3FN>
  // CHECK-DAG: dense<[1.000000e+00, 5.877470e-39, 4.000000e+00, 1.048580e+06]> : tensor<4xf8E8M0FNU>
  %2 = nn.cast %x rounding(nearest) : tensor<4xf32> -> tensor<4xf8E8M0FNU>
  // CHECK-DAG: dense<[1, 0, 3, 0]> : tensor<4xi4>
  %3 = nn.cast %x : tensor<4xf32> -> tensor<4xi4>
  return %0, %1, %2, %3 : tensor<4xf8E4M3FN>, tensor<4xf8E4M3FN>, tensor<4xf8E8M0FNU>, tensor<4xi4>
}

// -----

// CHECK-LABEL: func @cast_of_scalars
func.func @cast_of_scalars(%n: index) -> tensor<1xi32> {
  %0 = nn.from_scalars %n : tensor<1xi64>
  // CHECK: nn.from_scalars %{{.*}} : tensor<1xi32>
  // CHECK-NOT: nn.cast
  %1 = nn.cast %0 : tensor<1xi64> -> tensor<1xi32>
  return %1 : tensor<1xi32>
}

// -----

// CHECK-LABEL: func @reduction_over_nothing
// CHECK-SAME:    %[[X:.*]]: tensor<?xf32>
func.func @reduction_over_nothing(%x: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>) {
  %0 = nn.reduce sum %x axes([]) keep_dims(false) : tensor<?xf32> -> tensor<?xf32>
  // CHECK: %[[S:.*]] = nn.reduce sum_square
  %1 = nn.reduce sum_square %x axes([]) keep_dims(false) : tensor<?xf32> -> tensor<?xf32>
  // CHECK: return %[[X]], %[[S]]
  return %0, %1 : tensor<?xf32>, tensor<?xf32>
}
