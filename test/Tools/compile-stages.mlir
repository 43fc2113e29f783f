// The driver enters and leaves at every stage; what one run prints the next one reads.
// RUN: rm -rf %t && mkdir -p %t
// RUN: lathe compile --quiet --verify-each --from=onnx --to=nn %s -o %t/nn.mlir
// RUN: FileCheck %s --check-prefix=NN --input-file %t/nn.mlir
// RUN: lathe compile --quiet --verify-each --from=nn --to=kernel %t/nn.mlir -o %t/kernel.mlir
// RUN: FileCheck %s --check-prefix=KERNEL --input-file %t/kernel.mlir
// RUN: lathe compile --quiet --verify-each --from=kernel --to=llvm --target=x86-64-v3 %t/kernel.mlir -o %t/llvm.mlir
// RUN: FileCheck %s --check-prefix=LLVM --input-file %t/llvm.mlir
// RUN: lathe compile --quiet --from=llvm --to=llvm-ir %t/llvm.mlir | FileCheck %s --check-prefix=IR
// RUN: lathe compile --quiet --from=llvm --to=object %t/llvm.mlir -o %t/m.o
// RUN: llvm-nm --extern-only --defined-only %t/m.o | FileCheck %s --check-prefix=OBJECT
// RUN: lathe compile --quiet --from=kernel %t/kernel.mlir -o %t/m.so
// RUN: lathe inspect %t/m.so | FileCheck %s --check-prefix=ARTIFACT
// From standard input to standard output:
// RUN: lathe compile --quiet --from=onnx --to=kernel - < %s | FileCheck %s --check-prefix=KERNEL

// NN-LABEL: func.func @main
// NN:         nn.unary relu
// KERNEL:     kernel.launch @pointwise_0
// KERNEL:     func.func private @pointwise_0
// LLVM:       llvm.func @lathe_run.0
// IR:         define {{.*}}i32 @lathe_run.0(
// OBJECT-NOT: pointwise_0
// OBJECT:     lathe_layout.0
// OBJECT:     lathe_run.0
// OBJECT-NOT: pointwise_0
// ARTIFACT:   y
func.func @main(%x: tensor<?x4xf32> {lathe.name = "x", lathe.dims = ["N", ""]}) -> (tensor<?x4xf32> {lathe.name = "y"}) {
  %y = onnx.node "Relu"(%x) version 17 {} outputs ["y"] : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
