// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "CompileArguments.h"
#include "LatencyArguments.h"
#include "PlanArguments.h"

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Codegen/CUDA/DeviceTarget.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Path.h"

using namespace llvm;
using namespace lathe;

void lathe::addShapeOption(Arguments &arguments, CompileOptions &options) {
  arguments.value("--shape", "NAME=SIZES",
                  "x=1x128 fixes an input, S=128 a symbol, S=1..512 bounds it; may be repeated",
                  [&](StringRef text) -> Error {
                    Expected<ShapeOption> shape = ShapeOption::parse(text);
                    if (!shape) {
                      return shape.takeError();
                    }
                    options.shapes.push_back(std::move(*shape));
                    return Error::success();
                  });
}

static Error setStage(StringRef name, StringRef text, Stage &to) {
  std::optional<Stage> stage = parseStage(text);
  if (!stage) {
    return modelError(ErrorCode::E0001,
                      name + "=" + escapeText(text) +
                          ": expects model, onnx, nn, kernel, llvm, llvm-ir, object or artifact");
  }
  to = *stage;
  return Error::success();
}

static void addStageOptions(Arguments &arguments, CompileOptions &options) {
  arguments.value("--from", "STAGE", "begin with a .mlir file of this stage: onnx, nn, kernel or llvm",
                  [&](StringRef text) { return setStage("--from", text, options.from); });
  arguments.value("--to", "STAGE", "end with this stage: onnx, nn, kernel, llvm, llvm-ir, object or artifact",
                  [&](StringRef text) { return setStage("--to", text, options.to); });
  arguments.text("--weights-from", "MODEL.onnx",
                 "with --from: the model whose weights the .mlir file names without holding them",
                 options.weightsFrom);
  arguments.text("--dump-ir-after", "PASS",
                 "print the IR after this pass on standard error; named as in lathe-opt",
                 options.dumpIRAfter);
  arguments.value(
      "--run-pass-until", "N", "leave out all optional passes but the first N, to find the one at fault",
      [&](StringRef text) -> Error {
        int64_t count = 0;
        if (Error error = Arguments::parseNumber("--run-pass-until", text, 0, UINT32_MAX, count)) {
          return error;
        }
        options.runPassUntil = unsigned(count);
        return Error::success();
      });
  arguments.flag("--expose-operands", "make outputs of what products and layers read, for calibration",
                 options.exposeOperands);
  arguments.flag("--expose-rounding", "add an input that says which products are rounded, for calibration",
                 options.exposeRounding);
  arguments.flag("--verify-each", "verify the IR after every pass", options.verifyEach);
}

/// The runtime takes the first variant that the processor can run: those of more features come first.
static Error sortTargets(std::vector<std::string> &names) {
  std::vector<std::tuple<int, size_t, std::string>> targets;
  for (const auto &[number, name] : enumerate(names)) {
    if (cuda::isDeviceTarget(name)) {
      if (Error error = cuda::resolveDeviceTarget(name).takeError()) {
        return error;
      }
      targets.emplace_back(0, number, name);
      continue;
    }
    Expected<cpu::TargetSpec> target = cpu::resolveTarget(name);
    if (!target) {
      return target.takeError();
    }
    targets.emplace_back(-llvm::popcount(target->cpuFeatures), number, name);
  }
  llvm::sort(targets);
  for (auto [name, target] : zip_equal(names, targets)) {
    name = std::get<std::string>(target);
  }
  return Error::success();
}

