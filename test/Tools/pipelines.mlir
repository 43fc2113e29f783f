// The named pipelines of lathe-opt are the driver's: stage by stage, in this order.
// RUN: lathe-opt --help | FileCheck %s --check-prefix=HELP
// RUN: lathe-opt %s --lathe-compile=target=x86-64-v3 --dump-pass-pipeline -o %t.mlir 2>&1 | FileCheck %s
// RUN: lathe-opt %s --lathe-legalize --lathe-optimize --lathe-kernels --lathe-codegen=target=x86-64-v3 | diff - %t.mlir
// RUN: lathe-opt %s --lathe-optimize=opt-level=0 --dump-pass-pipeline -o /dev/null 2>&1 | FileCheck %s --check-prefix=PLAIN
// RUN: not lathe-opt %s --lathe-codegen=level=1 2>&1 | FileCheck %s --check-prefix=OPTION

// HELP:      --lathe-codegen
// HELP:      --opt-level
// HELP:      --lathe-compile
// HELP:      --lathe-kernels
// HELP:      --lathe-legalize
// HELP:      --lathe-optimize
// CHECK:      convert-onnx-to-nn
// CHECK:      nn-fuse-norm
// CHECK:      nn-fuse-gelu
// CHECK:      nn-fuse-attention
// CHECK:      nn-propagate-transposes
// CHECK:      nn-fold-weights
// CHECK:      nn-fuse-projections
// CHECK:      nn-outline-constants
// CHECK:      nn-outline-layers
// CHECK:      kernel-form{{ *}}{{.*}}fuse=true
// CHECK:      kernel-outline
// CHECK:      assign-weights
// CHECK:      emit-cpu-kernels{{.*}}target=x86-64-v3
// CHECK:      check-cpu-kernels
// CHECK:      lower-host
// CHECK:      reconcile-unrealized-casts
// PLAIN-NOT: nn-fuse
// PLAIN:     nn-outline-constants
// PLAIN-NOT: nn-outline-layers
// OPTION:    no such option level
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = onnx.node "Relu"(%x) version 17 {} outputs ["y"] : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
