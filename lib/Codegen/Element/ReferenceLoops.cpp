// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels by their ops' reference lowering: linalg, bufferized onto the kernel's memory, as plain loops.

#include "lathe/Codegen/Element/PointwiseLoops.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/Transforms.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/MemRef/Transforms/Transforms.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/TileUsingInterface.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/Transforms.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

/// The most temporary memory, in bytes, that a kernel may have on the stack.
static constexpr int64_t kTemporaryBytes = 64 << 10;

namespace {
/// Turns one kernel into loops, step by step.
class ReferenceLowering {
public:
  explicit ReferenceLowering(ElementContext &context)
      : context(context), kernel(context.kernel), rewriter(context.kernel.getContext()) {}

  LogicalResult run();

private:
  LogicalResult decompose();
  /// Builds the linalg form before the kernel's end and erases the nn form.
  LogicalResult lowerToLinalg();
  LogicalResult lowerInput(kernel::InputOp input);
  /// Puts the inputs' memory in place of `kernel.input`s, which tell reference lowerings their sizes until
  /// then.
  void placeInputs();
  LogicalResult lowerOp(nn::ReferenceOpInterface op);
  LogicalResult lowerOutput(kernel::OutputOp output);
  /// Computes every element of `value` with all that it needs before the next one, so that what lies between
  /// is as small as one element; returns the new value.
  Value fuseElementwise(Value value);
  /// Removes what asks for the sizes of, or takes slices of, tensors that need not exist.
  LogicalResult simplify();
  LogicalResult bufferize();
  LogicalResult lowerToLoops();
  LogicalResult placeTemporaries();

  Operation *getEnd() { return kernel.getBody().front().getTerminator(); }
  /// `bytes` as a dense tensor's memory.
  Value getMemory(Value bytes, RankedTensorType type, ValueRange sizes);

  ElementContext &context;
  func::FuncOp kernel;
  IRRewriter rewriter;
  IRMapping mapping;
  SmallVector<kernel::InputOp> inputs;
};
} // namespace

static RankedTensorType getSignlessType(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor.clone(getRegisterType(tensor.getElementType()));
}

LogicalResult ReferenceLowering::decompose() {
  SmallVector<nn::ReferenceOpInterface> worklist;
  auto push = [&](Operation *op) {
    if (auto reference = dyn_cast_or_null<nn::ReferenceOpInterface>(op)) {
      worklist.push_back(reference);
    }
  };
  for (Operation &op : kernel.getBody().front()) {
    push(&op);
  }
  while (!worklist.empty()) {
    nn::ReferenceOpInterface op = worklist.pop_back_val();
    Operation *before = op->getPrevNode();
    rewriter.setInsertionPoint(op);
    FailureOr<SmallVector<Value>> results = op.decompose(rewriter);
    if (failed(results)) {
      continue;
    }
    Operation *first = before ? before->getNextNode() : &kernel.getBody().front().front();
    for (Operation *made = first; made != op; made = made->getNextNode()) {
      push(made);
    }
    rewriter.replaceOp(op, *results);
  }
  return success();
}

Value ReferenceLowering::getMemory(Value bytes, RankedTensorType type, ValueRange sizes) {
  Location loc = bytes.getLoc();
  auto memory = MemRefType::get(type.getShape(), type.getElementType());
  Value zero = arith::ConstantIndexOp::create(rewriter, loc, 0);
  return memref::ViewOp::create(rewriter, loc, memory, bytes, zero, sizes);
}

LogicalResult ReferenceLowering::lowerInput(kernel::InputOp input) {
  auto argument = dyn_cast<BlockArgument>(input.getBytes());
  if (argument && kernel.getArgAttr(argument.getArgNumber(), kernel::KernelDialect::kPanelAttr)) {
    return input.emitOpError("lies in panels, which only products read");
  }
  if (input.getPitch()) {
    return input.emitOpError("has a pitch, which plain loops do not know");
  }
  RankedTensorType type = getSignlessType(input.getTensorType());
  auto signless = kernel::InputOp::create(rewriter, input.getLoc(), type, input.getBytes(), input.getSizes(),
                                          /*pitch=*/IntegerAttr());
  mapping.map(input.getResult(), signless.getResult());
  inputs.push_back(signless);
  return success();
}

void ReferenceLowering::placeInputs() {
  for (kernel::InputOp input : inputs) {
    rewriter.setInsertionPoint(input);
    auto type = input.getTensorType();
    Value memory = getMemory(input.getBytes(), type, input.getSizes());
    rewriter.replaceOpWithNewOp<bufferization::ToTensorOp>(input, type, memory, /*restrict=*/true);
  }
}

