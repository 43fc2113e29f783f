// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_DIALECT_NN_IR_NNCOARSE_H
#define LATHE_DIALECT_NN_IR_NNCOARSE_H

#include "llvm/ADT/StringRef.h"

namespace lathe::nn {

/// Marks functions of which all that reads them rounds them to 8 bits or fewer: that they are off by a
/// fraction of that, as by 2^-15, does not matter.
inline constexpr llvm::StringLiteral kCoarseAttr = "nn.coarse";

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_NNCOARSE_H
