// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func @numeric
// CHECK:         nn.random seed(42) normal sizes [%{{.*}}, 8] : tensor<?x8xf32>
// CHECK:         nn.fourier %{{.*}} length(%{{.*}}) bins(%{{.*}}) parts(2) inverse
// CHECK:         nn.determinant
// CHECK:         nn.linear_attention %{{.*}}, %{{.*}}, %{{.*}} decay(%{{.*}} : tensor<1x?x4x1xf32>) scale(5.000000e-01)
// CHECK:         nn.bit_cast %{{.*}} : tensor<3xf32> -> tensor<3xi32>
// CHECK:         nn.binary shift_left
// CHECK:         nn.unary atanh
func.func @numeric(%n: index, %x: tensor<?x400x1xf32>, %m: tensor<?x3x3xf64>, %q: tensor<1x?x8x16xf32>,
                   %k: tensor<1x?x4x16xf32>, %v: tensor<1x?x4x32xf32>, %d: tensor<1x?x4x1xf32>, %e: tensor<3xf32>) {
  %0 = nn.random seed(42) normal sizes [%n, 8] : tensor<?x8xf32>
  %1, %2 = nn.fourier %x length(%n) bins(%n) parts(2) inverse : tensor<?x400x1xf32> -> tensor<?x?x2xf32>, tensor<?x6x?xf64>
  %3, %4 = nn.determinant %m : tensor<?x3x3xf64> -> tensor<?xf64>, tensor<?x3x3xf64>
  %5, %6 = nn.linear_attention %q, %k, %v decay(%d : tensor<1x?x4x1xf32>) scale(0.5)
      : tensor<1x?x8x16xf32>, tensor<1x?x4x16xf32>, tensor<1x?x4x32xf32> -> tensor<1x?x8x32xf32>, tensor<1x4x16x32xf32>
  %7 = nn.bit_cast %e : tensor<3xf32> -> tensor<3xi32>
  %8 = nn.binary shift_left %7, %7 : tensor<3xi32>, tensor<3xi32> -> tensor<3xi32>
  %9 = nn.unary atanh %e : tensor<3xf32> -> tensor<3xf32>
  return
}

// -----

func.func @random_of_f16() {
  // expected-error@+1 {{expects the result to have f32 or f64 elements, but it is 'tensor<8xf16>'}}
  %0 = nn.random seed(1) sizes [8] : tensor<8xf16>
  return
}

// -----

func.func @three_parts(%n: index, %x: tensor<2x4x1xf32>) {
  // expected-error@+1 {{expects 1 or 2 parts, but there are 3}}
  %0, %1 = nn.fourier %x length(%n) bins(%n) parts(3) : tensor<2x4x1xf32> -> tensor<2x?x3xf32>, tensor<2x6x?xf64>
  return
}

// -----

func.func @not_square(%x: tensor<2x4x3xf32>) {
  // expected-error@+1 {{expects the number of columns to equal that of rows, 4, but it is 3}}
  %0, %1 = nn.determinant %x : tensor<2x4x3xf32> -> tensor<2xf32>, tensor<2x4x3xf32>
  return
}

// -----

func.func @other_width(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects elements of one width, but x has 32 bits and the result 64}}
  %0 = nn.bit_cast %x : tensor<2xf32> -> tensor<2xi64>
  return
}
