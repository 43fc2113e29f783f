/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// The device's memory, and copies.

#include "Driver.h"

#include <cstring>

using namespace lathe::mock;

static size_t memoryBytes() { return size_t(Driver::setting("LATHE_MOCK_MEMORY", int64_t(16) << 30)); }

LATHE_MOCK cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  LATHE_MOCK_CALL(Current);
  if (bytes == 0) {
    return InvalidValue;
  }
  if (bytes > memoryBytes() || call.context->memory.used() > memoryBytes() - bytes) {
    return OutOfMemory;
  }
  void *memory = call.context->memory.allocate(bytes);
  if (!memory) {
    return OutOfMemory;
  }
  call.context->memory.setAccess(false);
  *address = reinterpret_cast<uint64_t>(memory);
  return Success;
}

LATHE_MOCK cuMemFree_v2(uint64_t address) {
  LATHE_MOCK_CALL(Current);
  return call.context->memory.release(reinterpret_cast<void *>(address)) ? Success : InvalidValue;
}

LATHE_MOCK cuMemGetInfo_v2(size_t *free, size_t *total) {
  LATHE_MOCK_CALL(Current);
  *total = memoryBytes();
  *free = *total - call.context->memory.used();
  return Success;
}

LATHE_MOCK cuPointerGetAttributes(unsigned count, int *attributes, void **values, uint64_t address) {
  LATHE_MOCK_CALL(Initialized);
  constexpr unsigned kDevice = 2;
  const Context *owner = nullptr;
  for (auto &[ordinal, context] : Driver::get().contexts) {
    owner = context->memory.holds(address, 1) ? context.get() : owner;
  }
  for (unsigned i = 0; i < count; ++i) {
    switch (attributes[i]) {
    case 2: // the kind of memory
      *static_cast<unsigned *>(values[i]) = owner ? kDevice : 0;
      break;
    case 9: // the device
      *static_cast<int *>(values[i]) = owner ? owner->ordinal : -2;
      break;
    default:
      return InvalidValue;
    }
  }
  return Success;
}

/// Copies or sets memory that must be the device's.
template <typename Function>
static int access(Context &context, uint64_t address, size_t bytes, Function function) {
  if (bytes == 0) {
    return Success;
  }
  if (!context.memory.holds(address, bytes)) {
    return InvalidValue;
  }
  context.memory.setAccess(true);
  function(reinterpret_cast<void *>(address));
  context.memory.setAccess(false);
  return Success;
}

LATHE_MOCK cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
  LATHE_MOCK_CALL(Current);
  return access(*call.context, to, bytes, [&](void *memory) { memcpy(memory, from, bytes); });
}

LATHE_MOCK cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, Stream *stream) {
  LATHE_MOCK_CALL(Current);
  return access(*call.context, to, bytes, [&](void *memory) { memcpy(memory, from, bytes); });
}

LATHE_MOCK cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, Stream *stream) {
  LATHE_MOCK_CALL(Current);
  return access(*call.context, from, bytes, [&](void *memory) { memcpy(to, memory, bytes); });
}

LATHE_MOCK cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream *stream) {
  LATHE_MOCK_CALL(Current);
  if (bytes && !call.context->memory.holds(from, bytes)) {
    return InvalidValue;
  }
  return access(*call.context, to, bytes,
                [&](void *memory) { memcpy(memory, reinterpret_cast<const void *>(from), bytes); });
}

LATHE_MOCK cuMemsetD32Async(uint64_t to, unsigned value, size_t words, Stream *stream) {
  LATHE_MOCK_CALL(Current);
  return to % 4 ? int(InvalidValue) : access(*call.context, to, 4 * words, [&](void *memory) {
    for (size_t i = 0; i < words; ++i) {
      static_cast<unsigned *>(memory)[i] = value;
    }
  });
}
