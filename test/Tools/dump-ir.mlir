// RUN: lathe compile --quiet --from=nn --to=kernel %s -o %t.mlir --dump-ir-after=kernel-form 2>&1 | FileCheck %s
// The name is that of lathe-opt:
// RUN: lathe-opt %s --kernel-form --mlir-print-ir-after=kernel-form -o /dev/null 2>&1 | FileCheck %s
// A pass that runs twice is printed twice:
// RUN: lathe compile --quiet --from=nn --to=kernel %s -O0 -o %t.mlir --dump-ir-after=cse 2>&1 | FileCheck %s --check-prefix=TWICE

// CHECK: IR Dump After {{.*}} (kernel-form)
// CHECK: kernel.group
// CHECK-NOT: IR Dump
// TWICE-COUNT-2: IR Dump After {{.*}} (cse)
// TWICE-NOT: IR Dump
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = nn.unary exp %x : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
