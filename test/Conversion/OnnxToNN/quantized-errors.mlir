// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --verify-diagnostics

func.func @main(%a: tensor<4x3xf32> {lathe.name = "a"}, %b: tensor<3x2xi8> {lathe.name = "b"}) -> (tensor<*xi32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0306] operand 0 holds f32, must hold integers of 8 bits}}
  %y = onnx.node "MatMulInteger"(%a, %b) version 10 {} outputs ["y"] : (tensor<4x3xf32>, tensor<3x2xi8>) -> tensor<*xi32>
  return %y : tensor<*xi32>
}

// -----

func.func @main(%x: tensor<1x3x8x8xui8> {lathe.name = "x"}, %w: tensor<4x3x3x3xi8> {lathe.name = "w"}, %xz: tensor<3xui8> {lathe.name = "xz"}) -> (tensor<*xi32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0307] operand 2 must be one number}}
  %y = onnx.node "ConvInteger"(%x, %w, %xz) version 10 {} outputs ["y"] : (tensor<1x3x8x8xui8>, tensor<4x3x3x3xi8>, tensor<3xui8>) -> tensor<*xi32>
  return %y : tensor<*xi32>
}

// -----

func.func @main(%x: tensor<1x3x8x8xui8> {lathe.name = "x"}, %w: tensor<4x3x3x3xi8> {lathe.name = "w"}, %xz: tensor<ui8> {lathe.name = "xz"}, %wz: tensor<4x1xi8> {lathe.name = "wz"}) -> (tensor<*xi32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0307] operand 3 has 2 dimensions, must be a number or a list with one for each feature map}}
  %y = onnx.node "ConvInteger"(%x, %w, %xz, %wz) version 10 {} outputs ["y"] : (tensor<1x3x8x8xui8>, tensor<4x3x3x3xi8>, tensor<ui8>, tensor<4x1xi8>) -> tensor<*xi32>
  return %y : tensor<*xi32>
}

// -----

func.func @main(%a: tensor<4x3xui8> {lathe.name = "a"}, %b: tensor<3x2xi8> {lathe.name = "b"}, %az: tensor<i8> {lathe.name = "az"}) -> (tensor<*xi32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0306] a zero point of i8 stands beside ui8}}
  %y = onnx.node "MatMulInteger"(%a, %b, %az) version 10 {} outputs ["y"] : (tensor<4x3xui8>, tensor<3x2xi8>, tensor<i8>) -> tensor<*xi32>
  return %y : tensor<*xi32>
}

// -----

func.func @main(%a: tensor<4x3xui8> {lathe.name = "a"}, %b: tensor<3x2xi8> {lathe.name = "b"}, %az: tensor<3xui8> {lathe.name = "az"}) -> (tensor<*xi32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0307] a zero point of type tensor<3x1xui8> does not fit an operand of type tensor<4x3xui8>}}
  %y = onnx.node "MatMulInteger"(%a, %b, %az) version 10 {} outputs ["y"] : (tensor<4x3xui8>, tensor<3x2xi8>, tensor<3xui8>) -> tensor<*xi32>
  return %y : tensor<*xi32>
}
