// RUN: lathe-opt %s --lathe-kernels=opt-level=2 --emit-cpu-kernels=target=x86-64-v3 --lower-host | FileCheck %s

// The host program calls service 0 with three addresses, then three numbers of elements. Its fault gets a place,
// number 1 behind one kernel: 1 << 8. The result of the second call, with another argument, is the model's.
// CHECK: module attributes {lathe.places = [#{{.*}}, #{{.*}}], lathe.services =
// CHECK-SAME: {{\[\[}}"text.concat", "", 2], ["text.match", "a+", 1]]
// CHECK:       func.func @lathe_run(%[[CALL:.*]]: !llvm.ptr) -> i32
// CHECK:         %[[ARGUMENTS:.*]] = llvm.alloca
// CHECK-COUNT-3: llvm.store %{{.*}}, %{{.*}} : i64, !llvm.ptr
// CHECK:         %[[FIELD:.*]] = llvm.getelementptr %[[CALL]][12]
// CHECK:         %[[SERVE:.*]] = llvm.load %[[FIELD]]
// CHECK:         %[[NUMBER:.*]] = llvm.mlir.constant(0 : i64)
// CHECK:         %[[COUNTS:.*]] = llvm.getelementptr %[[ARGUMENTS]][3]
// CHECK:         %[[FAULT:.*]] = llvm.call %[[SERVE]](%{{.*}}, %[[NUMBER]], %[[ARGUMENTS]], %[[COUNTS]]) : !llvm.ptr, (!llvm.ptr, i64, !llvm.ptr, !llvm.ptr) -> i32
// CHECK:         %[[PLACE:.*]] = llvm.mlir.constant(256 : i32)
// CHECK:         llvm.or %[[FAULT]], %[[PLACE]]
// CHECK:         llvm.mlir.constant(1 : i64) : i64
// CHECK:         llvm.call %{{.*}} : !llvm.ptr, (!llvm.ptr, i64, !llvm.ptr, !llvm.ptr) -> i32
func.func @main(%x: tensor<4xi64> {nn.name = "x", nn.dims = [""], nn.string}) -> (tensor<4xi1> {nn.name = "y"}) {
  %one = arith.constant dense<1> : tensor<4xi64>
  %0 = nn.service "text.concat"(%x, %one) with "" to [4] : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi64> loc("concat")
  %1 = nn.service "text.match"(%0) with "a+" to [4] : (tensor<4xi64>) -> tensor<4xi1> loc("match")
  return %1 : tensor<4xi1>
}
