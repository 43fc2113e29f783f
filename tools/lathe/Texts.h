// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Strings of numpy, which are UTF-32, as numbers of a session's texts, and back.

#ifndef LATHE_TOOLS_LATHE_TEXTS_H
#define LATHE_TOOLS_LATHE_TEXTS_H

#include "lathe/Npz/Npz.h"

#include "lathe.h"

namespace lathe {

/// False, with an error of the runtime, if there is no memory.
bool toNumbers(lathe_session_t *session, Array &array);

/// An output of strings with its characters, which lie in `storage`; false, with an error of the runtime, if
/// a number is that of no text.
bool toCharacters(lathe_session_t *session, ArrayView &array, std::vector<uint32_t> &storage);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_TEXTS_H