/// Decides what follows from several options together.
static Error completeOptions(CompileOptions &options) {
  if (options.from >= options.to) {
    return modelError(ErrorCode::E0001, "--from=" + stageName(options.from) +
                                            " does not come before --to=" + stageName(options.to));
  }
  if (options.from >= Stage::LLVMIR) {
    return modelError(ErrorCode::E0001, "--from=" + stageName(options.from) + " cannot be read")
        .help("stages that can be read are model, onnx, nn, kernel and llvm");
  }
  if (options.from == Stage::LLVM && options.to == Stage::Artifact) {
    return modelError(ErrorCode::E0001, "--from=llvm does not lead to --to=artifact")
        .help("the LLVM dialect does not hold what an artifact says of itself; --to=llvm-ir and --to=object "
              "work");
  }
  if (options.from == Stage::Model && sys::path::extension(options.input) == ".mlir") {
    return modelError(ErrorCode::E0001, quoteText(options.input) + " is IR, and --from is model")
        .help("--from=onnx, nn, kernel or llvm says which");
  }
  if (!options.weightsFrom.empty() && (options.from == Stage::Model || options.from == Stage::LLVM)) {
    return modelError(ErrorCode::E0001, "--weights-from is for --from=onnx, nn or kernel");
  }
  bool isPlanned = !options.plan.empty() || options.emitPlan;
  if (isPlanned && (options.from > Stage::NN || options.to <= Stage::NN)) {
    return modelError(ErrorCode::E0001, "a plan changes nothing from " + stageName(options.from) + " to " +
                                            stageName(options.to))
        .help("what it asks for is done between the stages nn and kernel");
  }
  if ((options.exposeOperands || options.exposeRounding) &&
      (isPlanned || options.from > Stage::NN || options.to <= Stage::NN)) {
    return modelError(ErrorCode::E0001,
                      Twine(options.exposeOperands ? "--expose-operands" : "--expose-rounding") +
                          " is for models without a plan, from or through the stage nn");
  }
  bool isText = options.to < Stage::Object || options.emitPlan;
  if (options.output.empty()) {
    if (!isText) {
      return modelError(ErrorCode::E0001, "expects an output").help("-o model.so, or -o model.a to link it");
    }
    options.output = "-";
  }
  StringRef extension = sys::path::extension(options.output);
  if (options.to == Stage::Artifact && !options.emitPlan) {
    if (extension != ".so" && extension != ".a") {
      return modelError(ErrorCode::E0001,
                        "the output " + quoteText(options.output) + " is neither .so nor .a")
          .help("-o model.so is opened by the runtime, -o model.a is linked");
    }
    options.outputKind = extension == ".a" ? OutputKind::Static : OutputKind::Shared;
  }
  if (options.weightsAsObject && options.outputKind != OutputKind::Static) {
    return modelError(ErrorCode::E0001, "--weights=object is for an output .a");
  }
  if (options.input == options.output && options.output != "-") {
    return modelError(ErrorCode::E0001, "input and output are the same file " + quoteText(options.input));
  }
  return Error::success();
}

void lathe::addModelOptions(Arguments &arguments, CompileOptions &options) {
  arguments.flag("--allow-linked-data", "accept external data that is a symbolic or hard link",
                 options.allowLinkedData);
  for (const LimitInfo &limit : allLimits()) {
    uint64_t &value = options.limits.*limit.field;
    arguments.size(limit.option, "N", limit.help.str() + " (default " + std::to_string(value) + ")", value,
                   limit.most);
  }
}

void lathe::addSupervisionOptions(Arguments &arguments, SupervisionOptions &options) {
  arguments.value("--report", "FILE.json|.html",
                  "write what was done and what was not, with every remark; may be repeated",
                  [&](StringRef text) -> Error {
                    options.reportPaths.push_back(text.str());
                    return Error::success();
                  });
  arguments.value("--progress", "MODE", "auto (default: on a terminal), plain, json or none",
                  [&](StringRef text) -> Error {
                    Expected<Progress::Mode> mode = Progress::parseMode(text);
                    if (!mode) {
                      return mode.takeError();
                    }
                    options.progress = *mode;
                    return Error::success();
                  });
  arguments.value(
      "--time-limit", "SECONDS", "give up after so long (default 600, 0: never)",
      [&](StringRef text) -> Error {
        if (text.getAsDouble(options.timeLimit) || !(options.timeLimit >= 0 && options.timeLimit < 1e9)) {
          return modelError(ErrorCode::E0001, "--time-limit=" + escapeText(text) + ": expects seconds");
        }
        return Error::success();
      });
  arguments.size("--memory-limit", "BYTES",
                 "of memory beside mapped files (default four fifths of the machine's)", options.memoryLimit,
                 UINT64_MAX >> 10);
}

