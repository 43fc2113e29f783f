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

// -----

func.func @subgraph_without_yield(%c: tensor<i1>) {
  // expected-error @+1 {{expects subgraphs to end with onnx.yield}}
  %y = onnx.node "If"(%c) version 17 {} outputs ["y"] subgraphs ["then_branch"] : (tensor<i1>) -> tensor<i1> {
    func.return
  }
  return
}
