// RUN: lathe-opt %s --split-input-file --nn-fold-weights --verify-diagnostics | FileCheck %s

// One weight for all ops that belong together.
// CHECK:      nn.weight private @w_f : tensor<8x4xf32> computed {
// CHECK-NEXT:   %[[W:.*]] = nn.weight_use @w : tensor<4x8xi8>
// CHECK-NEXT:   %[[T:.*]] = nn.transpose %[[W]] perm([1, 0])
// CHECK-NEXT:   %[[C:.*]] = nn.cast %[[T]]
// CHECK-NEXT:   %[[S:.*]] = nn.weight_use @s
// CHECK-NEXT:   %[[P:.*]] = nn.binary mul %[[C]], %[[S]]
// CHECK-NEXT:   nn.yield %[[P]]
// CHECK-NEXT: } {onnx_name = "encoder.w"}
nn.weight private @w : tensor<4x8xi8> = dense<1> {onnx_name = "encoder.w"}
nn.weight private @s : tensor<4xf32> = dense<0.5>

// CHECK-LABEL: func.func @dequantize
// CHECK-NEXT:    %[[F:.*]] = nn.weight_use @w_f
// CHECK-NEXT:    nn.matmul %{{.*}}, %[[F]]
func.func @dequantize(%x: tensor<2x8xf32>) -> tensor<2x4xf32> {
  %w = nn.weight_use @w : tensor<4x8xi8>
  %t = nn.transpose %w perm([1, 0]) : tensor<4x8xi8> -> tensor<8x4xi8>
  %c = nn.cast %t : tensor<8x4xi8> -> tensor<8x4xf32>
  %s = nn.weight_use @s : tensor<4xf32>
  // expected-remark@+1 {{[nn-fold-weights] computed 2 ops of weights in advance, 256 B}}
  %p = nn.binary mul %c, %s : tensor<8x4xf32>, tensor<4xf32> -> tensor<8x4xf32>
  %y = nn.matmul %x, %p : tensor<2x8xf32>, tensor<8x4xf32> -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}

// -----

// What others use is a weight, too, and not computed twice.
// CHECK:      nn.weight private @w_f : tensor<4xf32> computed {
// CHECK-NEXT:   nn.weight_use @w :
// CHECK-NEXT:   nn.unary exp
// CHECK:      nn.weight private @w_f_f : tensor<4xf32> computed {
// CHECK-NEXT:   nn.weight_use @w_f :
// CHECK-NEXT:   nn.unary neg
nn.weight private @w : tensor<4xf32> = dense<1.0>

// CHECK-LABEL: func.func @shared
func.func @shared(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %w = nn.weight_use @w : tensor<4xf32>
  // expected-remark@+1 {{computed 1 op of weights in advance, 16 B}}
  %e = nn.unary exp %w : tensor<4xf32> -> tensor<4xf32>
  // expected-remark@+1 {{computed 1 op of weights in advance, 16 B}}
  %n = nn.unary neg %e : tensor<4xf32> -> tensor<4xf32>
  %a = nn.binary add %x, %e : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %b = nn.binary add %x, %n : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  return %a, %b : tensor<4xf32>, tensor<4xf32>
}

// -----

// Broadcasts are for kernels; what they broadcast is not.
nn.weight private @w : tensor<256x1xf32> = dense<1.0>

// CHECK-LABEL: func.func @broadcast
// CHECK-NEXT:    %[[E:.*]] = nn.weight_use @w_f : tensor<256x1xf32>
// CHECK-NEXT:    %[[R:.*]] = nn.weight_use @w_f_r : tensor<1x256xf32>
// CHECK-NEXT:    nn.binary add %[[E]], %[[R]]
// CHECK-NEXT:    nn.expand %[[E]]
func.func @broadcast(%x: tensor<256x256xf32>) -> (tensor<256x256xf32>, tensor<256x256xf32>) {
  %w = nn.weight_use @w : tensor<256x1xf32>
  // expected-remark@+1 {{computed 1 op of weights in advance, 1.02 kB}}
  %e = nn.unary exp %w : tensor<256x1xf32> -> tensor<256x1xf32>
  %r = nn.reshape %e to [1, 256] : tensor<256x1xf32> -> tensor<1x256xf32>
  %s = nn.binary add %e, %r : tensor<256x1xf32>, tensor<1x256xf32> -> tensor<256x256xf32>
  %b = nn.expand %e to [256, 256] : tensor<256x1xf32> -> tensor<256x256xf32>
  %y = nn.binary mul %x, %s : tensor<256x256xf32>, tensor<256x256xf32> -> tensor<256x256xf32>
  return %y, %b : tensor<256x256xf32>, tensor<256x256xf32>
}

