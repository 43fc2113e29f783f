// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Element/Nests.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

/// One nest for each piece of a concatenation.
static LogicalResult addPieces(ElementContext &context, kernel::OutputOp output, nn::ConcatOp concat,
                               Nests &nests) {
  IndexMath math{context.builder, output.getLoc()};
  OpFoldResult begin = math.constant(0);
  for (Value piece : concat.getInputs()) {
    FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(piece);
    if (failed(dims)) {
      return concat.emitOpError("has an input of unknown sizes");
    }
    Nest nest;
    nest.outputs.push_back(output);
    nest.values.push_back(piece);
    nest.dims.assign(dims->begin(), dims->end());
    nest.axis = concat.getAxis();
    nest.begin = begin;
    nest.length = nest.dims[concat.getAxis()];
    begin = math.add(begin, nest.length);
    nests.push_back(std::move(nest));
  }
  return success();
}

FailureOr<Nests> codegen::collectNests(ElementContext &context) {
  Nests nests;
  for (auto output : context.kernel.getBody().front().getOps<kernel::OutputOp>()) {
    if (auto concat = output.getValue().getDefiningOp<nn::ConcatOp>()) {
      if (failed(addPieces(context, output, concat, nests))) {
        return failure();
      }
      continue;
    }
    FailureOr<ArrayRef<OpFoldResult>> valueDims = context.shapes.getDims(output.getValue());
    if (failed(valueDims)) {
      return output.emitOpError("has a value of unknown sizes");
    }
    SmallVector<OpFoldResult> dims(*valueDims);
    auto isSameShape = [&](const Nest &nest) {
      return !nest.axis && nest.dims.size() == dims.size() &&
             llvm::all_of(llvm::zip_equal(nest.dims, dims),
                          [](auto pair) { return areEqualSizes(std::get<0>(pair), std::get<1>(pair)); });
    };
    auto nest = llvm::find_if(nests, isSameShape);
    if (nest == nests.end()) {
      nests.push_back({});
      nest = &nests.back();
      nest->dims = dims;
    }
    nest->outputs.push_back(output);
    nest->values.push_back(output.getValue());
  }
  if (nests.empty()) {
    return context.kernel.emitOpError("has no outputs");
  }
  for (Nest &nest : nests) {
    // Parts of a whole have gaps between them.
    SmallVector<int64_t> barriers;
    if (nest.axis) {
      barriers.push_back(*nest.axis);
    }
    if (llvm::any_of(nest.outputs, [](kernel::OutputOp output) { return output.getPitch().has_value(); })) {
      barriers.push_back(int64_t(nest.dims.size()) - 1);
    }
    FailureOr<CollapsedTensors> collapsed = collapseDims(context, nest.values, nest.dims, barriers);
    if (failed(collapsed)) {
      return failure();
    }
    nest.values = collapsed->values;
    nest.dims = collapsed->dims;
    nest.groups = collapsed->groups;
  }
  return nests;
}

StridedView codegen::getNestView(ElementContext &context, const Nest &nest, kernel::OutputOp output) {
  StridedView view = getOutputView(context, output);
  if (nest.axis) {
    IndexMath math{context.builder, output.getLoc()};
    view.offset = math.mul(nest.begin, view.strides[*nest.axis]);
    view.sizes[*nest.axis] = nest.length;
  }
  return mergeDims(context.builder, output.getLoc(), view, nest.groups);
}
