// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// ImageDecoder: services of the runtime's component "image".

#include "Strings.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// A file that cannot be decoded is an image without pixels.
static LogicalResult legalizeImageDecoder(LegalizeContext &c) {
  Value file = c.operand(0);
  StringRef format = c.stringAttr("pixel_format").value_or("RGB");
  if (format != "RGB" && format != "BGR" && format != "Grayscale") {
    return c.error("E0304", "pixel_format is \"" + format + "\", must be RGB, BGR or Grayscale",
                   "pixel_format");
  }
  Type byte = c.b.getIntegerType(8, /*isSigned=*/false);
  if (nn::getRank(file) != 1 || nn::getElementType(file) != byte) {
    return c.error("E0306", "the encoded image must be a list of bytes, of type uint8");
  }
  Value size = buildService(c, "image.size", file, c.b.getI64Type(), {c.b.getIndexAttr(2)});
  std::optional<Scalars> dims = c.readScalars(size);
  Sizes shape{c.checkedSize(dims->elements[0]), c.checkedSize(dims->elements[1]),
              c.b.getIndexAttr(format == "Grayscale" ? 1 : 3)};
  return c.set(buildService(c, "image.pixels", file, byte, shape, format));
}

void lathe::onnx::registerImages(LegalizerRegistry &registry) {
  registry.add("ImageDecoder", 1, 1, legalizeImageDecoder);
}
