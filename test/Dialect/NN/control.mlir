// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func @two_sizes
// CHECK:         nn.if %{{.*}} sizes(%{{.*}}) shapes [array<i64: -1, -2>] -> tensor<?x?xf32>, index {
// CHECK:           nn.yield %{{.*}}, %{{.*}} : tensor<?x?xf32>, index
// CHECK:         } else {
func.func @two_sizes(%c: i1, %B: index, %n: index, %m: index, %a: tensor<?x?xf32>, %b: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %y, %k = nn.if %c sizes(%B) shapes [array<i64: -1, -2>] -> tensor<?x?xf32>, index {
    nn.yield %a, %n : tensor<?x?xf32>, index
  } else {
    nn.yield %b, %m : tensor<?x?xf32>, index
  }
  return %y : tensor<?x?xf32>
}

// CHECK-LABEL: func @carried_and_scanned
// CHECK:         nn.loop %{{.*}}, %{{.*}} inits(%{{.*}}, %{{.*}}) sizes(%{{.*}}) shapes [array<i64: -2>, array<i64: -1, 4>]
// CHECK-SAME:      : tensor<?xf32>, index -> tensor<?xf32>, tensor<?x4xf32>, index, index {
func.func @carried_and_scanned(%n: index, %x: tensor<?xf32>, %d: index, %s: tensor<4xf32>) -> tensor<?x4xf32> {
  %true = arith.constant true
  %one = arith.constant 1 : index
  %last, %all, %size, %count = nn.loop %n, %true inits(%x, %d) sizes(%n) shapes [array<i64: -2>, array<i64: -1, 4>]
      : tensor<?xf32>, index -> tensor<?xf32>, tensor<?x4xf32>, index, index {
  ^bb0(%i: index, %a: tensor<?xf32>, %k: index):
    %next = arith.addi %k, %one : index
    %f = arith.constant dense<0.0> : tensor<1xf32>
    %b = nn.concat %a, %f axis(0) : tensor<?xf32>, tensor<1xf32> -> tensor<?xf32>
    nn.yield %true, %b, %s, %next : i1, tensor<?xf32>, tensor<4xf32>, index
  }
  return %all : tensor<?x4xf32>
}

// -----

func.func @index_before_tensor(%c: i1, %n: index, %a: tensor<4xf32>) {
  // expected-error@+1 {{expects the results to be 1 tensors, then index values, but number 0 is 'index'}}
  %k, %y = nn.if %c sizes() shapes [array<i64: 4>] -> index, tensor<4xf32> {
    nn.yield %n, %a : index, tensor<4xf32>
  } else {
    nn.yield %n, %a : index, tensor<4xf32>
  }
  return
}

// -----

func.func @other_size(%c: i1, %a: tensor<4xf32>, %b: tensor<5xf32>) {
  // expected-error@+1 {{expects value 0 of a body to fit 'tensor<4xf32>', but it is 'tensor<5xf32>'}}
  %y = nn.if %c sizes() shapes [array<i64: 4>] -> tensor<4xf32> {
    nn.yield %a : tensor<4xf32>
  } else {
    nn.yield %b : tensor<5xf32>
  }
  return
}

// -----

func.func @unknown_place(%c: i1, %a: tensor<?xf32>) {
  // expected-error@+1 {{shape 0 has -2 where the type is 'tensor<?xf32>' and there are 1 values for sizes}}
  %y, %n = nn.if %c sizes() shapes [array<i64: -2>] -> tensor<?xf32>, index {
    %d = nn.dim_symbol "S"
    nn.yield %a, %d : tensor<?xf32>, index
  } else {
    %d = nn.dim_symbol "S"
    nn.yield %a, %d : tensor<?xf32>, index
  }
  return
}

// -----

func.func @carried_by_count(%n: index, %c: i1, %x: tensor<?xf32>) {
  // expected-error@+1 {{expects carried tensor 0 to have no dimension of the number of iterations}}
  %y, %count = nn.loop %n, %c inits(%x) sizes() shapes [array<i64: -1>] : tensor<?xf32> -> tensor<?xf32>, index {
  ^bb0(%i: index, %a: tensor<?xf32>):
    nn.yield %c, %a : i1, tensor<?xf32>
  }
  return
}

// -----

func.func @scalar_scan(%n: index, %c: i1, %x: tensor<f32>) {
  // expected-error@+1 {{expects scan output 0 to have a dimension for the iterations}}
  %y, %count = nn.loop %n, %c inits() sizes() shapes [array<i64>] -> tensor<f32>, index {
  ^bb0(%i: index):
    nn.yield %c, %x : i1, tensor<f32>
  }
  return
}

// -----

func.func @missing_condition(%n: index, %c: i1, %x: tensor<4xf32>) {
  // expected-error@+1 {{expects the body to have 2 values, but there are 1}}
  %y, %count = nn.loop %n, %c inits(%x) sizes() shapes [array<i64: 4>] : tensor<4xf32> -> tensor<4xf32>, index {
  ^bb0(%i: index, %a: tensor<4xf32>):
    nn.yield %a : tensor<4xf32>
  }
  return
}
