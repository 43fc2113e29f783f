// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe run`.

#include "Commands.h"
#include "Numbers.h"
#include "Session.h"
#include "Texts.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <deque>

using namespace llvm;
using namespace lathe;

namespace {

struct RunOptions {
  SessionOptions session;
  std::string outputs;
  std::vector<std::pair<std::string, std::string>> outputFiles;
};

struct Statistics {
  double least = INFINITY, greatest = -INFINITY, sum = 0;
  size_t count = 0, notFinite = 0;
  void add(double value) {
    if (!std::isfinite(value)) {
      ++notFinite;
      return;
    }
    least = std::min(least, value);
    greatest = std::max(greatest, value);
    sum += value;
    ++count;
  }
};

Statistics statisticsOf(uint32_t dtype, ArrayRef<char> bytes) {
  Statistics s;
  visitNumbers(dtype, bytes, [&](double value) { s.add(value); });
  return s;
}

void printValue(StringRef direction, StringRef name, uint32_t dtype, ArrayRef<int64_t> dims,
                ArrayRef<char> bytes) {
  Statistics s = dtype == LATHE_STRING ? Statistics() : statisticsOf(dtype, bytes);
  errs() << direction << ' ' << quoteText(name) << ' ' << describe(dtype, dims);
  if (s.count > 0) {
    errs() << format(": min %.6g, mean %.6g, max %.6g", s.least, s.sum / double(s.count), s.greatest);
  }
  if (s.notFinite > 0) {
    errs() << ", " << s.notFinite << " not finite";
  }
  errs() << '\n';
}

Error runModel(const RunOptions &options) {
  Expected<std::unique_ptr<Session>> session = Session::open(options.session);
  if (!session) {
    return session.takeError();
  }
  for (const Array &array : (*session)->inputs()) {
    printValue("input", array.name, array.dtype, array.dims,
               ArrayRef(array.bytes.data(), array.bytes.size()));
  }
  if (Error error = (*session)->run()) {
    return error;
  }
  std::vector<ArrayView> outputs;
  std::deque<std::vector<uint32_t>> characters;
  for (size_t i = 0; i < (*session)->info().output_count; ++i) {
    Expected<ArrayView> output = (*session)->output(i);
    if (!output) {
      return output.takeError();
    }
    printValue("output", output->name, output->dtype, output->dims, output->bytes);
    if (output->dtype == LATHE_STRING &&
        !toCharacters((*session)->handle(), *output, characters.emplace_back())) {
      return runtimeError(options.session.model);
    }
    outputs.push_back(std::move(*output));
  }
  if (!options.outputs.empty()) {
    if (Error error = writeNpz(options.outputs, outputs)) {
      return error;
    }
  }
  for (const auto &[name, file] : options.outputFiles) {
    auto found = find_if(outputs, [&](const ArrayView &o) { return o.name == name; });
    if (found == outputs.end()) {
      return modelError(ErrorCode::E0701, "the model has no output " + quoteText(name))
          .file(options.session.model);
    }
    if (Error error = writeNpy(file, *found)) {
      return error;
    }
  }
  return Error::success();
}

} // namespace

int lathe::runCommand(const CommandContext &context) {
  RunOptions options;
  Arguments arguments("run", "MODEL.so [options]",
                      "Runs a compiled model once. Names, shapes and statistics go to standard error.");
  addSessionOptions(arguments, options.session);
  arguments.text("--outputs", "FILE.npz", "write all outputs", options.outputs);
  arguments.value("--output", "NAME=FILE.npy", "write one output; may be repeated",
                  [&](StringRef text) { return splitNamedFile("--output", text, options.outputFiles); });
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  return reportError(runModel(options), errs());
}
