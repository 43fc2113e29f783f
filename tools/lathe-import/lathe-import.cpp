// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The importer by itself, for tests and for developers: prints a model as IR of the onnx dialect, without
/// the bytes of its weights.

#include "lathe/Import/Import.h"
#include "lathe/Support/Error.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/raw_ostream.h"

#include <unistd.h>

using namespace lathe;

static constexpr const char *usage =
    "lathe-import [options] MODEL.onnx: prints a model as IR of the onnx dialect\n"
    "  --quiet              check only\n"
    "  --locations          print the place of every op\n"
    "  --allow-linked-data  accept external data that is a link\n"
    "  --avoid-openat2      open external data step by step\n"
    "  --from-memory        read the file first and import the bytes\n"
    "  --no-fingerprint     do not read the weights\n"
    "  --max-nodes=N        and the other limits of `lathe check --help`\n";

namespace {
struct Options {
  ImportOptions import;
  std::string path;
  bool quiet = false, locations = false, fromMemory = false;
};
} // namespace

static llvm::Expected<Options> parse(llvm::ArrayRef<const char *> arguments) {
  Options options;
  for (llvm::StringRef argument : arguments) {
    if (argument == "--quiet") {
      options.quiet = true;
    } else if (argument == "--locations") {
      options.locations = true;
    } else if (argument == "--allow-linked-data") {
      options.import.files.allowLinkedData = true;
    } else if (argument == "--avoid-openat2") {
      options.import.files.avoidOpenat2 = true;
    } else if (argument == "--from-memory") {
      options.fromMemory = true;
    } else if (argument == "--no-fingerprint") {
      options.import.fingerprint = false;
    } else if (const LimitInfo *limit = llvm::find_if(
                   allLimits(), [&](const LimitInfo &l) { return l.option == argument.split('=').first; });
               limit != allLimits().end()) {
      if (argument.split('=').second.getAsInteger(10, options.import.limits.*limit->field)) {
        return modelError(ErrorCode::E0001, argument + ": expects a number");
      }
    } else if (argument.starts_with("-") || !options.path.empty()) {
      return modelError(ErrorCode::E0001, "unexpected argument \"" + argument + "\"").help(usage);
    } else {
      options.path = argument.str();
    }
  }
  if (options.path.empty()) {
    return modelError(ErrorCode::E0001, "no model is given").help(usage);
  }
  return options;
}

static llvm::Error run(const Options &options) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  std::unique_ptr<ModelFile> file;
  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> module(nullptr);
  if (options.fromMemory) {
    llvm::ErrorOr<std::unique_ptr<llvm::MemoryBuffer>> buffer = llvm::MemoryBuffer::getFile(options.path);
    if (!buffer) {
      return systemError(ErrorCode::E0002, "cannot read " + options.path, buffer.getError().value());
    }
    module = importOnnx(context, std::move(*buffer), options.import, file);
  } else {
    module = importOnnx(context, options.path, options.import, file);
  }
  if (!module) {
    return module.takeError();
  }
  // The module refers to the file: it goes first.
  llvm::scope_exit eraseModule([&] { *module = nullptr; });
  if (mlir::failed(mlir::verify(**module))) {
    return modelError(ErrorCode::E0901, "the imported module is not valid");
  }
  if (!options.quiet) {
    mlir::OpPrintingFlags flags;
    flags.elideLargeResourceString(0).elideLargeElementsAttrs(64);
    flags.enableDebugInfo(options.locations, /*prettyForm=*/false);
    (**module)->print(llvm::outs(), flags);
    llvm::outs() << "\n";
  }
  return llvm::Error::success();
}

int main(int argc, char **argv) {
  llvm::Expected<Options> options = parse(llvm::ArrayRef(argv, size_t(argc)).drop_front());
  if (!options) {
    return reportError(options.takeError(), llvm::errs());
  }
  ModelError truncated(ErrorCode::E0108, "the model or its external data was truncated while it was read");
  truncated.file = options->path;
  TruncationGuard guard(STDERR_FILENO, truncated.render(), int(truncated.errorClass()));
  return reportError(run(*options), llvm::errs());
}
