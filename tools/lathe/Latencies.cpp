// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe latencies`: how long products take on this machine, by shape and format.

#include "Commands.h"
#include "LatencyArguments.h"
#include "Session.h"
#include "lathe/Compiler/Worker.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>

using namespace llvm;
using namespace lathe;

namespace {

/// A format in which products are computed, as the table names it, and the attributes that ask for it.
/// Integers that are only stored are smaller in any case, and decoded in no time; places in tables take some.
/// Of blocks of zeros two shares are measured: others lie on a line.
struct Measured {
  StringLiteral format, attributes;
  double kept = 1;
};
constexpr Measured formats[] = {
    {plainFormat, ""},
    {"bf16", "pack.format = #pack.bf16"},
    {"int8<dynamic>", "pack.format = #pack.int8<dynamic>"},
    {"int8<static>", "pack.format = #pack.int8<static>, pack.range = array<f32: -1.0, 1.0>"},
    {"int4<group = 32, dynamic = true>", "pack.format = #pack.int4<group = 32, dynamic = true>"},
    {"codebook<int3, group = 32>", "pack.format = #pack.codebook<int3, group = 32>"},
    {"codebook<nf4, group = 64>", "pack.format = #pack.codebook<nf4, group = 64>"},
    {"codebook<f8E4M3FN, group = 32>", "pack.format = #pack.codebook<f8E4M3FN, group = 32>"},
    {"codebook<f8E5M2, group = 32>", "pack.format = #pack.codebook<f8E5M2, group = 32>"},
    {"blocks<rows = 1, columns = 4>", "pack.sparsity = #pack.sparsity<block, zeros = 500>", 0.5},
    {"blocks<rows = 1, columns = 4>", "pack.sparsity = #pack.sparsity<block, zeros = 900>", 0.1},
    {"blocks<rows = 1, columns = 1>", "pack.sparsity = #pack.sparsity<unstructured, zeros = 500>", 0.5},
    {"blocks<rows = 1, columns = 1>", "pack.sparsity = #pack.sparsity<unstructured, zeros = 900>", 0.1},
    {"blocks<rows = 4, columns = 32>",
     "pack.format = #pack.int8<dynamic>, pack.sparsity = #pack.sparsity<block, zeros = 500>", 0.5},
    {"blocks<rows = 4, columns = 32>",
     "pack.format = #pack.int8<dynamic>, pack.sparsity = #pack.sparsity<block, zeros = 900>", 0.1},
};

/// Weights as models have them, from those of small heads to those of feed-forward layers of language models,
/// which come from memory, and the rows of one token, a short and a long text, and a batch.
constexpr std::pair<int64_t, int64_t> weights[] = {{64, 64},    {128, 256},  {384, 384},  {384, 1536},
                                                   {1536, 384}, {768, 3072}, {2048, 8192}};
constexpr int64_t rowCounts[] = {1, 16, 128, 512};
/// Beyond so many operations it makes no difference where a weight comes from.
constexpr int64_t mostOperations = int64_t(3) << 30;

/// Turns that the artifacts of one shape take, and the least time of each.
constexpr int turns = 3;
constexpr double secondsOfTurn = 0.01;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A model of one product with these attributes.
std::string makeModel(StringRef attributes, int64_t depth, int64_t columns) {
  return formatv(R"(nn.weight private @w : tensor<{0}x{1}xf32> = dense<0.01>
func.func @main(%x: tensor<?x{0}xf32> {{nn.name = "x", nn.dims = ["rows", ""]})
    -> (tensor<?x{1}xf32> {{nn.name = "y"}) {{
  %w = nn.weight_use @w : tensor<{0}x{1}xf32>
  %y = nn.matmul %x, %w {{{2}} : tensor<?x{0}xf32>, tensor<{0}x{1}xf32> -> tensor<?x{1}xf32>
  return %y : tensor<?x{1}xf32>
})",
                 depth, columns, attributes);
}

/// An artifact that is removed in the end.
struct Compiled {
  const Measured *measured;
  std::string path;
  FileRemover remover;
};

Expected<std::string> makeFile(StringRef extension) {
  SmallString<128> path;
  if (std::error_code code = sys::fs::createTemporaryFile("lathe-latency", extension, path)) {
    return systemError(ErrorCode::E0003, "cannot write a temporary file", code.value());
  }
  return path.str().str();
}

/// Compiles a model of one product. Nothing if the format is refused there.
Expected<std::unique_ptr<Compiled>> compile(const Measured &measured, int64_t depth, int64_t columns) {
  Expected<std::string> model = makeFile("mlir"), artifact = makeFile("so");
  if (!model || !artifact) {
    return joinErrors(model.takeError(), artifact.takeError());
  }
  FileRemover modelRemover(*model);
  auto result = std::make_unique<Compiled>();
  result->measured = &measured;
  result->path = *artifact;
  result->remover.setFile(*artifact);
  if (Error error = writeFile(*model, makeModel(measured.attributes, depth, columns))) {
    return error;
  }
  WorkerOptions worker;
  worker.arguments = {"compile", *model, "--from=nn", "-o", *artifact, "--force", "--latencies=none"};
  worker.outputs = {*artifact};
  Report report;
  if (Error error = runInWorker(worker, report)) {
    return error;
  }
  bool isRefused = any_of(report.remarks, [](const Remark &remark) {
    return remark.kind == Remark::Missed && StringRef(remark.pass).starts_with("pack-");
  });
  return isRefused ? nullptr : std::move(result);
}

/// The least time of a run, in seconds.
Error measureTurn(Session &session, double &least) {
  double begin = now(), last = begin;
  while (last < begin + secondsOfTurn) {
    if (Error error = session.run()) {
      return error;
    }
    double end = now();
    least = least == 0 ? end - last : std::min(least, end - last);
    last = end;
  }
  return Error::success();
}

/// All formats of one shape, in turns: the clock of a machine drifts.
Error measureShape(ArrayRef<std::unique_ptr<Compiled>> artifacts, int64_t rows, LatencyEntry shape,
                   LatencyTable &table) {
  std::vector<std::unique_ptr<Session>> sessions;
  for (const std::unique_ptr<Compiled> &artifact : artifacts) {
    SessionOptions options;
    options.model = artifact->path;
    options.random = true;
    options.threads = 1;
    options.shapes.push_back({"rows", {rows}, {}, false});
    Expected<std::unique_ptr<Session>> session = Session::open(options);
    if (!session) {
      return session.takeError();
    }
    sessions.push_back(std::move(*session));
  }
  std::vector<double> least(sessions.size());
  for (int turn = 0; turn < turns; ++turn) {
    for (auto [session, time] : zip_equal(sessions, least)) {
      if (Error error = measureTurn(*session, time)) {
        return error;
      }
    }
  }
  shape.rows = rows;
  for (auto [artifact, time] : zip_equal(artifacts, least)) {
    shape.format = artifact->measured->format.str();
    shape.kept = artifact->measured->kept;
    shape.microseconds = time * 1e6;
    table.entries.push_back(shape);
  }
  return Error::success();
}

Error measure(LatencyTable &table) {
  for (auto [depth, columns] : weights) {
    std::vector<std::unique_ptr<Compiled>> artifacts;
    for (const Measured &measured : formats) {
      Expected<std::unique_ptr<Compiled>> artifact = compile(measured, depth, columns);
      if (!artifact) {
        return artifact.takeError();
      }
      if (*artifact) {
        artifacts.push_back(std::move(*artifact));
      }
    }
    for (int64_t rows : rowCounts) {
      if (2 * rows * depth * columns > mostOperations) {
        continue;
      }
      LatencyEntry shape;
      shape.depth = depth;
      shape.columns = columns;
      if (Error error = measureShape(artifacts, rows, shape, table)) {
        return error;
      }
    }
  }
  return Error::success();
}

void print(const LatencyTable &table) {
  outs() << "rows  depth  columns  " << left_justify("format", 32) << "  kept      us   of f32\n";
  for (const LatencyEntry &entry : table.entries) {
    std::optional<LatencyTable::Comparison> compared =
        table.compare(entry.format, entry.rows, entry.depth, entry.columns, entry.kept);
    outs() << format("%4lld  %5lld  %7lld  ", (long long)entry.rows, (long long)entry.depth,
                     (long long)entry.columns)
           << left_justify(entry.format, 32)
           << format("  %4.2f  %6.1f   %6.2f\n", entry.kept, entry.microseconds,
                     compared ? compared->ratio : 1.0);
  }
}

Error run(const std::string &output) {
  LatencyTable table;
  table.origin = getLatencyOrigin();
  std::string path = output.empty() ? getLatencyCache(table.origin) : output;
  if (path.empty()) {
    return modelError(ErrorCode::E0003, "there is no folder for caches").help("-o FILE says where it goes");
  }
  if (output.empty()) {
    if (std::error_code code = sys::fs::create_directories(sys::path::parent_path(path))) {
      return systemError(ErrorCode::E0003, "cannot write " + quoteText(path), code.value());
    }
  }
  if (Error error = measure(table)) {
    return error;
  }
  print(table);
  if (Error error = writeFile(path, formatv("{0:2}\n", json::Value(table.toJSON())).str())) {
    return error;
  }
  errs() << "wrote " << escapeText(path) << '\n';
  return Error::success();
}

} // namespace

int lathe::latenciesCommand(const CommandContext &context) {
  std::string output;
  Arguments arguments(
      "latencies", "[-o FILE.json]",
      "Measures how long products take on this machine, by shape and format. `lathe compile`\n"
      "asks the result before it computes a product in another format.");
  arguments.text("-o", "FILE", "the table (default: where `lathe compile` looks for it)", output);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  return reportError(run(output), errs());
}
