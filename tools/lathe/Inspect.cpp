// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe inspect`: artifacts by the runtime, models by the importer.

#include "Commands.h"
#include "Session.h"
#include "Supervise.h"
#include "lathe/Compiler/Compile.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <fcntl.h>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

namespace {

/// A model may begin with any byte but this one: field 15 of wire type 7 does not exist.
bool isElf(const std::string &path) {
  char magic[4] = {};
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  bool is = fd >= 0 && read(fd, magic, sizeof magic) == sizeof magic &&
            StringRef(magic, 4) == "\x7f"
                                   "ELF";
  if (fd >= 0) {
    close(fd);
  }
  return is;
}

StringRef sectionName(uint32_t kind) {
  static constexpr StringLiteral names[] = {"?",         "headers", "note",       "code",
                                            "constants", "linkage", "chunk sums", "weights"};
  return names[kind < std::size(names) ? kind : 0];
}

std::string featureNames(uint64_t features) {
  std::string text(lathe_cpu_feature_names(features, nullptr, 0), '\0');
  lathe_cpu_feature_names(features, text.data(), text.size() + 1);
  return text;
}

/// A compiled model, opened without regard to this machine's processor.
class ArtifactInspector {
public:
  explicit ArtifactInspector(std::string path) : path(std::move(path)) {}
  ~ArtifactInspector() { lathe_close(model); }

  Error open() {
    lathe_open_options options = LATHE_OPEN_OPTIONS;
    options.inspect_only = 1;
    if (lathe_check_artifact(path.c_str(), LATHE_CHECK_FULL, &header) != LATHE_OK ||
        lathe_open(path.c_str(), &options, &model) != LATHE_OK ||
        lathe_model_get_info(model, &info) != LATHE_OK) {
      return runtimeError(path);
    }
    return Error::success();
  }
  void printText(raw_ostream &os) const;
  json::Object toJSON() const;

private:
  std::vector<lathe_value> values(bool outputs) const {
    std::vector<lathe_value> all(outputs ? info.output_count : info.input_count);
    for (auto [i, value] : enumerate(all)) {
      (outputs ? lathe_model_output : lathe_model_input)(model, i, &value);
    }
    return all;
  }
  json::Array valuesJSON(bool outputs) const;

