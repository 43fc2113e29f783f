// RUN: lathe-opt %s --split-input-file --nn-fuse-gelu --verify-diagnostics=only-expected | FileCheck %s

// CHECK-LABEL: func.func @divided_by_root
// CHECK-NEXT:    %[[Y:.*]] = nn.unary gelu %{{.*}} : tensor<?x4xf32> -> tensor<?x4xf32>
// CHECK-NEXT:    return %[[Y]]
func.func @divided_by_root(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %root = arith.constant dense<1.41421354> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %half = arith.constant dense<0.5> : tensor<f32>
  %0 = nn.binary div %x, %root : tensor<?x4xf32>, tensor<f32> -> tensor<?x4xf32>
  %1 = nn.unary erf %0 : tensor<?x4xf32> -> tensor<?x4xf32>
  %2 = nn.binary add %1, %one : tensor<?x4xf32>, tensor<f32> -> tensor<?x4xf32>
  %3 = nn.binary mul %x, %2 : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  %4 = nn.binary mul %3, %half : tensor<?x4xf32>, tensor<f32> -> tensor<?x4xf32>
  return %4 : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @half_first
// CHECK-NEXT:    nn.unary gelu
// CHECK-NEXT:    return
func.func @half_first(%x: tensor<4xf32>) -> tensor<4xf32> {
  %root = arith.constant dense<0.707106769> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %half = arith.constant dense<0.5> : tensor<f32>
  %h = nn.binary mul %half, %x : tensor<f32>, tensor<4xf32> -> tensor<4xf32>
  %0 = nn.binary mul %root, %x : tensor<f32>, tensor<4xf32> -> tensor<4xf32>
  %1 = nn.unary erf %0 : tensor<4xf32> -> tensor<4xf32>
  %2 = nn.binary add %one, %1 : tensor<f32>, tensor<4xf32> -> tensor<4xf32>
  %3 = nn.binary mul %2, %h : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  return %3 : tensor<4xf32>
}

// -----

// CHECK-LABEL: func.func @tanh_by_products
// CHECK-NEXT:    nn.unary gelu_tanh
// CHECK-NEXT:    return
func.func @tanh_by_products(%x: tensor<4xf32>) -> tensor<4xf32> {
  %c = arith.constant dense<4.471500e-02> : tensor<f32>
  %root = arith.constant dense<0.797884583> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<1xf32>
  %half = arith.constant dense<0.5> : tensor<f32>
  %0 = nn.binary mul %x, %c : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
  %1 = nn.binary mul %x, %0 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %2 = nn.binary mul %x, %1 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %3 = nn.binary add %x, %2 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %4 = nn.binary mul %3, %root : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
  %5 = nn.unary tanh %4 : tensor<4xf32> -> tensor<4xf32>
  %6 = nn.binary add %5, %one : tensor<4xf32>, tensor<1xf32> -> tensor<4xf32>
  %7 = nn.binary mul %6, %half : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
  %8 = nn.binary mul %x, %7 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  return %8 : tensor<4xf32>
}

// -----

// A plain tanh is left alone, silently.
// CHECK-LABEL: func.func @only_tanh
// CHECK:         nn.unary tanh
func.func @only_tanh(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = nn.unary tanh %x : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// CHECK-LABEL: func.func @other_factor
// CHECK:         nn.unary erf
func.func @other_factor(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
  %root = arith.constant dense<0.707106769> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %0 = nn.binary mul %x, %root : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
  // expected-remark @+1 {{[nn-fuse-gelu] missed: the factors around it are not x / 2 and 1 + erf, each used once}}
  %1 = nn.unary erf %0 : tensor<4xf32> -> tensor<4xf32>
  %2 = nn.binary add %1, %one : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
  %3 = nn.binary mul %2, %y : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  return %3 : tensor<4xf32>
}
