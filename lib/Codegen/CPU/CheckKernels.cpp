// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CPU/PassTarget.h"
#include "lathe/Codegen/Passes.h"
#include "lathe/Dialect/Kernel/IR/Kernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "llvm/Support/MathExtras.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_CHECKKERNELSPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;

/// A vector of this many times the register's width is still unrolled well: two halves of a conversion.
static constexpr int64_t kMaxRegisters = 2;

/// Whether the code generator keeps values of this type in registers as they are.
static bool fitsRegisters(VectorType type, const cpu::TargetSpec &target) {
  if (type.getRank() != 1 || type.isScalable() || !type.getElementType().isIntOrIndexOrFloat()) {
    return type.getRank() == 0;
  }
  // Masks are one bit a lane in registers of their own; an index is 64 bits.
  int64_t bits = type.getElementType().isIndex() ? 64 : type.getElementTypeBitWidth();
  int64_t lanes = type.getDimSize(0);
  bool isPower = llvm::isPowerOf2_64(lanes);
  return isPower && (bits == 1 || lanes * bits <= kMaxRegisters * int64_t(target.vectorBits));
}

namespace {
struct CheckKernels : codegen::impl::CheckKernelsPassBase<CheckKernels> {
  using CheckKernelsPassBase::CheckKernelsPassBase;

  void runOnOperation() override {
    if (!getOperation()->hasAttr(kernel::KernelDialect::kRootAttr)) {
      return;
    }
    FailureOr<cpu::TargetSpec> spec = cpu::resolvePassTarget(getOperation(), target);
    if (failed(spec)) {
      return signalPassFailure();
    }
    bool failed = false;
    Operation *slow = nullptr;
    getOperation().walk([&](Operation *op) {
      if (isa<memref::AllocOp>(op)) {
        op->emitError() << "a kernel has no heap to allocate from";
        failed = true;
      } else if (isa<memref::AllocaOp>(op) && op->getParentOfType<LoopLikeOpInterface>()) {
        op->emitError() << "a stack allocation in a loop grows the stack with every iteration";
        failed = true;
      } else if (isa<memref::CopyOp>(op)) {
        failed |= report(op) << "a kernel copies a whole buffer";
      } else if (!slow) {
        for (Type type : op->getResultTypes()) {
          auto vector = dyn_cast<VectorType>(type);
          if (vector && !fitsRegisters(vector, *spec)) {
            // One of a kind is enough: they come in swarms.
            slow = op;
            failed |= report(op) << vector << " does not fit the " << spec->vectorBits << "-bit registers of "
                                 << spec->name;
            break;
          }
        }
      }
    });
    if (failed) {
      signalPassFailure();
    }
  }

private:
  /// An error that fails the pass when `strict`, else a warning. Converts to whether it fails.
  struct Finding {
    InFlightDiagnostic diagnostic;
    bool fails;
    template <typename T>
    Finding &&operator<<(T &&value) && {
      diagnostic << std::forward<T>(value);
      return std::move(*this);
    }
    operator bool() const { return fails; }
  };

  Finding report(Operation *op) { return {strict ? op->emitError() : op->emitWarning(), strict}; }
};
} // namespace
