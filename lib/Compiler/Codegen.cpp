// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Codegen.h"
#include "lathe/Support/Error.h"

#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Analysis/CGSCCPassManager.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/IPO/GlobalDCE.h"
#include "llvm/Transforms/IPO/Internalize.h"

#include <mutex>

using namespace llvm;
using namespace lathe;

namespace {

/// Collects what LLVM says instead of printing it; an error would otherwise end the process.
class Collector : public DiagnosticHandler {
public:
  explicit Collector(std::string &errors) : errors(errors) {}
  bool handleDiagnostics(const DiagnosticInfo &info) override {
    if (info.getSeverity() == DS_Error) {
      raw_string_ostream os(errors);
      DiagnosticPrinterRawOStream printer(os);
      os << (errors.empty() ? "" : "; ");
      info.print(printer);
    }
    return true;
  }

private:
  std::string &errors;
};

void initializeX86() {
  static std::once_flag once;
  // X86 only: initialising all targets of the library costs time and nothing is gained.
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
  });
}

Expected<std::unique_ptr<TargetMachine>> makeMachine(const CodegenOptions &options) {
  initializeX86();
  Triple triple(options.base.triple);
  std::string reason;
  const Target *target = TargetRegistry::lookupTarget(triple, reason);
  if (!target) {
    return modelError(ErrorCode::E0900, "no code generator for " + options.base.triple + ": " + reason);
  }
  std::unique_ptr<TargetMachine> machine(target->createTargetMachine(
      triple, options.base.cpu, options.base.llvmFeatures, TargetOptions(), Reloc::PIC_, CodeModel::Small,
      options.optLevel == 0 ? CodeGenOptLevel::Less : CodeGenOptLevel::Default));
  return machine;
}

void prepare(Module &module, const TargetMachine &machine, const CodegenOptions &options) {
  module.setTargetTriple(Triple(options.base.triple));
  module.setDataLayout(machine.createDataLayout());
  module.setPICLevel(PICLevel::BigPIC);
  // A name that holds no path: the bytes must not depend on where the compiler was called.
  module.setSourceFileName("lathe");
  module.setModuleIdentifier("lathe");
  for (Function &function : module) {
    // No unwind tables: nothing throws, and nothing of the host may unwind through us.
    function.addFnAttr(Attribute::NoUnwind);
    if (function.isDeclaration()) {
      continue;
    }
    // The vectorizer and the inliner read these, not the TargetMachine.
    if (!function.hasFnAttribute("target-features")) {
      function.addFnAttr("target-cpu", options.base.cpu);
      function.addFnAttr("tune-cpu", options.base.tuneCpu);
      function.addFnAttr("target-features", options.base.llvmFeatures);
      function.addFnAttr("prefer-vector-width", utostr(options.base.vectorBits));
    }
  }
  StringSet<> exported;
  for (const std::string &name : options.exported) {
    exported.insert(name);
  }
  internalizeModule(module, [&](const GlobalValue &value) { return exported.contains(value.getName()); });
}

bool usesSmallFloats(Module &module) {
  auto isSmall = [](Type *type) { return type->getScalarType()->is16bitFPTy(); };
  return any_of(module, [&](Function &function) {
    return any_of(instructions(function), [&](Instruction &instruction) {
      return isSmall(instruction.getType()) ||
             any_of(instruction.operands(), [&](Use &use) { return isSmall(use->getType()); });
    });
  });
}

/// `x`, a f64, as a f32 that rounds to any narrower float as `x` does: what is between two numbers becomes
/// that of them whose last bit is 1.
Value *roundToOdd(IRBuilder<> &b, Value *x) {
  Value *nearest = b.CreateFPTrunc(x, b.getFloatTy()), *back = b.CreateFPExt(nearest, b.getDoubleTy());
  Value *bits = b.CreateBitCast(nearest, b.getInt32Ty());
  auto magnitude = [&](Value *value) { return b.CreateUnaryIntrinsic(Intrinsic::fabs, value); };
  Value *isAway = b.CreateFCmpOGT(magnitude(back), magnitude(x));
  Value *odd = b.CreateOr(b.CreateSub(bits, b.CreateZExt(isAway, b.getInt32Ty())), 1);
  return b.CreateBitCast(b.CreateSelect(b.CreateFCmpONE(back, x), odd, bits), b.getFloatTy());
}

/// The bits of a f32 rounded to bf16: to the nearest, halves to even ones; NaN stays NaN.
Value *roundToBF16(IRBuilder<> &b, Value *x) {
  Value *bits = b.CreateBitCast(x, b.getInt32Ty());
  Value *isOdd = b.CreateAnd(b.CreateLShr(bits, 16), 1);
  Value *rounded = b.CreateAdd(bits, b.CreateAdd(isOdd, b.getInt32(0x7fff)));
  Value *quiet = b.CreateOr(bits, 0x00400000);
  Value *result = b.CreateLShr(b.CreateSelect(b.CreateFCmpUNO(x, x), quiet, rounded), 16);
  return b.CreateBitCast(b.CreateTrunc(result, b.getInt16Ty()), b.getHalfTy());
}

