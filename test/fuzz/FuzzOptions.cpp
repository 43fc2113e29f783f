// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Targets.h"

#include "CompileArguments.h"
#include "lathe/Codegen/CPU/TargetSpec.h"

using namespace lathe;

/// What was understood can be said again, and is understood as the same.
static void expectRoundTrip(const ShapeOption &shape) {
  llvm::Expected<ShapeOption> again = ShapeOption::parse(shape.str());
  if (!again || again->str() != shape.str() || again->dims != shape.dims || again->range != shape.range ||
      again->isNone != shape.isNone) {
    abort();
  }
}

void fuzz::options(llvm::StringRef bytes) {
  llvm::SmallVector<llvm::StringRef> words;
  bytes.split(words, '\n');
  llvm::erase_if(words, [](llvm::StringRef word) { return word == "--help" || word == "-h"; });
  CompileArguments arguments;
  llvm::Expected<bool> goOn = arguments.parse(words);
  if (!goOn) {
    return expectFaultOfTheInput(goOn.takeError());
  }
  for (const ShapeOption &shape : arguments.options.shapes) {
    expectRoundTrip(shape);
  }
  for (const std::string &name : arguments.options.targets) {
    llvm::Expected<cpu::TargetSpec> target = cpu::resolveTarget(name, {});
    if (!target) {
      expectFaultOfTheInput(target.takeError());
    }
  }
  (void)arguments.options.toJSON();
}
