// RUN: lathe-opt %s --split-input-file --verify-diagnostics

func.func @reshape_number_of_elements(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects the number of elements of the result to equal that of x, 6, but it is 7}}
  %0 = nn.reshape %x to [7] : tensor<2x3xf32> -> tensor<7xf32>
  return
}

// -----

func.func @reshape_overflow(%x: tensor<?xf32>) {
  // expected-error@+1 {{expects shapes of less than 2^63 elements, but it reshapes 'tensor<?xf32>' to [281474976710655, 281474976710655]}}
  %0 = nn.reshape %x to [281474976710655, 281474976710655] : tensor<?xf32> -> tensor<281474976710655x281474976710655xf32>
  return
}

// -----

func.func @reshape_result(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects a result of shape [6], but it is 'tensor<3x2xf32>'}}
  %0 = nn.reshape %x to [6] : tensor<2x3xf32> -> tensor<3x2xf32>
  return
}

// -----

func.func @reshape_elements(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects the result to have the elements of x, 'f32', but they are 'i32'}}
  %0 = nn.reshape %x to [6] : tensor<2x3xf32> -> tensor<6xi32>
  return
}

// -----

func.func @reshape_negative_size(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects sizes that are not negative, but there is -1}}
  %0 = "nn.reshape"(%x) {static_dims = array<i64: -1>} : (tensor<2x3xf32>) -> tensor<?xf32>
  return
}

// -----

func.func @reshape_missing_size(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects one value per unknown number of sizes, 1, but there are 0}}
  %0 = "nn.reshape"(%x) {static_dims = array<i64: -9223372036854775808>} : (tensor<2x3xf32>) -> tensor<?xf32>
  return
}

// -----

func.func @expand_shape(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects x to broadcast to the given sizes, [2, 4], but it is 'tensor<2x3xf32>'}}
  %0 = nn.expand %x to [2, 4] : tensor<2x3xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @expand_to_lower_rank(%x: tensor<1x3xf32>) {
  // expected-error@+1 {{expects x to broadcast to the given sizes, [3], but it is 'tensor<1x3xf32>'}}
  %0 = nn.expand %x to [3] : tensor<1x3xf32> -> tensor<3xf32>
  return
}

// -----

func.func @expand_result(%x: tensor<1x3xf32>) {
  // expected-error@+1 {{expects a result of shape [2, 3], but it is 'tensor<1x3xf32>'}}
  %0 = nn.expand %x to [2, 3] : tensor<1x3xf32> -> tensor<1x3xf32>
  return
}

// -----

func.func @expand_missing_size(%x: tensor<1x3xf32>) {
  // expected-error@+1 {{expects one value per unknown number of sizes, 1, but there are 0}}
  %0 = "nn.expand"(%x) {static_dims = array<i64: 3, -9223372036854775808>} : (tensor<1x3xf32>) -> tensor<3x?xf32>
  return
}

// -----

