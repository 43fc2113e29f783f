/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// Every bit that the loader or a kernel can see is under a sum: flipping it is found.

#include "Seal.h"

extern "C" {
#include "artifact.h"
}

#include <gtest/gtest.h>

#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

using namespace lathe::test;

namespace {
/// Which bytes of the file the promise covers: the ELF header without its section fields, the program headers
/// without their file offsets, and the contents of all loadable segments.
std::vector<bool> covered(const Bytes &artifact) {
  lathe_elf_view view;
  EXPECT_EQ(lathe_elf_open(&view, artifact.data(), artifact.size()), LATHE_ELF_OK);
  std::vector<bool> result(artifact.size());
  for (int i = 0; i < view.ehdr.e_phnum; ++i) {
    const Elf64_Phdr &p = view.phdr[i];
    for (uint64_t k = 0; p.p_type == PT_LOAD && k < p.p_filesz; ++k) {
      result[p.p_offset + k] = true;
    }
  }
  auto except = [&](size_t at, size_t size) { std::fill_n(result.begin() + ptrdiff_t(at), size, false); };
  except(offsetof(Elf64_Ehdr, e_shoff), 8);
  except(offsetof(Elf64_Ehdr, e_shentsize), 6);
  for (int i = 0; i < view.ehdr.e_phnum; ++i) {
    except(sizeof(Elf64_Ehdr) + size_t(i) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, p_offset), 8);
  }
  return result;
}
} // namespace

// All bits with LATHE_TEST_ALL_BITS=1, else every seventh (which meets every byte and, across bytes, every
// bit).
TEST(BitFlip, IsFoundWhereverItIs) {
  Bytes artifact = sealTiny("tiny");
  std::vector<bool> promised = covered(artifact);
  lathe_artifact result;
  ASSERT_EQ(lathe_artifact_check(artifact.data(), artifact.size(), "a", LATHE_CHECK_WEIGHTS, &result),
            LATHE_OK)
      << lathe_last_error();
  size_t step = getenv("LATHE_TEST_ALL_BITS") ? 1 : 7, tried = 0;
  for (size_t bit = 0; bit < artifact.size() * 8; bit += step) {
    if (!promised[bit / 8]) {
      continue;
    }
    ++tried;
    artifact[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
    lathe_error_code code =
        lathe_artifact_check(artifact.data(), artifact.size(), "a", LATHE_CHECK_WEIGHTS, &result);
    EXPECT_NE(code, LATHE_OK) << "byte " << bit / 8 << " bit " << bit % 8;
    artifact[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
  }
  EXPECT_GT(tried, 2000u);
}

// What no sum covers, the file offsets and section fields, must do no harm either.
TEST(BitFlip, ElsewhereIsRefusedOrHarmless) {
  Bytes artifact = sealTiny("tiny");
  std::vector<bool> promised = covered(artifact);
  size_t step = getenv("LATHE_TEST_ALL_BITS") ? 1 : 5;
  for (size_t bit = 0; bit < artifact.size() * 8; bit += step) {
    if (promised[bit / 8]) {
      continue;
    }
    artifact[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
    int fd = memfd_create("artifact", MFD_CLOEXEC);
    ASSERT_EQ(write(fd, artifact.data(), artifact.size()), ssize_t(artifact.size()));
    lathe_model_t *model = nullptr;
    if (lathe_open_fd(fd, nullptr, &model) == LATHE_OK) {
      lathe_session_t *session = nullptr;
      lathe_session_options options = LATHE_SESSION_OPTIONS;
      options.threads = 1;
      ASSERT_EQ(lathe_session_create(model, &options, &session), LATHE_OK) << lathe_last_error();
      const float x[] = {1, 1, 1, 1};
      const int64_t dims[] = {1, 4};
      lathe_tensor tensor = {const_cast<float *>(x), LATHE_FLOAT32, 2, dims, nullptr};
      ASSERT_EQ(lathe_session_bind_input(session, 0, &tensor), LATHE_OK);
      ASSERT_EQ(lathe_session_run(session), LATHE_OK);
      ASSERT_EQ(lathe_session_output(session, 0, &tensor), LATHE_OK);
      EXPECT_EQ(static_cast<float *>(tensor.data)[3], 5) << "byte " << bit / 8 << " bit " << bit % 8;
      lathe_session_close(session);
    }
    lathe_close(model);
    close(fd);
    artifact[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
  }
}
