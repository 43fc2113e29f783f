// RUN: lathe-opt %s --split-input-file --convert-onnx-to-nn | FileCheck %s

// A list of zero points is one for each row on the left, and for each column on the right.
// CHECK-LABEL: func.func @main
// CHECK-DAG:     %[[R:.*]] = nn.reshape %{{.*}} to [4, 1] : tensor<4xui8>
// CHECK-NOT:     to [2, 1]
// CHECK:         nn.integer_matmul %{{.*}}, %{{.*}} lhs_zero(%[[R]] : tensor<4x1xui8>) rhs_zero(%{{.*}} : tensor<2xi8>) : tensor<4x3xui8>, tensor<3x2xi8> -> tensor<4x2xi32>
func.func @main(%a: tensor<4x3xui8> {lathe.name = "a"}, %b: tensor<3x2xi8> {lathe.name = "b"}, %az: tensor<4xui8> {lathe.name = "az"}, %bz: tensor<2xi8> {lathe.name = "bz"}) -> (tensor<*xi32> {lathe.name = "y"}) {
  %y = onnx.node "MatMulInteger"(%a, %b, %az, %bz) version 10 {} outputs ["y"] : (tensor<4x3xui8>, tensor<3x2xi8>, tensor<4xui8>, tensor<2xi8>) -> tensor<*xi32>
  return %y : tensor<*xi32>
}
