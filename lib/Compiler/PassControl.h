// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `--run-pass-until` and `--dump-ir-after`.

#ifndef LATHE_LIB_COMPILER_PASSCONTROL_H
#define LATHE_LIB_COMPILER_PASSCONTROL_H

#include "lathe/Support/Error.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SetVector.h"

#include <optional>
#include <string>

namespace mlir {
class Pass;
} // namespace mlir

namespace lathe {

/// While it lives, decides which passes of a context's pipelines run, and prints the IR after one of them.
/// Passes are counted over all pipelines in the order in which they first run; one that runs on many
/// functions counts once.
class PassControl {
public:
  /// \param runUntil  only so many passes run; none: all.
  /// \param dumpAfter the argument of a pass after which the IR is printed on standard error; empty: none.
  PassControl(mlir::MLIRContext &context, std::optional<unsigned> runUntil, std::string dumpAfter);
  ~PassControl();
  PassControl(const PassControl &) = delete;
  PassControl &operator=(const PassControl &) = delete;

  /// To be called before each pipeline: its passes are others, even where they lie at the same addresses.
  void beginPipeline() { numbers.clear(); }
  /// Whether a pass was left out, after which no further pipeline has a meaning.
  bool hasStopped() const { return stopped; }
  /// "ran 7 passes, the last was nn-fuse-norm"
  std::string summary() const;
  /// Once all has run: whether the passes that were asked for are among those that ran.
  llvm::Error check() const;

private:
  void execute(const mlir::Pass *pass, mlir::Operation *op, llvm::function_ref<void()> run);

  mlir::MLIRContext &context;
  std::optional<unsigned> runUntil;
  std::string dumpAfter;
  /// Of the current pipeline's passes.
  llvm::DenseMap<const mlir::Pass *, unsigned> numbers;
  unsigned count = 0;
  bool stopped = false;
  llvm::SetVector<llvm::StringRef> ran;
  std::string last;
};

} // namespace lathe

#endif // LATHE_LIB_COMPILER_PASSCONTROL_H
