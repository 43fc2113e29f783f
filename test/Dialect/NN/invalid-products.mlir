// RUN: lathe-opt %s --split-input-file --verify-diagnostics

func.func @matmul_of_vector(%x: tensor<4xf32>, %y: tensor<4x2xf32>) {
  // expected-error@+1 {{expects operands of rank 2 or more, but there is 'tensor<4xf32>'}}
  %0 = nn.matmul %x, %y : tensor<4xf32>, tensor<4x2xf32> -> tensor<2xf32>
  return
}

// -----

func.func @matmul_of_bools(%x: tensor<4x4xi1>) {
  // expected-error@+1 {{expects lhs to have float or integer elements, but it is 'tensor<4x4xi1>'}}
  %0 = nn.matmul %x, %x : tensor<4x4xi1>, tensor<4x4xi1> -> tensor<4x4xi1>
  return
}

// -----

func.func @matmul_of_two_types(%x: tensor<4x4xf32>, %y: tensor<4x4xf16>) {
  // expected-error@+1 {{expects rhs to have the elements of lhs, 'f32', but they are 'f16'}}
  %0 = nn.matmul %x, %y : tensor<4x4xf32>, tensor<4x4xf16> -> tensor<4x4xf32>
  return
}

// -----

func.func @matmul_inner_sizes(%x: tensor<2x3xf32>, %y: tensor<4x2xf32>) {
  // expected-error@+1 {{expects the last size of lhs to equal the second to last of rhs, 4, but it is 3}}
  %0 = nn.matmul %x, %y : tensor<2x3xf32>, tensor<4x2xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @matmul_batches(%x: tensor<2x3x3xf32>, %y: tensor<5x3x3xf32>) {
  // expected-error@+1 {{expects operands of compatible shapes}}
  %0 = nn.matmul %x, %y : tensor<2x3x3xf32>, tensor<5x3x3xf32> -> tensor<5x3x3xf32>
  return
}

// -----

func.func @matmul_result(%x: tensor<2x3xf32>, %y: tensor<3x4xf32>) {
  // expected-error@+1 {{expects a result of shape [2, 4], but it is 'tensor<4x2xf32>'}}
  %0 = nn.matmul %x, %y : tensor<2x3xf32>, tensor<3x4xf32> -> tensor<4x2xf32>
  return
}

// -----

func.func @conv_rank_2(%x: tensor<1x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects x to have rank 3 or more, but it is 'tensor<1x4xf32>'}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(1) : tensor<1x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_filter_rank(%x: tensor<1x8x4xf32>, %f: tensor<3x3x4x6xf32>) {
  // expected-error@+1 {{expects filter to have rank 3, but it is 'tensor<3x3x4x6xf32>'}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(1) : tensor<1x8x4xf32>, tensor<3x3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_two_strides(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects 1 strides, but there are 2}}
  %0 = nn.conv %x, %f strides([1, 1]) pads([0, 0]) dilations([1]) groups(1) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_stride_0(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects strides from 1 to 281474976710655, but there is 0}}
  %0 = nn.conv %x, %f strides([0]) pads([0, 0]) dilations([1]) groups(1) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_no_dilation(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects 1 dilations, but there are 0}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([]) groups(1) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_one_pad(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects 2 pads, but there are 1}}
  %0 = nn.conv %x, %f strides([1]) pads([1]) dilations([1]) groups(1) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_negative_pad(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects pads from 0 to 281474976710655, but there is -1}}
  %0 = nn.conv %x, %f strides([1]) pads([0, -1]) dilations([1]) groups(1) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_no_groups(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects groups from 1 to 281474976710655, but there are 0}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(0) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_filters_in_groups(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects the number of filters to be a multiple of the groups, 4, but it is 6}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(4) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_channels_in_groups(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects the channels of x to be a multiple of the groups, 3, but they are 4}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(3) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_channels(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects the channels of filter to equal those of x in each group, 2, but it is 4}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(2) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_window_too_large(%x: tensor<1x8x4xf32>, %f: tensor<10x4x6xf32>) {
  // expected-error@+1 {{expects operands of compatible shapes}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(1) : tensor<1x8x4xf32>, tensor<10x4x6xf32> -> tensor<1x6x6xf32>
  return
}

// -----

func.func @conv_result(%x: tensor<1x8x4xf32>, %f: tensor<3x4x6xf32>) {
  // expected-error@+1 {{expects a result of shape [1, 6, 6], but it is 'tensor<1x8x6xf32>'}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(1) : tensor<1x8x4xf32>, tensor<3x4x6xf32> -> tensor<1x8x6xf32>
  return
}

// -----

