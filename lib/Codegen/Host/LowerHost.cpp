// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Turns host functions over tensors into functions over pointers: `@main` becomes the artifact's run and
/// layout functions, a layer becomes a function that its instances call with their weights.

#include "KernelEntries.h"
#include "lathe/Codegen/Host/ArenaPlan.h"
#include "lathe/Codegen/Host/HostABI.h"
#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Codegen/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/StringMap.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_LOWERHOSTPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

namespace {

/// Indices of lathe_call's fields, all of them eight bytes.
enum CallField { Symbols, Slots, Inputs, Outputs, Arena, Weights, ParallelFor, Context, Workers };

/// What all functions of a module share.
struct ModuleState {
  ModuleOp module;
  SymbolTable symbols;
  llvm::StringMap<int64_t> symbolIndex; // of lathe_call.symbols
  llvm::StringMap<int64_t> kernelIndex; // of lathe_table.kernels
  int64_t slotCount = 0;

  explicit ModuleState(ModuleOp module) : module(module), symbols(module) {}
};

/// Lowers one host function.
class HostFunction {
public:
  HostFunction(ModuleState &state, func::FuncOp source)
      : state(state), source(source), builder(source.getContext()), shapes(builder),
        isMain(source.getName() == "main"), name(isMain ? kRunName.str() : (source.getName() + ".run").str()),
        layoutName(isMain ? kLayoutName.str() : (source.getName() + ".layout").str()) {}

  LogicalResult lower() {
    FailureOr<ArenaPlan> planned = ArenaPlan::create(source, shapes, state.symbols);
    if (failed(planned)) {
      return failure();
    }
    plan = std::move(*planned);
    firstSlot = state.slotCount;
    state.slotCount += plan.getSlots().size();
    return failure(failed(emitRun()) || failed(emitLayout()));
  }

private:
  LogicalResult emitRun() {
    Emit emit{builder, source.getLoc()};
    SmallVector<Type> types(isMain ? 1 : 2 + source.getNumArguments() + source.getNumResults(), emit.ptr());
    builder.setInsertionPoint(source);
    auto function = func::FuncOp::create(builder, source.getLoc(), name,
                                         builder.getFunctionType(types, builder.getI32Type()));
    function.setVisibility(isMain ? SymbolTable::Visibility::Public : SymbolTable::Visibility::Private);
    Block *entry = function.addEntryBlock();
    faultBlock = builder.createBlock(&function.getBody(), function.getBody().end(), builder.getI32Type(),
                                     source.getLoc());
    func::ReturnOp::create(builder, source.getLoc(), faultBlock->getArgument(0));

    builder.setInsertionPointToStart(entry);
    call = entry->getArgument(0);
    bindArguments(emit, entry);
    argumentBuffer = LLVM::AllocaOp::create(builder, source.getLoc(), emit.ptr(), emit.i64(),
                                            emit.constant(std::max<int64_t>(maxArguments(), 1)));
    parallelFor = emit.load(emit.ptr(), call, ParallelFor);
    context = emit.load(emit.ptr(), call, Context);

    for (Operation &op : source.getBody().front()) {
      if (failed(emitOp(op))) {
        return failure();
      }
    }
    return success();
  }

  /// Pointers of all arguments and results.
  void bindArguments(Emit &emit, Block *entry) {
    Value inputs = isMain ? emit.load(emit.ptr(), call, Inputs) : Value();
    Value outputs = isMain ? emit.load(emit.ptr(), call, Outputs) : Value();
    unsigned count = source.getNumArguments();
    for (BlockArgument argument : source.getArguments()) {
      unsigned number = argument.getArgNumber();
      pointers[argument] =
          isMain ? emit.load(emit.ptr(), inputs, number) : Value(entry->getArgument(2 + number));
    }
    for (unsigned i = 0; i < source.getNumResults(); ++i) {
      results.push_back(isMain ? emit.load(emit.ptr(), outputs, i)
                               : Value(entry->getArgument(2 + count + i)));
    }
    arena = isMain ? emit.load(emit.ptr(), call, Arena) : Value(entry->getArgument(1));
    slots = emit.load(emit.ptr(), call, Slots);
    weights = emit.load(emit.ptr(), call, Weights);
    symbolValues = emit.load(emit.ptr(), call, Symbols);
  }

  int64_t maxArguments() {
    int64_t most = 0;
    source.walk([&](kernel::LaunchOp launch) {
      most = std::max<int64_t>(most, launch.getNumOperands() + launch.getNumResults());
    });
    return most;
  }

