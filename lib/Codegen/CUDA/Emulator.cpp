// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Device code as code of the processor: what tests run where there is no device.

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/CUDA/Images.h"
#include "lathe/Support/Error.h"

#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/IntrinsicsNVPTX.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/ReplaceConstant.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace llvm;
using namespace lathe;

namespace {
/// Pointers without address spaces.
class FlatTypes : public ValueMapTypeRemapper {
public:
  Type *remapType(Type *type) override {
    if (auto *pointer = dyn_cast<PointerType>(type)) {
      return PointerType::get(pointer->getContext(), 0);
    }
    if (auto *vector = dyn_cast<VectorType>(type)) {
      return VectorType::get(remapType(vector->getElementType()), vector->getElementCount());
    }
    if (auto *array = dyn_cast<ArrayType>(type)) {
      return ArrayType::get(remapType(array->getElementType()), array->getNumElements());
    }
    if (auto *structure = dyn_cast<StructType>(type); structure && structure->isLiteral()) {
      SmallVector<Type *> elements;
      for (Type *element : structure->elements()) {
        elements.push_back(remapType(element));
      }
      return StructType::get(structure->getContext(), elements, structure->isPacked());
    }
    if (auto *function = dyn_cast<FunctionType>(type)) {
      SmallVector<Type *> parameters;
      for (Type *parameter : function->params()) {
        parameters.push_back(remapType(parameter));
      }
      return FunctionType::get(remapType(function->getReturnType()), parameters, function->isVarArg());
    }
    return type;
  }
};

class EmulatorMaker {
public:
  explicit EmulatorMaker(const Module &device) : device(CloneModule(device)), context(device.getContext()) {}

  Expected<std::unique_ptr<Module>> run() {
    if (Error error = replaceIntrinsics()) {
      return error;
    }
    replaceRounding();
    replaceSharedMemory();
    flatten();
    return std::move(flat);
  }

private:
  FunctionCallee getFunction(StringRef name, Type *result, ArrayRef<Type *> parameters) {
    return device->getOrInsertFunction((cuda::kEmulatorPrefix + name).str(),
                                       FunctionType::get(result, parameters, /*isVarArg=*/false));
  }

  /// The call of the emulator that stands for a call of a device's intrinsic; null if there is none.
  Value *replace(IRBuilder<> &builder, IntrinsicInst &call) {
    Type *i32 = builder.getInt32Ty();
    auto callOf = [&](StringRef name, Type *result, ArrayRef<Value *> arguments) -> Value * {
      SmallVector<Type *> types;
      for (Value *argument : arguments) {
        types.push_back(argument->getType());
      }
      return builder.CreateCall(getFunction(name, result, types), arguments);
    };
    auto shuffle = [&](unsigned kind) -> Value * {
      return callOf("shuffle", i32,
                    {builder.getInt32(kind), call.getArgOperand(0), call.getArgOperand(1),
                     call.getArgOperand(2), call.getArgOperand(3)});
    };
    switch (call.getIntrinsicID()) {
    case Intrinsic::nvvm_read_ptx_sreg_tid_x:
      return callOf("thread_x", i32, {});
    case Intrinsic::nvvm_read_ptx_sreg_ctaid_x:
      return callOf("block_x", i32, {});
    case Intrinsic::nvvm_read_ptx_sreg_ntid_x:
      return callOf("block_size_x", i32, {});
    case Intrinsic::nvvm_read_ptx_sreg_nctaid_x:
      return callOf("grid_x", i32, {});
    case Intrinsic::nvvm_barrier_cta_sync_aligned_all:
      return callOf("barrier", builder.getVoidTy(), {});
    case Intrinsic::nvvm_ex2_approx_ftz:
      return callOf("exp2", builder.getFloatTy(), {call.getArgOperand(0)});
    case Intrinsic::nvvm_ff2f16x2_rn:
      return builder.CreateBitCast(callOf("pack_f16", i32, {call.getArgOperand(0), call.getArgOperand(1)}),
                                   call.getType());
    case Intrinsic::nvvm_ff2bf16x2_rn:
      return builder.CreateBitCast(callOf("pack_bf16", i32, {call.getArgOperand(0), call.getArgOperand(1)}),
                                   call.getType());
    case Intrinsic::nvvm_idp4a_s_s:
      return callOf("dot_s8", i32, {call.getArgOperand(0), call.getArgOperand(1), call.getArgOperand(2)});
    case Intrinsic::nvvm_idp4a_u_u:
      return callOf("dot_u8", i32, {call.getArgOperand(0), call.getArgOperand(1), call.getArgOperand(2)});
    case Intrinsic::nvvm_shfl_sync_idx_i32:
      return shuffle(0);
    case Intrinsic::nvvm_shfl_sync_up_i32:
      return shuffle(1);
    case Intrinsic::nvvm_shfl_sync_down_i32:
      return shuffle(2);
    case Intrinsic::nvvm_shfl_sync_bfly_i32:
      return shuffle(3);
    default:
      return replaceByName(builder, call);
    }
  }

