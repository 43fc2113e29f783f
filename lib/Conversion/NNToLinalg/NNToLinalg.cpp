// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Conversion/Passes.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "mlir/IR/DialectResourceBlobManager.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;

namespace lathe {
#define GEN_PASS_DEF_NNTOLINALGPASS
#include "lathe/Conversion/Passes.h.inc"

namespace {

/// The type without the sign of its integers.
Type dropSign(Type type) {
  if (auto integer = dyn_cast<IntegerType>(type)) {
    return integer.isSignless() ? type : IntegerType::get(type.getContext(), integer.getWidth());
  }
  if (auto shaped = dyn_cast<ShapedType>(type)) {
    Type element = dropSign(shaped.getElementType());
    return element == shaped.getElementType() ? type : shaped.clone(element);
  }
  return type;
}

Attribute dropSign(Attribute attr) {
  if (auto dense = dyn_cast<DenseElementsAttr>(attr)) {
    return dense.bitcast(dropSign(dense.getElementType()));
  }
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(attr)) {
    return DenseResourceElementsAttr::get(cast<ShapedType>(dropSign(resource.getType())),
                                          resource.getRawHandle());
  }
  return attr;
}

/// The same value seen as a tensor of another type, until all types are changed in place.
Value view(OpBuilder &b, Location loc, Value value, Type type) {
  if (value.getType() == type) {
    return value;
  }
  if (auto cast = value.getDefiningOp<UnrealizedConversionCastOp>()) {
    if (cast.getNumOperands() == 1 && cast.getOperand(0).getType() == type) {
      return cast.getOperand(0);
    }
  }
  return UnrealizedConversionCastOp::create(b, loc, type, value).getResult(0);
}

struct NNToLinalgPass : impl::NNToLinalgPassBase<NNToLinalgPass> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    SmallVector<nn::ReferenceOpInterface> ops;
    function.walk([&](nn::ReferenceOpInterface op) { ops.push_back(op); });

    IRRewriter rewriter(&getContext());
    nn::ShapeTracker tracker(rewriter);
    // All sizes first: they are followed from op to op, which are about to go.
    DenseMap<Value, SmallVector<OpFoldResult>> sizes;
    WalkResult walk = function.walk([&](Operation *op) {
      for (Value result : op->getResults()) {
        if (failed(computeSizes(rewriter, tracker, result, sizes))) {
          op->emitOpError() << "has a result whose size cannot be computed";
          return WalkResult::interrupt();
        }
      }
      return WalkResult::advance();
    });
    if (walk.wasInterrupted()) {
      return signalPassFailure();
    }
    for (nn::ReferenceOpInterface op : ops) {
      if (failed(lower(rewriter, op, sizes))) {
        return signalPassFailure();
      }
    }
    dropAllSigns(function);
  }

  /// The sizes of a tensor: as the tracker knows them, else, where the op is foreign, as `tensor.dim` will
  /// tell.
  static LogicalResult computeSizes(IRRewriter &rewriter, nn::ShapeTracker &tracker, Value tensor,
                                    DenseMap<Value, SmallVector<OpFoldResult>> &sizes) {
    auto type = dyn_cast<RankedTensorType>(tensor.getType());
    if (!type) {
      return success();
    }
    auto known = tracker.getDims(tensor);
    if (succeeded(known)) {
      sizes[tensor] = llvm::to_vector(*known);
      return success();
    }
    if (isa<nn::ShapeOpInterface>(tensor.getDefiningOp())) {
      return failure();
    }
    rewriter.setInsertionPointAfterValue(tensor);
    tracker.setDims(tensor, tensor::getMixedSizes(rewriter, tensor.getLoc(), tensor));
    return success();
  }

  LogicalResult lower(IRRewriter &rewriter, nn::ReferenceOpInterface op,
                      const DenseMap<Value, SmallVector<OpFoldResult>> &sizes) {
    Location loc = op.getLoc();
    rewriter.setInsertionPoint(op);
    SmallVector<Value> operands, inits;
    for (Value operand : op->getOperands()) {
      operands.push_back(view(rewriter, loc, operand, dropSign(operand.getType())));
    }
    for (Value result : op->getResults()) {
      auto type = cast<RankedTensorType>(dropSign(result.getType()));
      Value init = tensor::EmptyOp::create(rewriter, loc, sizes.lookup(result), type.getElementType());
      if (init.getType() != type) {
        init = tensor::CastOp::create(rewriter, loc, type, init);
      }
      inits.push_back(init);
    }
    FailureOr<SmallVector<Value>> results = op.lowerToLinalg(rewriter, operands, inits);
    if (failed(results)) {
      return op->emitOpError() << "has no linalg form; composite ops are decomposed first";
    }
    for (auto [result, old] : llvm::zip_equal(*results, op->getResults())) {
      Type type = dropSign(old.getType());
      if (result.getType() != type) {
        result = tensor::CastOp::create(rewriter, loc, type, result);
      }
      result = view(rewriter, loc, result, old.getType());
    }
    rewriter.replaceOp(op, *results);
    return success();
  }

  /// Changes every type in the function and lets the casts between the old and the new ones vanish.
  static void dropAllSigns(func::FuncOp function) {
    SmallVector<UnrealizedConversionCastOp> casts;
    function.walk([&](Operation *op) {
      for (Value result : op->getResults()) {
        result.setType(dropSign(result.getType()));
      }
      for (Region &region : op->getRegions()) {
        for (Block &block : region) {
          for (Value argument : block.getArguments()) {
            argument.setType(dropSign(argument.getType()));
          }
        }
      }
      if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
        constant.setValueAttr(cast<TypedAttr>(dropSign(constant.getValue())));
      } else if (auto cast = dyn_cast<UnrealizedConversionCastOp>(op)) {
        casts.push_back(cast);
      }
    });
    auto drop = [](ArrayRef<Type> types) {
      return llvm::map_to_vector(types, [](Type type) { return dropSign(type); });
    };
    FunctionType type = function.getFunctionType();
    function.setFunctionType(
        FunctionType::get(function.getContext(), drop(type.getInputs()), drop(type.getResults())));
    for (UnrealizedConversionCastOp cast : casts) {
      if (cast.getNumOperands() == 1 && cast.getNumResults() == 1 &&
          cast.getOperand(0).getType() == cast.getResult(0).getType()) {
        cast.getResult(0).replaceAllUsesWith(cast.getOperand(0));
        cast.erase();
      }
    }
  }
};

} // namespace
} // namespace lathe
