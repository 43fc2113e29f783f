// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Supervise.h"
#include "ReportFile.h"
#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Compiler/Worker.h"
#include "lathe/Import/Wire.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <chrono>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

Error lathe::flushStandardOutput() {
  outs().flush();
  std::error_code code = outs().error();
  outs().clear_error();
  if (code) {
    return systemError(ErrorCode::E0003, "cannot write \"-\"", code.value());
  }
  return Error::success();
}

static double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Error Supervision::writeReport(ArrayRef<ModelError> errors, double elapsed) {
  json::Object o = report.toJSON();
  json::Array list;
  for (const ModelError &error : errors) {
    list.push_back(error.toJSON());
  }
  o["lathe"] = LATHE_VERSION;
  o["command"] = command;
  o["options"] = json::Object(description);
  o["errors"] = std::move(list);
  o["seconds"] = elapsed;
  json::Value value(std::move(o));
  for (StringRef path : options.reportPaths) {
    if (Error error = lathe::writeReport(path, value)) {
      return error;
    }
  }
  return Error::success();
}

/// The model with places in its file instead of weights.
static void copyStructure(StringRef model, const ModelLimits &limits, StringRef path) {
  auto buffer = MemoryBuffer::getFile(model, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer) {
    return;
  }
  WireResult walked = walkModel({(*buffer)->getBufferStart(), (*buffer)->getBufferSize()}, limits);
  if (walked.status == WireStatus::Ok) {
    consumeError(writeFile(path, walked.structure));
  }
}

/// The same, if the model can be read at all: in a process of its own, like all reading of models. What ended
/// the worker may end it too.
static void writeStructure(StringRef model, const ModelLimits &limits, const std::string &path) {
  pid_t child = fork();
  if (child == 0) {
    constexpr unsigned secondsAtMost = 20;
    constexpr rlim_t bytesAtMost = rlim_t(2) << 30;
    struct rlimit memory = {bytesAtMost, bytesAtMost}, core = {0, 0};
    setrlimit(RLIMIT_DATA, &memory);
    setrlimit(RLIMIT_CORE, &core);
    alarm(secondsAtMost);
    copyStructure(model, limits, path);
    _exit(0);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child > 0 && status != 0) {
    OutputFile::removeLeftover(path, child);
  }
}

/// What a developer needs to see the failure again, without weights: the command, the machine, the report.
void Supervision::writeReproducer(MutableArrayRef<ModelError> errors) {
  SmallString<128> folder;
  if (sys::fs::createUniqueDirectory("lathe-reproducer", folder)) {
    return;
  }
  cpu::HostProcessor host = cpu::detectHost();
  json::Object o = report.toJSON();
  json::Array list, words;
  for (const ModelError &error : errors) {
    list.push_back(error.toJSON());
  }
  words.push_back("lathe");
  words.push_back(command);
  for (StringRef argument : context.arguments) {
    words.push_back(toUTF8(argument));
  }
  o["lathe"] = LATHE_VERSION;
  o["command"] = std::move(words);
  o["options"] = json::Object(description);
  o["errors"] = std::move(list);
  o["processor"] = host.brand;
  o["cpu_features"] = int64_t(host.features);
  std::string text = formatv("{0:2}\n", json::Value(std::move(o)));
  if (Error error = writeFile((folder + "/failure.json").str(), text)) {
    consumeError(std::move(error));
    return;
  }
  if (model != "-") {
    writeStructure(model, limits, (folder + "/structure.onnx").str());
  }
  errors.front().notes.push_back("what is needed to see it again, without weights, is in " +
                                 folder.str().str());
}

/// A copy of this program that runs the command with more arguments behind its own.
WorkerOptions Supervision::makeWorker(ArrayRef<std::string> more) const {
  WorkerOptions worker;
  worker.arguments.push_back(command);
  for (StringRef argument : context.arguments) {
    worker.arguments.push_back(argument.str());
  }
  worker.arguments.insert(worker.arguments.end(), more.begin(), more.end());
  worker.timeLimit = options.timeLimit;
  worker.memoryLimit = options.memoryLimit;
  return worker;
}

Error Supervision::work(function_ref<Error(Report &)> body) {
  if (model != "-" && access(model.c_str(), R_OK) != 0) {
    // Known without a worker.
    return systemError(ErrorCode::E0002, "cannot read " + quoteText(model), errno);
  }
  if (options.inProcess) {
    Error error = body(report);
    report.endPhases();
    return error;
  }
  std::vector<std::string> ownWarnings = report.warnings;
  WorkerOptions worker = makeWorker({});
  worker.outputs = outputs;
  Error error = runInWorker(worker, report);
  report.warnings.insert(report.warnings.begin(), ownWarnings.begin(), ownWarnings.end());
  return error;
}

int Supervision::run(function_ref<Error(Report &)> body,
                     function_ref<void(const Report &, double)> succeeded) {
  if (context.isWorker) {
    return workerMain(body);
  }
  Progress progress(options.progress);
  report.progress = [&](StringRef phase, unsigned step, unsigned steps) {
    progress.show(phase, step, steps);
  };
  double begin = seconds();
  Error error = work(body);
  if (!error && finish) {
    error = finish(report);
  }
  double elapsed = seconds() - begin;
  progress.finish();

  std::vector<ModelError> errors = takeModelErrors(std::move(error));
  for (ModelError &e : errors) {
    if (e.file.empty() && e.errorClass() != ErrorClass::Usage) {
      e.file = model;
    }
  }
  if (!errors.empty() && errors.front().errorClass() == ErrorClass::Internal) {
    writeReproducer(errors);
  }
  for (const std::string &warning : report.warnings) {
    errs() << "warning: " << escapeText(warning, /*limit=*/2000) << '\n';
  }
  for (const ModelError &e : errors) {
    e.render(errs());
  }
  int status = errors.empty() ? 0 : static_cast<int>(errors.front().errorClass());
  if (!options.reportPaths.empty()) {
    if (Error reportError = writeReport(errors, elapsed)) {
      int reportStatus = lathe::reportError(std::move(reportError), errs());
      status = status == 0 ? reportStatus : status;
    }
  }
  if (status == 0) {
    succeeded(report, elapsed);
  }
  return status;
}
