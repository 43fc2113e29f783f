// RUN: lathe-opt %s --emit-cpu-kernels=target=x86-64-v4 | FileCheck %s --check-prefixes=CHECK,WIDE
// RUN: lathe-opt %s --emit-cpu-kernels=target=x86-64-v3 | FileCheck %s --check-prefixes=CHECK,AVX2

// Targets without an instruction for bytes multiply pairs of i16: two sums for each vector.
// CHECK-LABEL: func.func @panels(
// WIDE:          %{{.*}}:24 = scf.for
// WIDE:            arith.extsi {{.*}} : vector<32xi8> to vector<32xi16>
// WIDE:            llvm.call_intrinsic "llvm.x86.avx512.pmaddw.d.512"
// AVX2:          %{{.*}}:12 = scf.for
// AVX2:            arith.extsi {{.*}} : vector<16xi8> to vector<16xi16>
// AVX2:            llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"
// The sums of the columns stand 64 rows of 32 bytes behind the start of each panel: nothing else is read twice.
// CHECK-NOT:     vector.reduction
// CHECK:         arith.subi
// CHECK:         vector.store
func.func @panels(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 4 sums true>}, %z: memref<?xi8>,
                  %y: memref<?xi8>, %S: index) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%S] : memref<?xi8> -> tensor<?x64xui8>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<64x96xi8>
  %2 = kernel.input %z[] : memref<?xi8> -> tensor<ui8>
  %3 = nn.integer_matmul %0, %1 lhs_zero(%2 : tensor<ui8>) : tensor<?x64xui8>, tensor<64x96xi8> -> tensor<?x96xi32>
  kernel.output %3, %y[%S] : tensor<?x96xi32>, memref<?xi8>
  return
}