  LogicalResult emitOp(Operation &op) {
    Emit emit{builder, op.getLoc()};
    if (auto symbol = dyn_cast<nn::DimSymbolOp>(op)) {
      auto found = state.symbolIndex.find(symbol.getName());
      if (found == state.symbolIndex.end()) {
        return op.emitError() << "symbol '" << symbol.getName() << "' is the size of no input";
      }
      mapping.map(symbol.getResult(), emit.toIndex(emit.load(emit.i64(), symbolValues, found->second)));
      return success();
    }
    if (isa<nn::WeightUseOp, nn::ReshapeOp>(op)) {
      return success(); // found where they are used
    }
    if (auto launch = dyn_cast<kernel::LaunchOp>(op)) {
      return emitLaunch(launch);
    }
    if (auto layer = dyn_cast<nn::LayerCallOp>(op)) {
      return emitLayerCall(layer);
    }
    if (isa<func::ReturnOp>(op)) {
      Value zero =
          LLVM::ConstantOp::create(builder, op.getLoc(), builder.getI32Type(), builder.getI32IntegerAttr(0));
      func::ReturnOp::create(builder, op.getLoc(), zero);
      return success();
    }
    if (isa<arith::ArithDialect>(op.getDialect())) {
      if (!llvm::any_of(op.getResultTypes(), llvm::IsaPred<ShapedType>)) {
        builder.clone(op, mapping);
      }
      return success();
    }
    return op.emitError() << "has no place in a host program";
  }

  /// The address of a tensor.
  FailureOr<Value> getPointer(Value tensor) {
    Emit emit{builder, tensor.getLoc()};
    Value root = ArenaPlan::getRoot(tensor);
    if (int64_t result = plan.getResult(root); result >= 0) {
      return results[result];
    }
    if (int64_t slot = plan.getSlot(root); slot >= 0) {
      return slotPointer(emit, slot);
    }
    if (auto use = root.getDefiningOp<nn::WeightUseOp>()) {
      auto weight = state.symbols.lookup<nn::WeightOp>(use.getWeight());
      auto offset = weight ? weight->getAttrOfType<IntegerAttr>(kOffsetAttr) : IntegerAttr();
      if (!offset) {
        return emitError(tensor.getLoc()) << "weight @" << use.getWeight() << " has no place in the artifact";
      }
      return emit.bytesAt(weights, emit.constant(offset.getInt()));
    }
    if (Value pointer = pointers.lookup(root)) {
      return pointer;
    }
    return emitError(tensor.getLoc()) << "this tensor is computed by no kernel";
  }

  Value slotPointer(Emit &emit, int64_t slot) {
    return emit.bytesAt(arena, emit.load(emit.i64(), slots, firstSlot + slot));
  }

  LogicalResult emitLaunch(kernel::LaunchOp launch) {
    Emit emit{builder, launch.getLoc()};
    int64_t position = 0;
    for (Value tensor : llvm::concat<Value>(SmallVector<Value>(launch.getInputs()),
                                            SmallVector<Value>(launch.getResults()))) {
      FailureOr<Value> pointer = getPointer(tensor);
      if (failed(pointer)) {
        return failure();
      }
      emit.store(*pointer, argumentBuffer, position++);
    }
    SmallVector<Value> sizes;
    for (Value size : launch.getSizes()) {
      sizes.push_back(mapping.lookup(size));
      emit.store(emit.fromIndex(sizes.back()), argumentBuffer, position++);
    }
    StringRef callee = launch.getCallee();
    Type index = builder.getIndexType();
    auto tasks = func::CallOp::create(builder, launch.getLoc(), (callee + ".tasks").str(),
                                      TypeRange{index, index}, sizes);
    Value entry = LLVM::AddressOfOp::create(builder, launch.getLoc(), emit.ptr(), (callee + ".entry").str());
    int64_t number = state.kernelIndex.lookup(callee);
    Type i32 = builder.getI32Type();
    auto number32 =
        LLVM::ConstantOp::create(builder, launch.getLoc(), i32, builder.getI32IntegerAttr(number));
    auto type =
        LLVM::LLVMFunctionType::get(i32, {emit.ptr(), i32, emit.ptr(), emit.ptr(), emit.i64(), emit.i64()});
    Value fault = LLVM::CallOp::create(builder, launch.getLoc(), type,
                                       ValueRange{parallelFor, context, number32, entry, argumentBuffer,
                                                  emit.fromIndex(tasks.getResult(0)),
                                                  emit.fromIndex(tasks.getResult(1))})
                      .getResult();
    auto shifted =
        LLVM::ConstantOp::create(builder, launch.getLoc(), i32, builder.getI32IntegerAttr(number << 8));
    branchOnFault(launch.getLoc(), fault, LLVM::OrOp::create(builder, launch.getLoc(), fault, shifted));
    return success();
  }

