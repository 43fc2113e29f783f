// RUN: lathe-opt %s --split-input-file --pack-expose-operands --verify-diagnostics | FileCheck %s
// RUN: lathe-opt %s --split-input-file --pack-expose-operands=rounding | FileCheck %s --check-prefix=ROUND

// A tensor that two products read is one output. JSON stands in an attribute: its quotes are escaped.
// CHECK:       module attributes
// CHECK-SAME:    lathe.calibration = "{{.*}}\22model\22:\220123456789abcdef\22
// CHECK-SAME:    \22nodes\22:[\22/first\22,\22/second\22],\22output\22:\22lathe.tensor.0\22,\22rows\22:true,\22weights\22:[\22a\22,\22b\22]
// CHECK-SAME:    \22nodes\22:[\22/third\22],\22output\22:\22lathe.tensor.1\22
// CHECK-SAME:    own = "kept"
module attributes {lathe.fingerprint = "0123456789abcdef", lathe.metadata = {own = "kept"}} {
nn.weight private @a : tensor<64x8xf32> = dense<1.0> {onnx_name = "a"}
nn.weight private @b : tensor<64x8xf32> = dense<1.0> {onnx_name = "b"}
nn.weight private @c : tensor<8x8xf32> = dense<1.0> {onnx_name = "c"}

// CHECK-LABEL: func @main
// CHECK-SAME:    (%[[X:.*]]: tensor<?x64xf32>
// CHECK-SAME:    -> (tensor<?x8xf32> {nn.name = "y"}, tensor<?x64xf32> {nn.name = "lathe.tensor.0"}, tensor<?x8xf32> {nn.name = "lathe.tensor.1"})
// CHECK:         %[[R:.*]] = nn.unary relu
// CHECK:         %[[Y:.*]] = nn.matmul %[[R]]
// CHECK:         return %[[Y]], %[[X]], %[[R]]

// An input has an element for each of them, and both operands of its products are chosen by it.
// ROUND:       lathe.calibration = "{{.*}}\22weights\22:[\22a\22,\22b\22]{{.*}}\22weights\22:[\22c\22]
// ROUND-LABEL: func @main
// ROUND-SAME:    (%[[X:.*]]: tensor<?x64xf32> {{.*}}, %[[FLAGS:.*]]: tensor<2xi1> {nn.name = "lathe.rounded"})
// ROUND-SAME:    -> (tensor<?x8xf32> {nn.name = "y"})
// ROUND:         %[[FLAG:.*]] = nn.slice %[[FLAGS]] offsets [0]
// ROUND:         %[[BF16:.*]] = nn.cast %[[X]] : tensor<?x64xf32> -> tensor<?x64xbf16>
// ROUND:         %[[F32:.*]] = nn.cast %[[BF16]]
// ROUND:         %[[OWN:.*]] = nn.select %[[FLAG]], %[[F32]], %[[X]]
// ROUND:         %[[W:.*]] = nn.select %[[FLAG]], %{{.*}}, %{{.*}} : tensor<1xi1>, tensor<64x8xf32>, tensor<64x8xf32>
// ROUND:         nn.matmul %[[OWN]], %[[W]]
// ROUND:         nn.matmul %[[OWN]]
func.func @main(%x: tensor<?x64xf32> {nn.dims = ["N", ""]}) -> (tensor<?x8xf32> {nn.name = "y"}) {
  %a = nn.weight_use @a : tensor<64x8xf32>
  %b = nn.weight_use @b : tensor<64x8xf32>
  %c = nn.weight_use @c : tensor<8x8xf32>
  %0 = nn.matmul %x, %a : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32> loc("/first")
  %1 = nn.matmul %x, %b : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32> loc("/second")
  %2 = nn.binary add %0, %1 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %3 = nn.unary relu %2 : tensor<?x8xf32> -> tensor<?x8xf32>
  %4 = nn.matmul %3, %c : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> loc("/third")
  return %4 : tensor<?x8xf32>
}
}

// -----

// Layers with what they get and pass on. The rows of an image that windows see are no rows of the weight.
// CHECK:       \22layers\22:[
// CHECK-SAME:    {\22layer\22:0,\22nodes\22:[\22/0\22],\22parts\22:{\22all\22:[\22lathe.tensor.0\22,\22lathe.tensor.1\22]}},
// CHECK-SAME:    {\22layer\22:1,\22nodes\22:[\22/1\22],\22parts\22:{\22all\22:[\22lathe.tensor.1\22,\22lathe.tensor.2\22]}}
// CHECK-LABEL: func @main
// CHECK-SAME:    -> (tensor<?x8xf32>, tensor<?x8xf32> {nn.name = "lathe.tensor.0"}, tensor<?x8xf32> {nn.name = "lathe.tensor.1"}, tensor<?x8xf32> {nn.name = "lathe.tensor.2"})
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0>
nn.weight private @w1 : tensor<8x8xf32> = dense<2.0>
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> tensor<?x8xf32> {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %m0 = nn.matmul %x, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> loc("/0")
  %r0 = nn.unary relu %m0 : tensor<?x8xf32> -> tensor<?x8xf32> loc("")
  %t0 = nn.unary tanh %r0 : tensor<?x8xf32> -> tensor<?x8xf32> loc("")
  %h0 = nn.binary add %t0, %x : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32> loc("")
  %m1 = nn.matmul %h0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> loc("/1")
  %r1 = nn.unary relu %m1 : tensor<?x8xf32> -> tensor<?x8xf32> loc("")
  %t1 = nn.unary tanh %r1 : tensor<?x8xf32> -> tensor<?x8xf32> loc("")
  %h1 = nn.binary add %t1, %h0 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32> loc("")
  return %h1 : tensor<?x8xf32>
}

// -----

// CHECK:       \22rows\22:false
// CHECK-LABEL: func @main
// CHECK-SAME:    -> (tensor<1x7x7x8xf32>, tensor<4x8xf16>, tensor<1x9x9x4xf32> {nn.name = "lathe.tensor.0"})
nn.weight private @f : tensor<3x3x4x8xf32> = dense<1.0>
nn.weight private @h : tensor<8x8xf16> = dense<1.0>
func.func @main(%x: tensor<1x9x9x4xf32>, %y: tensor<4x8xf16>) -> (tensor<1x7x7x8xf32>, tensor<4x8xf16>) {
  %f = nn.weight_use @f : tensor<3x3x4x8xf32>
  %h = nn.weight_use @h : tensor<8x8xf16>
  %0 = nn.conv %x, %f strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1) : tensor<1x9x9x4xf32>, tensor<3x3x4x8xf32> -> tensor<1x7x7x8xf32>
  // expected-remark@+1 {{[pack-expose-operands] missed: what it reads is not shown: it is not f32}}
  %1 = nn.matmul %y, %h : tensor<4x8xf16>, tensor<8x8xf16> -> tensor<4x8xf16>
  return %0, %1 : tensor<1x7x7x8xf32>, tensor<4x8xf16>
}
