// RUN: lathe-opt %s --split-input-file --verify-diagnostics

func.func @signed_elements(%x: tensor<2xsi8>) {
  // expected-error@+1 {{expects bool, signless or unsigned integer or float elements, but there is 'tensor<2xsi8>'}}
  %0 = nn.cast %x : tensor<2xsi8> -> tensor<2xf32>
  return
}

// -----

func.func @tensor_with_encoding(%x: tensor<2xf32, 0 : i32>) {
  // expected-error@+1 {{expects tensors without an encoding}}
  %0 = nn.cast %x : tensor<2xf32, 0 : i32> -> tensor<2xf32>
  return
}

// -----

func.func @dimension_too_large(%x: tensor<281474976710656xf32>) {
  // expected-error@+1 {{expects sizes up to 281474976710655, but there is 'tensor<281474976710656xf32>'}}
  %0 = nn.unary abs %x : tensor<281474976710656xf32> -> tensor<?xf32>
  return
}

// -----

func.func @sqrt_of_integers(%x: tensor<2xi32>) {
  // expected-error@+1 {{expects x to have float elements, but it is 'tensor<2xi32>'}}
  %0 = nn.unary sqrt %x : tensor<2xi32> -> tensor<2xi32>
  return
}

// -----

func.func @not_of_integers(%x: tensor<2xi32>) {
  // expected-error@+1 {{expects x to have bool elements, but it is 'tensor<2xi32>'}}
  %0 = nn.unary not %x : tensor<2xi32> -> tensor<2xi32>
  return
}

// -----

func.func @abs_of_bools(%x: tensor<2xi1>) {
  // expected-error@+1 {{expects x to have float or integer elements, but it is 'tensor<2xi1>'}}
  %0 = nn.unary abs %x : tensor<2xi1> -> tensor<2xi1>
  return
}

// -----

func.func @neg_of_unsigned(%x: tensor<2xui8>) {
  // expected-error@+1 {{expects neg of signed elements, but x is 'tensor<2xui8>'}}
  %0 = nn.unary neg %x : tensor<2xui8> -> tensor<2xui8>
  return
}

// -----

func.func @is_nan_to_float(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects the result to have bool elements, but it is 'tensor<2xf32>'}}
  %0 = nn.unary is_nan %x : tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @unary_changes_elements(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects the result to have the elements of x, 'f32', but they are 'f16'}}
  %0 = nn.unary exp %x : tensor<2xf32> -> tensor<2xf16>
  return
}

// -----

func.func @unary_changes_shape(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects a result of shape [2], but it is 'tensor<3xf32>'}}
  %0 = nn.unary exp %x : tensor<2xf32> -> tensor<3xf32>
  return
}

// -----

func.func @hard_sigmoid_without_beta(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects both alpha and beta with hard_sigmoid}}
  %0 = nn.unary hard_sigmoid %x alpha(0.2) : tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @exp_with_alpha(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects neither alpha nor beta with exp}}
  %0 = nn.unary exp %x alpha(0.2) : tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @add_of_bools(%x: tensor<2xi1>) {
  // expected-error@+1 {{expects lhs to have float or integer elements, but it is 'tensor<2xi1>'}}
  %0 = nn.binary add %x, %x : tensor<2xi1>, tensor<2xi1> -> tensor<2xi1>
  return
}

// -----

func.func @and_of_floats(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects lhs to have integer or bool elements, but it is 'tensor<2xf32>'}}
  %0 = nn.binary and %x, %x : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @binary_of_two_types(%x: tensor<2xf32>, %y: tensor<2xf16>) {
  // expected-error@+1 {{expects rhs to have the elements of lhs, 'f32', but they are 'f16'}}
  %0 = nn.binary add %x, %y : tensor<2xf32>, tensor<2xf16> -> tensor<2xf32>
  return
}

// -----

func.func @binary_result_type(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects the result to have the elements of lhs, 'f32', but they are 'f16'}}
  %0 = nn.binary add %x, %x : tensor<2xf32>, tensor<2xf32> -> tensor<2xf16>
  return
}

// -----

func.func @no_broadcast(%x: tensor<2xf32>, %y: tensor<3xf32>) {
  // expected-error@+1 {{expects operands of compatible shapes, but they are 'tensor<2xf32>', 'tensor<3xf32>'}}
  %0 = nn.binary add %x, %y : tensor<2xf32>, tensor<3xf32> -> tensor<3xf32>
  return
}

// -----

func.func @broadcast_result_shape(%x: tensor<2x1xf32>, %y: tensor<3xf32>) {
  // expected-error@+1 {{expects a result of shape [2, 3], but it is 'tensor<3x2xf32>'}}
  %0 = nn.binary add %x, %y : tensor<2x1xf32>, tensor<3xf32> -> tensor<3x2xf32>
  return
}

// -----

func.func @compare_to_i8(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects the result to have bool elements, but it is 'tensor<2xi8>'}}
  %0 = nn.compare lt %x, %x : tensor<2xf32>, tensor<2xf32> -> tensor<2xi8>
  return
}

// -----

func.func @order_of_bools(%x: tensor<2xi1>) {
  // expected-error@+1 {{expects lhs to have float or integer elements, but it is 'tensor<2xi1>'}}
  %0 = nn.compare lt %x, %x : tensor<2xi1>, tensor<2xi1> -> tensor<2xi1>
  return
}

// -----

