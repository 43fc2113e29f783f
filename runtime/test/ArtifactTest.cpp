/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// What the check refuses, and how it says so. Damage of single bits is in BitFlipTest.cpp.

#include "Seal.h"

#include "elfview.h"
#include "lathe.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <sys/stat.h>

using namespace lathe::test;

namespace {
/// The message of opening these bytes, without the file's name; "" when they open.
std::string refusal(const Bytes &bytes, lathe_error_code code) {
  TempFile file(bytes);
  lathe_model_t *model = nullptr;
  lathe_error_code actual = lathe_open(file.path(), nullptr, &model);
  EXPECT_EQ(actual, code) << lathe_last_error();
  lathe_close(model);
  std::string text = actual ? lathe_last_error() : "";
  std::string name = std::string("\"") + file.path() + "\" ";
  return text.rfind(name, 0) == 0 ? text.substr(name.size()) : text;
}

Bytes bytesOf(const char *text) { return Bytes(text, text + strlen(text)); }
} // namespace

TEST(Artifact, OpensAsSealed) { EXPECT_EQ(refusal(sealTiny("tiny"), LATHE_OK), ""); }

TEST(Artifact, RefusesWhatIsNoElfFile) {
  EXPECT_EQ(refusal({}, LATHE_ERROR_NOT_ARTIFACT), "is empty");
  EXPECT_EQ(refusal(bytesOf("once upon a time"), LATHE_ERROR_NOT_ARTIFACT),
            "is not a Lathe artifact: it is not an ELF file");
  EXPECT_EQ(refusal(Bytes(100000), LATHE_ERROR_NOT_ARTIFACT),
            "is not a Lathe artifact: it is not an ELF file");
}

TEST(Artifact, RefusesOtherLibraries) {
  Bytes linked = readFile(tinyPath("tiny"));
  EXPECT_EQ(refusal(linked, LATHE_ERROR_NOT_ARTIFACT),
            "is not a Lathe artifact: its header has another magic number");
  linked[18] = EM_AARCH64;
  EXPECT_EQ(refusal(linked, LATHE_ERROR_NOT_ARTIFACT),
            "is not a Lathe artifact: it is not an x86-64 shared library");
  EXPECT_EQ(refusal(readFile("/proc/self/exe"), LATHE_ERROR_NOT_ARTIFACT),
            "is not a Lathe artifact: it has no header note");
}

TEST(Artifact, RefusesWhatIsNoFile) {
  lathe_model_t *model = nullptr;
  EXPECT_EQ(lathe_open("/tmp", nullptr, &model), LATHE_ERROR_FILE);
  EXPECT_STREQ(lathe_last_error(), "\"/tmp\" is not a regular file");
  EXPECT_EQ(lathe_open("/does/not/exist", nullptr, &model), LATHE_ERROR_FILE);
  EXPECT_STREQ(lathe_last_error(), "\"/does/not/exist\" cannot be opened: No such file or directory");
  EXPECT_EQ(lathe_open(nullptr, nullptr, &model), LATHE_ERROR_ARGUMENT);
  std::string pipe = std::string(testing::TempDir()) + "/lathe-test-pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(lathe_open(pipe.c_str(), nullptr, &model), LATHE_ERROR_FILE); // and it does not wait
  remove(pipe.c_str());
}

TEST(Artifact, RefusesEveryTruncation) {
  Bytes whole = sealTiny("tiny");
  for (size_t size = 0; size < whole.size(); size += size < 4096 ? 7 : 61) {
    lathe_model_t *model = nullptr;
    TempFile file(Bytes(whole.begin(), whole.begin() + ptrdiff_t(size)));
    lathe_error_code code = lathe_open(file.path(), nullptr, &model);
    EXPECT_TRUE(code == LATHE_ERROR_TRUNCATED || (size < 4 && code == LATHE_ERROR_NOT_ARTIFACT)) << size;
  }
  Bytes cut(whole.begin(), whole.end() - 1);
  EXPECT_EQ(refusal(cut, LATHE_ERROR_TRUNCATED),
            "is truncated: a segment ends past the end of the file (the file has " +
                std::to_string(cut.size()) + " bytes)");
}

TEST(Artifact, AcceptsBytesBehindItsEnd) {
  Bytes longer = sealTiny("tiny");
  longer.resize(longer.size() + 100);
  EXPECT_EQ(refusal(longer, LATHE_OK), "");
}

TEST(Artifact, TellsVersionsFromCorruption) {
  EXPECT_EQ(refusal(sealTiny("tiny", [](auto &h) { h.container_version = 2; }), LATHE_ERROR_VERSION),
            "has container version 2, this runtime reads version 1");
  EXPECT_EQ(refusal(sealTiny("tiny", [](auto &h) { h.abi_major = 2; }), LATHE_ERROR_VERSION),
            "needs runtime ABI 2.5, this runtime has 1.5");
  EXPECT_EQ(refusal(sealTiny("tiny", [](auto &h) { h.abi_minor = 6; }), LATHE_ERROR_VERSION),
            "needs runtime ABI 1.6, this runtime has 1.5");
}

