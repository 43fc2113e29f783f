/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#ifndef LATHE_RUNTIME_TEST_SEAL_H
#define LATHE_RUNTIME_TEST_SEAL_H

#include "lathe/container.h"

#include <functional>
#include <string>
#include <vector>

namespace lathe::test {

using Bytes = std::vector<unsigned char>;

/// The contents of a file; empty when it cannot be read.
Bytes readFile(const std::string &path);
/// Where the build put the linked, not yet sealed libraries.
std::string tinyPath(const std::string &name);

/// Makes an artifact of a linked library as container.h demands: independent of the compiler's own sealer, so
/// that the two are checked against each other. `change` may spoil the header before its sum is made.
Bytes seal(Bytes linked, const Bytes &weights,
           const std::function<void(lathe_artifact_header &)> &change = nullptr);
/// The sealed library of that name with weights 1, 2, 3, 4 at their beginning.
Bytes sealTiny(const std::string &name, const std::function<void(lathe_artifact_header &)> &change = nullptr);
/// Makes the sums of an artifact's headers and of the note fit again after a change.
void resealHeaders(Bytes &artifact);

/// A file that goes with the object.
class TempFile {
public:
  explicit TempFile(const Bytes &contents);
  ~TempFile();
  TempFile(const TempFile &) = delete;
  TempFile &operator=(const TempFile &) = delete;
  const char *path() const { return name.c_str(); }

private:
  std::string name;
};

} // namespace lathe::test
#endif
