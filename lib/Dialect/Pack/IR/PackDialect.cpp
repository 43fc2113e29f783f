// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Pack/IR/Pack.h"

#include "Codebook.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

#include "lathe/Dialect/Pack/IR/PackDialect.cpp.inc"
#include "lathe/Dialect/Pack/IR/PackEnums.cpp.inc"
#include "lathe/Dialect/Pack/IR/PackInterfaces.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "lathe/Dialect/Pack/IR/PackAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "lathe/Dialect/Pack/IR/PackTypes.cpp.inc"

void PackDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "lathe/Dialect/Pack/IR/PackAttrs.cpp.inc"
      >();
}

void PackDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "lathe/Dialect/Pack/IR/PackTypes.cpp.inc"
      >();
}

void PackDialect::initialize() {
  registerAttributes();
  registerTypes();
  addOperations<
#define GET_OP_LIST
#include "lathe/Dialect/Pack/IR/PackOps.cpp.inc"
      >();
}

LogicalResult PackDialect::verifyOperationAttribute(Operation *op, NamedAttribute attribute) {
  if (attribute.getName() == kRangeAttr) {
    auto range = dyn_cast<DenseF32ArrayAttr>(attribute.getValue());
    bool isRange = range && range.size() == 2 && range[0] <= range[1] && std::isfinite(range[0]) &&
                   std::isfinite(range[1]);
    if (!isRange) {
      return op->emitOpError() << "expects two finite numbers in order as " << kRangeAttr << ", but it is "
                               << attribute.getValue();
    }
    return success();
  }
  if (attribute.getName() == kMigrateAttr) {
    auto factors = dyn_cast<DenseF32ArrayAttr>(attribute.getValue());
    auto isFactor = [](float factor) {
      return std::isnormal(factor) && std::isnormal(1 / factor) && factor > 0;
    };
    if (!factors || !llvm::all_of(factors.asArrayRef(), isFactor)) {
      return op->emitOpError() << "expects positive numbers as " << kMigrateAttr << ", but it is "
                               << attribute.getValue();
    }
    return success();
  }
  if (attribute.getName() == kGramAttr || attribute.getName() == kNormsAttr) {
    if (!isa<FlatSymbolRefAttr>(attribute.getValue())) {
      return op->emitOpError() << "expects the name of a weight as " << attribute.getName().getValue()
                               << ", but it is " << attribute.getValue();
    }
    return success();
  }
  if (attribute.getName() == kSparsityAttr) {
    return isa<SparsityAttr>(attribute.getValue()) ? success()
                                                   : op->emitOpError()
                                                         << "expects a sparsity as " << kSparsityAttr
                                                         << ", but it is " << attribute.getValue();
  }
  if (attribute.getName() == kBlocksAttr) {
    return isa<BlocksAttr>(attribute.getValue()) ? success()
                                                 : op->emitOpError()
                                                       << "expects a format of blocks as " << kBlocksAttr
                                                       << ", but it is " << attribute.getValue();
  }
  if (attribute.getName() == kRoundedAttr) {
    return isa<UnitAttr>(attribute.getValue()) && isa<nn::MatMulOp>(op)
               ? success()
               : op->emitOpError() << "expects " << kRoundedAttr << " without a value, of a matrix product";
  }
  if (attribute.getName() != kFormatAttr) {
    return op->emitOpError() << "has an attribute that the pack dialect does not know, "
                             << attribute.getName();
  }
  if (!isa<FormatAttrInterface>(attribute.getValue())) {
    return op->emitOpError() << "expects a format as " << kFormatAttr << ", but it is "
                             << attribute.getValue();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// The type
//===----------------------------------------------------------------------===//

Type PackedTensorType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape;
  Type element;
  Attribute format;
  SMLoc loc = parser.getCurrentLocation(), formatLoc;
  if (parser.parseLess() || parser.parseDimensionList(shape, /*allowDynamic=*/false) ||
      parser.parseType(element) || parser.parseComma() || parser.getCurrentLocation(&formatLoc) ||
      parser.parseAttribute(format) || parser.parseGreater()) {
    return {};
  }
  auto known = dyn_cast<FormatAttrInterface>(format);
  if (!known) {
    parser.emitError(formatLoc) << "expects a format, but it is " << format;
    return {};
  }
  return parser.getChecked<PackedTensorType>(loc, parser.getContext(), shape, element, known);
}

void PackedTensorType::print(AsmPrinter &printer) const {
  printer << '<';
  for (int64_t size : getShape()) {
    printer << size << 'x';
  }
  printer << getElementType() << ", " << getFormat() << '>';
}

LogicalResult PackedTensorType::verify(function_ref<InFlightDiagnostic()> emitError, ArrayRef<int64_t> shape,
                                       Type elementType, FormatAttrInterface format) {
  if (!format.takesElements(elementType)) {
    return emitError() << "expects elements that " << format << " stores, but they are " << elementType;
  }
  int64_t count = 1;
  for (int64_t size : shape) {
    if (size > nn::kMaxDim || llvm::MulOverflow(count, size, count) || count > INT64_MAX / 32) {
      return emitError() << "expects less than 2^58 elements, each dimension up to " << nn::kMaxDim;
    }
  }
  return format.verifyTensor(emitError, RankedTensorType::get(shape, elementType));
}

RankedTensorType PackedTensorType::getTensorType() const {
  return RankedTensorType::get(getShape(), getElementType());
}

SmallVector<RankedTensorType> PackedTensorType::getComponents() const {
  return getFormat().getComponents(getTensorType());
}

int64_t pack::getComponentBytes(PackedTensorType type) {
  int64_t bytes = 0;
  for (RankedTensorType component : type.getComponents()) {
    bytes += llvm::alignTo(component.getNumElements() * nn::getElementBytes(component.getElementType()),
                           nn::kComponentAlignment);
  }
  return bytes;
}
