/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "CudaModel.h"

#include <cstdlib>
#include <dlfcn.h>
#include <fstream>

namespace lathe::test {

//===-- The driver
//-----------------------------------------------------------------------------------------===//

CudaTest::CudaTest() {
  set("LATHE_CUDA_DRIVER", LATHE_MOCK_DRIVER);
  library = dlopen(LATHE_MOCK_DRIVER, RTLD_NOW | RTLD_LOCAL);
  EXPECT_TRUE(library) << dlerror();
  callsOf = driver<int(const char *)>("lathe_mock_calls");
  liveOf = driver<int()>("lathe_mock_live");
  reportOf = driver<const char *()>("lathe_mock_report");
  resetAll = driver<void()>("lathe_mock_reset");
  reset();
  EXPECT_EQ(live(), 0);
}

CudaTest::~CudaTest() {
  for (size_t i = 1; i < names.size(); ++i) {
    unsetenv(names[i].c_str());
  }
  reset();
  for (const Allocation &allocation : allocations) {
    enter(allocation.device);
    driver<int(uint64_t)>("cuMemFree_v2")(allocation.address);
    leave();
    driver<int(int)>("cuDevicePrimaryCtxRelease_v2")(allocation.device);
  }
  EXPECT_EQ(live(), 0) << "everything is given back";
  dlclose(library);
}

void CudaTest::set(const char *name, const std::string &value) {
  setenv(name, value.c_str(), 1);
  names.push_back(name);
}

void CudaTest::unset(const char *name) { unsetenv(name); }

void *CudaTest::symbol(const char *name) const {
  void *found = dlsym(library, name);
  EXPECT_TRUE(found) << name;
  return found;
}

void CudaTest::enter(int device) {
  void *context = nullptr;
  EXPECT_EQ(driver<int(unsigned)>("cuInit")(0), 0);
  EXPECT_EQ(driver<int(void **, int)>("cuDevicePrimaryCtxRetain")(&context, device), 0);
  EXPECT_EQ(driver<int(void *)>("cuCtxPushCurrent_v2")(context), 0);
  driver<int(int)>("cuDevicePrimaryCtxRelease_v2")(device);
}

void CudaTest::leave() {
  void *context = nullptr;
  EXPECT_EQ(driver<int(void **)>("cuCtxPopCurrent_v2")(&context), 0);
}

uint64_t CudaTest::allocate(size_t bytes, int device) {
  void *context = nullptr;
  uint64_t address = 0;
  driver<int(unsigned)>("cuInit")(0);
  EXPECT_EQ(driver<int(void **, int)>("cuDevicePrimaryCtxRetain")(&context, device), 0);
  enter(device);
  EXPECT_EQ(driver<int(uint64_t *, size_t)>("cuMemAlloc_v2")(&address, bytes), 0);
  leave();
  allocations.push_back({address, device});
  return address;
}

void CudaTest::copyIn(uint64_t to, const void *from, size_t bytes) {
  enter(0);
  EXPECT_EQ(driver<int(uint64_t, const void *, size_t)>("cuMemcpyHtoD_v2")(to, from, bytes), 0);
  leave();
}

void CudaTest::copyOut(void *to, uint64_t from, size_t bytes) {
  enter(0);
  auto *copy = driver<int(void *, uint64_t, size_t, void *)>("cuMemcpyDtoHAsync_v2");
  EXPECT_EQ(copy(to, from, bytes, nullptr), 0);
  leave();
}

//===-- Models
//---------------------------------------------------------------------------------------------===//

namespace {
constexpr int64_t kThreads = 128;

int64_t blocksOf(int64_t count, int64_t threads = kThreads) { return (count + threads - 1) / threads; }

int32_t layout(const int64_t *symbols, int64_t, int64_t *slots, int64_t *outputDims, int64_t *arenaBytes) {
  slots[0] = 256;
  outputDims[0] = symbols[0];
  *arenaBytes = 256 + symbols[0] * 4;
  return LATHE_FAULT_NONE;
}

struct DoubleArgs {
  const void *x;
  void *t;
  int64_t n;
};
struct BiasArgs {
  const void *t, *w;
  void *y;
  int64_t n;
};
struct BadArgs {
  void *y;
  int64_t n;
};

void *slot(const lathe_call *call) { return static_cast<char *>(call->arena) + call->slots[0]; }

int32_t runBoth(const lathe_call *call) {
  int64_t n = call->symbols[0];
  DoubleArgs first = {call->inputs[0], slot(call), n};
  if (int32_t fault = call->parallel_for(call->context, 0, nullptr, &first, blocksOf(n), 0)) {
    return fault;
  }
  BiasArgs second = {slot(call), call->weights, call->outputs[0], n};
  return call->parallel_for(call->context, 1, nullptr, &second, blocksOf(n), 0);
}

int32_t runBad(const lathe_call *call) {
  if (int32_t fault = runBoth(call)) {
    return fault;
  }
  BadArgs args = {call->outputs[0], call->symbols[0]};
  return call->parallel_for(call->context, 2, nullptr, &args, 1, 0);
}

int32_t runSum(const lathe_call *call) {
  DoubleArgs args = {call->inputs[0], call->outputs[0], call->symbols[0]};
  return call->parallel_for(call->context, 0, nullptr, &args, blocksOf(call->symbols[0], 1024), 0);
}

const std::string &emulatorImage() {
  static const std::string bytes = [] {
    std::ifstream in(LATHE_TEST_KERNELS, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }();
  return bytes;
}

TestModel vectors(lathe_run_fn run) {
  TestModel model(layout, run);
  model.symbol("N", 0, 100000).slots(1).variants({"cuda"}).image("emulator", emulatorImage());
  model.input("x", LATHE_FLOAT32, {~0}).output("y", LATHE_FLOAT32, {~0});
  return model;
}

TestModel doubleAndBias(lathe_run_fn run) {
  TestModel model = vectors(run);
  model.kernel("double", "/a/Mul").onDevice("test_double", kThreads, 0, 3);
  model.kernel("bias", "/a/Add").onDevice("test_bias", kThreads, 0, 4);
  return model;
}
} // namespace

TestModel doubleAndBias() { return doubleAndBias(runBoth); }

TestModel withBadKernel(const char *entry) {
  TestModel model = doubleAndBias(runBad);
  model.kernel("bad", "/b/Bad").onDevice(entry, kThreads, 0, 2);
  return model;
}

TestModel sumOfBlock() {
  TestModel model = vectors(runSum);
  model.kernel("sum", "/s/Sum").onDevice("test_sum", 1024, 64 << 10, 3);
  return model;
}

Weights::Weights() {
  for (int i = 0; i < 16; ++i) {
    values[i] = 100 * float(i);
  }
}

ModelPtr openOnDevice(TestModel model, uint64_t device, uint32_t scratchUnits) {
  static const Weights weights;
  lathe_table *table = model.build();
  table->weight_bytes = sizeof weights.values;
  table->device_scratch = scratchUnits;
  lathe_open_options options = LATHE_OPEN_OPTIONS;
  options.device = device;
  lathe_model_t *opened = nullptr;
  lathe_open_table(table, &weights, sizeof weights.values, &options, &opened);
  return ModelPtr(opened);
}

} // namespace lathe::test
