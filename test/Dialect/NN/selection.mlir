// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func @nonzero
// CHECK:         nn.nonzero %{{.*}} size %{{.*}} : tensor<?x8xi1> -> tensor<2x?xi64>
func.func @nonzero(%x: tensor<?x8xi1>, %n: index) -> tensor<2x?xi64> {
  %y = nn.nonzero %x size %n : tensor<?x8xi1> -> tensor<2x?xi64>
  return %y : tensor<2x?xi64>
}

// CHECK-LABEL: func @unique
// CHECK:         nn.unique %{{.*}} sorted : tensor<?x3xf32> -> tensor<?xi64>, tensor<?xi64>, tensor<?xi64>, tensor<i64>
func.func @unique(%x: tensor<?x3xf32>) -> tensor<i64> {
  %first, %inverse, %counts, %count, %order, %scratch = nn.unique %x sorted
    : tensor<?x3xf32> -> tensor<?xi64>, tensor<?xi64>, tensor<?xi64>, tensor<i64>, tensor<?xi64>, tensor<?xi64>
  return %count : tensor<i64>
}

// CHECK-LABEL: func @non_max_suppression
// CHECK:         nn.non_max_suppression %{{.*}} limit %{{.*}} room %{{.*}} center : tensor<1x6x4xf32>
func.func @non_max_suppression(%boxes: tensor<1x6x4xf32>, %scores: tensor<1x2x6xf32>, %t: tensor<f32>, %n: index, %m: index)
    -> tensor<?x3xi64> {
  %selected, %count, %order, %scratch = nn.non_max_suppression %boxes, %scores, %t, %t limit %n room %m center
    : tensor<1x6x4xf32>, tensor<1x2x6xf32>, tensor<f32>, tensor<f32>
    -> tensor<?x3xi64>, tensor<i64>, tensor<6xi64>, tensor<6xi64>
  return %selected : tensor<?x3xi64>
}

// -----

func.func @nonzero_of_numbers(%x: tensor<8xf32>, %n: index) {
  // expected-error@+1 {{expects x to have bool elements, but it is 'tensor<8xf32>'}}
  %y = nn.nonzero %x size %n : tensor<8xf32> -> tensor<1x?xi64>
  return
}

// -----

func.func @nonzero_rows(%x: tensor<2x8xi1>, %n: index) {
  // expected-error@+1 {{expects a result of shape [2, ?], but it is 'tensor<3x?xi64>'}}
  %y = nn.nonzero %x size %n : tensor<2x8xi1> -> tensor<3x?xi64>
  return
}

// -----

func.func @unique_of_a_list(%x: tensor<3xf32>) {
  // expected-error@+1 {{expects x to have rank 2, but it is 'tensor<3xf32>'}}
  %0:6 = nn.unique %x : tensor<3xf32> -> tensor<3xi64>, tensor<3xi64>, tensor<3xi64>, tensor<i64>, tensor<3xi64>, tensor<3xi64>
  return
}

// -----

func.func @boxes_of_five(%boxes: tensor<1x6x5xf32>, %scores: tensor<1x2x6xf32>, %t: tensor<f32>, %n: index) {
  // expected-error@+1 {{expects boxes of 4 numbers, but it is 'tensor<1x6x5xf32>'}}
  %0:4 = nn.non_max_suppression %boxes, %scores, %t, %t limit %n room %n
    : tensor<1x6x5xf32>, tensor<1x2x6xf32>, tensor<f32>, tensor<f32>
    -> tensor<?x3xi64>, tensor<i64>, tensor<6xi64>, tensor<6xi64>
  return
}
