// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Arguments.h"

#include "Complex.h"

#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

namespace {
struct Bounds {
  int64_t min = 0, max = nn::kMaxDim;
};

/// What is known of the arguments while options are applied.
struct Arguments {
  func::FuncOp main;
  /// One name a dimension; empty where it is fixed.
  SmallVector<SmallVector<std::string>> names;
  SmallVector<SmallVector<int64_t>> shapes;
  llvm::MapVector<StringRef, Bounds> symbols;
};
} // namespace

static LogicalResult optionError(func::FuncOp main, const Twine &message) {
  return emitError(main.getLoc()) << "[E0004] " << message.str();
}

static StringRef getName(func::FuncOp main, unsigned argument) {
  auto name = main.getArgAttrOfType<StringAttr>(argument, OnnxDialect::kNameAttr);
  return name ? name.getValue() : StringRef();
}

/// Reads the types and names; dynamic dimensions without a name get one that nobody else has.
static LogicalResult readArguments(Arguments &arguments) {
  func::FuncOp main = arguments.main;
  llvm::StringSet<> taken;
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    auto type = dyn_cast<RankedTensorType>(main.getArgument(i).getType());
    if (type && isa<StringType>(type.getElementType())) {
      // Positions in a list.
      type = type.clone(IntegerType::get(main.getContext(), 64));
      main.getArgument(i).setType(type);
      main.setArgAttr(i, kStringsAttr, UnitAttr::get(main.getContext()));
    }
    if (auto complex = type ? dyn_cast<ComplexType>(type.getElementType()) : ComplexType()) {
      type = type.clone(complex.getElementType());
      main.getArgument(i).setType(type);
      main.setArgAttr(i, kPartsAttr, UnitAttr::get(main.getContext()));
    }
    if (!type || !type.getElementType().isIntOrFloat()) {
      return emitError(main.getArgument(i).getLoc())
             << "[E0308] input \"" << getName(main, i) << "\" has type " << main.getArgument(i).getType()
             << ", but inputs must be tensors of numbers or strings of known rank";
    }
    auto dims = main.getArgAttrOfType<ArrayAttr>(i, OnnxDialect::kDimsAttr);
    SmallVector<std::string> &names = arguments.names.emplace_back();
    arguments.shapes.push_back(llvm::to_vector(type.getShape()));
    for (int64_t axis = 0; axis < type.getRank(); ++axis) {
      auto name = dims && axis < int64_t(dims.size()) ? dyn_cast<StringAttr>(dims[axis]) : StringAttr();
      names.push_back(name && type.isDynamicDim(axis) ? name.getValue().str() : "");
      taken.insert(names.back());
    }
  }
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    for (auto [axis, name] : llvm::enumerate(arguments.names[i])) {
      if (name.empty() && ShapedType::isDynamic(arguments.shapes[i][axis])) {
        StringRef argument = getName(main, i);
        name = llvm::formatv("{0}_dim{1}",
                             argument.empty() ? llvm::formatv("input{0}", i).str() : argument.str(), axis)
                   .str();
        while (!taken.insert(name).second) {
          name += "_";
        }
      }
    }
  }
  for (ArrayRef<std::string> names : arguments.names) {
    for (StringRef name : names) {
      if (!name.empty()) {
        arguments.symbols.insert({name, Bounds()});
      }
    }
  }
  return success();
}

/// Narrows the bounds of a symbol.
static LogicalResult bound(Arguments &arguments, StringRef option, StringRef symbol, int64_t min,
                           int64_t max) {
  Bounds &bounds = arguments.symbols.find(symbol)->second;
  if (min < 0 || min > max || max > nn::kMaxDim) {
    return optionError(arguments.main, "option \"" + option + "\" gives no range of sizes");
  }
  bounds.min = std::max(bounds.min, min);
  bounds.max = std::min(bounds.max, max);
  if (bounds.min > bounds.max) {
    return optionError(arguments.main,
                       "option \"" + option + "\" contradicts another one for symbol \"" + symbol + "\"");
  }
  return success();
}

