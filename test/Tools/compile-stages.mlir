// What a researcher asks of `lathe compile`: to begin and end in the middle, to stop after some passes, to look at the
// IR after one.

// RUN: lathe compile --from=nn --to=kernel %s --quiet | FileCheck %s --check-prefix=KERNEL
// KERNEL: kernel.launch
// RUN: lathe compile --from=nn --to=llvm %s --quiet | FileCheck %s --check-prefix=LLVM
// LLVM: llvm.func
// RUN: lathe compile --from=nn --to=llvm-ir %s --quiet | FileCheck %s --check-prefix=IR
// IR: define {{.*}}@lathe_run
// RUN: lathe compile --from=nn %s -o %t.so --quiet && lathe inspect %t.so | FileCheck %s --check-prefix=MODEL
// MODEL: x

// What one stage writes the next can read.
// RUN: lathe compile --from=nn --to=kernel %s -o %t.mlir --quiet
// RUN: lathe compile --from=kernel --to=llvm %t.mlir --quiet | FileCheck %s --check-prefix=LLVM

// RUN: lathe compile --from=nn %s --run-pass-until=1 2>%t.err | FileCheck %s --check-prefix=UNTIL
// RUN: FileCheck %s --check-prefix=SUMMARY < %t.err
// UNTIL: nn.unary relu
// UNTIL-NOT: kernel.
// SUMMARY: ran 1 pass, the last was canonicalize
// RUN: lathe compile --from=nn %s --dump-ir-after=kernel-form -o %t.so 2>&1 | FileCheck %s --check-prefix=DUMP
// DUMP: // after kernel-form
// DUMP: kernel.group

// RUN: not lathe compile --from=nn %s --run-pass-until=1000 2>&1 | FileCheck %s --check-prefix=MANY
// MANY: error[E0001]: --run-pass-until=1000 is not less than the {{[0-9]+}} passes that run
// RUN: rm -f %t.no.so
// RUN: not lathe compile --from=nn %s --dump-ir-after=kernel-frm -o %t.no.so 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: not ls %t.no.so
// NAME: error[E0001]: --dump-ir-after: no pass "kernel-frm" has run
// NAME: help: those that ran are {{.*}}kernel-form
// RUN: not lathe compile --from=llvm --to=object %s 2>&1 | FileCheck %s --check-prefix=LATE
// LATE: error[E0001]: --from=llvm cannot be read
// RUN: not lathe compile --from=nn --to=onnx %s 2>&1 | FileCheck %s --check-prefix=ORDER
// ORDER: error[E0001]: --from=nn does not come before --to=onnx
// RUN: not lathe compile --weights-from=m.onnx m.onnx -o %t.so 2>&1 | FileCheck %s --check-prefix=WEIGHTS
// WEIGHTS: error[E0001]: --weights-from is for --from=onnx, nn or kernel
// RUN: not lathe compile --from=nn --to=kernel %S/no-such-file.mlir 2>&1 | FileCheck %s --check-prefix=MISSING
// MISSING: error[E0002]

func.func @main(%x: tensor<2x4xf32> {nn.name = "x"}) -> (tensor<2x4xf32> {nn.name = "y"}) {
  %y = nn.unary relu %x : tensor<2x4xf32> -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
