// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Seals artifacts as runtime/include/lathe/container.h describes.

#include "lathe/Compiler/Seal.h"
#include "WeightWriter.h"
#include "lathe/Support/Error.h"
#include "lathe/abi.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include "elfview.h"

using namespace llvm;
using namespace lathe;

namespace {

/// The library in memory, and what must be found in it. It comes from our own linker call: what does not fit
/// is an internal error, but no length in it is taken on trust.
class Sealer {
public:
  Sealer(ArrayRef<char> library, const ArtifactInfo &info)
      : info(info), image(library.begin(), library.end()) {}

  Error run(WeightSource weights, StringRef path);

private:
  Error fail(const Twine &why) {
    return modelError(ErrorCode::E0905, "the linked library cannot be sealed: " + why);
  }
  Error openView();
  Error readSections();
  Error placeWeights(uint64_t offset);
  Error findEntry();
  void clearGaps();
  Error makeTiles();
  Error fillHeader();

  StringRef nameOf(const Elf64_Shdr &section) const;
  bool inImage(const Elf64_Shdr &section) const {
    return (section.sh_flags & SHF_ALLOC) && section.sh_type != SHT_NOBITS && section.sh_size > 0;
  }
  /// Contents of an image range that was checked to lie in the file.
  char *at(uint64_t address, uint64_t size) {
    return const_cast<char *>(reinterpret_cast<const char *>(lathe_elf_at(&view, address, size)));
  }

  const ArtifactInfo &info;
  SmallVector<char, 0> image;
  lathe_elf_view view = {};
  SmallVector<Elf64_Shdr> sections;
  const char *names = nullptr;
  uint64_t namesSize = 0;
  uint64_t weightsAddress = 0, sumsAddress = 0, noteAddress = 0, entry = 0;
  SmallVector<uint32_t> sums;
  SmallVector<lathe_artifact_section> tiles;
};

} // namespace

Error Sealer::openView() {
  if (lathe_elf_open(&view, image.data(), image.size()) != LATHE_ELF_OK) {
    return fail(view.why);
  }
  return Error::success();
}

StringRef Sealer::nameOf(const Elf64_Shdr &section) const {
  return section.sh_name < namesSize ? StringRef(names + section.sh_name) : StringRef();
}

/// Writable memory that is not the dynamic loader's.
static bool isVariable(const Elf64_Shdr &section, StringRef name) {
  static constexpr StringLiteral loaders[] = {".dynamic", ".got", ".got.plt", ".data.rel.ro",
                                              ".relro_padding"};
  return (section.sh_flags & SHF_ALLOC) && (section.sh_flags & SHF_WRITE) && section.sh_size > 0 &&
         !is_contained(loaders, name);
}

Error Sealer::readSections() {
  const Elf64_Ehdr &e = view.ehdr;
  if (e.e_shentsize != sizeof(Elf64_Shdr) || e.e_shstrndx >= e.e_shnum ||
      !lathe_elf_inside(e.e_shoff, e.e_shnum * sizeof(Elf64_Shdr), image.size())) {
    return fail("bad section headers");
  }
  sections.resize(e.e_shnum);
  memcpy(sections.data(), image.data() + e.e_shoff, e.e_shnum * sizeof(Elf64_Shdr));
  const Elf64_Shdr &strings = sections[e.e_shstrndx];
  if (!lathe_elf_inside(strings.sh_offset, strings.sh_size, image.size()) || strings.sh_size == 0 ||
      image[strings.sh_offset + strings.sh_size - 1] != 0) {
    return fail("bad section names");
  }
  names = image.data() + strings.sh_offset;
  namesSize = strings.sh_size;
  for (const Elf64_Shdr &section : sections) {
    StringRef name = nameOf(section);
    if (name == ".lathe.sums") {
      sumsAddress = section.sh_addr;
    } else if (name == ".lathe.weights") {
      weightsAddress = section.sh_addr;
    } else if (isVariable(section, name)) {
      return fail("compiled code has variables or constructors of its own, in " + name);
    }
  }
  noteAddress = lathe_elf_note(&view);
  if (noteAddress == 0) {
    return fail("no header note");
  }
  if (info.weightBytes > 0 && (sumsAddress == 0 || weightsAddress == 0)) {
    return fail("no room for weights");
  }
  return Error::success();
}

