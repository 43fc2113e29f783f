// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Turns kernel groups into functions over bytes. Groups of equal structure share one: weights are inputs, so
/// the kernels of a model's layers are the same.

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/Kernel/Transforms/Passes.h"
#include "lathe/Dialect/Kernel/Transforms/SizeRelations.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <set>

namespace lathe::kernel {
#define GEN_PASS_DEF_OUTLINEKERNELSPASS
#include "lathe/Dialect/Kernel/Transforms/Passes.h.inc"
} // namespace lathe::kernel

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

/// The text of everything that decides the code of a group.
static std::string structureOf(GroupOp group) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << stringifyRootKind(group.getKind()) << group.getShapes() << group.getPitchesAttr();
  for (Type type : group.getOperandTypes()) {
    os << type << ',';
  }
  for (Type type : group.getResultTypes()) {
    os << type << ',';
  }
  AsmState state(group,
                 OpPrintingFlags().printGenericOpForm().useLocalScope().elideLargeElementsAttrs(1 << 20));
  for (Operation &op : group.getBody().front()) {
    op.print(os, state);
  }
  printSizeRelations(group.getSizes(), os);
  return text;
}

//===----------------------------------------------------------------------===//
// Slices that begin elsewhere
//===----------------------------------------------------------------------===//

/// Of every slice in a group, in order.
using Offsets = SmallVector<SmallVector<int64_t>>;

static SmallVector<nn::SliceOp> slicesOf(GroupOp group) {
  return llvm::to_vector(group.getBody().front().getOps<nn::SliceOp>());
}

static Offsets offsetsOf(GroupOp group) {
  return llvm::map_to_vector(
      slicesOf(group), [](nn::SliceOp slice) { return SmallVector<int64_t>(slice.getStaticOffsets()); });
}

/// The structure of a group without the constants where its slices begin.
static std::string structureBesideOffsets(GroupOp group) {
  SmallVector<nn::SliceOp> slices = slicesOf(group);
  Offsets offsets = offsetsOf(group);
  for (auto [slice, own] : llvm::zip_equal(slices, offsets)) {
    slice.setStaticOffsets(llvm::map_to_vector(
        own, [](int64_t offset) { return ShapedType::isDynamic(offset) ? offset : int64_t(0); }));
  }
  std::string text = structureOf(group);
  for (auto [slice, own] : llvm::zip_equal(slices, offsets)) {
    slice.setStaticOffsets(own);
  }
  return text;
}

/// Hands the offsets of `group` that differ from those of `others` over as sizes.
static void passOffsets(GroupOp group, ArrayRef<Offsets> others) {
  Block &body = group.getBody().front();
  for (auto [position, slice] : llvm::enumerate(slicesOf(group))) {
    SmallVector<OpFoldResult> offsets = slice.getMixedOffsets();
    for (auto [dim, offset] : llvm::enumerate(offsets)) {
      std::optional<int64_t> number = getConstantIntValue(offset);
      if (!number || llvm::all_of(others, [&, position = position, dim = dim](const Offsets &other) {
            return other[position][dim] == *number;
          })) {
        continue;
      }
      OpBuilder outside(group);
      group.getSizesMutable().append(
          arith::ConstantIndexOp::create(outside, group.getLoc(), *number).getResult());
      offset = body.addArgument(outside.getIndexType(), slice.getLoc());
    }
    OpBuilder inside(slice);
    auto moved = nn::SliceOp::create(inside, slice.getLoc(), slice.getX(), offsets, slice.getMixedSizes(),
                                     slice.getStaticStrides());
    slice.replaceAllUsesWith(moved.getResult());
    slice.erase();
  }
}

