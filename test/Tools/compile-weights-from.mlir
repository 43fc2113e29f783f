// A weight that the text names but does not hold.
// RUN: not lathe compile --from=nn %s -o %t.so 2>&1 | FileCheck %s
// CHECK: error[E0403]: weight @w has no data
// CHECK: help: text holds no large weights; --weights-from MODEL.onnx
// Everything but the artifact can do without.
// RUN: lathe compile --from=nn --to=llvm %s --quiet | FileCheck %s --check-prefix=LLVM
// LLVM: llvm.func

nn.weight private @w : tensor<64x8xf32> = dense_resource<w>
func.func @main(%x: tensor<2x64xf32> {nn.name = "x"}) -> (tensor<2x8xf32> {nn.name = "y"}) {
  %w = nn.weight_use @w : tensor<64x8xf32>
  %y = nn.matmul %x, %w : tensor<2x64xf32>, tensor<64x8xf32> -> tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}
