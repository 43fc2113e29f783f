// RUN: lathe-opt %s --emit-cuda-kernels --canonicalize --cse | FileCheck %s
// RUN: lathe-opt %s --emit-cuda-kernels=tf32 --canonicalize --cse | FileCheck %s --check-prefix=TF32

// A tile of 64 x 64 by each block, a part of 32 x 16 by each of its eight warps: four products of 16 x 8 for each of two
// steps. Three stages are begun before the loop; in it one is waited for, the next is begun, and one barrier is enough.
// Weights lie along their columns: their matrices are transposed on the way. What follows the product is done to four
// elements at a time.
// CHECK-LABEL: func.func @gemm_relu(
// CHECK-SAME:    lathe.blocks_at_once = 2
// CHECK-SAME:    lathe.threads = 256
// CHECK:         scf.for
// CHECK-COUNT-2:   nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache =  cg
// CHECK:           nvvm.cp.async.commit.group
// CHECK:         scf.for {{.*}} -> (f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, f32, i32, i32)
// CHECK:           nvvm.cp.async.wait.group 2
// CHECK-NEXT:      nvvm.barrier0
// CHECK-COUNT-2:   nvvm.cp.async.shared.global
// CHECK-NOT:       nvvm.barrier0
// CHECK:           nvvm.ldmatrix {{.*}} layout = #nvvm.mma_layout<col>
// CHECK:           nvvm.ldmatrix {{.*}} layout = #nvvm.mma_layout<row>
// CHECK-COUNT-8:   nvvm.mma.sync {{.*}} multiplicandAPtxType = #nvvm.mma_type<bf16>
// CHECK-NOT:       nvvm.mma.sync
// CHECK:           scf.yield
// CHECK:         nvvm.cp.async.wait.group 0
// CHECK-NEXT:    nvvm.barrier0
// CHECK:         vector.load {{.*}} {alignment = 16 : i64} : memref<{{.*}}xf32>, vector<4xf32>
// CHECK:         vector.store {{.*}} {alignment = 16 : i64} : memref<{{.*}}xf32>, vector<4xf32>
// CHECK:       func.func @gemm_relu.tasks(
// CHECK:         arith.constant 48 : index
func.func @gemm_relu(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %3: memref<?xi8>)
    attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[] : memref<?xi8> -> tensor<500x384xbf16>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<384x384xbf16>
  %b = kernel.input %2[] : memref<?xi8> -> tensor<384xf32>
  %p = nn.matmul %x, %w : tensor<500x384xbf16>, tensor<384x384xbf16> -> tensor<500x384xf32>
  %s = nn.binary add %p, %b : tensor<500x384xf32>, tensor<384xf32> -> tensor<500x384xf32>
  %y = nn.unary relu %s : tensor<500x384xf32> -> tensor<500x384xf32>
  kernel.output %y, %3[] : tensor<500x384xf32>, memref<?xi8>
  return
}

// Many rows: tiles of 128 x 128, so that more is computed with what was copied. Both operands lie along the depth.
// CHECK-LABEL: func.func @large_transposed(
// CHECK-SAME:    lathe.shared_bytes = 49152
// CHECK-NOT:     #nvvm.mma_layout<col>, num
// CHECK-COUNT-32: nvvm.mma.sync
// CHECK:       func.func @large_transposed.tasks(
func.func @large_transposed(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>) attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[] : memref<?xi8> -> tensor<4096x4096xf16>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<4096x4096xf16>
  %t = nn.transpose %w perm([1, 0]) : tensor<4096x4096xf16> -> tensor<4096x4096xf16>
  %y = nn.matmul %x, %t : tensor<4096x4096xf16>, tensor<4096x4096xf16> -> tensor<4096x4096xf16>
  kernel.output %y, %2[] : tensor<4096x4096xf16>, memref<?xi8>
  return
}