  LogicalResult emitLayerCall(nn::LayerCallOp layer) {
    Emit emit{builder, layer.getLoc()};
    SmallVector<Value> operands{call, slotPointer(emit, plan.getScratchSlot(layer))};
    for (Value tensor : llvm::concat<Value>(SmallVector<Value>(layer.getOperands()),
                                            SmallVector<Value>(layer.getResults()))) {
      FailureOr<Value> pointer = getPointer(tensor);
      if (failed(pointer)) {
        return failure();
      }
      operands.push_back(*pointer);
    }
    Value fault = func::CallOp::create(builder, layer.getLoc(), (layer.getLayer() + ".run").str(),
                                       TypeRange{builder.getI32Type()}, operands)
                      .getResult(0);
    branchOnFault(layer.getLoc(), fault, fault);
    return success();
  }

  /// Leaves the function with `code` if `fault` is not 0.
  void branchOnFault(Location loc, Value fault, Value code) {
    Value zero = LLVM::ConstantOp::create(builder, loc, builder.getI32Type(), builder.getI32IntegerAttr(0));
    Value bad = LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::ne, fault, zero);
    Block *current = builder.getInsertionBlock();
    Block *next = builder.createBlock(faultBlock);
    builder.setInsertionPointToEnd(current);
    cf::CondBranchOp::create(builder, loc, bad, faultBlock, ValueRange{code}, next, ValueRange{});
    builder.setInsertionPointToStart(next);
  }

  /// The layout function: of `@main` as in the ABI; of a layer `(symbols, slots) -> bytes`.
  LogicalResult emitLayout() {
    Location loc = source.getLoc();
    // Before anything is cloned: asking for the shapes of results may still build arithmetic in the source.
    SmallVector<SmallVector<OpFoldResult>> outputs;
    for (Value operand : source.getBody().front().getTerminator()->getOperands()) {
      FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(operand);
      if (failed(dims)) {
        return failure();
      }
      outputs.emplace_back(*dims);
    }
    builder.setInsertionPoint(source);
    Emit emit{builder, loc};
    SmallVector<Type> types;
    if (isMain) {
      types = {emit.ptr(), emit.i64(), emit.ptr(), emit.ptr(), emit.ptr()};
    } else {
      types = {emit.ptr(), emit.ptr()};
    }
    auto function = func::FuncOp::create(
        builder, loc, layoutName,
        builder.getFunctionType(types, isMain ? TypeRange{builder.getI32Type()} : TypeRange{emit.i64()}));
    function.setVisibility(isMain ? SymbolTable::Visibility::Public : SymbolTable::Visibility::Private);
    builder.setInsertionPointToStart(function.addEntryBlock());
    Value symbolArray = function.getArgument(0), slotArray = function.getArgument(isMain ? 2 : 1);

    IRMapping sizes;
    cloneArithmetic(outputs, symbolArray, sizes);
    Value total = emit.constant(0);
    for (auto [position, slot] : llvm::enumerate(plan.getSlots())) {
      emit.store(total, slotArray, firstSlot + position);
      Value bytes;
      for (const Tenant &tenant : slot.tenants) {
        Value size = tenantBytes(emit, tenant, sizes, symbolArray, slotArray);
        bytes = bytes ? Value(LLVM::UMaxOp::create(builder, loc, bytes, size)) : size;
      }
      bytes = LLVM::AddOp::create(builder, loc, bytes, emit.constant(kSlotAlignment - 1));
      bytes = LLVM::AndOp::create(builder, loc, bytes, emit.constant(-kSlotAlignment));
      total = emit.addBytes(total, bytes);
    }
    if (!isMain) {
      func::ReturnOp::create(builder, loc, total);
      return success();
    }
    int64_t position = 0;
    for (ArrayRef<OpFoldResult> dims : outputs) {
      for (OpFoldResult dim : dims) {
        std::optional<int64_t> size = getConstantIntValue(dim);
        Value value = size ? emit.constant(*size) : emit.fromIndex(sizes.lookup(cast<Value>(dim)));
        emit.store(value, function.getArgument(3), position++);
      }
    }
    emit.store(total, function.getArgument(4), 0);
    Value zero = LLVM::ConstantOp::create(builder, loc, builder.getI32Type(), builder.getI32IntegerAttr(0));
    func::ReturnOp::create(builder, loc, zero);
    return success();
  }

