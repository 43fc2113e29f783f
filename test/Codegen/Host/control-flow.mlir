// RUN: lathe-opt %s --split-input-file --lathe-kernels=opt-level=0 --emit-cpu-kernels=target=x86-64-v3 --lower-host | FileCheck %s

// A branch hands on an address; the model's result is copied from there.
// CHECK-LABEL: func.func @lathe_run(
// CHECK:         cf.cond_br %{{.*}}, ^[[THEN:bb[0-9]+]], ^[[ELSE:bb[0-9]+]]
// CHECK:       ^[[THEN]]:
// CHECK:         call @reference_0.tasks
// CHECK:         cf.cond_br %{{.*}}, ^{{.*}}, ^[[GOOD:bb[0-9]+]]
// CHECK:       ^[[ELSE]]:
// CHECK-NEXT:    cf.br ^[[MERGE:bb[0-9]+]](%{{.*}} : !llvm.ptr)
// CHECK:       ^[[MERGE]](%[[RESULT:.*]]: !llvm.ptr):
// CHECK:         llvm.store %[[RESULT]]
// CHECK:         call @reference_1.tasks
// CHECK:       ^[[GOOD]]:
// CHECK:         cf.br ^[[MERGE]](%{{.*}} : !llvm.ptr)
func.func @main(%c: tensor<i1> {nn.name = "c", nn.dims = []}, %x: tensor<4xf32> {nn.name = "x", nn.dims = [""]})
    -> (tensor<4xf32> {nn.name = "y"}) {
  %zero = arith.constant 0 : index
  %i = nn.read_index %c[0] : tensor<i1>
  %b = arith.cmpi ne, %i, %zero : index
  %y = nn.if %b sizes() shapes [array<i64: 4>] -> tensor<4xf32> {
    %0 = nn.unary exp %x : tensor<4xf32> -> tensor<4xf32>
    nn.yield %0 : tensor<4xf32>
  } else {
    nn.yield %x : tensor<4xf32>
  }
  return %y : tensor<4xf32>
}

// -----

// The carried tensor has a slot, into which the first and then every next one is copied; the scan output grows. What it
// gets is the carried tensor of before, which a kernel has put aside.
// CHECK: module attributes {lathe.buffer_count = 1 : i64
// CHECK-LABEL: func.func @lathe_run(
// CHECK:         "llvm.intr.memcpy"
// CHECK:         cf.br ^[[HEADER:bb[0-9]+]](
// CHECK:       ^[[HEADER]](%[[I:.*]]: index, %[[GO:.*]]: i1, %{{.*}}: !llvm.ptr):
// CHECK:         arith.cmpi slt, %[[I]], %{{.*}} : index
// CHECK:         cf.cond_br %{{.*}}, ^[[BODY:bb[0-9]+]], ^[[AFTER:bb[0-9]+]]
// CHECK:       ^[[BODY]]:
// CHECK:         llvm.icmp "sge"
// CHECK:       ^[[AFTER]]:
// CHECK:         call @reference_0.tasks
// CHECK:         "llvm.intr.memcpy"
// CHECK:         "llvm.intr.memcpy"
// CHECK:         arith.addi %[[I]], %{{.*}} : index
// CHECK:         cf.br ^[[HEADER]](
func.func @main(%n: tensor<i64> {nn.name = "n", nn.dims = []}, %x: tensor<4xf32> {nn.name = "x", nn.dims = [""]})
    -> (tensor<4xf32> {nn.name = "y"}, tensor<?x4xf32> {nn.name = "z"}) {
  %true = arith.constant true
  %trip = nn.read_index %n[0] : tensor<i64>
  %y, %z, %count = nn.loop %trip, %true inits(%x) sizes() shapes [array<i64: 4>, array<i64: -1, 4>]
      : tensor<4xf32> -> tensor<4xf32>, tensor<?x4xf32>, index {
  ^bb0(%i: index, %a: tensor<4xf32>):
    %0 = nn.unary exp %a : tensor<4xf32> -> tensor<4xf32>
    nn.yield %true, %0, %a : i1, tensor<4xf32>, tensor<4xf32>
  }
  return %y, %z : tensor<4xf32>, tensor<?x4xf32>
}
