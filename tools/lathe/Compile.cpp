// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe compile`, `lathe check`, and the supervised compilation behind them.

#include "lathe/Compiler/Compile.h"
#include "Arguments.h"
#include "Commands.h"
#include "CompileArguments.h"
#include "Loss.h"
#include "Supervise.h"
#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Codegen/CUDA/DeviceTarget.h"
#include "lathe/Compiler/Seal.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

namespace {

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
    if (cuda::isDeviceTarget(name)) {
      parts.push_back(name);
      continue;
    }
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

/// Compiles the model without its plan, too, and runs both.
Error addLoss(const Supervision &job, const CompileArguments &parsed, Report &report) {
  SmallString<128> plain;
  if (std::error_code code = sys::fs::createTemporaryFile("lathe-plain", "so", plain)) {
    return systemError(ErrorCode::E0003, "cannot write a temporary file", code.value());
  }
  FileRemover remover(plain);
  WorkerOptions worker = job.makeWorker({"--without-plan", "-o", plain.str().str(), "--depfile="});
  worker.outputs = {plain.str().str()};
  Report ignored;
  if (Error error = runInWorker(worker, ignored)) {
    return error;
  }
  if (Error error = measureLoss(parsed.options.output, plain, parsed.inputs).moveInto(report.losses)) {
    return error;
  }
  for (const OutputLoss &loss : report.losses) {
    std::string text;
    raw_string_ostream(text) << quoteText(loss.output)
                             << format(" differs by %.3g, cosine %.5f", loss.maxAbs, loss.cosine);
    report.digest.push_back(text);
  }
  return Error::success();
}

} // namespace

int lathe::compileCommand(const CommandContext &context) {
  CompileArguments parsed;
  Expected<bool> goOn = parsed.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  const CompileOptions &options = parsed.options;
  std::string targetLine;
  std::vector<std::string> warnings;
  Error error = checkFolder(options);
  if (!error && !parsed.inputs.empty() && access(parsed.inputs.c_str(), R_OK) != 0) {
    error = systemError(ErrorCode::E0002, "cannot read " + quoteText(parsed.inputs), errno);
  }
  if (!error) {
    error = describeTargets(options, targetLine, warnings);
  }
  if (error) {
    return reportError(std::move(error), errs());
  }
  Supervision job("compile", context, parsed.supervision);
  job.model = options.input;
  job.outputs = filesOf(options);
  job.limits = options.limits;
  job.description = options.toJSON();
  job.report.warnings = warnings;
  if (!parsed.inputs.empty()) {
    job.finish = [&](Report &report) { return addLoss(job, parsed, report); };
  }
  return job.run([&](Report &report) { return compileModel(options, report); },
                 [&](const Report &report, double seconds) {
                   if (!parsed.quiet) {
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
