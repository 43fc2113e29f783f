// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --verify-diagnostics | FileCheck %s

// A map is its keys and its values, equally many. What is no word of the vocabulary is written behind the row's end.
// CHECK:       module attributes {lathe.metadata = {lathe.map.x = "1"}, nn.texts = ["b", "a"]}
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %[[K:.*]]: tensor<?xi64> {nn.dims = ["x.size"], nn.name = "x.keys", nn.string}
// CHECK-SAME:    %[[V:.*]]: tensor<?xf32> {nn.dims = ["x.size"], nn.name = "x.values"}
// CHECK:         nn.find %[[K]], %{{.*}} : tensor<?xi64>, tensor<2xi64> -> tensor<?xi64>
// CHECK:         %[[R:.*]] = nn.scatter_elements none %{{.*}}, %{{.*}}, %[[V]] axis(0) : tensor<3xf32>
// CHECK:         nn.slice %[[R]] offsets [0] sizes [2]
func.func @main(%x: !onnx.map<!onnx.string, tensor<f32>> {lathe.name = "x"}) -> tensor<*xf32> {
  %y = onnx.node "DictVectorizer"(%x) domain "ai.onnx.ml" version 1 {string_vocabulary = ["b", "a"]} outputs ["y"]
    : (!onnx.map<!onnx.string, tensor<f32>>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: !onnx.map<i64, tensor<f32>> {lathe.name = "x"}) -> tensor<*xf32> {
  // expected-error @+1 {{[E0306] the keys of X and the vocabulary are of different types}}
  %y = onnx.node "DictVectorizer"(%x) domain "ai.onnx.ml" version 1 {string_vocabulary = ["b", "a"]} outputs ["y"]
    : (!onnx.map<i64, tensor<f32>>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: !onnx.map<i64, tensor<f32>> {lathe.name = "x"}) -> tensor<*xf32> {
  // expected-error @+2 {{[E0304] map_form is "SPARSE" and max_map 0: must be DENSE, or SPARSE of at least 1}}
  // expected-note @+1 {{attribute: map_form}}
  %y = onnx.node "CastMap"(%x) domain "ai.onnx.ml" version 1 {map_form = "SPARSE", max_map = 0 : i64} outputs ["y"]
    : (!onnx.map<i64, tensor<f32>>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// expected-error @+2 {{[E0308] 1 node is not supported}}
// expected-note @+1 {{Neg "y": input 0 is a map}}
func.func @main(%x: !onnx.map<i64, tensor<f32>> {lathe.name = "x"}) -> tensor<*xf32> {
  %y = onnx.node "Neg"(%x) version 13 {} outputs ["y"] : (!onnx.map<i64, tensor<f32>>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
