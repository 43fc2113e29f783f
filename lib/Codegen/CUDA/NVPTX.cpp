// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/CUDA/Images.h"
#include "lathe/Support/Error.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Analysis/CGSCCPassManager.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

#include <mutex>

using namespace llvm;
using namespace lathe;

static constexpr StringLiteral kTriple = "nvptx64-nvidia-cuda";
/// Kernels use nothing that is newer; drivers from R525 on know PTX 8.0.
static constexpr StringLiteral kProcessor = "sm_80", kFeatures = "+ptx80";

static Expected<std::unique_ptr<TargetMachine>> makeMachine(CodeGenOptLevel level) {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
  Triple triple(kTriple);
  std::string reason;
  const Target *target = TargetRegistry::lookupTarget(triple, reason);
  if (!target) {
    return modelError(ErrorCode::E0900, "no code generator for " + kTriple + ": " + reason);
  }
  return std::unique_ptr<TargetMachine>(target->createTargetMachine(
      triple, kProcessor, kFeatures, TargetOptions(), std::nullopt, std::nullopt, level));
}

static void optimize(Module &module, TargetMachine &machine, unsigned optLevel) {
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager components;
  ModuleAnalysisManager modules;
  PassBuilder builder(&machine);
  // There is no library on a device.
  TargetLibraryInfoImpl library(module.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(optLevel == 0 ? OptimizationLevel::O1 : OptimizationLevel::O3)
      .run(module, modules);
}

Expected<std::unique_ptr<Module>> cuda::makeDeviceModule(mlir::ModuleOp device, LLVMContext &context,
                                                         unsigned optLevel) {
  mlir::registerBuiltinDialectTranslation(*device.getContext());
  mlir::registerLLVMDialectTranslation(*device.getContext());
  mlir::registerNVVMDialectTranslation(*device.getContext());
  std::unique_ptr<Module> module = mlir::translateModuleToLLVMIR(device, context, "lathe");
  if (!module) {
    return modelError(ErrorCode::E0901, "the translation of device code to LLVM IR failed");
  }
  Expected<std::unique_ptr<TargetMachine>> machine = makeMachine(CodeGenOptLevel::Aggressive);
  if (!machine) {
    return machine.takeError();
  }
  module->setTargetTriple(Triple(kTriple));
  module->setDataLayout((*machine)->createDataLayout());
  module->setSourceFileName("lathe");
  module->setModuleIdentifier("lathe");
  for (auto function : device.getOps<mlir::LLVM::LLVMFuncOp>()) {
    auto threads = function->getAttrOfType<mlir::IntegerAttr>(kThreadsAttr);
    Function *kernel = threads ? module->getFunction(function.getName()) : nullptr;
    if (kernel) {
      kernel->setCallingConv(CallingConv::PTX_Kernel);
      kernel->addFnAttr("nvvm.maxntid", utostr(uint64_t(threads.getInt())));
      kernel->addFnAttr(Attribute::NoUnwind);
      if (auto blocks = function->getAttrOfType<mlir::IntegerAttr>(kBlocksAtOnceAttr)) {
        kernel->addFnAttr("nvvm.minctasm", utostr(uint64_t(blocks.getInt())));
      }
    }
  }
  std::string invalid;
  raw_string_ostream stream(invalid);
  if (verifyModule(*module, &stream)) {
    return modelError(ErrorCode::E0901, "invalid LLVM IR for a device: " + StringRef(invalid).trim());
  }
  optimize(*module, **machine, optLevel);
  return module;
}

Expected<std::string> cuda::emitPTX(const Module &device) {
  Expected<std::unique_ptr<TargetMachine>> machine = makeMachine(CodeGenOptLevel::Aggressive);
  if (!machine) {
    return machine.takeError();
  }
  // The code generator changes what it is given.
  std::unique_ptr<Module> module = CloneModule(device);
  SmallString<0> ptx;
  raw_svector_ostream os(ptx);
  legacy::PassManager emission;
  if ((*machine)->addPassesToEmitFile(emission, os, nullptr, CodeGenFileType::AssemblyFile)) {
    return modelError(ErrorCode::E0900, "the code generator cannot write PTX");
  }
  emission.run(*module);
  return ptx.str().str();
}
