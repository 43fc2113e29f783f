// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The formats that are little more than a header: BMP, and the PNM family.

#include "image.h"

#include <algorithm>
#include <array>

using namespace lathe::image;

//===----------------------------------------------------------------------===//
// BMP
//===----------------------------------------------------------------------===//

namespace {
/// Little-endian numbers; what lies behind the end is 0.
struct Reader {
  File file;
  uint32_t byte(size_t at) const { return at < file.size ? file.data[at] : 0; }
  uint32_t u16(size_t at) const { return byte(at) | byte(at + 1) << 8; }
  uint32_t u32(size_t at) const { return u16(at) | u16(at + 2) << 16; }
};
} // namespace

/// Not compressed, with 1, 4, 8, 24 or 32 bits for each pixel.
std::optional<Image> lathe::image::decodeBmp(File file) {
  Reader reader{file};
  constexpr size_t headerAt = 14;
  uint64_t pixelsAt = reader.u32(10), headerBytes = reader.u32(headerAt);
  auto width = int32_t(reader.u32(18)), height = int32_t(reader.u32(22));
  uint32_t bits = reader.u16(28), compression = reader.u32(30), colors = reader.u32(46);
  bool hasPalette = bits == 1 || bits == 4 || bits == 8;
  bool isKnown = hasPalette || bits == 24 || bits == 32;
  // 3: masks, which are those of a plain image in all files of 32 bits that there are.
  bool isPlain = compression == 0 || (compression == 3 && bits == 32 && reader.u32(54) == 0xff0000);
  Image image;
  if (file.size < 54 || headerBytes < 40 || !isKnown || !isPlain || width <= 0 || height == INT32_MIN ||
      !image.resize(uint64_t(width), uint64_t(std::abs(height)))) {
    return std::nullopt;
  }
  uint64_t rowBytes = (uint64_t(width) * bits + 31) / 32 * 4, paletteAt = headerAt + headerBytes;
  if (pixelsAt > file.size || rowBytes > (file.size - pixelsAt) / image.height) {
    return std::nullopt;
  }
  uint32_t entries = hasPalette ? (colors ? colors : 1u << bits) : 0;
  for (uint32_t y = 0; y < image.height; ++y) {
    uint64_t from = pixelsAt + (height < 0 ? y : image.height - 1 - y) * rowBytes;
    uint8_t *to = image.row(y);
    for (uint32_t x = 0; x < image.width; ++x, to += 3) {
      uint64_t at = from + uint64_t(x) * bits / 8;
      if (hasPalette) {
        uint32_t index = reader.byte(at) >> (8 - bits - x * bits % 8) & ((1u << bits) - 1);
        at = paletteAt + 4 * uint64_t(index);
        if (index >= entries || at + 4 > pixelsAt) {
          return std::nullopt;
        }
      }
      to[0] = uint8_t(reader.byte(at + 2));
      to[1] = uint8_t(reader.byte(at + 1));
      to[2] = uint8_t(reader.byte(at));
    }
  }
  return image;
}

//===----------------------------------------------------------------------===//
// PNM
//===----------------------------------------------------------------------===//

namespace {
/// Numbers as text, with comments between them.
class PnmReader {
public:
  explicit PnmReader(File file) : file(file) {}

  /// The next number; `isBit`: one digit.
  std::optional<uint32_t> number(bool isBit = false) {
    while (at < file.size && (isBlank(file.data[at]) || file.data[at] == '#')) {
      if (file.data[at] == '#') {
        at = size_t(std::find(file.data + at, file.data + file.size, '\n') - file.data);
      } else {
        ++at;
      }
    }
    uint32_t value = 0;
    size_t first = at;
    while (at < file.size && file.data[at] >= '0' && file.data[at] <= '9' && at - first < (isBit ? 1u : 9u)) {
      value = value * 10 + file.data[at++] - '0';
    }
    return at > first ? std::optional(value) : std::nullopt;
  }
  /// The bytes behind one blank.
  std::optional<File> rest(uint64_t bytes) {
    ++at;
    return at <= file.size && bytes <= file.size - at ? std::optional(File{file.data + at, size_t(bytes)})
                                                      : std::nullopt;
  }

private:
  static bool isBlank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
  File file;
  size_t at = 2; // behind "P6"
};
} // namespace

/// P1 to P6: bits, grey or colours, as text or as bytes. A set bit is black.
std::optional<Image> lathe::image::decodePnm(File file) {
  int kind = file.data[1] - '0';
  bool isText = kind <= 3, isBits = kind == 1 || kind == 4;
  uint32_t channels = kind == 3 || kind == 6 ? 3 : 1;
  PnmReader reader(file);
  std::optional<uint32_t> width = reader.number(), height = reader.number();
  std::optional<uint32_t> largest = isBits ? std::optional(1u) : reader.number();
  Image image;
  if (!width || !height || !largest || *largest < 1 || *largest > 65535 || !image.resize(*width, *height)) {
    return std::nullopt;
  }
  uint64_t samples = uint64_t(image.width) * channels, sampleBytes = *largest > 255 ? 2 : 1;
  uint64_t rowBytes = isBits ? (samples + 7) / 8 : samples * sampleBytes;
  std::optional<File> bytes = isText ? std::nullopt : reader.rest(rowBytes * image.height);
  if (!isText && !bytes) {
    return std::nullopt;
  }
  for (uint32_t y = 0; y < image.height; ++y) {
    for (uint64_t i = 0; i < samples; ++i) {
      uint32_t sample;
      const uint8_t *row = bytes ? bytes->data + y * rowBytes : nullptr;
      if (isText) {
        std::optional<uint32_t> number = reader.number(isBits);
        if (!number) {
          return std::nullopt;
        }
        sample = *number;
      } else if (isBits) {
        sample = row[i / 8] >> (7 - i % 8) & 1;
      } else {
        sample = sampleBytes == 1 ? row[i] : uint32_t(row[2 * i] << 8 | row[2 * i + 1]);
      }
      sample = std::min(isBits ? 1 - std::min(sample, 1u) : sample, *largest);
      auto value = uint8_t((sample * 255 + *largest / 2) / *largest);
      for (uint32_t k = 0; k < 3 / channels; ++k) {
        image.row(y)[i * (3 / channels) + k] = value;
      }
    }
  }
  return image;
}
