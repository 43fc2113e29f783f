// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Table.h"

#include "lathe/abi.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/DerivedTypes.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"

#include <cstddef>

using namespace lathe;

std::string ModelDescription::tableName() const { return "lathe_model_" + symbolId; }

namespace {

/// Builds the global piece by piece; the pieces behind the header are globals of their own in the same
/// section.
class TableBuilder {
public:
  TableBuilder(llvm::Module &module, llvm::StringRef name)
      : module(module), context(module.getContext()), i32(llvm::Type::getInt32Ty(context)),
        i64(llvm::Type::getInt64Ty(context)) {
    // The offsets refer to the table before it is complete.
    table = new llvm::GlobalVariable(
        module, llvm::ArrayType::get(llvm::Type::getInt8Ty(context), sizeof(lathe_table)),
        /*isConstant=*/true, llvm::GlobalValue::ExternalLinkage, nullptr, name);
    table->setDSOLocal(true);
  }

  llvm::Constant *u32(uint64_t value) { return llvm::ConstantInt::get(i32, value); }
  llvm::Constant *u64(uint64_t value) { return llvm::ConstantInt::get(i64, value); }

  /// The distance of `target` from the table, as an i32.
  llvm::Constant *offset(llvm::Constant *target) {
    llvm::Constant *to = llvm::ConstantExpr::getPtrToInt(target, i64);
    llvm::Constant *from = llvm::ConstantExpr::getPtrToInt(table, i64);
    return llvm::ConstantExpr::getTrunc(llvm::ConstantExpr::getSub(to, from), i32);
  }

  llvm::Constant *string(llvm::StringRef text) {
    return offset(global(llvm::ConstantDataArray::getString(context, text, /*AddNull=*/true), 1));
  }

  /// An array of records of one type; an offset of 0 if it is empty.
  llvm::Constant *array(llvm::ArrayRef<llvm::Constant *> records) {
    if (records.empty()) {
      return u32(0);
    }
    auto *type = llvm::ArrayType::get(records.front()->getType(), records.size());
    return offset(global(llvm::ConstantArray::get(type, records), 8));
  }

  /// Bytes that the driver reads as a file of its own.
  llvm::Constant *image(llvm::StringRef contents) { return offset(global(bytes(contents), 64)); }

  llvm::Constant *record(llvm::ArrayRef<llvm::Constant *> fields) {
    return llvm::ConstantStruct::getAnon(context, fields, /*Packed=*/true);
  }

  llvm::Constant *bytes(llvm::StringRef text) {
    return llvm::ConstantDataArray::getString(context, text, /*AddNull=*/false);
  }

  /// A name in a field of fixed size.
  llvm::Constant *name(llvm::StringRef text, size_t size) {
    std::string padded = text.str();
    padded.resize(size, '\0');
    return bytes(padded);
  }

  llvm::Constant *u16(uint64_t value) {
    return llvm::ConstantInt::get(llvm::Type::getInt16Ty(context), value);
  }

  /// Gives the table its contents.
  void finish(llvm::Constant *contents) {
    auto *complete = new llvm::GlobalVariable(module, contents->getType(), /*isConstant=*/true,
                                              llvm::GlobalValue::ExternalLinkage, contents);
    complete->setAlignment(llvm::Align(8));
    // Never preempted: its own address is a link-time constant, and it needs no relocation.
    complete->setDSOLocal(true);
    complete->takeName(table);
    table->replaceAllUsesWith(complete);
    table->eraseFromParent();
  }

private:
  llvm::GlobalVariable *global(llvm::Constant *contents, unsigned alignment) {
    auto *variable =
        new llvm::GlobalVariable(module, contents->getType(), /*isConstant=*/true,
                                 llvm::GlobalValue::PrivateLinkage, contents, "lathe_table_part");
    variable->setAlignment(llvm::Align(alignment));
    return variable;
  }

  llvm::Module &module;
  llvm::LLVMContext &context;
  llvm::Type *i32, *i64;
  llvm::GlobalVariable *table;
};

} // namespace

// The records below are written field by field, packed; these hold them to the C declarations.
static_assert(sizeof(lathe_value_info) == 16 && sizeof(lathe_symbol_info) == 24 &&
              sizeof(lathe_kernel_info) == 16 && sizeof(lathe_variant_info) == 32 &&
              sizeof(lathe_metadata_info) == 8 && sizeof(lathe_text_info) == 8 &&
              sizeof(lathe_service_info) == 16 && sizeof(lathe_image_info) == 24 &&
              sizeof(lathe_device_kernel_info) == 20);
static_assert(offsetof(lathe_table, fingerprint) == 16 && offsetof(lathe_table, name) == 32 &&
              offsetof(lathe_table, inputs) == 64 && sizeof(lathe_table) == 144 &&
              sizeof(lathe_place_info) == 4);

static llvm::Constant *valueRecords(TableBuilder &builder, llvm::ArrayRef<ValueDescription> values) {
  std::vector<llvm::Constant *> records;
  for (const ValueDescription &value : values) {
    std::vector<llvm::Constant *> dims;
    for (int64_t dim : value.dims) {
      dims.push_back(builder.u64(uint64_t(dim)));
    }
    records.push_back(builder.record({builder.string(value.name), builder.u32(value.dtype),
                                      builder.u32(value.dims.size()), builder.array(dims)}));
  }
  return builder.array(records);
}

