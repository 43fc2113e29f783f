// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Chooses the arrangement of every weight and its place in the artifact's weight section.

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Codegen/Passes.h"
#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MathExtras.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_ASSIGNWEIGHTSPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;
using kernel::KernelDialect;

/// Panels are as wide as the widest tile; groups of a convolution are joined up to the narrowest vector.
static constexpr int64_t kPanelWidth = 32, kJoinedColumns = 8;
/// What a device copies at a time: so many bytes of a column.
static constexpr int64_t kDeviceChunk = 16;
/// Rows of bytes, and of bf16, that are multiplied by one instruction.
static constexpr int64_t kByteGroup = 4, kPairGroup = 2;

/// One place where a weight reaches a kernel.
struct KernelUse {
  func::FuncOp kernel;
  unsigned argument;
};

int64_t codegen::getStoredBytes(nn::WeightOp weight) {
  RankedTensorType type = weight.getTensorType();
  if (auto packed = dyn_cast<pack::PackedTensorType>(weight.getType())) {
    return weight.getPanelAttr() ? packed.getFormat().getPanelLayout(type)->bytes()
                                 : pack::getComponentBytes(packed);
  }
  int64_t elements = type.getNumElements();
  if (nn::PanelAttr panel = weight.getPanelAttr()) {
    elements = panel.getStoredElements(type);
  }
  return elements * getElementBytes(type.getElementType());
}

/// Gives weights their places from `offset` on, in this order, and returns where they end.
static int64_t placeFrom(int64_t offset, ArrayRef<nn::WeightOp> weights) {
  for (nn::WeightOp weight : weights) {
    weight->setAttr(codegen::kOffsetAttr, Builder(weight.getContext()).getI64IntegerAttr(offset));
    offset += llvm::alignTo(codegen::getStoredBytes(weight), codegen::kWeightAlignment);
  }
  return offset;
}

int64_t codegen::placeWeightsBehind(ModuleOp module, ModuleOp other) {
  SymbolTable symbols(module);
  auto isPlaced = [](nn::WeightOp weight) { return weight && weight->hasAttr(kOffsetAttr); };
  auto isShared = [&](nn::WeightOp weight) {
    auto same = symbols.lookup<nn::WeightOp>(weight.getSymName());
    return isPlaced(same) && !weight.getPanelAttr() && same.getType() == weight.getType();
  };
  SmallVector<nn::WeightOp> alone, shared, own;
  for (auto weight : other.getOps<nn::WeightOp>()) {
    if (isPlaced(weight)) {
      (isShared(weight) ? shared : alone).push_back(weight);
    }
  }
  llvm::StringSet<> sharedNames;
  for (nn::WeightOp weight : shared) {
    // They are written in the order of the module.
    weight->moveBefore(other.getBody(), other.getBody()->end());
    sharedNames.insert(weight.getSymName());
  }
  int64_t begin = placeFrom(0, alone), end = placeFrom(begin, shared);
  for (nn::WeightOp weight : shared) {
    symbols.lookup(weight.getSymName())->setAttr(kOffsetAttr, weight->getAttr(kOffsetAttr));
  }
  for (auto weight : module.getOps<nn::WeightOp>()) {
    if (isPlaced(weight) && !sharedNames.contains(weight.getSymName())) {
      own.push_back(weight);
    }
  }
  module->setAttr(kWeightBytesAttr, Builder(module.getContext()).getI64IntegerAttr(placeFrom(end, own)));
  return begin;
}

namespace {
class WeightAssigner {
public:
  WeightAssigner(ModuleOp module, bool onDevice) : module(module), symbols(module), onDevice(onDevice) {}