  /// Those that the emulator has under the intrinsic's own name: copies, and matrices, of which operands and
  /// results go through memory.
  Value *replaceByName(IRBuilder<> &builder, IntrinsicInst &call) {
    StringRef known = call.getCalledFunction()->getName();
    known.consume_front("llvm.nvvm.");
    bool isCopy = known.starts_with("cp.async."),
         isMatrix = known.starts_with("ldmatrix.") || known.starts_with("mma.");
    if (!isCopy && !isMatrix) {
      return nullptr;
    }
    std::string name = known.str();
    std::replace(name.begin(), name.end(), '.', '_');
    SmallVector<Value *> arguments(call.args());
    SmallVector<Type *> types = map_to_vector(arguments, [](Value *argument) { return argument->getType(); });
    if (isCopy) {
      return builder.CreateCall(getFunction(name, call.getType(), types), arguments);
    }
    auto [operands, results] = getScratch(*call.getFunction());
    const DataLayout &layout = device->getDataLayout();
    uint64_t offset = 0;
    for (Value *argument : arguments) {
      builder.CreateStore(argument, builder.CreateConstGEP1_64(builder.getInt8Ty(), operands, offset));
      offset += layout.getTypeStoreSize(argument->getType()->isPointerTy() ? builder.getInt64Ty()
                                                                           : argument->getType());
    }
    Type *pointer = builder.getPtrTy();
    builder.CreateCall(getFunction(name, builder.getVoidTy(), {pointer, pointer}), {results, operands});
    return builder.CreateLoad(call.getType(), results);
  }

  /// Memory for operands and for results of a function's calls.
  std::pair<Value *, Value *> getScratch(Function &function) {
    auto [found, isNew] = scratch.try_emplace(&function);
    if (isNew) {
      constexpr uint64_t kBytes = 64;
      IRBuilder<> builder(&*function.getEntryBlock().getFirstInsertionPt());
      Type *type = ArrayType::get(builder.getInt64Ty(), kBytes / 8);
      found->second = {builder.CreateAlloca(type), builder.CreateAlloca(type)};
    }
    return found->second;
  }

  Error replaceIntrinsics() {
    for (Function &function : *device) {
      for (Instruction &instruction : make_early_inc_range(instructions(function))) {
        auto *call = dyn_cast<IntrinsicInst>(&instruction);
        if (!call || !call->getCalledFunction()->getName().starts_with("llvm.nvvm.")) {
          continue;
        }
        IRBuilder<> builder(call);
        Value *replaced = replace(builder, *call);
        if (!replaced) {
          return modelError(ErrorCode::E0900,
                            "the emulator does not know " + call->getCalledFunction()->getName());
        }
        if (!call->getType()->isVoidTy()) {
          call->replaceAllUsesWith(replaced);
        }
        call->eraseFromParent();
      }
    }
    return Error::success();
  }

  /// Processors have no instruction that rounds to bf16; a device has.
  void replaceRounding() {
    Type *i32 = Type::getInt32Ty(context), *f32 = Type::getFloatTy(context),
         *bf16 = Type::getBFloatTy(context);
    FunctionCallee pack = getFunction("pack_bf16", i32, {f32, f32});
    for (Function &function : *device) {
      for (Instruction &instruction : make_early_inc_range(instructions(function))) {
        Value *from = isa<FPTruncInst>(instruction) ? instruction.getOperand(0) : nullptr;
        if (!from || instruction.getType()->getScalarType() != bf16 ||
            from->getType()->getScalarType() != f32) {
          continue;
        }
        IRBuilder<> builder(&instruction);
        auto round = [&](Value *number) {
          Value *bits = builder.CreateCall(pack, {ConstantFP::get(f32, 0), number});
          return builder.CreateBitCast(builder.CreateTrunc(bits, builder.getInt16Ty()), bf16);
        };
        auto *type = dyn_cast<FixedVectorType>(instruction.getType());
        Value *rounded = type ? PoisonValue::get(type) : round(from);
        for (unsigned lane = 0; type && lane < type->getNumElements(); ++lane) {
          rounded =
              builder.CreateInsertElement(rounded, round(builder.CreateExtractElement(from, lane)), lane);
        }
        instruction.replaceAllUsesWith(rounded);
        instruction.eraseFromParent();
      }
    }
  }