void lathe::addHiddenSupervisionOptions(Arguments &arguments, SupervisionOptions &options) {
  arguments.flag("--in-process", "", options.inProcess);
}

Expected<bool> CompileArguments::parse(ArrayRef<StringRef> words) {
  Arguments arguments(
      "compile", "MODEL.onnx -o OUTPUT [options]",
      "Compiles a model to a shared library for the runtime (OUTPUT.so), or to a static archive with a\n"
      "header (OUTPUT.a, OUTPUT.h, and the weights as OUTPUT.weights).");
  arguments.positional("a model", options.input);
  arguments.text("-o", "FILE", "the file to write, .so or .a", options.output);
  arguments.value(
      "--target", "NAME[,NAME]",
      "native (default), x86-64-v3, x86-64-v4 (with +vnni, +bf16, +amx), or cuda-sm_80, cuda-sm_89, "
      "cuda-sm_90a; several share the file, and the best that runs is taken",
      [&](StringRef text) -> Error {
        SmallVector<StringRef> names;
        text.split(names, ',');
        options.targets.assign(names.begin(), names.end());
        for (StringRef name : names) {
          if (llvm::count(names, name) > 1) {
            return modelError(ErrorCode::E0001, "--target names " + escapeText(name) + " twice");
          }
        }
        return Error::success();
      });
  PlanArguments plan;
  LatencyArguments latencies;
  plan.addTo(arguments);
  latencies.addTo(arguments, options);
  arguments.flag("--emit-plan", "write the plan that these options mean, as JSON, instead of compiling",
                 options.emitPlan);
  arguments.text("--inputs", "FILE.npz",
                 "run the result on these, and report how it differs from the model without a plan", inputs);
  arguments.flag("-O0", "reference lowerings, no fusion", [&] { options.optLevel = 0; });
  arguments.flag("-O2", "everything (default)", [&] { options.optLevel = 2; });
  addShapeOption(arguments, options);
  addModelOptions(arguments, options);
  arguments.size("--fold-budget", "BYTES", "compute so much from weights in advance (default 1G)",
                 options.foldBudget, uint64_t(1) << 60);
  arguments.number("--threads", "N", "choose schedules for so many threads; the result runs with any number",
                   options.threads, 1, 1024);
  arguments.value("--weights", "file|object", "of OUTPUT.a: a file beside it (default) or an object to link",
                  [&](StringRef text) -> Error {
                    if (text != "file" && text != "object") {
                      return modelError(ErrorCode::E0001,
                                        "--weights=" + escapeText(text) + ": expects file or object");
                    }
                    options.weightsAsObject = text == "object";
                    return Error::success();
                  });
  arguments.flag("--unchecked-indices", "trust indices among the data", options.uncheckedIndices);
  arguments.text("--depfile", "FILE", "write the files that the output depends on, for make and ninja",
                 options.depFile);
  addSupervisionOptions(arguments, supervision);
  arguments.flag("--quiet", "print nothing but errors and warnings", quiet);
  addStageOptions(arguments, options);
  arguments.hideRest();
  addHiddenSupervisionOptions(arguments, supervision);
  arguments.flag("--without-plan", "", withoutPlan);

  Expected<bool> goOn = arguments.parse(words);
  if (goOn && *goOn) {
    if (Error error = plan.complete().moveInto(options.plan)) {
      return error;
    }
    options.stats = plan.stats;
    if (Error error = completeOptions(options)) {
      return error;
    }
    if (Error error = sortTargets(options.targets)) {
      return error;
    }
    bool isRun =
        options.to == Stage::Artifact && options.outputKind == OutputKind::Shared && !options.emitPlan;
    if (!inputs.empty() && (!isRun || options.plan.empty())) {
      return modelError(ErrorCode::E0001,
                        options.plan.empty()
                            ? "--inputs is for compiling with a plan, or an option that is one"
                            : "--inputs is for an output .so, which can be run");
    }
    options.describeGraph = !supervision.reportPaths.empty();
    if (withoutPlan) {
      options.plan = Plan();
      options.stats.clear();
    }
    if (Error error = latencies.complete(options)) {
      return error;
    }
  }
  return goOn;
}