/// Turns the placeholder into a read-only segment whose contents stand at `offset` of the file.
Error Sealer::placeWeights(uint64_t offset) {
  auto *phdrs = reinterpret_cast<Elf64_Phdr *>(image.data() + view.ehdr.e_phoff);
  bool placed = false;
  for (int i = 0; i < view.ehdr.e_phnum; ++i) {
    Elf64_Phdr phdr;
    memcpy(&phdr, phdrs + i, sizeof phdr);
    if (phdr.p_type == PT_LOAD && phdr.p_vaddr == weightsAddress) {
      if (phdr.p_filesz != 0 || phdr.p_memsz != info.weightBytes || i == 0 || phdr.p_vaddr % 4096 != 0) {
        return fail("the weights' segment has other contents");
      }
      phdr.p_offset = offset;
      phdr.p_filesz = phdr.p_memsz;
      phdr.p_flags = PF_R;
      phdr.p_align = 4096;
      memcpy(phdrs + i, &phdr, sizeof phdr);
      placed = true;
    }
  }
  if (!placed) {
    return fail("the weights have no segment");
  }
  for (auto [index, section] : enumerate(sections)) {
    if (nameOf(section) == ".lathe.weights") {
      section.sh_type = SHT_PROGBITS;
      section.sh_flags &= ~uint64_t(SHF_WRITE);
      section.sh_offset = offset;
      memcpy(image.data() + view.ehdr.e_shoff + index * sizeof section, &section, sizeof section);
    }
  }
  return Error::success();
}

Error Sealer::findEntry() {
  std::string wanted = tableSymbol(info.fingerprint);
  const Elf64_Shdr *symbols = find_if(sections, [](const Elf64_Shdr &s) { return s.sh_type == SHT_DYNSYM; });
  if (symbols == sections.end() || symbols->sh_link >= sections.size()) {
    return fail("no symbol table");
  }
  const Elf64_Shdr &strings = sections[symbols->sh_link];
  if (!lathe_elf_inside(symbols->sh_offset, symbols->sh_size, image.size()) ||
      !lathe_elf_inside(strings.sh_offset, strings.sh_size, image.size())) {
    return fail("bad symbol table");
  }
  for (uint64_t i = 0; i + sizeof(Elf64_Sym) <= symbols->sh_size; i += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol;
    memcpy(&symbol, image.data() + symbols->sh_offset + i, sizeof symbol);
    StringRef table(image.data() + strings.sh_offset, strings.sh_size);
    if (symbol.st_shndx == SHN_UNDEF) {
      continue;
    }
    StringRef name = table.substr(symbol.st_name).take_until([](char c) { return c == 0; });
    if (name != wanted) {
      return fail("exports " + name + ", not only " + wanted);
    }
    entry = symbol.st_value;
  }
  return entry == 0 ? fail("no symbol " + wanted) : Error::success();
}

/// Zeroes what the linker filled in between sections: strip does the same, and the sums must survive it.
void Sealer::clearGaps() {
  std::vector<bool> owned(image.size());
  auto own = [&](uint64_t begin, uint64_t size) {
    for (uint64_t i = begin; i < begin + size && i < owned.size(); ++i) {
      owned[i] = true;
    }
  };
  own(0, sizeof(Elf64_Ehdr) + view.ehdr.e_phnum * sizeof(Elf64_Phdr));
  for (const Elf64_Shdr &section : sections) {
    if (section.sh_type != SHT_NOBITS) {
      own(section.sh_offset, section.sh_size);
    }
  }
  own(view.ehdr.e_shoff, sections.size() * sizeof(Elf64_Shdr));
  for (size_t i = 0; i < image.size(); ++i) {
    if (!owned[i]) {
      image[i] = 0;
    }
  }
}