func.func @attention_rank(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x128xf32>, %v: tensor<1x7x4x16xf32>) {
  // expected-error@+1 {{expects k to have rank 4, but it is 'tensor<1x7x128xf32>'}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x128xf32>, tensor<1x7x4x16xf32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_type(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x4x32xf32>, %v: tensor<1x7x4x16xf16>) {
  // expected-error@+1 {{expects v to have the elements of q, 'f32', but they are 'f16'}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x4x32xf32>, tensor<1x7x4x16xf16> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_batch_of_k(%q: tensor<1x5x12x32xf32>, %k: tensor<2x7x4x32xf32>, %v: tensor<1x7x4x16xf32>) {
  // expected-error@+1 {{expects the batch size of k to equal that of q, 1, but it is 2}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<2x7x4x32xf32>, tensor<1x7x4x16xf32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_batch_of_v(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x4x32xf32>, %v: tensor<2x7x4x16xf32>) {
  // expected-error@+1 {{expects the batch size of v to equal that of q, 1, but it is 2}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x4x32xf32>, tensor<2x7x4x16xf32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_length(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x4x32xf32>, %v: tensor<1x8x4x16xf32>) {
  // expected-error@+1 {{expects the sequence length of v to equal that of k, 7, but it is 8}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x4x32xf32>, tensor<1x8x4x16xf32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_heads_of_v(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x4x32xf32>, %v: tensor<1x7x2x16xf32>) {
  // expected-error@+1 {{expects the number of heads of v to equal that of k, 4, but it is 2}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x4x32xf32>, tensor<1x7x2x16xf32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_head_size(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x4x16xf32>, %v: tensor<1x7x4x16xf32>) {
  // expected-error@+1 {{expects the head size of k to equal that of q, 32, but it is 16}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x4x16xf32>, tensor<1x7x4x16xf32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_heads(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x5x32xf32>, %v: tensor<1x7x5x16xf32>) {
  // expected-error@+1 {{expects the heads of q to be a multiple of those of k, 5, but there are 12}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x5x32xf32>, tensor<1x7x5x16xf32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_mask_type(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x4x32xf32>, %v: tensor<1x7x4x16xf32>, %m: tensor<5x7xi32>) {
  // expected-error@+1 {{expects the mask to have the elements of q, 'f32', but they are 'i32'}}
  %0 = nn.attention %q, %k, %v mask(%m) scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x4x32xf32>, tensor<1x7x4x16xf32>, tensor<5x7xi32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_mask_shape(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x4x32xf32>, %v: tensor<1x7x4x16xf32>, %m: tensor<7x5xf32>) {
  // expected-error@+1 {{expects the mask to broadcast to the logits, [1, 12, 5, 7], but it is 'tensor<7x5xf32>'}}
  %0 = nn.attention %q, %k, %v mask(%m) scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x4x32xf32>, tensor<1x7x4x16xf32>, tensor<7x5xf32> -> tensor<1x5x12x16xf32>
  return
}

// -----

func.func @attention_result(%q: tensor<1x5x12x32xf32>, %k: tensor<1x7x4x32xf32>, %v: tensor<1x7x4x16xf32>) {
  // expected-error@+1 {{expects a result of shape [1, 5, 12, 16], but it is 'tensor<1x12x5x16xf32>'}}
  %0 = nn.attention %q, %k, %v scale(1.0) : tensor<1x5x12x32xf32>, tensor<1x7x4x32xf32>, tensor<1x7x4x16xf32> -> tensor<1x12x5x16xf32>
  return
}

// -----

func.func @attention_softcap(%q: tensor<1x5x12x32xf32>) {
  // expected-error@+1 {{expects a softcap above 0, but it is -1.000000e+00 : f32}}
  %0 = nn.attention %q, %q, %q scale(1.0) softcap(-1.0) : tensor<1x5x12x32xf32>, tensor<1x5x12x32xf32>, tensor<1x5x12x32xf32> -> tensor<1x5x12x32xf32>
  return
}

// -----

func.func @sums_of_integers(%x: tensor<4x4xi8>) {
  // expected-error@+1 {{expects the result to have the elements of lhs, 'i8', but they are 'f32'}}
  %0 = nn.matmul %x, %x : tensor<4x4xi8>, tensor<4x4xi8> -> tensor<4x4xf32>
  return
}

// -----

func.func @sums_of_bf16_in_f16(%x: tensor<1x8x4xbf16>, %f: tensor<3x4x6xbf16>) {
  // expected-error@+1 {{expects the result to have the elements of x, 'bf16', but they are 'f16'}}
  %0 = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(1)
    : tensor<1x8x4xbf16>, tensor<3x4x6xbf16> -> tensor<1x6x6xf16>
  return
}
