// RUN: lathe-opt %s --split-input-file --verify-diagnostics --emit-cpu-kernels=target=x86-64-v4 | FileCheck %s

// A mask per key reaches the logits as the start of their sums; K and V are read where they lie.
// CHECK-LABEL: func.func @mask_per_key(
// CHECK:         %[[MASK:.*]] = memref.alloca() {{.*}} : memref<128xf32>
// CHECK:         memref.load %[[MASK]]
// CHECK:         %{{.*}}:16 = scf.for
// CHECK-COUNT-64:  vector.fma {{.*}} : vector<16xf32>
// CHECK-NOT:     math.exp
func.func @mask_per_key(%q: memref<?xi8>, %k: memref<?xi8>, %v: memref<?xi8>, %m: memref<?xi8>, %y: memref<?xi8>,
                        %S: index) attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[%S] : memref<?xi8> -> tensor<1x?x2x32xf32>
  %1 = kernel.input %k[%S] : memref<?xi8> -> tensor<1x?x2x32xf32>
  %2 = kernel.input %v[%S] : memref<?xi8> -> tensor<1x?x2x32xf32>
  %3 = kernel.input %m[%S] : memref<?xi8> -> tensor<1x1x1x?xf32>
  %4 = nn.attention %0, %1, %2 mask(%3) scale(0.125)
    : tensor<1x?x2x32xf32>, tensor<1x?x2x32xf32>, tensor<1x?x2x32xf32>, tensor<1x1x1x?xf32> -> tensor<1x?x2x32xf32>
  kernel.output %4, %y[%S] : tensor<1x?x2x32xf32>, memref<?xi8>
  return
}

// -----

// Heads that fill matrix registers: both products by tiles of 2 x 2, and of 2 x 1 if there are 16 values.
// RUN: lathe-opt %s --split-input-file --verify-diagnostics --emit-cpu-kernels=target=x86-64-v4+amx | FileCheck %s --check-prefix=AMX
// AMX-LABEL: func.func @matrices(
// AMX-COUNT-4: llvm.call_intrinsic "llvm.x86.tdpbf16ps"
// AMX:         arith.truncf %{{.*}} : vector<16xf32> to vector<16xbf16>
// AMX-COUNT-2: llvm.call_intrinsic "llvm.x86.tdpbf16ps"
// AMX:         llvm.call_intrinsic "llvm.x86.tilerelease"
// Elsewhere operands become f32.
// CHECK-LABEL: func.func @matrices(
// CHECK:         arith.bitcast %{{.*}} : vector<16xbf16> to vector<16xi16>
// CHECK-NOT:     tdpbf16ps
func.func @matrices(%q: memref<?xi8>, %v: memref<?xi8>, %y: memref<?xi8>, %S: index)
    attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[%S] : memref<?xi8> -> tensor<1x?x2x32xbf16>
  %1 = kernel.input %v[%S] : memref<?xi8> -> tensor<1x?x2x16xbf16>
  %2 = nn.attention %0, %0, %1 scale(0.125)
    : tensor<1x?x2x32xbf16>, tensor<1x?x2x32xbf16>, tensor<1x?x2x16xbf16> -> tensor<1x?x2x16xbf16>
  kernel.output %2, %y[%S] : tensor<1x?x2x16xbf16>, memref<?xi8>
  return
}

// -----

func.func @wide_elements(%q: memref<?xi8>, %y: memref<?xi8>) attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[] : memref<?xi8> -> tensor<1x4x2x32xf64>
  // expected-error @+1 {{only attention of f32 and bf16 is fused}}
  %1 = nn.attention %0, %0, %0 scale(0.125)
    : tensor<1x4x2x32xf64>, tensor<1x4x2x32xf64>, tensor<1x4x2x32xf64> -> tensor<1x4x2x32xf64>
  kernel.output %1, %y[] : tensor<1x4x2x32xf64>, memref<?xi8>
  return
}

// -----

func.func @narrow_heads(%q: memref<?xi8>, %y: memref<?xi8>) attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[] : memref<?xi8> -> tensor<1x4x2x20xbf16>
  // expected-error @+1 {{of attention of bf16, only heads with multiples of 16 features are fused}}
  %1 = nn.attention %0, %0, %0 scale(0.125)
    : tensor<1x4x2x20xbf16>, tensor<1x4x2x20xbf16>, tensor<1x4x2x20xbf16> -> tensor<1x4x2x20xbf16>
  kernel.output %1, %y[] : tensor<1x4x2x20xbf16>, memref<?xi8>
  return
}
