// RUN: lathe-opt %s --split-input-file --verify-diagnostics

func.func @names(%x: tensor<2xf32>) {
  // expected-error @+1 {{expects one name per result, 1, but there are 2}}
  %y = onnx.node "Relu"(%x) version 17 {} outputs ["y", "z"] : (tensor<2xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @subgraphs(%x: tensor<i1>) {
  // expected-error @+1 {{expects one name per subgraph, 1, but there are 2}}
  onnx.node "If"(%x) version 17 {} outputs [] subgraphs ["a", "b"] : (tensor<i1>) -> () {
    onnx.yield
  }
  return
}
