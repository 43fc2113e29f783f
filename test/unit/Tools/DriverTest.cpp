// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// The driver as users call it.

#include "TinyModel.h"
#include "lathe.h"
#include "lathe/Npz/Npz.h"
#include "lathe/Support/OutputFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "gtest/gtest.h"
#include <cstdio>
#include <sys/wait.h>

using namespace llvm;
using namespace lathe;

namespace {

/// Fields of protobuf's wire format, for numbers and lengths below 128.
std::string field(int number, const std::string &bytes) {
  return std::string{char(number << 3 | 2), char(bytes.size())} + bytes;
}
std::string field(int number, int value) { return {char(number << 3), char(value)}; }

/// y = Relu(x), f32 [N, 4], in operator set 17.
std::string reluModel() {
  std::string shape = field(1, field(2, std::string("N"))) + field(1, field(1, 4));
  std::string type = field(2, field(1, field(1, 1) + field(2, shape)));
  std::string node = field(1, std::string("x")) + field(2, std::string("y")) +
                     field(3, std::string("/act/Relu")) + field(4, std::string("Relu"));
  std::string graph = field(1, node) + field(2, std::string("g")) +
                      field(11, field(1, std::string("x")) + type) +
                      field(12, field(1, std::string("y")) + type);
  return field(1, 8) + field(7, graph) + field(8, field(2, 17));
}

struct Driver : testing::Test {
  SmallString<128> folder;
  int status = 0;
  std::string out, err;

  void SetUp() override { ASSERT_FALSE(sys::fs::createUniqueDirectory("lathe-driver", folder)); }
  void TearDown() override { sys::fs::remove_directories(folder); }

