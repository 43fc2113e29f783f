// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Scan: a loop over slices of its inputs.

#include "Contents.h"
#include "Loops.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

namespace {

/// One scan, whose operands may be parts of the node's.
class ScanConverter {
public:
  ScanConverter(LegalizeContext &c, Region &body) : c(c), body(body) {}

  /// Reads the attributes; `outputs` is the number of scan outputs.
  LogicalResult read(int64_t inputCount, int64_t outputs);
  FailureOr<LoopResults> build(ArrayRef<LegalValue> states, ArrayRef<LegalValue> inputs);
  /// The part of `x` at index `position` of dimension `axis`, which goes.
  Value takeSlice(Value x, int64_t axis, Size position);

private:
  LogicalResult readDirections(StringRef name, size_t count, SmallVector<int64_t> &directions);
  /// A scan output whose iterations lie in front, as `direction` and `axis` say.
  Value arrange(Value scan, int64_t direction, int64_t axis);

  LegalizeContext &c;
  Region &body;
  SmallVector<int64_t> inputAxes, inputDirections, outputAxes, outputDirections;
};

} // namespace

LogicalResult ScanConverter::readDirections(StringRef name, size_t count, SmallVector<int64_t> &directions) {
  directions = c.intsAttr(name).value_or(SmallVector<int64_t>(count, 0));
  if (directions.size() != count || !llvm::all_of(directions, [](int64_t d) { return d == 0 || d == 1; })) {
    return c.error("E0304", llvm::formatv("{0} must have {1} elements, each 0 or 1", name, count).str(),
                   name);
  }
  return success();
}

LogicalResult ScanConverter::read(int64_t inputCount, int64_t outputs) {
  bool isFirst = c.node.version < 9;
  inputAxes = c.intsAttr("scan_input_axes").value_or(SmallVector<int64_t>(inputCount, 0));
  outputAxes = c.intsAttr("scan_output_axes").value_or(SmallVector<int64_t>(outputs, 0));
  if (int64_t(inputAxes.size()) != inputCount || int64_t(outputAxes.size()) != outputs) {
    return c.error("E0304",
                   llvm::formatv("scan_input_axes and scan_output_axes have {0} and {1} elements, must have "
                                 "{2} and {3}",
                                 inputAxes.size(), outputAxes.size(), inputCount, outputs)
                       .str());
  }
  return failure(
      failed(readDirections(isFirst ? "directions" : "scan_input_directions", inputCount, inputDirections)) ||
      failed(readDirections("scan_output_directions", outputs, outputDirections)) || c.hasFailed());
}

Value ScanConverter::takeSlice(Value x, int64_t axis, Size position) {
  Sizes dims = c.shapeOf(x);
  bool isEmpty = getConstantIntValue(dims[axis]) == 0;
  dims.erase(dims.begin() + axis);
  if (isEmpty) {
    // The body is never run.
    return c.expand(nn::buildScalar(c.b, c.loc, nn::getElementType(x), 0), dims);
  }
  return c.reshape(c.slice(x, axis, position, c.one()), dims);
}

Value ScanConverter::arrange(Value scan, int64_t direction, int64_t axis) {
  if (direction == 1) {
    Sizes dims = c.shapeOf(scan), offsets(dims.size(), c.b.getIndexAttr(0));
    SmallVector<int64_t> strides(dims.size(), 1);
    // An empty one has no last element, and takes none.
    offsets[0] = c.sizes.max(c.sizes.sub(dims[0], c.one()), c.b.getIndexAttr(0));
    strides[0] = -1;
    scan = nn::buildSlice(c.b, c.loc, scan, offsets, dims, strides);
  }
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(1, nn::getRank(scan)));
  perm.insert(perm.begin() + axis, 0);
  return c.transpose(scan, perm);
}

FailureOr<LoopResults> ScanConverter::build(ArrayRef<LegalValue> states, ArrayRef<LegalValue> inputs) {
  std::optional<Size> length;
  SmallVector<int64_t> axes(inputAxes);
  SmallVector<Value> tensors;
  SmallVector<Content> contents;
  for (auto [given, axis] : llvm::zip_equal(inputs, axes)) {
    LegalValue input = given;
    contents.push_back(encode(c, input));
    tensors.push_back(c.asTensor(input));
    if (!c.normalizeAxis(axis, getRank(contents.back(), tensors.back()), "scan_input_axes")) {
      return failure();
    }
    Size own = c.shapeOf(tensors.back())[axis];
    if (length && !c.sizes.isSame(*length, own)) {
      c.require(c.sizes.compare(CompareKind::Equal, *length, own), "the scan inputs have different lengths");
    }
    length = length.value_or(own);
  }
  if (c.hasFailed()) {
    return failure();
  }
  auto iterate = [&](Value iteration, ArrayRef<LegalValue> values) -> FailureOr<Iteration> {
    SmallVector<LegalValue> arguments(values);
    for (auto [tensor, content, axis, direction] :
         llvm::zip_equal(tensors, contents, axes, inputDirections)) {
      Size position = iteration;
      if (direction == 1) {
        position = c.sizes.sub(c.sizes.sub(*length, c.one()), position);
      }
      LegalValue &argument = arguments.emplace_back();
      argument.tensor = takeSlice(tensor, axis, position);
      decode(c, content, argument);
    }
    FailureOr<SmallVector<LegalValue>> yielded = c.bodies->convert(body, arguments);
    if (failed(yielded)) {
      return failure();
    }
    if (yielded->size() != states.size() + outputAxes.size()) {
      return c.error("E0305", llvm::formatv("the body has {0} outputs, must have {1}", yielded->size(),
                                            states.size() + outputAxes.size())
                                  .str());
    }
    Iteration made{c.toBit(c.one()), {}, {}};
    llvm::append_range(made.carried, ArrayRef(*yielded).take_front(states.size()));
    llvm::append_range(made.scans, ArrayRef(*yielded).drop_front(states.size()));
    return made;
  };
  FailureOr<LoopResults> results = buildLoop(c, *length, c.toBit(c.one()), states, iterate);
  if (failed(results)) {
    return failure();
  }
  for (auto [result, axis, direction] : llvm::zip_equal(results->scans, outputAxes, outputDirections)) {
    int64_t to = axis;
    if (!c.normalizeAxis(to, nn::getRank(result.tensor), "scan_output_axes")) {
      return failure();
    }
    for (Value *part : {&result.tensor, &result.imaginary}) {
      *part = *part ? arrange(*part, direction, to) : Value();
    }
  }
  return results;
}

