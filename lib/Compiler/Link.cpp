// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// lld takes paths: objects go in through memfds, the library comes out through a pipe. (A regular output
/// file it would map, and a full disk would be a SIGBUS inside the linker; beside a memfd it could make no
/// temporary.)

#include "lathe/Compiler/Link.h"
#include "ElfObject.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "lathe/container.h"

#include "lld/Common/Driver.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Support/CrashRecoveryContext.h"
#include "llvm/Support/raw_ostream.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

LLD_HAS_DRIVER(elf)

using namespace llvm;
using namespace lathe;

namespace {

/// Bytes as a file that has a path and lies on no disk.
class MemoryFile {
public:
  static Expected<MemoryFile> create(ArrayRef<char> bytes) {
    MemoryFile file(memfd_create("lathe.o", MFD_CLOEXEC));
    if (file.fd < 0) {
      return systemError(ErrorCode::E0905, "no memory file for the linker", errno);
    }
    while (!bytes.empty()) {
      ssize_t n = write(file.fd, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n <= 0) {
        return systemError(ErrorCode::E0905, "cannot hand an object to the linker", errno);
      }
      bytes = bytes.drop_front(n);
    }
    return file;
  }
  MemoryFile(MemoryFile &&other) : fd(other.fd) { other.fd = -1; }
  ~MemoryFile() {
    if (fd >= 0) {
      close(fd);
    }
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd); }

private:
  explicit MemoryFile(int fd) : fd(fd) {}
  int fd;
};

/// Note, sums and weights of the artifact, empty.
SmallVector<char, 0> makeFrame(uint64_t weightBytes) {
  SmallVector<ElfSection> sections;
  // Kept although nothing refers to them.
  constexpr uint64_t retain = ELF::SHF_GNU_RETAIN;
  sections.push_back({".note.lathe", ELF::SHT_NOTE, ELF::SHF_ALLOC | retain, 4, LATHE_NOTE_BYTES, ""});
  if (weightBytes > 0) {
    sections.push_back({".lathe.sums", ELF::SHT_PROGBITS, ELF::SHF_ALLOC | retain, 8,
                        4 * LATHE_CHUNK_COUNT(weightBytes), ""});
    // Writable, or lld puts it into the first segment with the ELF header; large, so that it comes last and
    // has a segment of its own. The sealer takes the flag away again.
    sections.push_back({".lathe.weights", ELF::SHT_NOBITS,
                        ELF::SHF_ALLOC | ELF::SHF_WRITE | ELF::SHF_X86_64_LARGE | retain, 4096, weightBytes,
                        ""});
  }
  SmallVector<uint64_t> offsets;
  SmallVector<char, 0> bytes = makeElfObject(sections, offsets);
  size_t contents = 0;
  for (auto [section, offset] : zip(sections, offsets)) {
    contents = section.type == ELF::SHT_NOBITS ? contents : offset + section.size;
  }
  bytes.resize(contents, 0);
  // A linker refuses a note without its sizes.
  uint32_t sizes[3] = {sizeof LATHE_NOTE_OWNER, sizeof(struct lathe_artifact_header), LATHE_NOTE_TYPE};
  memcpy(bytes.data() + offsets[0], sizes, sizeof sizes);
  memcpy(bytes.data() + offsets[0] + sizeof sizes, LATHE_NOTE_OWNER, sizeof LATHE_NOTE_OWNER);
  return bytes;
}

struct LinkerState {
  std::mutex mutex;
  bool poisoned = false;
};

/// lld keeps its context in a process-wide pointer: one link at a time, and none after a fatal error.
LinkerState &linkerState() {
  static LinkerState state;
  return state;
}

Error runLinker(ArrayRef<const char *> arguments) {
  LinkerState &state = linkerState();
  std::lock_guard<std::mutex> lock(state.mutex);
  if (state.poisoned) {
    return modelError(ErrorCode::E0905, "the linker failed fatally earlier in this process");
  }
  // Without it a fatal error of lld is exit(1), its message lost. It owns the handlers of SIGSEGV and friends
  // while it is on, so it is on no longer than needed.
  CrashRecoveryContext::Enable();
  std::string messages;
  raw_string_ostream os(messages);
  lld::Result result = lld::lldMain(arguments, os, os, {{lld::Gnu, &lld::elf::link}});
  CrashRecoveryContext::Disable();
  state.poisoned = !result.canRunAgain;
  if (result.retCode != 0) {
    return modelError(ErrorCode::E0905, "the link failed: " + StringRef(messages).trim());
  }
  return Error::success();
}

} // namespace

