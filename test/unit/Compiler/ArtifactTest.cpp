// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// From the LLVM dialect through object and library to sealed files.

#include "lathe/Compiler/Codegen.h"
#include "lathe/Compiler/Link.h"
#include "lathe/Compiler/Seal.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/abi.h"

#include "elfview.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "gtest/gtest.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

namespace {

testing::AssertionResult succeeds(Error error) {
  if (!error) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << toString(std::move(error));
}

constexpr uint64_t fingerprint = 0x0123456789abcdef;

/// A table with one function beside it, as offset from the table; the function adds up `n` floats of the
/// weights.
const char *const source = R"mlir(
module {
  llvm.mlir.global constant @lathe_model_0123456789abcdef() {addr_space = 0 : i32} : !llvm.array<2 x i32> {
    %a = llvm.mlir.undef : !llvm.array<2 x i32>
    %f = llvm.mlir.addressof @sum : !llvm.ptr
    %t = llvm.mlir.addressof @lathe_model_0123456789abcdef : !llvm.ptr
    %fi = llvm.ptrtoint %f : !llvm.ptr to i64
    %ti = llvm.ptrtoint %t : !llvm.ptr to i64
    %d = llvm.sub %fi, %ti : i64
    %d32 = llvm.trunc %d : i64 to i32
    %seven = llvm.mlir.constant(7 : i32) : i32
    %b = llvm.insertvalue %d32, %a[0] : !llvm.array<2 x i32>
    %c = llvm.insertvalue %seven, %b[1] : !llvm.array<2 x i32>
    llvm.return %c : !llvm.array<2 x i32>
  }
  llvm.func @sum(%p: !llvm.ptr, %n: i64) -> f32 {
    %zero = llvm.mlir.constant(0 : i64) : i64
    %one = llvm.mlir.constant(1 : i64) : i64
    %f0 = llvm.mlir.constant(0.0 : f32) : f32
    llvm.br ^head(%zero, %f0 : i64, f32)
  ^head(%i: i64, %s: f32):
    %more = llvm.icmp "slt" %i, %n : i64
    llvm.cond_br %more, ^body, ^exit
  ^body:
    %q = llvm.getelementptr %p[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
    %v = llvm.load %q : !llvm.ptr -> f32
    %t = llvm.fadd %s, %v : f32
    %j = llvm.add %i, %one : i64
    llvm.br ^head(%j, %t : i64, f32)
  ^exit:
    llvm.return %s : f32
  }
  llvm.func @unused(%p: !llvm.ptr) -> f32 {
    %v = llvm.load %p : !llvm.ptr -> f32
    llvm.return %v : f32
  }
}
)mlir";

struct Artifact : testing::Test {
  mlir::MLIRContext context;
  SmallString<128> folder;

  void SetUp() override {
    context.loadDialect<mlir::LLVM::LLVMDialect>();
    ASSERT_FALSE(sys::fs::createUniqueDirectory("lathe-artifact", folder));
  }
  void TearDown() override { sys::fs::remove_directories(folder); }

  std::string in(StringRef name) { return (folder + "/" + name).str(); }

