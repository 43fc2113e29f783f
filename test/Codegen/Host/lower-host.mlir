// RUN: lathe-opt %s --lathe-kernels=opt-level=0 --emit-cpu-kernels=target=x86-64-v3 --lower-host | FileCheck %s

// A kernel's entry reads its arguments from an array; a fault is handed on.
// CHECK: module attributes {lathe.slot_count = 1 : i64, lathe.weight_bytes = 64 : i64}
nn.weight private @b : tensor<4xf32> = dense<1.0>
// CHECK-NOT: nn.weight

// CHECK-LABEL: func.func @lathe_run(%{{.*}}: !llvm.ptr) -> i32
// CHECK:         %[[TASKS:.*]]:2 = call @[[K0:.*]].tasks(
// CHECK:         %[[ENTRY:.*]] = llvm.mlir.addressof @[[K0]].entry
// CHECK:         %[[NUMBER:.*]] = llvm.mlir.constant(0 : i32) : i32
// CHECK:         %[[FAULT:.*]] = llvm.call %{{.*}}(%{{.*}}, %[[NUMBER]], %[[ENTRY]],
// CHECK:         %[[BAD:.*]] = llvm.icmp "ne" %[[FAULT]], %
// CHECK-NEXT:    cf.cond_br %[[BAD]], ^[[END:bb[0-9]+]](
// The second kernel's number is in the second byte of its fault.
// CHECK:         llvm.mlir.constant(256 : i32)
// CHECK:       ^[[END]](%[[CODE:.*]]: i32):
// CHECK-NEXT:    return %[[CODE]]

// CHECK-LABEL: func.func @lathe_layout(
// CHECK-SAME:    !llvm.ptr, %{{.*}}: i64, %{{.*}}: !llvm.ptr, %[[DIMS:.*]]: !llvm.ptr, %[[BYTES:.*]]: !llvm.ptr) -> i32
// CHECK:         %[[N:.*]] = arith.index_cast %{{.*}} : i64 to index
// 4 floats for each of N rows.
// CHECK:         %[[ROW:.*]] = llvm.mlir.constant(16 : i64)
// CHECK:         llvm.intr.umul.with.overflow"(%[[ROW]],
// CHECK:         return

// CHECK:       llvm.func internal @[[K0]].entry(%{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64, %{{.*}}: i32) -> i32
func.func @main(%x: tensor<?x4xf32> {nn.name = "x", nn.dims = ["N", ""]}) -> (tensor<?x4xf32> {nn.name = "y"}) {
  %b = nn.weight_use @b : tensor<4xf32>
  %0 = nn.unary exp %x : tensor<?x4xf32> -> tensor<?x4xf32>
  %1 = nn.binary add %0, %b : tensor<?x4xf32>, tensor<4xf32> -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}
