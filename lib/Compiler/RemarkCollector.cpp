// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "RemarkCollector.h"

#include "lathe/Support/Diagnostics.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace lathe;

RemarkCollector::RemarkCollector(mlir::MLIRContext *context, Report &report)
    : context(context), report(report) {
  handlerId = context->getDiagEngine().registerHandler(
      [this](mlir::Diagnostic &diagnostic) { return handle(diagnostic); });
}

RemarkCollector::~RemarkCollector() { context->getDiagEngine().eraseHandler(handlerId); }

mlir::LogicalResult RemarkCollector::handle(mlir::Diagnostic &diagnostic) {
  std::string text = diagnostic.str();
  if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Warning) {
    if (!llvm::is_contained(report.warnings, text)) {
      report.warnings.push_back(std::move(text));
    }
    return mlir::success();
  }
  if (diagnostic.getSeverity() != mlir::DiagnosticSeverity::Remark) {
    return mlir::failure();
  }
  llvm::StringRef message = text;
  Remark remark;
  if (message.consume_front("[")) {
    auto [pass, rest] = message.split("] ");
    remark.pass = pass.str();
    message = rest;
  }
  remark.kind = message.consume_front("missed: ") ? Remark::Missed : Remark::Passed;
  remark.message = message.str();
  remark.place = diagnostic.getLocation().getAsOpaquePointer();
  std::vector<NodeOrigin> origins = originsOf(diagnostic.getLocation());
  if (!origins.empty()) {
    remark.node = origins.front().name;
  }
  for (NodeOrigin &origin : origins) {
    remark.nodes.push_back(std::move(origin.name));
  }
  auto same = llvm::find_if(report.remarks, [&](const Remark &other) {
    return !remark.node.empty() && other.pass == remark.pass && other.node == remark.node;
  });
  if (same != report.remarks.end()) {
    *same = std::move(remark);
  } else {
    report.remarks.push_back(std::move(remark));
  }
  return mlir::success();
}

void lathe::summarizeRemarks(Report &report) {
  static constexpr std::pair<llvm::StringLiteral, llvm::StringLiteral> counted[] = {
      {"nn-fuse-attention", "attention"}, {"nn-fuse-norm", "norm"}, {"nn-fuse-gelu", "gelu"}};
  std::vector<std::string> clauses;
  for (auto [pass, noun] : counted) {
    size_t done = 0, seen = 0;
    for (const Remark &remark : report.remarks) {
      if (remark.pass == pass) {
        ++seen;
        done += remark.kind == Remark::Passed;
      }
    }
    if (seen) {
      clauses.push_back(
          (llvm::Twine(done) + "/" + llvm::Twine(seen) + " " + noun + (seen == 1 ? "" : "s")).str());
    }
  }
  if (!clauses.empty()) {
    report.digest.push_back("fused " + llvm::join(clauses, ", "));
  }
  for (const Remark &remark : report.remarks) {
    if (remark.pass == "nn-outline-layers" && remark.kind == Remark::Passed) {
      report.digest.push_back(llvm::StringRef(remark.message).split(", as").first.str());
    }
  }
  size_t reference =
      llvm::count_if(report.remarks, [](const Remark &remark) { return remark.pass == "kernel-form"; });
  if (reference) {
    report.digest.push_back((llvm::Twine(reference) + (reference == 1 ? " node runs" : " nodes run") +
                             " as plain loops (see the report)")
                                .str());
  }
}
