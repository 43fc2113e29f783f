// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From options to files: reads a model or IR, runs the stages of Pipeline.h, writes what was asked for.

#include "lathe/Compiler/Compile.h"

#include "CheckPlan.h"
#include "CompressionReport.h"
#include "DepFile.h"
#include "Device.h"
#include "Explain.h"
#include "GraphReport.h"
#include "NotFinite.h"
#include "PassSelection.h"
#include "ReadIR.h"
#include "RemarkCollector.h"
#include "Targets.h"
#include "TextOutput.h"
#include "Variants.h"

#include "lathe/Codegen/CUDA/Images.h"
#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Compiler/Codegen.h"
#include "lathe/Compiler/Link.h"
#include "lathe/Compiler/Pipeline.h"
#include "lathe/Compiler/Register.h"
#include "lathe/Compiler/Seal.h"
#include "lathe/Compiler/Table.h"
#include "lathe/Import/Import.h"
#include "lathe/Import/ModelFile.h"
#include "lathe/Plan/Stats.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Text.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/LocationSnapshot.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace lathe;
using llvm::Error;
using llvm::Expected;

namespace {

/// One compilation.
class Compilation {
public:
  Compilation(const CompileOptions &options, Report &report) : options(options), report(report) {
    DialectRegistry registry;
    registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.disableMultithreading();
    llvm::append_range(pipeline.shapes, llvm::map_range(options.shapes, std::mem_fn(&ShapeOption::str)));
    pipeline.optLevel = options.optLevel;
    pipeline.strict = options.verifyEach;
    pipeline.foldBudget = options.foldBudget;
    pipeline.plan = options.plan;
    pipeline.latencies = options.latencies;
    pipeline.force = options.force;
    pipeline.refused = &refused;
    pipeline.exposeOperands = options.exposeOperands;
    pipeline.exposeRounding = options.exposeRounding;
  }

  Error run() {
    Expected<Targets> resolved = resolveTargets(options);
    if (!resolved) {
      return resolved.takeError();
    }
    pipeline.onDevice = resolved->areDevicesAlone();
    pipeline.target = resolved->optimizedFor;
    targets = std::move(resolved->processors);
    deviceTargets = std::move(resolved->devices);
    report.targets = options.targets;
    if (Error error = checkDumpedPass(options)) {
      return error;
    }
    if (options.runPassUntil) {
      bisection.emplace(*options.runPassUntil);
      pipeline.filter = [this](StringRef pass, bool isOptional) { return bisection->runs(pass, isOptional); };
    }
    if (Error error = read()) {
      return error;
    }
    if (Error error = checkPlan(options.plan, *module)) {
      return error;
    }
    if (Error error = readStats()) {
      return error;
    }
    if (explained) {
      if (Error error = checkNode(*explained, *module)) {
        return error;
      }
    }
    notFinite.addConstants(*module);
    if (options.describeGraph) {
      graph.emplace().addNodes(*module);
    }
    {
      RemarkCollector remarks(&context, report);
      if (Error error = runStages()) {
        return error;
      }
    }
    if (explained) {
      keepOnly(*explained, *module, report);
    }
    summarizeRemarks(report);
    notFinite.writeTo(report);
    if (graph) {
      graph->writeTo(report);
    }
    report.endPhases();
    if (bisection) {
      bisection->summarize();
    }
    return options.depFile.empty() || !writes ? Error::success() : writeDependencies();
  }

  /// Whether to write what was asked for, or only to find out whether that is possible.
  bool writes = true;
  /// The node that the report is to be about.
  std::optional<StringRef> explained;

private:
  Error read() {
    report.beginPhase("read");
    if (options.from == Stage::Model) {
      return importModel(options.input).moveInto(module);
    }
    if (Error error = readIR(context, options.input).moveInto(module)) {
      return error;
    }
    if (options.from != Stage::Onnx) {
      if (Error error = checkTypes(*module)) {
        return error;
      }
    }
    std::string text;
    llvm::raw_string_ostream stream(text);
    module->print(stream, withoutWeights());
    irHash = llvm::xxh3_64bits(text);
    if (options.weightsFrom.empty()) {
      // Only the artifact holds them.
      return options.to < Stage::Artifact ? Error::success() : checkWeights(*module);
    }
    OwningOpRef<ModuleOp> model;
    if (Error error = importModel(options.weightsFrom).moveInto(model)) {
      return error;
    }
    return takeWeights(*module, *model);
  }

