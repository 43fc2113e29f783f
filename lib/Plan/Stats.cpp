// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Plan/Stats.h"

#include "JsonPositions.h"

#include "lathe.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/xxhash.h"

#include <cmath>
#include <cstring>

using namespace llvm;
using namespace lathe;

/// More channels than a tensor has whose weight is below a TiB.
static constexpr int64_t maxChannels = int64_t(1) << 24;

static ErrorBuilder malformed(StringRef file, const Twine &what) {
  return modelError(ErrorCode::E0810, what)
      .file(file)
      .help("`lathe calibrate MODEL.onnx --data FILE.npz -o " + escapeText(file) + "` makes statistics");
}

Expected<std::string> Stats::hashFile(StringRef path) {
  ErrorOr<std::unique_ptr<MemoryBuffer>> buffer =
      MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer) {
    return systemError(ErrorCode::E0002, "cannot read " + quoteText(path), buffer.getError().value());
  }
  return utohexstr(xxh3_64bits((*buffer)->getBuffer()), /*LowerCase=*/true, /*Width=*/16);
}

template <typename T>
Error Stats::readArray(const Twine &name, uint32_t dtype, ArrayRef<int64_t> dims, std::vector<T> &to) const {
  std::string wanted = name.str();
  if (!archive.contains(wanted)) {
    return malformed(file, "the statistics have no array " + quoteText(wanted));
  }
  Expected<Array> array = archive.read(wanted);
  if (!array) {
    return array.takeError();
  }
  if (array->dtype != dtype || ArrayRef(array->dims) != dims) {
    auto describe = [](uint32_t type, ArrayRef<int64_t> sizes) {
      return std::string(lathe_dtype_name(type)) + " [" +
             join(map_range(sizes, [](int64_t size) { return std::to_string(size); }), ", ") + "]";
    };
    return malformed(file, "the array " + quoteText(wanted) + " is " + describe(array->dtype, array->dims) +
                               ", expects " + describe(dtype, dims));
  }
  to.resize(array->bytes.size() / sizeof(T));
  if (!to.empty()) {
    memcpy(to.data(), array->bytes.data(), to.size() * sizeof(T));
  }
  if constexpr (std::is_floating_point_v<T>) {
    auto bad = find_if(to, [](T value) { return !std::isfinite(value); });
    if (bad != to.end()) {
      return malformed(file, "element " + Twine(bad - to.begin()) + " of the array " + quoteText(wanted) +
                                 " is not finite");
    }
  }
  return Error::success();
}

static std::vector<std::string> readNames(const json::Object &object, StringRef key) {
  std::vector<std::string> names;
  if (const json::Array *list = object.getArray(key)) {
    for (const json::Value &name : *list) {
      names.push_back(name.getAsString().value_or("").str());
    }
  }
  return names;
}

Error Stats::readTensor(TensorStats &tensor, size_t number) {
  std::string suffix = "." + std::to_string(number);
  int64_t channels = tensor.low.size(), bins = tensor.histogram.size();
  if (Error error = readArray("low" + suffix, LATHE_FLOAT32, channels, tensor.low)) {
    return error;
  }
  if (Error error = readArray("high" + suffix, LATHE_FLOAT32, channels, tensor.high)) {
    return error;
  }
  if (Error error = readArray("squares" + suffix, LATHE_FLOAT64, channels, tensor.squares)) {
    return error;
  }
  if (Error error = readArray("histogram" + suffix, LATHE_INT64, bins, tensor.histogram)) {
    return error;
  }
  for (int64_t channel = 0; channel < channels; ++channel) {
    if (tensor.low[channel] > tensor.high[channel]) {
      return malformed(file, "channel " + Twine(channel) + " of tensor " + Twine(number) +
                                 " has no range: its least element is above its greatest");
    }
  }
  return Error::success();
}

