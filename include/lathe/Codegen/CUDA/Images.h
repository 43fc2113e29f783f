// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From device functions of the LLVM dialect to what a driver loads.

#ifndef LATHE_CODEGEN_CUDA_IMAGES_H
#define LATHE_CODEGEN_CUDA_IMAGES_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"

#include <memory>
#include <optional>

namespace llvm {
class LLVMContext;
class Module;
} // namespace llvm

namespace lathe::cuda {

/// The nested module of device functions.
inline constexpr llvm::StringLiteral kDeviceModule = "device";
/// What the host program of launches is compiled for.
inline constexpr llvm::StringLiteral kHostTarget = "x86-64-v3";
/// The virtual architecture of the PTX, which every device from this one on runs.
inline constexpr llvm::StringLiteral kVirtualArchitecture = "compute_80";
/// Begins the names of the functions that the emulator's images call.
inline constexpr llvm::StringLiteral kEmulatorPrefix = "lathe_emu_";

/// Translates a module of device functions to LLVM IR for NVPTX, its kernels marked as such, and optimizes
/// it. What the translation refuses is also emitted as a diagnostic.
llvm::Expected<std::unique_ptr<llvm::Module>> makeDeviceModule(mlir::ModuleOp device,
                                                               llvm::LLVMContext &context, unsigned optLevel);

/// The PTX of a module from makeDeviceModule.
llvm::Expected<std::string> emitPTX(const llvm::Module &device);

/// What ptxas says of a kernel.
struct KernelResources {
  unsigned registers = 0, stackBytes = 0, spillBytes = 0;
};
/// Machine code for one architecture.
struct Cubin {
  llvm::SmallVector<char, 0> bytes;
  llvm::StringMap<KernelResources> kernels;
  /// The performance warnings of ptxas: lines with a code, "C7508".
  std::vector<std::string> warnings;
};

/// Where ptxas is: what LATHE_PTXAS names, in $CUDA_HOME/bin, in /usr/local/cuda/bin, in the search path;
/// nothing if it is nowhere.
std::optional<std::string> findPtxas();

/// Runs ptxas for `architecture`, "sm_80".
llvm::Expected<Cubin> assemble(llvm::StringRef ptxas, llvm::StringRef ptx, llvm::StringRef architecture);

/// The same IR that NVPTX gets, for the processor: without address spaces, and with calls of the emulator's
/// functions in place of the device's intrinsics and of its shared memory.
llvm::Expected<std::unique_ptr<llvm::Module>> makeEmulatorModule(const llvm::Module &device);

} // namespace lathe::cuda

#endif // LATHE_CODEGEN_CUDA_IMAGES_H
