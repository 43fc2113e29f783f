// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Lets kernels write their results where the concatenation of them is to lie, which then costs nothing.
///
/// Along the last dimension the parts are no dense tensors: their rows lie as far apart as those of the
/// whole. Kernels that walk over strided views write and read such tensors as fast as dense ones. What cannot
/// be written there, an argument or the result of another kind of kernel, is copied by a kernel of its own.

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/Kernel/Transforms/Passes.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/IR/NNHost.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::kernel {
#define GEN_PASS_DEF_PLACECONCATSPASS
#include "lathe/Dialect/Kernel/Transforms/Passes.h.inc"
} // namespace lathe::kernel

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Whether a kernel reaches all its tensors over strided views.
static bool walksOverViews(GroupOp group) {
  if (group.getKind() == RootKind::Loops) {
    auto roots = group.getBody().front().getOps<nn::LoopsOpInterface>();
    return llvm::all_of(roots, [](Operation *root) { return root->hasTrait<nn::TakesPitches>(); });
  }
  return llvm::is_contained({RootKind::Pointwise, RootKind::MatMul, RootKind::Conv}, group.getKind());
}

/// How many elements from `axis` on one part has.
static int64_t countElements(RankedTensorType type, int64_t axis) {
  return ShapedType::getNumElements(type.getShape().drop_front(axis));
}

namespace {
/// A kernel that does nothing but concatenate.
class Concat {
public:
  Concat(GroupOp group, nn::ConcatOp op) : group(group), op(op), axis(op.getAxis()) {}

  static std::optional<Concat> match(GroupOp group);
  /// Whether the parts can lie in the whole.
  bool canPlace(uint64_t alignment);
  /// Whether kernels write at least half of the elements to their place.
  bool isMostlyWritten();
  void place();

private:
  bool hasPitch();
  bool isAligned(uint64_t alignment);
  /// What is joined, from outside the kernel; null if the kernel computes it.
  Value getSource(Value part);
  bool canWrite(Value source);
  bool canReadPart(Value source, OpOperand &use);
  GroupOp copy(Value part, OpBuilder &builder);

  GroupOp group;
  nn::ConcatOp op;
  int64_t axis;
};
} // namespace

std::optional<Concat> Concat::match(GroupOp group) {
  if (group.getKind() != RootKind::Pointwise || group.getNumResults() != 1) {
    return std::nullopt;
  }
  auto op = group.getBody().front().getTerminator()->getOperand(0).getDefiningOp<nn::ConcatOp>();
  return op ? std::optional(Concat(group, op)) : std::nullopt;
}

bool Concat::hasPitch() {
  ArrayRef<int64_t> outer = typeOf(op.getResult()).getShape().take_front(axis);
  return !llvm::all_of(outer, [](int64_t size) { return size == 1; });
}

/// Whether each part, as a tensor of its own, begins at a multiple of `alignment` bytes.
bool Concat::isAligned(uint64_t alignment) {
  unsigned bits = typeOf(op.getResult()).getElementTypeBitWidth();
  uint64_t begin = 0, elementBytes = std::max(1u, bits / 8);
  return llvm::all_of(op.getInputs(), [&](Value part) {
    bool isHere = begin % alignment == 0;
    begin += uint64_t(countElements(typeOf(part), axis)) * elementBytes;
    return isHere;
  });
}

bool Concat::canPlace(uint64_t alignment) {
  RankedTensorType type = typeOf(op.getResult());
  bool fits = llvm::all_of(op.getInputs(), [&](Value part) {
    ArrayRef<int64_t> shape = typeOf(part).getShape(), whole = type.getShape();
    return !ShapedType::isDynamicShape(shape.drop_front(axis)) &&
           shape.take_front(axis) == whole.take_front(axis) &&
           shape.drop_front(axis + 1) == whole.drop_front(axis + 1);
  });
  return fits && (hasPitch() ? axis + 1 == type.getRank() : isAligned(alignment)) &&
         countElements(type, axis) > 0 && llvm::all_of(group.getSizes(), nn::isKnownFromSymbols);
}

Value Concat::getSource(Value part) {
  auto argument = dyn_cast<BlockArgument>(part);
  return argument ? group.getInputs()[argument.getArgNumber()] : Value();
}

/// Of all others that read a part the kernels must know its pitch.
bool Concat::canReadPart(Value source, OpOperand &use) {
  auto reader = dyn_cast<GroupOp>(use.getOwner());
  return reader && reader->getBlock() == group->getBlock() &&
         (reader == group || !hasPitch() || walksOverViews(reader));
}

