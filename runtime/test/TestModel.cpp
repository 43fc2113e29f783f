/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "TestModel.h"

#include <cstdlib>
#include <cstring>

namespace lathe::test {

namespace {
/// Tables lie near the functions: their distance must fit 32 bits.
alignas(64) char storage[8 << 20];
size_t used = 0;

char *take(size_t bytes) {
  used = (used + 15) & ~size_t(15);
  if (used + bytes > sizeof storage) {
    abort();
  }
  char *result = storage + used;
  used += bytes;
  return result;
}

} // namespace

struct Writer {
  char *base;
  int32_t offset(const void *at) const { return int32_t(static_cast<const char *>(at) - base); }
  int32_t string(const std::string &text) const {
    return offset(memcpy(take(text.size() + 1), text.c_str(), text.size() + 1));
  }
  template <typename F>
  int32_t function(F *f) const {
    return offset(reinterpret_cast<const void *>(f));
  }
};

TestModel &TestModel::symbol(const char *name, int64_t min, int64_t max) {
  symbols.push_back({name, min, max});
  return *this;
}
TestModel &TestModel::input(const char *name, uint32_t dtype, std::vector<int64_t> dims) {
  inputs.push_back({name, dtype, std::move(dims)});
  return *this;
}
TestModel &TestModel::output(const char *name, uint32_t dtype, std::vector<int64_t> dims) {
  outputs.push_back({name, dtype, std::move(dims)});
  return *this;
}
TestModel &TestModel::kernel(const char *name, const char *nodes) {
  kernels.push_back({name, nodes, "", 0, 0, 0});
  return *this;
}
TestModel &TestModel::onDevice(const char *entry, uint32_t threads, uint32_t sharedBytes,
                               uint32_t parameters) {
  Kernel &kernel = kernels.back();
  kernel.entry = entry;
  kernel.threads = threads;
  kernel.sharedBytes = sharedBytes;
  kernel.parameters = parameters;
  return *this;
}
TestModel &TestModel::image(const char *target, std::string bytes) {
  images.emplace_back(target, std::move(bytes));
  return *this;
}
TestModel &TestModel::variants(std::vector<std::string> names) {
  isas = std::move(names);
  return *this;
}
TestModel &TestModel::slots(uint32_t count) {
  slotCount = count;
  return *this;
}
TestModel &TestModel::buffers(uint32_t count) {
  bufferCount = count;
  return *this;
}
TestModel &TestModel::place(const char *nodes) {
  places.push_back(nodes);
  return *this;
}

TestModel &TestModel::text(std::string bytes) {
  texts.push_back(std::move(bytes));
  return *this;
}
TestModel &TestModel::service(const char *name, const char *argument, uint32_t operands) {
  services.push_back({name, argument, operands});
  return *this;
}

lathe_table *TestModel::build() {
  auto *table = reinterpret_cast<lathe_table *>(take(sizeof(lathe_table)));
  Writer writer{reinterpret_cast<char *>(table)};
  *table = {};
  memcpy(table->magic, LATHE_TABLE_MAGIC, sizeof table->magic);
  table->abi_major = LATHE_ABI_MAJOR;
  table->abi_minor = LATHE_ABI_MINOR;
  table->bytes = sizeof *table;
  table->fingerprint = 0x1234;
  table->name = writer.string("test");
  auto writeValues = [&](const std::vector<Value> &values) {
    auto *infos = reinterpret_cast<lathe_value_info *>(take(values.size() * sizeof(lathe_value_info)));
    for (size_t i = 0; i < values.size(); ++i) {
      char *dims = take(values[i].dims.size() * 8);
      if (!values[i].dims.empty()) {
        memcpy(dims, values[i].dims.data(), values[i].dims.size() * 8);
      }
      infos[i] = {writer.string(values[i].name), values[i].dtype, uint32_t(values[i].dims.size()),
                  writer.offset(dims)};
    }
    return writer.offset(infos);
  };
  table->input_count = uint32_t(inputs.size());
  table->inputs = writeValues(inputs);
  table->output_count = uint32_t(outputs.size());
  table->outputs = writeValues(outputs);
  table->slot_count = slotCount;
  auto *symbolInfos = reinterpret_cast<lathe_symbol_info *>(take(symbols.size() * sizeof(lathe_symbol_info)));
  table->symbol_count = uint32_t(symbols.size());
  table->symbols = writer.offset(symbolInfos);
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbolInfos[i] = {writer.string(symbols[i].name), 0, symbols[i].min, symbols[i].max};
  }
  auto *kernelInfos = reinterpret_cast<lathe_kernel_info *>(take(kernels.size() * sizeof(lathe_kernel_info)));
  table->kernel_count = uint32_t(kernels.size());
  table->kernels = writer.offset(kernelInfos);
  for (size_t i = 0; i < kernels.size(); ++i) {
    kernelInfos[i] = {writer.string(kernels[i].name), writer.string(kernels[i].nodes), 0, 0};
  }
  if (!images.empty()) {
    writeDevice(*table, writer);
  }
  auto *placeInfos = reinterpret_cast<lathe_place_info *>(take(places.size() * sizeof(lathe_place_info)));
  table->place_count = uint32_t(places.size());
  table->places = writer.offset(placeInfos);
  for (size_t i = 0; i < places.size(); ++i) {
    placeInfos[i] = {writer.string(places[i])};
  }
  auto *textInfos = reinterpret_cast<lathe_text_info *>(take(texts.size() * sizeof(lathe_text_info)));
  table->text_count = uint32_t(texts.size());
  table->texts = writer.offset(textInfos);
  for (size_t i = 0; i < texts.size(); ++i) {
    textInfos[i] = {writer.string(texts[i]), uint32_t(texts[i].size())};
  }
  auto *serviceInfos =
      reinterpret_cast<lathe_service_info *>(take(services.size() * sizeof(lathe_service_info)));
  table->service_count = uint32_t(services.size());
  table->services = writer.offset(serviceInfos);
  for (size_t i = 0; i < services.size(); ++i) {
    serviceInfos[i] = {writer.string(services[i].name), writer.string(services[i].argument),
                       uint32_t(services[i].argument.size()), services[i].operands};
  }
  table->buffer_count = bufferCount;
  auto *variants = reinterpret_cast<lathe_variant_info *>(take(isas.size() * sizeof(lathe_variant_info)));
  table->variant_count = uint32_t(isas.size());
  table->variants = writer.offset(variants);
  for (size_t i = 0; i < isas.size(); ++i) {
    variants[i] = {"", 0, writer.function(layout), writer.function(run)};
    isas[i].copy(variants[i].isa, sizeof variants[i].isa - 1);
  }
  return table;
}

