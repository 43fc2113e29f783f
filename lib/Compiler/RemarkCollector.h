// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What passes say while they run, collected for the report.

#ifndef LATHE_LIB_COMPILER_REMARKCOLLECTOR_H
#define LATHE_LIB_COMPILER_REMARKCOLLECTOR_H

#include "lathe/Compiler/Report.h"

#include "mlir/IR/Diagnostics.h"

namespace lathe {

/// While it lives, turns the remarks of a context ("[pass] what", "[pass] missed: why") into entries of a
/// report, and warnings into its warnings. A later remark of the same pass about the same node takes the
/// place of the earlier one: what was missed at first and done in the end stands there as done.
class RemarkCollector {
public:
  RemarkCollector(mlir::MLIRContext *context, Report &report);
  ~RemarkCollector();
  RemarkCollector(const RemarkCollector &) = delete;
  RemarkCollector &operator=(const RemarkCollector &) = delete;

private:
  mlir::LogicalResult handle(mlir::Diagnostic &diagnostic);

  mlir::MLIRContext *context;
  Report &report;
  mlir::DiagnosticEngine::HandlerID handlerId;
};

/// The digest's clauses about fusion: "fused 6/6 attentions", "1 of 2 norms".
void summarizeRemarks(Report &report);

} // namespace lathe

#endif // LATHE_LIB_COMPILER_REMARKCOLLECTOR_H