  Error readStats() {
    if (options.stats.empty()) {
      return Error::success();
    }
    Expected<Stats> read = Stats::read(options.stats);
    if (!read) {
      return read.takeError();
    }
    stats = std::make_unique<Stats>(std::move(*read));
    pipeline.stats = stats.get();
    return checkStats(*stats, *module);
  }

  Expected<OwningOpRef<ModuleOp>> importModel(llvm::StringRef path) {
    DiagnosticCollector diagnostics(&context, path.str());
    ImportOptions import;
    import.files.allowLinkedData = options.allowLinkedData;
    import.limits = options.limits;
    Expected<OwningOpRef<ModuleOp>> imported = importOnnx(context, path, import, modelFile);
    if (imported) {
      if (Error error = diagnostics.takeError()) {
        return error;
      }
    }
    return imported;
  }

  using Builder = void (*)(OpPassManager &, const PipelineOptions &);

  /// Whether the stage is to be left: it is reached and not the last one asked for.
  bool passes(Stage stage) const {
    return std::max(options.from, Stage::Onnx) <= stage && stage < options.to;
  }

  Error runStages() {
    if (passes(Stage::Onnx)) {
      if (Error error = runPipeline("legalize", buildLegalizePipeline, *module, pipeline)) {
        return error;
      }
    }
    if (passes(Stage::NN)) {
      if (Error error = runPipeline("optimize", buildOptimizePipeline, *module, pipeline)) {
        return error;
      }
      if (options.emitPlan) {
        return writeText([&](llvm::raw_ostream &os) {
          os << llvm::formatv("{0:2}\n",
                              llvm::json::Value(resolvePlan(options.plan, stats.get(), *module).toJSON()));
        });
      }
      if (graph) {
        graph->addLayers(*module);
      }
      CompressionReport compression(*module, refused);
      if (Error error = runPipeline("compress", buildCompressPipeline, *module, pipeline)) {
        return error;
      }
      compression.noteLeft(*module);
      if (!deviceTargets.empty() && !pipeline.onDevice) {
        deviceModule = module->clone();
        if (Error error = runPipeline("device kernels", buildKernelPipeline, *deviceModule, onDevice())) {
          return error;
        }
      }
      if (Error error = runPipeline("kernels", buildKernelPipeline, *module, pipeline)) {
        return error;
      }
      compression.finish(*module, options.latencies.file, report);
      if (graph) {
        graph->addKernels(*module, report);
      }
    }
    if (options.to <= Stage::Kernel) {
      return writes ? writeModule(*module) : Error::success();
    }
    return options.from == Stage::LLVM ? generateFromLLVM() : generate();
  }

  Error runPipeline(llvm::StringRef phase, Builder build, ModuleOp on, const PipelineOptions &with) {
    report.beginPhase(phase);
    DiagnosticCollector diagnostics(&context, options.input);
    PassManager pm(&context);
    pm.enableVerifier(options.verifyEach);
    if (!options.dumpIRAfter.empty()) {
      pm.enableIRPrinting(
          [](Pass *, Operation *) { return false; },
          [this](Pass *pass, Operation *) { return pass->getArgument() == options.dumpIRAfter; },
          /*printModuleScope=*/false, /*printAfterOnlyOnChange=*/false, /*printAfterOnlyOnFailure=*/false,
          llvm::errs(), withoutWeights());
    }
    build(pm, with);
    if (failed(pm.run(on)) || failed(mlir::verify(on))) {
      return diagnostics.takeFailure(phase);
    }
    return diagnostics.takeError();
  }

  /// Weights are named, not printed: they are as large as the model. Constants have 1 KiB at most.
  static OpPrintingFlags withoutWeights() {
    return OpPrintingFlags().elideLargeElementsAttrs(1024).elideLargeResourceString(64);
  }

  Error writeText(llvm::function_ref<void(llvm::raw_ostream &)> print) {
    return lathe::writeText(options.output, print);
  }

  Error writeModule(ModuleOp what) {
    return writeText([&](llvm::raw_ostream &os) {
      what.print(os, withoutWeights());
      os << '\n';
    });
  }

