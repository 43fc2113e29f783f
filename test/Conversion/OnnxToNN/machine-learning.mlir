// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --verify-diagnostics | FileCheck %s

// The scores of two classes decide which one it is; its label is looked up.
// CHECK-LABEL: func.func @main
// CHECK:         %[[P:.*]] = nn.matmul %{{.*}}, %{{.*}} : tensor<?x2xf32>, tensor<2x2xf32> -> tensor<?x2xf32>
// CHECK:         %[[S:.*]] = nn.binary add %[[P]]
// CHECK:         %[[C:.*]] = nn.arg_reduce max %[[S]]
// CHECK:         %[[L:.*]] = nn.gather %{{.*}}, %[[C]]
// CHECK:         %[[Q:.*]] = nn.softmax %[[S]] axis(1)
// CHECK:         return %[[L]], %[[Q]]
func.func @main(%x: tensor<?x2xf32> {lathe.name = "x"}) -> (tensor<*xi64>, tensor<*xf32>) {
  %l, %s = onnx.node "LinearClassifier"(%x) domain "ai.onnx.ml" version 1 {
      coefficients = array<f32: 1.0, 2.0, 3.0, 4.0>, intercepts = array<f32: 0.5, 1.5>,
      classlabels_ints = array<i64: 7, 9>, post_transform = "SOFTMAX"} outputs ["l", "s"]
    : (tensor<?x2xf32>) -> (tensor<*xi64>, tensor<*xf32>)
  return %l, %s : tensor<*xi64>, tensor<*xf32>
}

// -----

// Strings are numbers of texts, which the artifact holds.
// CHECK:       module attributes {nn.texts = ["a", "b", "c"]}
// CHECK-LABEL: func.func @main
// CHECK-SAME:    -> (tensor<3xi64> {nn.name = "y", nn.string})
// CHECK:         %[[F:.*]] = nn.find %{{.*}}, %{{.*}} : tensor<3xi64>, tensor<2xi64> -> tensor<3xi64>
// CHECK:         %[[P:.*]] = nn.gather %{{.*}}, %[[F]]
// CHECK:         %[[T:.*]] = arith.constant dense<[0, 1, 2]> : tensor<3xi64>
// CHECK:         %[[L:.*]] = nn.gather %[[T]], %[[P]]
// CHECK:         return %[[L]] : tensor<3xi64>
func.func @main(%x: tensor<3xi64> {lathe.name = "x"}) -> (tensor<3x!onnx.string> {lathe.name = "y"}) {
  %y = onnx.node "LabelEncoder"(%x) domain "ai.onnx.ml" version 2 {
      keys_int64s = array<i64: 5, 3>, values_strings = ["a", "b"], default_string = "c"} outputs ["y"]
    : (tensor<3xi64>) -> tensor<3x!onnx.string>
  return %y : tensor<3x!onnx.string>
}

// -----

// CHECK:       module attributes {lathe.metadata = {lathe.labels.y = "[\224\22,\222\22]"}}
// CHECK-LABEL: func.func @main
// CHECK:         return %{{.*}} : tensor<3x2xf32>
func.func @main(%x: tensor<3x2xf32> {lathe.name = "x"}) -> (!onnx.unknown {lathe.name = "y"}) {
  // expected-remark @+1 {{the maps are given as a tensor with a column for each key}}
  %y = onnx.node "ZipMap"(%x) domain "ai.onnx.ml" version 1 {classlabels_int64s = array<i64: 4, 2>} outputs ["y"]
    : (tensor<3x2xf32>) -> !onnx.unknown
  return %y : !onnx.unknown
}

// -----

// expected-error @+2 {{[E0308] 1 node is not supported}}
// expected-note @+1 {{Neg "y": input 0 is a tensor of strings}}
func.func @main(%x: tensor<3xi64> {lathe.name = "x"}) -> tensor<*xi64> {
  %w = onnx.node "LabelEncoder"(%x) domain "ai.onnx.ml" version 2 {
      keys_int64s = array<i64: 5>, values_strings = ["a"]} outputs ["w"] : (tensor<3xi64>) -> tensor<3x!onnx.string>
  %y = onnx.node "Neg"(%w) version 13 {} outputs ["y"] : (tensor<3x!onnx.string>) -> tensor<*xi64>
  return %y : tensor<*xi64>
}

// -----

