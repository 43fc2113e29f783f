// RUN: lathe-opt %s --lathe-kernels --lathe-codegen=target=cuda | FileCheck %s

// The host launches kernel 0 with no task of its own: the number of blocks, and 0.
// CHECK-LABEL: llvm.func @lathe_run(%{{.*}}: !llvm.ptr) -> i32
// CHECK:         %[[TASK:.*]] = llvm.mlir.zero : !llvm.ptr
// CHECK:         llvm.call @matmul_0.tasks(
// CHECK:         llvm.call %{{.*}}(%{{.*}}, %{{.*}}, %[[TASK]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i32, !llvm.ptr, !llvm.ptr, i64, i64) -> i32
// CHECK-NOT:   llvm.func @matmul_0(
// CHECK-NOT:   matmul_0.entry

// What runs on the device stands apart, with the globals that it uses.
// CHECK:       module @device {
// CHECK:         llvm.mlir.global external @lathe_shared() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>
// CHECK:         llvm.func @matmul_0(%{{.*}}: !llvm.ptr {llvm.noalias}, %{{.*}}: !llvm.ptr {llvm.noalias}, %{{.*}}: !llvm.ptr {llvm.noalias}, %{{.*}}: i64, %{{.*}}: !llvm.ptr) attributes {{{.*}}lathe.shared_bytes = 32768 : i64, lathe.threads = 256 : i64}
// CHECK:           nvvm.barrier0
// CHECK-NOT:       unrealized_conversion_cast
// CHECK-NOT:     llvm.func @lathe
func.func @main(%x: tensor<?x8xf32> {nn.name = "x", nn.dims = ["N", ""]}, %w: tensor<8x6xf32> {nn.name = "w", nn.dims = ["", ""]})
    -> (tensor<?x6xf32> {nn.name = "y"}) {
  %y = nn.matmul %x, %w : tensor<?x8xf32>, tensor<8x6xf32> -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}
