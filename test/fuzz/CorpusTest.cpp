// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The fuzzers' inputs that are kept in corpus/: what was found once, and what leads into many corners.

#include "Targets.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "gtest/gtest.h"

using namespace lathe;

static void replay(llvm::StringRef name, void (*target)(llvm::StringRef)) {
  std::error_code error;
  unsigned count = 0;
  for (llvm::sys::fs::directory_iterator i(LATHE_CORPUS "/" + name, error), end; i != end && !error;
       i.increment(error)) {
    SCOPED_TRACE(i->path());
    auto buffer = llvm::MemoryBuffer::getFile(i->path(), /*IsText=*/false, /*RequiresNullTerminator=*/false);
    ASSERT_TRUE(bool(buffer));
    llvm::errs() << i->path() << '\n';
    target((*buffer)->getBuffer());
    ++count;
  }
  EXPECT_GT(count, 5u);
}

TEST(Corpus, model) { replay("model", fuzz::model); }
TEST(Corpus, external) { replay("external", fuzz::external); }
TEST(Corpus, npz) { replay("npz", fuzz::npz); }
TEST(Corpus, options) { replay("options", fuzz::options); }
