// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What entries of a plan want of things that have become one, and what is told where nothing comes of it.

#ifndef LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANWISHES_H
#define LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANWISHES_H

#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/Transforms/ApplyPlan.h"

#include "mlir/IR/SymbolTable.h"

namespace lathe::pack {

/// What an entry says of one thing, a format or a sparsity; without an entry, what is said of all.
struct PlanWish {
  llvm::StringRef text;
  const PlanEntry *entry = nullptr;
};

/// A thing of which entries may speak.
struct PlanSubject {
  std::string PlanEntry::*field;
  /// What is said of all products.
  llvm::StringRef common;
  /// What stands between "stored" and what is said: "as", or "pruned to".
  llvm::StringRef phrase;
};

class PlanWishes {
public:
  using Finder = llvm::function_ref<const PlanEntry *(llvm::StringRef)>;

  /// `pass` is what remarks are of; `refused` may be null.
  PlanWishes(const mlir::SymbolTable &symbols, const Plan &plan, llvm::StringRef pass,
             std::vector<RefusedRequest> *refused)
      : symbols(symbols), plan(plan), pass(pass), refused(refused) {}

  /// What the entries of an op's weights and nodes want of it; no wish if there are none. Nothing where
  /// things have become one of which that is not the same, which is told; failure after an error: an entry of
  /// a weight and one of a node differ.
  llvm::FailureOr<std::optional<PlanWish>> find(mlir::Operation *op, nn::WeightOp weight,
                                                const PlanSubject &subject, Finder findWeight,
                                                Finder findNode) const;

  /// Tells why an op does not ask for what the plan says of its weight.
  void refuse(mlir::Operation *op, nn::WeightOp weight, llvm::StringRef requested,
              const llvm::Twine &reason) const;

private:
  /// What all of these names want, of which some may have no entry; no wish if none has. Where they do not
  /// agree that is told, and failure.
  llvm::FailureOr<PlanWish> agree(mlir::Operation *op, nn::WeightOp weight, const PlanSubject &subject,
                                  llvm::ArrayRef<std::string> names, llvm::StringRef kind, Finder find) const;

  const mlir::SymbolTable &symbols;
  const Plan &plan;
  llvm::StringRef pass;
  std::vector<RefusedRequest> *refused;
};

/// The names in the file of what a weight is made of.
llvm::SmallVector<std::string> getSourceNames(nn::WeightOp weight, const mlir::SymbolTable &symbols);

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANWISHES_H
