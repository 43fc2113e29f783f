// One case for each way of asking for stages or passes that do not exist or do not fit.
// RUN: not lathe compile --from=nm --to=kernel %s 2>&1 | FileCheck %s --check-prefix=STAGE
// STAGE: error[E0001]: --from=nm: expects model, onnx, nn, kernel, llvm, llvm-ir, object or artifact
// RUN: not lathe compile --from=kernel --to=nn %s 2>&1 | FileCheck %s --check-prefix=ORDER
// ORDER: error[E0001]: --from=kernel does not come before --to=nn
// RUN: not lathe compile --from=object %s -o %t.so 2>&1 | FileCheck %s --check-prefix=UNREADABLE
// UNREADABLE: error[E0001]: --from=object cannot be read
// RUN: not lathe compile --from=llvm %s -o %t.so 2>&1 | FileCheck %s --check-prefix=DESCRIPTION
// DESCRIPTION: error[E0001]: --from=llvm does not lead to --to=artifact
// RUN: not lathe compile %s -o %t.so 2>&1 | FileCheck %s --check-prefix=MODEL
// MODEL: error[E0001]: {{.*}}compile-errors.mlir" is IR, and --from is model
// MODEL: help: --from=onnx, nn, kernel or llvm says which
// RUN: not lathe compile --from=nn --to=kernel %t-is-not-there.mlir 2>&1 | FileCheck %s --check-prefix=MISSING
// MISSING: error[E0002]: cannot read {{.*}}no such file
// RUN: echo "no ir" > %t.bad.mlir
// RUN: not lathe compile --from=nn --to=kernel %t.bad.mlir 2>&1 | FileCheck %s --check-prefix=PARSING
// PARSING: error[E0403]: custom op 'no' is unknown
// RUN: not lathe compile --weights-from=m.onnx m.onnx -o %t.so 2>&1 | FileCheck %s --check-prefix=WEIGHTS
// WEIGHTS: error[E0001]: --weights-from is for --from=onnx, nn or kernel
// RUN: not lathe compile --from=nn --to=kernel %s --dump-ir-after=nn-fuse-gelo 2>&1 | FileCheck %s --check-prefix=NEAR
// NEAR: error[E0001]: --dump-ir-after=nn-fuse-gelo: no pass has this name
// NEAR: help: did you mean nn-fuse-gelu?
// RUN: not lathe compile --from=nn --to=kernel %s --dump-ir-after=zzz 2>&1 | FileCheck %s --check-prefix=FAR
// FAR: help: passes are convert-onnx-to-nn, {{.*}}, nn-fuse-norm, {{.*}}, reconcile-unrealized-casts
// RUN: not lathe compile --from=nn --to=kernel %s --dump-ir-after=lower-host 2>&1 | FileCheck %s --check-prefix=ELSEWHERE
// ELSEWHERE: error[E0001]: --dump-ir-after=lower-host: this pass does not run from nn to kernel at -O2
// RUN: not lathe compile --from=nn --to=kernel %s -O0 --dump-ir-after=nn-fuse-gelu 2>&1 | FileCheck %s --check-prefix=LEVEL
// LEVEL: error[E0001]: --dump-ir-after=nn-fuse-gelu: this pass does not run from nn to kernel at -O0
// RUN: not lathe compile --from=nn --to=kernel %s --run-pass-until=-1 2>&1 | FileCheck %s --check-prefix=NUMBER
// NUMBER: error[E0001]: --run-pass-until=-1: expects a number from 0 to
// RUN: echo 'func.func private @k(%%a: memref<?xi8>, %%b: memref<4xcomplex<f32>>)  { return }' > %t.kernel.mlir
// RUN: not lathe compile --from=kernel %t.kernel.mlir -o %t.so 2>&1 | FileCheck %s --check-prefix=COMPLEX
// COMPLEX: error[E0401]: a value has type memref<4xcomplex<f32>>, which no kernel computes with
// COMPLEX: help: real and imaginary parts stand in a dimension of their own

nn.weight private @w : tensor<4xf32> = dense_resource<w>
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %w = nn.weight_use @w : tensor<4xf32>
  %0 = nn.binary add %x, %w : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
