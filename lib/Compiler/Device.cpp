// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Device.h"

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/CUDA/Images.h"
#include "lathe/Codegen/Host/HostABI.h"
#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Compiler/Codegen.h"
#include "lathe/Compiler/Link.h"
#include "lathe/Support/Error.h"
#include "lathe/abi.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FormatVariadic.h"

#include <functional>

using namespace mlir;
using namespace lathe;
using llvm::Error;
using llvm::Expected;

namespace {
/// Compiles one module of device functions.
class DeviceCompilation {
public:
  DeviceCompilation(ModuleOp device, unsigned optLevel, size_t firstKernel, ModelDescription &model,
                    Report &report)
      : device(device), optLevel(optLevel), firstKernel(firstKernel), model(model), report(report) {}

  Error run(ArrayRef<cuda::DeviceTarget> targets, std::string *text) {
    describeLaunches();
    Expected<std::unique_ptr<llvm::Module>> module = cuda::makeDeviceModule(device, context, optLevel);
    if (!module) {
      return module.takeError();
    }
    Expected<std::string> ptx = cuda::emitPTX(**module);
    if (!ptx) {
      return ptx.takeError();
    }
    if (text) {
      *text = *ptx;
    }
    if (Error error = addCubins(targets, *ptx)) {
      return error;
    }
    // Newer devices compile it when the model is loaded. It ends with a 0.
    model.images.push_back({cuda::kVirtualArchitecture.str(), std::string(ptx->c_str(), ptx->size() + 1)});
    report.setNumber("ptx_bytes", int64_t(ptx->size()));
    return llvm::any_of(targets, std::mem_fn(&cuda::DeviceTarget::isEmulator)) ? addEmulator(**module)
                                                                               : Error::success();
  }

private:
  /// Those of the device: the model may have others, of the same names, for processors before them.
  MutableArrayRef<KernelDescription> kernels() {
    return MutableArrayRef(model.kernels).drop_front(firstKernel);
  }

  void describeLaunches() {
    unsigned slow = 0;
    for (KernelDescription &kernel : kernels()) {
      auto function = device.lookupSymbol<LLVM::LLVMFuncOp>(kernel.name);
      if (!function) {
        continue;
      }
      auto getNumber = [&](StringRef name) {
        auto number = function->getAttrOfType<IntegerAttr>(name);
        return number ? unsigned(number.getInt()) : 0;
      };
      DeviceKernel &launch = kernel.device.emplace();
      launch.entry = kernel.name;
      launch.threads = getNumber(cuda::kThreadsAttr);
      launch.sharedBytes = getNumber(cuda::kSharedBytesAttr);
      // The last ones are the addresses of the fault and of scratch memory.
      launch.parameters = function.getNumArguments() - (model.deviceScratch ? 2 : 1);
      slow += launch.threads == 1;
    }
    if (slow) {
      report.digest.push_back(
          llvm::formatv("{0} kernels without a template for devices, by one thread", slow).str());
    }
  }

  Error addCubins(ArrayRef<cuda::DeviceTarget> targets, StringRef ptx) {
    std::optional<std::string> ptxas = cuda::findPtxas();
    int64_t registers = 0, stackBytes = 0, spillBytes = 0, warnings = 0;
    std::vector<std::string> architectures;
    for (const cuda::DeviceTarget &target : targets) {
      if (!target.isEmulator()) {
        architectures.push_back(target.architecture);
      }
    }
    // Newest first: a driver takes the first one that its device runs.
    llvm::sort(architectures, std::greater<>());
    for (const std::string &architecture : architectures) {
      if (!ptxas) {
        report.digest.push_back(
            "no machine code for CUDA devices, as there is no ptxas: drivers compile the PTX");
        return Error::success();
      }
      Expected<cuda::Cubin> cubin = cuda::assemble(*ptxas, ptx, architecture);
      if (!cubin) {
        return cubin.takeError();
      }
      for (KernelDescription &kernel : kernels()) {
        if (auto found = cubin->kernels.find(kernel.name); kernel.device && found != cubin->kernels.end()) {
          const cuda::KernelResources &used = found->second;
          kernel.device->registers = std::max(kernel.device->registers, used.registers);
          registers = std::max<int64_t>(registers, used.registers);
          stackBytes = std::max<int64_t>(stackBytes, used.stackBytes);
          spillBytes += used.spillBytes;
        }
      }
      warnings += int64_t(cubin->warnings.size());
      model.images.push_back({architecture, std::string(cubin->bytes.data(), cubin->bytes.size())});
      report.setNumber("device_registers", registers);
      report.setNumber("device_stack_bytes", stackBytes);
      report.setNumber("device_spill_bytes", spillBytes);
      report.setNumber("ptxas_warnings", warnings);
    }
    return Error::success();
  }

  Error addEmulator(const llvm::Module &module) {
    Expected<std::unique_ptr<llvm::Module>> flat = cuda::makeEmulatorModule(module);
    if (!flat) {
      return flat.takeError();
    }
    Expected<cpu::TargetSpec> target = cpu::resolveTarget(cuda::kHostTarget);
    if (!target) {
      return target.takeError();
    }
    CodegenOptions options;
    options.base = *target;
    // It is optimized as it stands.
    options.optLevel = 0;
    for (const KernelDescription &kernel : kernels()) {
      options.exported.push_back(kernel.name);
    }
    Expected<llvm::SmallVector<char, 0>> object = emitObject(**flat, options);
    if (!object) {
      return object.takeError();
    }
    Expected<llvm::SmallVector<char, 0>> library = linkForEmulator(*object, cuda::kEmulatorPrefix);
    if (!library) {
      return library.takeError();
    }
    model.images.push_back({"emulator", std::string(library->data(), library->size())});
    return Error::success();
  }

  ModuleOp device;
  unsigned optLevel;
  size_t firstKernel;
  ModelDescription &model;
  Report &report;
  llvm::LLVMContext context;
};
} // namespace

Error lathe::addDevice(ModelDescription &model, ModuleOp device, ModuleOp processor) {
  model.deviceWeights = uint64_t(codegen::placeWeightsBehind(device, processor));
  Expected<ModelDescription> own = describeModel(device);
  if (!own) {
    return own.takeError();
  }
  Builder builder(device.getContext());
  auto toNumber = [&](size_t value) { return builder.getI64IntegerAttr(int64_t(value)); };
  device->setAttr(codegen::kFirstKernelAttr, toNumber(model.kernels.size()));
  model.weightBytes = own->weightBytes;
  llvm::append_range(model.kernels, own->kernels);
  device->setAttr(codegen::kFirstPlaceAttr, toNumber(model.kernels.size()));
  return Error::success();
}

Error lathe::compileDevice(ModuleOp host, ArrayRef<cuda::DeviceTarget> targets, unsigned optLevel,
                           ModelDescription &model, Report &report, std::string *ptx) {
  OwningOpRef<ModuleOp> device(host.lookupSymbol<ModuleOp>(cuda::kDeviceModule));
  if (!device) {
    return modelError(ErrorCode::E0901, "there is no module of device functions");
  }
  device.get()->remove();
  auto first = host->getAttrOfType<IntegerAttr>(codegen::kFirstKernelAttr);
  if (auto scratch = host->getAttrOfType<IntegerAttr>(cuda::kScratchBytesAttr)) {
    model.deviceScratch = llvm::alignTo(uint64_t(scratch.getInt()), LATHE_SCRATCH_UNIT);
  }
  return DeviceCompilation(*device, optLevel, first ? size_t(first.getInt()) : 0, model, report)
      .run(targets, ptx);
}
