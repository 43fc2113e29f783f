// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Loops that carry sequences, each as the two tensors of an open one, and maps over such sequences. The
/// highest rank of the elements is found by trying: an iteration that yields a higher one is built again.

#include "Loops.h"
#include "OpenSequences.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

namespace {
class OpenLoopConverter {
public:
  /// `types`: what the model says of the carried values.
  OpenLoopConverter(LegalizeContext &c, ArrayRef<Type> types, IterationFn body)
      : c(c), types(types), body(body) {}

  LogicalResult convert(Size trip, Value condition, ArrayRef<LegalValue> inits);

private:
  /// What the model says about a carried value that is a sequence without elements at first.
  std::optional<ElementForm> getDeclaredForm(unsigned i);
  LogicalResult readForms(ArrayRef<LegalValue> inits);
  /// Sequences as two tensors each, and back.
  SmallVector<LegalValue> flatten(ArrayRef<LegalValue> values);
  SmallVector<LegalValue> restore(ArrayRef<LegalValue> flat);
  FailureOr<Iteration> iterate(Value iteration, ArrayRef<LegalValue> flat);

  LegalizeContext &c;
  ArrayRef<Type> types;
  IterationFn body;
  /// Of each carried value that is a sequence.
  SmallVector<std::optional<ElementForm>> forms;
  /// Whether an iteration gave elements of a higher rank than a form has.
  bool hasGrown = false;
};
} // namespace

std::optional<ElementForm> OpenLoopConverter::getDeclaredForm(unsigned i) {
  Type type = i < types.size() ? types[i] : Type();
  if (auto optional = dyn_cast_or_null<OptionalType>(type)) {
    type = optional.getElement();
  }
  auto sequence = dyn_cast_or_null<SequenceType>(type);
  auto tensor = sequence ? dyn_cast<TensorType>(sequence.getElement()) : TensorType();
  if (!tensor) {
    (void)c.unsupported("a loop carries an empty sequence of elements of unknown type");
    return std::nullopt;
  }
  bool isString = isa<StringType>(tensor.getElementType());
  return ElementForm{isString ? c.b.getI64Type() : tensor.getElementType(), 0, isString};
}

LogicalResult OpenLoopConverter::readForms(ArrayRef<LegalValue> inits) {
  for (auto [i, init] : llvm::enumerate(inits)) {
    std::optional<ElementForm> &form = forms.emplace_back();
    if (init.isEmptyOptional || init.presence) {
      return c.unsupported(
          "a loop that runs an unknown number of times carries an optional that may be empty");
    }
    if (!init.isSequence()) {
      continue;
    }
    form = getElementForm(c, init);
    if (form && !form->type) {
      form = getDeclaredForm(i);
    }
    if (!form) {
      return failure();
    }
  }
  return success();
}

SmallVector<LegalValue> OpenLoopConverter::flatten(ArrayRef<LegalValue> values) {
  SmallVector<LegalValue> flat;
  for (auto [value, form] : llvm::zip_equal(values, forms)) {
    if (!form) {
      flat.push_back(value);
      continue;
    }
    LegalValue open = makeOpen(c, value, *form);
    Value shapes = std::exchange(open.shapes, Value());
    flat.push_back(open);
    flat.emplace_back().tensor = shapes;
  }
  return flat;
}

SmallVector<LegalValue> OpenLoopConverter::restore(ArrayRef<LegalValue> flat) {
  SmallVector<LegalValue> values;
  const LegalValue *next = flat.begin();
  for (const std::optional<ElementForm> &form : forms) {
    values.push_back(*next++);
    if (form) {
      LegalValue shapes = *next++;
      LegalValue &contents = values.back();
      contents.isString = false;
      contents.tensor = c.asTensor(contents);
      contents.scalars.reset();
      contents.shapes = c.asTensor(shapes);
      contents.isString = form->isString;
    }
  }
  return values;
}

FailureOr<Iteration> OpenLoopConverter::iterate(Value iteration, ArrayRef<LegalValue> flat) {
  FailureOr<Iteration> made = body(iteration, restore(flat));
  if (failed(made)) {
    return failure();
  }
  for (auto [value, form] : llvm::zip_equal(made->carried, forms)) {
    if (value.isSequence() != form.has_value() || value.isEmptyOptional || value.presence) {
      return c.error("E0306", "a carried value is a sequence at first or after an iteration, but not both");
    }
    std::optional<ElementForm> own = form ? getElementForm(c, value) : std::nullopt;
    if (form && !own) {
      return failure();
    }
    if (!form || !own->type) {
      continue;
    }
    if (own->type != form->type || own->isString != form->isString) {
      return c.error("E0306", "a loop gives a sequence elements of another type");
    }
    hasGrown |= own->rank > form->rank;
    form->rank = std::max(form->rank, own->rank);
  }
  if (hasGrown) {
    // For the shapes that it is built with now the loop is of no use.
    made->carried.assign(flat.begin(), flat.end());
  } else {
    made->carried = flatten(made->carried);
  }
  return made;
}

