// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The formats that libraries decode. An alpha channel is left out.

#include "image.h"

#include <cstdio>

#include <jpeglib.h>
#include <openjpeg.h>
#include <png.h>
#include <tiffio.h>
#include <webp/decode.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <memory>

using namespace lathe::image;

//===----------------------------------------------------------------------===//
// JPEG
//===----------------------------------------------------------------------===//

namespace {
struct JpegErrors {
  jpeg_error_mgr manager;
  jmp_buf leave;
};
[[noreturn]] void leaveJpeg(j_common_ptr info) {
  longjmp(reinterpret_cast<JpegErrors *>(info->err)->leave, 1);
}
void ignoreJpeg(j_common_ptr, int) {}

/// Nothing with a destructor lives here: errors jump out.
bool readJpeg(File file, jpeg_decompress_struct &info, JpegErrors &errors, Image &image) {
  info.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = leaveJpeg;
  errors.manager.emit_message = ignoreJpeg;
  if (setjmp(errors.leave)) {
    return false;
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, file.data, static_cast<unsigned long>(file.size));
  jpeg_read_header(&info, TRUE);
  info.out_color_space = JCS_RGB;
  jpeg_start_decompress(&info);
  if (info.output_components != 3 || !image.resize(info.output_width, info.output_height)) {
    return false;
  }
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = image.row(info.output_scanline);
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  // What is missing was filled up with grey.
  return errors.manager.num_warnings == 0;
}
} // namespace

std::optional<Image> lathe::image::decodeJpeg(File file) {
  jpeg_decompress_struct info = {};
  JpegErrors errors;
  Image image;
  std::unique_ptr<jpeg_decompress_struct, void (*)(j_decompress_ptr)> guard(&info, jpeg_destroy_decompress);
  return readJpeg(file, info, errors, image) ? std::optional(std::move(image)) : std::nullopt;
}

//===----------------------------------------------------------------------===//
// PNG, WebP and TIFF: four bytes for each pixel
//===----------------------------------------------------------------------===//

/// Puts the colours of `rgba` into the image.
static void dropAlpha(const uint8_t *rgba, Image &image) {
  for (size_t i = 0; i < image.pixels.size() / 3; ++i) {
    memcpy(image.pixels.data() + 3 * i, rgba + 4 * i, 3);
  }
}

std::optional<Image> lathe::image::decodePng(File file) {
  png_image info = {};
  info.version = PNG_IMAGE_VERSION;
  std::unique_ptr<png_image, void (*)(png_image *)> guard(&info, png_image_free);
  Image image;
  if (!png_image_begin_read_from_memory(&info, file.data, file.size) ||
      !image.resize(info.width, info.height)) {
    return std::nullopt;
  }
  info.format = PNG_FORMAT_RGBA;
  std::vector<uint8_t> rgba(image.pixels.size() / 3 * 4);
  if (!png_image_finish_read(&info, nullptr, rgba.data(), 0, nullptr)) {
    return std::nullopt;
  }
  dropAlpha(rgba.data(), image);
  return image;
}

std::optional<Image> lathe::image::decodeWebP(File file) {
  int width = 0, height = 0;
  Image image;
  if (!WebPGetInfo(file.data, file.size, &width, &height) ||
      !image.resize(uint64_t(width), uint64_t(height)) ||
      !WebPDecodeRGBInto(file.data, file.size, image.pixels.data(), image.pixels.size(), 3 * width)) {
    return std::nullopt;
  }
  return image;
}

namespace {
/// A file in memory as libtiff reads it.
struct TiffFile {
  File file;
  uint64_t at = 0;

  static tmsize_t read(thandle_t handle, void *to, tmsize_t size) {
    auto &self = *static_cast<TiffFile *>(handle);
    uint64_t left = self.at < self.file.size ? self.file.size - self.at : 0;
    uint64_t count = std::min(left, uint64_t(std::max<tmsize_t>(size, 0)));
    memcpy(to, self.file.data + (count ? self.at : 0), count);
    self.at += count;
    return tmsize_t(count);
  }
  static tmsize_t write(thandle_t, void *, tmsize_t) { return -1; }
  static toff_t seek(thandle_t handle, toff_t offset, int whence) {
    auto &self = *static_cast<TiffFile *>(handle);
    self.at = offset + (whence == SEEK_CUR ? self.at : whence == SEEK_END ? self.file.size : 0);
    return self.at;
  }
  static int close(thandle_t) { return 0; }
  static toff_t size(thandle_t handle) { return static_cast<TiffFile *>(handle)->file.size; }
};
} // namespace

