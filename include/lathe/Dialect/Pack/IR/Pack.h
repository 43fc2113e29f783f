// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The pack dialect: weights stored in fewer bytes. See PackBase.td for its conventions.

#ifndef LATHE_DIALECT_PACK_IR_PACK_H
#define LATHE_DIALECT_PACK_IR_PACK_H

#include "lathe/Dialect/NN/Evaluate/EvaluableOp.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/Pack/IR/Blocks.h"
#include "lathe/Dialect/Pack/IR/Panels.h"

#include "mlir/IR/Diagnostics.h"

#include <vector>

#include "lathe/Dialect/Pack/IR/PackDialect.h.inc"
#include "lathe/Dialect/Pack/IR/PackEnums.h.inc"
#include "lathe/Dialect/Pack/IR/PackInterfaces.h.inc"

#define GET_ATTRDEF_CLASSES
#include "lathe/Dialect/Pack/IR/PackAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "lathe/Dialect/Pack/IR/PackTypes.h.inc"

#define GET_OP_CLASSES
#include "lathe/Dialect/Pack/IR/PackOps.h.inc"

namespace lathe::pack {

/// Why `tensor` cannot be encoded: its elements, read from front to back. Nothing if it can.
std::optional<std::string> findUnencodable(FormatAttrInterface format, const nn::ConstantTensor &tensor);

/// How many elements of `tensor`, f32, are not finite, in words; nothing if all are.
std::optional<std::string> findNotFinite(const nn::ConstantTensor &tensor);

/// The bytes of a packed tensor whose components lie one after the other.
int64_t getComponentBytes(PackedTensorType type);

/// What pack.prune does.
struct Pruning {
  SparsityAttr sparsity;
  /// Of a block.
  int64_t rows, columns;
  /// Of rows of the matrix; may be empty.
  std::vector<float> norms;
};
nn::ConstantTensor prune(const nn::ConstantTensor &tensor, const Pruning &pruning);

/// The numbers of a table of #pack.codebook that has a name, as `nf4`; none for other names.
llvm::SmallVector<float> getNamedTable(llvm::StringRef name);

/// A format as it is written in IR.
std::string toText(mlir::Attribute format);

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_IR_PACK_H
