// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The bodies of control flow, and which values are known in them.

#include "Conversion.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// The most conversions of bodies.
static constexpr size_t kMaxBodies = 10000;

/// The most nodes that move into the branches of others: each is there twice then.
static constexpr size_t kMaxMovedNodes = 10000;

LegalValue *Conversion::find(Value value) {
  for (auto &scope : llvm::reverse(scopes)) {
    auto known = scope.find(value);
    if (known == scope.end()) {
      continue;
    }
    if (&scope == &scopes.back()) {
      return &known->second;
    }
    LegalValue copy = known->second;
    return &(scopes.back()[value] = std::move(copy));
  }
  return nullptr;
}

FailureOr<SmallVector<LegalValue>> Conversion::convert(Region &body, ArrayRef<LegalValue> arguments) {
  // Loops in loops are converted again and again until what they carry is known.
  if (++convertedBodies > kMaxBodies) {
    ++errors;
    return emitError(body.getLoc()) << "[E0103] control flow is nested too deep: more than " << kMaxBodies
                                    << " bodies";
  }
  Block &block = body.front();
  if (block.getNumArguments() != arguments.size()) {
    ++errors;
    return emitError(body.getLoc()) << "[E0305] the body has " << block.getNumArguments()
                                    << " inputs, must have " << arguments.size();
  }
  scopes.emplace_back();
  size_t mark = sizes.enterBody();
  for (auto [argument, value] : llvm::zip_equal(block.getArguments(), arguments)) {
    scopes.back()[argument] = value;
  }
  Location outer = body.getParentOp()->getLoc();
  size_t problems = countProblems();
  for (Operation *op = &block.front(), *next; op && !growth; op = getNext(op, next)) {
    next = op->getNextNode();
    if (auto node = dyn_cast<NodeOp>(op)) {
      convertNode(node);
    } else if (isa<arith::ConstantOp, nn::WeightUseOp>(op) &&
               isa<RankedTensorType>(op->getResult(0).getType())) {
      bindTensor(*builder.clone(*op), op->getResult(0));
    } else if (auto strings = dyn_cast<ConstantOp>(op)) {
      bindStrings(strings);
    }
  }
  SmallVector<LegalValue> results;
  bool ok = problems == countProblems() && !growth;
  for (Value yielded : block.getTerminator()->getOperands()) {
    LegalValue *value = ok ? find(yielded) : nullptr;
    if (ok && !value && !problems) {
      ++errors;
      emitError(outer) << "[E0308] a result of a body is of type " << yielded.getType();
    }
    ok &= value != nullptr;
    if (ok) {
      results.push_back(*value);
    }
  }
  scopes.pop_back();
  sizes.leaveBody(mark);
  sizes.setLoc(outer);
  if (!ok) {
    return failure();
  }
  return results;
}

FailureOr<SmallVector<LegalValue>> Conversion::tryConvert(Region &body, ArrayRef<LegalValue> arguments,
                                                          std::string &misfit) {
  size_t errorsBefore = errors, otherProblems = countProblems() - errors;
  SmallVector<Diagnostic> found;
  FailureOr<SmallVector<LegalValue>> results = failure();
  {
    ScopedDiagnosticHandler handler(main.getContext(), [&](Diagnostic &diagnostic) {
      if (diagnostic.getSeverity() != DiagnosticSeverity::Error) {
        return failure();
      }
      found.push_back(std::move(diagnostic));
      return success();
    });
    results = convert(body, arguments);
  }
  bool isMisfit = failed(results) && !found.empty() && countProblems() - errors == otherProblems &&
                  llvm::all_of(found, [](const Diagnostic &diagnostic) {
                    std::string text = diagnostic.str();
                    return StringRef(text).starts_with("[E0304]") || StringRef(text).starts_with("[E0307]");
                  });
  if (isMisfit) {
    errors = errorsBefore;
    misfit = StringRef(found.front().str()).substr(StringRef("[E0307] ").size()).str();
    return failure();
  }
  for (Diagnostic &diagnostic : found) {
    main.getContext()->getDiagEngine().emit(std::move(diagnostic));
  }
  return results;
}

bool Conversion::growBranches(Operation *choice, ArrayRef<unsigned> results) {
  std::optional<BranchGrowth> planned = planGrowth(cast<NodeOp>(choice), results);
  if (!planned || (movedNodes += planned->countNodes()) > kMaxMovedNodes) {
    return false;
  }
  growth = std::move(planned);
  return true;
}

Operation *Conversion::getNext(Operation *op, Operation *next) {
  if (!growth || growth->choice != op) {
    return next;
  }
  next = lathe::onnx::growBranches(*growth, [&](Operation *old) { abandon(old); });
  growth.reset();
  return next;
}

void Conversion::abandon(Operation *op) {
  op->remove();
  abandoned.push_back(op);
}

void Conversion::destroyAbandoned() {
  // One may use values of another's body.
  for (Operation *op : abandoned) {
    op->dropAllReferences();
  }
  for (Operation *op : abandoned) {
    op->destroy();
  }
  abandoned.clear();
}