TEST(Artifact, RefusesHeadersThatNoSealerWrites) {
  auto why = [](const std::function<void(lathe_artifact_header &)> &change) {
    return refusal(sealTiny("tiny", change), LATHE_ERROR_CORRUPT);
  };
  EXPECT_EQ(why([](auto &h) { h.section_count = 33; }),
            "is corrupt: its header has an impossible number of targets or sections");
  EXPECT_EQ(why([](auto &h) { h.target_count = 0; }),
            "is corrupt: its header has an impossible number of targets or sections");
  EXPECT_EQ(why([](auto &h) { h.reserved1 = 1; }),
            "is corrupt: its header has an impossible size or reserved field");
  EXPECT_EQ(why([](auto &h) { memset(h.compiler, 'a', sizeof h.compiler); }),
            "is corrupt: a name in its header has no end");
  EXPECT_EQ(why([](auto &h) { h.sections[2].size -= 1; }),
            "is corrupt: its section table does not cover its segments");
  EXPECT_EQ(why([](auto &h) { --h.section_count; }),
            "is corrupt: its section table does not cover its segments");
  EXPECT_EQ(why([](auto &h) { h.sections[2].size = UINT64_MAX; }),
            "is corrupt: its section table does not cover its segments");
  EXPECT_EQ(why([](auto &h) { h.image_end += 4096; }),
            "is corrupt: its image ends elsewhere than its header says");
  EXPECT_EQ(why([](auto &h) { h.entry += 1; }), "is corrupt: its table lies outside its segments");
  EXPECT_EQ(why([](auto &h) { h.entry = UINT64_MAX - 7; }),
            "is corrupt: its table lies outside its segments");
  EXPECT_EQ(why([](auto &h) { h.entry += 8; }), "is corrupt: its table has another magic number");
  EXPECT_EQ(why([](auto &h) { h.fingerprint += 1; }),
            "is corrupt: its table and its header contradict each other");
  EXPECT_EQ(why([](auto &h) { h.targets[0].isa[0] = 'y'; }),
            "is corrupt: its table and its header speak of different targets");
  EXPECT_EQ(why([](auto &h) { h.sections[1].kind = 99; }), "is corrupt: it has a section of an unknown kind");
}

TEST(Artifact, NamesTheSectionThatIsCorrupt) {
  Bytes artifact = sealTiny("tiny");
  lathe_elf_view view;
  ASSERT_EQ(lathe_elf_open(&view, artifact.data(), artifact.size()), LATHE_ELF_OK);
  for (int i = 0; i < view.ehdr.e_phnum; ++i) {
    if (view.phdr[i].p_type == PT_LOAD && (view.phdr[i].p_flags & PF_X)) {
      artifact[view.phdr[i].p_offset] ^= 1;
    }
  }
  EXPECT_EQ(refusal(artifact, LATHE_ERROR_CORRUPT).rfind("is corrupt: the checksum of its code is ", 0), 0u);
}

TEST(Artifact, RefusesCodeThatTheLoaderWouldRun) {
  const std::pair<const char *, const char *> cases[] = {
      {"constructor", "has constructors or destructors"},
      {"destructor", "has constructors or destructors"},
      {"import", "imports a function other than memcpy, memmove and memset"},
      {"ifunc", "has a kind of relocation that no artifact has"},
      {"tls", "has a segment that no artifact has"},
      {"text_relocation", "relocates its code"},
      {"executable_stack", "wants an executable stack"},
      {"run_path", "has a dynamic entry that no artifact has"}};
  for (auto [name, why] : cases) {
    EXPECT_EQ(refusal(sealTiny(name), LATHE_ERROR_CORRUPT),
              std::string("is not as the compiler writes artifacts: it ") + why);
  }
}

TEST(Artifact, RefusesWritableCode) {
  Bytes artifact = sealTiny("tiny");
  auto *ehdr = reinterpret_cast<Elf64_Ehdr *>(artifact.data());
  auto *phdrs = reinterpret_cast<Elf64_Phdr *>(artifact.data() + ehdr->e_phoff);
  for (int i = 0; i < ehdr->e_phnum; ++i) {
    if (phdrs[i].p_type == PT_LOAD && (phdrs[i].p_flags & PF_X)) {
      phdrs[i].p_flags |= PF_W;
    }
  }
  EXPECT_EQ(refusal(artifact, LATHE_ERROR_CORRUPT), "is corrupt: a segment is writable and executable");
}

TEST(Artifact, SurvivesStrip) {
  for (const char *tool : {"strip", "llvm-strip-22", "objcopy", "llvm-objcopy-22"}) {
    TempFile file(sealTiny("tiny"));
    if (system((std::string("command -v ") + tool + " >/dev/null").c_str()) != 0) {
      continue;
    }
    ASSERT_EQ(system((std::string(tool) + " " + file.path() + " 2>/dev/null").c_str()), 0) << tool;
    EXPECT_EQ(lathe_check_artifact(file.path(), LATHE_CHECK_FULL, nullptr), LATHE_OK)
        << tool << lathe_last_error();
  }
}

TEST(Artifact, GivesTheHeaderWithoutLoading) {
  TempFile file(sealTiny("tiny"));
  lathe_artifact_header header;
  ASSERT_EQ(lathe_check_artifact(file.path(), LATHE_CHECK_FULL, &header), LATHE_OK) << lathe_last_error();
  EXPECT_STREQ(header.targets[1].isa, "any");
  EXPECT_EQ(header.fingerprint, 0xabu);
}
