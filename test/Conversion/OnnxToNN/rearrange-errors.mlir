// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --verify-diagnostics

func.func @main(%x: tensor<1x6x2x3xf32> {lathe.name = "x"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0307] the number of channels must be a multiple of 4}}
  %y = onnx.node "DepthToSpace"(%x) version 13 {blocksize = 2 : i64} outputs ["y"] : (tensor<1x6x2x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<1x6x2x3xf32> {lathe.name = "x"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  // expected-error@+2 {{[E0304] blocksize is 0, must be from 1 to 16777216}}
  // expected-note@+1 {{attribute: blocksize}}
  %y = onnx.node "SpaceToDepth"(%x) version 13 {blocksize = 0 : i64} outputs ["y"] : (tensor<1x6x2x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<5x2xf32> {lathe.name = "x"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %s = arith.constant dense<[2, 5, 1]> : tensor<3xi64>
  // expected-error@+1 {{[E0307] shape has 3 elements, but there are 2 axes}}
  %y = onnx.node "CenterCropPad"(%x, %s) version 18 {} outputs ["y"] : (tensor<5x2xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%a: tensor<2x4xf32> {lathe.name = "a"}, %b: tensor<1x4xf32> {lathe.name = "b"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0307] the operands must have one shape}}
  %y = onnx.node "SwiGLU"(%a, %b) version 28 {} outputs ["y"] : (tensor<2x4xf32>, tensor<1x4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}, %t: tensor<2x3xi64> {lathe.name = "t"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0307] there are 2 dimensions of scores and 2 of classes, must be at least 2, and one less of classes}}
  %y = onnx.node "NegativeLogLikelihoodLoss"(%x, %t) version 13 {} outputs ["y"] : (tensor<2x3xf32>, tensor<2x3xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%r: tensor<f32> {lathe.name = "r"}, %t: tensor<i64> {lathe.name = "t"}, %x: tensor<2xf32> {lathe.name = "x"})
    -> (tensor<*xf32> {lathe.name = "y"}) {
  // expected-error@+1 {{[E0305] there are 1 inputs after R and T, must be a multiple of 3}}
  %y = onnx.node "Adagrad"(%r, %t, %x) domain "ai.onnx.preview.training" version 1 {} outputs ["y"]
      : (tensor<f32>, tensor<i64>, tensor<2xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<2xf32> {lathe.name = "x"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  // expected-error@+2 {{[E0303] xs and y must be there, with an input for each of xs}}
  // expected-note@+1 {{attribute: xs}}
  %y = onnx.node "Gradient"(%x) domain "ai.onnx.preview.training" version 1 {} outputs ["y"] : (tensor<2xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
