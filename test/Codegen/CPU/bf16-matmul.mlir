// RUN: lathe-opt %s --emit-cpu-kernels=target=x86-64-v4+bf16 | FileCheck %s --check-prefixes=DOT
// RUN: lathe-opt %s --emit-cpu-kernels=target=x86-64-v4 | FileCheck %s --check-prefixes=WIDE
// RUN: lathe-opt %s --emit-cpu-kernels=target=x86-64-v3 | FileCheck %s --check-prefixes=AVX2
// RUN: lathe-opt %s --emit-cpu-kernels=target=x86-64-v4+amx | FileCheck %s --check-prefixes=AMX

// One instruction multiplies pairs and adds them up: four steps of 8 x 2 of them.
// DOT-LABEL: func.func @pairs(
// DOT:         %{{.*}}:16 = scf.for
// DOT-COUNT-64:  llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"
// DOT-NOT:       llvm.call_intrinsic
// DOT:           scf.yield
// The result is stored as f32.
// DOT:         vector.store {{.*}} : memref<?xf32>, vector<16xf32>

// Without it, both halves of a pair become f32.
// WIDE-LABEL: func.func @pairs(
// WIDE:         %{{.*}}:16 = scf.for
// WIDE:           arith.shli {{.*}} : vector<16xi32>
// WIDE:           arith.andi {{.*}} : vector<16xi32>
// WIDE:           vector.fma {{.*}} : vector<16xf32>
// AVX2-LABEL: func.func @pairs(
// AVX2:         %{{.*}}:8 = scf.for
// AVX2:           vector.fma {{.*}} : vector<8xf32>

// Matrix registers take 2 x 2 tiles of 32 elements of each row; vectors do the three that are left.
// AMX-LABEL: func.func @pairs(
// AMX:           llvm.call_intrinsic "llvm.x86.ldtilecfg"
// AMX:           scf.for
// AMX-COUNT-4:     llvm.call_intrinsic "llvm.x86.tileloadd64"
// AMX-COUNT-4:     llvm.call_intrinsic "llvm.x86.tdpbf16ps"
// AMX-NOT:         llvm.call_intrinsic "llvm.x86.tdpbf16ps"
// AMX-COUNT-4:   llvm.call_intrinsic "llvm.x86.tilestored64"
// AMX:           llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"
// AMX:           arith.extui {{.*}} : i16 to i32
// AMX:         llvm.call_intrinsic "llvm.x86.tilerelease"
func.func @pairs(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 2>}, %y: memref<?xi8>, %S: index)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%S] : memref<?xi8> -> tensor<?x67xbf16>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<67x96xbf16>
  %2 = nn.matmul %0, %1 : tensor<?x67xbf16>, tensor<67x96xbf16> -> tensor<?x96xf32>
  kernel.output %2, %y[%S] : tensor<?x96xf32>, memref<?xi8>
  return
}
