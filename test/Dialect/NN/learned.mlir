// RUN: lathe-opt %s --split-input-file --verify-diagnostics | lathe-opt | FileCheck %s

// CHECK-LABEL: func @find
// CHECK:         nn.find %{{.*}}, %{{.*}} : tensor<?x4xi64>, tensor<7xi64> -> tensor<?x4xi64>
func.func @find(%x: tensor<?x4xi64>, %keys: tensor<7xi64>) -> tensor<?x4xi64> {
  %y = nn.find %x, %keys : tensor<?x4xi64>, tensor<7xi64> -> tensor<?x4xi64>
  return %y : tensor<?x4xi64>
}

// -----

func.func @keys_of_another_type(%x: tensor<4xi64>, %keys: tensor<7xi32>) {
  // expected-error @+1 {{expects keys to have the elements of x, 'i64', but they are 'i32'}}
  %y = nn.find %x, %keys : tensor<4xi64>, tensor<7xi32> -> tensor<4xi64>
  return
}

// -----

func.func @keys_of_rank_2(%x: tensor<4xf32>, %keys: tensor<7x1xf32>) {
  // expected-error @+1 {{expects keys to have rank 1}}
  %y = nn.find %x, %keys : tensor<4xf32>, tensor<7x1xf32> -> tensor<4xi64>
  return
}

// -----

func.func @positions_are_integers(%x: tensor<4xf32>, %keys: tensor<7xf32>) {
  // expected-error @+1 {{expects the result}}
  %y = nn.find %x, %keys : tensor<4xf32>, tensor<7xf32> -> tensor<4xf32>
  return
}

// -----

// CHECK-LABEL: func @trees
// CHECK:         nn.tree_ensemble sum %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} targets(1) :
// CHECK:         nn.tree_ensemble max %{{.*}} lists(%{{.*}}, %{{.*}}) targets(3) :
func.func @trees(%x: tensor<?x4xf32>, %r: tensor<2xi32>, %n: tensor<5x4xi32>, %s: tensor<5xf32>, %w: tensor<7xf32>,
                 %starts: tensor<8xi32>, %targets: tensor<7xi32>) -> (tensor<?x1xf32>, tensor<?x3xf32>) {
  %y = nn.tree_ensemble sum %x, %r, %n, %s, %w targets(1)
    : (tensor<?x4xf32>, tensor<2xi32>, tensor<5x4xi32>, tensor<5xf32>, tensor<7xf32>) -> tensor<?x1xf32>
  %z = nn.tree_ensemble max %x, %r, %n, %s, %w lists(%starts, %targets) targets(3)
    : (tensor<?x4xf32>, tensor<2xi32>, tensor<5x4xi32>, tensor<5xf32>, tensor<7xf32>, tensor<8xi32>, tensor<7xi32>)
    -> tensor<?x3xf32>
  return %y, %z : tensor<?x1xf32>, tensor<?x3xf32>
}

// -----

func.func @nodes_of_three(%x: tensor<?x4xf32>, %r: tensor<2xi32>, %n: tensor<5x3xi32>, %s: tensor<5xf32>) {
  // expected-error @+1 {{expects nodes to be rows of four i32, but they are 'tensor<5x3xi32>'}}
  %y = nn.tree_ensemble sum %x, %r, %n, %s, %s targets(1)
    : (tensor<?x4xf32>, tensor<2xi32>, tensor<5x3xi32>, tensor<5xf32>, tensor<5xf32>) -> tensor<?x1xf32>
  return
}

// -----

func.func @targets_without_lists(%x: tensor<?x4xf32>, %r: tensor<2xi32>, %n: tensor<5x4xi32>, %s: tensor<5xf32>) {
  // expected-error @+1 {{expects one target without lists, but there are 2}}
  %y = nn.tree_ensemble sum %x, %r, %n, %s, %s targets(2)
    : (tensor<?x4xf32>, tensor<2xi32>, tensor<5x4xi32>, tensor<5xf32>, tensor<5xf32>) -> tensor<?x2xf32>
  return
}

// -----

func.func @product_of_leaves(%x: tensor<?x4xf32>, %r: tensor<2xi32>, %n: tensor<5x4xi32>, %s: tensor<5xf32>) {
  // expected-error @+1 {{expects leaves to be joined by sum, min or max, but it is prod}}
  %y = nn.tree_ensemble prod %x, %r, %n, %s, %s targets(1)
    : (tensor<?x4xf32>, tensor<2xi32>, tensor<5x4xi32>, tensor<5xf32>, tensor<5xf32>) -> tensor<?x1xf32>
  return
}

// -----

// CHECK-LABEL: func @couple_pairs
// CHECK:         nn.couple_pairs %{{.*}} classes(3) : tensor<?x3xf32> -> tensor<?x3xf32>
func.func @couple_pairs(%x: tensor<?x3xf32>) -> tensor<?x3xf32> {
  %y = nn.couple_pairs %x classes(3) : tensor<?x3xf32> -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}

// -----

func.func @too_few_pairs(%x: tensor<?x3xf32>) {
  // expected-error @+1 {{expects 6 pairs of 4 classes, but there are 3}}
  %y = nn.couple_pairs %x classes(4) : tensor<?x3xf32> -> tensor<?x4xf32>
  return
}
