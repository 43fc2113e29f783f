/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// What an artifact with kernels for a device says of them, and opening it where there is no device.

#include "Seal.h"

extern "C" {
#include "artifact.h"
}

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

using namespace lathe::test;

namespace {
/// A table in an artifact, and what hangs on it.
class Table {
public:
  explicit Table(Bytes &artifact) {
    lathe_elf_view view;
    EXPECT_EQ(lathe_elf_open(&view, artifact.data(), artifact.size()), LATHE_ELF_OK);
    lathe_artifact_header header;
    memcpy(&header, lathe_elf_at(&view, lathe_elf_note(&view), LATHE_NOTE_BYTES) + LATHE_NOTE_PREFIX_BYTES,
           sizeof header);
    base = const_cast<unsigned char *>(lathe_elf_at(&view, header.entry, sizeof(lathe_table)));
  }
  lathe_table &operator*() const { return *reinterpret_cast<lathe_table *>(base); }
  lathe_table *operator->() const { return &**this; }
  unsigned char *at(int32_t offset) const { return base + offset; }
  lathe_image_info *images() const { return reinterpret_cast<lathe_image_info *>(at((**this).images)); }
  lathe_device_kernel_info &kernel() const {
    return *reinterpret_cast<lathe_device_kernel_info *>(at((**this).device_kernels));
  }
  Elf64_Ehdr &cubin() const { return *reinterpret_cast<Elf64_Ehdr *>(at(images()[1].image)); }

private:
  unsigned char *base;
};

/// Why an artifact for a device is refused after a change of its table, with all sums made to fit.
std::string refusal(void (*spoil)(const Table &)) {
  Bytes artifact = sealTiny("device");
  spoil(Table(artifact));
  resealHeaders(artifact);
  lathe_artifact result;
  lathe_error_code code =
      lathe_artifact_check(artifact.data(), artifact.size(), "a", LATHE_CHECK_WEIGHTS, &result);
  EXPECT_TRUE(code == LATHE_OK || code == LATHE_ERROR_CORRUPT) << lathe_last_error();
  return code ? lathe_last_error() : "";
}

/// Names a driver that does not exist, for one scope.
struct NoDriver {
  NoDriver() { setenv("LATHE_CUDA_DRIVER", "/does/not/exist", 1); }
  ~NoDriver() { unsetenv("LATHE_CUDA_DRIVER"); }
};
} // namespace

TEST(Device, TableIsAcceptedAsWritten) {
  EXPECT_EQ(refusal([](const Table &) {}), "");
  EXPECT_EQ(refusal([](const Table &t) { t.kernel().entry = 0; }), "") << "not every kernel runs there";
}

TEST(Device, ImagesOutsideOfTheConstantsAreRefused) {
  const char *list = "\"a\" is corrupt: its list of device images lies outside its constants";
  EXPECT_EQ(refusal([](const Table &t) { t->images = INT32_MAX; }), list);
  EXPECT_EQ(refusal([](const Table &t) { t->images += 1; }), list);
  EXPECT_EQ(refusal([](const Table &t) { t->image_count = UINT32_MAX; }), list);
  const char *image = "\"a\" is corrupt: a device image lies outside its constants";
  EXPECT_EQ(refusal([](const Table &t) { t.images()[0].image = INT32_MIN; }), image);
  EXPECT_EQ(refusal([](const Table &t) { t.images()[1].image += 4; }), image);
  EXPECT_EQ(refusal([](const Table &t) { t.images()[1].bytes = UINT32_MAX; }), image);
  EXPECT_EQ(refusal([](const Table &t) { t.images()[0].bytes = 0; }), image);
}

TEST(Device, ImagesWithoutAnEndAreRefused) {
  EXPECT_EQ(refusal([](const Table &t) { memset(t.images()[0].target, 'a', 16); }),
            "\"a\" is corrupt: the name of a device image has no end");
  EXPECT_EQ(refusal([](const Table &t) { t.images()[0].bytes -= 1; }),
            "\"a\" is corrupt: the text of a device image has no end");
  EXPECT_EQ(refusal([](const Table &t) { t.cubin().e_ident[0] = 0; }),
            "\"a\" is corrupt: a device image is no ELF file");
  EXPECT_EQ(refusal([](const Table &t) { t.images()[1].bytes = 63; }),
            "\"a\" is corrupt: a device image is no ELF file");
  const char *headers = "\"a\" is corrupt: the headers of a device image end outside of it";
  EXPECT_EQ(refusal([](const Table &t) { t.cubin().e_shoff = UINT64_MAX; }), headers);
  EXPECT_EQ(refusal([](const Table &t) {
              t.cubin().e_shnum = UINT16_MAX;
              t.cubin().e_shentsize = UINT16_MAX;
            }),
            headers);
  EXPECT_EQ(refusal([](const Table &t) {
              t.cubin().e_phnum = 2;
              t.cubin().e_phentsize = 56;
            }),
            headers);
}

