// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Code for CUDA devices: from the nested module of the LLVM dialect to the images of the model's table.

#ifndef LATHE_LIB_COMPILER_DEVICE_H
#define LATHE_LIB_COMPILER_DEVICE_H

#include "lathe/Codegen/CUDA/DeviceTarget.h"
#include "lathe/Compiler/Report.h"
#include "lathe/Compiler/Table.h"

namespace lathe {

/// Adds the kernels of `device` to the description of those of `processor`, another module of the same model:
/// they follow them, and their weights follow theirs.
llvm::Error addDevice(ModelDescription &model, mlir::ModuleOp device, mlir::ModuleOp processor);

/// Takes the module of device functions out of `host` and compiles it for `targets`: PTX in any case, machine
/// code for the architectures among them, if there is a ptxas, and the emulator's library. Images and
/// launches go into `model`, what is worth a word into `report`. `ptx`, if not null, receives the PTX.
llvm::Error compileDevice(mlir::ModuleOp host, llvm::ArrayRef<cuda::DeviceTarget> targets, unsigned optLevel,
                          ModelDescription &model, Report &report, std::string *ptx = nullptr);

} // namespace lathe

#endif // LATHE_LIB_COMPILER_DEVICE_H