static uint32_t kindOf(const Elf64_Shdr &section, StringRef name) {
  if (name == ".lathe.sums") {
    return LATHE_SECTION_CHUNK_SUMS;
  }
  if (name == ".lathe.weights") {
    return LATHE_SECTION_WEIGHTS;
  }
  if (section.sh_flags & SHF_EXECINSTR) {
    return LATHE_SECTION_CODE;
  }
  return name.starts_with(".rodata") ? LATHE_SECTION_CONSTANTS : LATHE_SECTION_LINKAGE;
}

Error Sealer::makeTiles() {
  uint64_t headersEnd = sizeof(Elf64_Ehdr) + view.ehdr.e_phnum * sizeof(Elf64_Phdr);
  SmallVector<lathe_artifact_section> parts;
  parts.push_back({LATHE_SECTION_HEADERS, 0, 0, headersEnd});
  parts.push_back({LATHE_SECTION_NOTE, 0, noteAddress, LATHE_NOTE_BYTES});
  for (const Elf64_Shdr &section : sections) {
    StringRef name = nameOf(section);
    // The note's section holds nothing else.
    if (inImage(section) && name != ".note.lathe" && name != ".lathe.weights") {
      parts.push_back({kindOf(section, name), 0, section.sh_addr, section.sh_size});
    }
  }
  if (info.weightBytes > 0) {
    parts.push_back({LATHE_SECTION_WEIGHTS, 0, weightsAddress, info.weightBytes});
  }
  llvm::sort(parts, [](const auto &a, const auto &b) { return a.address < b.address; });

  size_t next = 0;
  for (int i = 0; i < view.ehdr.e_phnum; ++i) {
    const Elf64_Phdr &p = view.phdr[i];
    if (p.p_type != PT_LOAD || p.p_filesz == 0) {
      continue;
    }
    uint64_t at = p.p_vaddr, end = p.p_vaddr + p.p_filesz;
    size_t first = tiles.size();
    /// Covers [at, to) by the tile before, by one of its own where that cannot grow.
    auto fillGap = [&](uint64_t to) {
      if (at == to) {
        return;
      }
      bool canGrow = tiles.size() > first && tiles.back().kind != LATHE_SECTION_HEADERS &&
                     tiles.back().kind != LATHE_SECTION_NOTE;
      if (canGrow) {
        tiles.back().size += to - at;
      } else {
        tiles.push_back({LATHE_SECTION_LINKAGE, 0, at, to - at});
      }
      at = to;
    };
    for (; next < parts.size() && parts[next].address < end; ++next) {
      const lathe_artifact_section &part = parts[next];
      if (part.address < at || part.size > end - part.address) {
        return fail("sections overlap");
      }
      fillGap(part.address);
      bool joins = tiles.size() > first && tiles.back().kind == part.kind &&
                   (part.kind == LATHE_SECTION_LINKAGE || part.kind == LATHE_SECTION_CODE ||
                    part.kind == LATHE_SECTION_CONSTANTS);
      if (joins) {
        tiles.back().size += part.size;
      } else {
        tiles.push_back(part);
      }
      at = part.address + part.size;
    }
    fillGap(end);
  }
  if (next != parts.size()) {
    return fail("a section lies outside the segments");
  }
  if (tiles.size() > LATHE_MAX_SECTIONS) {
    return fail("it has " + Twine(tiles.size()) + " parts, at most " + Twine(LATHE_MAX_SECTIONS) +
                " are possible");
  }
  return Error::success();
}

/// Copies with the terminator and zeros behind it.
template <size_t n>
static bool copyText(char (&to)[n], StringRef text) {
  if (text.size() >= n) {
    return false;
  }
  memcpy(to, text.data(), text.size());
  return true;
}

