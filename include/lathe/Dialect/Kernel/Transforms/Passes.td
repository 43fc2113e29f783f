// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_KERNEL_PASSES_TD
#define LATHE_KERNEL_PASSES_TD

include "mlir/Pass/PassBase.td"

def FormKernelsPass : Pass<"kernel-form", "::mlir::func::FuncOp"> {
  let summary = "group nn ops into kernels";
  let description = [{
    Every tensor op of the function ends in exactly one `kernel.group`. With `fuse` off each op is a group of its own
    and runs its reference lowering.
  }];
  let options = [Option<"fuse", "fuse", "bool", /*default=*/"true", "fuse ops around a root">,
                 Option<"onDevice", "on-device", "bool", /*default=*/"false",
                        "by the rules of CUDA devices, whose kernels multiply f16, too">];
  let dependentDialects = ["::lathe::kernel::KernelDialect"];
}

def MergeRowsPass : Pass<"kernel-merge-rows", "::mlir::func::FuncOp"> {
  let summary = "join kernels that go over the same rows";
  let description = [{
    A kernel of rows takes in the kernels of rows and pointwise kernels that read its results, or the rows that it reads,
    row by row; the joint kernel has a result for everything that others read. Rows are known to be short (4,096 elements),
    or the joint kernel reduces all in one pass with one result a row. What the later kernel needs beside moves before the
    joint kernel.
  }];
  let dependentDialects = ["::lathe::kernel::KernelDialect"];
}

def PlaceConcatsPass : Pass<"kernel-place-concats", "::mlir::func::FuncOp"> {
  let summary = "let kernels write to their place in a concatenation";
  let description = [{
    A kernel that only concatenates becomes a `kernel.join` where its operands, at least half of the elements, are
    computed by kernels that can write them to their places: along the last dimension with a pitch, or as dense tensors
    where all dimensions before are 1. What else reads them must know the pitch, too. The other operands are copied by
    kernels of their own. Sizes from the joined dimension on are static, and none depends on data.
  }];
  let options = [Option<"alignment", "alignment", "unsigned", /*default=*/"1",
                        "parts without a pitch begin at a multiple of so many bytes, or are not placed">];
  let dependentDialects = ["::lathe::kernel::KernelDialect"];
}

def OutlineKernelsPass : Pass<"kernel-outline", "::mlir::ModuleOp"> {
  let summary = "turn kernel groups into functions over bytes";
  let description = [{
    Groups of equal structure share one function. Inputs and results become `memref<?xi8>`, sizes become `index`.
    Where more than `most-variants` groups differ in nothing but the offsets of their slices, as the steps of an
    unrolled recurrence do, these are handed over, too.
  }];
  let options = [Option<"mostVariants", "most-variants", "unsigned", /*default=*/"8",
                        "so many functions may differ only in the offsets of their slices">];
  let dependentDialects = ["::lathe::kernel::KernelDialect", "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect"];
}

#endif // LATHE_KERNEL_PASSES_TD
