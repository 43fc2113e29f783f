// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Chooses the arrangement of every weight and its place in the artifact's weight section.

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Codegen/Passes.h"
#include "lathe/Dialect/Kernel/IR/Kernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_ASSIGNWEIGHTSPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;
using kernel::KernelDialect;

/// One place where a weight reaches a kernel.
struct KernelUse {
  func::FuncOp kernel;
  unsigned argument;
};

int64_t codegen::getStoredBytes(nn::WeightOp weight) {
  RankedTensorType type = weight.getTensorType();
  int64_t elements = type.getNumElements();
  if (nn::PanelAttr panel = weight.getPanelAttr()) {
    int64_t columns = type.getShape().back();
    elements =
        llvm::alignTo(columns, panel.getWidth()) * llvm::alignTo(elements / columns, panel.getInterleave());
  }
  return elements * getElementBytes(type.getElementType());
}

int64_t codegen::getElementBytes(Type type) { return std::max(1u, type.getIntOrFloatBitWidth() / 8); }

namespace {
class WeightAssigner {
public:
  explicit WeightAssigner(ModuleOp module) : module(module), symbols(module) {}

  void run() {
    collectUses();
    choosePanels();
    placeWeights();
  }

private:
  /// Finds, through layer calls, the kernel arguments that every weight reaches.
  void collectUses() {
    module.walk([&](nn::WeightUseOp use) {
      if (auto weight = symbols.lookup<nn::WeightOp>(use.getWeight())) {
        follow(weight, use.getResult());
      }
    });
  }

  void follow(nn::WeightOp weight, Value value) {
    for (OpOperand &use : value.getUses()) {
      if (auto launch = dyn_cast<kernel::LaunchOp>(use.getOwner())) {
        auto kernel = symbols.lookup<func::FuncOp>(launch.getCallee());
        // Sizes are no weights, so the operand's number is the kernel's argument number.
        uses[weight].push_back({kernel, use.getOperandNumber()});
        readers[{kernel, use.getOperandNumber()}].push_back(weight);
      } else if (auto call = dyn_cast<nn::LayerCallOp>(use.getOwner())) {
        auto layer = symbols.lookup<func::FuncOp>(call.getLayer());
        follow(weight, layer.getArgument(use.getOperandNumber()));
      } else {
        other.insert(weight); // read under another shape: it stays row-major
      }
    }
  }

  /// Whether a kernel argument is the right-hand side of its product and nothing else.
  static bool wantsPanels(func::FuncOp kernel, unsigned argument) {
    BlockArgument bytes = kernel.getArgument(argument);
    if (!bytes.hasOneUse()) {
      return false;
    }
    auto input = dyn_cast<kernel::InputOp>(*bytes.getUsers().begin());
    if (!input || !input.getResult().hasOneUse()) {
      return false;
    }
    OpOperand &use = *input.getResult().use_begin();
    if (auto matMul = dyn_cast<nn::MatMulOp>(use.getOwner())) {
      auto type = cast<RankedTensorType>(input.getType());
      return use.getOperandNumber() == 1 && type.getRank() == 2 && type.getElementType().isF32();
    }
    if (auto conv = dyn_cast<nn::ConvOp>(use.getOwner())) {
      return use.getOperandNumber() == 1 && kernel->getAttrOfType<StringAttr>(KernelDialect::kRootAttr) ==
                                                kernel::stringifyRootKind(kernel::RootKind::MatMul);
    }
    return false;
  }

  void choosePanels() {
    auto panel = nn::PanelAttr::get(module.getContext(), /*width=*/32, /*interleave=*/1);
    // Every launch of the kernel must pass a weight that is used in no other way.
    auto argumentFits = [&](const KernelUse &use) {
      return use.kernel->getAttrOfType<StringAttr>(KernelDialect::kRootAttr) ==
                 kernel::stringifyRootKind(kernel::RootKind::MatMul) &&
             wantsPanels(use.kernel, use.argument) && allLaunchesPassWeights(use);
    };
    llvm::SetVector<Operation *> fit;
    for (auto &[weight, list] : uses) {
      if (!other.contains(weight) && llvm::all_of(list, argumentFits)) {
        fit.insert(weight);
      }
    }
    // A kernel takes panels only if all of its weights can be given so, and the other way round: until
    // nothing changes.
    auto allReadersFit = [&](const KernelUse &use) {
      return llvm::all_of(readers[{use.kernel, use.argument}], [&](Operation *w) { return fit.contains(w); });
    };
    for (bool changed = true; changed;) {
      changed = fit.remove_if([&](Operation *weight) { return !llvm::all_of(uses[weight], allReadersFit); });
    }
    for (Operation *op : fit) {
      cast<nn::WeightOp>(op).setPanelAttr(panel);
      for (KernelUse &use : uses[op]) {
        use.kernel.setArgAttr(use.argument, KernelDialect::kPanelAttr, panel);
      }
    }
  }

  /// Whether all launches of the kernel pass a weight as this argument, and not a computed tensor.
  bool allLaunchesPassWeights(const KernelUse &use) {
    auto [found, inserted] = passesWeights.try_emplace({use.kernel, use.argument}, true);
    if (inserted) {
      module.walk([&](kernel::LaunchOp launch) {
        if (launch.getCallee() == func::FuncOp(use.kernel).getName() &&
            !isWeight(launch.getOperand(use.argument))) {
          passesWeights[{use.kernel, use.argument}] = false;
        }
      });
    }
    return passesWeights[{use.kernel, use.argument}];
  }

  /// A weight, or an argument of a layer that is one in every call.
  bool isWeight(Value value) {
    if (value.getDefiningOp<nn::WeightUseOp>()) {
      return true;
    }
    auto argument = dyn_cast<BlockArgument>(value);
    auto function = argument ? dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()) : func::FuncOp();
    if (!function || !function.isPrivate()) {
      return false;
    }
    bool all = true;
    module.walk([&](nn::LayerCallOp call) {
      if (call.getLayer() == function.getName()) {
        all &= isWeight(call.getOperand(argument.getArgNumber()));
      }
    });
    return all;
  }

  void placeWeights() {
    int64_t offset = 0;
    Builder builder(module.getContext());
    // A weight may be the source of another; those that no kernel reads are not stored.
    for (auto weight : llvm::make_early_inc_range(module.getOps<nn::WeightOp>())) {
      if (!uses.contains(weight) && !other.contains(weight)) {
        continue;
      }
      weight->setAttr(codegen::kOffsetAttr, builder.getI64IntegerAttr(offset));
      offset += llvm::alignTo(codegen::getStoredBytes(weight), codegen::kWeightAlignment);
    }
    module->setAttr(codegen::kWeightBytesAttr, builder.getI64IntegerAttr(offset));
  }

  ModuleOp module;
  SymbolTable symbols;
  llvm::MapVector<Operation *, SmallVector<KernelUse>> uses;
  llvm::DenseMap<std::pair<Operation *, unsigned>, SmallVector<Operation *>> readers;
  llvm::DenseMap<std::pair<Operation *, unsigned>, bool> passesWeights;
  llvm::DenseSet<Operation *> other;
};

struct AssignWeights : codegen::impl::AssignWeightsPassBase<AssignWeights> {
  void runOnOperation() override { WeightAssigner(getOperation()).run(); }
};
} // namespace