/// Success if an object refers to memcpy and its kin, and to what `isKnown`, alone.
static Error checkUndefined(ArrayRef<char> bytes, function_ref<bool(StringRef)> isKnown) {
  MemoryBufferRef buffer(StringRef(bytes.data(), bytes.size()), "kernels");
  Expected<std::unique_ptr<object::ObjectFile>> object = object::ObjectFile::createObjectFile(buffer);
  if (!object) {
    return object.takeError();
  }
  SmallVector<std::string> foreign;
  for (object::SymbolRef symbol : (*object)->symbols()) {
    Expected<uint32_t> flags = symbol.getFlags();
    if (!flags) {
      return flags.takeError();
    }
    if (!(*flags & object::SymbolRef::SF_Undefined)) {
      continue;
    }
    Expected<StringRef> name = symbol.getName();
    if (!name) {
      return name.takeError();
    }
    // The first entry of every symbol table is undefined and has no name.
    if (!name->empty() && *name != "memcpy" && *name != "memmove" && *name != "memset" && !isKnown(*name)) {
      foreign.push_back(name->str());
    }
  }
  if (foreign.empty()) {
    return Error::success();
  }
  llvm::sort(foreign);
  return modelError(ErrorCode::E0906, "compiled code refers to " + join(foreign, ", "));
}

Error lathe::checkUndefinedSymbols(ArrayRef<char> object) {
  return checkUndefined(object, [](StringRef) { return false; });
}

namespace {

/// Takes what is written into a pipe, in a thread of its own. std::thread would end the process when there is
/// no memory for one.
class LibraryReader {
public:
  Error start() {
    if (pipe2(ends, O_CLOEXEC) != 0) {
      return systemError(ErrorCode::E0905, "no pipe for the linker", errno);
    }
    constexpr size_t stackBytes = 256 << 10;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stackBytes);
    int error = pthread_create(&thread, &attributes, &LibraryReader::readAll, this);
    pthread_attr_destroy(&attributes);
    if (error != 0) {
      close(ends[0]);
      close(ends[1]);
      return systemError(ErrorCode::E0904, "no thread for the linker's output", error);
    }
    return Error::success();
  }

  int writeEnd() const { return ends[1]; }

  /// All that was written. Call it once.
  SmallVector<char, 0> finish() {
    close(ends[1]);
    pthread_join(thread, nullptr);
    close(ends[0]);
    return std::move(library);
  }

private:
  static void *readAll(void *argument) {
    auto *self = static_cast<LibraryReader *>(argument);
    char chunk[1 << 16];
    for (ssize_t n; (n = read(self->ends[0], chunk, sizeof chunk)) != 0;) {
      if (n > 0) {
        self->library.append(chunk, chunk + n);
      } else if (errno != EINTR) {
        break;
      }
    }
    return nullptr;
  }

  int ends[2] = {-1, -1};
  pthread_t thread = {};
  SmallVector<char, 0> library;
};

} // namespace

/// A shared library of `objects`.
static Expected<SmallVector<char, 0>> link(ArrayRef<ArrayRef<char>> objects) {
  SmallVector<MemoryFile, 2> files;
  SmallVector<std::string, 2> paths;
  for (ArrayRef<char> object : objects) {
    Expected<MemoryFile> file = MemoryFile::create(object);
    if (!file) {
      return file.takeError();
    }
    files.push_back(std::move(*file));
    paths.push_back(files.back().path());
  }
  LibraryReader reader;
  if (Error error = reader.start()) {
    return error;
  }
  std::string output = "/proc/self/fd/" + std::to_string(reader.writeEnd());
  // No -soname: the loader would take two artifacts of one name for the same library. -z undefs: memcpy and
  // its kin come from the host's C library, without a DT_NEEDED. The page size keeps the file from growing by
  // 64 KiB.
  SmallVector<const char *> args = {
      "ld.lld",
      "-shared",
      "-o",
      output.c_str(),
      "-zrelro",
      "-znow",
      "-ztext",
      "-znoexecstack",
      "-zmax-page-size=4096",
      "-zundefs",
      "--build-id=none",
      "--strip-all",
      "-Bsymbolic",
      "--gc-sections",
      "--hash-style=gnu",
      "--threads=1",
      "--color-diagnostics=never",
  };
  for (const std::string &path : paths) {
    args.push_back(path.c_str());
  }
  Error error = runLinker(args);
  SmallVector<char, 0> library = reader.finish();
  if (error) {
    return error;
  }
  return library;
}

Expected<SmallVector<char, 0>> lathe::linkShared(ArrayRef<char> object, uint64_t weightBytes) {
  if (Error error = checkUndefinedSymbols(object)) {
    return error;
  }
  SmallVector<char, 0> frame = makeFrame(weightBytes);
  return link({object, frame});
}

Expected<SmallVector<char, 0>> lathe::linkForEmulator(ArrayRef<char> object, StringRef prefix) {
  if (Error error = checkUndefined(object, [&](StringRef name) { return name.starts_with(prefix); })) {
    return error;
  }
  return link(object);
}
