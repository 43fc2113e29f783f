/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "Seal.h"

#include "elfview.h"
#include "lathe/abi.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <unistd.h>

namespace lathe::test {

Bytes readFile(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

std::string tinyPath(const std::string &name) { return std::string(LATHE_TINY_DIR) + "/" + name + ".so"; }

namespace {
[[noreturn]] void die(const char *why) {
  fprintf(stderr, "the test's sealer: %s\n", why);
  abort();
}

uint32_t kindOf(const std::string &section) {
  if (section == ".note.lathe") {
    return LATHE_SECTION_NOTE;
  }
  if (section == ".lathe.sums") {
    return LATHE_SECTION_CHUNK_SUMS;
  }
  if (section == ".lathe.weights") {
    return LATHE_SECTION_WEIGHTS;
  }
  if (section.rfind(".rodata", 0) == 0) {
    return LATHE_SECTION_CONSTANTS;
  }
  return section == ".text" ? LATHE_SECTION_CODE : LATHE_SECTION_LINKAGE;
}

/// Places the weights at the end of the file and in the program and section headers.
void attachWeights(Bytes &file, const Bytes &weights) {
  auto *ehdr = reinterpret_cast<Elf64_Ehdr *>(file.data());
  auto *sections = reinterpret_cast<Elf64_Shdr *>(file.data() + ehdr->e_shoff);
  auto *phdrs = reinterpret_cast<Elf64_Phdr *>(file.data() + ehdr->e_phoff);
  const char *names = reinterpret_cast<char *>(file.data()) + sections[ehdr->e_shstrndx].sh_offset;
  uint64_t at = (file.size() + 4095) & ~UINT64_C(4095);
  for (int i = 0; i < ehdr->e_shnum; ++i) {
    if (kindOf(names + sections[i].sh_name) != LATHE_SECTION_WEIGHTS) {
      continue;
    }
    if (sections[i].sh_size != weights.size()) {
      die("the placeholder has another size than the weights");
    }
    sections[i].sh_type = SHT_PROGBITS;
    sections[i].sh_flags &= ~uint64_t(SHF_WRITE);
    sections[i].sh_offset = at;
    for (int k = 0; k < ehdr->e_phnum; ++k) {
      if (phdrs[k].p_type == PT_LOAD && phdrs[k].p_vaddr == sections[i].sh_addr) {
        phdrs[k].p_offset = at;
        phdrs[k].p_filesz = phdrs[k].p_memsz = weights.size();
        phdrs[k].p_flags = PF_R;
      }
    }
  }
  file.resize(at);
  file.insert(file.end(), weights.begin(), weights.end());
}

struct Tiler {
  lathe_artifact_header &header;
  void add(uint32_t kind, uint64_t address, uint64_t size) {
    if (header.section_count == LATHE_MAX_SECTIONS) {
      die("too many sections");
    }
    header.sections[header.section_count++] = {kind, 0, address, size};
  }
  /// Covers what lies between the last tile and `address`.
  void fill(uint64_t segmentBegin, uint64_t address) {
    lathe_artifact_section *last =
        header.section_count ? &header.sections[header.section_count - 1] : nullptr;
    if (!last || last->address < segmentBegin) {
      return;
    }
    uint64_t end = last->address + last->size;
    if (end >= address) {
      return;
    }
    if (last->kind == LATHE_SECTION_HEADERS || last->kind == LATHE_SECTION_NOTE) {
      add(LATHE_SECTION_LINKAGE, end, address - end);
    } else {
      last->size = address - last->address;
    }
  }
};

void tile(const Bytes &file, lathe_artifact_header &header) {
  auto *ehdr = reinterpret_cast<const Elf64_Ehdr *>(file.data());
  auto *sections = reinterpret_cast<const Elf64_Shdr *>(file.data() + ehdr->e_shoff);
  auto *phdrs = reinterpret_cast<const Elf64_Phdr *>(file.data() + ehdr->e_phoff);
  const char *names = reinterpret_cast<const char *>(file.data()) + sections[ehdr->e_shstrndx].sh_offset;
  Tiler tiler{header};
  for (int k = 0; k < ehdr->e_phnum; ++k) {
    const Elf64_Phdr &segment = phdrs[k];
    if (segment.p_type != PT_LOAD) {
      continue;
    }
    header.image_end = segment.p_vaddr + segment.p_memsz;
    if (segment.p_vaddr == 0) {
      tiler.add(LATHE_SECTION_HEADERS, 0, sizeof *ehdr + ehdr->e_phnum * sizeof *phdrs);
    }
    for (int i = 0; i < ehdr->e_shnum; ++i) {
      const Elf64_Shdr &section = sections[i];
      bool inside =
          section.sh_addr >= segment.p_vaddr && section.sh_addr < segment.p_vaddr + segment.p_filesz;
      if ((section.sh_flags & SHF_ALLOC) && section.sh_type != SHT_NOBITS && section.sh_size && inside) {
        tiler.fill(segment.p_vaddr, section.sh_addr);
        tiler.add(kindOf(names + section.sh_name), section.sh_addr, section.sh_size);
      }
    }
    tiler.fill(segment.p_vaddr, segment.p_vaddr + segment.p_filesz);
  }
}

/// The address of the one dynamic symbol that is a table.
uint64_t findTable(const Bytes &file) {
  auto *ehdr = reinterpret_cast<const Elf64_Ehdr *>(file.data());
  auto *sections = reinterpret_cast<const Elf64_Shdr *>(file.data() + ehdr->e_shoff);
  for (int i = 0; i < ehdr->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_DYNSYM) {
      continue;
    }
    const char *names = reinterpret_cast<const char *>(file.data()) + sections[sections[i].sh_link].sh_offset;
    auto *symbols = reinterpret_cast<const Elf64_Sym *>(file.data() + sections[i].sh_offset);
    for (uint64_t k = 0; k < sections[i].sh_size / sizeof *symbols; ++k) {
      if (std::string(names + symbols[k].st_name).rfind("lathe_model_", 0) == 0) {
        return symbols[k].st_value;
      }
    }
  }
  die("no table");
}

unsigned char *at(Bytes &file, const lathe_elf_view &view, uint64_t address, uint64_t size) {
  const unsigned char *found = lathe_elf_at(&view, address, size);
  if (!found) {
    die("an address outside the image");
  }
  return file.data() + (found - file.data());
}
} // namespace

Bytes seal(Bytes file, const Bytes &weights, const std::function<void(lathe_artifact_header &)> &change) {
  attachWeights(file, weights);
  lathe_artifact_header header = {};
  memcpy(header.magic, LATHE_ARTIFACT_MAGIC, sizeof header.magic);
  header.container_version = LATHE_CONTAINER_VERSION;
  header.bytes = sizeof header;
  header.abi_major = LATHE_ABI_MAJOR;
  header.abi_minor = LATHE_ABI_MINOR;
  snprintf(header.compiler, sizeof header.compiler, "a test");
  snprintf(header.triple, sizeof header.triple, "x86_64-unknown-linux-gnu");
  header.entry = findTable(file);
  tile(file, header);
  lathe_elf_view view;
  if (lathe_elf_open(&view, file.data(), file.size())) {
    die(view.why);
  }
  auto *table = reinterpret_cast<const lathe_table *>(lathe_elf_at(&view, header.entry, sizeof(lathe_table)));
  header.fingerprint = table->fingerprint;
  header.target_count = table->variant_count;
  auto *variants =
      reinterpret_cast<const lathe_variant_info *>(table->variants + reinterpret_cast<const char *>(table));
  for (uint32_t i = 0; i < table->variant_count; ++i) {
    memcpy(header.targets[i].isa, variants[i].isa, sizeof variants[i].isa);
    header.targets[i].cpu_features = variants[i].cpu_features;
  }
  for (uint32_t i = 0; i < header.section_count; ++i) {
    lathe_artifact_section &section = header.sections[i];
    unsigned char *data = at(file, view, section.address, section.size);
    if (section.kind == LATHE_SECTION_HEADERS) {
      section.crc = lathe_elf_headers_crc(&view);
    } else if (section.kind == LATHE_SECTION_CHUNK_SUMS) {
      for (uint64_t chunk = 0; chunk < LATHE_CHUNK_COUNT(weights.size()); ++chunk) {
        uint64_t begin = chunk * LATHE_CHUNK_BYTES;
        uint32_t crc =
            lathe_crc32c(0, weights.data() + begin, std::min(LATHE_CHUNK_BYTES, weights.size() - begin));
        memcpy(data + 4 * chunk, &crc, 4);
      }
      section.crc = lathe_crc32c(0, data, section.size);
    } else if (section.kind == LATHE_SECTION_WEIGHTS) {
      for (uint32_t k = 0; k < i; ++k) {
        section.crc =
            header.sections[k].kind == LATHE_SECTION_CHUNK_SUMS ? header.sections[k].crc : section.crc;
      }
    } else if (section.kind != LATHE_SECTION_NOTE) {
      section.crc = lathe_crc32c(0, data, section.size);
    }
  }
  if (change) {
    change(header);
  }
  header.crc = lathe_crc32c(0, &header, offsetof(lathe_artifact_header, crc));
  uint64_t note = lathe_elf_note(&view);
  memcpy(at(file, view, note, LATHE_NOTE_BYTES) + LATHE_NOTE_PREFIX_BYTES, &header, sizeof header);
  return file;
}

Bytes sealTiny(const std::string &name, const std::function<void(lathe_artifact_header &)> &change) {
  Bytes linked = readFile(tinyPath(name));
  if (linked.empty()) {
    die("a linked library is missing");
  }
  Bytes weights(name == "large" ? 9 << 20 : 64);
  const float first[] = {1, 2, 3, 4};
  memcpy(weights.data(), first, sizeof first);
  return seal(std::move(linked), weights, change);
}

void resealHeaders(Bytes &artifact) {
  lathe_elf_view view;
  lathe_elf_open(&view, artifact.data(), artifact.size());
  unsigned char *note = at(artifact, view, lathe_elf_note(&view), LATHE_NOTE_BYTES) + LATHE_NOTE_PREFIX_BYTES;
  lathe_artifact_header header;
  memcpy(&header, note, sizeof header);
  for (lathe_artifact_section &section : header.sections) {
    if (section.kind == LATHE_SECTION_HEADERS) {
      section.crc = lathe_elf_headers_crc(&view);
    } else if (section.kind && section.kind != LATHE_SECTION_NOTE && section.kind != LATHE_SECTION_WEIGHTS) {
      section.crc = lathe_crc32c(0, at(artifact, view, section.address, section.size), section.size);
    }
  }
  header.crc = lathe_crc32c(0, &header, offsetof(lathe_artifact_header, crc));
  memcpy(note, &header, sizeof header);
}

TempFile::TempFile(const Bytes &contents) {
  const char *folder = getenv("TMPDIR");
  name = std::string(folder ? folder : "/tmp") + "/lathe-test-XXXXXX";
  int fd = mkstemp(name.data());
  if (fd < 0) {
    die("cannot make a temporary file");
  }
  for (size_t done = 0; done < contents.size();) {
    ssize_t n = write(fd, contents.data() + done, contents.size() - done);
    if (n <= 0) {
      die("cannot write a temporary file");
    }
    done += size_t(n);
  }
  close(fd);
}

TempFile::~TempFile() { unlink(name.c_str()); }

} // namespace lathe::test
