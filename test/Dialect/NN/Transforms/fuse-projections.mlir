// RUN: lathe-opt %s --split-input-file --nn-fuse-projections | FileCheck %s

// CHECK:      nn.weight private @q_k : tensor<8x12xf32> computed {
// CHECK-NEXT:   %[[Q:.*]] = nn.weight_use @q :
// CHECK-NEXT:   %[[K:.*]] = nn.weight_use @k :
// CHECK-NEXT:   nn.concat %[[Q]], %[[K]] axis(1)
// CHECK:      nn.weight private @bq_bk : tensor<12xf32> computed {
// CHECK:        nn.concat %{{.*}}, %{{.*}} axis(0)
nn.weight private @q : tensor<8x4xf32> = dense<1.0>
nn.weight private @k : tensor<8x8xf32> = dense<2.0>
nn.weight private @bq : tensor<4xf32> = dense<3.0>
nn.weight private @bk : tensor<8xf32> = dense<4.0>

// CHECK-LABEL: func.func @biased
// CHECK:         %[[W:.*]] = nn.weight_use @q_k
// CHECK:         %[[P:.*]] = nn.matmul %{{.*}}, %[[W]] : tensor<3x8xf32>, tensor<8x12xf32> -> tensor<3x12xf32>
// CHECK:         %[[B:.*]] = nn.weight_use @bq_bk
// CHECK:         %[[S:.*]] = nn.binary add %[[P]], %[[B]]
// CHECK-DAG:     %[[Q:.*]] = nn.slice %[[S]] offsets [0, 0] sizes [3, 4]
// CHECK-DAG:     %[[K:.*]] = nn.slice %[[S]] offsets [0, 4] sizes [3, 8]
// CHECK-NOT:     nn.matmul
// CHECK:         return %[[Q]], %[[K]]
func.func @biased(%x: tensor<3x8xf32>) -> (tensor<3x4xf32>, tensor<3x8xf32>) {
  %q = nn.weight_use @q : tensor<8x4xf32>
  %k = nn.weight_use @k : tensor<8x8xf32>
  %bq = nn.weight_use @bq : tensor<4xf32>
  %bk = nn.weight_use @bk : tensor<8xf32>
  %0 = nn.matmul %x, %q : tensor<3x8xf32>, tensor<8x4xf32> -> tensor<3x4xf32>
  %1 = nn.binary add %0, %bq : tensor<3x4xf32>, tensor<4xf32> -> tensor<3x4xf32>
  %2 = nn.matmul %x, %k : tensor<3x8xf32>, tensor<8x8xf32> -> tensor<3x8xf32>
  %3 = nn.binary add %bk, %2 : tensor<8xf32>, tensor<3x8xf32> -> tensor<3x8xf32>
  return %1, %3 : tensor<3x4xf32>, tensor<3x8xf32>
}

// -----

nn.weight private @q : tensor<8x4xf32> = dense<1.0>

// Products of different tensors stay apart.
// CHECK-LABEL: func.func @different_left_sides
// CHECK-COUNT-2: nn.matmul
func.func @different_left_sides(%x: tensor<3x8xf32>, %z: tensor<3x8xf32>) -> (tensor<3x4xf32>, tensor<3x4xf32>) {
  %q = nn.weight_use @q : tensor<8x4xf32>
  %0 = nn.matmul %x, %q : tensor<3x8xf32>, tensor<8x4xf32> -> tensor<3x4xf32>
  %1 = nn.matmul %z, %q : tensor<3x8xf32>, tensor<8x4xf32> -> tensor<3x4xf32>
  return %0, %1 : tensor<3x4xf32>, tensor<3x4xf32>
}
