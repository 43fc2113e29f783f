/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// Fuzzes the check of artifacts: once as it is, and once without the sums, so that changes of single bytes
// reach what stands behind them. `lathe_artifact_fuzzer FOLDER` with some artifacts in FOLDER; without one it
// starts from the tests' own.

#include "Seal.h"

extern "C" {
#include "artifact.h"
}

#include <cstdlib>
#include <cstring>

using namespace lathe::test;

/// Libraries that the check refuses for different reasons lead it into different corners.
static const Bytes &seed(size_t index) {
  static const std::vector<Bytes> seeds = [] {
    std::vector<Bytes> seeds;
    for (const char *name : {"tiny", "device", "import", "ifunc", "tls", "text_relocation", "run_path"}) {
      seeds.push_back(sealTiny(name));
    }
    return seeds;
  }();
  return seeds[index % seeds.size()];
}

static void check(const unsigned char *data, size_t size) {
  lathe_artifact artifact;
  for (unsigned flags : {unsigned(LATHE_CHECK_WEIGHTS), unsigned(LATHE_CHECK_IGNORE_SUMS)}) {
    if (lathe_artifact_check(data, size, "fuzzed", flags, &artifact) == LATHE_OK &&
        (artifact.header.target_count > LATHE_MAX_TARGETS || artifact.weight_bytes > size)) {
      abort();
    }
  }
}

/// Input that is no ELF file is a list of changes to a seed: its number, then (position, byte) of three and
/// one bytes.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  if (size >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0) {
    check(data, size);
    return 0;
  }
  if (size == 0) {
    return 0;
  }
  Bytes changed = seed(data[0]);
  for (size_t i = 1; i + 4 <= size; i += 4) {
    size_t at = size_t(data[i]) | size_t(data[i + 1]) << 8 | size_t(data[i + 2]) << 16;
    changed[at % changed.size()] = data[i + 3];
  }
  check(changed.data(), changed.size());
  return 0;
}
