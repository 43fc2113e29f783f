// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a plan costs in exactness: the results of an artifact beside those of the same model without a plan.

#ifndef LATHE_TOOLS_LATHE_LOSS_H
#define LATHE_TOOLS_LATHE_LOSS_H

#include "lathe/Compiler/Report.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

namespace lathe {

/// Runs two artifacts on the inputs in a .npz file and compares all outputs that are numbers.
llvm::Expected<std::vector<OutputLoss>> measureLoss(llvm::StringRef artifact, llvm::StringRef plain,
                                                    llvm::StringRef inputs);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_LOSS_H
