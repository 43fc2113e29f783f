// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What reads bytes of unknown origin, each as a function of the bytes. Any input is either taken or refused
/// by an error of ours that can be shown; whatever else happens ends the process.

#ifndef LATHE_TEST_FUZZ_TARGETS_H
#define LATHE_TEST_FUZZ_TARGETS_H

#include "lathe/Support/Error.h"
#include <cstdlib>

namespace lathe::fuzz {

/// A model: the walk, the schema's classes, every check, the import, and the legalization.
void model(llvm::StringRef bytes);
/// What a model says of its external data. The first byte chooses among options, the second is the tensor's
/// number of elements; then lines `key=value`.
void external(llvm::StringRef bytes);
/// An archive of arrays; if the first byte is not P, one array.
void npz(llvm::StringRef bytes);
/// The words of `lathe compile`, one a line.
void options(llvm::StringRef bytes);

/// Every error is the user's or the model's, and can be shown.
inline void expectFaultOfTheInput(llvm::Error error) {
  for (const ModelError &e : takeModelErrors(std::move(error))) {
    std::string text = e.render();
    if (e.errorClass() == ErrorClass::Internal || text.empty()) {
      llvm::errs() << text;
      abort();
    }
  }
}

} // namespace lathe::fuzz

#endif // LATHE_TEST_FUZZ_TARGETS_H
