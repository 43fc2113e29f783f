// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn --canonicalize | FileCheck %s

// A condition that is known leaves its branch.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     nn.if
// CHECK:         nn.unary exp
// CHECK-NOT:     nn.unary neg
func.func @main(%x: tensor<?x4xf32> {lathe.name = "x", lathe.dims = ["N", ""]}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %c = arith.constant dense<true> : tensor<i1>
  %y = onnx.node "If"(%c) version 17 {} outputs ["y"] subgraphs ["then_branch", "else_branch"] : (tensor<i1>) -> tensor<*xf32> {
    %a = onnx.node "Exp"(%x) version 17 {} outputs ["a"] : (tensor<?x4xf32>) -> tensor<*xf32>
    onnx.yield %a : tensor<*xf32>
  }, {
    %b = onnx.node "Neg"(%x) version 17 {} outputs ["b"] : (tensor<?x4xf32>) -> tensor<*xf32>
    onnx.yield %b : tensor<*xf32>
  }
  return %y : tensor<*xf32>
}

// -----

// The number of rows differs, so it is a result; the number of columns does not.
// CHECK-LABEL: func.func @main
// CHECK:         %[[C:.*]] = nn.read_index %{{.*}}[0] : tensor<i1>
// CHECK:         nn.if %{{.*}} sizes() shapes [array<i64: -1, 4>] -> tensor<?x4xf32>, index {
// CHECK:           %[[TWICE:.*]] = nn.concat
// CHECK:           nn.yield %[[TWICE]], %{{.*}} : tensor<?x4xf32>, index
func.func @main(%c: tensor<i1> {lathe.name = "c"}, %x: tensor<?x4xf32> {lathe.name = "x", lathe.dims = ["N", ""]})
    -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "If"(%c) version 17 {} outputs ["y"] subgraphs ["then_branch", "else_branch"] : (tensor<i1>) -> tensor<*xf32> {
    %a = onnx.node "Concat"(%x, %x) version 17 {axis = 0 : i64} outputs ["a"] : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<*xf32>
    onnx.yield %a : tensor<*xf32>
  }, {
    onnx.yield %x : tensor<?x4xf32>
  }
  return %y : tensor<*xf32>
}

// -----

// A counter is carried as an index value; the state grows, so its first dimension is carried, too. The scan output's
// number of rows is that of the iterations.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %{{.*}}: tensor<i64> {{{.*}}}, %[[X:.*]]: tensor<1x4xf32>
// CHECK:         nn.loop %{{.*}}, %true inits(%[[X]], %{{.*}}, %{{.*}}) sizes(%{{.*}}) shapes [array<i64: -3, 4>, array<i64: -1>]
// CHECK-SAME:      : tensor<1x4xf32>, index, index -> tensor<?x4xf32>, tensor<?xi64>, index, index, index {
// CHECK:         ^bb0(%[[I:.*]]: index, %[[S:.*]]: tensor<?x4xf32>, %[[K:.*]]: index, %[[ROWS:.*]]: index):
// CHECK:           nn.concat %[[S]]
func.func @main(%n: tensor<i64> {lathe.name = "n"}, %x: tensor<1x4xf32> {lathe.name = "x", lathe.dims = ["", ""]})
    -> (tensor<*xf32> {lathe.name = "y"}, tensor<*xi64> {lathe.name = "z"}) {
  %none = onnx.none
  %k = arith.constant dense<3> : tensor<i64>
  %r:3 = onnx.node "Loop"(%n, %none, %k, %x) version 17 {} outputs ["last", "y", "z"] subgraphs ["body"]
      : (tensor<i64>, none, tensor<i64>, tensor<1x4xf32>) -> (tensor<*xi64>, tensor<*xf32>, tensor<*xi64>) {
  ^bb0(%i: tensor<i64>, %go: tensor<i1>, %c: tensor<i64>, %s: tensor<*xf32>):
    %one = arith.constant dense<1> : tensor<i64>
    %next = onnx.node "Add"(%c, %one) version 17 {} outputs ["next"] : (tensor<i64>, tensor<i64>) -> tensor<*xi64>
    %more = onnx.node "Concat"(%s, %x) version 17 {axis = 0 : i64} outputs ["more"] : (tensor<*xf32>, tensor<1x4xf32>) -> tensor<*xf32>
    onnx.yield %go, %next, %more, %next : tensor<i1>, tensor<*xi64>, tensor<*xf32>, tensor<*xi64>
  }
  return %r#1, %r#2 : tensor<*xf32>, tensor<*xi64>
}

