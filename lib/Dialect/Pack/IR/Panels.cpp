// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Pack/IR/Panels.h"

#include <algorithm>
#include <cstring>

using namespace lathe;
using namespace lathe::pack;
using llvm::Error;

namespace {
/// Reads rows of a component, of which columns [first, last) belong to a panel.
struct PanelReader {
  int64_t first, last;

  void read(const nn::ConstantTensor &component, int64_t row, char *to) const {
    llvm::SmallVector<int64_t> index;
    if (component.getType().getRank() == 2) {
      index.push_back(row);
    }
    nn::copyRow(component.getBlocks(), index, first, last,
                nn::getElementBytes(component.getType().getElementType()), to);
  }
};
} // namespace

Error pack::writePanels(const PanelLayout &layout, const nn::ConstantParts &components,
                        llvm::function_ref<llvm::Expected<char *>(size_t)> reserve) {
  const nn::ConstantTensor &codes = components[0];
  int64_t elementBytes = nn::getElementBytes(codes.getType().getElementType());
  int64_t wordElements = PanelLayout::kWordBytes / elementBytes;
  int64_t codeRows = codes.getType().getDimSize(0),
          groupRows = layout.group * layout.bits / (8 * elementBytes);
  std::vector<char> row(PanelLayout::kWidth * elementBytes);
  for (int64_t first = 0; first < layout.columns; first += PanelLayout::kWidth) {
    PanelReader reader{first, std::min(first + PanelLayout::kWidth, layout.columns)};
    int64_t columns = reader.last - first;
    for (int64_t group = 0; group * layout.group < layout.rows; ++group) {
      llvm::Expected<char *> to = reserve(layout.groupBytes());
      if (!to) {
        return to.takeError();
      }
      if (layout.scales) {
        reader.read(components[1], group, *to);
      }
      if (layout.hasZeros) {
        reader.read(components[2], group, *to + layout.scaleBytes());
      }
      char *words = *to + layout.parameterBytes();
      for (int64_t i = 0; i < groupRows && group * groupRows + i < codeRows; ++i) {
        reader.read(codes, group * groupRows + i, row.data());
        char *element = words + i / wordElements * PanelLayout::kWidth * PanelLayout::kWordBytes +
                        i % wordElements * elementBytes;
        for (int64_t column = 0; column < columns; ++column) {
          memcpy(element + column * PanelLayout::kWordBytes, row.data() + column * elementBytes,
                 elementBytes);
          if (layout.isSigned) {
            element[column * PanelLayout::kWordBytes] ^= char(0x80);
          }
        }
      }
    }
  }
  return Error::success();
}
