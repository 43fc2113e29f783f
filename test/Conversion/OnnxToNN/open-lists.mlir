// RUN: lathe-opt %s --split-input-file --verify-diagnostics --convert-onnx-to-nn | FileCheck %s

// Only a list of two elements gives a result of the two dimensions that the model declares.
// CHECK: func.func @main(%{{.*}}: tensor<2xi64> {{{.*}}}) -> (tensor<?x?xf32>
// expected-remark @below {{input "s" must have 2 elements: for no other number the model can be compiled}}
func.func @main(%s: tensor<?xi64> {lathe.name = "s", lathe.dims = ["S"]}) -> (tensor<?x?xf32> {lathe.name = "y"}) {
  %t = onnx.node "Mul"(%s, %s) version 17 {} outputs ["t"] : (tensor<?xi64>, tensor<?xi64>) -> tensor<*xi64>
  %z = onnx.node "ConstantOfShape"(%t) version 17 {} outputs ["z"] : (tensor<*xi64>) -> tensor<*xf32>
  %y = onnx.node "Add"(%z, %z) version 17 {} outputs ["y"] : (tensor<*xf32>, tensor<*xf32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

// The model does not say which of the two lengths it wants.
// expected-remark @below {{the model is supported with one of the options --shape=s=2 --shape=s=3 --shape=s=4 --shape=s=5 --shape=s=6 --shape=s=7 --shape=s=8}}
// expected-error @below {{[E0308] 1 node is not supported}}
// expected-note @below {{ConstantOfShape "z": data-dependent shape}}
func.func @main(%s: tensor<?xi64> {lathe.name = "s", lathe.dims = ["S"]}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %t = onnx.node "Mul"(%s, %s) version 17 {} outputs ["t"] : (tensor<?xi64>, tensor<?xi64>) -> tensor<*xi64>
  %z = onnx.node "ConstantOfShape"(%t) version 17 {} outputs ["z"] : (tensor<*xi64>) -> tensor<*xf32>
  %a = onnx.node "ReduceSum"(%z) version 11 {axes = [1], keepdims = 1 : i64} outputs ["a"] : (tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.node "Squeeze"(%a) version 11 {axes = [1]} outputs ["y"] : (tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