void TestModel::writeDevice(lathe_table &table, const Writer &writer) const {
  auto *imageInfos = reinterpret_cast<lathe_image_info *>(take(images.size() * sizeof(lathe_image_info)));
  table.image_count = uint32_t(images.size());
  table.images = writer.offset(imageInfos);
  for (size_t i = 0; i < images.size(); ++i) {
    const auto &[target, bytes] = images[i];
    imageInfos[i] = {"", writer.offset(memcpy(take(bytes.size()), bytes.data(), bytes.size())),
                     uint32_t(bytes.size())};
    target.copy(imageInfos[i].target, sizeof imageInfos[i].target - 1);
  }
  auto *infos =
      reinterpret_cast<lathe_device_kernel_info *>(take(kernels.size() * sizeof(lathe_device_kernel_info)));
  table.device_kernels = writer.offset(infos);
  for (size_t i = 0; i < kernels.size(); ++i) {
    const Kernel &kernel = kernels[i];
    infos[i] = {kernel.entry.empty() ? 0 : writer.string(kernel.entry), kernel.threads, kernel.sharedBytes, 0,
                kernel.parameters};
  }
}

lathe_model_t *TestModel::open() {
  lathe_model_t *model = nullptr;
  lathe_open_table(build(), nullptr, 0, nullptr, &model);
  return model;
}