/// Makes groups equal that differ in nothing but where their slices begin: the steps of an unrolled
/// recurrence, each of which takes its own row of the input. Few of them stay as they are, since constants
/// make faster code.
static void shareSlices(ArrayRef<GroupOp> groups, unsigned mostVariants) {
  llvm::MapVector<StringRef, SmallVector<GroupOp>> families;
  llvm::StringSet<> texts;
  for (GroupOp group : groups) {
    if (!slicesOf(group).empty()) {
      families[texts.insert(structureBesideOffsets(group)).first->getKey()].push_back(group);
    }
  }
  for (auto &[text, members] : families) {
    std::set<Offsets> variants;
    for (GroupOp group : members) {
      variants.insert(offsetsOf(group));
    }
    if (variants.size() > mostVariants) {
      SmallVector<Offsets> all(variants.begin(), variants.end());
      for (GroupOp group : members) {
        passOffsets(group, all);
      }
    }
  }
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

/// Takes the dynamic sizes of a shape from `sizes`.
static SmallVector<Value> pickSizes(Attribute shape, ValueRange sizes) {
  SmallVector<Value> picked;
  for (int64_t size : cast<DenseI64ArrayAttr>(shape).asArrayRef()) {
    if (size < 0) {
      picked.push_back(sizes[~size]);
    }
  }
  return picked;
}

/// The pitch of a tensor of a group, null where it is dense.
static IntegerAttr pitchOf(GroupOp group, size_t tensor, Builder &builder) {
  std::optional<ArrayRef<int64_t>> pitches = group.getPitches();
  return pitches && (*pitches)[tensor] ? builder.getI64IntegerAttr((*pitches)[tensor]) : IntegerAttr();
}

static func::FuncOp outline(GroupOp group, StringRef name, OpBuilder &builder) {
  MLIRContext *context = group.getContext();
  size_t tensors = group.getInputs().size() + group.getNumResults();
  auto bytes = MemRefType::get({ShapedType::kDynamic}, builder.getI8Type());
  SmallVector<Type> types(tensors, bytes);
  types.append(group.getSizes().size(), builder.getIndexType());

  auto function = func::FuncOp::create(builder, group.getLoc(), name, builder.getFunctionType(types, {}));
  function.setPrivate();
  function->setAttr(KernelDialect::kRootAttr, StringAttr::get(context, stringifyRootKind(group.getKind())));
  OpBuilder body = OpBuilder::atBlockEnd(function.addEntryBlock());
  ValueRange arguments = function.getArguments();
  SmallVector<Value> sizes = relateSizes(group.getSizes(), arguments.drop_front(tensors), body);

  IRMapping mapping;
  Block &source = group.getBody().front();
  for (auto [position, argument] : llvm::enumerate(source.getArguments())) {
    if (position < group.getInputs().size()) {
      mapping.map(argument, InputOp::create(body, argument.getLoc(), argument.getType(), arguments[position],
                                            pickSizes(group.getShapes()[position], sizes),
                                            pitchOf(group, position, body)));
    } else {
      mapping.map(argument, sizes[position - group.getInputs().size()]);
    }
  }
  for (Operation &op : source.without_terminator()) {
    body.clone(op, mapping);
  }
  for (auto [position, value] : llvm::enumerate(source.getTerminator()->getOperands())) {
    size_t argument = group.getInputs().size() + position;
    OutputOp::create(body, group.getLoc(), mapping.lookup(value), arguments[argument],
                     pickSizes(group.getShapes()[argument], sizes), pitchOf(group, argument, body));
  }
  func::ReturnOp::create(body, group.getLoc());
  return function;
}

namespace {
struct OutlineKernels : kernel::impl::OutlineKernelsPassBase<OutlineKernels> {
  using OutlineKernelsPassBase::OutlineKernelsPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    llvm::StringMap<func::FuncOp> known;
    llvm::StringMap<unsigned> count;
    SmallVector<GroupOp> groups;
    module.walk([&](GroupOp group) { groups.push_back(group); });
    shareSlices(groups, mostVariants);
    OpBuilder builder(&getContext());
    builder.setInsertionPointToEnd(module.getBody());
    for (GroupOp group : groups) {
      func::FuncOp &function = known[structureOf(group)];
      if (!function) {
        StringRef kind = stringifyRootKind(group.getKind());
        function = outline(group, (kind + "_" + Twine(count[kind]++)).str(), builder);
        symbols.insert(function);
      } else {
        // The one function stands for the nodes of all.
        function->setLoc(FusedLoc::get(&getContext(), {function.getLoc(), group.getLoc()}));
      }
      OpBuilder at(group);
      auto launch =
          LaunchOp::create(at, group.getLoc(), group.getResultTypes(), FlatSymbolRefAttr::get(function),
                           group.getInputs(), group.getSizes(), group.getShapes(), group.getPitchesAttr());
      group.replaceAllUsesWith(launch.getResults());
      group.erase();
    }
  }
};
} // namespace
