// RUN: lathe-opt %s --split-input-file --pack-migrate-scales --verify-diagnostics | FileCheck %s

// The rows of the weight take over what the channels lose, once for both products.
// CHECK:       nn.weight private @w : tensor<2x3xf32>
// CHECK:       nn.weight private @w_migrated : tensor<2x3xf32> computed {
// CHECK-NEXT:    %[[W:.*]] = nn.weight_use @w
// CHECK-NEXT:    %[[S:.*]] = arith.constant dense<{{\[}}[2.000000e+00], [2.500000e-01]]> : tensor<2x1xf32>
// CHECK-NEXT:    nn.binary mul %[[W]], %[[S]]
// CHECK-LABEL: func @product
// CHECK-SAME:    (%[[X:.*]]: tensor<?x2xf32>
// CHECK:         %[[I:.*]] = arith.constant dense<[5.000000e-01, 4.000000e+00]> : tensor<2xf32>
// CHECK:         %[[D:.*]] = nn.binary mul %[[X]], %[[I]]
// CHECK:         %[[M:.*]] = nn.weight_use @w_migrated
// CHECK:         nn.matmul %[[D]], %[[M]] {pack.format = #pack.int8<static>, pack.range = array<f32: -1.000000e+00, 1.000000e+00>}
// CHECK-NOT:     nn.binary
// CHECK:         nn.matmul %[[D]], %{{.*}} : tensor
nn.weight private @w : tensor<2x3xf32> = dense<1.0> {onnx_name = "w"}
func.func @product(%x: tensor<?x2xf32>) -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x2xf32>) {
  %w = nn.weight_use @w : tensor<2x3xf32>
  // expected-remark@+1 {{[pack-migrate-scales] scales of its channels are in its weight}}
  %0 = nn.matmul %x, %w {pack.format = #pack.int8<static>, pack.range = array<f32: -1.0, 1.0>, pack.migrate = array<f32: 2.0, 0.25>} : tensor<?x2xf32>, tensor<2x3xf32> -> tensor<?x3xf32>
  %v = nn.weight_use @w : tensor<2x3xf32>
  // expected-remark@+1 {{scales of its channels are in its weight}}
  %1 = nn.matmul %x, %v {pack.migrate = array<f32: 2.0, 0.25>} : tensor<?x2xf32>, tensor<2x3xf32> -> tensor<?x3xf32>
  return %0, %1, %x : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x2xf32>
}

// -----

// A norm that nothing else reads divides; sums of products are of what it then makes.
// CHECK-DAG:   nn.weight private @scale_divided : tensor<2xf32> computed
// CHECK-DAG:   nn.weight private @g_rows : tensor<2x2xf32> computed
// CHECK-DAG:   nn.weight private @g_rows_columns : tensor<2x2xf32> computed
// CHECK-LABEL: func @norm
// CHECK-SAME:    (%[[X:.*]]: tensor<?x2xf32>
// CHECK-DAG:     %[[S:.*]] = nn.weight_use @scale_divided
// CHECK-DAG:     %[[B:.*]] = arith.constant dense<[5.000000e-01, 1.200000e+01]> : tensor<2xf32>
// CHECK:         %[[N:.*]] = nn.layer_norm %[[X]], %[[S]], %[[B]]
// CHECK:         nn.matmul %[[N]], %{{.*}} {pack.gram = @g_rows_columns}
nn.weight private @w : tensor<2x3xf32> = dense<1.0>
nn.weight private @g : tensor<2x2xf32> = dense<1.0>
nn.weight private @scale : tensor<2xf32> = dense<1.0>
func.func @norm(%x: tensor<?x2xf32>) -> tensor<?x3xf32> {
  %s = nn.weight_use @scale : tensor<2xf32>
  %b = arith.constant dense<[1.0, 3.0]> : tensor<2xf32>
  // expected-remark@+1 {{[pack-migrate-scales] divides its channels for the products that read it}}
  %n = nn.layer_norm %x, %s, %b axis(1) epsilon(1.0e-5) : tensor<?x2xf32>, tensor<2xf32>, tensor<2xf32> -> tensor<?x2xf32>
  %w = nn.weight_use @w : tensor<2x3xf32>
  // expected-remark@+1 {{scales of its channels are in its weight}}
  %0 = nn.matmul %n, %w {pack.migrate = array<f32: 2.0, 0.25>, pack.gram = @g} : tensor<?x2xf32>, tensor<2x3xf32> -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// -----

// One whose result is added, too, stays.
// CHECK-LABEL: func @residual
// CHECK:         %[[N:.*]] = nn.rms_norm %{{.*}}, %{{.*}} axis(1)
// CHECK:         %[[D:.*]] = nn.binary mul %[[N]], %{{.*}}
// CHECK:         %[[M:.*]] = nn.matmul %[[D]]
// CHECK:         nn.binary add %[[M]], %[[N]]
nn.weight private @w : tensor<2x2xf32> = dense<1.0>
nn.weight private @scale : tensor<2xf32> = dense<1.0>
func.func @residual(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %s = nn.weight_use @scale : tensor<2xf32>
  %n = nn.rms_norm %x, %s axis(1) epsilon(1.0e-5) : tensor<?x2xf32>, tensor<2xf32> -> tensor<?x2xf32>
  %w = nn.weight_use @w : tensor<2x2xf32>
  // expected-remark@+1 {{scales of its channels are in its weight}}
  %0 = nn.matmul %n, %w {pack.migrate = array<f32: 2.0, 0.25>} : tensor<?x2xf32>, tensor<2x2xf32> -> tensor<?x2xf32>
  %1 = nn.binary add %0, %n : tensor<?x2xf32>, tensor<?x2xf32> -> tensor<?x2xf32>
  return %1 : tensor<?x2xf32>
}

// -----

// CHECK-LABEL: func @refused
// CHECK-NOT:     pack.migrate
// CHECK-NOT:     nn.binary
nn.weight private @w : tensor<2x3xf32> = dense<1.0>
func.func @refused(%x: tensor<?x2xf32>, %y: tensor<2x3xf32>) -> (tensor<?x3xf32>, tensor<?x3xf32>) {
  %w = nn.weight_use @w : tensor<2x3xf32>
  // expected-remark@+1 {{[pack-migrate-scales] missed: its scales stay: it has 2 channels, there are factors for 3}}
  %0 = nn.matmul %x, %w {pack.migrate = array<f32: 2.0, 0.25, 1.0>} : tensor<?x2xf32>, tensor<2x3xf32> -> tensor<?x3xf32>
  // expected-remark@+1 {{missed: its scales stay: it is no product with a weight}}
  %1 = nn.matmul %x, %y {pack.migrate = array<f32: 2.0, 0.25>} : tensor<?x2xf32>, tensor<2x3xf32> -> tensor<?x3xf32>
  return %0, %1 : tensor<?x3xf32>, tensor<?x3xf32>
}