  CodegenOptions options() {
    CodegenOptions options;
    options.base = cantFail(cpu::resolveTarget("x86-64-v3", {}));
    options.exported = {tableSymbol(fingerprint)};
    return options;
  }
  Expected<SmallVector<char, 0>> compile(StringRef text, std::string *ir = nullptr) {
    return compile(text, options(), ir);
  }
  Expected<SmallVector<char, 0>> compile(StringRef text, const CodegenOptions &options, std::string *ir) {
    mlir::OwningOpRef<mlir::ModuleOp> module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    if (!module) {
      return createStringError("the test's source does not parse");
    }
    return emitObject(*module, options, ir);
  }
  ArtifactInfo info(uint64_t weightBytes) {
    ArtifactInfo info;
    info.fingerprint = fingerprint;
    info.weightBytes = weightBytes;
    info.targets = {{"x86-64-v3", options().base.cpuFeatures}};
    return info;
  }
  /// Static output of the source, `name`.a and what belongs to it, whose symbols end with `id`.
  Error makeStatic(StringRef id, ArrayRef<float> weights, bool asObject, StringRef name) {
    SmallVector<StringRef> pieces;
    StringRef(source).split(pieces, tableSymbol(fingerprint));
    CodegenOptions with = options();
    with.exported = {"lathe_model_" + id.str()};
    Expected<SmallVector<char, 0>> object = compile(join(pieces, with.exported.front()), with, nullptr);
    if (!object) {
      return object.takeError();
    }
    ArtifactInfo about = info(weights.size() * sizeof(float));
    about.symbolId = id.str();
    return writeStaticArchive(*object, about, stream(weights, 100), asObject, in((name + ".a").str()));
  }
  static std::string slurp(StringRef path) {
    auto buffer = MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  }
  /// Object, library, artifact, with `weights` handed over in pieces of `piece` floats.
  Error make(ArrayRef<float> weights, StringRef name, size_t piece = 1000) {
    Expected<SmallVector<char, 0>> object = compile(source);
    if (!object) {
      return object.takeError();
    }
    uint64_t bytes = weights.size() * sizeof(float);
    Expected<SmallVector<char, 0>> library = linkShared(*object, bytes);
    if (!library) {
      return library.takeError();
    }
    return sealArtifact(*library, info(bytes), stream(weights, piece), in(name));
  }
  struct Stream {
    ArrayRef<float> weights;
    size_t piece;
    Error operator()(ByteSink sink) const {
      for (size_t at = 0; at < weights.size(); at += piece) {
        ArrayRef<float> part = weights.slice(at, std::min(piece, weights.size() - at));
        if (Error error =
                sink(ArrayRef(reinterpret_cast<const char *>(part.data()), part.size() * sizeof(float)))) {
          return error;
        }
      }
      return Error::success();
    }
  };
  Stream current;
  WeightSource stream(ArrayRef<float> weights, size_t piece) {
    current = {weights, piece};
    return current;
  }
  size_t filesLeft() {
    std::error_code error;
    size_t count = 0;
    for (sys::fs::directory_iterator i(folder, error), end; i != end && !error; i.increment(error)) {
      ++count;
    }
    return count;
  }
};

std::vector<float> ramp(size_t count) {
  std::vector<float> weights(count);
  for (size_t i = 0; i < count; ++i) {
    weights[i] = float(i % 17);
  }
  return weights;
}

lathe_artifact_header headerOf(const std::string &bytes, lathe_elf_view &view) {
  lathe_artifact_header header = {};
  EXPECT_EQ(lathe_elf_open(&view, bytes.data(), bytes.size()), LATHE_ELF_OK) << view.why;
  uint64_t note = lathe_elf_note(&view);
  EXPECT_NE(note, 0u);
  if (const unsigned char *p = lathe_elf_at(&view, note, LATHE_NOTE_BYTES)) {
    memcpy(&header, p + LATHE_NOTE_PREFIX_BYTES, sizeof header);
  }
  return header;
}

TEST_F(Artifact, loadsAndFindsItsWeights) {
  std::vector<float> weights = ramp(5000);
  ASSERT_TRUE(succeeds(make(weights, "m.so")));
  void *library = dlopen(in("m.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  auto *table = static_cast<const int32_t *>(dlsym(library, "lathe_model_0123456789abcdef"));
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(table[1], 7);
  std::string bytes = slurp(in("m.so"));
  lathe_elf_view view;
  lathe_artifact_header header = headerOf(bytes, view);
  const auto *base = reinterpret_cast<const char *>(table) - header.entry;
  uint64_t address = 0;
  for (const lathe_artifact_section &s : ArrayRef(header.sections, header.section_count)) {
    address = s.kind == LATHE_SECTION_WEIGHTS ? s.address : address;
  }
  ASSERT_NE(address, 0u);
  using Sum = float (*)(const void *, int64_t);
  auto sum = reinterpret_cast<Sum>(reinterpret_cast<uintptr_t>(table) + table[0]);
  float expected = 0;
  for (float w : weights) {
    expected += w;
  }
  EXPECT_EQ(sum(base + address, weights.size()), expected);
  dlclose(library);
}

TEST_F(Artifact, tilesCoverEverySegmentAndAreSummed) {
  ASSERT_TRUE(succeeds(make(ramp(3 << 20), "m.so", 12345))); // 12 MiB: three chunks
  std::string bytes = slurp(in("m.so"));
  lathe_elf_view view;
  lathe_artifact_header header = headerOf(bytes, view);
  EXPECT_EQ(header.crc, lathe_crc32c(0, &header, offsetof(lathe_artifact_header, crc)));
  uint32_t next = 0, sumsCrc = 0;
  const uint32_t *sums = nullptr;
  for (const Elf64_Phdr &p : ArrayRef(view.phdr, view.ehdr.e_phnum)) {
    if (p.p_type != PT_LOAD || p.p_filesz == 0) {
      continue;
    }
    for (uint64_t at = p.p_vaddr; at < p.p_vaddr + p.p_filesz; ++next) {
      ASSERT_LT(next, header.section_count);
      const lathe_artifact_section &tile = header.sections[next];
      ASSERT_EQ(tile.address, at);
      const unsigned char *data = lathe_elf_at(&view, tile.address, tile.size);
      ASSERT_NE(data, nullptr);
      if (tile.kind == LATHE_SECTION_HEADERS) {
        EXPECT_EQ(tile.crc, lathe_elf_headers_crc(&view));
      } else if (tile.kind == LATHE_SECTION_WEIGHTS) {
        EXPECT_EQ(tile.crc, sumsCrc);
        ASSERT_NE(sums, nullptr);
        for (uint64_t i = 0; i < LATHE_CHUNK_COUNT(tile.size); ++i) {
          uint64_t size = std::min(LATHE_CHUNK_BYTES, tile.size - i * LATHE_CHUNK_BYTES);
          EXPECT_EQ(sums[i], lathe_crc32c(0, data + i * LATHE_CHUNK_BYTES, size)) << i;
        }
      } else if (tile.kind != LATHE_SECTION_NOTE) {
        EXPECT_EQ(tile.crc, lathe_crc32c(0, data, tile.size)) << tile.kind;
      }
      if (tile.kind == LATHE_SECTION_CHUNK_SUMS) {
        sums = reinterpret_cast<const uint32_t *>(data);
        sumsCrc = tile.crc;
      }
      at += tile.size;
    }
  }
  EXPECT_EQ(next, header.section_count);
}

TEST_F(Artifact, sameInputGivesSameBytesWhateverThePieces) {
  ASSERT_TRUE(succeeds(make(ramp(100000), "a.so", 1000)));
  ASSERT_TRUE(succeeds(make(ramp(100000), "b.so", 77777)));
  std::string a = slurp(in("a.so"));
  EXPECT_FALSE(a.empty());
  EXPECT_EQ(a, slurp(in("b.so")));
}

TEST_F(Artifact, withoutWeights) {
  ASSERT_TRUE(succeeds(make({}, "m.so")));
  void *library = dlopen(in("m.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  EXPECT_NE(dlsym(library, "lathe_model_0123456789abcdef"), nullptr);
  EXPECT_EQ(dlsym(library, "sum"), nullptr);
  dlclose(library);
}

TEST_F(Artifact, survivesStrip) {
  ASSERT_TRUE(succeeds(make(ramp(5000), "m.so")));
  std::string before = slurp(in("m.so"));
  ASSERT_EQ(system(("strip " + in("m.so")).c_str()), 0);
  std::string after = slurp(in("m.so"));
  lathe_elf_view a, b;
  lathe_artifact_header first = headerOf(before, a), second = headerOf(after, b);
  EXPECT_EQ(memcmp(&first, &second, sizeof first), 0);
  for (const lathe_artifact_section &s : ArrayRef(first.sections, first.section_count)) {
    const unsigned char *x = lathe_elf_at(&a, s.address, s.size), *y = lathe_elf_at(&b, s.address, s.size);
    ASSERT_TRUE(x && y);
    EXPECT_TRUE(s.kind == LATHE_SECTION_HEADERS || memcmp(x, y, s.size) == 0) << s.kind;
  }
  EXPECT_EQ(lathe_elf_headers_crc(&a), lathe_elf_headers_crc(&b));
}

TEST_F(Artifact, holesStayHoles) {
  ASSERT_TRUE(succeeds(make(std::vector<float>(16 << 20), "m.so", 1 << 20))); // 64 MiB of zeros
  struct stat st;
  ASSERT_EQ(stat(in("m.so").c_str(), &st), 0);
  EXPECT_GT(st.st_size, 64 << 20);
  EXPECT_LT(st.st_blocks * 512, 1 << 20);
}

TEST_F(Artifact, wrongAmountOfWeightsLeavesNoFile) {
  std::vector<float> weights = ramp(100);
  SmallVector<char, 0> object = cantFail(compile(source));
  SmallVector<char, 0> library = cantFail(linkShared(object, 400));
  for (size_t count : {99, 101}) {
    std::vector<float> other = ramp(count);
    Error error = sealArtifact(library, info(400), stream(other, 50), in("m.so"));
    EXPECT_EQ(takeModelErrors(std::move(error)).front().code, ErrorCode::E0900);
    EXPECT_EQ(filesLeft(), 0u);
  }
}

TEST_F(Artifact, failingSourceKeepsTheFileBefore) {
  ASSERT_TRUE(succeeds(writeFile(in("m.so"), {'o', 'l', 'd'})));
  SmallVector<char, 0> library = cantFail(linkShared(cantFail(compile(source)), 400));
  auto source = [](ByteSink) -> Error { return modelError(ErrorCode::E0108, "truncated"); };
  Error error = sealArtifact(library, info(400), source, in("m.so"));
  EXPECT_EQ(takeModelErrors(std::move(error)).front().code, ErrorCode::E0108);
  EXPECT_EQ(slurp(in("m.so")), "old");
  EXPECT_EQ(filesLeft(), 1u);
}

TEST_F(Artifact, refusesToReplaceWhatIsNoFile) {
  Error error = writeFile("/dev/null", {});
  EXPECT_EQ(takeModelErrors(std::move(error)).front().code, ErrorCode::E0003);
}

TEST_F(Artifact, unwritableFolderIsAUsageError) {
  Error error = make({}, "no/such/m.so");
  EXPECT_EQ(takeModelErrors(std::move(error)).front().code, ErrorCode::E0003);
}

TEST_F(Artifact, foreignSymbolsAreRefused) {
  SmallVector<char, 0> object = cantFail(compile(R"mlir(
    llvm.func @expf(f32) -> f32
    llvm.func @malloc(i64) -> !llvm.ptr
    llvm.func @memcpy(!llvm.ptr, !llvm.ptr, i64) -> !llvm.ptr
    llvm.func @lathe_model_0123456789abcdef(%x: f32, %p: !llvm.ptr, %n: i64) -> f32 {
      %q = llvm.call @malloc(%n) : (i64) -> !llvm.ptr
      %r = llvm.call @memcpy(%q, %p, %n) : (!llvm.ptr, !llvm.ptr, i64) -> !llvm.ptr
      %y = llvm.call @expf(%x) : (f32) -> f32
      %z = llvm.load volatile %q : !llvm.ptr -> f32
      %s = llvm.fadd %y, %z : f32
      llvm.return %s : f32
    })mlir"));
  std::vector<ModelError> errors = takeModelErrors(checkUndefinedSymbols(object));
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].code, ErrorCode::E0906);
  EXPECT_EQ(errors[0].message, "compiled code refers to expf, malloc");
}

TEST_F(Artifact, variablesAreRefused) {
  SmallVector<char, 0> object = cantFail(compile(R"mlir(
    llvm.mlir.global internal @state(1 : i32) : i32
    llvm.func @lathe_model_0123456789abcdef() -> i32 {
      %p = llvm.mlir.addressof @state : !llvm.ptr
      %v = llvm.load volatile %p : !llvm.ptr -> i32
      llvm.store volatile %v, %p : i32, !llvm.ptr
      llvm.return %v : i32
    })mlir"));
  SmallVector<char, 0> library = cantFail(linkShared(object, 0));
  std::vector<ModelError> errors = takeModelErrors(sealArtifact(library, info(0), stream({}, 1), in("m.so")));
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].code, ErrorCode::E0905);
  EXPECT_NE(errors[0].message.find("variables or constructors of its own, in .data"), std::string::npos);
}

TEST_F(Artifact, damagedObjectIsAnErrorOfTheLinkNotOfTheProcess) {
  SmallVector<char, 0> object = cantFail(compile(source));
  object.resize(object.size() / 2);
  // In a child: no link runs after a fatal error.
  auto link = [&] {
    std::vector<ModelError> first = takeModelErrors(linkShared(object, 0).takeError());
    std::vector<ModelError> second = takeModelErrors(linkShared(object, 0).takeError());
    return first.size() == 1 && second.size() == 1 ? 0 : 1;
  };
  EXPECT_EXIT(_exit(link()), testing::ExitedWithCode(0), "");
}

TEST_F(Artifact, variantsKeepTheirOwnFeatures) {
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::parseSourceString<mlir::ModuleOp>(source, &context);
  auto sum = module->lookupSymbol<mlir::LLVM::LLVMFuncOp>("sum");
  setTargetAttributes(sum, cantFail(cpu::resolveTarget("x86-64-v4", {})));
  std::string ir;
  ASSERT_TRUE(succeeds(emitObject(*module, options(), &ir).takeError()));
  EXPECT_NE(ir.find("+avx512f"), std::string::npos) << ir;
  EXPECT_NE(ir.find("\"prefer-vector-width\"=\"512\""), std::string::npos) << ir;
  EXPECT_EQ(ir.find("@unused"), std::string::npos) << ir;
}

TEST_F(Artifact, staticFiles) {
  std::vector<float> weights = ramp(1000);
  for (bool asObject : {false, true}) {
    ASSERT_TRUE(succeeds(makeStatic("ab_1", weights, asObject, "my-m")));
  }
  EXPECT_EQ(slurp(in("my-m.weights")).size(), 4000u);
  EXPECT_NE(slurp(in("my-m.h")).find("extern const uint8_t lathe_weights_ab_1[4000];"), std::string::npos);
  // Another compilation of the model, which has other weights.
  ASSERT_TRUE(succeeds(makeStatic("ab_2", ramp(500), /*asObject=*/true, "n")));
  // Link a program with both that adds their weights up through their tables.
  std::string program = R"c(
    #include "my-m.h"
    #include "n.h"
    static int good(const void *model, const void *weights, long n) {
      const int *table = model;
      float (*sum)(const float *, long) = (float (*)(const float *, long))((const char *)table + table[0]);
      float expected = 0;
      for (int i = 0; i < n; ++i) { expected += i % 17; }
      return sum(weights, n) == expected && table[1] == 7;
    }
    int main(void) {
      return good(&lathe_model_ab_1, lathe_weights_ab_1, 1000) &&
             good(&lathe_model_ab_2, lathe_weights_ab_2, 500) ? 0 : 1;
    })c";
  ASSERT_TRUE(succeeds(writeFile(in("t.c"), program)));
  std::string prefix = in("");
  std::string command = "cc -I" LATHE_RUNTIME_INCLUDE " -o " + prefix + "t " + prefix + "t.c " + prefix +
                        "my-m.a " + prefix + "my-m.weights.o " + prefix + "n.a " + prefix +
                        "n.weights.o && " + prefix + "t";
  EXPECT_EQ(system(command.c_str()), 0);
}

TEST_F(Artifact, withoutWeightsTheObjectStillLinks) {
  ASSERT_TRUE(succeeds(makeStatic("ab_1", {}, /*asObject=*/true, "n")));
  ASSERT_TRUE(succeeds(writeFile(in("n.c"), StringRef("int main(void) { return 0; }"))));
  std::string prefix = in("");
  std::string command = "cc -o " + prefix + "n " + prefix + "n.c " + prefix + "n.weights.o " + prefix + "n.a";
  EXPECT_EQ(system(command.c_str()), 0);
}

} // namespace