/// Defines what the code generator calls to round to floats of 16 bits where the processor has no instruction
/// for it. The bits of a bf16 are returned as those of a half.
void defineRounding(Module &module, const CodegenOptions &options) {
  if (!usesSmallFloats(module)) {
    return;
  }
  LLVMContext &context = module.getContext();
  auto define = [&](StringRef name, Type *from, function_ref<Value *(IRBuilder<> &, Value *)> body) {
    if (module.getFunction(name)) {
      return;
    }
    auto *type = FunctionType::get(Type::getHalfTy(context), {from}, /*isVarArg=*/false);
    Function *function = Function::Create(type, GlobalValue::InternalLinkage, name, module);
    function->addFnAttr(Attribute::NoUnwind);
    function->addFnAttr("target-cpu", options.base.cpu);
    function->addFnAttr("target-features", options.base.llvmFeatures);
    IRBuilder<> b(BasicBlock::Create(context, "", function));
    b.CreateRet(body(b, function->getArg(0)));
  };
  Type *single = Type::getFloatTy(context), *wide = Type::getDoubleTy(context);
  define("__truncsfbf2", single, roundToBF16);
  define("__truncdfbf2", wide, [](IRBuilder<> &b, Value *x) { return roundToBF16(b, roundToOdd(b, x)); });
  define("__truncdfhf2", wide,
         [](IRBuilder<> &b, Value *x) { return b.CreateFPTrunc(roundToOdd(b, x), b.getHalfTy()); });
}

void optimize(Module &module, TargetMachine &machine, unsigned optLevel) {
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager components;
  ModuleAnalysisManager modules;
  PipelineTuningOptions tuning;
  tuning.LoopVectorization = tuning.SLPVectorization = true;
  PassBuilder builder(&machine, tuning);
  // Only these exist where the code runs; LLVM must not invent calls of others.
  TargetLibraryInfoImpl library(module.getTargetTriple());
  library.disableAllFunctions();
  for (LibFunc function : {LibFunc_memcpy, LibFunc_memmove, LibFunc_memset}) {
    library.setAvailable(function);
  }
  functions.registerPass([&] { return TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  ModulePassManager passes =
      builder.buildPerModuleDefaultPipeline(optLevel == 0 ? OptimizationLevel::O1 : OptimizationLevel::O2);
  passes.addPass(GlobalDCEPass());
  passes.run(module, modules);
}

} // namespace

void lathe::setTargetAttributes(mlir::LLVM::LLVMFuncOp function, const cpu::TargetSpec &target) {
  mlir::Builder builder(function.getContext());
  SmallVector<StringRef> features;
  StringRef(target.llvmFeatures).split(features, ',');
  SmallVector<mlir::StringAttr> attributes;
  for (StringRef feature : features) {
    attributes.push_back(builder.getStringAttr(feature));
  }
  function.setTargetCpu(StringRef(target.cpu));
  function.setTuneCpu(StringRef(target.tuneCpu));
  function.setTargetFeaturesAttr(mlir::LLVM::TargetFeaturesAttr::get(builder.getContext(), attributes));
  function.setPreferVectorWidth(StringRef(utostr(target.vectorBits)));
}

Expected<SmallVector<char, 0>> lathe::emitObject(mlir::ModuleOp mlirModule, const CodegenOptions &options,
                                                 std::string *ir) {
  mlir::registerBuiltinDialectTranslation(*mlirModule.getContext());
  mlir::registerLLVMDialectTranslation(*mlirModule.getContext());
  LLVMContext context;
  std::unique_ptr<Module> module = mlir::translateModuleToLLVMIR(mlirModule, context, "lathe");
  if (!module) {
    return modelError(ErrorCode::E0901, "the translation to LLVM IR failed");
  }
  if (options.extend) {
    options.extend(*module);
  }
  return emitObject(*module, options, ir);
}

Expected<SmallVector<char, 0>> lathe::emitObject(Module &module, const CodegenOptions &options,
                                                 std::string *ir) {
  std::string errors;
  module.getContext().setDiagnosticHandler(std::make_unique<Collector>(errors));
  scope_exit reset([&] { module.getContext().setDiagnosticHandler(nullptr); });
  Expected<std::unique_ptr<TargetMachine>> machine = makeMachine(options);
  if (!machine) {
    return machine.takeError();
  }
  prepare(module, **machine, options);
  std::string invalid;
  raw_string_ostream invalidStream(invalid);
  if (verifyModule(module, &invalidStream)) {
    return modelError(ErrorCode::E0901, "invalid LLVM IR: " + StringRef(invalid).trim());
  }
  optimize(module, **machine, options.optLevel);
  defineRounding(module, options);
  if (ir) {
    raw_string_ostream(*ir) << module;
  }
  SmallVector<char, 0> object;
  raw_svector_ostream os(object);
  legacy::PassManager emission;
  if ((*machine)->addPassesToEmitFile(emission, os, nullptr, CodeGenFileType::ObjectFile)) {
    return modelError(ErrorCode::E0900, "the code generator cannot write objects");
  }
  emission.run(module);
  if (!errors.empty()) {
    return modelError(ErrorCode::E0901, "code generation failed: " + errors);
  }
  return object;
}