  /// The options of code for devices.
  PipelineOptions onDevice() const {
    PipelineOptions with = pipeline;
    with.onDevice = true;
    with.target = cuda::kHostTarget.str();
    return with;
  }

  /// Lowers the kernels for all targets.
  Error lowerVariants() {
    for (auto [index, target] : llvm::enumerate(targets)) {
      bool isDevice = index == 0 && !deviceTargets.empty();
      OwningOpRef<ModuleOp> variant = isDevice && deviceModule ? deviceModule->clone() : module->clone();
      PipelineOptions with = isDevice ? onDevice() : pipeline;
      if (!isDevice) {
        with.target = target.name;
      }
      if (deviceModule && !isDevice) {
        (*variant)->setAttr(codegen::kFirstPlaceAttr, OpBuilder(&context).getI64IntegerAttr(firstPlace));
      }
      if (Error error = runPipeline("lower " + target.name, buildCodegenPipeline, *variant, with)) {
        return error;
      }
      describeHost(description, *variant);
      if (isDevice) {
        firstPlace = int64_t(description.kernels.size() + description.places.size());
      }
      if (isDevice && options.to != Stage::LLVM) {
        report.beginPhase("generate device code");
        DiagnosticCollector diagnostics(&context, options.input);
        if (Error error = compileDevice(*variant, deviceTargets, options.optLevel, description, report)) {
          return error;
        }
      }
      variants.add(std::move(variant), target);
    }
    return Error::success();
  }

  Error generate() {
    Expected<ModelDescription> described = describeModel(*module);
    if (!described) {
      return described.takeError();
    }
    description = std::move(*described);
    processorWeightBytes = description.weightBytes;
    if (deviceModule) {
      if (Error error = addDevice(description, *deviceModule, *module)) {
        return error;
      }
    }
    if (options.outputKind == OutputKind::Static) {
      std::string devices = deviceTargets.empty() ? "" : " " + llvm::join(options.targets, ",");
      uint64_t hash =
          llvm::xxh3_64bits(llvm::formatv("{0} {1}{2}", options.hash(targets), irHash, devices).str());
      description.symbolId += llvm::formatv("_{0}", llvm::format_hex_no_prefix(hash, 16)).str();
    }
    if (Error error = lowerVariants()) {
      return error;
    }
    if (options.to == Stage::LLVM) {
      return writeModule(variants.module());
    }

    CodegenOptions codegen;
    codegen.base = variants.descriptions().front().target;
    codegen.exported = {description.tableName()};
    codegen.extend = [&](llvm::Module &llvmModule) {
      buildTable(llvmModule, description, variants.descriptions());
    };
    Expected<llvm::SmallVector<char, 0>> object = emit(variants.module(), codegen);
    if (!object) {
      return object.takeError();
    }
    return options.to == Stage::Artifact ? writeArtifact(*object) : Error::success();
  }

  /// IR of the LLVM dialect is translated as it stands: the model's table was made from the stage before.
  Error generateFromLLVM() {
    CodegenOptions codegen;
    codegen.base = targets.front();
    for (auto function : module->getOps<LLVM::LLVMFuncOp>()) {
      if (!function.isExternal() && function.isPublic() && function.getLinkage() == LLVM::Linkage::External) {
        codegen.exported.push_back(function.getName().str());
      }
    }
    Expected<llvm::SmallVector<char, 0>> object = emit(*module, codegen);
    return object ? Error::success() : object.takeError();
  }

  /// Makes an object of a module, and writes it, or the LLVM IR it was made from, if that is what is asked
  /// for.
  Expected<llvm::SmallVector<char, 0>> emit(ModuleOp lowered, CodegenOptions &codegen) {
    report.beginPhase("generate");
    codegen.optLevel = options.optLevel;
    std::string ir;
    DiagnosticCollector diagnostics(&context, options.input);
    Expected<llvm::SmallVector<char, 0>> object =
        emitObject(lowered, codegen, options.to == Stage::LLVMIR ? &ir : nullptr);
    if (!object && diagnostics.hasErrors()) {
      llvm::consumeError(object.takeError());
      return diagnostics.takeError();
    }
    if (!object || options.to == Stage::Artifact) {
      return object;
    }
    Error error = writeText([&](llvm::raw_ostream &os) {
      if (options.to == Stage::LLVMIR) {
        os << ir;
      } else {
        os.write(object->data(), object->size());
      }
    });
    if (error) {
      return error;
    }
    return object;
  }