  void replaceSharedMemory() {
    SmallVector<Constant *> globals;
    for (GlobalVariable &global : device->globals()) {
      globals.push_back(&global);
    }
    // Expressions of addresses become instructions, of which the types can be changed.
    convertUsersOfConstantsToInstructions(globals);
    GlobalVariable *shared = device->getGlobalVariable(cuda::kSharedName);
    if (!shared) {
      return;
    }
    Type *pointer = PointerType::get(context, 0);
    DenseMap<Function *, Value *> memory;
    for (Use &use : make_early_inc_range(shared->uses())) {
      Function *function = cast<Instruction>(use.getUser())->getFunction();
      Value *&start = memory[function];
      if (!start) {
        IRBuilder<> builder(&*function->getEntryBlock().getFirstInsertionPt());
        start = builder.CreateAddrSpaceCast(builder.CreateCall(getFunction("shared", pointer, {})),
                                            shared->getType());
      }
      use.set(start);
    }
    shared->eraseFromParent();
  }

  /// Makes the module once more without address spaces.
  void flatten() {
    flat = std::make_unique<Module>("lathe", context);
    flat->setSourceFileName("lathe");
    FlatTypes types;
    ValueToValueMapTy mapping;
    for (GlobalVariable &global : device->globals()) {
      auto *made = new GlobalVariable(*flat, types.remapType(global.getValueType()), global.isConstant(),
                                      global.getLinkage(), nullptr, global.getName());
      made->copyAttributesFrom(&global);
      mapping[&global] = made;
    }
    for (Function &function : *device) {
      if (function.isDeclaration() && function.use_empty()) {
        continue;
      }
      auto *type = cast<FunctionType>(types.remapType(function.getFunctionType()));
      auto *made =
          Function::Create(type, function.getLinkage(), /*AddrSpace=*/0, function.getName(), flat.get());
      made->copyAttributesFrom(&function);
      mapping[&function] = made;
    }
    for (GlobalVariable &global : device->globals()) {
      if (global.hasInitializer()) {
        cast<GlobalVariable>(mapping[&global])
            ->setInitializer(MapValue(global.getInitializer(), mapping, RF_None, &types));
      }
    }
    for (Function &function : *device) {
      if (!function.isDeclaration()) {
        flattenFunction(function, mapping, types);
      }
    }
    renameIntrinsics();
  }

  void flattenFunction(Function &function, ValueToValueMapTy &mapping, FlatTypes &types) {
    auto *made = cast<Function>(mapping[&function]);
    for (auto [from, to] : zip_equal(function.args(), made->args())) {
      to.setName(from.getName());
      mapping[&from] = &to;
    }
    SmallVector<ReturnInst *> returns;
    CloneFunctionInto(made, &function, mapping, CloneFunctionChangeType::DifferentModule, returns, "",
                      nullptr, &types);
    // A conversion between address spaces is none any more.
    for (Instruction &instruction : make_early_inc_range(instructions(*made))) {
      if (isa<AddrSpaceCastInst>(instruction)) {
        instruction.replaceAllUsesWith(instruction.getOperand(0));
        instruction.eraseFromParent();
      }
    }
    made->setCallingConv(CallingConv::C);
    made->removeFnAttr("nvvm.maxntid");
    made->removeFnAttr("nvvm.minctasm");
    made->removeFnAttr("target-cpu");
    made->removeFnAttr("target-features");
  }

  /// The names of intrinsics hold the types of their operands.
  void renameIntrinsics() {
    for (Function &function : make_early_inc_range(*flat)) {
      if (!function.isIntrinsic()) {
        continue;
      }
      if (std::optional<Function *> renamed = Intrinsic::remangleIntrinsicFunction(&function)) {
        function.replaceAllUsesWith(*renamed);
        function.eraseFromParent();
      }
    }
  }

  std::unique_ptr<Module> device, flat;
  LLVMContext &context;
  DenseMap<Function *, std::pair<Value *, Value *>> scratch;
};
} // namespace

Expected<std::unique_ptr<Module>> cuda::makeEmulatorModule(const Module &device) {
  return EmulatorMaker(device).run();
}
