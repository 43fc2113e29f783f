// RUN: lathe-opt %s --split-input-file --verify-diagnostics | lathe-opt --split-input-file | FileCheck %s

// CHECK-LABEL: func @split
// CHECK:         nn.service "text.split"(%{{.*}}) with "2 ," to [%{{.*}}, 3] : (tensor<?xi64>) -> tensor<?x3xi64>
func.func @split(%x: tensor<?xi64>, %n: index) -> tensor<?x3xi64> {
  %y = nn.service "text.split"(%x) with "2 ," to [%n, 3] : (tensor<?xi64>) -> tensor<?x3xi64>
  return %y : tensor<?x3xi64>
}

// -----

func.func @no_such_component(%x: tensor<4xi64>) {
  // expected-error @+1 {{expects the name to begin with that of a component and a dot, but it is "sound.play"}}
  %y = nn.service "sound.play"(%x) with "" to [4] : (tensor<4xi64>) -> tensor<4xi64>
  return
}

// -----

func.func @component_alone(%x: tensor<4xi64>) {
  // expected-error @+1 {{expects the name to begin with that of a component and a dot, but it is "text"}}
  %y = nn.service "text"(%x) with "" to [4] : (tensor<4xi64>) -> tensor<4xi64>
  return
}

// -----

func.func @no_operand() {
  // expected-error @+1 {{expects 1 to 16 operands, but there are 0}}
  %y = "nn.service"() <{name = "text.lower", argument = "", static_dims = array<i64: 4>,
      operandSegmentSizes = array<i32: 0, 0>}> : () -> tensor<4xi64>
  return
}

// -----

func.func @other_shape(%x: tensor<4xi64>) {
  // expected-error @+1 {{[5]}}
  %y = nn.service "text.lower"(%x) with "" to [5] : (tensor<4xi64>) -> tensor<4xi64>
  return
}
