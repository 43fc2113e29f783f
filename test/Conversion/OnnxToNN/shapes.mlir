// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn | FileCheck %s

// The heads of an attention are split with a shape that the model computes: no tensor of sizes is left.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %[[X:.*]]: tensor<?x?x384xf32> {nn.dims = ["B", "S", ""], nn.name = "x"}
func.func @main(%x: tensor<?x?x384xf32> {lathe.name = "x", lathe.dims = ["B", "S", ""]})
    -> (tensor<*xf32> {lathe.name = "y"}) {
  // CHECK-DAG: %[[B:.*]] = nn.dim_symbol "B"
  // CHECK-DAG: %[[S:.*]] = nn.dim_symbol "S"
  // CHECK: %[[Y:.*]] = nn.reshape %[[X]] to [%[[B]], %[[S]], 12, 32] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  // CHECK: return %[[Y]] : tensor<?x?x12x32xf32>
  %i0 = arith.constant dense<0> : tensor<i64>
  %i1 = arith.constant dense<1> : tensor<i64>
  %axes = arith.constant dense<0> : tensor<1xi64>
  %h = arith.constant dense<12> : tensor<1xi64>
  %rest = arith.constant dense<-1> : tensor<1xi64>
  %shape = onnx.node "Shape"(%x) version 17 {} outputs ["s"] : (tensor<?x?x384xf32>) -> tensor<3xi64>
  %b = onnx.node "Gather"(%shape, %i0) version 17 {} outputs ["b"] : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
  %s = onnx.node "Gather"(%shape, %i1) version 17 {} outputs ["q"] : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
  %b1 = onnx.node "Unsqueeze"(%b, %axes) version 17 {} outputs ["b1"] : (tensor<i64>, tensor<1xi64>) -> tensor<1xi64>
  %s1 = onnx.node "Unsqueeze"(%s, %axes) version 17 {} outputs ["s1"] : (tensor<i64>, tensor<1xi64>) -> tensor<1xi64>
  %t = onnx.node "Concat"(%b1, %s1, %h, %rest) version 17 {axis = 0 : i64} outputs ["t"]
    : (tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<4xi64>
  %y = onnx.node "Reshape"(%x, %t) version 17 {} outputs ["y"] : (tensor<?x?x384xf32>, tensor<4xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Equal symbols cancel in -1: B * S * 12 * 32 / (B * 384) is S.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x?x12x32xf32> {lathe.name = "x", lathe.dims = ["B", "S", "", ""]}) -> tensor<*xf32> {
  // CHECK-DAG: %[[B:.*]] = nn.dim_symbol "B"
  // CHECK-DAG: %[[S:.*]] = nn.dim_symbol "S"
  // CHECK-NOT: arith
  // CHECK: nn.reshape %{{.*}} to [%[[B]], %[[S]], 384]
  %t = arith.constant dense<[0, -1, 384]> : tensor<3xi64>
  %y = onnx.node "Reshape"(%x, %t) version 17 {} outputs ["y"] : (tensor<?x?x12x32xf32>, tensor<3xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// With allowzero a zero is a size.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<0x3xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  // CHECK: nn.reshape %{{.*}} to [3, 0] : tensor<0x3xf32> -> tensor<3x0xf32>
  %t = arith.constant dense<[3, 0]> : tensor<2xi64>
  %y = onnx.node "Reshape"(%x, %t) version 17 {allowzero = 1 : i64} outputs ["y"]
    : (tensor<0x3xf32>, tensor<2xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// The expand target of PyTorch: Where(shape == -1, 1, shape).
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x1xf32> {lathe.name = "x", lathe.dims = ["B", ""]},
                %z: tensor<?xf32> {lathe.name = "z", lathe.dims = ["S"]}) -> tensor<*xf32> {
  // CHECK-DAG: %[[B:.*]] = nn.dim_symbol "B"
  // CHECK-DAG: %[[S:.*]] = nn.dim_symbol "S"
  // CHECK-NOT: arith
  // CHECK: nn.expand %{{.*}} to [%[[B]], %[[S]]]
  %minus = arith.constant dense<-1> : tensor<1xi64>
  %two = arith.constant dense<2> : tensor<1xi64>
  %s = onnx.node "Shape"(%z) version 17 {} outputs ["s"] : (tensor<?xf32>) -> tensor<1xi64>
  %t = onnx.node "Concat"(%minus, %s) version 17 {axis = 0 : i64} outputs ["t"]
    : (tensor<1xi64>, tensor<1xi64>) -> tensor<2xi64>
  %ones = onnx.node "ConstantOfShape"(%two) version 17 {value = dense<1> : tensor<1xi64>} outputs ["ones"]
    : (tensor<1xi64>) -> tensor<2xi64>
  %eq = onnx.node "Equal"(%t, %minus) version 17 {} outputs ["eq"] : (tensor<2xi64>, tensor<1xi64>) -> tensor<2xi1>
  %w = onnx.node "Where"(%eq, %ones, %t) version 17 {} outputs ["w"]
    : (tensor<2xi1>, tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
  %y = onnx.node "Expand"(%x, %w) version 17 {} outputs ["y"] : (tensor<?x1xf32>, tensor<2xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// A shape that is used as data becomes a tensor.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x4xf32> {lathe.name = "x", lathe.dims = ["B", ""]}) -> tensor<*xf32> {
  // CHECK-DAG: %[[B:.*]] = nn.dim_symbol "B"
  // CHECK-DAG: %[[C:.*]] = arith.constant 4 : index
  // CHECK: %[[T:.*]] = nn.from_scalars %[[B]], %[[C]] : tensor<2xi64>
  // CHECK: nn.cast %[[T]] : tensor<2xi64> -> tensor<2xf32>
  %s = onnx.node "Shape"(%x) version 17 {} outputs ["s"] : (tensor<?x4xf32>) -> tensor<2xi64>
  %y = onnx.node "Cast"(%s) version 17 {to = 1 : i64} outputs ["y"] : (tensor<2xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// An end beyond the dimension is its end, a negative one counts from there.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x10xf32> {lathe.name = "x", lathe.dims = ["B", ""]}) -> tensor<*xf32> {
  // CHECK: %[[B:.*]] = nn.dim_symbol "B"
  // CHECK-NOT: arith.m
  // CHECK: nn.slice %{{.*}} offsets [0, 2] sizes [%[[B]], 7] strides [1, 1]
  %starts = arith.constant dense<[0, 2]> : tensor<2xi64>
  %ends = arith.constant dense<[9223372036854775807, -1]> : tensor<2xi64>
  %y = onnx.node "Slice"(%x, %starts, %ends) version 17 {} outputs ["y"]
    : (tensor<?x10xf32>, tensor<2xi64>, tensor<2xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// A negative step starts at the last element; the lowest number stands before the first.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<10xf32> {lathe.name = "x"}) -> tensor<*xf32> {
  // CHECK: nn.slice %{{.*}} offsets [9] sizes [4] strides [-3]
  %starts = arith.constant dense<20> : tensor<1xi64>
  %ends = arith.constant dense<-9223372036854775808> : tensor<1xi64>
  %axes = arith.constant dense<-1> : tensor<1xi64>
  %steps = arith.constant dense<-3> : tensor<1xi64>
  %y = onnx.node "Slice"(%x, %starts, %ends, %axes, %steps) version 17 {} outputs ["y"]
    : (tensor<10xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// The end is another input's size: it clamps to this dimension.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<1x512xi64> {lathe.name = "x"}, %z: tensor<?xf32> {lathe.name = "z", lathe.dims = ["S"]})
    -> tensor<*xi64> {
  // CHECK-DAG: %[[S:.*]] = nn.dim_symbol "S"
  // CHECK-DAG: %[[C:.*]] = arith.constant 512 : index
  // CHECK: %[[E:.*]] = arith.minsi %[[S]], %[[C]]
  // CHECK: nn.slice %{{.*}} offsets [0, 0] sizes [1, %[[E]]] strides [1, 1]
  %zero = arith.constant dense<0> : tensor<1xi64>
  %one = arith.constant dense<1> : tensor<1xi64>
  %s = onnx.node "Shape"(%z) version 17 {} outputs ["s"] : (tensor<?xf32>) -> tensor<1xi64>
  %y = onnx.node "Slice"(%x, %zero, %s, %one) version 17 {} outputs ["y"]
    : (tensor<1x512xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xi64>
  return %y : tensor<*xi64>
}

// -----

// The mask of today's exporters is a GatherND of counting indices: a view.
// CHECK-LABEL: func.func @main
func.func @main(%mask: tensor<?x?xi1> {lathe.name = "m", lathe.dims = ["B", "S"]}) -> tensor<*xi1> {
  // CHECK-DAG: %[[B:.*]] = nn.dim_symbol "B"
  // CHECK-DAG: %[[S:.*]] = nn.dim_symbol "S"
  // CHECK-NOT: nn.gather_nd
  // CHECK: %[[V:.*]] = nn.reshape %{{.*}} to [%[[B]], 1, 1, %[[S]]] : tensor<?x?xi1>
  // CHECK: %[[E:.*]] = nn.expand %[[V]] to [%[[B]], 1, %[[S]], %[[S]]]
  // CHECK: return %[[E]]
  %i0 = arith.constant dense<0> : tensor<i64>
  %i1 = arith.constant dense<1> : tensor<i64>
  %last = arith.constant dense<-1> : tensor<1xi64>
  %a123 = arith.constant dense<[1, 2, 3]> : tensor<3xi64>
  %a012 = arith.constant dense<[0, 1, 2]> : tensor<3xi64>
  %a013 = arith.constant dense<[0, 1, 3]> : tensor<3xi64>
  %shape = onnx.node "Shape"(%mask) version 17 {} outputs ["s"] : (tensor<?x?xi1>) -> tensor<2xi64>
  %b = onnx.node "Gather"(%shape, %i0) version 17 {} outputs ["b"] : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %s = onnx.node "Gather"(%shape, %i1) version 17 {} outputs ["q"] : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %rb = onnx.node "Range"(%i0, %b, %i1) version 17 {} outputs ["rb"]
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %rs = onnx.node "Range"(%i0, %s, %i1) version 17 {} outputs ["rs"]
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %b4 = onnx.node "Unsqueeze"(%rb, %a123) version 17 {} outputs ["b4"] : (tensor<?xi64>, tensor<3xi64>) -> tensor<*xi64>
  %k4 = onnx.node "Unsqueeze"(%rs, %a012) version 17 {} outputs ["k4"] : (tensor<?xi64>, tensor<3xi64>) -> tensor<*xi64>
  %q4 = onnx.node "Unsqueeze"(%rs, %a013) version 17 {} outputs ["q4"] : (tensor<?xi64>, tensor<3xi64>) -> tensor<*xi64>
  %m = onnx.node "Max"(%b4, %q4, %k4) version 17 {} outputs ["m"]
    : (tensor<*xi64>, tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %ms = onnx.node "Shape"(%m) version 17 {} outputs ["ms"] : (tensor<*xi64>) -> tensor<4xi64>
  %be = onnx.node "Expand"(%b4, %ms) version 17 {} outputs ["be"] : (tensor<*xi64>, tensor<4xi64>) -> tensor<*xi64>
  %ke = onnx.node "Expand"(%k4, %ms) version 17 {} outputs ["ke"] : (tensor<*xi64>, tensor<4xi64>) -> tensor<*xi64>
  %bu = onnx.node "Unsqueeze"(%be, %last) version 17 {} outputs ["bu"] : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %ku = onnx.node "Unsqueeze"(%ke, %last) version 17 {} outputs ["ku"] : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %i = onnx.node "Concat"(%bu, %ku) version 17 {axis = -1 : i64} outputs ["i"]
    : (tensor<*xi64>, tensor<*xi64>) -> tensor<*xi64>
  %y = onnx.node "GatherND"(%mask, %i) version 17 {} outputs ["y"] : (tensor<?x?xi1>, tensor<*xi64>) -> tensor<*xi1>
  return %y : tensor<*xi1>
}

// -----

// A table of 512 positions is cut to the sequence's length: the sequence is no longer than that.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x?x4xf32> {lathe.name = "x", lathe.dims = ["B", "S", ""]},
                %table: tensor<512x4xf32> {lathe.name = "table"}) -> tensor<*xf32> {
  // CHECK: %[[S:.*]] = nn.dim_symbol "S" max 512
  // CHECK-NOT: arith
  // CHECK: %[[P:.*]] = nn.slice %{{.*}} offsets [0, 0] sizes [%[[S]], 4] strides [1, 1]
  // CHECK: nn.binary add %{{.*}}, %[[P]]
  %zero = arith.constant dense<0> : tensor<1xi64>
  %one = arith.constant dense<1> : tensor<1xi64>
  %s = onnx.node "Shape"(%x) version 17 {start = 1 : i64, end = 2 : i64} outputs ["s"]
    : (tensor<?x?x4xf32>) -> tensor<1xi64>
  %p = onnx.node "Slice"(%table, %zero, %s, %zero) version 17 {} outputs ["p"]
    : (tensor<512x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>
  %y = onnx.node "Add"(%x, %p) version 17 {} outputs ["y"] : (tensor<?x?x4xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// Pads in the order of the axes that they are of, last axis first, as an exporter turns them around: lists that are
// transposed and read backwards stay known.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x20xf32> {lathe.name = "x", lathe.dims = ["B", ""]}) -> tensor<*xf32> {
  // CHECK: nn.pad reflect %{{.*}} before [0, 3] after [0, 4]
  %pads = arith.constant dense<[3, 4, 0, 0]> : tensor<4xi64>
  %pairs = arith.constant dense<[-1, 2]> : tensor<2xi64>
  %flat = arith.constant dense<-1> : tensor<1xi64>
  %start = arith.constant dense<-1> : tensor<1xi64>
  %end = arith.constant dense<-9223372036854775807> : tensor<1xi64>
  %axis = arith.constant dense<0> : tensor<1xi64>
  %step = arith.constant dense<-1> : tensor<1xi64>
  %p = onnx.node "Reshape"(%pads, %pairs) version 17 {} outputs ["p"] : (tensor<4xi64>, tensor<2xi64>) -> tensor<*xi64>
  %r = onnx.node "Slice"(%p, %start, %end, %axis, %step) version 17 {} outputs ["r"]
    : (tensor<*xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<*xi64>
  %t = onnx.node "Transpose"(%r) version 17 {perm = [1, 0]} outputs ["t"] : (tensor<*xi64>) -> tensor<*xi64>
  %l = onnx.node "Reshape"(%t, %flat) version 17 {} outputs ["l"] : (tensor<*xi64>, tensor<1xi64>) -> tensor<*xi64>
  %y = onnx.node "Pad"(%x, %l) version 17 {mode = "reflect"} outputs ["y"] : (tensor<?x20xf32>, tensor<*xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// A shape of unknown length has as many elements as the result has dimensions.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %{{.*}}: tensor<?xf32> {{{.*}}}, %[[SHAPE:.*]]: tensor<?xi64>
// CHECK:         %[[TWO:.*]] = nn.reshape %[[SHAPE]] to [2] : tensor<?xi64> -> tensor<2xi64>
// CHECK-DAG:     nn.read_index %[[TWO]][0]
// CHECK-DAG:     nn.read_index %[[TWO]][1]
// CHECK:         nn.reshape {{.*}} -> tensor<?x?xf32>
func.func @main(%x: tensor<?xf32> {lathe.name = "x", lathe.dims = ["N"]},
                %shape: tensor<?xi64> {lathe.name = "shape", lathe.dims = ["R"]}) -> (tensor<?x?xf32> {lathe.name = "y"}) {
  %y = onnx.node "Reshape"(%x, %shape) version 17 {} outputs ["y"] : (tensor<?xf32>, tensor<?xi64>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

// Lists of a slice are filled up to one entry for each dimension.
// CHECK-LABEL: func.func @main
// CHECK-COUNT-3: nn.pad constant {{.*}} : tensor<?xi64>, tensor<i64> -> tensor<?xi64>
// CHECK:         nn.slice {{.*}} : tensor<3x4xf32> -> tensor<?x?xf32>
func.func @main(%x: tensor<3x4xf32> {lathe.name = "x"}, %starts: tensor<?xi64> {lathe.name = "starts", lathe.dims = ["L"]},
                %ends: tensor<?xi64> {lathe.name = "ends", lathe.dims = ["L"]},
                %axes: tensor<?xi64> {lathe.name = "axes", lathe.dims = ["L"]}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "Slice"(%x, %starts, %ends, %axes) version 17 {} outputs ["y"]
    : (tensor<3x4xf32>, tensor<?xi64>, tensor<?xi64>, tensor<?xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
