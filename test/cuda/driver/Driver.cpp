/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// The driver, its devices and their contexts.

#include "Driver.h"
#include "Mock.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace lathe::mock;

//===-- State
//----------------------------------------------------------------------------------------------===//

Driver &Driver::get() {
  static Driver driver;
  return driver;
}

int64_t Driver::setting(const char *name, int64_t fallback) {
  const char *text = getenv(name);
  return text ? strtoll(text, nullptr, 0) : fallback;
}

Context &Driver::context(int ordinal) {
  std::unique_ptr<Context> &context = contexts[ordinal];
  if (!context) {
    context = std::make_unique<Context>();
    context->ordinal = ordinal;
  }
  return *context;
}

int Driver::enter(const char *function) {
  int number = ++calls[function];
  const char *fail = getenv("LATHE_MOCK_FAIL");
  size_t length = strlen(function);
  int at = 0, result = 0;
  if (fail && strncmp(fail, function, length) == 0 && sscanf(fail + length, ":%d:%d", &at, &result) == 2 &&
      at == number) {
    return result;
  }
  return Success;
}

std::vector<Context *> &lathe::mock::contextStack() {
  thread_local std::vector<Context *> stack;
  return stack;
}

Call::Call(const char *function, Needs needs) : lock(Driver::get().mutex) {
  status = Driver::get().enter(function);
  if (!status && needs != Nothing && !Driver::get().initialized) {
    status = NotInitialized;
  }
  if (!status && needs == Current) {
    std::vector<Context *> &stack = contextStack();
    context = stack.empty() ? nullptr : stack.back();
    status = context ? context->failed : InvalidContext;
  }
}

//===-- For tests
//------------------------------------------------------------------------------------------===//

int lathe_mock_calls(const char *function) {
  std::lock_guard lock(Driver::get().mutex);
  return Driver::get().calls[function];
}

int lathe_mock_live(void) {
  std::lock_guard lock(Driver::get().mutex);
  size_t count = 0;
  for (auto &[ordinal, context] : Driver::get().contexts) {
    count += size_t(context->retained) + context->memory.count() + context->modules.size() +
             context->streams.size() + context->events.size() + context->graphs.size() +
             context->executables.size();
  }
  return int(count);
}

const char *lathe_mock_report(void) {
  std::lock_guard lock(Driver::get().mutex);
  thread_local std::string copy;
  copy = Driver::get().report;
  return copy.c_str();
}

void lathe_mock_reset(void) {
  std::lock_guard lock(Driver::get().mutex);
  Driver &driver = Driver::get();
  driver.calls.clear();
  driver.report.clear();
  for (auto &[ordinal, context] : driver.contexts) {
    context->failed = Success;
  }
}

//===-- Errors
//---------------------------------------------------------------------------------------------===//

namespace {
struct StatusText {
  int status;
  const char *name, *text;
};
constexpr StatusText kTexts[] = {
    {Success, "CUDA_SUCCESS", "no error"},
    {InvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NoDevice, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {InvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {InvalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {InvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {NoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {InvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {IllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {LaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
};

int findText(int status, const char **text, const char *StatusText::*member) {
  for (const StatusText &known : kTexts) {
    if (known.status == status) {
      *text = known.*member;
      return Success;
    }
  }
  *text = nullptr;
  return InvalidValue;
}
} // namespace

LATHE_MOCK cuGetErrorName(int status, const char **name) { return findText(status, name, &StatusText::name); }
LATHE_MOCK cuGetErrorString(int status, const char **text) {
  return findText(status, text, &StatusText::text);
}

//===-- Devices
//--------------------------------------------------------------------------------------------===//

LATHE_MOCK cuInit(unsigned flags) {
  LATHE_MOCK_CALL(Nothing);
  if (Driver::devices() == 0) {
    return NoDevice;
  }
  Driver::get().initialized = true;
  return flags == 0 ? Success : InvalidValue;
}

LATHE_MOCK cuDriverGetVersion(int *version) {
  LATHE_MOCK_CALL(Nothing);
  *version = int(Driver::setting("LATHE_MOCK_VERSION", 13000));
  return Success;
}

LATHE_MOCK cuDeviceGetCount(int *count) {
  LATHE_MOCK_CALL(Initialized);
  *count = Driver::devices();
  return Success;
}

LATHE_MOCK cuDeviceGet(int *device, int ordinal) {
  LATHE_MOCK_CALL(Initialized);
  if (ordinal < 0 || ordinal >= Driver::devices()) {
    return InvalidDevice;
  }
  *device = ordinal;
  return Success;
}

LATHE_MOCK cuDeviceGetName(char *name, int size, int device) {
  LATHE_MOCK_CALL(Initialized);
  snprintf(name, size_t(size), "emulator");
  return Success;
}

LATHE_MOCK cuDeviceGetAttribute(int *value, int attribute, int device) {
  LATHE_MOCK_CALL(Initialized);
  int capability = int(Driver::setting("LATHE_MOCK_CAPABILITY", 80));
  switch (attribute) {
  case 75:
    *value = capability / 10;
    return Success;
  case 76:
    *value = capability % 10;
    return Success;
  default:
    return InvalidValue;
  }
}

//===-- Contexts
//-------------------------------------------------------------------------------------------===//

LATHE_MOCK cuDevicePrimaryCtxRetain(Context **context, int device) {
  LATHE_MOCK_CALL(Initialized);
  *context = &Driver::get().context(device);
  ++(*context)->retained;
  return Success;
}

LATHE_MOCK cuDevicePrimaryCtxRelease_v2(int device) {
  LATHE_MOCK_CALL(Initialized);
  Context &context = Driver::get().context(device);
  if (context.retained == 0) {
    return InvalidContext;
  }
  --context.retained;
  return Success;
}

LATHE_MOCK cuCtxPushCurrent_v2(Context *context) {
  LATHE_MOCK_CALL(Initialized);
  if (!context || context->retained == 0) {
    return InvalidContext;
  }
  contextStack().push_back(context);
  return Success;
}

LATHE_MOCK cuCtxPopCurrent_v2(Context **context) {
  LATHE_MOCK_CALL(Initialized);
  if (contextStack().empty()) {
    return InvalidContext;
  }
  *context = contextStack().back();
  contextStack().pop_back();
  return Success;
}
