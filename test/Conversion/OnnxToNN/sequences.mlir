// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --verify-diagnostics | FileCheck %s

// A sequence is the list of its elements, a result of the model each of them.
// CHECK:       module attributes {lathe.metadata = {lathe.sequence.y = "2"}}
// CHECK-LABEL: func.func @main
// CHECK-SAME:    -> (tensor<3xf32> {nn.name = "y[0]"}, tensor<2xf32> {nn.name = "y[1]"}, tensor<i64> {nn.name = "n"})
// CHECK:         %[[N:.*]] = arith.constant dense<2> : tensor<i64>
// CHECK:         return %arg1, %arg0, %[[N]]
func.func @main(%a: tensor<2xf32> {lathe.name = "a"}, %b: tensor<3xf32> {lathe.name = "b"})
    -> (!onnx.seq<tensor<*xf32>> {lathe.name = "y"}, tensor<*xi64> {lathe.name = "n"}) {
  %zero = arith.constant dense<0> : tensor<i64>
  %s = onnx.node "SequenceConstruct"(%a) version 11 {} outputs ["s"] : (tensor<2xf32>) -> !onnx.seq<tensor<*xf32>>
  %y = onnx.node "SequenceInsert"(%s, %b, %zero) version 11 {} outputs ["y"]
    : (!onnx.seq<tensor<*xf32>>, tensor<3xf32>, tensor<i64>) -> !onnx.seq<tensor<*xf32>>
  %n = onnx.node "SequenceLength"(%y) version 11 {} outputs ["n"] : (!onnx.seq<tensor<*xf32>>) -> tensor<*xi64>
  return %y, %n : !onnx.seq<tensor<*xf32>>, tensor<*xi64>
}

// -----

func.func @main(%a: tensor<2xf32> {lathe.name = "a"}) -> tensor<*xf32> {
  %five = arith.constant dense<5> : tensor<i64>
  %s = onnx.node "SequenceConstruct"(%a) version 11 {} outputs ["s"] : (tensor<2xf32>) -> !onnx.seq<tensor<*xf32>>
  // expected-error @+1 {{[E0307] position 5 is out of bounds of 1 elements}}
  %y = onnx.node "SequenceAt"(%s, %five) version 11 {} outputs ["y"]
    : (!onnx.seq<tensor<*xf32>>, tensor<i64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// An optional that holds nothing can be asked, but is no result.
// expected-error @+1 {{[E0308] result "o" is an optional that is empty}}
func.func @main(%a: tensor<2xf32> {lathe.name = "a"}) -> (!onnx.optional<tensor<*xf32>> {lathe.name = "o"}) {
  %o = onnx.node "Optional"() version 15 {} outputs ["o"] : () -> !onnx.optional<tensor<*xf32>>
  return %o : !onnx.optional<tensor<*xf32>>
}

// -----

// How many parts there are only the run knows: their contents one behind the other, and their shapes.
// CHECK:       module attributes {lathe.metadata = {lathe.sequence.y = "*"}}
// CHECK-LABEL: func.func @main
// CHECK-SAME:    -> (tensor<?xf32> {nn.name = "y[]"}, tensor<?x2xi64> {nn.name = "y[].shape"}, tensor<i64> {nn.name = "n"})
func.func @main(%a: tensor<?x3xf32> {lathe.name = "a"}, %split: tensor<i64> {lathe.name = "split"})
    -> (!onnx.seq<tensor<*xf32>> {lathe.name = "y"}, tensor<*xi64> {lathe.name = "n"}) {
  %y = onnx.node "SplitToSequence"(%a, %split) version 11 {} outputs ["y"]
    : (tensor<?x3xf32>, tensor<i64>) -> !onnx.seq<tensor<*xf32>>
  %n = onnx.node "SequenceLength"(%y) version 11 {} outputs ["n"] : (!onnx.seq<tensor<*xf32>>) -> tensor<*xi64>
  return %y, %n : !onnx.seq<tensor<*xf32>>, tensor<*xi64>
}

// -----

// expected-remark @+3 {{the model is supported with one of the options --shape=split=1}}
// expected-error @+2 {{[E0308] 1 node is not supported}}
// expected-note @+1 {{SplitToSequence "y": a tensor is split along another dimension than the first in an unknown number of parts}}
func.func @main(%a: tensor<?x3xf32> {lathe.name = "a"}, %split: tensor<?xi64> {lathe.name = "split"})
    -> (!onnx.seq<tensor<*xf32>> {lathe.name = "y"}) {
  %y = onnx.node "SplitToSequence"(%a, %split) version 11 {axis = 1 : i64} outputs ["y"]
    : (tensor<?x3xf32>, tensor<?xi64>) -> !onnx.seq<tensor<*xf32>>
  return %y : !onnx.seq<tensor<*xf32>>
}
