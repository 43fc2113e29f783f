// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The component "image": its size, then its pixels. The first decodes and keeps what the second gives.

#include "image.h"

#include "lathe/component.h"

#include <cstring>
#include <new>
#include <string_view>

using namespace lathe::image;

namespace {

bool beginsWith(File file, std::string_view magic, size_t at = 0) {
  return file.size >= at + magic.size() && memcmp(file.data + at, magic.data(), magic.size()) == 0;
}

/// By what the file begins with; null for none of the formats.
Decoder findDecoder(File file) {
  using namespace std::string_view_literals;
  if (beginsWith(file, "\xff\xd8\xff"sv)) {
    return decodeJpeg;
  }
  if (beginsWith(file, "\x89PNG\r\n\x1a\n"sv)) {
    return decodePng;
  }
  if (beginsWith(file, "BM"sv)) {
    return decodeBmp;
  }
  if (beginsWith(file, "RIFF"sv) && beginsWith(file, "WEBP"sv, 8)) {
    return decodeWebP;
  }
  if (beginsWith(file, "II*\0"sv) || beginsWith(file, "MM\0*"sv)) {
    return decodeTiff;
  }
  if (beginsWith(file, "\0\0\0\x0cjP  \r\n\x87\n"sv) || beginsWith(file, "\xff\x4f\xff\x51"sv)) {
    return decodeJpeg2000;
  }
  bool isPnm = file.size > 2 && file.data[0] == 'P' && file.data[1] >= '1' && file.data[1] <= '6';
  return isPnm ? decodePnm : nullptr;
}

/// The last file that this thread measured.
thread_local File measured = {};
thread_local std::optional<Image> decoded;

/// False if there is no memory.
bool decode(File file) {
  measured = file;
  decoded.reset();
  try {
    if (Decoder decode = findDecoder(file)) {
      decoded = decode(file);
    }
  } catch (const std::bad_alloc &) {
    return false;
  }
  return true;
}

File getFile(const lathe_service_call *call) {
  return {static_cast<const uint8_t *>(call->operands[0]), size_t(call->counts[0])};
}

constexpr const char *kNoMemory = "there is no memory for an image";

/// Height and width; both 0 if the file cannot be decoded.
const char *measure(const lathe_service_call *call) {
  auto *size = static_cast<int64_t *>(call->result);
  if (!decode(getFile(call))) {
    return kNoMemory;
  }
  size[0] = decoded ? decoded->height : 0;
  size[1] = decoded ? decoded->width : 0;
  return nullptr;
}

/// The pixels as the argument says.
const char *getPixels(const lathe_service_call *call) {
  File file = getFile(call);
  if ((file.data != measured.data || file.size != measured.size) && !decode(file)) {
    return kNoMemory;
  }
  std::string_view format(call->argument, call->argument_bytes);
  auto *to = static_cast<uint8_t *>(call->result);
  size_t channels = format == "Grayscale" ? 1 : 3;
  size_t count = decoded ? decoded->pixels.size() / 3 : 0;
  if (size_t(call->counts[call->operand_count]) != count * channels) {
    return "an image has another size than before";
  }
  for (size_t i = 0; i < count; ++i) {
    const uint8_t *rgb = decoded->pixels.data() + 3 * i;
    if (channels == 1) {
      // Luma of ITU-R 601 in 16 bits, rounded.
      to[i] = uint8_t((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
    } else {
      bool isBgr = format == "BGR";
      to[3 * i] = rgb[isBgr ? 2 : 0];
      to[3 * i + 1] = rgb[1];
      to[3 * i + 2] = rgb[isBgr ? 0 : 2];
    }
  }
  measured = {};
  decoded.reset();
  return nullptr;
}

constexpr lathe_component_service services[] = {{"image.size", measure}, {"image.pixels", getPixels}};

} // namespace

extern "C" __attribute__((visibility("default"))) const lathe_component lathe_component = {
    LATHE_COMPONENT_VERSION, sizeof services / sizeof *services, services};
