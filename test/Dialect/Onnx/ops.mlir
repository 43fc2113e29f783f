// RUN: lathe-opt %s --split-input-file | lathe-opt --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @main
// CHECK-SAME: lathe.dims = ["B", ""], lathe.name = "x"
func.func @main(%x: tensor<?x384xf32> {lathe.name = "x", lathe.dims = ["B", ""]}, %c: tensor<i1>,
                %w: tensor<10x384xf32>) -> !onnx.unknown {
  // CHECK: %[[NONE:.*]] = onnx.none
  %none = onnx.none
  // CHECK: %[[Y:.*]] = onnx.node "Gemm"(%{{.*}}, %{{.*}}, %[[NONE]]) version 17 {transB = 1 : i64} outputs ["y"]
  // CHECK-SAME: : (tensor<?x384xf32>, tensor<10x384xf32>, none) -> tensor<?x10xf32>
  %y = onnx.node "Gemm"(%x, %w, %none) version 17 {transB = 1 : i64} outputs ["y"]
    : (tensor<?x384xf32>, tensor<10x384xf32>, none) -> tensor<?x10xf32>
  // CHECK: onnx.node "BiasGelu"(%[[Y]]) domain "com.microsoft" version 1 {}
  %b = onnx.node "BiasGelu"(%y) domain "com.microsoft" version 1 {} outputs ["b"]
    : (tensor<?x10xf32>) -> tensor<*xf32>
  // CHECK: onnx.node "If"(%{{.*}}) version 17 {} outputs ["z"] subgraphs ["then_branch", "else_branch"]
  // CHECK-NEXT: onnx.yield %[[Y]]
  %z = onnx.node "If"(%c) version 17 {} outputs ["z"] subgraphs ["then_branch", "else_branch"]
    : (tensor<i1>) -> !onnx.unknown {
    onnx.yield %y : tensor<?x10xf32>
  }, {
    onnx.yield %x : tensor<?x384xf32>
  }
  return %z : !onnx.unknown
}

// -----

// CHECK-LABEL: func.func @strings
func.func @strings() -> !onnx.seq<tensor<2x!onnx.string>> {
  // CHECK: onnx.constant dense<["cat", "dog"]> : tensor<2x!onnx.string>
  %s = onnx.constant dense<["cat", "dog"]> : tensor<2x!onnx.string> : tensor<2x!onnx.string>
  // CHECK: -> !onnx.seq<tensor<2x!onnx.string>>
  %q = onnx.node "SequenceConstruct"(%s) version 17 {} outputs ["q"]
    : (tensor<2x!onnx.string>) -> !onnx.seq<tensor<2x!onnx.string>>
  return %q : !onnx.seq<tensor<2x!onnx.string>>
}
