// RUN: lathe-opt %s --lathe-kernels=opt-level=0 --emit-cpu-kernels=target=x86-64-v3 --lower-host | FileCheck %s

// Where an artifact has other kernels and places, too, those of this module have the numbers behind them: the kernel is
// number 5, the place 9, which is 9 << 8 | LATHE_FAULT_SHAPE.
// CHECK-LABEL: func.func @lathe_run(
// CHECK:         llvm.mlir.constant(2307 : i32)
// CHECK:         llvm.mlir.constant(5 : i32)
module attributes {lathe.first_kernel = 5 : i64, lathe.first_place = 9 : i64} {
  func.func @main(%x: tensor<?xf32> {nn.name = "x", nn.dims = ["N"]}, %s: tensor<1xi64> {nn.name = "s", nn.dims = [""]})
      -> (tensor<?x?xf32> {nn.name = "y"}) {
    %N = nn.dim_symbol "N"
    %n = nn.read_index %s[0] : tensor<1xi64>
    %m = nn.checked_size %n
    %1 = nn.expand %x to [%m, %N] : tensor<?xf32> -> tensor<?x?xf32>
    return %1 : tensor<?x?xf32>
  }
}
