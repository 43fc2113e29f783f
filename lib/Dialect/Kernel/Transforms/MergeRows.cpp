// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Joins kernels that go over the same rows one after the other: what the first one computes of a row, and
/// the row itself, is still in the first-level cache, or in registers, when the second one asks for it.
///
/// This is where kernels with several results come from: a norm that others read, and the same row as bytes
/// with their scale.

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/Kernel/Transforms/Passes.h"
#include "lathe/Dialect/Kernel/Transforms/RowsAnalysis.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::kernel {
#define GEN_PASS_DEF_MERGEROWSPASS
#include "lathe/Dialect/Kernel/Transforms/Passes.h.inc"
} // namespace lathe::kernel

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

namespace {

/// The most ops of a joint kernel: emitters recurse over them, and their code grows with them.
constexpr size_t kMaxOps = 256;

/// The longest row, in elements, that is gone over several times: it stays in a first-level cache. In rows
/// shorter than the least, vectors are not full where a pointwise kernel's are.
constexpr int64_t kMinRow = 32, kMaxRow = 4096;

/// A kernel made of two, of which nothing is in the function yet but the kernel itself.
class Union {
public:
  Union(GroupOp first, GroupOp second) : first(first), second(second) {}

  /// Builds the kernel in front of `first`.
  GroupOp build(OpBuilder &builder);
  /// What the results of `build` replace.
  ArrayRef<Value> getReplaced() const { return replaced; }

private:
  void collectOperands();
  /// The shape attribute of a tensor of `group` with its sizes counted as those of the union.
  DenseI64ArrayAttr getShape(GroupOp group, size_t tensor);

  GroupOp first, second;
  llvm::SetVector<Value> inputs, sizes;
  SmallVector<Value> replaced;
};

class Merger {
public:
  explicit Merger(Block &block) : block(block), builder(block.getParentOp()->getContext()) {}

  void run();

private:
  /// The kernels of rows behind `group` that read what it computes or what it reads, in program order.
  SmallVector<GroupOp> getCandidates(GroupOp group);
  /// The two as one, in place of `first`; null if they cannot or should not be.
  GroupOp merge(GroupOp first, GroupOp second);
  /// Collects the ops between `first` and `second` that `value`, an operand of `second`, needs; false if
  /// they cannot move before `first`.
  bool collectMoved(Value value, GroupOp first, llvm::SetVector<Operation *> &moved);

  Block &block;
  OpBuilder builder;
};

} // namespace

//===----------------------------------------------------------------------===//
// Union
//===----------------------------------------------------------------------===//

void Union::collectOperands() {
  for (GroupOp group : {first, second}) {
    for (Value input : group.getInputs()) {
      if (input.getDefiningOp() != first.getOperation()) {
        inputs.insert(input);
      }
    }
    sizes.insert(group.getSizes().begin(), group.getSizes().end());
  }
  for (Value result : first.getResults()) {
    if (llvm::any_of(result.getUsers(), [&](Operation *user) { return user != second.getOperation(); })) {
      replaced.push_back(result);
    }
  }
  llvm::append_range(replaced, second.getResults());
}

DenseI64ArrayAttr Union::getShape(GroupOp group, size_t tensor) {
  SmallVector<int64_t> shape(cast<DenseI64ArrayAttr>(group.getShapes()[tensor]).asArrayRef());
  for (int64_t &size : shape) {
    size = size < 0 ? ~int64_t(llvm::find(sizes, group.getSizes()[~size]) - sizes.begin()) : size;
  }
  return DenseI64ArrayAttr::get(group.getContext(), shape);
}

