// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Which weights an op reads, down to those of the file, and in which formats it asks for them.

#ifndef LATHE_DIALECT_PACK_TRANSFORMS_WEIGHTSOURCES_H
#define LATHE_DIALECT_PACK_TRANSFORMS_WEIGHTSOURCES_H

#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

namespace lathe::pack {

/// An op that asks for a format of its weight.
struct Request {
  mlir::Operation *op;
  nn::WeightOp weight;
  FormatAttrInterface format;
};

/// The weight that an op multiplies with, or looks up in; null if its operand is no weight.
nn::WeightOp getWeight(mlir::Operation *op, const mlir::SymbolTable &symbols);
/// That of a product which the file stores in a format; null if there is none.
nn::WeightOp getPackedWeight(mlir::Operation *op, const mlir::SymbolTable &symbols);
/// Whether an op multiplies with a weight: the default format of a plan is for these.
bool isProduct(mlir::Operation *op);
/// The multiply-adds of a product; unknown sizes count as 64.
double countOperations(mlir::Operation *product);

/// The weights of the file whose elements become those of `weight`; itself if it is one.
llvm::SmallVector<nn::WeightOp> getSources(nn::WeightOp weight, const mlir::SymbolTable &symbols);

/// Lets an op ask for no format, and for nothing beside it.
void withdrawRequest(mlir::Operation *op);

/// What ops ask for, in the order of the program.
llvm::SmallVector<Request> collectRequests(mlir::ModuleOp module);

/// `pack.encode` in the body of a weight, rounded by the sums of products in the weight that `gram` names, or
/// to the nearest if that is null.
mlir::Value buildEncode(mlir::OpBuilder &body, mlir::Location loc, PackedTensorType type, mlir::Value x,
                        mlir::FlatSymbolRefAttr gram, const mlir::SymbolTable &symbols);

/// An op that asks for zeros in its weight.
struct SparsityRequest {
  mlir::Operation *op;
  nn::WeightOp weight;
  SparsityAttr sparsity;
};
llvm::SmallVector<SparsityRequest> collectSparsityRequests(mlir::ModuleOp module);
/// A sparsity as plans write it: "block:75%".
std::string sparsityText(SparsityAttr sparsity);

/// A format as plans write it: "int4<group = 32>" of `#pack.int4<group = 32>`.
std::string formatText(FormatAttrInterface format);
/// The reverse; null, and `why` filled, if there is no such format.
FormatAttrInterface parseFormat(mlir::MLIRContext *context, llvm::StringRef text, std::string &why);

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_TRANSFORMS_WEIGHTSOURCES_H
