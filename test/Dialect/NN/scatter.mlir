// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func @elements
// CHECK:         nn.gather_elements %{{.*}}, %{{.*}} axis(1) : tensor<?x10xf32>, tensor<?x3xi64> -> tensor<?x3xf32>
// CHECK:         nn.scatter_elements add %{{.*}}, %{{.*}}, %{{.*}} axis(1)
func.func @elements(%x: tensor<?x10xf32>, %i: tensor<?x3xi64>) -> tensor<?x10xf32> {
  %0 = nn.gather_elements %x, %i axis(1) : tensor<?x10xf32>, tensor<?x3xi64> -> tensor<?x3xf32>
  %1 = nn.scatter_elements add %x, %i, %0 axis(1)
    : tensor<?x10xf32>, tensor<?x3xi64>, tensor<?x3xf32> -> tensor<?x10xf32>
  return %1 : tensor<?x10xf32>
}

// CHECK-LABEL: func @slices
// CHECK:         nn.scatter_nd none %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x4xf32>
func.func @slices(%x: tensor<?x4xf32>, %i: tensor<?x1xi64>, %u: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = nn.scatter_nd none %x, %i, %u : tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x4xf32> -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// CHECK-LABEL: func @caches
// CHECK:         nn.update_cache %{{.*}}, %{{.*}} start(%{{.*}}) axis(2)
// CHECK:         nn.update_cache %{{.*}}, %{{.*}} axis(1) circular
// CHECK:         nn.update_cache %{{.*}}, %{{.*}} axis(2) rows(%{{.*}}) :
func.func @caches(%c: tensor<?x8x?x64xf32>, %u: tensor<?x8x?x64xf32>, %w: tensor<?xi64>, %n: index) -> tensor<?x8x?x64xf32> {
  %0 = nn.update_cache %c, %u start(%w) axis(2)
    : tensor<?x8x?x64xf32>, tensor<?x8x?x64xf32>, tensor<?xi64> -> tensor<?x8x?x64xf32>
  %1 = nn.update_cache %0, %0 axis(1) circular : tensor<?x8x?x64xf32>, tensor<?x8x?x64xf32> -> tensor<?x8x?x64xf32>
  %2 = nn.update_cache %1, %1 axis(2) rows(%n) : tensor<?x8x?x64xf32>, tensor<?x8x?x64xf32> -> tensor<?x8x?x64xf32>
  return %2 : tensor<?x8x?x64xf32>
}

// -----

func.func @more_indices_than_lanes(%x: tensor<2x3xf32>, %i: tensor<3x3xi64>) {
  // expected-error@+1 {{expects at most 2 indices along dimension 0, but there are 3}}
  %0 = nn.gather_elements %x, %i axis(1) : tensor<2x3xf32>, tensor<3x3xi64> -> tensor<3x3xf32>
  return
}

// -----

func.func @sum_of_bools(%x: tensor<2xi1>, %i: tensor<1xi64>, %u: tensor<1xi1>) {
  // expected-error@+1 {{expects x to have float or integer elements}}
  %0 = nn.scatter_elements add %x, %i, %u axis(0) : tensor<2xi1>, tensor<1xi64>, tensor<1xi1> -> tensor<2xi1>
  return
}

// -----

func.func @updates_of_another_shape(%x: tensor<2x3xf32>, %i: tensor<4x1xi64>, %u: tensor<4x2xf32>) {
  // expected-error@+1 {{expects updates of shape [4, 3], but they are 'tensor<4x2xf32>'}}
  %0 = nn.scatter_nd none %x, %i, %u : tensor<2x3xf32>, tensor<4x1xi64>, tensor<4x2xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @long_tuples(%x: tensor<2x3xf32>, %i: tensor<4x3xi64>, %u: tensor<4xf32>) {
  // expected-error@+1 {{expects tuples of 1 to 2 indices}}
  %0 = nn.scatter_nd none %x, %i, %u : tensor<2x3xf32>, tensor<4x3xi64>, tensor<4xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @batch_as_axis(%c: tensor<2x3xf32>) {
  // expected-error@+1 {{expects an axis above 0, the batch}}
  %0 = nn.update_cache %c, %c axis(0) : tensor<2x3xf32>, tensor<2x3xf32> -> tensor<2x3xf32>
  return
}