func.func @transpose_no_permutation(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects a permutation of the 2 dimensions of x, but it is [0, 0]}}
  %0 = nn.transpose %x perm([0, 0]) : tensor<2x3xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @transpose_rank(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects a permutation of the 2 dimensions of x, but it is [0, 2, 1]}}
  %0 = nn.transpose %x perm([0, 2, 1]) : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @transpose_result(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects a result of shape [3, 2], but it is 'tensor<2x3xf32>'}}
  %0 = nn.transpose %x perm([1, 0]) : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @slice_offsets(%x: tensor<4x8xf32>) {
  // expected-error@+1 {{expects one offset, size and stride per dimension of x, 2, but there are 1, 2 and 2}}
  %0 = nn.slice %x offsets [0] sizes [2, 2] strides [1, 1] : tensor<4x8xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_strides(%x: tensor<4x8xf32>) {
  // expected-error@+1 {{expects one offset, size and stride per dimension of x, 2, but there are 2, 2 and 1}}
  %0 = nn.slice %x offsets [0, 0] sizes [2, 2] strides [1] : tensor<4x8xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_stride_0(%x: tensor<4x8xf32>) {
  // expected-error@+1 {{expects strides that are not zero, but that of dimension 1 is}}
  %0 = nn.slice %x offsets [0, 0] sizes [2, 2] strides [1, 0] : tensor<4x8xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_offset_outside(%x: tensor<4x8xf32>) {
  // expected-error@+1 {{expects elements within the 4 of dimension 0, but takes 2 from 4 with stride 1}}
  %0 = nn.slice %x offsets [4, 0] sizes [2, 2] strides [1, 1] : tensor<4x8xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_end_outside(%x: tensor<4x8xf32>) {
  // expected-error@+1 {{expects elements within the 4 of dimension 0, but takes 2 from 3 with stride 1}}
  %0 = nn.slice %x offsets [3, 0] sizes [2, 2] strides [1, 1] : tensor<4x8xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_strided_end_outside(%x: tensor<4x8xf32>) {
  // expected-error@+1 {{expects elements within the 8 of dimension 1, but takes 2 from 0 with stride 8}}
  %0 = nn.slice %x offsets [0, 0] sizes [2, 2] strides [1, 8] : tensor<4x8xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_backwards_outside(%x: tensor<4x8xf32>) {
  // expected-error@+1 {{expects elements within the 4 of dimension 0, but takes 2 from 0 with stride -1}}
  %0 = nn.slice %x offsets [0, 0] sizes [2, 2] strides [-1, 1] : tensor<4x8xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_result(%x: tensor<4x8xf32>) {
  // expected-error@+1 {{expects a result of shape [2, 2], but it is 'tensor<2x3xf32>'}}
  %0 = nn.slice %x offsets [0, 0] sizes [2, 2] strides [1, 1] : tensor<4x8xf32> -> tensor<2x3xf32>
  return
}

// -----

func.func @slice_negative_offset(%x: tensor<4xf32>) {
  // expected-error@+1 {{expects offsets that are not negative, but there is -1}}
  %0 = "nn.slice"(%x) <{operandSegmentSizes = array<i32: 1, 0, 0>, static_offsets = array<i64: -1>, static_sizes = array<i64: 1>, static_strides = array<i64: 1>}> : (tensor<4xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @slice_missing_offset(%x: tensor<4xf32>) {
  // expected-error@+1 {{expects one value per unknown number of offsets, 1, but there are 0}}
  %0 = "nn.slice"(%x) <{operandSegmentSizes = array<i32: 1, 0, 0>, static_offsets = array<i64: -9223372036854775808>, static_sizes = array<i64: 1>, static_strides = array<i64: 1>}> : (tensor<4xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @concat_of_nothing() {
  // expected-error@+1 {{expects at least one input}}
  %0 = "nn.concat"() {axis = 0 : i64} : () -> tensor<2xf32>
  return
}

// -----

func.func @concat_axis(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects an axis below the rank of x, 1, but it is 1}}
  %0 = nn.concat %x axis(1) : tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @concat_ranks(%x: tensor<2xf32>, %y: tensor<2x2xf32>) {
  // expected-error@+1 {{expects an input to have rank 1, but it is 'tensor<2x2xf32>'}}
  %0 = nn.concat %x, %y axis(0) : tensor<2xf32>, tensor<2x2xf32> -> tensor<4xf32>
  return
}

// -----

func.func @concat_types(%x: tensor<2xf32>, %y: tensor<2xf16>) {
  // expected-error@+1 {{expects an input to have the elements of the first, 'f32', but they are 'f16'}}
  %0 = nn.concat %x, %y axis(0) : tensor<2xf32>, tensor<2xf16> -> tensor<4xf32>
  return
}

// -----

func.func @concat_sizes(%x: tensor<2x3xf32>, %y: tensor<2x4xf32>) {
  // expected-error@+1 {{expects a size of an input to equal that of the first, 3, but it is 4}}
  %0 = nn.concat %x, %y axis(0) : tensor<2x3xf32>, tensor<2x4xf32> -> tensor<4x3xf32>
  return
}

// -----

func.func @concat_result(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects a result of shape [4], but it is 'tensor<5xf32>'}}
  %0 = nn.concat %x, %x axis(0) : tensor<2xf32>, tensor<2xf32> -> tensor<5xf32>
  return
}

// -----

func.func @gather_by_float(%x: tensor<2xf32>) {
  // expected-error@+1 {{expects indices to have i32 or i64 elements, but it is 'tensor<2xf32>'}}
  %0 = nn.gather %x, %x axis(0) : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @gather_axis(%x: tensor<2xf32>, %i: tensor<3xi64>) {
  // expected-error@+1 {{expects an axis below the rank of x, 1, but it is 1}}
  %0 = nn.gather %x, %i axis(1) : tensor<2xf32>, tensor<3xi64> -> tensor<3xf32>
  return
}

// -----

func.func @gather_result(%x: tensor<2x5xf32>, %i: tensor<3xi64>) {
  // expected-error@+1 {{expects a result of shape [3, 5], but it is 'tensor<2x3xf32>'}}
  %0 = nn.gather %x, %i axis(0) : tensor<2x5xf32>, tensor<3xi64> -> tensor<2x3xf32>
  return
}

// -----

func.func @gather_nd_batch_dims(%x: tensor<2xf32>, %i: tensor<3x1xi64>) {
  // expected-error@+1 {{expects batch_dims below the ranks of x and indices, 1 and 2, but it is 1}}
  %0 = nn.gather_nd %x, %i batch_dims(1) : tensor<2xf32>, tensor<3x1xi64> -> tensor<3xf32>
  return
}

// -----

func.func @gather_nd_tuple(%x: tensor<2xf32>, %i: tensor<3x2xi64>) {
  // expected-error@+1 {{expects tuples of 1 to 1 indices, but indices is 'tensor<3x2xi64>'}}
  %0 = nn.gather_nd %x, %i batch_dims(0) : tensor<2xf32>, tensor<3x2xi64> -> tensor<3xf32>
  return
}

// -----

func.func @gather_nd_unknown_tuple(%x: tensor<2xf32>, %i: tensor<3x?xi64>) {
  // expected-error@+1 {{expects tuples of 1 to 1 indices, but indices is 'tensor<3x?xi64>'}}
  %0 = nn.gather_nd %x, %i batch_dims(0) : tensor<2xf32>, tensor<3x?xi64> -> tensor<3xf32>
  return
}

// -----

func.func @gather_nd_batch_sizes(%x: tensor<2x4xf32>, %i: tensor<3x1xi64>) {
  // expected-error@+1 {{expects a batch size of indices to equal that of x, 2, but it is 3}}
  %0 = nn.gather_nd %x, %i batch_dims(1) : tensor<2x4xf32>, tensor<3x1xi64> -> tensor<3xf32>
  return
}

// -----

func.func @range_from_vector(%x: tensor<1xi64>, %s: tensor<i64>, %n: index) {
  // expected-error@+1 {{expects start to have rank 0, but it is 'tensor<1xi64>'}}
  %0 = nn.range %x, %s size %n : tensor<1xi64>, tensor<i64> -> tensor<?xi64>
  return
}

// -----

func.func @range_types(%x: tensor<i64>, %s: tensor<i32>, %n: index) {
  // expected-error@+1 {{expects step to have the elements of start, 'i64', but they are 'i32'}}
  %0 = nn.range %x, %s size %n : tensor<i64>, tensor<i32> -> tensor<?xi64>
  return
}

// -----

func.func @from_scalars_to_float(%n: index) {
  // expected-error@+1 {{expects a result of integer elements, but it is 'tensor<1xf32>'}}
  %0 = nn.from_scalars %n : tensor<1xf32>
  return
}

// -----

func.func @from_scalars_count(%n: index) {
  // expected-error@+1 {{expects a result of rank 0 or 1 with 1 elements, but it is 'tensor<2xi64>'}}
  %0 = nn.from_scalars %n : tensor<2xi64>
  return
}

// -----

func.func @from_scalars_rank(%n: index) {
  // expected-error@+1 {{expects a result of rank 0 or 1 with 1 elements, but it is 'tensor<1x1xi64>'}}
  %0 = nn.from_scalars %n : tensor<1x1xi64>
  return
}