bool Concat::canWrite(Value source) {
  // Once here, and not yet in another place.
  if (!source || llvm::count(group.getInputs(), source) != 1 || JoinOp::find(source) ||
      llvm::count_if(op.getInputs(), [&](Value part) { return getSource(part) == source; }) != 1) {
    return false;
  }
  Operation *producer = source.getDefiningOp();
  if (!producer || producer->getBlock() != group->getBlock()) {
    return false;
  }
  auto writer = dyn_cast<GroupOp>(producer);
  auto join = dyn_cast<JoinOp>(producer);
  bool fits = join ? !hasPitch() || join.hasPitch() : writer && (!hasPitch() || walksOverViews(writer));
  return fits && llvm::all_of(source.getUses(), [&](OpOperand &use) { return canReadPart(source, use); });
}

bool Concat::isMostlyWritten() {
  int64_t written = 0;
  for (Value part : op.getInputs()) {
    written += canWrite(getSource(part)) ? countElements(typeOf(part), axis) : 0;
  }
  return 2 * written >= countElements(typeOf(op.getResult()), axis);
}

/// A kernel that computes `part`, a value in the concatenation's, alone.
GroupOp Concat::copy(Value part, OpBuilder &builder) {
  llvm::SetVector<Value> needed;
  needed.insert(part);
  for (size_t i = 0; i < needed.size(); ++i) {
    if (Operation *producer = needed[i].getDefiningOp()) {
      needed.insert(producer->operand_begin(), producer->operand_end());
    }
  }
  Block &source = group.getBody().front();
  size_t tensors = group.getInputs().size();
  SmallVector<Value> inputs;
  SmallVector<Attribute> shapes;
  for (auto [i, input] : llvm::enumerate(group.getInputs())) {
    if (needed.contains(source.getArgument(i))) {
      inputs.push_back(input);
      shapes.push_back(group.getShapes()[i]);
    }
  }
  SmallVector<int64_t> shape(cast<DenseI64ArrayAttr>(group.getShapes()[tensors]).asArrayRef());
  shape[axis] = typeOf(part).getDimSize(axis);
  shapes.push_back(builder.getDenseI64ArrayAttr(shape));
  auto result = GroupOp::create(builder, group.getLoc(), part.getType(), RootKind::Pointwise, inputs,
                                group.getSizes(), builder.getArrayAttr(shapes), DenseI64ArrayAttr());
  OpBuilder::InsertionGuard guard(builder);
  Block *body = builder.createBlock(&result.getBody());
  IRMapping mapping;
  for (auto [i, argument] : llvm::enumerate(source.getArguments())) {
    if (i >= tensors || needed.contains(argument)) {
      mapping.map(argument, body->addArgument(argument.getType(), argument.getLoc()));
    }
  }
  for (Operation &inner : source.without_terminator()) {
    if (llvm::any_of(inner.getResults(), [&](Value value) { return needed.contains(value); })) {
      builder.clone(inner, mapping);
    }
  }
  YieldOp::create(builder, group.getLoc(), mapping.lookup(part));
  return result;
}

void Concat::place() {
  OpBuilder builder(group);
  SmallVector<Value> parts;
  for (Value part : op.getInputs()) {
    Value source = getSource(part);
    parts.push_back(canWrite(source) ? source : copy(part, builder).getResult(0));
  }
  auto join = JoinOp::create(builder, group.getLoc(), group.getResult(0).getType(), parts, axis);
  group.getResult(0).replaceAllUsesWith(join);
  group.erase();
}

/// The elements from one row of `tensor` to the next if it is part of a larger one, or 0.
static int64_t getPitch(Value tensor) {
  int64_t pitch = 0;
  for (JoinOp join = JoinOp::find(tensor); join && join.hasPitch(); join = JoinOp::find(tensor)) {
    tensor = join.getResult();
    pitch = typeOf(tensor).getShape().back();
  }
  return pitch;
}

namespace {
struct PlaceConcats : kernel::impl::PlaceConcatsPassBase<PlaceConcats> {
  using PlaceConcatsPassBase::PlaceConcatsPassBase;

  void runOnOperation() override {
    SmallVector<GroupOp> groups;
    getOperation().walk([&](GroupOp group) { groups.push_back(group); });
    for (GroupOp group : groups) {
      std::optional<Concat> concat = Concat::match(group);
      if (concat && concat->canPlace(alignment) && concat->isMostlyWritten()) {
        concat->place();
      }
    }
    getOperation().walk([&](GroupOp group) {
      SmallVector<int64_t> pitches;
      for (Value tensor : llvm::concat<Value>(SmallVector<Value>(group.getInputs()),
                                              SmallVector<Value>(group.getResults()))) {
        pitches.push_back(getPitch(tensor));
      }
      if (llvm::any_of(pitches, [](int64_t pitch) { return pitch != 0; })) {
        group.setPitches(pitches);
      }
    });
  }
};
} // namespace
