// RUN: lathe-opt %s | lathe-opt | FileCheck %s

// CHECK-LABEL: func.func @group
// CHECK: kernel.group matmul(%{{.*}}, %{{.*}}) sizes(%{{.*}}) shapes [array<i64: -1, 4>, array<i64: 4, 8>, array<i64: -1, 8>]
// CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x4xf32>, %[[W:.*]]: tensor<4x8xf32>, %{{.*}}: index)
// CHECK-NEXT: %[[Y:.*]] = nn.matmul %[[X]], %[[W]]
// CHECK-NEXT: kernel.yield %[[Y]] : tensor<?x8xf32>
func.func @group(%x: tensor<?x4xf32>, %w: tensor<4x8xf32>, %n: index) -> tensor<?x8xf32> {
  %y = kernel.group matmul(%x, %w) sizes(%n)
      shapes [array<i64: -1, 4>, array<i64: 4, 8>, array<i64: -1, 8>]
      : tensor<?x4xf32>, tensor<4x8xf32> -> tensor<?x8xf32> {
  ^bb0(%a: tensor<?x4xf32>, %b: tensor<4x8xf32>, %i: index):
    %0 = nn.matmul %a, %b : tensor<?x4xf32>, tensor<4x8xf32> -> tensor<?x8xf32>
    kernel.yield %0 : tensor<?x8xf32>
  }
  return %y : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @launch
// CHECK: kernel.launch @kernel(%{{.*}}) sizes(%{{.*}}) shapes [array<i64: -1>, array<i64: -1>] : tensor<?xf32> -> tensor<?xf32>
func.func @launch(%x: tensor<?xf32>, %n: index) -> tensor<?xf32> {
  %y = kernel.launch @kernel(%x) sizes(%n) shapes [array<i64: -1>, array<i64: -1>] : tensor<?xf32> -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// CHECK-LABEL: func.func private @kernel
// CHECK: %[[X:.*]] = kernel.input %arg0[%arg2] : memref<?xi8> -> tensor<?xf32>
// CHECK: kernel.output %[[X]], %arg1[%arg2] : tensor<?xf32>, memref<?xi8>
func.func private @kernel(%a: memref<?xi8>, %b: memref<?xi8>, %n: index) attributes {kernel.root = "pointwise"} {
  %x = kernel.input %a[%n] : memref<?xi8> -> tensor<?xf32>
  kernel.output %x, %b[%n] : tensor<?xf32>, memref<?xi8>
  return
}

// CHECK-LABEL: func.func @trap
// CHECK: kernel.trap_if %{{.*}}, 1
func.func @trap(%c: i1) {
  kernel.trap_if %c, 1
  return
}