  void run() {
    collectUses();
    choosePanels();
    placeWeights();
  }

private:
  /// Finds, through layer calls, the kernel arguments that every weight reaches.
  void collectUses() {
    for (auto function : module.getOps<func::FuncOp>()) {
      function.walk([&](nn::WeightUseOp use) {
        if (auto weight = symbols.lookup<nn::WeightOp>(use.getWeight())) {
          follow(weight, use.getResult());
        }
      });
    }
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

  /// The panels in which a kernel's argument is read best: if it is the right-hand side of its product or the
  /// filter of its convolution, and nothing else.
  nn::PanelAttr getWantedPanel(func::FuncOp kernel, unsigned argument) {
    BlockArgument bytes = kernel.getArgument(argument);
    auto input = bytes.hasOneUse() ? dyn_cast<kernel::InputOp>(*bytes.getUsers().begin()) : kernel::InputOp();
    if (!input || !input.getResult().hasOneUse()) {
      return {};
    }
    auto root = kernel->getAttrOfType<StringAttr>(KernelDialect::kRootAttr);
    std::optional<kernel::RootKind> kind =
        root ? kernel::symbolizeRootKind(root.getValue()) : std::optional<kernel::RootKind>();
    OpOperand &use = *input.getResult().use_begin();
    MLIRContext *context = kernel.getContext();
    if (auto decode = dyn_cast<pack::DecodeOp>(use.getOwner())) {
      return getPackedPanel(decode, kind);
    }
    auto type = dyn_cast<RankedTensorType>(input.getType());
    if (!type || llvm::is_contained(type.getShape(), 0)) {
      return {};
    }
    if (use.getOperandNumber() == 1 && isa<nn::IntegerMatMulOp, nn::IntegerConvOp>(use.getOwner())) {
      return getBytePanel(use.getOwner(), kind, type);
    }
    // A device reads matrices of floats as they are.
    if (onDevice) {
      return {};
    }
    if (use.getOperandNumber() != 1 || !(type.getElementType().isF32() || type.getElementType().isBF16())) {
      return {};
    }
    int64_t interleave = type.getElementType().isBF16() ? kPairGroup : 1;
    if (isa<nn::MatMulOp>(use.getOwner()) && kind == kernel::RootKind::MatMul && type.getRank() == 2) {
      return nn::PanelAttr::get(context, kPanelWidth, interleave);
    }
    auto conv = dyn_cast<nn::ConvOp>(use.getOwner());
    if (!conv || (kind != kernel::RootKind::MatMul && kind != kernel::RootKind::Conv) || conv.isDepthwise()) {
      return {};
    }
    // Groups of few filters are done together: zeros are multiplied rather than lanes left empty.
    int64_t groups = conv.getGroups(), filters = type.getShape().back() / groups, joined = 1;
    for (int64_t count = 2; count <= groups && count * filters <= kJoinedColumns; ++count) {
      joined = groups % count == 0 ? count : joined;
    }
    if (interleave > 1) {
      joined = 1;
    }
    return nn::PanelAttr::get(context, kPanelWidth, interleave, /*sums=*/false, groups, joined);
  }

  /// The same for a packed matrix that a product decodes.
  nn::PanelAttr getPackedPanel(pack::DecodeOp decode, std::optional<kernel::RootKind> kind) {
    if (kind != kernel::RootKind::MatMul || !decode->hasOneUse() ||
        decode->use_begin()->getOperandNumber() != 1 || !isa<nn::MatMulOp>(*decode->user_begin())) {
      return {};
    }
    pack::PackedTensorType type = decode.getX().getType();
    std::optional<pack::PanelLayout> layout = type.getFormat().getPanelLayout(type.getTensorType());
    // A device looks up nothing, and has no rows beyond the last one.
    if (onDevice && layout &&
        (!type.getFormat().getTable().empty() || layout->rows % layout->unitRows() != 0)) {
      return {};
    }
    return layout ? nn::PanelAttr::get(decode.getContext(), pack::PanelLayout::kWidth, layout->unitRows())
                  : nn::PanelAttr();
  }

  /// The same for the right-hand side of a product of bytes.
  nn::PanelAttr getBytePanel(Operation *root, std::optional<kernel::RootKind> kind, RankedTensorType type) {
    if (onDevice) {
      bool isMatrix =
          kind == kernel::RootKind::MatMul && (type.getRank() == 2 || isa<nn::IntegerConvOp>(root));
      return isMatrix && type.getNumElements() > 0
                 ? nn::PanelAttr::get(root->getContext(), kPanelWidth, kDeviceChunk)
                 : nn::PanelAttr();
    }
    auto conv = dyn_cast<nn::IntegerConvOp>(root);
    bool fits = conv ? kind == kernel::RootKind::MatMul || kind == kernel::RootKind::Conv
                     : kind == kernel::RootKind::MatMul && type.getRank() == 2;
    if (!fits || type.getNumElements() == 0) {
      return {};
    }
    return nn::PanelAttr::get(root->getContext(), kPanelWidth, kByteGroup, /*sums=*/true,
                              conv ? conv.getGroups() : 1, /*joined=*/1);
  }

  void choosePanels() {
    // Every launch of the kernel must pass a weight that is used in no other way, and all kernels that read
    // it must want the same panels.
    llvm::MapVector<Operation *, nn::PanelAttr> panels;
    llvm::SetVector<Operation *> fit;
    for (auto &[weight, list] : uses) {
      nn::PanelAttr panel = getWantedPanel(list.front().kernel, list.front().argument);
      bool allFit = panel && llvm::all_of(list, [&](const KernelUse &use) {
                      return getWantedPanel(use.kernel, use.argument) == panel && allLaunchesPassWeights(use);
                    });
      if (!other.contains(weight) && allFit) {
        fit.insert(weight);
        panels[weight] = panel;
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
      cast<nn::WeightOp>(op).setPanelAttr(panels[op]);
      for (KernelUse &use : uses[op]) {
        use.kernel.setArgAttr(use.argument, KernelDialect::kPanelAttr, panels[op]);
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
    // Others may be computed from a weight; those that no kernel reads are not stored.
    SmallVector<nn::WeightOp> read;
    for (auto weight : module.getOps<nn::WeightOp>()) {
      if (uses.contains(weight) || other.contains(weight)) {
        read.push_back(weight);
      }
    }
    module->setAttr(codegen::kWeightBytesAttr,
                    Builder(module.getContext()).getI64IntegerAttr(placeFrom(0, read)));
  }

  ModuleOp module;
  SymbolTable symbols;
  bool onDevice;
  llvm::MapVector<Operation *, SmallVector<KernelUse>> uses;
  llvm::DenseMap<std::pair<Operation *, unsigned>, SmallVector<Operation *>> readers;
  llvm::DenseMap<std::pair<Operation *, unsigned>, bool> passesWeights;
  llvm::DenseSet<Operation *> other;
};

struct AssignWeights : codegen::impl::AssignWeightsPassBase<AssignWeights> {
  using AssignWeightsPassBase::AssignWeightsPassBase;

  void runOnOperation() override { WeightAssigner(getOperation(), onDevice).run(); }
};
} // namespace
