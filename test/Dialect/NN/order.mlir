// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func @cumulate
// CHECK:         nn.cumulate sum %{{.*}} axis(1) exclusive : tensor<?x8xf32> -> tensor<?x8xf32>
// CHECK:         nn.cumulate prod %{{.*}} axis(0) reverse : tensor<?x8xf32> -> tensor<?x8xf32>
func.func @cumulate(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = nn.cumulate sum %x axis(1) exclusive : tensor<?x8xf32> -> tensor<?x8xf32>
  %1 = nn.cumulate prod %0 axis(0) reverse : tensor<?x8xf32> -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// -----

func.func @cumulate_axis(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{expects an axis below the rank of x, 2, but it is 2}}
  %0 = nn.cumulate sum %x axis(2) : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}
