// RUN: lathe-opt %s --split-input-file --verify-diagnostics \
// RUN:   --pass-pipeline='builtin.module(convert-onnx-to-nn{shape=s=2,o=none,s[1]=2x3})' | FileCheck %s

// Each element of a sequence is an input; an optional that is said to hold nothing is none.
// CHECK:       lathe.metadata = {lathe.elements.o = "0", lathe.elements.s = "2"}
// CHECK-LABEL: func.func @main
// CHECK-SAME:    (%[[A:.*]]: tensor<?x3xf32> {nn.dims = ["s[0]_dim0", ""], nn.name = "s[0]"},
// CHECK-SAME:    %[[B:.*]]: tensor<2x3xf32> {nn.dims = ["", ""], nn.name = "s[1]"},
// CHECK-SAME:    %[[X:.*]]: tensor<3xf32> {nn.dims = [""], nn.name = "x"})
// CHECK:         %[[R:.*]] = nn.binary add %[[B]], %[[X]]
// CHECK:         %[[H:.*]] = arith.constant dense<false> : tensor<i1>
// CHECK:         return %[[R]], %[[H]]
func.func @main(%s: !onnx.seq<tensor<?x3xf32>> {lathe.name = "s"}, %x: tensor<3xf32> {lathe.name = "x"},
                %o: !onnx.optional<tensor<3xf32>> {lathe.name = "o"}) -> (tensor<*xf32>, tensor<i1>) {
  %one = arith.constant dense<1> : tensor<i64>
  %e = onnx.node "SequenceAt"(%s, %one) version 11 {} outputs ["e"]
    : (!onnx.seq<tensor<?x3xf32>>, tensor<i64>) -> tensor<*xf32>
  %y = onnx.node "Add"(%e, %x) version 13 {} outputs ["y"] : (tensor<*xf32>, tensor<3xf32>) -> tensor<*xf32>
  %h = onnx.node "OptionalHasElement"(%o) version 15 {} outputs ["h"] : (!onnx.optional<tensor<3xf32>>) -> tensor<i1>
  return %y, %h : tensor<*xf32>, tensor<i1>
}

// -----

// expected-error @+1 {{input "z" is a sequence, whose length is not known: --shape z=3 says}}
func.func @main(%z: !onnx.seq<tensor<3xf32>> {lathe.name = "z"}) -> !onnx.seq<tensor<3xf32>> {
  return %z : !onnx.seq<tensor<3xf32>>
}
