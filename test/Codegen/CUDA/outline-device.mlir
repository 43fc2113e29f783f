// RUN: lathe-opt %s --outline-device | FileCheck %s

// What has no threads stays with its globals.
// CHECK:     llvm.mlir.global internal constant @table
// CHECK:     llvm.func @host() -> !llvm.ptr
// CHECK-NOT: llvm.func @kernel

// CHECK:     module @device {
// CHECK:       llvm.mlir.global external @lathe_shared()
// CHECK:       llvm.func @kernel(%{{.*}}: !llvm.ptr) attributes {lathe.threads = 32 : i64}
// CHECK-NOT:   @host
llvm.mlir.global external @lathe_shared() {addr_space = 3 : i32} : !llvm.array<0 x i8>
llvm.mlir.global internal constant @table(7 : i32) : i32

llvm.func @host() -> !llvm.ptr {
  %0 = llvm.mlir.addressof @table : !llvm.ptr
  llvm.return %0 : !llvm.ptr
}

llvm.func @kernel(%out: !llvm.ptr) attributes {lathe.threads = 32 : i64} {
  %0 = llvm.mlir.addressof @lathe_shared : !llvm.ptr<3>
  %1 = llvm.load %0 : !llvm.ptr<3> -> f32
  llvm.store %1, %out : f32, !llvm.ptr
  llvm.return
}
