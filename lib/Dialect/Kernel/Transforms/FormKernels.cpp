// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Groups the nn ops of a function into kernels.
///
/// Roots come first, in program order: each takes the pointwise ops after it as long as its result has one
/// user, and what is cheap before it. What is left is grouped from consumers to producers. Reshapes between
/// kernels stay outside: the host program treats them as another name for the same bytes. A kernel never
/// spans bodies of control flow.

#include "GroupBuilder.h"
#include "lathe/Dialect/Kernel/Transforms/Passes.h"
#include "lathe/Dialect/Kernel/Transforms/RootRules.h"
#include "lathe/Dialect/Kernel/Transforms/RowsAnalysis.h"
#include "lathe/Dialect/Kernel/Transforms/SizeRelations.h"
#include "lathe/Dialect/NN/IR/NNControl.h"
#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/NN/IR/NNService.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace lathe::kernel {
#define GEN_PASS_DEF_FORMKERNELSPASS
#include "lathe/Dialect/Kernel/Transforms/Passes.h.inc"
} // namespace lathe::kernel

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

namespace {

/// The most ops that are fused into one kernel: emitters recurse over them, and their code grows with them.
constexpr size_t kMaxOps = 256;

class KernelFormer {
public:
  KernelFormer(func::FuncOp function, bool fuse, bool onDevice)
      : function(function), fuse(fuse), onDevice(onDevice),
        blocks(nn::getHostBlocks(function.getBody().front())), builder(function.getContext()),
        shapes(builder), groups(function, builder, shapes) {}

  LogicalResult run() {
    decomposeComposites(function.getContext(), blocks, fuse, onDevice);
    collectOps();
    if (fuse) {
      for (Operation *op : ops) {
        growRoot(op);
      }
      for (Cluster &cluster : clusters) {
        if (cluster.kind == RootKind::MatMul || cluster.kind == RootKind::Conv) {
          pullProducers(cluster, /*first=*/1);
        }
      }
    }
    for (Operation *op : llvm::reverse(ops)) {
      if (!owner.contains(op) && !staysOutside(op)) {
        growRest(op);
      }
    }
    copyWhatLiesNowhere();
    // Consumers first, and bodies before what is around them: what no built kernel reads, because all of them
    // absorbed it, is not built.
    llvm::DenseMap<Block *, SmallVector<Cluster *>> order;
    for (Cluster &cluster : clusters) {
      order[cluster.last->getBlock()].push_back(&cluster);
    }
    for (Block *block : llvm::reverse(blocks)) {
      if (failed(buildAll(order[block]))) {
        return failure();
      }
    }
    eraseDead();
    return success();
  }

private:
  LogicalResult buildAll(MutableArrayRef<Cluster *> order) {
    llvm::sort(order, [](Cluster *lhs, Cluster *rhs) { return rhs->last->isBeforeInBlock(lhs->last); });
    for (Cluster *cluster : order) {
      bool live = llvm::any_of(cluster->getResults(), [&](Value result) { return isLive(result); });
      if (live && failed(build(*cluster))) {
        return failure();
      }
    }
    return success();
  }

  /// All ops with a tensor result that a kernel must compute.
  void collectOps() {
    for (Block *block : blocks) {
      for (Operation &op : *block) {
        if (isComputed(&op)) {
          ops.push_back(&op);
        }
      }
    }
  }

  /// Whether a kernel must compute the op.
  static bool isComputed(Operation *op) { return isa<nn::ReferenceOpInterface, nn::LoopsOpInterface>(op); }

  /// A reshape that is not wanted inside a kernel only renames bytes.
  static bool staysOutside(Operation *op) { return isa<nn::ReshapeOp>(op); }

  /// Whether anything that stays in the function reads `value`.
  bool isLive(Value value) {
    return llvm::any_of(value.getUsers(), [&](Operation *user) {
      if (isa<nn::ReshapeOp>(user) && !owner.contains(user)) {
        return isLive(user->getResult(0));
      }
      return !isComputed(user);
    });
  }

  Cluster &newCluster(RootKind kind, Operation *op) {
    clusters.push_back({kind, op, {}, nullptr});
    add(clusters.back(), op);
    return clusters.back();
  }

  void add(Cluster &cluster, Operation *op) {
    cluster.ops.insert(op);
    owner[op] = unsigned(&cluster - clusters.data());
  }

  /// Whether both have, dimension by dimension, sizes known to be equal.
  bool sameSizes(Value lhs, Value rhs) {
    FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(lhs);
    if (failed(dims)) {
      return false;
    }
    SmallVector<OpFoldResult> copy(*dims);
    FailureOr<ArrayRef<OpFoldResult>> others = shapes.getDims(rhs);
    return succeeded(others) && *others == ArrayRef<OpFoldResult>(copy);
  }