TEST(Device, KernelsThatNoDeviceRunsAreRefused) {
  EXPECT_EQ(refusal([](const Table &t) { t->device_kernels = INT32_MAX; }),
            "\"a\" is corrupt: its list of device kernels lies outside its constants");
  EXPECT_EQ(refusal([](const Table &t) { t.kernel().entry = INT32_MAX; }),
            "\"a\" is corrupt: a name in its table lies outside its constants");
  const char *impossible = "\"a\" is corrupt: a device kernel wants what no device has";
  EXPECT_EQ(refusal([](const Table &t) { t.kernel().threads = 0; }), impossible);
  EXPECT_EQ(refusal([](const Table &t) { t.kernel().threads = 1025; }), impossible);
  EXPECT_EQ(refusal([](const Table &t) { t.kernel().shared_bytes = (227 << 10) + 1; }), impossible);
  EXPECT_EQ(refusal([](const Table &t) { t.kernel().registers = 256; }), impossible);
  EXPECT_EQ(refusal([](const Table &t) { t.kernel().parameters = 501; }), impossible);
}

TEST(Device, VariantsForADeviceHaveImagesAndKernels) {
  const char *none = "\"a\" is corrupt: a variant for a device has no device images or kernels";
  EXPECT_EQ(refusal([](const Table &t) { t->image_count = 0; }), none);
  EXPECT_EQ(refusal([](const Table &t) { t->device_kernels = 0; }), none);
}

TEST(Device, ItsWeightsBeginAmongThoseThatThereAre) {
  EXPECT_EQ(refusal([](const Table &t) { t->device_weights = UINT32_MAX; }),
            "\"a\" is corrupt: the weights of its device kernels begin behind the last one");
}

TEST(Device, TablesOfTheVersionBeforeHaveNone) {
  EXPECT_EQ(refusal([](const Table &t) { t->bytes = 120; }),
            "\"a\" is corrupt: its table is of another runtime ABI");
  Bytes artifact = sealTiny("tiny", [](lathe_artifact_header &header) { header.abi_minor = 3; });
  Table table(artifact);
  table->abi_minor = 3;
  table->bytes = 120;
  table->images = table->device_kernels = INT32_MAX;
  resealHeaders(artifact);
  lathe_artifact result;
  EXPECT_EQ(lathe_artifact_check(artifact.data(), artifact.size(), "a", LATHE_CHECK_WEIGHTS, &result),
            LATHE_OK)
      << lathe_last_error();
  EXPECT_EQ(lathe_table_image_count(&*table), 0u);
}

TEST(Device, WithoutADriverAnArtifactSaysSo) {
  NoDriver driver;
  TempFile file(sealTiny("device"));
  lathe_model_t *model = nullptr;
  EXPECT_EQ(lathe_open(file.path(), nullptr, &model), LATHE_ERROR_DEVICE);
  std::string message = lathe_last_error();
  EXPECT_EQ(message.rfind(std::string("\"") + file.path() + "\" does not run here: x86-64-v9 needs ", 0), 0u)
      << message;
  EXPECT_NE(message.find("; cuda: the CUDA driver cannot be loaded: /does/not/exist: "), std::string::npos)
      << message;
  EXPECT_STREQ(lathe_error_name(LATHE_ERROR_DEVICE), "device");

  lathe_open_options options = LATHE_OPEN_OPTIONS;
  options.inspect_only = 1;
  ASSERT_EQ(lathe_open(file.path(), &options, &model), LATHE_OK) << lathe_last_error();
  lathe_model_info info;
  ASSERT_EQ(lathe_model_get_info(model, &info), LATHE_OK);
  EXPECT_STREQ(info.variant, "");
  lathe_session_t *session = nullptr;
  EXPECT_EQ(lathe_session_create(model, nullptr, &session), LATHE_ERROR_CPU);
  lathe_close(model);
}
