// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// A convolution over three spatial dimensions, and which convolutions have kernels.

#ifndef LATHE_LIB_CODEGEN_CPU_CONVPROBLEM_H
#define LATHE_LIB_CODEGEN_CPU_CONVPROBLEM_H

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"

#include <array>

namespace lathe::cpu {

/// One spatial dimension of a convolution.
struct ConvDim {
  mlir::OpFoldResult in, out;
  int64_t window = 1, stride = 1, dilation = 1;
  /// The zeros before the input's first element, and after its last.
  int64_t before = 0, after = 0;
  /// The dimension of the tensors, 0 if none: a dimension of size 1.
  int64_t axis = 0;

  /// How many elements of the input a window spans.
  int64_t reach() const { return (window - 1) * dilation + 1; }
  bool isPadded() const { return before || after; }
};

/// The convolution of a kernel, of floats or of bytes.
class ConvRoot {
public:
  ConvRoot() = default;
  explicit ConvRoot(mlir::Operation *op) : op(op) {}

  explicit operator bool() const { return op; }
  mlir::Operation *operator->() const { return op; }
  mlir::Location getLoc() const { return op->getLoc(); }
  mlir::Value getX() const { return op->getOperand(0); }
  mlir::Value getFilter() const { return op->getOperand(1); }
  mlir::Value getResult() const { return op->getResult(0); }
  bool isOnBytes() const { return llvm::isa<nn::IntegerConvOp>(op); }
  bool isDepthwise() const { return llvm::isa<nn::ConvOp>(op) && llvm::cast<nn::ConvOp>(op).isDepthwise(); }
  /// The zero point of `x`: null for 0.
  mlir::Value getZero() const {
    return isOnBytes() ? llvm::cast<nn::IntegerConvOp>(op).getZero() : mlir::Value();
  }
  llvm::ArrayRef<int64_t> getStrides() const { return getNumbers("strides"); }
  llvm::ArrayRef<int64_t> getPads() const { return getNumbers("pads"); }
  llvm::ArrayRef<int64_t> getDilations() const { return getNumbers("dilations"); }
  int64_t getGroups() const { return op->getAttrOfType<mlir::IntegerAttr>("groups").getInt(); }

private:
  llvm::ArrayRef<int64_t> getNumbers(llvm::StringRef name) const {
    return op->getAttrOfType<mlir::DenseI64ArrayAttr>(name).asArrayRef();
  }

  mlir::Operation *op = nullptr;
};

/// What a kernel with a convolution as its root computes. Made from shapes alone.
struct ConvProblem {
  ConvRoot op;
  kernel::OutputOp output;
  mlir::OpFoldResult batch;
  /// The last three spatial dimensions (depth, height, width) without those of size 1, padded by others in
  /// front.
  std::array<ConvDim, 3> dims;
  int64_t groups = 1;
  /// Channels of the input, and of the result, in each group.
  int64_t channels = 1, filters = 1;
  /// The channels of a pixel as blocks read them: all, up to a multiple of four if they are bytes.
  int64_t storedChannels = 1;

  /// The number of places in a window.
  int64_t places() const { return dims[0].window * dims[1].window * dims[2].window; }
  bool isPadded() const;
  /// An index into `x` or the result.
  llvm::SmallVector<mlir::Value> tensorIndex(mlir::OpBuilder &builder, mlir::Location loc,
                                             mlir::OpFoldResult image,
                                             llvm::ArrayRef<mlir::OpFoldResult> position,
                                             mlir::OpFoldResult channel);
  /// An index into the filter.
  llvm::SmallVector<mlir::Value> filterIndex(mlir::OpBuilder &builder, mlir::Location loc,
                                             llvm::ArrayRef<mlir::OpFoldResult> place,
                                             mlir::OpFoldResult channel, mlir::OpFoldResult column);
};

/// Finds the convolution of a kernel; emits a diagnostic if there is none that can be emitted.
llvm::FailureOr<ConvProblem> analyzeConv(EmitContext &context);

/// The kinds of convolutions, each with an emitter of its own: see getConvEmitter.
llvm::FailureOr<TaskSplit> splitDenseConv(EmitContext &context, ConvProblem &problem);
llvm::LogicalResult emitDenseConv(EmitContext &context, ConvProblem &problem);
llvm::FailureOr<TaskSplit> splitIntegerConv(EmitContext &context, ConvProblem &problem);
llvm::LogicalResult emitIntegerConv(EmitContext &context, ConvProblem &problem);
llvm::FailureOr<TaskSplit> splitDepthwiseConv(EmitContext &context, ConvProblem &problem);
llvm::LogicalResult emitDepthwiseConv(EmitContext &context, ConvProblem &problem);

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_CONVPROBLEM_H
