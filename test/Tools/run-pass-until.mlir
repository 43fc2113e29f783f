// RUN: lathe compile --quiet --from=nn --to=kernel %s --run-pass-until=4 2>%t.err | FileCheck %s --check-prefix=PLAIN
// RUN: FileCheck %s --check-prefix=LOG --input-file %t.err
// The fifth pass is the one that finds the gelu:
// RUN: lathe compile --quiet --from=nn --to=kernel %s --run-pass-until=5 2>/dev/null | FileCheck %s --check-prefix=GELU
// Obligatory passes always run, so there is code even with no other:
// RUN: lathe compile --quiet --verify-each --from=nn %s -o %t.so --run-pass-until=0 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: lathe inspect %t.so | FileCheck %s --check-prefix=ARTIFACT
// More than there are is all of them:
// RUN: lathe compile --quiet --from=nn --to=kernel %s --run-pass-until=1000 2>&1 >/dev/null | FileCheck %s --check-prefix=ALL

// PLAIN-NOT: gelu
// PLAIN:     nn.unary erf
// PLAIN-NOT: gelu
// LOG:       running pass (1) canonicalize
// LOG:       running pass (4) nn-fuse-norm
// LOG-NEXT:  NOT running pass (5) nn-fuse-gelu
// LOG-NOT:   {{^}}running
// LOG-NOT:   kernel-outline
// LOG:       ran 4 of {{[0-9]+}} optional passes, the last was nn-fuse-norm
// GELU-NOT:  nn.unary erf
// GELU:      nn.unary gelu
// NONE:      ran 0 of {{[0-9]+}} optional passes{{$}}
// ARTIFACT:  x
// ALL-NOT:   NOT running
// ALL:       ran [[N:[0-9]+]] of [[N]] optional passes
func.func @main(%x: tensor<4xf32> {nn.name = "x"}) -> tensor<4xf32> {
  %sqrt2 = arith.constant dense<1.41421354> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %half = arith.constant dense<0.5> : tensor<f32>
  %0 = nn.binary div %x, %sqrt2 : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
  %1 = nn.unary erf %0 : tensor<4xf32> -> tensor<4xf32>
  %2 = nn.binary add %1, %one : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
  %3 = nn.binary mul %x, %2 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
  %4 = nn.binary mul %3, %half : tensor<4xf32>, tensor<f32> -> tensor<4xf32>
  return %4 : tensor<4xf32>
}