LogicalResult OpenLoopConverter::convert(Size trip, Value condition, ArrayRef<LegalValue> inits) {
  if (failed(readForms(inits))) {
    return failure();
  }
  FailureOr<LoopResults> results = failure();
  do {
    hasGrown = false;
    results = buildLoop(c, trip, condition, flatten(inits),
                        [&](Value iteration, ArrayRef<LegalValue> flat) { return iterate(iteration, flat); });
    if (failed(results)) {
      return failure();
    }
    if (hasGrown) {
      c.bodies->abandon(&*std::prev(c.b.getInsertionPoint()));
    }
  } while (hasGrown);
  SmallVector<LegalValue> values = restore(results->carried);
  for (auto [i, value] : llvm::enumerate(values)) {
    (void)c.setLegal(i, std::move(value));
  }
  for (auto [i, value] : llvm::enumerate(results->scans)) {
    (void)c.setLegal(values.size() + i, std::move(value));
  }
  return success(!c.hasFailed());
}

LogicalResult lathe::onnx::legalizeOpenLoop(LegalizeContext &c, Size trip, Value condition,
                                            ArrayRef<LegalValue> inits, Region &body) {
  // Behind the iteration and the condition.
  SmallVector<Type> types(llvm::drop_begin(body.getArgumentTypes(), std::min(2u, body.getNumArguments())));
  auto iterate = [&](Value iteration, ArrayRef<LegalValue> values) {
    return convertIteration(c, body, inits.size(), iteration, values);
  };
  return OpenLoopConverter(c, types, iterate).convert(trip, condition, inits);
}

LogicalResult lathe::onnx::legalizeOpenMap(LegalizeContext &c, Region &body) {
  Block &block = body.front();
  ValueRange yielded = block.getTerminator()->getOperands();
  unsigned results = c.node.op->getNumResults();
  if (block.getNumArguments() != c.numInputs() || yielded.size() != results) {
    return c.error("E0305", llvm::formatv("the body has {0} inputs and {1} outputs, must have {2} and {3}",
                                          block.getNumArguments(), yielded.size(), c.numInputs(), results)
                                .str());
  }
  // Sequences that are known become open ones, too, of as many elements.
  SmallVector<LegalValue> inputs;
  std::optional<Size> length;
  for (unsigned i = 0; i < c.numInputs(); ++i) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
    LegalValue &input = inputs.emplace_back(c.legal(i));
    if (!input.isSequence()) {
      continue;
    }
    std::optional<ElementForm> form = getElementForm(c, input);
    if (!form) {
      return failure();
    }
    if (!form->type) {
      return c.unsupported("an empty sequence beside one whose length is not known before the run");
    }
    input = makeOpen(c, input, *form);
    Size own = getLength(c, input);
    if (length) {
      c.require(c.sizes.compare(nn::CompareKind::Equal, *length, own), "the sequences differ in length");
    }
    length = length.value_or(own);
  }
  SmallVector<Type> types = llvm::map_to_vector(yielded.getTypes(), [](Type type) -> Type {
    return isa<TensorType>(type) ? SequenceType::get(type.getContext(), type) : type;
  });
  LegalValue empty;
  empty.elements = std::make_shared<const std::vector<LegalValue>>();
  auto iterate = [&](Value iteration, ArrayRef<LegalValue> made) -> FailureOr<Iteration> {
    SmallVector<LegalValue> arguments(inputs);
    for (auto [argument, type] : llvm::zip_equal(arguments, block.getArgumentTypes())) {
      if (argument.shapes) {
        int64_t highest = cast<RankedTensorType>(argument.shapes.getType()).getDimSize(1);
        auto declared = dyn_cast<RankedTensorType>(type);
        argument =
            getElement(c, argument, iteration, declared ? std::min(declared.getRank(), highest) : highest);
      }
    }
    FailureOr<SmallVector<LegalValue>> elements = c.bodies->convert(body, arguments);
    if (failed(elements)) {
      return failure();
    }
    Iteration next{c.toBit(c.one()), {}, {}};
    for (auto [sequence, element] : llvm::zip_equal(made, *elements)) {
      if (!element.isNumeric() && !element.isString) {
        return c.unsupported("the body gives something else than a tensor of numbers or strings");
      }
      next.carried.push_back(insertElement(c, sequence, getLength(c, sequence), element));
    }
    return next;
  };
  return OpenLoopConverter(c, types, iterate)
      .convert(*length, c.toBit(c.one()), SmallVector<LegalValue>(results, empty));
}
