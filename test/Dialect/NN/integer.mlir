// RUN: lathe-opt %s --split-input-file --verify-diagnostics | FileCheck %s
// RUN: lathe-opt %s --split-input-file --nn-decompose | FileCheck %s --check-prefix=PARTS

// Sums of up to 258 products are exact in f32, for which there are kernels; longer ones are computed in i32.
// CHECK-LABEL: func @products
// CHECK:         nn.integer_matmul %{{.*}}, %{{.*}} lhs_zero(%{{.*}} : tensor<ui8>) rhs_zero(%{{.*}} : tensor<4xi8>) : tensor<?x258xui8>, tensor<258x4xi8> -> tensor<?x4xi32>
// CHECK:         nn.integer_matmul %{{.*}}, %{{.*}} : tensor<?x259xi8>, tensor<259x4xui8> -> tensor<?x4xi32>
// PARTS-LABEL: func @products
// PARTS:         nn.matmul %{{.*}} : tensor<?x258xf32>, tensor<258x4xf32> -> tensor<?x4xf32>
// PARTS:         nn.matmul %{{.*}} : tensor<?x259xi32>, tensor<259x4xi32> -> tensor<?x4xi32>
func.func @products(%x: tensor<?x258xui8>, %w: tensor<258x4xi8>, %z: tensor<ui8>, %c: tensor<4xi8>,
                    %u: tensor<?x259xi8>, %v: tensor<259x4xui8>) -> (tensor<?x4xi32>, tensor<?x4xi32>) {
  %0 = nn.integer_matmul %x, %w lhs_zero(%z : tensor<ui8>) rhs_zero(%c : tensor<4xi8>)
    : tensor<?x258xui8>, tensor<258x4xi8> -> tensor<?x4xi32>
  %1 = nn.integer_matmul %u, %v : tensor<?x259xi8>, tensor<259x4xui8> -> tensor<?x4xi32>
  return %0, %1 : tensor<?x4xi32>, tensor<?x4xi32>
}

// -----

// What a zero point takes off filters that are not centered is a product with the sums of the windows.
// CHECK-LABEL: func @off_center
// CHECK:         nn.integer_conv %{{.*}}, %{{.*}} zero(%{{.*}} : tensor<ui8>) filter_zero(%{{.*}} : tensor<8xi8>) strides([1]) pads([1, 1]) dilations([1]) groups(1)
// PARTS-LABEL: func @off_center
// PARTS-DAG:     nn.conv %{{.*}} : tensor<?x16x100xi32>, tensor<3x100x8xi32> -> tensor<?x16x8xi32>
// PARTS-DAG:     %[[W:.*]] = nn.conv %{{.*}} : tensor<?x16x1xi32>, tensor<3x1x1xi32> -> tensor<?x16x1xi32>
// PARTS:         nn.binary mul %[[W]]
// PARTS:         nn.binary sub
func.func @off_center(%x: tensor<?x16x100xui8>, %w: tensor<3x100x8xi8>, %z: tensor<ui8>, %c: tensor<8xi8>) -> tensor<?x16x8xi32> {
  %0 = nn.integer_conv %x, %w zero(%z : tensor<ui8>) filter_zero(%c : tensor<8xi8>) strides([1]) pads([1, 1]) dilations([1]) groups(1)
    : tensor<?x16x100xui8>, tensor<3x100x8xi8> -> tensor<?x16x8xi32>
  return %0 : tensor<?x16x8xi32>
}
