// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe bench` and `lathe verify`. Against peers both are Python's, where the peers are.

#include "Commands.h"
#include "Python.h"
#include "Session.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>

using namespace llvm;
using namespace lathe;

namespace {

struct BenchOptions {
  SessionOptions session;
  double seconds = 2;
  bool json = false;
  std::string peers, model;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The value below which `share` of all lie.
double quantile(ArrayRef<double> sorted, double share) {
  return sorted[std::min(sorted.size() - 1, size_t(share * double(sorted.size())))];
}

Error bench(const BenchOptions &options) {
  Expected<std::unique_ptr<Session>> session = Session::open(options.session);
  if (!session) {
    return session.takeError();
  }
  // Enough for clocks and caches to settle; at least once, which takes the session's memory.
  for (double end = now() + std::min(0.5, options.seconds / 4);;) {
    if (Error error = (*session)->run()) {
      return error;
    }
    if (now() >= end) {
      break;
    }
  }
  std::vector<double> times;
  double begin = now(), last = begin;
  while ((last < begin + options.seconds || times.size() < 5) && times.size() < 1'000'000) {
    if (Error error = (*session)->run()) {
      return error;
    }
    double end = now();
    times.push_back((end - last) * 1e3);
    last = end;
  }
  double mean = (last - begin) * 1e3 / double(times.size());
  llvm::sort(times);
  double p50 = quantile(times, 0.5), p90 = quantile(times, 0.9), p99 = quantile(times, 0.99);
  unsigned threads = lathe_session_threads((*session)->handle());
  if (options.json) {
    json::Object result{{"model", toUTF8(options.session.model)},
                        {"variant", (*session)->info().variant},
                        {"threads", threads},
                        {"runs", int64_t(times.size())},
                        {"p50_ms", p50},
                        {"p90_ms", p90},
                        {"p99_ms", p99},
                        {"min_ms", times.front()},
                        {"mean_ms", mean},
                        {"runs_per_second", 1e3 / mean}};
    outs() << formatv("{0:2}\n", json::Value(std::move(result)));
    return Error::success();
  }
  for (const Array &array : (*session)->inputs()) {
    errs() << "input " << quoteText(array.name) << ' ' << describe(array.dtype, array.dims) << '\n';
  }
  outs() << "        p50 ms      p90 ms      p99 ms      min ms      runs/s    runs  threads  variant\n"
         << format("%14.4f%12.4f%12.4f%12.4f%12.1f%8zu%9u  ", p50, p90, p99, times.front(), 1e3 / mean,
                   times.size(), threads)
         << (*session)->info().variant << '\n';
  return Error::success();
}

} // namespace

int lathe::benchCommand(const CommandContext &context) {
  BenchOptions options;
  // Without inputs the values do not matter.
  options.session.random = true;
  Arguments arguments(
      "bench", "MODEL.so [options]",
      "Measures runs of a compiled model: quantiles of their time, and how many there are in a second.\n"
      "With --vs, interleaved with other runtimes on the same inputs.");
  addSessionOptions(arguments, options.session);
  arguments.value("--seconds", "S", "measure for so long (default 2)", [&](StringRef text) -> Error {
    if (text.getAsDouble(options.seconds) || !(options.seconds > 0 && options.seconds < 1e6)) {
      return modelError(ErrorCode::E0001, "--seconds=" + escapeText(text) + ": expects a positive number");
    }
    return Error::success();
  });
  arguments.flag("--json", "print JSON instead of a table", options.json);
  arguments.text("--vs", "PEERS", "onnxruntime, openvino or both, separated by a comma; needs Python",
                 options.peers);
  arguments.text("--model", "MODEL.onnx", "the model that MODEL.so was made from, for the peers",
                 options.model);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  if (options.peers.empty()) {
    return reportError(bench(options), errs());
  }
  if (options.model.empty()) {
    return reportError(modelError(ErrorCode::E0001, "--vs needs --model=MODEL.onnx"), errs());
  }
  return reportError(runPythonModule("lathe._bench", context.arguments), errs());
}

int lathe::verifyCommand(const CommandContext &context) {
  std::string model, artifact, inputs, reduced;
  // Checked here, passed on as they are.
  std::vector<std::pair<std::string, std::string>> inputFiles;
  bool json = false, random = false;
  unsigned threads = 0;
  uint64_t seed = 0;
  double tolerance = 0;
  Arguments arguments(
      "verify", "MODEL.onnx [options]",
      "Compiles a model, runs it and ONNX Runtime on the same inputs, and compares: the largest absolute\n"
      "difference of every output, the same relative to its largest value, the cosine, and the first node\n"
      "that differs. Needs Python.");
  arguments.positional("a model", model);
  arguments.text("--artifact", "MODEL.so", "take this instead of compiling; no node is searched then",
                 artifact);
  arguments.text("--inputs", "FILE.npz", "inputs by name (default: random ones)", inputs);
  arguments.value("--input", "NAME=FILE.npy", "one input; may be repeated",
                  [&](StringRef text) { return splitNamedFile("--input", text, inputFiles); });
  arguments.flag("--random", "random values for inputs that are not given", random);
  arguments.number("--seed", "N", "of the random values (default 0)", seed);
  arguments.value("--shape", "NAME=SIZES", "S=128 or x=1x128, for random inputs; may be repeated",
                  [&](StringRef text) { return ShapeOption::parse(text).takeError(); });
  arguments.number("--threads", "N", "0: one per core (default)", threads, 0, 4096);
  unsigned runPassUntil = 0;
  arguments.number("--run-pass-until", "N",
                   "compile with the first N optional passes only, to find one at fault", runPassUntil, 0,
                   UINT32_MAX);
  arguments.value("--tolerance", "X", "the largest absolute difference that passes (default 1e-4)",
                  [&](StringRef text) -> Error {
                    if (text.getAsDouble(tolerance) || !(tolerance >= 0)) {
                      return modelError(ErrorCode::E0001,
                                        "--tolerance=" + escapeText(text) + ": expects a number");
                    }
                    return Error::success();
                  });
  arguments.text("--reduce", "OUT.onnx",
                 "write the smallest part of the model that fails, with its inputs in OUT.npz", reduced);
  arguments.flag("--json", "print JSON instead of a table", json);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  return reportError(runPythonModule("lathe._verify", context.arguments), errs());
}