LogicalResult ReferenceLowering::lowerOp(nn::ReferenceOpInterface op) {
  Location loc = op.getLoc();
  SmallVector<Value> operands, inits;
  for (Value operand : op->getOperands()) {
    operands.push_back(mapping.lookupOrDefault(operand));
  }
  for (Value result : op->getResults()) {
    FailureOr<ArrayRef<OpFoldResult>> sizes = context.shapes.getDims(result);
    if (failed(sizes)) {
      return op->emitOpError("has a result of unknown sizes");
    }
    RankedTensorType type = getSignlessType(result.getType());
    SmallVector<Value> dynamic;
    for (auto [dim, size] : llvm::enumerate(*sizes)) {
      if (type.isDynamicDim(dim)) {
        dynamic.push_back(IndexMath{rewriter, loc}.value(size));
      }
    }
    inits.push_back(tensor::EmptyOp::create(rewriter, loc, type, dynamic));
  }
  FailureOr<SmallVector<Value>> results = op.lowerToLinalg(rewriter, operands, inits);
  if (failed(results)) {
    return op->emitOpError("has no reference lowering");
  }
  for (auto [old, result] : llvm::zip_equal(op->getResults(), *results)) {
    RankedTensorType type = getSignlessType(old.getType());
    Value value = result;
    if (value.getType() != type) {
      value = tensor::CastOp::create(rewriter, loc, type, value);
    }
    mapping.map(old, value);
  }
  return success();
}

Value ReferenceLowering::fuseElementwise(Value value) {
  auto last = value.getDefiningOp<linalg::GenericOp>();
  bool hasProducers = last && llvm::any_of(last.getInputs(), [](Value input) {
                        return isa_and_nonnull<linalg::LinalgOp>(input.getDefiningOp());
                      });
  if (!hasProducers || last.getNumParallelLoops() != last.getNumLoops() || last.getNumLoops() == 0) {
    return value;
  }
  // Upstream's tiling divides by sizes; without elements the temporaries of a static shape are small anyway.
  bool isEmpty = false;
  for (Operation &op : *last->getBlock()) {
    for (Value operand : op.getOperands()) {
      auto type = dyn_cast<RankedTensorType>(operand.getType());
      isEmpty |= type && llvm::is_contained(type.getShape(), 0);
    }
  }
  if (isEmpty) {
    return value;
  }
  scf::SCFTileAndFuseOptions options;
  SmallVector<OpFoldResult> sizes(last.getNumLoops(), rewriter.getIndexAttr(1));
  options.tilingOptions.setTileSizes(sizes);
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPoint(last);
  FailureOr<scf::SCFTileAndFuseResult> tiled = scf::tileConsumerAndFuseProducersUsingSCF(
      rewriter, cast<TilingInterface>(last.getOperation()), options);
  return failed(tiled) ? value : tiled->replacements.lookup(value);
}

LogicalResult ReferenceLowering::lowerOutput(kernel::OutputOp output) {
  if (output.getPitch()) {
    return output.emitOpError("has a pitch, which plain loops do not know");
  }
  Value value = fuseElementwise(mapping.lookup(output.getValue()));
  Value memory = getMemory(output.getBytes(), cast<RankedTensorType>(value.getType()), output.getSizes());
  auto store = bufferization::MaterializeInDestinationOp::create(rewriter, output.getLoc(), value, memory);
  store.setRestrict(true);
  store.setWritable(true);
  return success();
}

LogicalResult ReferenceLowering::lowerToLinalg() {
  SmallVector<Operation *> ops;
  for (Operation &op : kernel.getBody().front()) {
    ops.push_back(&op);
  }
  rewriter.setInsertionPoint(getEnd());
  SmallVector<Operation *> lowered;
  for (Operation *op : ops) {
    LogicalResult result = success();
    DenseElementsAttr elements;
    if (auto input = dyn_cast<kernel::InputOp>(op)) {
      result = lowerInput(input);
    } else if (auto output = dyn_cast<kernel::OutputOp>(op)) {
      result = lowerOutput(output);
    } else if (auto reference = dyn_cast<nn::ReferenceOpInterface>(op)) {
      result = lowerOp(reference);
    } else if (matchPattern(op, m_Constant(&elements))) {
      auto attribute = elements.bitcast(getRegisterType(elements.getElementType()));
      mapping.map(op->getResult(0), arith::ConstantOp::create(rewriter, op->getLoc(), attribute).getResult());
    } else {
      continue;
    }
    if (failed(result)) {
      return failure();
    }
    lowered.push_back(op);
  }
  for (Operation *op : llvm::reverse(lowered)) {
    rewriter.eraseOp(op);
  }
  placeInputs();
  return success();
}

LogicalResult ReferenceLowering::simplify() {
  RewritePatternSet patterns(kernel.getContext());
  memref::populateResolveRankedShapedTypeResultDimsPatterns(patterns);
  tensor::populateFoldTensorEmptyPatterns(patterns);
  kernel.getContext()->getLoadedDialect<tensor::TensorDialect>()->getCanonicalizationPatterns(patterns);
  for (RegisteredOperationName name : kernel.getContext()->getRegisteredOperationsByDialect("tensor")) {
    name.getCanonicalizationPatterns(patterns, kernel.getContext());
  }
  return applyPatternsGreedily(kernel, std::move(patterns));
}

