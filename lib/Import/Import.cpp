// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Import/Import.h"

#include "Emit.h"
#include "lathe/Support/Text.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/xxhash.h"
#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>

using namespace mlir;
using namespace lathe;

/// Turns what the walk found into an error.
static llvm::Error wireError(const WireResult &result, StringRef bytes) {
  switch (result.status) {
  case WireStatus::Ok:
    return llvm::Error::success();
  case WireStatus::Empty:
    return modelError(ErrorCode::E0101, "the file is empty");
  case WireStatus::Foreign: {
    ErrorBuilder error = modelError(ErrorCode::E0101, "this is no ONNX model: " + result.error +
                                                          " (at byte " + Twine(result.errorAt) + ")");
    if (bytes.starts_with("version https://git-lfs")) {
      return error.help("this is a pointer of Git LFS: fetch the file itself with `git lfs pull`");
    }
    if (bytes.starts_with("{") || bytes.starts_with("<") || bytes.starts_with("ir_version")) {
      return error.help("a model in text form must be converted with the onnx package first");
    }
    return error.have("it begins with " + quoteText(bytes.take_front(16)));
  }
  case WireStatus::Malformed:
    return modelError(ErrorCode::E0102, result.error + " (at byte " + Twine(result.errorAt) + " of " +
                                            Twine(bytes.size()) + ")");
  case WireStatus::TooLarge:
    return limitError(result.limit == &ModelLimits::nodes ? ErrorCode::E0206 : ErrorCode::E0103, result.error,
                      result.limit);
  }
  return llvm::Error::success();
}

static std::string fingerprintOf(const WireResult &wire, const TensorReader &tensors) {
  // Over the hashes of all parts: their lengths and order count.
  std::vector<uint64_t> parts = {llvm::xxh3_64bits(StringRef(wire.structure))};
  for (ArrayRef<char> bytes : tensors.mappedBytes()) {
    parts.push_back(llvm::xxh3_64bits(StringRef(bytes.data(), bytes.size())));
  }
  uint64_t hash =
      llvm::xxh3_64bits(ArrayRef<uint8_t>(reinterpret_cast<const uint8_t *>(parts.data()), parts.size() * 8));
  return llvm::utohexstr(hash, /*LowerCase=*/true, /*Width=*/16);
}

static llvm::Expected<OwningOpRef<ModuleOp>> importFile(MLIRContext &context, ModelFile &file,
                                                        const ImportOptions &options) {
  if (file.bytes().size() > options.limits.fileBytes) {
    return limitError(ErrorCode::E0103,
                      "the model has " + Twine(file.bytes().size()) + " bytes, the limit is " +
                          Twine(options.limits.fileBytes),
                      &ModelLimits::fileBytes);
  }
  WireResult wire = walkModel(std::string_view(file.bytes().data(), file.bytes().size()), options.limits);
  if (llvm::Error error = wireError(wire, file.bytes())) {
    return error;
  }
  google::protobuf::Arena arena;
  auto &model = *google::protobuf::Arena::CreateMessage<pb::ModelProto>(&arena);
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t *>(wire.structure.data()),
                                                int(wire.structure.size()));
  // Above the walk's limit, which has spoken.
  stream.SetRecursionLimit(int(options.limits.depth) + 100);
  if (!model.MergeFromCodedStream(&stream) || !stream.ConsumedEntireMessage()) {
    return modelError(ErrorCode::E0102, "the file's structure cannot be read");
  }
  if (llvm::Error error = checkIrVersion(model)) {
    return error;
  }
  if (!model.has_graph()) {
    return modelError(ErrorCode::E0207, "the model has no graph");
  }
  NodeChecker checker(model);
  if (llvm::Error error = checker.modelOpsets().check()) {
    return error;
  }
  if (model.graph().output().empty()) {
    return modelError(ErrorCode::E0207, "the graph has no outputs")
        .graphPath({graphStep(model.graph().name())});
  }
  FunctionTable functions;
  if (llvm::Error error = functions.build(model, options)) {
    return error;
  }
  NodeOrders orders;
  if (llvm::Error error = ScopeAnalysis(functions, checker, orders).run(model)) {
    return error;
  }
  context.loadDialect<arith::ArithDialect, func::FuncDialect, nn::NNDialect, onnx::OnnxDialect>();
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  TensorReader tensors(&context, file, options);
  if (llvm::Error error =
          ModelEmitter(*module, functions, orders, tensors, options).run(model, checker.modelOpsets())) {
    return error;
  }
  if (options.fingerprint) {
    (*module)->setAttr(onnx::OnnxDialect::kFingerprintAttr,
                       StringAttr::get(&context, fingerprintOf(wire, tensors)));
  }
  if (llvm::Error error = file.verifyUnchanged()) {
    return error;
  }
  return module;
}

static FileOptions filesWithin(const ImportOptions &options) {
  FileOptions files = options.files;
  files.maxBytes = options.limits.fileBytes;
  return files;
}

static llvm::Expected<OwningOpRef<ModuleOp>> importAndName(MLIRContext &context,
                                                           std::unique_ptr<ModelFile> file,
                                                           const ImportOptions &options,
                                                           std::unique_ptr<ModelFile> &keepAlive) {
  llvm::Expected<OwningOpRef<ModuleOp>> module = importFile(context, *file, options);
  if (!module) {
    return llvm::handleErrors(module.takeError(), [&](std::unique_ptr<ModelError> error) -> llvm::Error {
      if (error->file.empty()) {
        error->file = file->path().str();
      }
      return llvm::Error(std::move(error));
    });
  }
  keepAlive = std::move(file);
  return module;
}

llvm::Expected<OwningOpRef<ModuleOp>> lathe::importOnnx(MLIRContext &context, StringRef path,
                                                        const ImportOptions &options,
                                                        std::unique_ptr<ModelFile> &keepAlive) {
  llvm::Expected<std::unique_ptr<ModelFile>> file = ModelFile::open(path, filesWithin(options));
  if (!file) {
    return file.takeError();
  }
  return importAndName(context, std::move(*file), options, keepAlive);
}

llvm::Expected<OwningOpRef<ModuleOp>> lathe::importOnnx(MLIRContext &context,
                                                        std::unique_ptr<llvm::MemoryBuffer> buffer,
                                                        const ImportOptions &options,
                                                        std::unique_ptr<ModelFile> &keepAlive) {
  return importAndName(context, ModelFile::fromBuffer(std::move(buffer), filesWithin(options)), options,
                       keepAlive);
}
