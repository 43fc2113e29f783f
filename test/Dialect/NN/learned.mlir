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
