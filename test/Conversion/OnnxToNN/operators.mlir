// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn | FileCheck %s

// Before version 13, Softmax normalizes over all dimensions from its axis on.
// CHECK-LABEL: func.func @main
// CHECK:         %[[F:.*]] = nn.reshape %{{.*}} to [2, 12]
// CHECK:         %[[S:.*]] = nn.softmax %[[F]] axis(1) : tensor<2x12xf32>
// CHECK:         nn.reshape %[[S]] to [2, 3, 4]
func.func @main(%x: tensor<2x3x4xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  %y = onnx.node "Softmax"(%x) version 11 {} outputs ["y"] : (tensor<2x3x4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// CHECK-LABEL: func.func @main
// CHECK:         nn.softmax %{{.*}} axis(2) : tensor<2x3x4xf32>
func.func @main(%x: tensor<2x3x4xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  %y = onnx.node "Softmax"(%x) version 13 {} outputs ["y"] : (tensor<2x3x4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// A vector on the left of a product is a row that goes again.
// CHECK-LABEL: func.func @main
// CHECK:         %[[R:.*]] = nn.reshape %{{.*}} to [1, 3] : tensor<3xf32> -> tensor<1x3xf32>
// CHECK:         %[[P:.*]] = nn.matmul %[[R]], %{{.*}} : tensor<1x3xf32>, tensor<5x3x4xf32> -> tensor<5x1x4xf32>
// CHECK:         nn.reshape %[[P]] to [5, 4]
func.func @main(%x: tensor<3xf32> {lathe.name = "x"}, %w: tensor<5x3x4xf32> {lathe.name = "w"}) -> tensor<*xf32> {
  %y = onnx.node "MatMul"(%x, %w) version 13 {} outputs ["y"] : (tensor<3xf32>, tensor<5x3x4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// alpha scales the product, beta the addend.
// CHECK-LABEL: func.func @main
// CHECK:         %[[T:.*]] = nn.transpose %{{.*}} perm([1, 0]) : tensor<4x3xf32> -> tensor<3x4xf32>
// CHECK:         %[[P:.*]] = nn.matmul %{{.*}}, %[[T]]
// CHECK:         %[[A:.*]] = nn.binary mul %[[P]]
// CHECK:         %[[B:.*]] = nn.binary mul %{{.*}} : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
// CHECK:         nn.binary add %[[A]], %[[B]]
func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}, %w: tensor<4x3xf32> {lathe.name = "w"},
                %c: tensor<4xf32> {lathe.name = "c"}) -> tensor<*xf32> {
  %y = onnx.node "Gemm"(%x, %w, %c) version 13 {transB = 1 : i64, alpha = 0.5 : f32, beta = 2.0 : f32} outputs ["y"]
    : (tensor<2x3xf32>, tensor<4x3xf32>, tensor<4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// CHECK-LABEL: func.func @main
// CHECK:         %[[T:.*]] = nn.transpose %{{.*}} perm([0, 2, 1]) : tensor<5x4x3xf32> -> tensor<5x3x4xf32>
// CHECK:         nn.matmul %{{.*}}, %[[T]] : tensor<5x2x3xf32>, tensor<5x3x4xf32> -> tensor<5x2x4xf32>
func.func @main(%x: tensor<5x2x3xf32> {lathe.name = "x"}, %w: tensor<5x4x3xf32> {lathe.name = "w"}) -> tensor<*xf32> {
  %y = onnx.node "Einsum"(%x, %w) version 13 {equation = "bik, bjk -> bij"} outputs ["y"]
    : (tensor<5x2x3xf32>, tensor<5x4x3xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// With no axes and noop_with_empty_axes a reduction does nothing.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %[[X:.*]]: tensor<2x3xf32>
// CHECK-NEXT:    return %[[X]]
func.func @main(%x: tensor<2x3xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  %none = onnx.none
  %y = onnx.node "ReduceSum"(%x, %none) version 13 {noop_with_empty_axes = 1 : i64} outputs ["y"]
    : (tensor<2x3xf32>, none) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Where the lower bound is above the upper, Clip gives the upper one: max first, then min.
// CHECK-LABEL: func.func @main
// CHECK:         %[[M:.*]] = nn.binary max
// CHECK:         nn.binary min %[[M]]
func.func @main(%x: tensor<2xf32> {lathe.name = "x"}, %lo: tensor<f32> {lathe.name = "lo"},
                %hi: tensor<f32> {lathe.name = "hi"}) -> tensor<*xf32> {
  %y = onnx.node "Clip"(%x, %lo, %hi) version 13 {} outputs ["y"] : (tensor<2xf32>, tensor<f32>, tensor<f32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Channels come last, the bias is added there.
// CHECK-LABEL: func.func @main
// CHECK-DAG:     %[[X:.*]] = nn.transpose %{{.*}} perm([0, 2, 1]) : tensor<1x3x9xf32> -> tensor<1x9x3xf32>
// CHECK-DAG:     %[[W:.*]] = nn.transpose %{{.*}} perm([2, 1, 0]) : tensor<4x3x5xf32> -> tensor<5x3x4xf32>
// CHECK:         %[[C:.*]] = nn.conv %[[X]], %[[W]] strides([2]) pads([1, 2]) dilations([1]) groups(1)
// CHECK:         %[[B:.*]] = nn.binary add %[[C]], %{{.*}} : tensor<1x4x4xf32>, tensor<4xf32>
// CHECK:         nn.transpose %[[B]] perm([0, 2, 1])
func.func @main(%x: tensor<1x3x9xf32> {lathe.name = "x"}, %w: tensor<4x3x5xf32> {lathe.name = "w"},
                %b: tensor<4xf32> {lathe.name = "b"}) -> tensor<*xf32> {
  %y = onnx.node "Conv"(%x, %w, %b) version 13 {strides = array<i64: 2>, pads = array<i64: 1, 2>} outputs ["y"]
    : (tensor<1x3x9xf32>, tensor<4x3x5xf32>, tensor<4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// The filter tells how many channels there are where the input does not; the run checks it.
// CHECK-LABEL: func.func @main
// CHECK:         %[[X:.*]] = nn.transpose %{{.*}} perm([0, 2, 1]) : tensor<1x?x9xf32> -> tensor<1x9x?xf32>
// CHECK:         arith.cmpi eq, %{{.*}}, %c6
// CHECK:         nn.check
// CHECK:         %[[R:.*]] = nn.reshape %[[X]] to [1, 9, 6] : tensor<1x9x?xf32> -> tensor<1x9x6xf32>
// CHECK:         nn.conv %[[R]], %{{.*}} groups(2) : tensor<1x9x6xf32>, tensor<5x3x4xf32>
func.func @main(%x: tensor<1x?x9xf32> {lathe.name = "x", lathe.dims = ["", "C", ""]}, %w: tensor<4x3x5xf32> {lathe.name = "w"})
    -> tensor<*xf32> {
  %y = onnx.node "Conv"(%x, %w) version 13 {group = 2 : i64} outputs ["y"]
    : (tensor<1x?x9xf32>, tensor<4x3x5xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// So do a matrix and the scale of a norm. A scale of 1 tells nothing.
// CHECK-LABEL: func.func @main
// CHECK:         %[[R:.*]] = nn.reshape %{{.*}} to [%{{.*}}, 8] : tensor<?x?xf32> -> tensor<?x8xf32>
// CHECK:         %[[P:.*]] = nn.matmul %[[R]], %{{.*}} : tensor<?x8xf32>, tensor<8x?xf32>
// CHECK:         nn.layer_norm %[[P]], %{{.*}} : tensor<?x?xf32>, tensor<1xf32>
// CHECK:         %[[N:.*]] = nn.reshape %{{.*}} to [%{{.*}}, 6]
// CHECK:         nn.layer_norm %[[N]], %{{.*}} : tensor<?x6xf32>, tensor<6xf32>
func.func @main(%x: tensor<?x?xf32> {lathe.name = "x", lathe.dims = ["A", "B"]}, %w: tensor<8x?xf32> {lathe.name = "w", lathe.dims = ["", "D"]},
                %one: tensor<1xf32> {lathe.name = "one"}, %s: tensor<6xf32> {lathe.name = "s"}) -> tensor<*xf32> {
  %p = onnx.node "MatMul"(%x, %w) version 13 {} outputs ["p"] : (tensor<?x?xf32>, tensor<8x?xf32>) -> tensor<*xf32>
  %q = onnx.node "LayerNormalization"(%p, %one) version 17 {} outputs ["q"] : (tensor<*xf32>, tensor<1xf32>) -> tensor<*xf32>
  %y = onnx.node "LayerNormalization"(%q, %s) version 17 {} outputs ["y"] : (tensor<*xf32>, tensor<6xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// An odd padding of SAME_LOWER comes first.
// CHECK-LABEL: func.func @main
// CHECK:         nn.conv %{{.*}} strides([1]) pads([2, 1])
func.func @main(%x: tensor<1x1x9xf32> {lathe.name = "x"}, %w: tensor<1x1x4xf32> {lathe.name = "w"}) -> tensor<*xf32> {
  %y = onnx.node "Conv"(%x, %w) version 13 {auto_pad = "SAME_LOWER"} outputs ["y"]
    : (tensor<1x1x9xf32>, tensor<1x1x4xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Attention-23 with 3-D operands; a row without keys gives 0.
// CHECK-LABEL: func.func @main
// CHECK:         nn.attention %{{.*}} scale(2.500000e-01) guard_empty : tensor<2x7x4x16xf32>, tensor<2x9x2x16xf32>, tensor<2x9x2x16xf32> -> tensor<2x7x4x16xf32>
// CHECK:         nn.reshape %{{.*}} to [2, 7, 64]
func.func @main(%q: tensor<2x7x64xf32> {lathe.name = "q"}, %k: tensor<2x9x32xf32> {lathe.name = "k"},
                %v: tensor<2x9x32xf32> {lathe.name = "v"}) -> tensor<*xf32> {
  %y = onnx.node "Attention"(%q, %k, %v) version 23 {q_num_heads = 4 : i64, kv_num_heads = 2 : i64} outputs ["y"]
    : (tensor<2x7x64xf32>, tensor<2x9x32xf32>, tensor<2x9x32xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// GroupNormalization-18 scales groups, 21 channels.
// CHECK-LABEL: func.func @main
// CHECK:         nn.reshape %{{.*}} to [2, 1, 1] : tensor<2xf32> -> tensor<2x1x1xf32>
func.func @main(%x: tensor<1x4x5xf32> {lathe.name = "x"}, %s: tensor<2xf32> {lathe.name = "s"}) -> tensor<*xf32> {
  %y = onnx.node "GroupNormalization"(%x, %s, %s) version 18 {num_groups = 2 : i64} outputs ["y"]
    : (tensor<1x4x5xf32>, tensor<2xf32>, tensor<2xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
