// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --canonicalize | FileCheck %s

// A block's elements come before the channels.
// CHECK-LABEL: func.func @main
// CHECK:         nn.reshape %{{.*}} : tensor<1x8x2x3xf32> -> tensor<1x2x2x2x2x3xf32>
// CHECK:         nn.transpose %{{.*}} perm([0, 3, 4, 1, 5, 2])
// CHECK:         nn.reshape %{{.*}} -> tensor<1x2x4x6xf32>
func.func @main(%x: tensor<1x8x2x3xf32> {lathe.name = "x"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "DepthToSpace"(%x) version 13 {blocksize = 2 : i64} outputs ["y"] : (tensor<1x8x2x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// A symbol's channels are checked before they are divided.
// CHECK-LABEL: func.func @main
// CHECK:         nn.check
// CHECK:         nn.transpose %{{.*}} perm([0, 1, 4, 2, 5, 3])
func.func @main(%x: tensor<1x?x2x3xf32> {lathe.name = "x", lathe.dims = ["", "C", "", ""]}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "DepthToSpace"(%x) version 13 {blocksize = 2 : i64, mode = "CRD"} outputs ["y"] : (tensor<1x?x2x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// An odd element is cut off, and added, at the end.
// CHECK-LABEL: func.func @main
// CHECK:         %[[CUT:.*]] = nn.slice %{{.*}} offsets [1, 0] sizes [2, 2]
// CHECK:         nn.pad constant %[[CUT]] value(%{{.*}}) before [0, 1] after [0, 2]
func.func @main(%x: tensor<5x2xf32> {lathe.name = "x"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %s = arith.constant dense<[2, 5]> : tensor<2xi64>
  %y = onnx.node "CenterCropPad"(%x, %s) version 18 {} outputs ["y"] : (tensor<5x2xf32>, tensor<2xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Channels come last, with a border of zeros, and the power is made of roots.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     nn.pool
// CHECK:         %[[X:.*]] = nn.transpose %{{.*}} perm([0, 2, 3, 1])
// CHECK:         %[[PADDED:.*]] = nn.pad constant %[[X]]
// CHECK-SAME:      before [0, 0, 0, 1] after [0, 0, 0, 2]
// CHECK-COUNT-4: nn.slice %[[PADDED]]
// CHECK-NOT:     nn.binary pow
// CHECK-COUNT-2: nn.unary sqrt
// CHECK:         nn.binary div
// CHECK:         nn.transpose %{{.*}} perm([0, 3, 1, 2])
func.func @main(%x: tensor<2x6x4x5xf32> {lathe.name = "x"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "LRN"(%x) version 13 {size = 4 : i64} outputs ["y"] : (tensor<2x6x4x5xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// In a wide window channels are the space of a pool. Another exponent, and a base that may be negative, stay powers.
// CHECK-LABEL: func.func @main
// CHECK:         nn.pool mean %{{.*}} window([17]) strides([1]) dilations([1]) before [8] after [8] sizes [40] count_pads : tensor<24x40x1xf32> -> tensor<24x40x1xf32>
// CHECK:         nn.binary pow
// CHECK:         nn.binary pow
func.func @main(%x: tensor<2x40x3x4xf32> {lathe.name = "x"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %w = onnx.node "LRN"(%x) version 13 {size = 17 : i64, beta = 0.6 : f32} outputs ["w"] : (tensor<2x40x3x4xf32>) -> tensor<*xf32>
  %y = onnx.node "LRN"(%w) version 13 {size = 3 : i64, alpha = -1.0 : f32} outputs ["y"] : (tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// What is ignored never counts, whatever its logarithm is.
// CHECK-LABEL: func.func @main
// CHECK:         %[[TARGET:.*]] = nn.select
// CHECK:         nn.gather_elements
// CHECK:         nn.select
// CHECK:         nn.reduce sum
// CHECK:         nn.reduce sum
// CHECK:         nn.binary div
func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}, %t: tensor<2xi64> {lathe.name = "t"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "NegativeLogLikelihoodLoss"(%x, %t) version 13 {ignore_index = -1 : i64} outputs ["y"] : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// The subgraph stands between the product and the softmax.
// CHECK-LABEL: func.func @main
// CHECK:         nn.matmul
// CHECK:         nn.unary tanh
// CHECK:         nn.softmax
// CHECK:         nn.matmul
func.func @main(%q: tensor<1x2x3x4xf32> {lathe.name = "q"}, %k: tensor<1x1x5x4xf32> {lathe.name = "k"}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "FlexAttention"(%q, %k, %k) domain "ai.onnx.preview" version 1 {} outputs ["y"] subgraphs ["score_mod"]
      : (tensor<1x2x3x4xf32>, tensor<1x1x5x4xf32>, tensor<1x1x5x4xf32>) -> tensor<*xf32> {
  ^bb0(%scores: tensor<*xf32>):
    %a = onnx.node "Tanh"(%scores) version 13 {} outputs ["a"] : (tensor<*xf32>) -> tensor<*xf32>
    onnx.yield %a : tensor<*xf32>
  }
  return %y : tensor<*xf32>
}