  /// Copies the index arithmetic that slots and results need, and loads the symbols it starts from.
  void cloneArithmetic(ArrayRef<SmallVector<OpFoldResult>> outputs, Value symbolArray, IRMapping &sizes) {
    llvm::DenseSet<Operation *> needed;
    SmallVector<Value> worklist;
    for (const Slot &slot : plan.getSlots()) {
      for (const Tenant &tenant : slot.tenants) {
        worklist.append(tenant.sizes);
      }
    }
    for (ArrayRef<OpFoldResult> dims : outputs) {
      for (OpFoldResult dim : dims) {
        if (auto value = dyn_cast<Value>(dim)) {
          worklist.push_back(value);
        }
      }
    }
    while (!worklist.empty()) {
      Operation *op = worklist.pop_back_val().getDefiningOp();
      if (op && needed.insert(op).second) {
        llvm::append_range(worklist, op->getOperands());
      }
    }
    for (Operation &op : source.getBody().front()) {
      if (!needed.contains(&op)) {
        continue;
      }
      if (auto symbol = dyn_cast<nn::DimSymbolOp>(op)) {
        Emit emit{builder, op.getLoc()};
        int64_t index = state.symbolIndex.lookup(symbol.getName());
        sizes.map(symbol.getResult(), emit.toIndex(emit.load(emit.i64(), symbolArray, index)));
      } else {
        builder.clone(op, sizes);
      }
    }
  }

  Value tenantBytes(Emit &emit, const Tenant &tenant, IRMapping &sizes, Value symbolArray, Value slotArray) {
    if (tenant.layer) {
      return func::CallOp::create(builder, emit.loc, (func::FuncOp(tenant.layer).getName() + ".layout").str(),
                                  TypeRange{emit.i64()}, ValueRange{symbolArray, slotArray})
          .getResult(0);
    }
    Value bytes = emit.constant(tenant.factor);
    for (Value size : tenant.sizes) {
      bytes = emit.multiplyBytes(bytes, emit.fromIndex(sizes.lookup(size)));
    }
    return bytes;
  }

  ModuleState &state;
  func::FuncOp source;
  OpBuilder builder;
  nn::ShapeTracker shapes;
  bool isMain;
  std::string name, layoutName;
  ArenaPlan plan;
  int64_t firstSlot = 0;

  Value call, arena, slots, weights, symbolValues, argumentBuffer, parallelFor, context;
  SmallVector<Value> results;
  llvm::DenseMap<Value, Value> pointers;
  IRMapping mapping;
  Block *faultBlock = nullptr;
};

struct LowerHost : codegen::impl::LowerHostPassBase<LowerHost> {
  void runOnOperation() override {
    ModuleState state(getOperation());
    auto main = state.symbols.lookup<func::FuncOp>("main");
    if (!main) {
      getOperation().emitError("has no function @main");
      return signalPassFailure();
    }
    for (auto [index, symbol] : llvm::enumerate(collectSymbols(main))) {
      state.symbolIndex[symbol.name] = index;
    }
    SmallVector<func::FuncOp> kernels = collectKernels(getOperation());
    for (auto [index, kernel] : llvm::enumerate(kernels)) {
      if (kernel.getNumResults() != 1) {
        kernel.emitError() << "kernel @" << kernel.getName() << " is not emitted yet: it returns no fault";
        return signalPassFailure();
      }
      state.kernelIndex[kernel.getName()] = index;
    }
    SmallVector<func::FuncOp> hosts;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      bool isKernel = function->hasAttr(kernel::KernelDialect::kRootAttr) ||
                      function.getName().ends_with(".tasks") || function.getName().ends_with(kCostSuffix);
      if (!isKernel && !function.isExternal()) {
        hosts.push_back(function);
      }
    }
    for (func::FuncOp kernel : kernels) {
      emitEntry(kernel);
      if (auto costs = state.symbols.lookup<func::FuncOp>((kernel.getName() + kCostSuffix).str())) {
        emitCostEntry(kernel, costs);
      }
    }
    for (func::FuncOp host : hosts) {
      if (failed(HostFunction(state, host).lower())) {
        return signalPassFailure();
      }
    }
    for (func::FuncOp host : hosts) {
      host.erase();
    }
    for (auto weight : llvm::make_early_inc_range(getOperation().getOps<nn::WeightOp>())) {
      weight.erase();
    }
    Builder builder(&getContext());
    getOperation()->setAttr(kSlotCountAttr, builder.getI64IntegerAttr(state.slotCount));
  }
};

} // namespace
