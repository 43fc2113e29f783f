// RUN: lathe-opt %s --lathe-kernels=opt-level=0 --emit-cpu-kernels=target=x86-64-v3 --lower-host | FileCheck %s

// A size that is read from data: its tensor between kernels lies in a buffer, the result is asked for by its number,
// and its dimensions are told at the end. Only the tensor whose size is a symbol has a slot.
// CHECK: module attributes {lathe.buffer_count = 1 : i64, lathe.places = [#{{.*}}], lathe.slot_count = 1 : i64

// CHECK:       func.func @lathe_run(%[[CALL:.*]]: !llvm.ptr) -> i32
// CHECK:         %[[N:.*]] = llvm.load %{{.*}} : !llvm.ptr -> i64
// CHECK:         %[[SIZE:.*]] = arith.index_cast %[[N]] : i64 to index
// Kernels are 0 to 2, the place of the check is 3: 3 << 8 | LATHE_FAULT_SHAPE.
// CHECK:         %[[BAD:.*]] = llvm.icmp "ugt"
// CHECK:         llvm.mlir.constant(771 : i32)
// CHECK:         cf.cond_br %[[BAD]], ^[[END:bb[0-9]+]](
// CHECK:         llvm.getelementptr %[[CALL]][10]
// CHECK:         %[[BUFFER:.*]] = llvm.mlir.constant(0 : i64)
// CHECK:         %[[MEMORY:.*]] = llvm.call %{{.*}}(%{{.*}}, %[[BUFFER]], %{{.*}}, %{{.*}}) : !llvm.ptr, (!llvm.ptr, i64, i64, i64) -> !llvm.ptr
// CHECK:         llvm.icmp "eq" %[[MEMORY]]
// CHECK:         llvm.getelementptr %[[CALL]][10]
// CHECK:         %[[OUTPUT:.*]] = llvm.mlir.constant(-1 : i64)
// CHECK:         llvm.call %{{.*}}(%{{.*}}, %[[OUTPUT]], %{{.*}}, %{{.*}})
// CHECK:         %[[DIMS:.*]] = llvm.getelementptr %[[CALL]][9]
// CHECK:         llvm.load %[[DIMS]]
// CHECK:         llvm.store
// CHECK:         return

// CHECK-LABEL: func.func @lathe_layout(
// CHECK:         llvm.mlir.constant(-9223372036854775808 : i64)
func.func @main(%x: tensor<?xf32> {nn.name = "x", nn.dims = ["N"]}, %s: tensor<1xi64> {nn.name = "s", nn.dims = [""]})
    -> (tensor<?x?xf32> {nn.name = "y"}) {
  %N = nn.dim_symbol "N"
  %n = nn.read_index %s[0] : tensor<1xi64>
  %m = nn.checked_size %n
  %0 = nn.unary exp %x : tensor<?xf32> -> tensor<?xf32>
  %1 = nn.expand %0 to [%m, %N] : tensor<?xf32> -> tensor<?x?xf32>
  %2 = nn.unary neg %1 : tensor<?x?xf32> -> tensor<?x?xf32>
  return %2 : tensor<?x?xf32>
}