func.func @main(%x: tensor<3x2xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  // expected-error @+2 {{[E0304] offset has 3 numbers, must have 1 or one for each of 2 features}}
  // expected-note @+1 {{attribute: offset}}
  %y = onnx.node "Scaler"(%x) domain "ai.onnx.ml" version 1 {offset = array<f32: 1.0, 2.0, 3.0>} outputs ["y"]
    : (tensor<3x2xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

func.func @main(%x: tensor<3x2xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  // expected-error @+2 {{[E0304] kernel_type is "CUBE", must be LINEAR, POLY, RBF or SIGMOID}}
  // expected-note @+1 {{attribute: kernel_type}}
  %y = onnx.node "SVMRegressor"(%x) domain "ai.onnx.ml" version 1 {rho = array<f32: 1.0>, kernel_type = "CUBE",
      coefficients = array<f32: 1.0, 2.0>} outputs ["y"] : (tensor<3x2xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// x < 1 is x <= the number before, x >= 2 the same with the ways changed; leaves are counted from behind the nodes.
// CHECK-LABEL: func.func @main
// CHECK-DAG:     %[[R:.*]] = arith.constant dense<0> : tensor<1xi32>
// CHECK-DAG:     %[[N:.*]] = arith.constant dense<{{\[\[}}0, 2, 1, 1], [1, 4, 3, 4]]> : tensor<2x4xi32>
// CHECK-DAG:     %[[S:.*]] = arith.constant dense<[0.99999994, 1.99999988]> : tensor<2xf32>
// CHECK-DAG:     %[[W:.*]] = arith.constant dense<[5.000000e-01, 1.500000e+00, 2.500000e+00]> : tensor<3xf32>
// CHECK:         nn.tree_ensemble sum %{{.*}}, %[[R]], %[[N]], %[[S]], %[[W]] targets(1)
func.func @main(%x: tensor<?x2xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  %y = onnx.node "TreeEnsembleRegressor"(%x) domain "ai.onnx.ml" version 1 {n_targets = 1 : i64,
      nodes_treeids = array<i64: 0, 0, 0, 0, 0>, nodes_nodeids = array<i64: 0, 1, 2, 3, 4>,
      nodes_featureids = array<i64: 0, 0, 1, 0, 0>, nodes_values = array<f32: 1.0, 0.0, 2.0, 0.0, 0.0>,
      nodes_modes = ["BRANCH_LT", "LEAF", "BRANCH_GTE", "LEAF", "LEAF"],
      nodes_truenodeids = array<i64: 1, 0, 3, 0, 0>, nodes_falsenodeids = array<i64: 2, 0, 4, 0, 0>,
      target_treeids = array<i64: 0, 0, 0>, target_nodeids = array<i64: 1, 3, 4>, target_ids = array<i64: 0, 0, 0>,
      target_weights = array<f32: 0.5, 1.5, 2.5>} outputs ["y"] : (tensor<?x2xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Keys are found by their numbers.
// CHECK:       module attributes {nn.texts = ["b", "a"]}
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %[[X:.*]]: tensor<3xi64> {nn.dims = [""], nn.name = "x", nn.string}
// CHECK:         %[[K:.*]] = arith.constant dense<[0, 1]> : tensor<2xi64>
// CHECK:         %[[F:.*]] = nn.find %[[X]], %[[K]]
// CHECK:         %[[P:.*]] = nn.gather %{{.*}}, %[[F]]
// CHECK:         %[[V:.*]] = arith.constant dense<[5, 7, -1]> : tensor<3xi64>
// CHECK:         nn.gather %[[V]], %[[P]]
func.func @main(%x: tensor<3x!onnx.string> {lathe.name = "x"}) -> tensor<*xi64> {
  %y = onnx.node "LabelEncoder"(%x) domain "ai.onnx.ml" version 2 {
      keys_strings = ["b", "a"], values_int64s = array<i64: 5, 7>} outputs ["y"]
    : (tensor<3x!onnx.string>) -> tensor<*xi64>
  return %y : tensor<*xi64>
}

// -----

// A pair of tokens is one number; the place behind the last column counts what is no n-gram.
// CHECK-LABEL: func.func @main
// CHECK:         %[[I:.*]] = nn.find %{{.*}}, %{{.*}} : tensor<6xi64>, tensor<2xi64> -> tensor<6xi64>
// CHECK:         %[[F:.*]] = nn.find %{{.*}}, %{{.*}} : tensor<1x5xi64>, tensor<1xi64> -> tensor<1x5xi64>
// CHECK:         %[[C:.*]] = nn.gather %{{.*}}, %[[F]]
// CHECK:         nn.scatter_elements add %{{.*}}, %[[C]], %{{.*}} axis(1)
func.func @main(%x: tensor<6xi64> {lathe.name = "x"}) -> tensor<*xf32> {
  %y = onnx.node "TfIdfVectorizer"(%x) version 9 {mode = "TF", min_gram_length = 2 : i64, max_gram_length = 2 : i64,
      max_skip_count = 0 : i64, ngram_counts = array<i64: 0, 0>, ngram_indexes = array<i64: 0>,
      pool_int64s = array<i64: 9, 4>} outputs ["y"] : (tensor<6xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