static LogicalResult applyOption(Arguments &arguments, StringRef option) {
  // Names may hold "=", sizes do not.
  auto [name, value] = option.rsplit('=');
  func::FuncOp main = arguments.main;
  if (value.empty() || name.empty()) {
    return optionError(main, "option \"" + option + "\" is not of the form NAME=SHAPE");
  }
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    if (getName(main, i) != name) {
      continue;
    }
    SmallVector<StringRef> parts;
    value.split(parts, 'x');
    if (parts.size() != arguments.shapes[i].size()) {
      return optionError(main, llvm::formatv("option \"{0}\" has {1} dimensions, but input \"{2}\" has {3}",
                                             option, parts.size(), name, arguments.shapes[i].size()));
    }
    for (auto [axis, part] : llvm::enumerate(parts)) {
      int64_t size;
      if (part.getAsInteger(10, size) || size < 0) {
        return optionError(main,
                           "option \"" + option + "\" has the dimension \"" + part + "\", which is no size");
      }
      int64_t own = arguments.shapes[i][axis];
      if (!ShapedType::isDynamic(own) && own != size) {
        return optionError(
            main, llvm::formatv("option \"{0}\" gives dimension {1} size {2}, but the model fixes it to {3}",
                                option, axis, size, own));
      }
      if (ShapedType::isDynamic(own) &&
          failed(bound(arguments, option, arguments.names[i][axis], size, size))) {
        return failure();
      }
    }
    return success();
  }
  if (!arguments.symbols.contains(name)) {
    return optionError(main, "option \"" + option + "\" names \"" + name +
                                 "\", which is no input and no symbolic dimension of the model");
  }
  auto [low, high] = value.split("..");
  int64_t min, max;
  if (low.getAsInteger(10, min) || (high.empty() ? value.contains("..") : high.getAsInteger(10, max))) {
    return optionError(main, "option \"" + option + "\" is not of the form S=128 or S=1..512");
  }
  return bound(arguments, option, name, min, high.empty() ? min : max);
}

LogicalResult lathe::onnx::convertArguments(func::FuncOp main, ArrayRef<std::string> shapes) {
  Arguments arguments{main, {}, {}, {}};
  SmallVector<std::string> rest;
  if (failed(expandArguments(main, shapes, rest)) || failed(readArguments(arguments))) {
    return failure();
  }
  for (StringRef option : rest) {
    if (failed(applyOption(arguments, option))) {
      return failure();
    }
  }
  OpBuilder builder(main.getContext());
  SmallVector<Type> types;
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    SmallVector<int64_t> &shape = arguments.shapes[i];
    SmallVector<StringRef> names;
    for (auto [size, name] : llvm::zip_equal(shape, arguments.names[i])) {
      StringRef kept;
      if (!name.empty()) {
        const Bounds &bounds = arguments.symbols.find(name)->second;
        if (bounds.min == bounds.max) {
          size = bounds.min;
        } else {
          kept = name;
        }
      }
      names.push_back(kept);
    }
    if (main.getArgAttr(i, kPartsAttr)) {
      shape.push_back(2);
      names.push_back("");
    }
    BlockArgument argument = main.getArgument(i);
    argument.setType(cast<RankedTensorType>(argument.getType()).clone(shape));
    types.push_back(argument.getType());
    if (!getName(main, i).empty()) {
      main.setArgAttr(i, nn::NNDialect::kNameAttr, builder.getStringAttr(getName(main, i)));
    }
    main.setArgAttr(i, nn::NNDialect::kDimsAttr, builder.getStrArrayAttr(names));
    main.removeArgAttr(i, OnnxDialect::kNameAttr);
    main.removeArgAttr(i, OnnxDialect::kDimsAttr);
  }
  main.setFunctionType(builder.getFunctionType(types, main.getResultTypes()));
  builder.setInsertionPointToStart(&main.front());
  for (auto &[name, bounds] : arguments.symbols) {
    if (bounds.min != bounds.max) {
      nn::DimSymbolOp::create(builder, main.getLoc(), name, bounds.min, bounds.max);
    }
  }
  return success();
}