GroupOp Union::build(OpBuilder &builder) {
  collectOperands();
  SmallVector<Attribute> shapes;
  for (Value input : inputs) {
    GroupOp reader = llvm::is_contained(first.getInputs(), input) ? first : second;
    shapes.push_back(getShape(reader, llvm::find(reader.getInputs(), input) - reader.getInputs().begin()));
  }
  for (Value result : replaced) {
    GroupOp group = result.getDefiningOp<GroupOp>();
    shapes.push_back(getShape(group, group.getInputs().size() + cast<OpResult>(result).getResultNumber()));
  }
  builder.setInsertionPoint(first);
  Location loc = builder.getFusedLoc({first.getLoc(), second.getLoc()});
  auto types = llvm::map_to_vector(replaced, [](Value value) { return value.getType(); });
  auto result = GroupOp::create(builder, loc, types, RootKind::Rows, inputs.getArrayRef(),
                                sizes.getArrayRef(), builder.getArrayAttr(shapes),
                                /*pitches=*/DenseI64ArrayAttr());
  OpBuilder::InsertionGuard guard(builder);
  Block *body = builder.createBlock(&result.getBody());
  IRMapping outside, inside;
  for (Value operand : result.getOperands()) {
    outside.map(operand, body->addArgument(operand.getType(), operand.getLoc()));
  }
  for (GroupOp group : {first, second}) {
    Block &block = group.getBody().front();
    for (auto [operand, argument] : llvm::zip_equal(group->getOperands(), block.getArguments())) {
      inside.map(argument, outside.lookup(operand));
    }
    for (Operation &op : block.without_terminator()) {
      builder.clone(op, inside);
    }
    for (auto [value, yielded] : llvm::zip_equal(group.getResults(), block.getTerminator()->getOperands())) {
      outside.map(value, inside.lookup(yielded));
    }
  }
  YieldOp::create(builder, loc,
                  llvm::map_to_vector(replaced, [&](Value value) { return outside.lookup(value); }));
  return result;
}

//===----------------------------------------------------------------------===//
// Merger
//===----------------------------------------------------------------------===//

/// Whether all is done in one pass over a row, however long it is: reductions that do not depend on each
/// other and have one result a row.
static bool isOnePass(const RowsSpace &space, ValueRange outputs) {
  return llvm::none_of(outputs, [&](Value value) { return space.getExtent(value) == RowsExtent::Full; }) &&
         llvm::all_of(space.roots, [&](Operation *root) {
           llvm::SetVector<Value> needed;
           needed.insert(root->operand_begin(), root->operand_end());
           for (size_t i = 0; i < needed.size(); ++i) {
             Operation *op = needed[i].getDefiningOp();
             if (llvm::is_contained(space.roots, op)) {
               return false;
             }
             if (op) {
               needed.insert(op->operand_begin(), op->operand_end());
             }
           }
           return isa<nn::ReduceOp>(root);
         });
}

/// Whether a row is known to be of a length at which going over it several times pays.
static bool isShort(const RowsSpace &space) {
  int64_t elements = 1;
  for (OpFoldResult size : space.getSizes(true)) {
    std::optional<int64_t> number = getConstantIntValue(size);
    if (!number || *number > kMaxRow) {
      return false;
    }
    elements = std::min(elements * *number, kMaxRow + 1);
  }
  return elements >= kMinRow && elements <= kMaxRow;
}

/// Whether `group` can be computed row by row and gains by it. Leaves sizes that nobody needs in its body.
static bool isGoodKernel(GroupOp group) {
  Block &body = group.getBody().front();
  OpBuilder builder(group.getContext());
  nn::ShapeTracker shapes(builder);
  ValueRange arguments = body.getArguments();
  for (auto [tensor, shape] : llvm::zip(arguments, group.getShapes())) {
    SmallVector<OpFoldResult> dims;
    for (int64_t size : cast<DenseI64ArrayAttr>(shape).asArrayRef()) {
      dims.push_back(size < 0 ? OpFoldResult(arguments[group.getInputs().size() + ~size])
                              : OpFoldResult(builder.getIndexAttr(size)));
    }
    if (isa<RankedTensorType>(tensor.getType())) {
      shapes.setDims(tensor, dims);
    }
  }
  SmallVector<Operation *> ops;
  for (Operation &op : body.without_terminator()) {
    if (isa<nn::NNDialect>(op.getDialect()) && isa<RankedTensorType>(op.getResult(0).getType())) {
      ops.push_back(&op);
    }
  }
  ValueRange outputs = body.getTerminator()->getOperands();
  std::string why;
  FailureOr<RowsSpace> space = analyzeRows(ops, SmallVector<Value>(outputs), shapes, why);
  return succeeded(space) && space->isTrailing() && (isOnePass(*space, outputs) || isShort(*space));
}

