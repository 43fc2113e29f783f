// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From object files to a shared library, inside the process and in memory.

#ifndef LATHE_COMPILER_LINK_H
#define LATHE_COMPILER_LINK_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"

namespace lathe {

/// Success if `object` refers to no symbol that it does not define, but memcpy, memmove and memset. Compiled
/// code that calls malloc or expf is a fault of the compiler.
llvm::Error checkUndefinedSymbols(llvm::ArrayRef<char> object);

/// Links `object` with room for the artifact's header, for `weightBytes` of weights and for their sums (see
/// runtime/include/lathe/container.h); sealArtifact() fills these. Touches no file. One link runs at a time;
/// after a fatal error of the linker none can run any more in this process, and the error says so.
llvm::Expected<llvm::SmallVector<char, 0>> linkShared(llvm::ArrayRef<char> object, uint64_t weightBytes);

/// Links the code of a device's emulator, which may also refer to functions whose names begin with `prefix`.
llvm::Expected<llvm::SmallVector<char, 0>> linkForEmulator(llvm::ArrayRef<char> object,
                                                           llvm::StringRef prefix);

} // namespace lathe

#endif // LATHE_COMPILER_LINK_H