  std::string path;
  lathe_model_t *model = nullptr;
  lathe_model_info info = {};
  lathe_artifact_header header = {};
};

json::Array ArtifactInspector::valuesJSON(bool outputs) const {
  json::Array list;
  for (const lathe_value &value : values(outputs)) {
    json::Array dims;
    for (int64_t dim : ArrayRef(value.dims, value.rank)) {
      lathe_symbol symbol;
      if (dim >= 0) {
        dims.push_back(dim);
      } else if (dim != LATHE_DIM_COMPUTED && lathe_model_symbol(model, size_t(~dim), &symbol) == LATHE_OK) {
        dims.push_back(toUTF8(symbol.name));
      } else {
        dims.push_back(nullptr);
      }
    }
    list.push_back(json::Object{
        {"name", toUTF8(value.name)}, {"type", lathe_dtype_name(value.dtype)}, {"shape", std::move(dims)}});
  }
  return list;
}

json::Object ArtifactInspector::toJSON() const {
  json::Array symbols, variants, sections, kernels;
  json::Object metadata;
  for (size_t i = 0; i < info.symbol_count; ++i) {
    lathe_symbol symbol;
    lathe_model_symbol(model, i, &symbol);
    symbols.push_back(json::Object{{"name", toUTF8(symbol.name)}, {"min", symbol.min}, {"max", symbol.max}});
  }
  for (size_t i = 0; i < info.variant_count; ++i) {
    lathe_variant variant;
    lathe_model_variant(model, i, &variant);
    variants.push_back(
        json::Object{{"isa", toUTF8(variant.isa)}, {"features", featureNames(variant.cpu_features)}});
  }
  for (size_t i = 0; i < info.kernel_count; ++i) {
    lathe_kernel kernel;
    lathe_model_kernel(model, i, &kernel);
    SmallVector<StringRef> nodes;
    StringRef(kernel.nodes).split(nodes, '\n', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
    kernels.push_back(json::Object{{"name", toUTF8(kernel.name)},
                                   {"nodes", json::Array(map_range(nodes, toUTF8))},
                                   {"layers", int64_t(kernel.layers)}});
  }
  for (const lathe_artifact_section &section : ArrayRef(header.sections, header.section_count)) {
    sections.push_back(json::Object{{"kind", sectionName(section.kind)},
                                    {"address", int64_t(section.address)},
                                    {"bytes", int64_t(section.size)},
                                    {"crc32c", int64_t(section.crc)}});
  }
  for (size_t i = 0; i < info.metadata_count; ++i) {
    const char *key, *value;
    lathe_model_metadata(model, i, &key, &value);
    metadata[toUTF8(key)] = toUTF8(value);
  }
  return json::Object{{"name", toUTF8(info.name)},
                      {"compiler", toUTF8(info.compiler)},
                      {"triple", toUTF8(info.triple)},
                      {"abi", formatv("{0}.{1}", info.abi_major, info.abi_minor).str()},
                      {"fingerprint", formatv("{0:x-16}", info.fingerprint).str()},
                      {"weight_bytes", int64_t(info.weight_bytes)},
                      {"runs_here", StringRef(info.variant)},
                      {"inputs", valuesJSON(false)},
                      {"outputs", valuesJSON(true)},
                      {"symbols", std::move(symbols)},
                      {"variants", std::move(variants)},
                      {"kernels", std::move(kernels)},
                      {"sections", std::move(sections)},
                      {"metadata", std::move(metadata)}};
}

void ArtifactInspector::printText(raw_ostream &os) const {
  os << "artifact " << escapeText(path) << ", graph " << quoteText(info.name) << ", "
     << escapeText(info.compiler) << ", " << escapeText(info.triple) << ", ABI " << info.abi_major << '.'
     << info.abi_minor << ", fingerprint " << formatv("{0:x-16}", info.fingerprint) << '\n';
  for (bool outputs : {false, true}) {
    os << (outputs ? "outputs\n" : "inputs\n");
    for (const lathe_value &value : values(outputs)) {
      os << "  " << quoteText(value.name) << ' ' << describe(model, value) << '\n';
    }
  }
  if (info.symbol_count > 0) {
    os << "symbols\n";
  }
  for (size_t i = 0; i < info.symbol_count; ++i) {
    lathe_symbol symbol;
    lathe_model_symbol(model, i, &symbol);
    os << "  " << escapeText(symbol.name) << " from " << symbol.min << " to " << symbol.max << '\n';
  }
  os << "variants\n";
  for (size_t i = 0; i < info.variant_count; ++i) {
    lathe_variant variant;
    lathe_model_variant(model, i, &variant);
    os << "  " << escapeText(variant.isa) << (StringRef(variant.isa) == info.variant ? " (runs here)" : "")
       << ": " << featureNames(variant.cpu_features) << '\n';
  }
  os << "sections\n";
  for (const lathe_artifact_section &section : ArrayRef(header.sections, header.section_count)) {
    os << "  " << left_justify(sectionName(section.kind), 12)
       << format("%#12llx", (unsigned long long)section.address)
       << right_justify(formatBytes(section.size), 10) << format("  crc32c %08x\n", section.crc);
  }
  os << info.kernel_count << " kernels, weights " << formatBytes(info.weight_bytes) << '\n';
  for (size_t i = 0; i < info.metadata_count; ++i) {
    const char *key, *value;
    lathe_model_metadata(model, i, &key, &value);
    os << "metadata " << escapeText(key) << " = " << quoteText(value) << '\n';
  }
}

Error inspectArtifact(const std::string &path, bool json) {
  ArtifactInspector inspector(path);
  if (Error error = inspector.open()) {
    return error;
  }
  if (json) {
    outs() << formatv("{0:2}\n", json::Value(inspector.toJSON()));
  } else {
    inspector.printText(outs());
  }
  return Error::success();
}

} // namespace

int lathe::inspectCommand(const CommandContext &context) {
  CompileOptions options;
  SupervisionOptions supervision;
  bool json = false;
  Arguments arguments("inspect", "MODEL.onnx|MODEL.so [options]",
                      "Prints what a model takes, gives and holds.");
  arguments.positional("a model or a compiled model", options.input);
  arguments.flag("--json", "print JSON instead of text", json);
  addModelOptions(arguments, options);
  addSupervisionOptions(arguments, supervision);
  addHiddenSupervisionOptions(arguments, supervision);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  if (isElf(options.input)) {
    return reportError(inspectArtifact(options.input, json), errs());
  }
  Supervision job("inspect", context, supervision);
  job.model = options.input;
  job.limits = options.limits;
  job.description = options.toJSON();
  // The worker's standard output is ours; nothing is printed before all of it is known.
  auto inspect = [&](Report &) -> Error {
    std::string text;
    raw_string_ostream os(text);
    if (Error error = inspectModel(options, json, os)) {
      return error;
    }
    outs() << text;
    return flushStandardOutput();
  };
  return job.run(inspect, [](const Report &, double) {});
}
