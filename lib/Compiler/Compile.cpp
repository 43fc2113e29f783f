// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Compile.h"
#include "lathe/Support/Error.h"

using namespace lathe;

static llvm::Error notYet(const CompileOptions &options) {
  return modelError(ErrorCode::E0401, "this build has no pipeline from " + stageName(options.from) + " to " +
                                          stageName(options.to))
      .file(options.input);
}

llvm::Error lathe::compileModel(const CompileOptions &options, Report &report) { return notYet(options); }

llvm::Error lathe::checkModel(const CompileOptions &options, Report &report) { return notYet(options); }

llvm::Error lathe::inspectModel(const CompileOptions &options, bool json, llvm::raw_ostream &os) {
  return notYet(options);
}