/// Version 8 scans every element of a batch on its own: a loop over the batch around it.
static LogicalResult legalizeBatchedScan(LegalizeContext &c, Region &body, int64_t inputCount) {
  if (c.has(0)) {
    return c.unsupported("sequence_lens");
  }
  int64_t stateCount = int64_t(c.numInputs()) - 1 - inputCount;
  int64_t outputs = int64_t(c.node.op->getNumResults()) - stateCount;
  ScanConverter scan(c, body);
  if (stateCount < 0 || outputs < 0) {
    return c.error("E0305", "there are fewer inputs or outputs than the body has");
  }
  if (failed(scan.read(inputCount, outputs))) {
    return failure();
  }
  SmallVector<Value> operands;
  SmallVector<Content> contents;
  for (unsigned i = 1; i < c.numInputs(); ++i) {
    LegalValue operand = c.has(i) ? c.legal(i) : LegalValue();
    contents.push_back(encode(c, operand));
    if (!c.has(i) || getRank(contents.back(), c.asTensor(operand)) < 1) {
      return c.error("E0305", llvm::formatv("input {0} is absent or has no batch dimension", i).str());
    }
    operands.push_back(c.asTensor(operand));
  }
  Size batch = c.shapeOf(operands.front())[0];
  auto iterate = [&](Value iteration, ArrayRef<LegalValue>) -> FailureOr<Iteration> {
    SmallVector<LegalValue> parts;
    for (auto [operand, content] : llvm::zip_equal(operands, contents)) {
      LegalValue &part = parts.emplace_back();
      part.tensor = scan.takeSlice(operand, /*axis=*/0, iteration);
      decode(c, content, part);
    }
    FailureOr<LoopResults> results =
        scan.build(ArrayRef(parts).take_front(stateCount), ArrayRef(parts).drop_front(stateCount));
    if (failed(results)) {
      return failure();
    }
    Iteration made{c.toBit(c.one()), {}, results->carried};
    llvm::append_range(made.scans, results->scans);
    return made;
  };
  for (Value operand : operands) {
    Size own = c.shapeOf(operand)[0];
    if (!c.sizes.isSame(batch, own)) {
      c.require(c.sizes.compare(CompareKind::Equal, batch, own),
                "the operands have different batch dimensions");
    }
  }
  FailureOr<LoopResults> results = buildLoop(c, batch, c.toBit(c.one()), {}, iterate);
  if (failed(results)) {
    return failure();
  }
  for (auto [i, value] : llvm::enumerate(results->scans)) {
    (void)c.setLegal(i, std::move(value));
  }
  return success(!c.hasFailed());
}

LogicalResult lathe::onnx::legalizeScan(LegalizeContext &c) {
  for (unsigned i = 0; i < c.numInputs(); ++i) {
    if (c.has(i) && !c.legal(i).isNumeric() && !c.legal(i).isString && !c.legal(i).imaginary) {
      return c.unsupported(llvm::formatv("input {0} is no tensor", i));
    }
  }
  Region *body = c.subgraph("body");
  int64_t inputCount = c.intAttr("num_scan_inputs", 0);
  if (!body) {
    return failure();
  }
  if (inputCount < 1 || inputCount > int64_t(c.numInputs())) {
    return c.error(
        "E0304",
        llvm::formatv("num_scan_inputs is {0}, but there are {1} inputs", inputCount, c.numInputs()).str(),
        "num_scan_inputs");
  }
  if (c.node.version < 9) {
    return legalizeBatchedScan(c, *body, inputCount);
  }
  int64_t stateCount = int64_t(c.numInputs()) - inputCount;
  int64_t outputs = int64_t(c.node.op->getNumResults()) - stateCount;
  ScanConverter scan(c, *body);
  if (outputs < 0) {
    return c.error(
        "E0305",
        llvm::formatv("there are {0} states, but {1} outputs", stateCount, c.node.op->getNumResults()).str());
  }
  if (failed(scan.read(inputCount, outputs))) {
    return failure();
  }
  SmallVector<LegalValue> operands;
  for (unsigned i = 0; i < c.numInputs(); ++i) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
    operands.push_back(c.legal(i));
  }
  FailureOr<LoopResults> results =
      scan.build(ArrayRef(operands).take_front(stateCount), ArrayRef(operands).drop_front(stateCount));
  if (failed(results)) {
    return failure();
  }
  for (auto [i, value] : llvm::enumerate(results->carried)) {
    (void)c.setLegal(i, std::move(value));
  }
  for (auto [i, value] : llvm::enumerate(results->scans)) {
    (void)c.setLegal(stateCount + i, std::move(value));
  }
  return success(!c.hasFailed());
}
