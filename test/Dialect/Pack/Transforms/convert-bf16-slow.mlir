// RUN: lathe-opt %s --verify-diagnostics --pack-convert-bf16="target=x86-64-v3 all=true" | FileCheck %s

// Where no instruction multiplies bf16 faster than f32, only the bytes of a weight that few rows read count: it is left
// to be stored in bf16.
// CHECK-LABEL: func.func @rows
// CHECK:         nn.matmul {{.*}} {pack.format = #pack.bf16} : tensor<8x64xf32>
// CHECK:         nn.matmul {{.*}} : tensor<9x64xf32>
// CHECK:         nn.matmul {{.*}} : tensor<?x64xf32>
nn.weight private @w : tensor<64x48xf32> = dense<1.0>
func.func @rows(%x: tensor<8x64xf32>, %y: tensor<9x64xf32>, %z: tensor<?x64xf32>)
    -> (tensor<8x48xf32>, tensor<9x48xf32>, tensor<?x48xf32>) {
  %w = nn.weight_use @w : tensor<64x48xf32>
  %0 = nn.matmul %x, %w : tensor<8x64xf32>, tensor<64x48xf32> -> tensor<8x48xf32>
  // expected-remark@+1 {{missed: not computed in bf16: x86-64-v3 has no instructions that multiply bf16 faster than f32, and 9 rows are too many for the bytes of the weight to count}}
  %1 = nn.matmul %y, %w : tensor<9x64xf32>, tensor<64x48xf32> -> tensor<9x48xf32>
  // expected-remark@+1 {{missed: not computed in bf16: x86-64-v3 has no instructions that multiply bf16 faster than f32, and the number of rows is not known to be so small that the bytes of the weight count}}
  %2 = nn.matmul %z, %w : tensor<?x64xf32>, tensor<64x48xf32> -> tensor<?x48xf32>
  return %0, %1, %2 : tensor<8x48xf32>, tensor<9x48xf32>, tensor<?x48xf32>
}
