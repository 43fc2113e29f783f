// RUN: lathe-opt %s --split-input-file --lathe-kernels=opt-level=0 --emit-cpu-kernels=target=x86-64-v3 --lower-host | FileCheck %s

// A chain of four: each tensor lives until the next is there, so two slots take turns; the last is the result.
// CHECK: module attributes {lathe.slot_count = 2 : i64
func.func @main(%x: tensor<64xf32>) -> tensor<64xf32> {
  %0 = nn.unary exp %x : tensor<64xf32> -> tensor<64xf32>
  %1 = nn.unary tanh %0 : tensor<64xf32> -> tensor<64xf32>
  %2 = nn.unary exp %1 : tensor<64xf32> -> tensor<64xf32>
  %3 = nn.unary tanh %2 : tensor<64xf32> -> tensor<64xf32>
  return %3 : tensor<64xf32>
}

// -----

// All live until the end: one slot each.
// CHECK: module attributes {lathe.slot_count = 3 : i64
func.func @main(%x: tensor<64xf32>) -> tensor<64xf32> {
  %0 = nn.unary exp %x : tensor<64xf32> -> tensor<64xf32>
  %1 = nn.unary tanh %x : tensor<64xf32> -> tensor<64xf32>
  %2 = nn.binary add %0, %1 : tensor<64xf32>, tensor<64xf32> -> tensor<64xf32>
  %3 = nn.binary mul %0, %2 : tensor<64xf32>, tensor<64xf32> -> tensor<64xf32>
  return %3 : tensor<64xf32>
}

// -----

// Tensors of different sizes in one slot: it has the larger one's.
// CHECK: module attributes {lathe.slot_count = 2 : i64
// CHECK:       func.func @lathe_layout
// CHECK-DAG:     llvm.mlir.constant(32 : i64)
// CHECK-DAG:     llvm.mlir.constant(64 : i64)
// CHECK:         llvm.intr.umax
func.func @main(%x: tensor<8xf32>) -> tensor<8xf64> {
  %0 = nn.unary exp %x : tensor<8xf32> -> tensor<8xf32>
  %1 = nn.cast %0 : tensor<8xf32> -> tensor<8xf64>
  %2 = nn.unary exp %1 : tensor<8xf64> -> tensor<8xf64>
  %3 = nn.unary tanh %2 : tensor<8xf64> -> tensor<8xf64>
  return %3 : tensor<8xf64>
}

// -----

// A reshape is another name of the same bytes, which live as long as either is read.
// CHECK: module attributes {lathe.slot_count = 2 : i64
func.func @main(%x: tensor<4x4xf32>) -> tensor<16xf32> {
  %0 = nn.unary exp %x : tensor<4x4xf32> -> tensor<4x4xf32>
  %1 = nn.reshape %0 to [16] : tensor<4x4xf32> -> tensor<16xf32>
  %2 = nn.unary tanh %1 : tensor<16xf32> -> tensor<16xf32>
  %3 = nn.binary add %1, %2 : tensor<16xf32>, tensor<16xf32> -> tensor<16xf32>
  return %3 : tensor<16xf32>
}
