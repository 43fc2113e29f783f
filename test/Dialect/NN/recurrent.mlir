// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func @lstm
// CHECK:         nn.recurrent lstm %{{.*}}, %{{.*}} reverse([false])
// CHECK-SAME:      activations(["sigmoid", "tanh", "tanh"])
func.func @lstm(%p: tensor<?x?x1x512xf32>, %r: tensor<1x128x512xf32>) -> tensor<?x1x?x128xf32> {
  %y, %h, %c, %g = nn.recurrent lstm %p, %r reverse([false]) activations(["sigmoid", "tanh", "tanh"])
    alpha([0.0, 0.0, 0.0]) beta([0.0, 0.0, 0.0])
    : (tensor<?x?x1x512xf32>, tensor<1x128x512xf32>)
    -> (tensor<?x1x?x128xf32>, tensor<1x?x128xf32>, tensor<1x?x128xf32>, tensor<1x?x512xf32>)
  return %y : tensor<?x1x?x128xf32>
}

// CHECK-LABEL: func @gru_of_two_directions
// CHECK:         nn.recurrent gru %{{.*}}, %{{.*}} recurrent_bias(%{{.*}}) lengths(%{{.*}}) initial_h(%{{[a-z0-9]*}})
// CHECK-SAME:      clip(2.000000e+00) linear_before_reset
func.func @gru_of_two_directions(%p: tensor<?x?x2x24xf32>, %r: tensor<2x8x24xf32>, %b: tensor<2x8xf32>,
                                 %l: tensor<?xi32>, %h0: tensor<2x?x8xf32>) -> tensor<2x?x8xf32> {
  %y, %h, %c, %g = nn.recurrent gru %p, %r recurrent_bias(%b) lengths(%l) initial_h(%h0) reverse([false, true])
    activations(["sigmoid", "tanh", "sigmoid", "tanh"]) alpha([0.0, 0.0, 0.0, 0.0]) beta([0.0, 0.0, 0.0, 0.0])
    clip(2.0) linear_before_reset
    : (tensor<?x?x2x24xf32>, tensor<2x8x24xf32>, tensor<2x8xf32>, tensor<?xi32>, tensor<2x?x8xf32>)
    -> (tensor<?x2x?x8xf32>, tensor<2x?x8xf32>, tensor<2x?x8xf32>, tensor<2x?x24xf32>)
  return %h : tensor<2x?x8xf32>
}

// -----

func.func @gates_of_another_cell(%p: tensor<?x?x1x24xf32>, %r: tensor<1x8x24xf32>) {
  // expected-error@+1 {{expects products of shape [?, ?, 1, 32]}}
  %y, %h, %c, %g = nn.recurrent lstm %p, %r reverse([false]) activations(["sigmoid", "tanh", "tanh"])
    alpha([0.0, 0.0, 0.0]) beta([0.0, 0.0, 0.0])
    : (tensor<?x?x1x24xf32>, tensor<1x8x24xf32>)
    -> (tensor<?x1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x24xf32>)
  return
}

// -----

func.func @unknown_activation(%p: tensor<?x?x1x8xf32>, %r: tensor<1x8x8xf32>) {
  // expected-error@+1 {{expects activations of RNN, GRU or LSTM, but there is "sine"}}
  %y, %h, %c, %g = nn.recurrent rnn %p, %r reverse([false]) activations(["sine"]) alpha([0.0]) beta([0.0])
    : (tensor<?x?x1x8xf32>, tensor<1x8x8xf32>)
    -> (tensor<?x1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>)
  return
}

// -----

// CHECK-LABEL: func @weights_of_8_bits
// CHECK:         nn.recurrent lstm %{{.*}}, %{{.*}} weight_scales(%{{.*}}) weight_zeros(%{{.*}}) reverse([false])
func.func @weights_of_8_bits(%p: tensor<?x?x1x32xf32>, %r: tensor<1x8x32xui8>, %s: tensor<1x32xf32>,
                             %z: tensor<1x32xui8>) -> tensor<?x1x?x8xf32> {
  %y, %h, %c, %g = nn.recurrent lstm %p, %r weight_scales(%s) weight_zeros(%z) reverse([false])
    activations(["sigmoid", "tanh", "tanh"]) alpha([0.0, 0.0, 0.0]) beta([0.0, 0.0, 0.0])
    : (tensor<?x?x1x32xf32>, tensor<1x8x32xui8>, tensor<1x32xf32>, tensor<1x32xui8>)
    -> (tensor<?x1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x41xf32>)
  return %y : tensor<?x1x?x8xf32>
}

// -----

func.func @zero_points_without_scales(%p: tensor<?x?x1x32xf32>, %r: tensor<1x8x32xi8>, %z: tensor<1x32xi8>) {
  // expected-error@+1 {{expects weight_zeros only beside weight_scales}}
  %y, %h, %c, %g = nn.recurrent lstm %p, %r weight_zeros(%z) reverse([false])
    activations(["sigmoid", "tanh", "tanh"]) alpha([0.0, 0.0, 0.0]) beta([0.0, 0.0, 0.0])
    : (tensor<?x?x1x32xf32>, tensor<1x8x32xi8>, tensor<1x32xi8>)
    -> (tensor<?x1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x32xf32>)
  return
}

// -----

func.func @scales_of_floats(%p: tensor<?x?x1x32xf32>, %r: tensor<1x8x32xf32>, %s: tensor<1x32xf32>) {
  // expected-error@+1 {{expects weights of 8 bits beside weight_scales, but they are}}
  %y, %h, %c, %g = nn.recurrent lstm %p, %r weight_scales(%s) reverse([false])
    activations(["sigmoid", "tanh", "tanh"]) alpha([0.0, 0.0, 0.0]) beta([0.0, 0.0, 0.0])
    : (tensor<?x?x1x32xf32>, tensor<1x8x32xf32>, tensor<1x32xf32>)
    -> (tensor<?x1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x41xf32>)
  return
}
