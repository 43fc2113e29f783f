// RUN: lathe-opt %s --kernel-form --kernel-outline=most-variants=2 | FileCheck %s
// RUN: lathe-opt %s --kernel-form --kernel-outline | FileCheck %s --check-prefix=FEW

// Steps that take each its own row of an input share a function, to which the row is given, unless there are few.
// CHECK-LABEL: func.func @steps
// CHECK:         %[[ZERO:.*]] = arith.constant 0 : index
// CHECK:         kernel.launch @[[STEP:matmul_[0-9]+]](%{{.*}}) sizes(%[[ZERO]])
// CHECK:         %[[ONE:.*]] = arith.constant 1 : index
// CHECK:         kernel.launch @[[STEP]](%{{.*}}) sizes(%[[ONE]])
// CHECK:         %[[TWO:.*]] = arith.constant 2 : index
// CHECK:         kernel.launch @[[STEP]](%{{.*}}) sizes(%[[TWO]])
// CHECK:       func.func private @[[STEP]]({{.*}}, %[[ROW:[a-z0-9]+]]: index)
// CHECK:         nn.slice %{{.*}} offsets [%[[ROW]], 0] sizes [1, 4]
// FEW-LABEL: func.func @steps
// FEW:         kernel.launch @matmul_0(%{{.*}}) sizes()
// FEW:         kernel.launch @matmul_1(%{{.*}}) sizes()
// FEW:         kernel.launch @matmul_2(%{{.*}}) sizes()
// FEW:       nn.slice %{{.*}} offsets [2, 0] sizes [1, 4]
func.func @steps(%x: tensor<3x8xf32>, %h: tensor<1x4xf32>, %w: tensor<4x4xf32>) -> tensor<1x4xf32> {
  %x0 = nn.slice %x offsets [0, 0] sizes [1, 4] strides [1, 1] : tensor<3x8xf32> -> tensor<1x4xf32>
  %m0 = nn.matmul %h, %w : tensor<1x4xf32>, tensor<4x4xf32> -> tensor<1x4xf32>
  %h0 = nn.binary add %m0, %x0 : tensor<1x4xf32>, tensor<1x4xf32> -> tensor<1x4xf32>
  %x1 = nn.slice %x offsets [1, 0] sizes [1, 4] strides [1, 1] : tensor<3x8xf32> -> tensor<1x4xf32>
  %m1 = nn.matmul %h0, %w : tensor<1x4xf32>, tensor<4x4xf32> -> tensor<1x4xf32>
  %h1 = nn.binary add %m1, %x1 : tensor<1x4xf32>, tensor<1x4xf32> -> tensor<1x4xf32>
  %x2 = nn.slice %x offsets [2, 0] sizes [1, 4] strides [1, 1] : tensor<3x8xf32> -> tensor<1x4xf32>
  %m2 = nn.matmul %h1, %w : tensor<1x4xf32>, tensor<4x4xf32> -> tensor<1x4xf32>
  %h2 = nn.binary add %m2, %x2 : tensor<1x4xf32>, tensor<1x4xf32> -> tensor<1x4xf32>
  return %h2 : tensor<1x4xf32>
}
