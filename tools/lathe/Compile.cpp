// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe compile`, `lathe check`, and the supervised compilation behind them.

#include "lathe/Compiler/Compile.h"
#include "Arguments.h"
#include "Commands.h"
#include "Supervise.h"
#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Compiler/Seal.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

namespace {

void addShapeOption(Arguments &arguments, CompileOptions &options) {
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

Error setStage(StringRef name, StringRef text, Stage &to) {
  std::optional<Stage> stage = parseStage(text);
  if (!stage) {
    return modelError(ErrorCode::E0001,
                      name + "=" + escapeText(text) +
                          ": expects model, onnx, nn, kernel, llvm, llvm-ir, object or artifact");
  }
  to = *stage;
  return Error::success();
}

void addStageOptions(Arguments &arguments, CompileOptions &options) {
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
  arguments.flag("--verify-each", "verify the IR after every pass", options.verifyEach);
}

/// Decides what follows from several options together.
Error completeOptions(CompileOptions &options) {
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
  bool isText = options.to < Stage::Object;
  if (options.output.empty()) {
    if (!isText) {
      return modelError(ErrorCode::E0001, "expects an output").help("-o model.so, or -o model.a to link it");
    }
    options.output = "-";
  }
  StringRef extension = sys::path::extension(options.output);
  if (options.to == Stage::Artifact) {
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

std::vector<std::string> filesOf(const CompileOptions &options) {
  if (options.output.empty() || options.output == "-") {
    return {};
  }
  if (options.outputKind == OutputKind::Static) {
    StaticPaths paths = staticPaths(options.output, options.weightsAsObject);
    return {paths.archive, paths.header, paths.weights};
  }
  return {options.output};
}

/// Finds out before the work whether its results can be written.
Error checkFolder(const CompileOptions &options) {
  for (const std::string &file : filesOf(options)) {
    StringRef folder = sys::path::parent_path(file);
    std::string path = folder.empty() ? "." : folder.str();
    int error = access(path.c_str(), W_OK | X_OK) == 0 ? 0 : errno;
    if (sys::fs::exists(path) && !sys::fs::is_directory(path)) {
      error = ENOTDIR;
    }
    if (error != 0) {
      return systemError(ErrorCode::E0003, "cannot write " + quoteText(file), error);
    }
  }
  return Error::success();
}

/// One line on what is compiled for, and a loud one where this machine cannot run it.
Error describeTargets(const CompileOptions &options, std::string &line, std::vector<std::string> &warnings) {
  cpu::HostProcessor host = cpu::detectHost();
  SmallVector<std::string> parts;
  for (const std::string &name : options.targets) {
    Expected<cpu::TargetSpec> target = cpu::resolveTarget(name, host);
    if (!target) {
      return target.takeError();
    }
    std::string vectors = std::to_string(target->vectorBits) + "-bit vectors";
    parts.push_back(name == "native" ? name + " (" + host.brand + ", " + vectors + ")"
                                     : name + " (" + vectors + ")");
    if ((target->cpuFeatures & host.features) != target->cpuFeatures) {
      warnings.push_back("this machine cannot run code for " + name + ": it lacks some of its features");
    }
  }
  line = "target " + join(parts, ", ");
  return Error::success();
}

void printDigest(const CompileOptions &options, const Report &report, StringRef targetLine, double seconds) {
  errs() << targetLine << '\n';
  std::vector<std::string> clauses = report.digest;
  for (const auto &[name, value] : report.numbers) {
    if (name == "kernels") {
      clauses.push_back(std::to_string(value) + (value == 1 ? " kernel" : " kernels"));
    } else if (name == "code_bytes") {
      clauses.push_back("code " + formatBytes(uint64_t(value)));
    } else if (name == "weight_bytes") {
      clauses.push_back("weights " + formatBytes(uint64_t(value)));
    }
  }
  if (!clauses.empty()) {
    errs() << join(clauses, " · ") << '\n';
  }
  SmallVector<std::string> written;
  for (const std::string &file : filesOf(options)) {
    uint64_t size = 0;
    if (!sys::fs::file_size(file, size)) {
      written.push_back(escapeText(file) + " (" + formatBytes(size) + ")");
    }
  }
  if (!written.empty()) {
    errs() << "wrote " << join(written, ", ") << format(" in %.1f s\n", seconds);
  }
}

} // namespace

void lathe::addModelOptions(Arguments &arguments, CompileOptions &options) {
  arguments.flag("--allow-linked-data", "accept external data that is a symbolic or hard link",
                 options.allowLinkedData);
  for (const LimitInfo &limit : allLimits()) {
    uint64_t &value = options.limits.*limit.field;
    arguments.size(limit.option, "N", limit.help.str() + " (default " + std::to_string(value) + ")", value,
                   limit.most);
  }
}

int lathe::compileCommand(const CommandContext &context) {
  CompileOptions options;
  SupervisionOptions supervision;
  bool quiet = false;
  Arguments arguments(
      "compile", "MODEL.onnx -o OUTPUT [options]",
      "Compiles a model to a shared library for the runtime (OUTPUT.so), or to a static archive with a\n"
      "header (OUTPUT.a, OUTPUT.h, and the weights as OUTPUT.weights).");
  arguments.positional("a model", options.input);
  arguments.text("-o", "FILE", "the file to write, .so or .a", options.output);
  arguments.value("--target", "NAME[,NAME]",
                  "native (default), x86-64-v3, x86-64-v4; several share the file, best first",
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
  arguments.flag("-O0", "reference lowerings, no fusion", [&] { options.optLevel = 0; });
  arguments.flag("-O2", "everything (default)", [&] { options.optLevel = 2; });
  addShapeOption(arguments, options);
  addModelOptions(arguments, options);
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

  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  std::string targetLine;
  std::vector<std::string> warnings;
  Error error = completeOptions(options);
  if (!error) {
    error = checkFolder(options);
  }
  if (!error) {
    error = describeTargets(options, targetLine, warnings);
  }
  if (error) {
    return reportError(std::move(error), errs());
  }
  Supervision job("compile", context, supervision);
  job.model = options.input;
  job.outputs = filesOf(options);
  job.limits = options.limits;
  job.description = options.toJSON();
  job.report.warnings = warnings;
  return job.run([&](Report &report) { return compileModel(options, report); },
                 [&](const Report &report, double seconds) {
                   if (!quiet) {
                     printDigest(options, report, targetLine, seconds);
                   }
                 });
}

/// `lathe check --explain E0304`, or `all`.
static Error explain(StringRef name) {
  bool found = false;
  for (const ErrorCodeInfo &info : allErrorCodes()) {
    if (info.name == name || name == "all") {
      static constexpr StringLiteral classes[] = {"", "usage", "unsupported", "invalid model", "internal"};
      outs() << info.name << " (" << classes[int(info.errorClass)] << ", exit status " << int(info.errorClass)
             << "): " << info.title << '\n';
      outs() << info.explanation << '\n';
      found = true;
    }
  }
  if (!found) {
    return modelError(ErrorCode::E0001, "no error has the code " + quoteText(name))
        .help("`lathe check --explain all` lists them");
  }
  return Error::success();
}

int lathe::checkCommand(const CommandContext &context) {
  CompileOptions options;
  SupervisionOptions supervision;
  std::string code;
  Arguments arguments(
      "check", "MODEL.onnx [options] | --explain CODE",
      "Says whether a model can be compiled: every operator, attribute and type that cannot, by node.");
  arguments.positional("a model", options.input, /*required=*/false);
  arguments.text("--explain", "CODE", "explain an error code, for example E0304, or all of them", code);
  addShapeOption(arguments, options);
  addModelOptions(arguments, options);
  addSupervisionOptions(arguments, supervision);
  arguments.hideRest();
  addHiddenSupervisionOptions(arguments, supervision);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  if (!code.empty()) {
    return reportError(explain(code), errs());
  }
  if (options.input.empty()) {
    return reportError(modelError(ErrorCode::E0001, "expects a model, or --explain"), errs());
  }
  Supervision job("check", context, supervision);
  job.model = options.input;
  job.limits = options.limits;
  job.description = options.toJSON();
  return job.run([&](Report &report) { return checkModel(options, report); },
                 [&](const Report &report, double) {
                   errs() << "every operator of " << escapeText(options.input) << " can be compiled\n";
                   if (!report.digest.empty()) {
                     errs() << join(report.digest, " · ") << '\n';
                   }
                 });
}
