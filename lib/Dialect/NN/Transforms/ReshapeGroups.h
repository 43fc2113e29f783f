// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Which dimensions of a reshape's operand become which of its result.

#ifndef LATHE_LIB_DIALECT_NN_TRANSFORMS_RESHAPEGROUPS_H
#define LATHE_LIB_DIALECT_NN_TRANSFORMS_RESHAPEGROUPS_H

#include "mlir/IR/OpDefinition.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

#include <optional>

namespace lathe::nn {

/// Dimensions [fromBegin, fromEnd) of the operand hold the elements of [toBegin, toEnd) of the result; one of
/// the two may be empty where the other has size 1.
struct ReshapeGroup {
  size_t fromBegin, fromEnd, toBegin, toEnd;
};

/// The finest groups, in order, or nothing if it is not evident which dimensions belong together.
std::optional<llvm::SmallVector<ReshapeGroup>> groupReshape(llvm::ArrayRef<mlir::OpFoldResult> from,
                                                            llvm::ArrayRef<mlir::OpFoldResult> to);

} // namespace lathe::nn

#endif // LATHE_LIB_DIALECT_NN_TRANSFORMS_RESHAPEGROUPS_H
