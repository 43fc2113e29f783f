// RUN: lathe-opt %s --split-input-file '--convert-onnx-to-nn=shape=x=1x128' | FileCheck %s --check-prefix=INPUT
// RUN: lathe-opt %s '--convert-onnx-to-nn=shape=S=16' | FileCheck %s --check-prefix=SYMBOL
// RUN: lathe-opt %s '--convert-onnx-to-nn=shape=S=1..512' | FileCheck %s --check-prefix=BOUNDS
// RUN: not lathe-opt %s '--convert-onnx-to-nn=shape=T=1..512' 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not lathe-opt %s '--convert-onnx-to-nn=shape=x=1x2x3' 2>&1 | FileCheck %s --check-prefix=RANK
// RUN: not lathe-opt %s '--convert-onnx-to-nn=shape=x=1x128,S=12' 2>&1 | FileCheck %s --check-prefix=CONTRADICTION

// An input that shares a symbol gets the same size.
// INPUT: @main(%{{.*}}: tensor<1x128xf32> {nn.dims = ["", ""], nn.name = "x"}, %{{.*}}: tensor<128xf32>
// INPUT: -> (tensor<1x128xf32> {nn.name = "y"})
// SYMBOL: @main(%{{.*}}: tensor<?x16xf32> {nn.dims = ["B", ""], nn.name = "x"}, %{{.*}}: tensor<16xf32>
// BOUNDS: nn.dim_symbol "S" min 1 max 512
// UNKNOWN: [E0004] option "T=1..512" names "T", which is no input and no symbolic dimension of the model
// RANK: [E0004] option "x=1x2x3" has 3 dimensions, but input "x" has 2
// CONTRADICTION: [E0004] option "S=12" contradicts another one for symbol "S"
func.func @main(%x: tensor<?x?xf32> {lathe.name = "x", lathe.dims = ["B", "S"]},
                %z: tensor<?xf32> {lathe.name = "z", lathe.dims = ["S"]}) -> (tensor<*xf32> {lathe.name = "y"}) {
  %y = onnx.node "Add"(%x, %z) version 17 {} outputs ["y"] : (tensor<?x?xf32>, tensor<?xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
