// RUN: lathe-opt %s --split-input-file --nn-share-results | FileCheck %s

// Of the caches nothing else reads a byte; the other results are no updates of an argument.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    -> (tensor<?x2x?x4xf32> {nn.shares = 1 : i64}, tensor<?x2x?x4xf32> {nn.name = "v", nn.shares = 0 : i64},
// CHECK-SAME:        tensor<?x2x?x4xf32>, tensor<?xi64>)
func.func @main(%v: tensor<?x2x?x4xf32>, %k: tensor<?x2x?x4xf32>, %u: tensor<?x2x?x4xf32>, %w: tensor<?xi64>)
    -> (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32> {nn.name = "v"}, tensor<?x2x?x4xf32>, tensor<?xi64>) {
  %0 = nn.update_cache %k, %u start(%w) axis(2)
    : tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?xi64> -> tensor<?x2x?x4xf32>
  %1 = nn.update_cache %v, %u start(%w) axis(2)
    : tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?xi64> -> tensor<?x2x?x4xf32>
  %2 = nn.unary relu %u : tensor<?x2x?x4xf32> -> tensor<?x2x?x4xf32>
  return %0, %1, %2, %w : tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?xi64>
}

// -----

// What is read beside the update must stay as it was, and so must what updates itself.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     nn.shares
func.func @main(%c: tensor<1x2x8x4xf32>, %d: tensor<1x2x8x4xf32>, %u: tensor<1x2x1x4xf32>)
    -> (tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>) {
  %0 = nn.update_cache %c, %u axis(2) : tensor<1x2x8x4xf32>, tensor<1x2x1x4xf32> -> tensor<1x2x8x4xf32>
  %1 = nn.unary relu %c : tensor<1x2x8x4xf32> -> tensor<1x2x8x4xf32>
  %2 = nn.update_cache %d, %d axis(2) : tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32> -> tensor<1x2x8x4xf32>
  return %0, %1, %2 : tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>
}