Error Stats::readIndex() {
  if (!archive.contains("lathe")) {
    return malformed(file, "this is no file of statistics: it has no array \"lathe\"");
  }
  Expected<Array> bytes = archive.read("lathe");
  if (!bytes) {
    return bytes.takeError();
  }
  if (bytes->dtype != LATHE_UINT8) {
    return malformed(file, "the array \"lathe\" holds no text");
  }
  StringRef text(bytes->bytes.data(), bytes->bytes.size());
  if (JsonPositions(text).isTooDeep()) {
    return malformed(file, "values in the array \"lathe\" are nested deeper than " +
                               Twine(JsonPositions::maxDepth));
  }
  Expected<json::Value> parsed = json::parse(text);
  if (!parsed) {
    return malformed(file, "the array \"lathe\" is no JSON: " + toString(parsed.takeError()));
  }
  const json::Object *root = parsed->getAsObject();
  std::optional<int64_t> version = root ? root->getInteger("version") : std::nullopt;
  if (version != statsVersion) {
    return malformed(file, "the statistics are of version " +
                               (version ? std::to_string(*version) : std::string("none")) +
                               ", this release reads version " + Twine(statsVersion));
  }
  std::optional<StringRef> fingerprint = root->getString("model");
  const json::Array *listed = root->getArray("tensors"), *blocks = root->getArray("layers");
  std::optional<int64_t> bins = root->getInteger("bins");
  if (!fingerprint || !listed || !blocks || !bins || *bins < 2 || *bins > maxChannels) {
    return malformed(file, "the array \"lathe\" lacks a field, or it is of another type");
  }
  if (root->get("partial")) {
    return malformed(file, "this is the state of a calibration that has not ended");
  }
  if (const json::Object *errors = root->getObject("bf16_errors")) {
    std::optional<double> all = errors->getNumber("all"), rest = errors->getNumber("rest");
    if (!all || !rest || !(*all >= 0) || !(*rest >= 0)) {
      return malformed(file, "how far results move by bf16 is no number from 0 on");
    }
    roundingErrors = RoundingErrors{*all, *rest};
  }
  model = fingerprint->str();
  runs = root->getInteger("runs").value_or(0);
  for (const json::Value &value : *listed) {
    const json::Object *object = value.getAsObject();
    std::optional<int64_t> channels = object ? object->getInteger("channels") : std::nullopt,
                           rows = object ? object->getInteger("rows") : std::nullopt,
                           exponent = object ? object->getInteger("exponent") : std::nullopt;
    if (!channels || *channels < 0 || *channels > maxChannels || !rows || *rows < 0 || !exponent ||
        std::abs(*exponent) > 200) {
      return malformed(file, "tensor " + Twine(tensors.size()) + " lacks a field, or it is out of range");
    }
    TensorStats &tensor = tensors.emplace_back();
    tensor.nodes = readNames(*object, "nodes");
    tensor.weights = readNames(*object, "weights");
    tensor.rows = *rows;
    tensor.exponent = int(*exponent);
    tensor.roundingError = object->getNumber("bf16_error");
    if (tensor.roundingError && !(*tensor.roundingError >= 0)) {
      return malformed(file, "how far results move by tensor " + Twine(tensors.size() - 1) +
                                 " is no number from 0 on");
    }
    tensor.notFinite = object->getInteger("not_finite").value_or(0);
    tensor.low.resize(*channels);
    tensor.histogram.resize(*bins);
    if (Error error = readTensor(tensor, tensors.size() - 1)) {
      return error;
    }
  }
  for (const json::Value &value : *blocks) {
    const json::Object *object = value.getAsObject();
    const json::Object *cosine = object ? object->getObject("cosine") : nullptr;
    if (!cosine) {
      return malformed(file, "layer " + Twine(layers.size()) + " has no cosines");
    }
    LayerStats &layer = layers.emplace_back();
    layer.layer = object->getInteger("layer").value_or(layers.size() - 1);
    layer.nodes = readNames(*object, "nodes");
    layer.all = cosine->getNumber("all");
    layer.attention = cosine->getNumber("attention");
    layer.feedForward = cosine->getNumber("ffn");
  }
  return Error::success();
}

Expected<Stats> Stats::read(StringRef path) {
  Expected<NpzFile> archive = NpzFile::open(path);
  if (!archive) {
    return archive.takeError();
  }
  Stats stats(std::move(*archive));
  stats.file = path.str();
  if (Error error = stats.readIndex()) {
    return error;
  }
  return stats;
}

const TensorStats *Stats::find(ArrayRef<std::string> weights, ArrayRef<std::string> nodes) const {
  auto shares = [](ArrayRef<std::string> some, ArrayRef<std::string> others) {
    return any_of(
        some, [&](const std::string &name) { return !name.empty() && is_contained(others, toUTF8(name)); });
  };
  const TensorStats *found = nullptr;
  for (const TensorStats &tensor : tensors) {
    if (shares(weights, tensor.weights)) {
      if (shares(nodes, tensor.nodes)) {
        return &tensor;
      }
      found = found ? found : &tensor;
    }
  }
  return found;
}

std::optional<double> Stats::findCosine(int64_t layer) const {
  auto found = find_if(layers, [&](const LayerStats &l) { return l.layer == layer; });
  return found == layers.end() ? std::nullopt : found->all;
}

bool Stats::hasGram(const TensorStats &tensor) const {
  return archive.contains("gram." + std::to_string(&tensor - tensors.data()));
}

Expected<std::vector<float>> Stats::readGram(const TensorStats &tensor) const {
  std::vector<float> gram;
  int64_t channels = tensor.getChannels();
  if (Error error =
          readArray("gram." + Twine(&tensor - tensors.data()), LATHE_FLOAT32, {channels, channels}, gram)) {
    return error;
  }
  return gram;
}
