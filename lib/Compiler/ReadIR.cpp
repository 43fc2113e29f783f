// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ReadIR.h"

#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Error.h"

#include "mlir/IR/DialectResourceBlobManager.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace lathe;
using llvm::Error;
using llvm::Expected;

Expected<OwningOpRef<ModuleOp>> lathe::readIR(MLIRContext &context, StringRef path) {
  if (path != "-" && !llvm::sys::fs::exists(path)) {
    return systemError(ErrorCode::E0002, "cannot open \"" + path.str() + "\"", ENOENT);
  }
  DiagnosticCollector diagnostics(&context, path.str(), ErrorCode::E0403);
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(path, &context);
  if (!module) {
    return diagnostics.takeFailure("parsing");
  }
  if (Error error = diagnostics.takeError()) {
    return error;
  }
  return module;
}

/// The first of `values` that is made of complex numbers, or null.
static Value findComplex(ValueRange values) {
  auto found = llvm::find_if(
      values, [](Value value) { return isa<ComplexType>(getElementTypeOrSelf(value.getType())); });
  return found == values.end() ? Value() : *found;
}

Error lathe::checkTypes(ModuleOp module) {
  Value found;
  module.walk<WalkOrder::PreOrder>([&](Operation *op) {
    found = findComplex(op->getResults());
    for (Region &region : op->getRegions()) {
      for (Block &block : region) {
        found = found ? found : findComplex(block.getArguments());
      }
    }
    return found ? WalkResult::interrupt() : WalkResult::advance();
  });
  if (!found) {
    return Error::success();
  }
  std::string text;
  llvm::raw_string_ostream(text) << found.getType();
  ModelError error(ErrorCode::E0401, "a value has type " + text + ", which no kernel computes with");
  error.help = "real and imaginary parts stand in a dimension of their own";
  setPlace(error, found.getLoc());
  return llvm::make_error<ModelError>(std::move(error));
}

/// Whether the weight's value is a reference to bytes that are not there.
static bool lacksData(nn::WeightOp weight) {
  auto resource = dyn_cast_or_null<DenseResourceElementsAttr>(weight.getValueAttr());
  return resource && !resource.getRawHandle().getBlob();
}

Error lathe::takeWeights(ModuleOp module, ModuleOp model) {
  SymbolTable sources(model);
  for (auto weight : module.getOps<nn::WeightOp>()) {
    auto source = sources.lookup<nn::WeightOp>(weight.getSymName());
    if (!source || !lacksData(weight)) {
      continue;
    }
    if (source.getTensorType() != weight.getTensorType()) {
      std::string has, expects;
      llvm::raw_string_ostream(has) << source.getTensorType();
      llvm::raw_string_ostream(expects) << weight.getTensorType();
      return modelError(ErrorCode::E0403, "weight @" + weight.getSymName().str() + " is " + expects +
                                              ", but the model's is " + has);
    }
    weight.setValueAttr(source.getValueAttr());
  }
  return checkWeights(module);
}

Error lathe::checkWeights(ModuleOp module) {
  for (auto weight : module.getOps<nn::WeightOp>()) {
    if (lacksData(weight)) {
      return modelError(ErrorCode::E0403, "weight @" + weight.getSymName().str() + " has no data")
          .help("text holds no large weights; --weights-from MODEL.onnx takes them from the model it was "
                "made of, by "
                "name");
    }
  }
  return Error::success();
}