// Where the number of rows is not known, host and device choose by it between tiles of 128 x 128 and of 64 x 64.
// CHECK-LABEL: func.func @rows_of_the_run(
// CHECK-SAME:    lathe.shared_bytes = 49152
// CHECK:         %[[MANY:.*]] = arith.cmpi uge
// CHECK:         scf.if %[[MANY]]
// CHECK-COUNT-32:  nvvm.mma.sync
// CHECK:         } else {
// CHECK-COUNT-8:   nvvm.mma.sync
// CHECK-NOT:       nvvm.mma.sync
// CHECK:       func.func @rows_of_the_run.tasks(
// CHECK:         %[[MANY:.*]] = arith.cmpi uge
// CHECK:         arith.select %[[MANY]]
func.func @rows_of_the_run(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %M: index) attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[%M] : memref<?xi8> -> tensor<?x384xbf16>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<384x384xbf16>
  %y = nn.matmul %x, %w : tensor<?x384xbf16>, tensor<384x384xbf16> -> tensor<?x384xf32>
  kernel.output %y, %2[%M] : tensor<?x384xf32>, memref<?xi8>
  return
}

// Of 8 rows only the weights count: narrow tiles, for many blocks, and seven stages under way.
// CHECK-LABEL: func.func @few_rows(
// CHECK-SAME:    lathe.shared_bytes = 49152
// CHECK-SAME:    lathe.threads = 64
// CHECK:         nvvm.cp.async.wait.group 6
// CHECK:       func.func @few_rows.tasks(
// CHECK:         arith.constant 128 : index
func.func @few_rows(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>) attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[] : memref<?xi8> -> tensor<8x4096xbf16>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<4096x4096xbf16>
  %y = nn.matmul %x, %w : tensor<8x4096xbf16>, tensor<4096x4096xbf16> -> tensor<8x4096xf32>
  kernel.output %y, %2[] : tensor<8x4096xf32>, memref<?xi8>
  return
}

// Rows of 37 and of 50 elements do not begin at multiples of 16 bytes: they are stored to the tiles one by one.
// CHECK-LABEL: func.func @odd(
// CHECK-NOT:     nvvm.cp.async.shared.global
// CHECK:         llvm.store {{.*}} : bf16, !llvm.ptr<3>
// CHECK:         nvvm.mma.sync
// CHECK:       func.func @odd.tasks(
func.func @odd(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %M: index) attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[%M] : memref<?xi8> -> tensor<?x37xbf16>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<37x50xbf16>
  %y = nn.matmul %x, %w : tensor<?x37xbf16>, tensor<37x50xbf16> -> tensor<?x50xf32>
  kernel.output %y, %2[%M] : tensor<?x50xf32>, memref<?xi8>
  return
}

// True f32, unless TF32 is allowed: then the operands are rounded to it where they are read.
// CHECK-LABEL: func.func @floats(
// CHECK-NOT:     nvvm.mma.sync
// CHECK:         math.fma
// CHECK:       func.func @floats.tasks(
// TF32-LABEL:  func.func @floats(
// TF32:          nvvm.cp.async.shared.global
// TF32:          llvm.load {{.*}} : !llvm.ptr<3> -> i32
// TF32:          nvvm.ldmatrix
// TF32:          nvvm.mma.sync {{.*}} multiplicandAPtxType = #nvvm.mma_type<tf32>
// TF32-NOT:      math.fma
// TF32:        func.func @floats.tasks(
func.func @floats(%0: memref<?xi8>, %1: memref<?xi8>, %2: memref<?xi8>, %M: index) attributes {kernel.root = "matmul"} {
  %x = kernel.input %0[%M] : memref<?xi8> -> tensor<?x64xf32>
  %w = kernel.input %1[] : memref<?xi8> -> tensor<64x64xf32>
  %y = nn.matmul %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  kernel.output %y, %2[%M] : tensor<?x64xf32>, memref<?xi8>
  return
}