func.func @select_by_integer(%c: tensor<2xi8>, %x: tensor<2xf32>) {
  // expected-error@+1 {{expects the condition to have bool elements, but it is 'tensor<2xi8>'}}
  %0 = nn.select %c, %x, %x : tensor<2xi8>, tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @select_of_two_types(%c: tensor<2xi1>, %x: tensor<2xf32>, %y: tensor<2xi32>) {
  // expected-error@+1 {{expects rhs to have the elements of lhs, 'f32', but they are 'i32'}}
  %0 = nn.select %c, %x, %y : tensor<2xi1>, tensor<2xf32>, tensor<2xi32> -> tensor<2xf32>
  return
}

// -----

func.func @cast_changes_shape(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects a result of shape [2], but it is 'tensor<2x1xi32>'}}
  %0 = nn.cast %x : tensor<2xf32> -> tensor<2x1xi32>
  return
}

// -----

func.func @reduce_axis_too_large(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects an axis below the rank of x, 1, but it is 1}}
  %0 = nn.reduce sum %x axes([1]) keep_dims(true) : tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @reduce_negative_axis(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects an axis below the rank of x, 1, but it is -1}}
  %0 = nn.reduce sum %x axes([-1]) keep_dims(true) : tensor<2xf32> -> tensor<1xf32>
  return
}

// -----

func.func @reduce_axes_unsorted(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects axes in ascending order, but there is 0 after 1}}
  %0 = nn.reduce sum %x axes([1, 0]) keep_dims(false) : tensor<2x3xf32> -> tensor<f32>
  return
}

// -----

func.func @reduce_axes_twice(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects axes in ascending order, but there is 1 after 1}}
  %0 = nn.reduce sum %x axes([1, 1]) keep_dims(false) : tensor<2x3xf32> -> tensor<2xf32>
  return
}

// -----

func.func @reduce_keeps_dims(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects a result of shape [2, 1], but it is 'tensor<2xf32>'}}
  %0 = nn.reduce sum %x axes([1]) keep_dims(true) : tensor<2x3xf32> -> tensor<2xf32>
  return
}

// -----

func.func @all_of_floats(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects x to have bool elements, but it is 'tensor<2xf32>'}}
  %0 = nn.reduce all %x axes([0]) keep_dims(false) : tensor<2xf32> -> tensor<f32>
  return
}

// -----

func.func @sum_of_bools(%x: tensor<2xi1>) {
  // expected-error@+1 {{expects x to have float or integer elements, but it is 'tensor<2xi1>'}}
  %0 = nn.reduce sum %x axes([0]) keep_dims(false) : tensor<2xi1> -> tensor<i1>
  return
}

// -----

func.func @arg_reduce_to_i32(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects a result of i64 elements, but it is 'tensor<i32>'}}
  %0 = nn.arg_reduce max %x axis(0) keep_dims(false) select_last(false) : tensor<2xf32> -> tensor<i32>
  return
}

// -----

func.func @arg_reduce_axis(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects an axis below the rank of x, 1, but it is 2}}
  %0 = nn.arg_reduce max %x axis(2) keep_dims(false) select_last(false) : tensor<2xf32> -> tensor<i64>
  return
}

// -----

func.func @softmax_of_integers(%x: tensor<2xi32>) {
  // expected-error@+1 {{expects x to have float elements, but it is 'tensor<2xi32>'}}
  %0 = nn.softmax %x axis(0) : tensor<2xi32> -> tensor<2xi32>
  return
}

// -----

func.func @softmax_axis(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects an axis below the rank of x, 1, but it is 1}}
  %0 = nn.softmax %x axis(1) : tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @norm_of_integers(%x: tensor<2xi32>) {
  // expected-error@+1 {{expects x to have float elements, but it is 'tensor<2xi32>'}}
  %0 = nn.rms_norm %x, %x axis(0) epsilon(1.0) : tensor<2xi32>, tensor<2xi32> -> tensor<2xi32>
  return
}

// -----

func.func @norm_axis(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects an axis below the rank of x, 1, but it is 1}}
  %0 = nn.rms_norm %x, %x axis(1) epsilon(1.0) : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @norm_scale_size(%x: tensor<2x64xf32>, %s: tensor<32xf32>) {
  // expected-error@+1 {{expects scale to broadcast to the normalized dimensions of x, [64], but it is 'tensor<32xf32>'}}
  %0 = nn.rms_norm %x, %s axis(1) epsilon(1.0) : tensor<2x64xf32>, tensor<32xf32> -> tensor<2x64xf32>
  return
}

// -----

func.func @norm_scale_type(%x: tensor<2x64xf32>, %s: tensor<64xf16>) {
  // expected-error@+1 {{expects scale to have the elements of x, 'f32', but they are 'f16'}}
  %0 = nn.rms_norm %x, %s axis(1) epsilon(1.0) : tensor<2x64xf32>, tensor<64xf16> -> tensor<2x64xf32>
  return
}

// -----

func.func @norm_bias_rank(%x: tensor<2x64xf32>, %s: tensor<64xf32>) {
  // expected-error@+1 {{expects bias to broadcast to the normalized dimensions of x, [64], but it is 'tensor<2x64xf32>'}}
  %0 = nn.layer_norm %x, %s, %x axis(1) epsilon(1.0) : tensor<2x64xf32>, tensor<64xf32>, tensor<2x64xf32> -> tensor<2x64xf32>
  return
}
