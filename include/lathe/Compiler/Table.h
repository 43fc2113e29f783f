// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What an artifact says of itself: the table of the runtime's abi.h.

#ifndef LATHE_COMPILER_TABLE_H
#define LATHE_COMPILER_TABLE_H

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Codegen/Host/HostABI.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/Error.h"

#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// An input or output. A dimension is a size, `~i` for symbol i, or LATHE_DIM_COMPUTED.
struct ValueDescription {
  std::string name;
  uint32_t dtype = 0;
  std::vector<int64_t> dims;
  /// Of an output: the input in whose memory it may lie, or -1.
  int32_t shares = -1;
};

/// How a kernel is launched on a device: lathe_device_kernel_info.
struct DeviceKernel {
  /// Of the function in every image.
  std::string entry;
  unsigned threads = 0, sharedBytes = 0, registers = 0;
  /// Values of 8 bytes: an address for each input and result, then the sizes.
  unsigned parameters = 0;
};

/// Kernels for a device, compiled: lathe_image_info.
struct DeviceImage {
  /// "sm_90a", "compute_80" or "emulator".
  std::string target;
  /// A cubin, PTX with its NUL, or a shared object.
  std::string bytes;
};

struct KernelDescription {
  std::string name;
  /// The ONNX nodes it computes, one a line; of a layer's kernel those of its first instance.
  std::string nodes;
  /// In how many equal blocks of the model it stands.
  unsigned layers = 1;
  /// Where it runs on a device.
  std::optional<DeviceKernel> device = std::nullopt;
};

/// A function of a component of the runtime, and what the model says about a use of it.
struct ServiceDescription {
  std::string name, argument;
  unsigned operands = 0;
};

/// Everything in the table but the code.
struct ModelDescription {
  std::string name;
  uint64_t fingerprint = 0;
  /// What the name of the table ends with. describeModel() gives it the fingerprint's digits; for static
  /// output there follows what tells apart the compilations of one model.
  std::string symbolId;
  uint64_t weightBytes = 0;
  /// Where the weights begin that kernels of a device read.
  uint64_t deviceWeights = 0;
  /// The bytes of a session's scratch memory on a device.
  uint64_t deviceScratch = 0;
  uint64_t slotCount = 0, bufferCount = 0;
  std::vector<ValueDescription> inputs, outputs;
  llvm::SmallVector<codegen::Symbol> symbols;
  std::vector<KernelDescription> kernels;
  /// The nodes of places outside of kernels where a run may end, one a line.
  std::vector<std::string> places;
  /// What elements of tensors of strings stand for.
  std::vector<std::string> texts;
  std::vector<ServiceDescription> services;
  /// Best first.
  std::vector<DeviceImage> images;
  std::vector<std::pair<std::string, std::string>> metadata;

  /// `lathe_model_<symbolId>`.
  std::string tableName() const;
};

/// Reads the description off a module of kernels and launches, with its weights placed.
llvm::Expected<ModelDescription> describeModel(mlir::ModuleOp module);

/// Adds what lowering the host program, in `module`, has found out.
void describeHost(ModelDescription &model, mlir::ModuleOp module);

/// One variant: its target, the names of its functions, and what the names of all its functions end with.
struct VariantDescription {
  cpu::TargetSpec target;
  std::string run, layout, suffix;
};

/// Adds the table to `module`, where the variants' functions are. All references are offsets from the table,
/// so that it needs no relocation.
void buildTable(llvm::Module &module, const ModelDescription &model,
                llvm::ArrayRef<VariantDescription> variants);

} // namespace lathe

#endif // LATHE_COMPILER_TABLE_H
