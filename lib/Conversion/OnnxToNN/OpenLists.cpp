// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "OpenLists.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include <vector>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// The longest list that is tried: tensors have no more dimensions than that in any model.
static constexpr int64_t kMaxLength = 8;

namespace {
/// A try to convert a module.
struct Attempt {
  bool ok;
  SmallVector<Diagnostic> diagnostics;
};

/// A length of a list for which the model can be converted.
struct Found {
  std::string list;
  int64_t length;
  OwningOpRef<ModuleOp> module;
  Attempt attempt;
};
} // namespace

/// The names of inputs that are lists of integers of open length.
static SmallVector<std::string> findOpenLists(func::FuncOp main) {
  SmallVector<std::string> names;
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    auto type = dyn_cast<RankedTensorType>(main.getArgument(i).getType());
    auto name = main.getArgAttrOfType<StringAttr>(i, OnnxDialect::kNameAttr);
    if (type && type.getRank() == 1 && type.isDynamicDim(0) && type.getElementType().isSignlessInteger() &&
        type.getElementTypeBitWidth() >= 32 && name) {
      names.push_back(name.str());
    }
  }
  return names;
}

static Attempt tryToConvert(func::FuncOp main, ArrayRef<std::string> options, ConvertFn convert) {
  Attempt attempt;
  ScopedDiagnosticHandler handler(main.getContext(), [&](Diagnostic &diagnostic) {
    attempt.diagnostics.push_back(std::move(diagnostic));
    return success();
  });
  attempt.ok = succeeded(convert(main, options));
  return attempt;
}

static void emitAll(MLIRContext *context, Attempt &attempt) {
  for (Diagnostic &diagnostic : attempt.diagnostics) {
    context->getDiagEngine().emit(std::move(diagnostic));
  }
}

/// Whether nothing is wrong but that something is not supported.
static bool isUnsupported(Attempt &attempt) {
  return llvm::all_of(attempt.diagnostics, [](Diagnostic &diagnostic) {
    return diagnostic.getSeverity() != DiagnosticSeverity::Error ||
           StringRef(diagnostic.str()).starts_with("[E0308]");
  });
}

/// Whether results have the ranks that are declared, as far as that can be told: a sequence is several
/// results.
static bool fits(func::FuncOp main, ArrayRef<Type> declared) {
  if (main.getNumResults() != declared.size()) {
    return true;
  }
  return llvm::all_of(llvm::zip_equal(main.getResultTypes(), declared), [](auto pair) {
    auto type = dyn_cast<RankedTensorType>(std::get<0>(pair)),
         wanted = dyn_cast<RankedTensorType>(std::get<1>(pair));
    return !type || !wanted || type.getRank() == wanted.getRank();
  });
}

LogicalResult lathe::onnx::convertWithOpenLists(func::FuncOp main, ArrayRef<std::string> options,
                                                ConvertFn convert) {
  SmallVector<std::string> lists = findOpenLists(main);
  if (lists.empty()) {
    return convert(main, options);
  }
  auto module = main->getParentOfType<ModuleOp>();
  OwningOpRef<ModuleOp> original = module.clone();
  Attempt first = tryToConvert(main, options, convert);
  std::vector<Found> found;
  if (!first.ok && isUnsupported(first)) {
    for (const std::string &list : lists) {
      for (int64_t length = 0; length <= kMaxLength; ++length) {
        OwningOpRef<ModuleOp> copy = original->clone();
        auto copied = copy->lookupSymbol<func::FuncOp>(OnnxDialect::kMain);
        SmallVector<Type> declared(copied.getResultTypes());
        SmallVector<std::string> more(options);
        more.push_back(llvm::formatv("{0}={1}", list, length).str());
        Attempt attempt = tryToConvert(copied, more, convert);
        if (attempt.ok && fits(copied, declared)) {
          found.push_back({list, length, std::move(copy), std::move(attempt)});
        }
      }
    }
  }
  if (found.size() != 1) {
    emitAll(module.getContext(), first);
    if (!found.empty()) {
      auto describe = [](const Found &other) {
        return llvm::formatv("--shape={0}={1}", other.list, other.length).str();
      };
      emitRemark(main.getLoc())
          << "[convert-onnx-to-nn] missed: the model is supported with one of the options "
          << llvm::join(llvm::map_range(found, describe), " ");
    }
    return success(first.ok);
  }
  Found &only = found.front();
  emitAll(module.getContext(), only.attempt);
  module->setAttrs((*only.module)->getAttrDictionary());
  module.getBodyRegion().takeBody(only.module->getBodyRegion());
  main = module.lookupSymbol<func::FuncOp>(OnnxDialect::kMain);
  emitRemark(main.getLoc()) << "[convert-onnx-to-nn] input \"" << only.list << "\" must have " << only.length
                            << " elements: for no other number the model can be compiled";
  return success();
}
