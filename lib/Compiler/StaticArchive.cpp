// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ElfObject.h"
#include "WeightWriter.h"
#include "lathe/Compiler/Seal.h"
#include "lathe/Support/Error.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Object/ArchiveWriter.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <elf.h>

using namespace llvm;
using namespace lathe;

/// Data of 2 GiB and more is out of reach of ordinary code that is linked with it.
static constexpr uint64_t maxObjectBytes = 0x7fff0000;

StaticPaths lathe::staticPaths(StringRef archivePath, bool weightsAsObject) {
  auto with = [&](StringRef extension) {
    SmallString<128> path(archivePath);
    sys::path::replace_extension(path, extension);
    return path.str().str();
  };
  return {archivePath.str(), with("h"), with(weightsAsObject ? "weights.o" : "weights")};
}

/// The file's name as a C identifier: "my-model.v2.a" becomes "my_model_v2".
static std::string identifier(StringRef path) {
  std::string name = sys::path::stem(path).str();
  for (char &c : name) {
    c = isAlnum(c) ? c : '_';
  }
  return name.empty() || isDigit(name[0]) ? "m_" + name : name;
}

static std::string makeHeader(const ArtifactInfo &info, StringRef path, bool weightsAsObject) {
  const std::string name = identifier(path), &id = info.symbolId;
  std::string weights = "NULL";
  std::string text = formatv("/* Made by {0}. */\n"
                             "#ifndef LATHE_STATIC_{1}\n#define LATHE_STATIC_{1}\n\n"
                             "#include <lathe.h>\n\n"
                             "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
                             "extern const struct lathe_table lathe_model_{1};\n",
                             info.compiler, id);
  if (info.weightBytes > 0 && weightsAsObject) {
    text += formatv("extern const uint8_t lathe_weights_{0}[{1}];\n", id, info.weightBytes);
    weights = "lathe_weights_" + id;
  }
  if (info.weightBytes > 0 && !weightsAsObject) {
    text += formatv(
        "\n/* The weights are in a file of their own, {0} bytes: name it in options->weights_path. */",
        info.weightBytes);
  }
  text += formatv(
      "\nstatic inline lathe_error_code {0}_open(const lathe_open_options *options, lathe_model_t **model) "
      "{{\n  return lathe_open_table(&lathe_model_{1}, {2}, {3}, options, model);\n}\n\n"
      "#ifdef __cplusplus\n}\n#endif\n#endif\n",
      name, id, weights, weights == "NULL" ? 0 : info.weightBytes);
  return text;
}

static Error writeWeights(const ArtifactInfo &info, WeightSource weights, bool asObject, StringRef path) {
  Expected<OutputFile> file = OutputFile::create(path);
  if (!file) {
    return file.takeError();
  }
  uint64_t offset = 0;
  if (asObject) {
    ElfSection section = {".rodata.lathe_weights", SHT_PROGBITS,     SHF_ALLOC,
                          /*alignment=*/4096,      info.weightBytes, "lathe_weights_" + info.symbolId};
    SmallVector<uint64_t> offsets;
    SmallVector<char, 0> head = makeElfObject(section, offsets);
    if (Error error = file->writeAt(0, head)) {
      return error;
    }
    offset = offsets.front();
  }
  if (Error error = WeightWriter(*file, offset, info.weightBytes, /*sums=*/nullptr).writeAll(weights)) {
    return error;
  }
  return file->commit();
}

Error lathe::writeStaticArchive(ArrayRef<char> object, const ArtifactInfo &info, WeightSource weights,
                                bool weightsAsObject, StringRef path) {
  if (weightsAsObject && info.weightBytes > maxObjectBytes) {
    return modelError(ErrorCode::E0401, "weights of " + Twine(info.weightBytes) +
                                            " bytes do not fit into an object, at most " +
                                            Twine(maxObjectBytes) + " do")
        .help("write them to a side file: --weights=file");
  }
  StaticPaths paths = staticPaths(path, weightsAsObject);
  // The archive comes last: whoever waits for it finds the other files complete. An object is there even
  // without weights: who links it need not know.
  if (info.weightBytes > 0 || weightsAsObject) {
    if (Error error = writeWeights(info, weights, weightsAsObject, paths.weights)) {
      return error;
    }
  }
  if (Error error = writeFile(paths.header, makeHeader(info, path, weightsAsObject))) {
    return error;
  }
  NewArchiveMember member(MemoryBufferRef(StringRef(object.data(), object.size()), "model.o"));
  Expected<std::unique_ptr<MemoryBuffer>> archive = writeArchiveToBuffer(
      member, SymtabWritingMode::NormalSymtab, object::Archive::K_GNU, /*Deterministic=*/true,
      /*Thin=*/false);
  if (!archive) {
    return archive.takeError();
  }
  return writeFile(paths.archive, (*archive)->getBuffer());
}