  Error writeArtifact(llvm::ArrayRef<char> object) {
    report.setNumber("code_bytes", object.size());
    report.setNumber("weight_bytes", description.weightBytes);
    report.setNumber("kernels", description.kernels.size());
    ArtifactInfo info;
    info.fingerprint = description.fingerprint;
    info.symbolId = description.symbolId;
    info.weightBytes = description.weightBytes;
    for (const VariantDescription &variant : variants.descriptions()) {
      info.targets.push_back({variant.target.name, variant.target.cpuFeatures});
    }
    auto weights = [&](ByteSink sink) -> Error {
      auto counted = [&](nn::WeightOp weight, codegen::ElementCount count) {
        notFinite.addWeight(weight, count);
        if (graph) {
          graph->addCount(weight, count);
        }
      };
      if (Error error = codegen::writeWeights(*module, sink, counted)) {
        return error;
      }
      if (deviceModule) {
        auto known = [](nn::WeightOp, codegen::ElementCount) {};
        if (Error error = codegen::writeWeights(*deviceModule, sink, known, processorWeightBytes)) {
          return error;
        }
      }
      // What was read last may differ from what was compiled.
      return modelFile ? modelFile->verifyUnchanged() : Error::success();
    };
    if (Error error = checkUndefinedSymbols(object)) {
      return error;
    }
    if (options.outputKind == OutputKind::Static) {
      report.beginPhase("archive");
      return writeStaticArchive(object, info, weights, options.weightsAsObject, options.output);
    }
    report.beginPhase("link");
    Expected<llvm::SmallVector<char, 0>> library = linkShared(object, description.weightBytes);
    if (!library) {
      return library.takeError();
    }
    report.beginPhase("seal");
    return sealArtifact(*library, info, weights, options.output);
  }

  /// The output's dependencies: the model, its external data, the plan, and what it was made from.
  Error writeDependencies() {
    std::vector<std::string> inputs = {options.input, options.plan.file, options.stats,
                                       options.latencies.file};
    for (const std::unique_ptr<MappedFile> &file :
         modelFile ? modelFile->externalFiles() : ArrayRef<std::unique_ptr<MappedFile>>()) {
      inputs.push_back(file->path().str());
    }
    llvm::erase(inputs, "");
    return writeDepFile(options.depFile, options.output, inputs);
  }

  const CompileOptions &options;
  Report &report;
  MLIRContext context;
  PipelineOptions pipeline;
  std::unique_ptr<Stats> stats;
  std::vector<cpu::TargetSpec> targets;
  /// If there are any, the first of `targets` is what their host program is for.
  std::vector<cuda::DeviceTarget> deviceTargets;
  /// The mapped weights, to which the module refers.
  std::unique_ptr<ModelFile> modelFile;
  OwningOpRef<ModuleOp> module;
  /// The kernels for devices, where there are others for processors; what lies before its weights; and the
  /// number behind its places.
  OwningOpRef<ModuleOp> deviceModule;
  uint64_t processorWeightBytes = 0;
  int64_t firstPlace = 0;
  /// Of the IR that is compiled instead of a model: whoever edits it leaves the model's fingerprint in it.
  uint64_t irHash = 0;
  ModelDescription description;
  Variants variants;
  /// For --run-pass-until.
  std::optional<PassBisection> bisection;
  NotFiniteConstants notFinite;
  /// If the report is to have it.
  std::optional<GraphReport> graph;
  std::vector<pack::RefusedRequest> refused;
};

} // namespace

Error lathe::compileModel(const CompileOptions &options, Report &report) {
  return Compilation(options, report).run();
}

Error lathe::explainNode(const CompileOptions &options, llvm::StringRef node, Report &report) {
  CompileOptions explain = options;
  explain.to = Stage::Kernel;
  Compilation compilation(explain, report);
  compilation.writes = false;
  compilation.explained = node;
  return compilation.run();
}

Error lathe::checkModel(const CompileOptions &options, Report &report) {
  CompileOptions check = options;
  check.to = Stage::Kernel;
  Compilation compilation(check, report);
  compilation.writes = false;
  return compilation.run();
}