  static SmallVector<Operation *> with(const Cluster &cluster, ArrayRef<Operation *> more) {
    SmallVector<Operation *> ops(cluster.ops.begin(), cluster.ops.end());
    llvm::append_range(ops, more);
    return ops;
  }

  /// Whether `ops`, which give these results, can be computed row by row.
  bool isOneKernelOfRows(ArrayRef<Operation *> ops, ArrayRef<Value> results) {
    std::string why;
    return succeeded(analyzeRows(ops, results, shapes, why));
  }
  bool isOneKernelOfRows(ArrayRef<Operation *> ops, Operation *last) {
    return isOneKernelOfRows(ops, ArrayRef<Value>(last->getResult(0)));
  }

  void growRoot(Operation *op) {
    std::string whyNot;
    std::optional<RootKind> kind = getRootKind(op, whyNot, onDevice);
    if (!kind || owner.contains(op) || (*kind == RootKind::Rows && !isOneKernelOfRows({op}, op))) {
      return;
    }
    Cluster &cluster = newCluster(*kind, op);
    if (*kind == RootKind::Rows) {
      pullProducers(cluster);
    }
    // After it: pointwise ops of the same shape, as long as one of them takes all that was computed.
    while (*kind != RootKind::Loops && cluster.ops.size() < kMaxOps) {
      SmallVector<Operation *> next = findNextEpilogue(cluster.last->getResult(0));
      if (next.empty() || (*kind == RootKind::Attention && !(next.size() == 1 && isa<nn::CastOp>(next[0])))) {
        break;
      }
      if (*kind == RootKind::Rows && !isOneKernelOfRows(with(cluster, next), next.back())) {
        break;
      }
      for (Operation *op : next) {
        add(cluster, op);
      }
      cluster.last = next.back();
    }
    if (*kind == RootKind::Rows) {
      addRounding(cluster);
    } else {
      leaveWidening(cluster);
    }
  }

  static unsigned getBits(Operation *op) {
    return getElementTypeOrSelf(op->getResult(0)).getIntOrFloatBitWidth();
  }

  /// Lets the kernel of the one product or convolution that reads the result compute the last ops of the
  /// cluster itself, if these only make elements of more bits of what was computed, as dequantization does:
  /// fewer bytes lie between the kernels.
  void leaveWidening(Cluster &cluster) {
    Operation *root = cluster.ops.front(), *narrow = nullptr;
    Value result = cluster.last->getResult(0);
    auto reader = result.hasOneUse() ? owner.find(*result.user_begin()) : owner.end();
    if (reader == owner.end() || !isa<nn::PointwiseOpInterface>(*result.user_begin()) ||
        (clusters[reader->second].kind != RootKind::MatMul &&
         clusters[reader->second].kind != RootKind::Conv) ||
        !sameSizes(result, (*result.user_begin())->getResult(0))) {
      return;
    }
    SmallVector<Operation *> tail, left;
    for (Operation *op = cluster.last; op != root && isa<nn::CastOp, nn::BinaryOp>(op);) {
      auto isComputed = [&](Value operand) { return cluster.ops.contains(operand.getDefiningOp()); };
      tail.push_back(op);
      if (llvm::count_if(op->getOperands(), isComputed) != 1) {
        break;
      }
      op = (*llvm::find_if(op->getOperands(), isComputed)).getDefiningOp();
      if (!op->hasOneUse()) {
        break;
      }
      if (op != root && getBits(op) < getBits(cluster.last)) {
        narrow = op;
        left = tail;
      }
    }
    for (Operation *op : left) {
      cluster.ops.remove(op);
      owner.erase(op);
    }
    cluster.last = narrow ? narrow : cluster.last;
  }

  /// Lets a kernel of rows store its result a second time, rounded to bf16, if products read that.
  void addRounding(Cluster &cluster) {
    Value result = cluster.last->getResult(0);
    for (Operation *user : result.getUsers()) {
      if (isa<nn::CastOp>(user) && getElementTypeOrSelf(user->getResult(0)).isBF16() &&
          !owner.contains(user) && user->getBlock() == cluster.last->getBlock() &&
          isOneKernelOfRows(with(cluster, user), {result, user->getResult(0)})) {
        add(cluster, user);
        cluster.rounded = user;
        return;
      }
    }
  }