SessionPtr makeSession(lathe_model_t *model, const lathe_session_options &options) {
  lathe_session_t *session = nullptr;
  lathe_session_create(model, &options, &session);
  return SessionPtr(session);
}

SessionPtr makeSession(lathe_model_t *model, uint32_t threads) {
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = threads;
  return makeSession(model, options);
}

namespace {
struct MaskedArgs {
  const float *x;
  const int64_t *mask;
  float *y, *copy;
  int64_t columns;
};

int32_t maskedRows(const void *opaque, int64_t begin, int64_t end, int32_t) {
  const auto *args = static_cast<const MaskedArgs *>(opaque);
  for (int64_t i = begin * args->columns; i < end * args->columns; ++i) {
    args->copy[i] = 2 * args->x[i];
    args->y[i] = args->mask[i] ? args->copy[i] : 0;
  }
  return LATHE_FAULT_NONE;
}

int32_t maskedLayout(const int64_t *symbols, int64_t, int64_t *slots, int64_t *outputDims,
                     int64_t *arenaBytes) {
  slots[0] = 64;
  outputDims[0] = symbols[0];
  outputDims[1] = symbols[1];
  *arenaBytes = 64 + symbols[0] * symbols[1] * 4;
  return LATHE_FAULT_NONE;
}

int32_t maskedRun(const lathe_call *call) {
  MaskedArgs args = {static_cast<const float *>(call->inputs[0]),
                     static_cast<const int64_t *>(call->inputs[1]), static_cast<float *>(call->outputs[0]),
                     reinterpret_cast<float *>(static_cast<char *>(call->arena) + call->slots[0]),
                     call->symbols[1]};
  return call->parallel_for(call->context, 0, maskedRows, &args, call->symbols[0], 1);
}
} // namespace

TestModel maskedDouble() {
  TestModel model(maskedLayout, maskedRun);
  model.symbol("B", 1, 64).symbol("S", 1, 512).slots(1);
  model.input("x", LATHE_FLOAT32, {~0, ~1}).input("mask", LATHE_INT64, {~0, ~1});
  model.output("y", LATHE_FLOAT32, {~0, ~1}).kernel("masked", "/a/Mul\n/a/Where");
  return model;
}

namespace {
int32_t countLayout(const int64_t *, int64_t, int64_t *, int64_t *outputDims, int64_t *arenaBytes) {
  outputDims[0] = LATHE_DIM_COMPUTED;
  *arenaBytes = 0;
  return LATHE_FAULT_NONE;
}

int32_t countRun(const lathe_call *call) {
  constexpr int32_t place = 0 << 8;
  int64_t n = *static_cast<const int64_t *>(call->inputs[0]), bytes = n * int64_t(sizeof(float));
  if (n < 0) {
    return LATHE_FAULT_SHAPE | place;
  }
  if (n == 1000) {
    return LATHE_FAULT_LOOP | place;
  }
  // Piece by piece, as a loop whose number of iterations is unknown does.
  float *scratch = nullptr;
  for (int64_t i = 0; i <= n; ++i) {
    int64_t kept = i ? (i - 1) * int64_t(sizeof(float)) : 0, size = i * int64_t(sizeof(float));
    scratch = static_cast<float *>(call->reserve(call->context, 0, size, kept));
    if (!scratch) {
      return LATHE_FAULT_MEMORY | place;
    }
    if (i) {
      scratch[i - 1] = float(i - 1);
    }
  }
  void *y = call->reserve(call->context, ~int64_t(0), bytes, 0);
  if (!y) {
    return LATHE_FAULT_MEMORY | place;
  }
  memcpy(y, scratch, size_t(bytes));
  call->output_dims[0] = n;
  return LATHE_FAULT_NONE;
}
} // namespace

TestModel countUp() {
  TestModel model(countLayout, countRun);
  model.input("n", LATHE_INT64, {}).output("y", LATHE_FLOAT32, {LATHE_DIM_COMPUTED});
  return model.buffers(1).place("/range");
}

} // namespace lathe::test