// -----

// What neither types nor symbols say of the operands is checked while the model runs.
// CHECK-LABEL: func.func @main
// CHECK-DAG:     %[[N:.*]] = nn.dim_symbol "N"
// CHECK-DAG:     %[[M:.*]] = nn.dim_symbol "M"
// CHECK-DAG:     %[[ONE:.*]] = arith.cmpi eq, %[[N]], %{{.*}}
// CHECK-DAG:     arith.select %[[ONE]], %[[M]], %[[N]]
// CHECK:         nn.check
// CHECK:         nn.binary add
func.func @main(%x: tensor<?xf32> {lathe.name = "x", lathe.dims = ["N"]}, %y: tensor<?xf32> {lathe.name = "y", lathe.dims = ["M"]})
    -> (tensor<*xf32> {lathe.name = "z"}) {
  %z = onnx.node "Add"(%x, %y) version 17 {} outputs ["z"] : (tensor<?xf32>, tensor<?xf32>) -> tensor<*xf32>
  return %z : tensor<*xf32>
}

// -----

// The branch that does not fit is none: the condition is checked, and the other branch stands here.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     nn.if
// CHECK:         %[[C:.*]] = nn.read_index %{{.*}}[0] : tensor<i1>
// CHECK:         nn.check
// CHECK-NEXT:    nn.unary neg
func.func @main(%c: tensor<i1> {lathe.name = "c"}, %x: tensor<2x4xf32> {lathe.name = "x"})
    -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "If"(%c) version 17 {} outputs ["y"] subgraphs ["then_branch", "else_branch"] : (tensor<i1>) -> tensor<*xf32> {
    %a = onnx.node "Concat"(%x, %x) version 17 {axis = 2 : i64} outputs ["a"] : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<*xf32>
    onnx.yield %a : tensor<*xf32>
  }, {
    %b = onnx.node "Neg"(%x) version 17 {} outputs ["b"] : (tensor<2x4xf32>) -> tensor<*xf32>
    onnx.yield %b : tensor<*xf32>
  }
  return %y : tensor<*xf32>
}

// -----

// A result that is a row or a matrix: the sum that reads it is in both branches.
// CHECK-LABEL: func.func @main
// CHECK:         nn.if %{{.*}} -> tensor<?x4xf32>, index {
// CHECK:           nn.binary add
// CHECK:         } else {
// CHECK:           nn.unary neg
// CHECK:           nn.binary add
// CHECK:         }
// CHECK-NOT:     nn.binary
func.func @main(%c: tensor<i1> {lathe.name = "c"}, %w: tensor<4xf32> {lathe.name = "w"},
                %x: tensor<?x4xf32> {lathe.name = "x", lathe.dims = ["N", ""]}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %r = onnx.node "If"(%c) version 17 {} outputs ["r"] subgraphs ["then_branch", "else_branch"] : (tensor<i1>) -> tensor<*xf32> {
    onnx.yield %w : tensor<4xf32>
  }, {
    %b = onnx.node "Neg"(%x) version 17 {} outputs ["b"] : (tensor<?x4xf32>) -> tensor<*xf32>
    onnx.yield %b : tensor<*xf32>
  }
  %y = onnx.node "Add"(%x, %r) version 17 {} outputs ["y"] : (tensor<?x4xf32>, tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
