// RUN: lathe-opt %s --split-input-file --verify-diagnostics

func.func @shape_count(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects one shape per tensor, 2, but there are 1}}
  %y = kernel.group pointwise(%x) sizes() shapes [array<i64: 4>] : tensor<4xf32> -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    kernel.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @shape_rank(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects shape 0 to be an i64 array of 1 elements, like 'tensor<4xf32>'}}
  %y = kernel.group pointwise(%x) sizes() shapes [array<i64: 2, 2>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    kernel.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @static_size(%x: tensor<4xf32>) {
  // expected-error @+1 {{shape 1 has 5 where the type is 'tensor<4xf32>' and there are 0 sizes}}
  %y = kernel.group pointwise(%x) sizes() shapes [array<i64: 4>, array<i64: 5>] : tensor<4xf32> -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    kernel.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @size_number(%x: tensor<?xf32>, %n: index) {
  // expected-error @+1 {{shape 1 has -2 where the type is 'tensor<?xf32>' and there are 1 sizes}}
  %y = kernel.group pointwise(%x) sizes(%n) shapes [array<i64: -1>, array<i64: -2>] : tensor<?xf32> -> tensor<?xf32> {
  ^bb0(%a: tensor<?xf32>, %i: index):
    kernel.yield %a : tensor<?xf32>
  }
  return
}

// -----

func.func @region_arguments(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects the region's arguments to have the types of the operands}}
  %y = kernel.group pointwise(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>, %i: index):
    kernel.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @yielded_types(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects the region to yield values of the results' types}}
  %y = kernel.group pointwise(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xi32> {
  ^bb0(%a: tensor<4xf32>):
    kernel.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @no_callee(%x: tensor<4xf32>) {
  // expected-error @+1 {{does not find the function @kernel}}
  %y = kernel.launch @kernel(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32>
  return
}

// -----

func.func private @kernel(%a: memref<?xi8>)
func.func @callee_arguments(%x: tensor<4xf32>) {
  // expected-error @+1 {{has 2 tensors and 0 sizes, so @kernel should have 2 arguments, but it has 1}}
  %y = kernel.launch @kernel(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32>
  return
}

// -----

func.func private @emitted(%a: memref<?xi8>, %b: memref<?xi8>) -> i32
func.func @emitted_arguments(%x: tensor<4xf32>) {
  // expected-error @+1 {{has 2 tensors and 0 sizes, so @emitted should have 5 arguments, but it has 2}}
  %y = kernel.launch @emitted(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32>
  return
}

// -----

func.func @input_sizes(%a: memref<?xi8>, %n: index) {
  // expected-error @+1 {{expects one size per dynamic dimension of 'tensor<?x?xf32>', 2, but there are 1}}
  %x = kernel.input %a[%n] : memref<?xi8> -> tensor<?x?xf32>
  return
}

// -----

func.func @output_sizes(%x: tensor<4xf32>, %a: memref<?xi8>, %n: index) {
  // expected-error @+1 {{expects one size per dynamic dimension of 'tensor<4xf32>', 0, but there are 1}}
  kernel.output %x, %a[%n] : tensor<4xf32>, memref<?xi8>
  return
}

// -----

// 0 is no fault: it would be forgotten.
func.func @no_fault(%c: i1) {
  // expected-error @+1 {{attribute 'fault' failed to satisfy constraint: 32-bit signless integer attribute whose value is positive}}
  kernel.trap_if %c, 0
  return
}

// -----

func.func @pitch_below_the_row(%x: tensor<2x4xf32>) {
  // expected-error @+1 {{has a pitch of 3 elements for 'tensor<2x4xf32>'}}
  %y = kernel.group pointwise(%x) sizes() shapes [array<i64: 2, 4>, array<i64: 2, 4>] pitches [0, 3] : tensor<2x4xf32> -> tensor<2x4xf32> {
  ^bb0(%a: tensor<2x4xf32>):
    kernel.yield %a : tensor<2x4xf32>
  }
  return
}

// -----

func.func @pitch_count(%x: tensor<2x4xf32>) {
  // expected-error @+1 {{expects one pitch per tensor, 2, but there are 1}}
  %y = kernel.group pointwise(%x) sizes() shapes [array<i64: 2, 4>, array<i64: 2, 4>] pitches [8] : tensor<2x4xf32> -> tensor<2x4xf32> {
  ^bb0(%a: tensor<2x4xf32>):
    kernel.yield %a : tensor<2x4xf32>
  }
  return
}

// -----

func.func @join_of_an_argument(%x: tensor<2x4xf32>) {
  // expected-error @+1 {{has a part that is computed by no kernel of this block}}
  %y = kernel.join %x axis 1 : tensor<2x4xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func private @kernel(memref<?xi8>, memref<?xi8>)
func.func @join_in_the_middle(%x: tensor<2x4x4xf32>) {
  %y = kernel.launch @kernel(%x) sizes() shapes [array<i64: 2, 4, 4>, array<i64: 2, 4, 4>] : tensor<2x4x4xf32> -> tensor<2x4x4xf32>
  // expected-error @+1 {{joins along dimension 1 of 'tensor<2x4x4xf32>', which is not the last and has larger ones before it}}
  %z = kernel.join %y axis 1 : tensor<2x4x4xf32> -> tensor<2x4x4xf32>
  return
}

// -----

func.func private @kernel(memref<?xi8>, memref<?xi8>)
func.func @joined_twice(%x: tensor<4xf32>) {
  %y = kernel.launch @kernel(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32>
  // expected-error @+1 {{has a part that is joined twice}}
  %z = kernel.join %y, %y axis 0 : tensor<4xf32>, tensor<4xf32> -> tensor<8xf32>
  return
}

// -----

func.func private @kernel(memref<?xi8>, memref<?xi8>)
func.func @join_of_too_little(%x: tensor<4xf32>) {
  %y = kernel.launch @kernel(%x) sizes() shapes [array<i64: 4>, array<i64: 4>] : tensor<4xf32> -> tensor<4xf32>
  // expected-error @+1 {{has parts of 4 elements along dimension 0 of 'tensor<8xf32>'}}
  %z = kernel.join %y axis 0 : tensor<4xf32> -> tensor<8xf32>
  return
}
