// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Counts what an execution of a kernel takes at least, as formulas of its sizes, for profiles.

#include "lathe/Codegen/Host/HostABI.h"
#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Codegen/Passes.h"
#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_COUNTKERNELCOSTSPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;
using kernel::KernelDialect;

namespace {

/// Counts on a copy of one kernel, in front of its terminator.
class CostCounter {
public:
  explicit CostCounter(func::FuncOp kernel)
      : kernel(kernel), builder(kernel.getBody().front().getTerminator()), shapes(builder) {}

  /// Operations of all ops, or a null value if an op's are not known.
  FailureOr<Value> countFlops() {
    Value sum = constant(0);
    for (Operation &op : bodyOps()) {
      FailureOr<Value> own = countFlops(op);
      if (failed(own)) {
        return failure();
      }
      if (!*own) {
        return Value();
      }
      sum = add(sum, *own);
    }
    return sum;
  }

  /// Bytes of the inputs that are among `arguments`, each once, and, with `results`, of all results.
  FailureOr<Value> countBytes(const llvm::BitVector &arguments, bool results) {
    Value sum = constant(0);
    for (Operation &op : bodyOps()) {
      FailureOr<Value> own = constant(0);
      if (auto input = dyn_cast<kernel::InputOp>(op)) {
        if (arguments.test(cast<BlockArgument>(input.getBytes()).getArgNumber())) {
          own = countRead(input.getResult());
        }
      } else if (auto output = dyn_cast<kernel::OutputOp>(op); output && results) {
        own = perElement(elementBytes(output.getValue()), output.getValue());
      }
      if (failed(own)) {
        return failure();
      }
      sum = add(sum, *own);
    }
    return sum;
  }

private:
  /// The ops of the tensor form, not the arithmetic that counting adds.
  SmallVector<std::reference_wrapper<Operation>> bodyOps() {
    SmallVector<std::reference_wrapper<Operation>> ops;
    for (Operation &op : kernel.getBody().front()) {
      if (isa<nn::NNDialect, KernelDialect>(op.getDialect())) {
        ops.push_back(op);
      }
    }
    return ops;
  }

  Value constant(int64_t value) { return arith::ConstantIndexOp::create(builder, kernel.getLoc(), value); }
  Value add(Value lhs, Value rhs) { return builder.createOrFold<arith::AddIOp>(kernel.getLoc(), lhs, rhs); }
  Value mul(Value lhs, Value rhs) { return builder.createOrFold<arith::MulIOp>(kernel.getLoc(), lhs, rhs); }

  static Type elementType(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }
  static int64_t elementBytes(Value tensor) { return getElementBytes(elementType(tensor)); }

  FailureOr<Value> countElements(Value tensor) {
    FailureOr<SmallVector<Value>> sizes = shapes.getDynamicSizes(tensor);
    if (failed(sizes)) {
      return failure();
    }
    Value product = constant(1);
    for (Value size : *sizes) {
      product = mul(product, size);
    }
    return product;
  }

  /// `factor` for each element of `tensor`, and for each index of dimension `dim` of `over`, if any.
  FailureOr<Value> perElement(int64_t factor, Value tensor, Value over = {}, int64_t dim = 0) {
    FailureOr<Value> elements = countElements(tensor);
    if (failed(elements)) {
      return failure();
    }
    Value product = mul(*elements, constant(factor));
    if (over) {
      FailureOr<SmallVector<Value>> sizes = shapes.getDynamicSizes(over);
      if (failed(sizes)) {
        return failure();
      }
      product = mul(product, (*sizes)[dim]);
    }
    return product;
  }

  /// The sums of products of a convolution: 2 for each result, place in the window and channel of its group.
  template <typename OpTy>
  FailureOr<Value> countConv(OpTy conv) {
    FailureOr<Value> product = perElement(2, conv.getResult());
    FailureOr<SmallVector<Value>> filter = shapes.getDynamicSizes(conv.getFilter());
    if (failed(product) || failed(filter)) {
      return failure();
    }
    for (Value size : ArrayRef(*filter).drop_back()) { // window and channels
      product = mul(*product, size);
    }
    return product;
  }

  /// Both products of attention: 2 B H Sq Sk (D + Dv).
  FailureOr<Value> countAttention(nn::AttentionOp attention) {
    FailureOr<Value> logits = perElement(2, attention.getQ(), attention.getK(), /*dim=*/1);
    FailureOr<Value> values = perElement(2, attention.getResult(), attention.getK(), /*dim=*/1);
    if (failed(logits) || failed(values)) {
      return failure();
    }
    return add(*logits, *values);
  }