bool Merger::collectMoved(Value value, GroupOp first, llvm::SetVector<Operation *> &moved) {
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != &block || op->isBeforeInBlock(first) || moved.contains(op)) {
    return true;
  }
  // What the host computes of sizes, weights and other names for bytes.
  if (op == first || isa<GroupOp>(op) || op->getNumRegions() > 0 || !isMemoryEffectFree(op)) {
    return false;
  }
  for (Value operand : op->getOperands()) {
    if (!collectMoved(operand, first, moved)) {
      return false;
    }
  }
  moved.insert(op);
  return true;
}

GroupOp Merger::merge(GroupOp first, GroupOp second) {
  auto countOps = [](GroupOp group) { return group.getBody().front().getOperations().size(); };
  if (countOps(first) + countOps(second) > kMaxOps) {
    return {};
  }
  llvm::SetVector<Operation *> moved;
  for (Value operand : second->getOperands()) {
    if (operand.getDefiningOp() != first.getOperation() && !collectMoved(operand, first, moved)) {
      return {};
    }
  }
  Union both(first, second);
  GroupOp result = both.build(builder);
  GroupOp probe = result.clone();
  bool isGood = isGoodKernel(probe);
  probe->erase();
  if (!isGood) {
    result->erase();
    return {};
  }
  for (Operation *op : moved) {
    op->moveBefore(result);
  }
  for (auto [old, value] : llvm::zip_equal(both.getReplaced(), result.getResults())) {
    Value(old).replaceAllUsesWith(value);
  }
  second->erase();
  first->erase();
  return result;
}

SmallVector<GroupOp> Merger::getCandidates(GroupOp group) {
  llvm::SetVector<Operation *> users;
  for (Value value : llvm::concat<Value>(group.getResults(), group.getInputs())) {
    users.insert(value.user_begin(), value.user_end());
  }
  SmallVector<GroupOp> candidates;
  for (Operation *user : users) {
    auto reader = dyn_cast<GroupOp>(user);
    bool isFit = reader && reader->getBlock() == &block && group->isBeforeInBlock(reader);
    if (isFit && (reader.getKind() == RootKind::Rows || reader.getKind() == RootKind::Pointwise)) {
      candidates.push_back(reader);
    }
  }
  llvm::sort(candidates, [](GroupOp lhs, GroupOp rhs) { return lhs->isBeforeInBlock(rhs); });
  return candidates;
}

void Merger::run() {
  for (Operation *op = block.empty() ? nullptr : &block.front(); op; op = op->getNextNode()) {
    auto group = dyn_cast<GroupOp>(op);
    if (!group || group.getKind() != RootKind::Rows) {
      continue;
    }
    // What a larger kernel computes may serve more readers.
    for (bool hasChanged = true; hasChanged;) {
      hasChanged = false;
      for (GroupOp candidate : getCandidates(group)) {
        if (GroupOp merged = merge(group, candidate)) {
          group = merged;
          hasChanged = true;
          break;
        }
      }
    }
    op = group;
  }
}

namespace {

struct MergeRows : kernel::impl::MergeRowsPassBase<MergeRows> {
  void runOnOperation() override {
    SmallVector<Block *> blocks;
    getOperation().walk([&](GroupOp group) {
      if (!llvm::is_contained(blocks, group->getBlock())) {
        blocks.push_back(group->getBlock());
      }
    });
    for (Block *block : blocks) {
      Merger(*block).run();
    }
  }
};

} // namespace