  /// The fewest pointwise ops after `value`, of its shape, the last of which is the only one whose result is
  /// used by others: one op, or as in `x * clip(x + 3)` several. Empty if there are none.
  SmallVector<Operation *> findNextEpilogue(Value value) {
    constexpr size_t kMaxBetween = 16;
    SmallVector<Operation *> found, frontier;
    auto addUsers = [&](Value used) {
      for (Operation *user : used.getUsers()) {
        if (!isa<nn::PointwiseOpInterface>(user) || owner.contains(user) ||
            user->getBlock() != value.getParentBlock() || !sameSizes(value, user->getResult(0))) {
          return false;
        }
        if (!llvm::is_contained(frontier, user)) {
          frontier.push_back(user);
        }
      }
      return true;
    };
    if (!addUsers(value) || frontier.empty()) {
      return {};
    }
    while (frontier.size() > 1) {
      // The first one in the block: all that it uses is found already.
      auto first = llvm::min_element(
          frontier, [](Operation *lhs, Operation *rhs) { return lhs->isBeforeInBlock(rhs); });
      found.push_back(*first);
      frontier.erase(first);
      if (found.size() > kMaxBetween || found.back()->use_empty() || !addUsers(found.back()->getResult(0))) {
        return {};
      }
    }
    found.push_back(frontier.front());
    return found;
  }

  void growRest(Operation *op) {
    bool fusible = fuse && (isFusible(op) || isView(op) || movesElements(op));
    // What decodes a packed tensor is pointwise in any case.
    RootKind kind = isa<nn::LoopsOpInterface>(op)        ? RootKind::Loops
                    : fusible || isa<pack::DecodeOp>(op) ? RootKind::Pointwise
                                                         : RootKind::Reference;
    Cluster &cluster = newCluster(kind, op);
    if (fusible) {
      pullProducers(cluster);
    }
  }

  /// Adds the producers of the cluster's ops, from the `first` on, that can be evaluated where they are used
  /// and are used nowhere else. In a kernel of rows, only what has the row's shape or broadcasts into it.
  void pullProducers(Cluster &cluster, size_t first = 0) {
    for (size_t i = first; i < cluster.ops.size(); ++i) {
      // A gather's table and a norm's scale are read where they lie.
      for (Value operand : cluster.ops[i]->getOperands()) {
        Operation *producer = operand.getDefiningOp();
        if (cluster.ops.size() >= kMaxOps) {
          return;
        }
        if (!producer || owner.contains(producer) || !isa<RankedTensorType>(operand.getType()) ||
            producer->getBlock() != cluster.last->getBlock() || !(isFusible(producer) || isView(producer))) {
          continue;
        }
        std::string whyNot;
        if (getRootKind(producer, whyNot, onDevice) || isa<nn::ReshapeOp>(producer)) {
          continue;
        }
        bool usedHereOnly = llvm::all_of(producer->getUsers(), [&](Operation *user) {
          return llvm::is_contained(ArrayRef(cluster.ops.getArrayRef()).drop_front(first), user);
        });
        // Computed once per element, or not at all: a producer that is broadcast is a kernel of its own.
        bool oncePerElement = sameSizes(operand, cluster.ops[i]->getResult(0)) || isView(producer) ||
                              isa<nn::GatherOp>(cluster.ops[i]) || isa<nn::ReduceOp>(cluster.ops[i]) ||
                              isView(cluster.ops[i]) || isa<nn::RangeOp, nn::FromScalarsOp>(producer);
        if (usedHereOnly && oncePerElement &&
            (cluster.kind != RootKind::Rows || isOneKernelOfRows(with(cluster, producer), cluster.last))) {
          add(cluster, producer);
        }
      }
    }
  }

  /// What the host program hands on must lie in memory where it expects it: a kernel copies what does not.
  void copyWhatLiesNowhere() {
    copyResults();
    for (Block *block : ArrayRef(blocks)) {
      for (Operation &op : llvm::make_early_inc_range(*block)) {
        if (auto loop = dyn_cast<nn::LoopOp>(op)) {
          copyNextValues(loop);
        }
        if (isa<nn::LoopOp, nn::YieldOp, nn::ReadIndexOp, nn::ServiceOp>(op)) {
          for (OpOperand &operand : op.getOpOperands()) {
            // Small constants are part of the kernels that read them, and of nothing else.
            if (isa<RankedTensorType>(operand.get().getType()) &&
                matchPattern(getRenamed(operand.get()), m_Constant())) {
              copy(operand);
            }
          }
        }
      }
    }
  }

  /// The tensor of which `value` is only another shape.
  Value getRenamed(Value value) {
    while (auto reshape = value.getDefiningOp<nn::ReshapeOp>()) {
      if (owner.contains(reshape)) {
        break;
      }
      value = reshape.getX();
    }
    return value;
  }