  /// How many elements of a column are stored, on average, of a matrix in blocks.
  static std::optional<int64_t> getBlockDepth(Value matrix) {
    auto decode = matrix.getDefiningOp<pack::DecodeOp>();
    if (!decode) {
      return std::nullopt;
    }
    std::optional<pack::BlockLayout> layout =
        decode.getX().getType().getFormat().getBlockLayout(cast<RankedTensorType>(matrix.getType()));
    if (!layout) {
      return std::nullopt;
    }
    return llvm::divideCeil(layout->count * layout->blockElements(), layout->columns);
  }

  /// The operations of one op; null if they are not known.
  FailureOr<Value> countFlops(Operation &op) {
    using Count = FailureOr<Value>;
    return llvm::TypeSwitch<Operation *, Count>(&op)
        .Case<nn::MatMulOp, nn::IntegerMatMulOp>([&](auto product) -> Count {
          if (std::optional<int64_t> depth = getBlockDepth(product.getRhs())) {
            return perElement(2 * *depth, product.getResult());
          }
          auto rank = cast<RankedTensorType>(product.getLhs().getType()).getRank();
          return perElement(2, product.getResult(), product.getLhs(), rank - 1);
        })
        .Case<nn::ConvOp, nn::IntegerConvOp>([&](auto conv) -> Count { return countConv(conv); })
        .Case([&](nn::AttentionOp attention) -> Count { return countAttention(attention); })
        // Conversions, comparisons and choices move data.
        .Case<nn::BitCastOp, nn::CastOp, nn::CompareOp, nn::SelectOp>(
            [&](Operation *) -> Count { return constant(0); })
        .Case([&](nn::PointwiseOpInterface) -> Count {
          return isa<FloatType>(elementType(op.getResult(0))) ? perElement(1, op.getResult(0)) : constant(0);
        })
        .Case([&](nn::ReduceOp reduce) -> Count {
          int64_t each = reduce.getKind() == nn::ReduceKind::SumSquare ? 2 : 1;
          return isa<FloatType>(elementType(reduce.getX())) ? perElement(each, reduce.getX()) : constant(0);
        })
        // The maximum, its subtraction, the exponential, the sum, the division.
        .Case([&](nn::SoftmaxOp softmax) -> Count { return perElement(5, softmax.getX()); })
        // The mean, its subtraction, the sum of squares (2), the two products and the sum of the result.
        .Case([&](nn::LayerNormOp norm) -> Count { return perElement(norm.getBias() ? 7 : 6, norm.getX()); })
        // The sum of squares (2), the two products of the result.
        .Case([&](nn::RMSNormOp norm) -> Count { return perElement(4, norm.getX()); })
        .Case<nn::ArgReduceOp, nn::ReshapeOp, nn::TransposeOp, nn::ExpandOp, nn::SliceOp, nn::ConcatOp,
              nn::GatherOp, nn::GatherNDOp, nn::RangeOp, nn::FromScalarsOp, kernel::InputOp,
              kernel::OutputOp>([&](Operation *) -> Count { return constant(0); })
        .Default([](Operation *) -> Count { return Value(); });
  }

  /// The bytes of an input that are read: all, unless every use picks some of them; then what is picked.
  FailureOr<Value> countRead(Value input) {
    if (auto packed = dyn_cast<pack::PackedTensorType>(input.getType())) {
      return constant(pack::getComponentBytes(packed));
    }
    FailureOr<Value> all = countElements(input);
    if (failed(all)) {
      return failure();
    }
    Value picked = constant(0);
    SmallVector<Value> views{input};
    while (!views.empty()) {
      Value view = views.pop_back_val();
      for (OpOperand &use : view.getUses()) {
        Operation *user = use.getOwner();
        if (isa<nn::ReshapeOp, nn::TransposeOp>(user)) {
          views.push_back(user->getResult(0));
          continue;
        }
        bool picks = isa<nn::GatherOp, nn::GatherNDOp, nn::SliceOp>(user) && use.getOperandNumber() == 0;
        FailureOr<Value> own = picks ? countElements(user->getResult(0)) : all;
        if (failed(own)) {
          return failure();
        }
        picked = add(picked, *own);
      }
    }
    Value read = builder.createOrFold<arith::MinUIOp>(kernel.getLoc(), picked, *all);
    return mul(read, constant(elementBytes(input)));
  }

