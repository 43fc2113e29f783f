// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Turns kernel groups into functions over bytes. Groups of equal structure share one: weights are inputs, so
/// the kernels of a model's layers are the same.

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/Kernel/Transforms/Passes.h"
#include "lathe/Dialect/Kernel/Transforms/SizeRelations.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

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
  os << stringifyRootKind(group.getKind()) << group.getShapes();
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
                                            pickSizes(group.getShapes()[position], sizes)));
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
                     pickSizes(group.getShapes()[argument], sizes));
  }
  func::ReturnOp::create(body, group.getLoc());
  return function;
}

namespace {
struct OutlineKernels : kernel::impl::OutlineKernelsPassBase<OutlineKernels> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    llvm::StringMap<func::FuncOp> known;
    llvm::StringMap<unsigned> count;
    SmallVector<GroupOp> groups;
    module.walk([&](GroupOp group) { groups.push_back(group); });
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
                           group.getInputs(), group.getSizes(), group.getShapes());
      group.replaceAllUsesWith(launch.getResults());
      group.erase();
    }
  }
};
} // namespace
