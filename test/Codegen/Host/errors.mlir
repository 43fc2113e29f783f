// RUN: lathe-opt %s --split-input-file --verify-diagnostics --lower-host

// expected-error @+1 {{has no function @main}}
module {
  func.func @other() {
    return
  }
}

// -----

func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{result 0 is not computed by a kernel of its own}}
  return %x : tensor<4xf32>
}

// -----

// expected-error @+1 {{kernel @k is not emitted yet: it returns no fault}}
func.func private @k(%a: memref<?xi8>, %b: memref<?xi8>) attributes {kernel.root = "pointwise"} {
  return
}
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = kernel.launch @k(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func private @k(%a: memref<?xi8>, %b: memref<?xi8>, %begin: index, %end: index, %worker: index) -> i32
    attributes {kernel.root = "pointwise"} {
  %0 = arith.constant 0 : i32
  return %0 : i32
}
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = kernel.launch @k(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32>
  // expected-error @+1 {{result 1 is not computed by a kernel of its own}}
  return %0, %0 : tensor<4xf32>, tensor<4xf32>
}
