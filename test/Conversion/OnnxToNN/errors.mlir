// RUN: lathe-opt %s --split-input-file --verify-diagnostics --convert-onnx-to-nn

func.func @main(%x: tensor<1x3x8x8xf32> {lathe.name = "x"}, %w: tensor<4x3x3x3xf32> {lathe.name = "w"}) -> tensor<*xf32> {
  // expected-error @+2 {{[E0304] strides[0] is 0, must be from 1 to 16777216}}
  // expected-note @+1 {{attribute: strides}}
  %y = onnx.node "Conv"(%x, %w) version 17 {strides = array<i64: 0, 1>} outputs ["y"]
    : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  %t = arith.constant dense<[4, -1]> : tensor<2xi64>
  // expected-error @+1 {{[E0307] an operand of shape [2, 3] does not fit into the shape [4, -1]}}
  %y = onnx.node "Reshape"(%x, %t) version 17 {} outputs ["y"] : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}, %w: tensor<4x5xf32> {lathe.name = "w"}) -> tensor<*xf32> {
  // expected-error @+1 {{[E0307] a matrix with 3 columns is multiplied with one of 4 rows}}
  %y = onnx.node "MatMul"(%x, %w) version 17 {} outputs ["y"] : (tensor<2x3xf32>, tensor<4x5xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  // expected-error @+2 {{[E0304] axis is 2, but the operand has 2 dimensions}}
  // expected-note @+1 {{attribute: axis}}
  %y = onnx.node "Softmax"(%x) version 17 {axis = 2 : i64} outputs ["y"] : (tensor<2x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  // expected-error @+2 {{[E0303] axis is not an integer}}
  // expected-note @+1 {{attribute: axis}}
  %y = onnx.node "Softmax"(%x) version 17 {axis = "last"} outputs ["y"] : (tensor<2x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  // expected-error @+1 {{[E0305] input 1 is absent, at least 2 are needed}}
  %y = onnx.node "Add"(%x) version 17 {} outputs ["y"] : (tensor<2x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<2xf32> {lathe.name = "x"}, %z: tensor<2xi64> {lathe.name = "z"}) -> tensor<*xf32> {
  // expected-error @+1 {{[E0306] the operands have different element types, f32 and i64}}
  %y = onnx.node "Add"(%x, %z) version 17 {} outputs ["y"] : (tensor<2xf32>, tensor<2xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// The verifier of an op that is made speaks for the node.
func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}, %z: tensor<2x4xf32> {lathe.name = "z"}) -> tensor<*xf32> {
  // expected-error @+1 {{[E0307] the operands do not fit: }}
  %y = onnx.node "Add"(%x, %z) version 17 {} outputs ["y"] : (tensor<2x3xf32>, tensor<2x4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Everything unsupported is one error; what depends on it is not named again.
// expected-error @+4 {{[E0301] 4 nodes are not supported}}
// expected-note @+3 {{Frobnicate of domain my.domain: 1 node, "f"}}
// expected-note @+2 {{Blur of domain my.domain: 2 nodes, "a", "b"}}
// expected-note @+1 {{Reshape "r": data-dependent shape: the rank of the result is the number of elements of a shape}}
func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}, %t: tensor<?xi64> {lathe.name = "t"}) -> tensor<*xf32> {
  %a = onnx.node "Blur"(%x) domain "my.domain" version 1 {} outputs ["a"] : (tensor<2x3xf32>) -> tensor<*xi64>
  %b = onnx.node "Blur"(%x) domain "my.domain" version 1 {} outputs ["b"] : (tensor<2x3xf32>) -> tensor<*xi64>
  %f = onnx.node "Frobnicate"(%x) domain "my.domain" version 1 {} outputs ["f"] : (tensor<2x3xf32>) -> tensor<*xf32>
  %r = onnx.node "Reshape"(%x, %t) version 17 {} outputs ["r"] : (tensor<2x3xf32>, tensor<?xi64>) -> tensor<*xf32>
  %y = onnx.node "Add"(%f, %r) version 17 {} outputs ["y"] : (tensor<*xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