LogicalResult ReferenceLowering::bufferize() {
  // What computes the last value may write to the output at once.
  if (failed(bufferization::eliminateEmptyTensors(rewriter, kernel))) {
    return kernel.emitError("cannot analyze the reference lowering");
  }
  bufferization::OneShotBufferizationOptions options;
  bufferization::BufferizationState state;
  if (failed(bufferization::runOneShotBufferize(kernel, options, state))) {
    return kernel.emitError("cannot bufferize the reference lowering");
  }
  return success();
}

/// Copies element by element: memref.copy would become a call of a library we do not have.
static void lowerCopy(IRRewriter &rewriter, memref::CopyOp copy) {
  Location loc = copy.getLoc();
  rewriter.setInsertionPoint(copy);
  Value source = copy.getSource(), target = copy.getTarget();
  if (source != target) {
    int64_t rank = cast<MemRefType>(target.getType()).getRank();
    Value zero = arith::ConstantIndexOp::create(rewriter, loc, 0),
          one = arith::ConstantIndexOp::create(rewriter, loc, 1);
    SmallVector<Value> begins(rank, zero), ends, steps(rank, one);
    for (int64_t dim = 0; dim < rank; ++dim) {
      ends.push_back(memref::DimOp::create(rewriter, loc, target, dim));
    }
    scf::buildLoopNest(rewriter, loc, begins, ends, steps,
                       [&](OpBuilder &inner, Location at, ValueRange index) {
                         Value element = memref::LoadOp::create(inner, at, source, index);
                         memref::StoreOp::create(inner, at, element, target, index);
                       });
  }
  rewriter.eraseOp(copy);
}

LogicalResult ReferenceLowering::lowerToLoops() {
  SmallVector<linalg::LinalgOp> ops;
  SmallVector<memref::CopyOp> copies;
  kernel.walk([&](Operation *op) {
    if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op)) {
      ops.push_back(linalgOp);
    } else if (auto copy = dyn_cast<memref::CopyOp>(op)) {
      copies.push_back(copy);
    }
  });
  for (linalg::LinalgOp op : ops) {
    rewriter.setInsertionPoint(op);
    if (failed(linalg::linalgOpToLoops(rewriter, op))) {
      return op->emitOpError("cannot be lowered to loops");
    }
    rewriter.eraseOp(op);
  }
  for (memref::CopyOp copy : copies) {
    lowerCopy(rewriter, copy);
  }
  return success();
}

/// Erases what asks a temporary for nothing but its sizes: some stand for how far a loop runs only.
static void eraseUnread(IRRewriter &rewriter, memref::AllocOp allocation) {
  for (Operation *user : llvm::make_early_inc_range(allocation->getUsers())) {
    if (isa<memref::LoadOp>(user) && user->use_empty()) {
      rewriter.eraseOp(user);
    } else if (auto dim = dyn_cast<memref::DimOp>(user)) {
      std::optional<int64_t> index = dim.getConstantIndex();
      if (index && allocation.getType().isDynamicDim(*index)) {
        unsigned position = allocation.getType().getDynamicDimIndex(*index);
        rewriter.replaceOp(dim, allocation.getDynamicSizes()[position]);
      }
    }
  }
}

LogicalResult ReferenceLowering::placeTemporaries() {
  SmallVector<memref::AllocOp> allocations;
  kernel.walk([&](memref::AllocOp op) { allocations.push_back(op); });
  int64_t used = 0;
  for (memref::AllocOp op : allocations) {
    eraseUnread(rewriter, op);
    if (op->use_empty()) {
      rewriter.eraseOp(op);
      continue;
    }
    MemRefType type = op.getType();
    if (!type.hasStaticShape()) {
      return op.emitOpError() << "needs temporary memory of a size known at run time only, " << type
                              << ", which a kernel does not have";
    }
    int64_t bytes =
        llvm::divideCeil(std::max<int64_t>(type.getElementTypeBitWidth(), 8) * type.getNumElements(), 8);
    used += bytes;
    if (used > kTemporaryBytes) {
      return op.emitOpError() << "needs " << used << " bytes of temporary memory, but a kernel has "
                              << kTemporaryBytes;
    }
    rewriter.setInsertionPointToStart(&kernel.getBody().front());
    auto onStack = memref::AllocaOp::create(rewriter, op.getLoc(), type);
    onStack.setAlignment(64);
    rewriter.replaceOp(op, onStack.getResult());
  }
  return success();
}

/// Erases what nothing uses any more, users first.
static void eraseDead(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block))) {
    if (isOpTriviallyDead(&op)) {
      op.erase();
    }
  }
}

LogicalResult ReferenceLowering::run() {
  if (failed(decompose()) || failed(lowerToLinalg())) {
    return failure();
  }
  eraseDead(kernel.getBody().front());
  if (failed(simplify()) || failed(bufferize()) || failed(lowerToLoops())) {
    return failure();
  }
  eraseDead(kernel.getBody().front());
  return placeTemporaries();
}

LogicalResult codegen::emitReferenceLoops(ElementContext &context) {
  return ReferenceLowering(context).run();
}