// -----

nn.weight private @table : tensor<3x2xf32> = dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]>
nn.weight private @good : tensor<4xi64> = dense<[0, 2, -1, -3]>
nn.weight private @bad : tensor<1xi64> = dense<3>

// The run reports an index out of bounds.
// CHECK-LABEL: func.func @gather
// CHECK-DAG:     nn.weight_use @table_f : tensor<4x2xf32>
// CHECK:         nn.gather
func.func @gather() -> (tensor<4x2xf32>, tensor<1x2xf32>) {
  %t = nn.weight_use @table : tensor<3x2xf32>
  %i = nn.weight_use @good : tensor<4xi64>
  %j = nn.weight_use @bad : tensor<1xi64>
  // expected-remark@+1 {{computed 1 op of weights in advance, 32 B}}
  %a = nn.gather %t, %i axis(0) : tensor<3x2xf32>, tensor<4xi64> -> tensor<4x2xf32>
  %b = nn.gather %t, %j axis(0) : tensor<3x2xf32>, tensor<1xi64> -> tensor<1x2xf32>
  return %a, %b : tensor<4x2xf32>, tensor<1x2xf32>
}

// -----

nn.weight private @w : tensor<4x4xf32> = dense<1.0>

// CHECK-LABEL: func.func @unknown
// CHECK:         nn.matmul
func.func @unknown() -> tensor<4x4xf32> {
  %w = nn.weight_use @w : tensor<4x4xf32>
  // expected-remark@+1 {{[nn-fold-weights] missed: nn.matmul of weights is not computed in advance}}
  %y = nn.matmul %w, %w : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}

// -----

nn.weight private @w : tensor<4xf32> = dense<1.0>

// An op counts as often as it is needed: here it would be 2047 times.
// CHECK-LABEL: func.func @too_many
// CHECK-NEXT:    %[[W:.*]] = nn.weight_use @w_f
// CHECK-NEXT:    nn.binary add %[[W]], %[[W]]
func.func @too_many() -> tensor<4xf32> {
  %0 = nn.weight_use @w : tensor<4xf32>
  %1 = nn.binary add %0, %0 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %2 = nn.binary add %1, %1 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %3 = nn.binary add %2, %2 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %4 = nn.binary add %3, %3 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %5 = nn.binary add %4, %4 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %6 = nn.binary add %5, %5 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %7 = nn.binary add %6, %6 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %8 = nn.binary add %7, %7 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %9 = nn.binary add %8, %8 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  // expected-remark@+1 {{computed 10 ops of weights in advance, 160 B}}
  %10 = nn.binary add %9, %9 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  // expected-remark@+1 {{missed: more than 1024 ops compute it from weights}}
  %11 = nn.binary add %10, %10 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  return %11 : tensor<4xf32>
}

// -----

nn.weight private @table : tensor<2xf32> = dense<1.0>
nn.weight private @many : tensor<1048577xi64> = dense<0>

// CHECK-LABEL: func.func @many_indices
// CHECK:         nn.gather
func.func @many_indices() -> tensor<1048577xf32> {
  %t = nn.weight_use @table : tensor<2xf32>
  %i = nn.weight_use @many : tensor<1048577xi64>
  // expected-remark@+1 {{missed: its 1048577 indices are too many to be read in advance}}
  %y = nn.gather %t, %i axis(0) : tensor<2xf32>, tensor<1048577xi64> -> tensor<1048577xf32>
  return %y : tensor<1048577xf32>
}
