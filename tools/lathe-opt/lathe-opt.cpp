// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Every pass and named pipeline of Lathe and MLIR by itself, for lit tests and for researchers.

#include "lathe/Compiler/Pipeline.h"
#include "lathe/Compiler/Register.h"

#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::registerAllPasses();
  lathe::registerPasses();
  lathe::registerPipelines();
  mlir::DialectRegistry registry;
  lathe::registerDialects(registry);
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "Lathe's optimizer driver\n", registry));
}
