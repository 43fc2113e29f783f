// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --verify-diagnostics | FileCheck %s

// Strings are numbers of texts, in the order in which the model names them; comparing them compares numbers.
// CHECK:       module attributes {nn.texts = ["b", "a"]}
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %[[X:.*]]: tensor<3xi64> {nn.dims = [""], nn.name = "x", nn.string}
// CHECK:         %[[C:.*]] = arith.constant dense<[0, 1, 0]> : tensor<3xi64>
// CHECK:         nn.compare eq %[[X]], %[[C]]
func.func @main(%x: tensor<3x!onnx.string> {lathe.name = "x"}) -> tensor<*xi1> {
  %c = onnx.constant dense<["b", "a", "b"]> : tensor<3x!onnx.string> : tensor<3x!onnx.string>
  %y = onnx.node "Equal"(%x, %c) version 19 {} outputs ["y"]
    : (tensor<3x!onnx.string>, tensor<3x!onnx.string>) -> tensor<*xi1>
  return %y : tensor<*xi1>
}

// -----

// Moving strings moves numbers; the model names none, so the artifact has no texts.
// CHECK:       module {
// CHECK-LABEL: func.func @main
// CHECK-SAME:    -> (tensor<2xi64> {nn.name = "y", nn.string})
// CHECK:         nn.gather
func.func @main(%x: tensor<3x!onnx.string> {lathe.name = "x"}, %i: tensor<2xi64> {lathe.name = "i"})
    -> (tensor<*x!onnx.string> {lathe.name = "y"}) {
  %y = onnx.node "Gather"(%x, %i) version 13 {} outputs ["y"]
    : (tensor<3x!onnx.string>, tensor<2xi64>) -> tensor<*x!onnx.string>
  return %y : tensor<*x!onnx.string>
}

// -----

// CHECK-LABEL: func.func @main
// CHECK:         %[[N:.*]] = nn.service "text.count"(%{{.*}}) with "2 ," to [3] : (tensor<3xi64>) -> tensor<3xi64>
// CHECK:         %[[M:.*]] = nn.reduce max
// CHECK:         %[[I:.*]] = nn.read_index %[[M]][0]
// CHECK:         %[[W:.*]] = nn.checked_size %[[I]]
// CHECK:         %[[Y:.*]] = nn.service "text.split"(%{{.*}}) with "2 ," to [3, %[[W]]] : (tensor<3xi64>) -> tensor<3x?xi64>
// CHECK:         return %[[Y]], %[[N]]
func.func @main(%x: tensor<3x!onnx.string> {lathe.name = "x"}) -> (tensor<*x!onnx.string>, tensor<*xi64>) {
  %y, %z = onnx.node "StringSplit"(%x) version 20 {delimiter = ",", maxsplit = 2 : i64} outputs ["y", "z"]
    : (tensor<3x!onnx.string>) -> (tensor<*x!onnx.string>, tensor<*xi64>)
  return %y, %z : tensor<*x!onnx.string>, tensor<*xi64>
}

// -----

// CHECK-LABEL: func.func @main
// CHECK:         nn.service "text.concat"(%{{.*}}, %{{.*}}) with "" to [2, 3] : (tensor<2x3xi64>, tensor<2x3xi64>) -> tensor<2x3xi64>
func.func @main(%x: tensor<3x!onnx.string> {lathe.name = "x"}, %y: tensor<2x1x!onnx.string> {lathe.name = "y"})
    -> tensor<*x!onnx.string> {
  %z = onnx.node "StringConcat"(%x, %y) version 20 {} outputs ["z"]
    : (tensor<3x!onnx.string>, tensor<2x1x!onnx.string>) -> tensor<*x!onnx.string>
  return %z : tensor<*x!onnx.string>
}

// -----

func.func @main(%x: tensor<3xi64> {lathe.name = "x"}) -> tensor<*xi1> {
  // expected-error @+1 {{[E0306] input 0 is no tensor of strings}}
  %y = onnx.node "RegexFullMatch"(%x) version 20 {pattern = "a"} outputs ["y"] : (tensor<3xi64>) -> tensor<*xi1>
  return %y : tensor<*xi1>
}

// -----

func.func @main(%x: tensor<2x2x2x!onnx.string> {lathe.name = "x"}) -> tensor<*x!onnx.string> {
  // expected-error @+1 {{[E0307] X has 3 dimensions, must have 1 or 2}}
  %y = onnx.node "StringNormalizer"(%x) version 10 {} outputs ["y"]
    : (tensor<2x2x2x!onnx.string>) -> tensor<*x!onnx.string>
  return %y : tensor<*x!onnx.string>
}

// -----

// expected-error @+2 {{[E0308] 1 node is not supported}}
// expected-note @+1 {{Neg "y": input 0 is a tensor of strings}}
func.func @main(%x: tensor<3x!onnx.string> {lathe.name = "x"}) -> tensor<*xi64> {
  %y = onnx.node "Neg"(%x) version 13 {} outputs ["y"] : (tensor<3x!onnx.string>) -> tensor<*xi64>
  return %y : tensor<*xi64>
}
