// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func @cumulate
// CHECK:         nn.cumulate sum %{{.*}} axis(1) exclusive : tensor<?x8xf32> -> tensor<?x8xf32>
// CHECK:         nn.cumulate prod %{{.*}} axis(0) reverse : tensor<?x8xf32> -> tensor<?x8xf32>
func.func @cumulate(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = nn.cumulate sum %x axis(1) exclusive : tensor<?x8xf32> -> tensor<?x8xf32>
  %1 = nn.cumulate prod %0 axis(0) reverse : tensor<?x8xf32> -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// CHECK-LABEL: func @axis_from_data
// CHECK:         nn.cumulate sum %{{.*}} axis_from(%{{.*}} : tensor<i64>) : tensor<?x8xf32> -> tensor<?x8xf32>
func.func @axis_from_data(%x: tensor<?x8xf32>, %a: tensor<i64>) -> tensor<?x8xf32> {
  %0 = nn.cumulate sum %x axis_from(%a : tensor<i64>) : tensor<?x8xf32> -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func @top_k
// CHECK:         nn.top_k %{{.*}}, %{{.*}} axis(1) largest : tensor<?x10xf32> -> tensor<?x?xf32>, tensor<?x?xi64>
func.func @top_k(%x: tensor<?x10xf32>, %k: index) -> (tensor<?x?xf32>, tensor<?x?xi64>) {
  %0, %1 = nn.top_k %x, %k axis(1) largest : tensor<?x10xf32> -> tensor<?x?xf32>, tensor<?x?xi64>
  return %0, %1 : tensor<?x?xf32>, tensor<?x?xi64>
}

// CHECK-LABEL: func @reverse_sequence
// CHECK:         nn.reverse_sequence %{{.*}}, %{{.*}} time_major
func.func @reverse_sequence(%x: tensor<?x?x8xf32>, %l: tensor<?xi64>) -> tensor<?x?x8xf32> {
  %0 = nn.reverse_sequence %x, %l time_major : tensor<?x?x8xf32>, tensor<?xi64> -> tensor<?x?x8xf32>
  return %0 : tensor<?x?x8xf32>
}

// -----

func.func @cumulate_axis(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects an axis below the rank of x, 2, but it is 2}}
  %0 = nn.cumulate sum %x axis(2) : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @two_axes(%x: tensor<2x3xf32>, %a: tensor<i64>) {
  // expected-error@+1 {{expects either an axis or a tensor that holds it}}
  %0 = nn.cumulate sum %x axis(1) axis_from(%a : tensor<i64>) : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @more_than_there_are(%x: tensor<2x3xf32>) {
  %k = arith.constant 4 : index
  // expected-error@+1 {{expects k from 0 to the size of dimension 1, 3, but it is 4}}
  %0, %1 = nn.top_k %x, %k axis(1) : tensor<2x3xf32> -> tensor<2x4xf32>, tensor<2x4xi64>
  return
}

// -----

func.func @lengths_of_another_batch(%x: tensor<2x3xf32>, %l: tensor<3xi64>) {
  // expected-error@+1 {{expects the number of lengths to equal the batch of x, 2, but it is 3}}
  %0 = nn.reverse_sequence %x, %l : tensor<2x3xf32>, tensor<3xi64> -> tensor<2x3xf32>
  return
}