  func::FuncOp kernel;
  OpBuilder builder;
  nn::ShapeTracker shapes;
};

/// Finds the arguments of kernels that are weights at every launch.
class WeightArguments {
public:
  explicit WeightArguments(ModuleOp module) {
    module.walk([&](nn::LayerCallOp call) { calls[call.getLayer()].push_back(call); });
    module.walk([&](kernel::LaunchOp launch) {
      auto [found, isNew] = weights.try_emplace(launch.getCallee(), launch.getInputs().size(), true);
      for (auto [position, input] : llvm::enumerate(launch.getInputs())) {
        if (!isWeight(input)) {
          found->second.reset(position);
        }
      }
    });
  }

  /// One bit for each input of `kernel`.
  llvm::BitVector get(func::FuncOp kernel) const { return weights.lookup(kernel.getName()); }

private:
  bool isWeight(Value tensor) const {
    while (auto reshape = tensor.getDefiningOp<nn::ReshapeOp>()) {
      tensor = reshape.getX();
    }
    auto argument = dyn_cast<BlockArgument>(tensor);
    if (!argument) {
      return tensor.getDefiningOp<nn::WeightUseOp>() != nullptr;
    }
    // Of a layer; layers call none. The arguments of @main are no weights, nor are carried tensors of loops.
    auto function = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
    if (!function) {
      return false;
    }
    auto own = calls.find(function.getName());
    return own != calls.end() && llvm::all_of(own->second, [&](nn::LayerCallOp call) {
             Value operand = call->getOperand(argument.getArgNumber());
             return !isa<BlockArgument>(operand) && isWeight(operand);
           });
  }

  llvm::StringMap<SmallVector<nn::LayerCallOp>> calls;
  llvm::StringMap<llvm::BitVector> weights;
};

/// `@<kernel>.cost(sizes) -> (flops, bytes, bytes of weights)`, computed on a copy of the kernel of which
/// only the sizes stay.
LogicalResult emitCosts(func::FuncOp kernel, llvm::BitVector weights) {
  func::FuncOp costs = kernel.clone();
  costs.setName((kernel.getName() + kCostSuffix).str());
  costs.setVisibility(SymbolTable::Visibility::Private);
  costs->removeAttr(KernelDialect::kRootAttr);
  kernel->getBlock()->getOperations().insertAfter(kernel->getIterator(), costs);

  Block &body = costs.getBody().front();
  Operation *terminator = body.getTerminator();
  unsigned arguments = costs.getNumArguments();
  weights.resize(arguments); // of a kernel without launches, none
  CostCounter counter(costs);
  FailureOr<Value> counts[] = {counter.countFlops(),
                               counter.countBytes(llvm::BitVector(arguments, true), /*results=*/true),
                               counter.countBytes(weights, /*results=*/false)};
  SmallVector<Value> results;
  for (FailureOr<Value> &count : counts) {
    if (failed(count)) {
      return kernel.emitError("has sizes that its arguments do not give");
    }
    results.push_back(*count);
  }
  OpBuilder builder(terminator);
  if (!results.front()) {
    results.front() = arith::ConstantIndexOp::create(builder, costs.getLoc(), kUnknownCost);
  }
  func::ReturnOp::create(builder, costs.getLoc(), results);
  terminator->erase();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body))) {
    if (op.use_empty() && !op.hasTrait<OpTrait::IsTerminator>()) {
      op.erase();
    }
  }
  llvm::BitVector buffers(arguments);
  for (auto [position, type] : llvm::enumerate(costs.getArgumentTypes())) {
    buffers[position] = isa<MemRefType>(type);
  }
  if (failed(costs.eraseArguments(buffers))) {
    return failure();
  }
  costs.setType(builder.getFunctionType(costs.getArgumentTypes(),
                                        SmallVector<Type>(results.size(), builder.getIndexType())));
  return success();
}

struct CountKernelCosts : codegen::impl::CountKernelCostsPassBase<CountKernelCosts> {
  void runOnOperation() override {
    WeightArguments weights(getOperation());
    for (func::FuncOp kernel : collectKernels(getOperation())) {
      if (failed(emitCosts(kernel, weights.get(kernel)))) {
        return signalPassFailure();
      }
    }
  }
};

} // namespace
