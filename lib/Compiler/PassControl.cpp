// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PassControl.h"

#include "mlir/IR/Action.h"
#include "mlir/IR/Operation.h"
#include "mlir/Pass/Pass.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe;

PassControl::PassControl(MLIRContext &context, std::optional<unsigned> runUntil, std::string dumpAfter)
    : context(context), runUntil(runUntil), dumpAfter(std::move(dumpAfter)) {
  if (!runUntil && this->dumpAfter.empty()) {
    return;
  }
  context.registerActionHandler([this](llvm::function_ref<void()> run, const tracing::Action &action) {
    auto *execution = dyn_cast<PassExecutionAction>(&action);
    // What nests a pipeline has no name and is no step of its own.
    if (!execution || execution->getPass().getArgument().empty()) {
      return run();
    }
    execute(&execution->getPass(), execution->getOp(), run);
  });
}

PassControl::~PassControl() { context.registerActionHandler(nullptr); }

void PassControl::execute(const Pass *pass, Operation *op, llvm::function_ref<void()> run) {
  auto [entry, isNew] = numbers.try_emplace(pass, count);
  count += isNew;
  if (runUntil && entry->second >= *runUntil) {
    stopped = true;
    return;
  }
  run();
  StringRef name = pass->getArgument();
  ran.insert(name);
  if (isNew) {
    last = name.str();
  }
  if (name == dumpAfter) {
    llvm::errs() << "// after " << name << '\n' << *op << '\n';
  }
}

std::string PassControl::summary() const {
  unsigned done = std::min(count, runUntil.value_or(count));
  return "ran " + std::to_string(done) + (done == 1 ? " pass" : " passes") +
         (last.empty() ? "" : ", the last was " + last);
}

llvm::Error PassControl::check() const {
  if (runUntil && !stopped) {
    return modelError(ErrorCode::E0001, "--run-pass-until=" + std::to_string(*runUntil) +
                                            " is not less than the " + std::to_string(count) +
                                            " passes that run");
  }
  if (!dumpAfter.empty() && !ran.contains(dumpAfter)) {
    return modelError(ErrorCode::E0001, "--dump-ir-after: no pass \"" + dumpAfter + "\" has run")
        .help("those that ran are " + llvm::join(ran, ", "));
  }
  return llvm::Error::success();
}
