// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Npz/Npz.h"
#include "lathe.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "gtest/gtest.h"

using namespace llvm;
using namespace lathe;

namespace {

struct Npz : testing::Test {
  SmallString<128> path;
  void SetUp() override { ASSERT_FALSE(sys::fs::createTemporaryFile("lathe-arrays", "npz", path)); }
  void TearDown() override { sys::fs::remove(path); }

  std::string slurp() {
    auto buffer = MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  }
  void put(const std::string &bytes) { cantFail(writeFile(path, bytes)); }
  /// A .npy file of this header and data.
  static std::string npy(std::string header, const std::string &data) {
    header += '\n';
    std::string bytes("\x93NUMPY\1\0", 8);
    bytes += char(header.size() & 255);
    bytes += char(header.size() >> 8);
    return bytes + header + data;
  }
  std::string errorOf(const std::string &bytes) {
    put(bytes);
    Expected<Array> array = readNpy(path);
    if (array) {
      return "read";
    }
    ModelError error = takeModelErrors(array.takeError()).front();
    EXPECT_EQ(error.code, ErrorCode::E0703);
    return error.message.substr(error.message.find(": ") + 2);
  }
};

const std::string four = "\1\2\3\4";

TEST_F(Npz, archivesComeBackAsTheyWere) {
  float x[6] = {1, 2, 3, 4, 5, 6};
  int64_t n[1] = {7};
  int64_t xDims[] = {2, 3}, nDims[] = {1};
  ArrayView views[] = {{"x", LATHE_FLOAT32, xDims, ArrayRef(reinterpret_cast<char *>(x), sizeof x)},
                       {"n", LATHE_INT64, nDims, ArrayRef(reinterpret_cast<char *>(n), sizeof n)},
                       {"scalar", LATHE_INT64, {}, ArrayRef(reinterpret_cast<char *>(n), sizeof n)}};
  cantFail(writeNpz(path, views));
  std::vector<Array> arrays = cantFail(readNpz(path));
  ASSERT_EQ(arrays.size(), 3u);
  EXPECT_EQ(arrays[0].name, "x");
  EXPECT_EQ(arrays[0].dims, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(memcmp(arrays[0].bytes.data(), x, sizeof x), 0);
  EXPECT_EQ(arrays[1].dtype, uint32_t(LATHE_INT64));
  EXPECT_EQ(arrays[1].dims, std::vector<int64_t>{1});
  EXPECT_TRUE(arrays[2].dims.empty());
}

TEST_F(Npz, headersOfNumpy) {
  EXPECT_EQ(errorOf(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }", four)), "read");
  EXPECT_EQ(errorOf(npy("{'shape': (4,), 'descr': \"|u1\", 'fortran_order': False}", four)), "read");
  EXPECT_EQ(errorOf(npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", four)), "read");
}

TEST_F(Npz, refusesWhatItCannotRead) {
  EXPECT_EQ(errorOf("text"), "not a .npy file");
  EXPECT_EQ(errorOf(npy("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}", four)),
            "arrays of type \"|O\" cannot be read");
  EXPECT_EQ(errorOf(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", four)),
            "arrays of type \">f4\" cannot be read");
  EXPECT_EQ(errorOf(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2)}", four)),
            "the array is in Fortran order");
  EXPECT_EQ(errorOf(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}", four)),
            "shape and type ask for 5 bytes, it has 4");
  EXPECT_EQ(errorOf(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}", four)),
            "its header is not one of a plain array");
  EXPECT_EQ(errorOf(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", four)),
            "the product of its dimensions overflows");
  EXPECT_EQ(errorOf(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4", four)),
            "its header is not one of a plain array");
}

TEST_F(Npz, everyTruncationAndManyFlipsAreErrorsOrTheSame) {
  float x[6] = {1, 2, 3, 4, 5, 6};
  int64_t dims[] = {2, 3};
  cantFail(
      writeNpz(path, ArrayView{"x", LATHE_FLOAT32, dims, ArrayRef(reinterpret_cast<char *>(x), sizeof x)}));
  std::string bytes = slurp();
  for (size_t size = 0; size < bytes.size(); ++size) {
    put(bytes.substr(0, size));
    Expected<std::vector<Array>> arrays = readNpz(path);
    EXPECT_FALSE(bool(arrays)) << size;
    consumeError(arrays.takeError());
  }
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string flipped = bytes;
    flipped[at] ^= 0x41;
    put(flipped);
    Expected<std::vector<Array>> arrays = readNpz(path);
    if (arrays) {
      for (const Array &array : *arrays) {
        EXPECT_EQ(memcmp(array.bytes.data(), x, sizeof x), 0) << at;
      }
    }
    consumeError(arrays.takeError());
  }
}

} // namespace
