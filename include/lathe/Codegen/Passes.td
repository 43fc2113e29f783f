// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_CODEGEN_PASSES_TD
#define LATHE_CODEGEN_PASSES_TD

include "mlir/Pass/PassBase.td"

def AssignWeightsPass : Pass<"assign-weights", "::mlir::ModuleOp"> {
  let summary = "arrange weights and give them their place in the artifact";
  let description = [{
    A weight that is read by products alone, directly or through layers, is arranged in panels (`nn.weight` gets
    `panel`, the kernels' arguments `kernel.panel`). Every weight that is still used gets `lathe.offset`, the module
    `lathe.weight_bytes`. The others stay without a place: they may be the sources of placed ones.
  }];
  let options = [Option<"onDevice", "on-device", "bool", /*default=*/"false",
                        "arrange them in the panels that kernels of CUDA devices read">];
  let dependentDialects = ["::lathe::nn::NNDialect", "::lathe::kernel::KernelDialect"];
}

def CountKernelCostsPass : Pass<"count-kernel-costs", "::mlir::ModuleOp"> {
  let summary = "count the operations and bytes of kernels";
  let description = [{
    Beside every kernel stands `<name>.cost(sizes) -> (flops, bytes, bytes of weights)`, what one execution takes at
    least. A product
    counts 2 M N K, a convolution 2 for each result, place in the window and channel of its group, attention its two
    products, a norm 7 an element (RMS: 4), a softmax 5; any other function of elements, `exp` and `gelu` as well as
    `add`, counts 1 for each result, a reduction 1 for each element that it reads. Integers, conversions, comparisons,
    choices and moves count nothing. flops is -1 where an op's are not known. Bytes are those of inputs, weights among
    them, and results, each once; of an input that is only gathered or sliced, what is picked.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect"];
}

def EmitCPUKernelsPass : Pass<"emit-cpu-kernels", "::mlir::ModuleOp"> {
  let summary = "turn kernels over tensors into loops over memory";
  let description = [{
    Every function with a `kernel.root` gets the arguments begin, end and worker, an i32 result (0 or the fault that its
    `kernel.trap_if`s noted), and the loops of its kind's emitter. Beside it stands `<name>.tasks(sizes) -> (count,
    grain)`.
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"native\"",
                        "native, x86-64-v3 or x86-64-v4, with +vnni, +bf16 or +amx">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect", "::mlir::vector::VectorDialect",
                           "::mlir::cf::ControlFlowDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::affine::AffineDialect"];
}

def CheckKernelsPass : Pass<"check-cpu-kernels", "::mlir::func::FuncOp"> {
  let summary = "find what makes emitted kernels slow or unsafe";
  let description = [{
    An emitted kernel must not allocate from the heap and must not allocate stack in a loop (errors). It should not copy
    whole buffers, and its vectors should be one-dimensional and fit registers: a vector of more or of odd lanes is taken
    apart by the code generator, at a multiple of the cost (warnings, errors with `strict`).
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"native\"",
                        "native, x86-64-v3 or x86-64-v4, with +vnni, +bf16 or +amx">,
                 Option<"strict", "strict", "bool", /*default=*/"false", "fail on what is only slow">];
}

def EmitCUDAKernelsPass : Pass<"emit-cuda-kernels", "::mlir::ModuleOp"> {
  let summary = "turn kernels over tensors into functions of a CUDA device";
  let description = [{
    Every function with a `kernel.root` becomes what one thread of a grid does: its arguments are an address for each
    input and result, a number of 64 bits for each size, then the address of an i32 that receives a fault.
    `lathe.threads` says how many threads a block has, `lathe.shared_bytes` how much shared memory, which is the global
    `@lathe_shared`. Beside it stands `<name>.tasks(sizes) -> (blocks, 0)`.

    Tensor cores multiply f16 and bf16, with sums of f32; f32 only as TF32, where that is allowed.
  }];
  let options = [Option<"tf32", "tf32", "bool", /*default=*/"false", "products of f32 may be computed in TF32">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect", "::mlir::vector::VectorDialect",
                           "::mlir::cf::ControlFlowDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::NVVM::NVVMDialect", "::mlir::affine::AffineDialect"];
}

def CheckDeviceHostPass : Pass<"check-device-host", "::mlir::func::FuncOp"> {
  let summary = "refuse host programs that read what a device computes";
  let description = [{
    The program of launches runs on the host, tensors lie on the device: sizes that depend on data, branches, loops and
    calls of the runtime's components are refused, all of them at once.
  }];
}

def OutlineDevicePass : Pass<"outline-device", "::mlir::ModuleOp"> {
  let summary = "move device functions into a module of their own";
  let description = [{
    What has `lathe.threads` moves, with the globals that it uses, into the nested module `@device`, which is compiled for
    the device instead of the host.
  }];
}

def LowerHostPass : Pass<"lower-host", "::mlir::ModuleOp"> {
  let summary = "turn the program of launches into code over one arena";
  let description = [{
    `@main` becomes `@run(call) -> i32` and `@layout(symbols, workers, slots, output_dims, arena_bytes) -> i32` as the
    runtime's abi.h has them, each layer a function over pointers, each kernel gets an entry for the thread pool. Tensors
    between kernels become slots of the arena: two that never live at the same time may share one, and the offsets are
    formulas of the symbols, evaluated once per shape.
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::cf::ControlFlowDialect",
                           "::mlir::arith::ArithDialect"];
}

#endif // LATHE_CODEGEN_PASSES_TD
