// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe explain`.

#include "Commands.h"
#include "CompileArguments.h"
#include "PlanArguments.h"
#include "Supervise.h"
#include "lathe/Compiler/Compile.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace lathe;

static void printEntry(const CompressionEntry &entry) {
  outs() << (entry.kind == "layer" ? "layer " : "weight ");
  outs() << join(map_range(entry.names, [](const std::string &name) { return escapeText(name); }), " + ")
         << ": requested " << escapeText(entry.requested) << ", became " << escapeText(entry.became) << ", "
         << formatBytes(entry.bytesBefore) << " before and " << formatBytes(entry.bytesAfter) << " after";
  outs() << (entry.reason.empty() ? "" : ": ") << escapeText(entry.reason) << '\n';
}

static void printExplanation(StringRef node, const Report &report) {
  static constexpr StringLiteral kinds[] = {"done", "missed", "failed", "seen"};
  outs() << quoteText(node) << '\n';
  for (const KernelEntry &kernel : report.kernels) {
    if (kernel.root == "layer") {
      outs() << "is in a layer that is compiled once for all equal ones, as @" << escapeText(kernel.name)
             << '\n';
      continue;
    }
    outs() << "is computed by kernel " << escapeText(kernel.name) << " (" << escapeText(kernel.root) << ")";
    if (kernel.nodes.size() > 1) {
      outs() << " with "
             << join(map_range(
                         make_filter_range(kernel.nodes, [&](const std::string &n) { return n != node; }),
                         [](const std::string &n) { return quoteText(n); }),
                     ", ");
    }
    outs() << '\n';
  }
  if (report.kernels.empty()) {
    outs() << "is computed by no kernel: it was folded, fused into what is named after others, or left out\n";
  }
  for (const CompressionEntry &entry : report.compression) {
    printEntry(entry);
  }
  for (const Remark &remark : report.remarks) {
    outs() << kinds[remark.kind] << " [" << escapeText(remark.pass) << "] " << escapeText(remark.message)
           << '\n';
  }
}

int lathe::explainCommand(const CommandContext &context) {
  CompileOptions options;
  SupervisionOptions supervision;
  std::string node;
  PlanArguments plan;
  Arguments arguments(
      "explain", "MODEL.onnx --node NAME [options]",
      "Says what becomes of one node: the kernel that computes it, what passes did with it and why not.");
  arguments.positional("a model", options.input);
  arguments.text("--node", "NAME", "the node's name in the model", node);
  addShapeOption(arguments, options);
  plan.addTo(arguments);
  addModelOptions(arguments, options);
  addSupervisionOptions(arguments, supervision);
  arguments.hideRest();
  addHiddenSupervisionOptions(arguments, supervision);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  if (node.empty()) {
    return reportError(modelError(ErrorCode::E0001, "expects the name of a node as --node"), errs());
  }
  if (Error error = plan.complete().moveInto(options.plan)) {
    return reportError(std::move(error), errs());
  }
  options.stats = plan.stats;
  Supervision job("explain", context, supervision);
  job.model = options.input;
  job.limits = options.limits;
  job.description = options.toJSON();
  return job.run([&](Report &report) { return explainNode(options, node, report); },
                 [&](const Report &report, double) { printExplanation(node, report); });
}