Error Sealer::fillHeader() {
  lathe_artifact_header header = {};
  memcpy(header.magic, LATHE_ARTIFACT_MAGIC, sizeof header.magic);
  header.container_version = LATHE_CONTAINER_VERSION;
  header.bytes = sizeof header;
  header.abi_major = LATHE_ABI_MAJOR;
  header.abi_minor = LATHE_ABI_MINOR;
  header.fingerprint = info.fingerprint;
  header.entry = entry;
  for (int i = 0; i < view.ehdr.e_phnum; ++i) {
    if (view.phdr[i].p_type == PT_LOAD) {
      header.image_end = view.phdr[i].p_vaddr + view.phdr[i].p_memsz;
    }
  }
  if (info.targets.empty() || info.targets.size() > LATHE_MAX_TARGETS ||
      !copyText(header.compiler, info.compiler) || !copyText(header.triple, info.triple)) {
    return fail("its description does not fit the header");
  }
  header.target_count = info.targets.size();
  for (auto [from, to] : zip(info.targets, header.targets)) {
    if (!copyText(to.isa, from.isa)) {
      return fail("the name of a target is too long");
    }
    to.cpu_features = from.cpuFeatures;
  }
  header.section_count = tiles.size();
  uint32_t sumsCrc = 0;
  for (lathe_artifact_section &tile : tiles) {
    switch (tile.kind) {
    case LATHE_SECTION_HEADERS:
      tile.crc = lathe_elf_headers_crc(&view);
      break;
    case LATHE_SECTION_NOTE:
      break;
    case LATHE_SECTION_WEIGHTS:
      tile.crc = sumsCrc;
      break;
    default:
      tile.crc = lathe_crc32c(0, at(tile.address, tile.size), tile.size);
      sumsCrc = tile.kind == LATHE_SECTION_CHUNK_SUMS ? tile.crc : sumsCrc;
    }
  }
  std::copy(tiles.begin(), tiles.end(), header.sections);
  header.crc = lathe_crc32c(0, &header, offsetof(lathe_artifact_header, crc));
  memcpy(at(noteAddress, LATHE_NOTE_BYTES) + LATHE_NOTE_PREFIX_BYTES, &header, sizeof header);
  return Error::success();
}

Error Sealer::run(WeightSource weights, StringRef path) {
  if (Error error = openView()) {
    return error;
  }
  if (Error error = readSections()) {
    return error;
  }
  if (Error error = findEntry()) {
    return error;
  }
  clearGaps();
  Expected<OutputFile> file = OutputFile::create(path, /*mode=*/0777);
  if (!file) {
    return file.takeError();
  }
  if (info.weightBytes > 0) {
    uint64_t offset = alignTo(image.size(), 4096);
    if (Error error = placeWeights(offset)) {
      return error;
    }
    WeightWriter writer(*file, offset, info.weightBytes, &sums);
    if (Error error = writer.writeAll(weights)) {
      return error;
    }
    char *to = at(sumsAddress, sums.size() * sizeof(uint32_t));
    if (!to) {
      return fail("no room for the sums");
    }
    memcpy(to, sums.data(), sums.size() * sizeof(uint32_t));
    // The view bounds all segments by the file; the weights are in it, though not in memory.
    memcpy(view.phdr, image.data() + view.ehdr.e_phoff, view.ehdr.e_phnum * sizeof(Elf64_Phdr));
  }
  if (Error error = makeTiles()) {
    return error;
  }
  if (Error error = fillHeader()) {
    return error;
  }
  if (Error error = file->writeAt(0, image)) {
    return error;
  }
  return file->commit();
}

std::string lathe::tableSymbol(uint64_t fingerprint) {
  std::string digits = utohexstr(fingerprint, /*LowerCase=*/true);
  return "lathe_model_" + std::string(16 - digits.size(), '0') + digits;
}

Error lathe::sealArtifact(ArrayRef<char> library, const ArtifactInfo &info, WeightSource weights,
                          StringRef path) {
  return Sealer(library, info).run(weights, path);
}