std::optional<Image> lathe::image::decodeTiff(File file) {
  TIFFSetErrorHandler(nullptr);
  TIFFSetWarningHandler(nullptr);
  TiffFile source{file};
  // "m": the file is not mapped.
  std::unique_ptr<TIFF, void (*)(TIFF *)> tiff(
      TIFFClientOpen("memory", "rm", &source, TiffFile::read, TiffFile::write, TiffFile::seek,
                     TiffFile::close, TiffFile::size, nullptr, nullptr),
      TIFFClose);
  uint32_t width = 0, height = 0;
  Image image;
  if (!tiff || !TIFFGetField(tiff.get(), TIFFTAG_IMAGEWIDTH, &width) ||
      !TIFFGetField(tiff.get(), TIFFTAG_IMAGELENGTH, &height) || !image.resize(width, height)) {
    return std::nullopt;
  }
  std::vector<uint32_t> rgba(size_t(width) * height);
  if (!TIFFReadRGBAImageOriented(tiff.get(), width, height, rgba.data(), ORIENTATION_TOPLEFT,
                                 /*stop_on_error=*/1)) {
    return std::nullopt;
  }
  dropAlpha(reinterpret_cast<const uint8_t *>(rgba.data()), image);
  return image;
}

//===----------------------------------------------------------------------===//
// JPEG 2000
//===----------------------------------------------------------------------===//

namespace {
struct OpjFile {
  File file;
  size_t at = 0;

  static OPJ_SIZE_T read(void *to, OPJ_SIZE_T size, void *user) {
    auto &self = *static_cast<OpjFile *>(user);
    size_t count = std::min<size_t>(self.file.size - self.at, size);
    memcpy(to, self.file.data + self.at, count);
    self.at += count;
    return count ? count : OPJ_SIZE_T(-1);
  }
  static OPJ_OFF_T skip(OPJ_OFF_T size, void *user) {
    auto &self = *static_cast<OpjFile *>(user);
    size_t count = std::min<size_t>(self.file.size - self.at, size_t(std::max<OPJ_OFF_T>(size, 0)));
    self.at += count;
    return count ? OPJ_OFF_T(count) : -1;
  }
  static OPJ_BOOL seek(OPJ_OFF_T to, void *user) {
    auto &self = *static_cast<OpjFile *>(user);
    if (to < 0 || uint64_t(to) > self.file.size) {
      return OPJ_FALSE;
    }
    self.at = size_t(to);
    return OPJ_TRUE;
  }
};
} // namespace

/// One component as grey or three as colours, all of the image's size.
static std::optional<Image> convert(const opj_image_t &source) {
  Image image;
  uint32_t used = source.numcomps >= 3 ? 3 : 1;
  if (source.numcomps == 0 || !image.resize(source.comps[0].w, source.comps[0].h)) {
    return std::nullopt;
  }
  for (uint32_t c = 0; c < used; ++c) {
    const opj_image_comp_t &component = source.comps[c];
    if (component.w != image.width || component.h != image.height || !component.data || component.prec < 1 ||
        component.prec > 16) {
      return std::nullopt;
    }
    int64_t offset = component.sgnd ? int64_t(1) << (component.prec - 1) : 0;
    int64_t largest = (int64_t(1) << component.prec) - 1;
    for (size_t i = 0; i < image.pixels.size() / 3; ++i) {
      int64_t value = std::clamp<int64_t>(component.data[i] + offset, 0, largest);
      auto sample = uint8_t((value * 255 + largest / 2) / largest);
      for (uint32_t k = c; k < 3; k += used) {
        image.pixels[3 * i + k] = sample;
      }
    }
  }
  return image;
}

std::optional<Image> lathe::image::decodeJpeg2000(File file) {
  OpjFile source{file};
  std::unique_ptr<opj_stream_t, void (*)(opj_stream_t *)> stream(
      static_cast<opj_stream_t *>(opj_stream_default_create(OPJ_TRUE)),
      [](opj_stream_t *stream) { opj_stream_destroy(stream); });
  bool isBox = file.data[0] == 0;
  std::unique_ptr<opj_codec_t, void (*)(opj_codec_t *)> codec(
      static_cast<opj_codec_t *>(opj_create_decompress(isBox ? OPJ_CODEC_JP2 : OPJ_CODEC_J2K)),
      [](opj_codec_t *codec) { opj_destroy_codec(codec); });
  if (!stream || !codec) {
    return std::nullopt;
  }
  opj_stream_set_user_data(stream.get(), &source, nullptr);
  opj_stream_set_user_data_length(stream.get(), file.size);
  opj_stream_set_read_function(stream.get(), OpjFile::read);
  opj_stream_set_skip_function(stream.get(), OpjFile::skip);
  opj_stream_set_seek_function(stream.get(), OpjFile::seek);
  opj_dparameters_t parameters;
  opj_set_default_decoder_parameters(&parameters);
  opj_image_t *header = nullptr;
  bool ok =
      opj_setup_decoder(codec.get(), &parameters) && opj_read_header(stream.get(), codec.get(), &header);
  std::unique_ptr<opj_image_t, void (*)(opj_image_t *)> image(header, opj_image_destroy);
  // Before anything is taken for its pixels.
  ok = ok && header->numcomps > 0 && Image().resize(header->comps[0].w, header->comps[0].h) &&
       opj_decode(codec.get(), stream.get(), header) && opj_end_decompress(codec.get(), stream.get());
  return ok ? convert(*header) : std::nullopt;
}