  /// Results of the function that are an argument, a weight, of control flow, or another result.
  void copyResults() {
    llvm::SmallPtrSet<Value, 4> taken;
    for (OpOperand &operand : blocks.front()->getTerminator()->getOpOperands()) {
      Value source = getRenamed(operand.get());
      Operation *producer = source.getDefiningOp();
      bool computed = producer && (owner.contains(producer) || isa<nn::LayerCallOp, nn::ServiceOp>(producer));
      if (!computed || !taken.insert(source).second) {
        copy(operand);
      }
    }
  }

  /// Carried tensors that an iteration yields are copied one after the other, so none may lie where another
  /// goes: an argument of the body in another place, or what an `nn.if` hands on, which may be one.
  void copyNextValues(nn::LoopOp loop) {
    nn::YieldOp yield = loop.getYield();
    for (OpOperand &operand : yield->getOpOperands()) {
      Value source = getRenamed(operand.get());
      if (!isa<RankedTensorType>(source.getType())) {
        continue;
      }
      auto argument = dyn_cast<BlockArgument>(source);
      bool isOther = argument && argument.getOwner() == yield->getBlock() &&
                     argument.getArgNumber() != operand.getOperandNumber();
      bool isHandedOn = source.getDefiningOp<nn::IfOp>() && source.getParentBlock() == yield->getBlock();
      if (isOther || isHandedOn) {
        copy(operand);
      }
    }
  }

  void copy(OpOperand &operand) {
    builder.setInsertionPoint(operand.getOwner());
    FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(operand.get());
    if (failed(dims)) {
      return; // build() reports it
    }
    auto copy = nn::ExpandOp::create(builder, operand.get().getLoc(), operand.get(), *dims);
    // Of the type that the function has for it, which may know less of the sizes.
    copy.getResult().setType(cast<RankedTensorType>(operand.get().getType()));
    operand.set(copy);
    ops.push_back(copy);
    newCluster(fuse ? RootKind::Pointwise : RootKind::Reference, copy);
  }

  /// Views before a root are copied into its kernel: they cost nothing there.
  void absorbViews(Cluster &cluster) {
    if (!fuse || cluster.kind == RootKind::Reference || cluster.kind == RootKind::Loops) {
      return;
    }
    for (size_t i = 0; i < cluster.ops.size(); ++i) {
      for (Value operand : cluster.ops[i]->getOperands()) {
        Operation *producer = operand.getDefiningOp();
        if (producer && isView(producer) && producer->getBlock() == cluster.last->getBlock() &&
            !cluster.ops.contains(producer) && !onlyRenames(producer) && !sharedWork(producer) &&
            !readsOftenOutOfOrder(cluster.ops[i], producer)) {
          cluster.ops.insert(producer);
        }
      }
    }
  }

  /// Whether `root` reads each element of `view` several times, from where neighbours are not neighbours:
  /// once for each place of a window that has a channel to itself. The view is then computed before, reading
  /// each once.
  static bool readsOftenOutOfOrder(Operation *root, Operation *view) {
    auto conv = dyn_cast<nn::ConvOp>(root);
    return conv && conv.isDepthwise() && !keepsLastDimension(view);
  }

  /// A view that another kernel computes together with real work is read from there.
  bool sharedWork(Operation *view) {
    auto found = owner.find(view);
    return found != owner.end() && clusters[found->second].ops.size() > 1 &&
           !llvm::all_of(clusters[found->second].ops, [](Operation *op) { return isView(op); });
  }

  LogicalResult build(Cluster &cluster) {
    absorbViews(cluster);
    if (fuse && cluster.kind == RootKind::Reference) {
      std::string whyNot;
      if (getRootKind(cluster.last, whyNot) == RootKind::Rows) {
        (void)analyzeRows(cluster.last, cluster.last->getResult(0), shapes, whyNot);
      }
      cluster.last->emitRemark() << "[kernel-form] missed: " << cluster.last->getName()
                                 << " runs as plain loops" << (whyNot.empty() ? "" : ": ") << whyNot;
    }
    return groups.build(cluster);
  }

  /// The ungrouped ops have no users left.
  void eraseDead() {
    for (Operation *op : llvm::reverse(ops)) {
      if (op->use_empty()) {
        op->erase();
      }
    }
  }

  func::FuncOp function;
  bool fuse, onDevice;
  SmallVector<Block *> blocks;
  OpBuilder builder;
  nn::ShapeTracker shapes;
  SmallVector<Operation *> ops;
  std::vector<Cluster> clusters;
  llvm::DenseMap<Operation *, unsigned> owner;
  GroupBuilder groups;
};

struct FormKernels : kernel::impl::FormKernelsPassBase<FormKernels> {
  using FormKernelsPassBase::FormKernelsPassBase;
  void runOnOperation() override {
    if (!getOperation().isExternal() && failed(KernelFormer(getOperation(), fuse, onDevice).run())) {
      signalPassFailure();
    }
  }
};

} // namespace
