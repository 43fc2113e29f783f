// RUN: lathe-opt %s --convert-nn-to-linalg --verify-diagnostics

func.func @composite(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @+1 {{has no linalg form; composite ops are decomposed first}}
  %y = nn.softmax %x axis(1) : tensor<4x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
