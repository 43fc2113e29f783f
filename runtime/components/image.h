// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Decoders of image files, each for one format. A file that is damaged, or of a kind that is not supported,
/// gives nothing.

#ifndef LATHE_RUNTIME_COMPONENTS_IMAGE_H
#define LATHE_RUNTIME_COMPONENTS_IMAGE_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace lathe::image {

/// The bytes of a file.
struct File {
  const uint8_t *data;
  size_t size;
};

/// Red, green and blue, row by row from the top.
struct Image {
  uint32_t width = 0, height = 0;
  std::vector<uint8_t> pixels;

  /// Makes room; false for sizes that no one means.
  bool resize(uint64_t newWidth, uint64_t newHeight) {
    constexpr uint64_t most = uint64_t(1) << 28;
    if (newWidth == 0 || newHeight == 0 || newWidth > most || newHeight > most / newWidth) {
      return false;
    }
    width = uint32_t(newWidth);
    height = uint32_t(newHeight);
    pixels.resize(size_t(newWidth) * newHeight * 3);
    return true;
  }
  uint8_t *row(uint32_t y) { return pixels.data() + size_t(y) * width * 3; }
};

using Decoder = std::optional<Image> (*)(File);

std::optional<Image> decodeBmp(File file);
std::optional<Image> decodeJpeg(File file);
std::optional<Image> decodeJpeg2000(File file);
std::optional<Image> decodePng(File file);
std::optional<Image> decodePnm(File file);
std::optional<Image> decodeTiff(File file);
std::optional<Image> decodeWebP(File file);

} // namespace lathe::image

#endif // LATHE_RUNTIME_COMPONENTS_IMAGE_H
