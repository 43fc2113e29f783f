// RUN: lathe-opt %s --canonicalize | FileCheck %s

// CHECK-LABEL: func @known_condition
// CHECK-SAME:    %[[A:.*]]: tensor<4xf32>, %[[B:.*]]: tensor<?xf32>, %[[N:.*]]: index
// CHECK-NOT:     nn.if
// CHECK:         %[[Y:.*]] = nn.reshape %[[A]] to [4] : tensor<4xf32> -> tensor<?xf32>
// CHECK:         return %[[Y]]
func.func @known_condition(%a: tensor<4xf32>, %b: tensor<?xf32>, %n: index) -> (tensor<?xf32>, index) {
  %true = arith.constant true
  %four = arith.constant 4 : index
  %y, %k = nn.if %true sizes() shapes [array<i64: -1>] -> tensor<?xf32>, index {
    nn.yield %a, %four : tensor<4xf32>, index
  } else {
    nn.yield %b, %n : tensor<?xf32>, index
  }
  return %y, %k : tensor<?xf32>, index
}
