// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe calibrate`.

#include "Arguments.h"
#include "Commands.h"
#include "Progress.h"
#include "Python.h"
#include "lathe/Compiler/Compile.h"
#include "lathe/Support/Error.h"

#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace lathe;

int lathe::calibrateCommand(const CommandContext &context) {
  // Checked here, passed on as they are.
  std::string model, data, output;
  bool gram = false, errors = false, quiet = false;
  uint64_t gramLimit = 0;
  unsigned threads = 0, batch = 0;
  Arguments arguments(
      "calibrate", "MODEL.onnx --data FILE.npz|FOLDER -o STATS.npz [options]",
      "Runs a model on inputs and writes what `lathe compile --stats` wants to know of them: of each tensor\n"
      "that is multiplied with weights the ranges and norms of its channels and a histogram, and how much\n"
      "each layer changes what it gets. What was interrupted goes on where it was. Needs Python with numpy.");
  arguments.positional("a model", model);
  arguments.text("--data", "FILE.npz|FOLDER",
                 "all inputs by name, of one run; of a folder, each .npz in it, in the order of names", data);
  arguments.text("-o", "STATS.npz", "the file to write", output);
  arguments.number("--batch", "N", "cut inputs along their first dimension, N to a run", batch, 1);
  arguments.flag("--gram", "also sum up x^T x of the rows of each tensor, for compensated rounding", gram);
  arguments.size("--gram-limit", "BYTES", "of these sums in all; tensors beyond it go without (default 1G)",
                 gramLimit, uint64_t(1) << 40);
  arguments.flag("--errors", "also measure how far results move by each product in bf16, for --max-error",
                 errors);
  arguments.value("--shape", "NAME=SIZES", "compile for these, as of `lathe compile`; may be repeated",
                  [&](StringRef text) { return ShapeOption::parse(text).takeError(); });
  arguments.number("--threads", "N", "0: one per core (default)", threads, 0, 4096);
  arguments.value("--progress", "MODE", "auto (default: on a terminal), plain, json or none",
                  [&](StringRef text) { return Progress::parseMode(text).takeError(); });
  arguments.flag("--quiet", "print nothing but errors and warnings", quiet);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  for (auto [value, name] :
       {std::pair(&data, "--data=FILE.npz|FOLDER"), std::pair(&output, "-o STATS.npz")}) {
    if (value->empty()) {
      return reportError(modelError(ErrorCode::E0001, Twine("expects ") + name), errs());
    }
  }
  return reportError(runPythonModule("lathe._calibrate", context.arguments), errs());
}