/// The input that each output may share memory with; an offset of 0 if none may.
static llvm::Constant *sharedInputs(TableBuilder &builder, llvm::ArrayRef<ValueDescription> outputs) {
  std::vector<llvm::Constant *> inputs;
  for (const ValueDescription &output : outputs) {
    inputs.push_back(builder.u32(uint32_t(output.shares)));
  }
  return llvm::any_of(outputs, [](const ValueDescription &output) { return output.shares >= 0; })
             ? builder.array(inputs)
             : builder.u32(0);
}

/// One record a kernel, also of those that have none on a device; an offset of 0 if no kernel has.
static llvm::Constant *deviceKernelRecords(TableBuilder &builder, llvm::ArrayRef<KernelDescription> kernels) {
  if (llvm::none_of(kernels, [](const KernelDescription &kernel) { return kernel.device.has_value(); })) {
    return builder.u32(0);
  }
  std::vector<llvm::Constant *> records;
  for (const KernelDescription &kernel : kernels) {
    DeviceKernel device = kernel.device.value_or(DeviceKernel());
    records.push_back(builder.record({kernel.device ? builder.string(device.entry) : builder.u32(0),
                                      builder.u32(device.threads), builder.u32(device.sharedBytes),
                                      builder.u32(device.registers), builder.u32(device.parameters)}));
  }
  return builder.array(records);
}

static llvm::Constant *imageRecords(TableBuilder &builder, llvm::ArrayRef<DeviceImage> images) {
  std::vector<llvm::Constant *> records;
  for (const DeviceImage &image : images) {
    records.push_back(builder.record({builder.name(image.target, sizeof(lathe_image_info::target)),
                                      builder.image(image.bytes), builder.u32(image.bytes.size())}));
  }
  return builder.array(records);
}

void lathe::buildTable(llvm::Module &module, const ModelDescription &model,
                       llvm::ArrayRef<VariantDescription> variants) {
  TableBuilder builder(module, model.tableName());
  std::vector<llvm::Constant *> symbols, kernels, places, variantRecords, texts, services, metadata;
  for (const codegen::Symbol &symbol : model.symbols) {
    symbols.push_back(builder.record({builder.string(symbol.name), builder.u32(0),
                                      builder.u64(uint64_t(symbol.min)), builder.u64(uint64_t(symbol.max))}));
  }
  for (const KernelDescription &kernel : model.kernels) {
    // What every processor runs that runs any variant: variants come best first. That of a device has its
    // own.
    const VariantDescription *variant = variants.empty() ? nullptr : &variants.back();
    if (variant && kernel.device) {
      variant = &variants.front();
    }
    llvm::Function *cost =
        variant ? module.getFunction(kernel.name + codegen::kCostEntrySuffix.str() + variant->suffix)
                : nullptr;
    kernels.push_back(
        builder.record({builder.string(kernel.name), builder.string(kernel.nodes),
                        cost ? builder.offset(cost) : builder.u32(0), builder.u32(kernel.layers)}));
  }
  for (const VariantDescription &variant : variants) {
    variantRecords.push_back(builder.record(
        {builder.name(variant.target.name, sizeof(lathe_variant_info::isa)),
         builder.u64(variant.target.cpuFeatures), builder.offset(module.getFunction(variant.layout)),
         builder.offset(module.getFunction(variant.run))}));
  }
  for (const std::string &nodes : model.places) {
    places.push_back(builder.record({builder.string(nodes)}));
  }
  for (const std::string &text : model.texts) {
    texts.push_back(builder.record({builder.string(text), builder.u32(text.size())}));
  }
  for (const ServiceDescription &service : model.services) {
    services.push_back(builder.record({builder.string(service.name), builder.string(service.argument),
                                       builder.u32(service.argument.size()), builder.u32(service.operands)}));
  }
  for (const auto &[key, value] : model.metadata) {
    metadata.push_back(builder.record({builder.string(key), builder.string(value)}));
  }
  builder.finish(builder.record({builder.bytes(LATHE_TABLE_MAGIC),
                                 builder.u16(LATHE_ABI_MAJOR),
                                 builder.u16(LATHE_ABI_MINOR),
                                 builder.u32(sizeof(lathe_table)),
                                 builder.u64(model.fingerprint),
                                 builder.u64(model.weightBytes),
                                 builder.string(model.name),
                                 builder.u32(model.inputs.size()),
                                 builder.u32(model.outputs.size()),
                                 builder.u32(model.symbols.size()),
                                 builder.u32(model.slotCount),
                                 builder.u32(model.kernels.size()),
                                 builder.u32(variants.size()),
                                 builder.u32(model.metadata.size()),
                                 valueRecords(builder, model.inputs),
                                 valueRecords(builder, model.outputs),
                                 builder.array(symbols),
                                 builder.array(kernels),
                                 builder.array(variantRecords),
                                 builder.array(metadata),
                                 builder.u32(model.bufferCount),
                                 builder.u32(model.places.size()),
                                 builder.array(places),
                                 builder.u32(texts.size()),
                                 builder.array(texts),
                                 builder.u32(services.size()),
                                 builder.array(services),
                                 builder.u32(model.images.size()),
                                 imageRecords(builder, model.images),
                                 deviceKernelRecords(builder, model.kernels),
                                 builder.u32(model.deviceWeights / LATHE_WEIGHT_ALIGNMENT),
                                 builder.u32(model.deviceScratch / LATHE_SCRATCH_UNIT),
                                 sharedInputs(builder, model.outputs),
                                 builder.u32(0)}));
}