  std::string in(StringRef name) { return (folder + "/" + name).str(); }
  static std::string slurp(StringRef path) {
    auto buffer = MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  }
  /// Runs `lathe ARGUMENTS` in the folder.
  void lathe(StringRef arguments, StringRef environment = "") {
    std::string command = ("cd " + folder + " && " + environment + " " LATHE_DRIVER " " + arguments +
                           " > .out 2> .err < /dev/null")
                              .str();
    int result = system(command.c_str());
    status = WIFEXITED(result) ? WEXITSTATUS(result) : -1;
    out = slurp(in(".out"));
    err = slurp(in(".err"));
  }
  void makeModel() {
    Error error = test::makeTinyModel(in("m.so"));
    ASSERT_FALSE(bool(error)) << toString(std::move(error));
  }
  json::Value outJSON() {
    Expected<json::Value> value = json::parse(out);
    EXPECT_TRUE(bool(value)) << out;
    if (!value) {
      consumeError(value.takeError());
      return nullptr;
    }
    return std::move(*value);
  }
};

TEST_F(Driver, helpIsWhatWasAskedFor) {
  lathe("help");
  EXPECT_EQ(status, 0);
  EXPECT_EQ(out.find("usage: lathe COMMAND"), 0u);
  EXPECT_EQ(err, "");
  lathe("compile --help");
  EXPECT_EQ(status, 0);
  EXPECT_EQ(out.find("usage: lathe compile"), 0u);
}

TEST_F(Driver, usageErrorsExitOneAndPrintNothingOnStandardOutput) {
  for (const char *arguments :
       {"", "compil", "compile", "compile m.onnx", "compile m.onnx -o m.txt",
        "compile m.onnx -o m.so --shap=x", "compile m.onnx -o m.so --target=avx9",
        "compile m.onnx -o m.so --shape=x", "compile m.onnx -o m.so extra", "compile m.onnx -o",
        "compile m.onnx -o m.so --threads=0", "compile m.onnx -o m.so --memory-limit=1X",
        "compile m.onnx --to=nn --from=llvm", "compile m.onnx -o m.so -O0=1", "run", "run no.so",
        "bench no.so --vs=x", "check --explain E1234", "inspect"}) {
    lathe(arguments);
    EXPECT_EQ(status, 1) << arguments << err;
    EXPECT_EQ(out, "") << arguments;
    EXPECT_NE(err, "") << arguments;
  }
}

TEST_F(Driver, misspelledOptionsNameTheNearest) {
  lathe("compile m.onnx -o m.so --trget=native");
  EXPECT_NE(err.find("did you mean --target?"), std::string::npos) << err;
}

TEST_F(Driver, explainsErrorCodes) {
  lathe("check --explain E0304");
  EXPECT_EQ(status, 0);
  EXPECT_EQ(out.find("E0304 (invalid model, exit status 3)"), 0u) << out;
}

TEST_F(Driver, missingModelIsAnErrorWithoutOutput) {
  lathe("compile no.onnx -o m.so --report r.json");
  EXPECT_EQ(status, 1) << err;
  EXPECT_EQ(out, "");
  EXPECT_FALSE(sys::fs::exists(in("m.so")));
  Expected<json::Value> report = json::parse(slurp(in("r.json")));
  ASSERT_TRUE(bool(report));
  const json::Array *errors = report->getAsObject()->getArray("errors");
  ASSERT_TRUE(errors && errors->size() == 1);
  EXPECT_EQ((*errors)[0].getAsObject()->getString("code"), "E0002");
}

TEST_F(Driver, missingFolderIsFoundBeforeTheWork) {
  cantFail(writeFile(in("m.onnx"), {}));
  lathe("compile m.onnx -o no/such/m.so");
  EXPECT_EQ(status, 1);
  EXPECT_EQ(err, "error[E0003]: cannot write \"no/such/m.so\": no such file or directory\n");
}

TEST_F(Driver, timeLimitIsAnErrorWithReproducer) {
  cantFail(writeFile(in("m.mlir"), {}));
  // The first look at the clock comes after the start of the process.
  lathe("compile m.mlir --from=nn -o m.so --time-limit=0.000001", "TMPDIR=.");
  EXPECT_EQ(status, 4) << err;
  EXPECT_NE(err.find("error[E0903]"), std::string::npos) << err;
  EXPECT_NE(err.find("is in ./lathe-reproducer"), std::string::npos) << err;
}

TEST_F(Driver, runsOnFilesAndWritesFiles) {
  makeModel();
  float x[8] = {10, 10, 10, 10, 20, 20, 20, 20};
  int64_t dims[] = {2, 4};
  cantFail(
      writeNpy(in("x.npy"), {"x", LATHE_FLOAT32, dims, ArrayRef(reinterpret_cast<char *>(x), sizeof x)}));
  lathe("run m.so --input x=x.npy --outputs out.npz --output y=y.npy --threads=1");
  EXPECT_EQ(status, 0) << err;
  EXPECT_EQ(out, "");
  EXPECT_NE(err.find("output \"y\" f32 [2, 4]: min 11, mean 17.5, max 24"), std::string::npos) << err;
  std::vector<Array> arrays = cantFail(readNpz(in("out.npz")));
  ASSERT_EQ(arrays.size(), 1u);
  EXPECT_EQ(arrays[0].name, "y");
  EXPECT_EQ(reinterpret_cast<float *>(arrays[0].bytes.data())[7], 24);
  Array y = cantFail(readNpy(in("y.npy")));
  EXPECT_EQ(memcmp(y.bytes.data(), arrays[0].bytes.data(), 32), 0);
}

TEST_F(Driver, randomInputsTakeTheirShapesFromOptions) {
  makeModel();
  lathe("run m.so --random --shape=B=3");
  EXPECT_EQ(status, 0) << err;
  EXPECT_NE(err.find("output \"y\" f32 [3, 4]"), std::string::npos) << err;
  lathe("run m.so --random --shape=x=5x4");
  EXPECT_NE(err.find("output \"y\" f32 [5, 4]"), std::string::npos) << err;
  lathe("run m.so --random --shape=x=5x5");
  EXPECT_EQ(status, 1);
  EXPECT_NE(err.find("a dimension is fixed to 4, not 5"), std::string::npos) << err;
}

TEST_F(Driver, wrongInputsAreNamed) {
  makeModel();
  lathe("run m.so");
  EXPECT_EQ(status, 1);
  EXPECT_NE(err.find("no value for input \"x\" f32 [B, 4]"), std::string::npos) << err;
  int64_t dims[] = {1, 5};
  float x[5] = {};
  cantFail(
      writeNpy(in("x.npy"), {"x", LATHE_FLOAT32, dims, ArrayRef(reinterpret_cast<char *>(x), sizeof x)}));
  lathe("run m.so --input x=x.npy");
  EXPECT_EQ(status, 1);
  EXPECT_NE(err.find("error[E0702]"), std::string::npos) << err;
  lathe("run m.so --input z=x.npy --random");
  EXPECT_EQ(status, 1);
  EXPECT_NE(err.find("the model has no input \"z\""), std::string::npos) << err;
}

TEST_F(Driver, damagedArtifactsAreInvalid) {
  makeModel();
  std::string bytes = slurp(in("m.so"));
  cantFail(writeFile(in("t.so"), bytes.substr(0, bytes.size() / 2)));
  lathe("run t.so --random");
  EXPECT_EQ(status, 3) << err;
  EXPECT_NE(err.find("error[E0601]"), std::string::npos) << err;
  cantFail(writeFile(in("t.so"), {'h', 'e', 'l', 'l', 'o'}));
  lathe("run t.so --random");
  EXPECT_EQ(status, 3) << err;
}

TEST_F(Driver, inspectsModels) {
  std::string model = reluModel();
  cantFail(writeFile(in("m.onnx"), model));
  lathe("inspect m.onnx");
  EXPECT_EQ(status, 0) << err;
  EXPECT_NE(out.find("\"x\" f32 [N, 4]"), std::string::npos) << out;
  EXPECT_NE(out.find("1 Relu (version 17)"), std::string::npos) << out;
  lathe("inspect m.onnx --json");
  json::Value value = outJSON();
  const json::Object *o = value.getAsObject();
  ASSERT_TRUE(o);
  EXPECT_EQ(o->getInteger("nodes"), 1);
  EXPECT_EQ((*(*o->getArray("inputs"))[0].getAsObject()->getArray("shape"))[1], 4);
}

TEST_F(Driver, compilesAndRuns) {
  cantFail(writeFile(in("m.onnx"), reluModel()));
  lathe("check m.onnx");
  EXPECT_EQ(status, 0) << err;
  EXPECT_EQ(out, "");
  lathe("compile m.onnx -o m.so --report r.json");
  ASSERT_EQ(status, 0) << err;
  EXPECT_EQ(out, "");
  EXPECT_NE(err.find("wrote m.so"), std::string::npos) << err;
  Expected<json::Value> report = json::parse(slurp(in("r.json")));
  ASSERT_TRUE(bool(report));
  EXPECT_GT(report->getAsObject()->getObject("numbers")->getInteger("peak_memory_bytes").value_or(0), 0);
  float x[4] = {-1, 2, -3, 4};
  int64_t dims[] = {1, 4};
  cantFail(
      writeNpy(in("x.npy"), {"x", LATHE_FLOAT32, dims, ArrayRef(reinterpret_cast<char *>(x), sizeof x)}));
  lathe("run m.so --input x=x.npy --output y=y.npy --threads=1");
  ASSERT_EQ(status, 0) << err;
  Array y = cantFail(readNpy(in("y.npy")));
  EXPECT_EQ(reinterpret_cast<float *>(y.bytes.data())[0], 0);
  EXPECT_EQ(reinterpret_cast<float *>(y.bytes.data())[3], 4);
}

TEST_F(Driver, twoCompilationsGiveTheSameBytes) {
  cantFail(writeFile(in("m.onnx"), reluModel()));
  lathe("compile m.onnx -o a.so --target=x86-64-v3,x86-64-v4 --quiet");
  ASSERT_EQ(status, 0) << err;
  lathe("compile ./m.onnx -o b.so --target=x86-64-v3,x86-64-v4 --quiet");
  EXPECT_FALSE(slurp(in("a.so")).empty());
  EXPECT_EQ(slurp(in("a.so")), slurp(in("b.so")));
}

TEST_F(Driver, filesThatAreNoModelAreInvalid) {
  cantFail(writeFile(in("m.onnx"), {'h', 'e', 'l', 'l', 'o'}));
  for (const char *arguments : {"inspect m.onnx", "check m.onnx", "compile m.onnx -o m.so"}) {
    lathe(arguments);
    EXPECT_EQ(status, 3) << err;
    EXPECT_EQ(out, "");
    EXPECT_NE(err.find("m.onnx"), std::string::npos) << err;
  }
}

TEST_F(Driver, inspectsArtifacts) {
  makeModel();
  lathe("inspect m.so");
  EXPECT_EQ(status, 0) << err;
  EXPECT_NE(out.find("\"x\" f32 [B, 4]"), std::string::npos) << out;
  EXPECT_NE(out.find("any (runs here)"), std::string::npos) << out;
  lathe("inspect m.so --json");
  json::Value value = outJSON();
  const json::Object *o = value.getAsObject();
  ASSERT_TRUE(o);
  EXPECT_EQ(o->getString("fingerprint"), "00000000000000ab");
  EXPECT_EQ(o->getInteger("weight_bytes"), 64);
  EXPECT_EQ((*o->getArray("inputs"))[0].getAsObject()->getString("type"), "f32");
}

TEST_F(Driver, benchPrintsQuantiles) {
  makeModel();
  lathe("bench m.so --seconds=0.05 --threads=1 --json");
  EXPECT_EQ(status, 0) << err;
  json::Value value = outJSON();
  const json::Object *o = value.getAsObject();
  ASSERT_TRUE(o);
  EXPECT_GT(o->getNumber("p50_ms").value_or(0), 0);
  EXPECT_LE(*o->getNumber("p50_ms"), *o->getNumber("p99_ms"));
  EXPECT_EQ(o->getInteger("threads"), 1);
}

TEST_F(Driver, profileNamesNodesAndWritesATrace) {
  makeModel();
  lathe("profile m.so --runs=3 --threads=1 --json --trace=t.json");
  EXPECT_EQ(status, 0) << err;
  json::Value value = outJSON();
  const json::Object *o = value.getAsObject();
  ASSERT_TRUE(o && o->getArray("kernels") && o->getArray("kernels")->size() == 1);
  const json::Object *kernel = (*o->getArray("kernels"))[0].getAsObject();
  EXPECT_EQ((*kernel->getArray("nodes"))[0], "/layer/Add");
  EXPECT_EQ(kernel->getInteger("flops"), 64);
  EXPECT_EQ(kernel->getInteger("layers"), 1);
  EXPECT_EQ(kernel->getString("bound"), "memory");
  EXPECT_GT(o->getNumber("roof_gflops").value_or(0), 0);
  Expected<json::Value> trace = json::parse(slurp(in("t.json")));
  ASSERT_TRUE(bool(trace));
  EXPECT_EQ(trace->getAsObject()->getArray("traceEvents")->size(), 3u);
  lathe("profile m.so --runs=3 --threads=1");
  EXPECT_NE(out.find("  add     /layer/Add\n"), std::string::npos) << out;
}

TEST_F(Driver, verifySaysWhatIsMissing) {
  lathe("verify m.onnx", "LATHE_PYTHON=/no/such/python");
  EXPECT_EQ(status, 1);
  EXPECT_NE(err.find("error[E0005]: no Python interpreter \"/no/such/python\""), std::string::npos) << err;
}

} // namespace
