// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Targets.h"

#include "lathe/Import/Import.h"
#include "lathe_onnx.pb.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace lathe;
namespace pb = lathe::onnx;

namespace {

/// A folder with data of 64 bytes, and everything that must not be taken for it; beside it what no model may
/// read.
class Folder {
public:
  Folder() {
    check(!llvm::sys::fs::createUniqueDirectory("lathe-fuzz", root));
    check(chdir(root.c_str()) == 0 && mkdir("model", 0700) == 0);
    write("secret.bin");
    check(chdir("model") == 0 && mkdir("d", 0700) == 0);
    for (const char *name : {"w.bin", "d/v.bin", "=w;.bin"}) {
      inodes.push_back(write(name));
    }
    write("twice.bin");
    check(link("twice.bin", "hard.bin") == 0 && symlink("w.bin", "soft.bin") == 0);
    check(symlink("..", "up") == 0 && symlink("d", "e") == 0 && mkfifo("pipe", 0600) == 0);
  }
  ~Folder() {
    (void)!chdir("/");
    llvm::sys::fs::remove_directories(root);
  }
  std::string path() const { return (root + "/model").str(); }
  bool mayRead(const MappedFile &file) const {
    struct stat status = {};
    return stat(file.path().str().c_str(), &status) == 0 && llvm::is_contained(inodes, status.st_ino);
  }

private:
  static void check(bool good) {
    if (!good) {
      abort();
    }
  }
  static ino_t write(const char *name) {
    char bytes[64] = {};
    struct stat status = {};
    int file = open(name, O_CREAT | O_WRONLY, 0600);
    check(file >= 0 && ::write(file, bytes, sizeof bytes) == sizeof bytes && fstat(file, &status) == 0);
    close(file);
    return status.st_ino;
  }

  llvm::SmallString<128> root;
  std::vector<ino_t> inodes;
};

} // namespace

void fuzz::external(llvm::StringRef bytes) {
  static Folder folder;
  if (bytes.size() < 2) {
    return;
  }
  pb::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  pb::GraphProto &graph = *model.mutable_graph();
  graph.add_output()->set_name("y");
  pb::NodeProto &node = *graph.add_node();
  node.set_op_type("Identity");
  node.add_input("w");
  node.add_output("y");
  pb::TensorProto &tensor = *graph.add_initializer();
  tensor.set_name("w");
  tensor.set_data_type(pb::TensorProto::UINT8);
  tensor.add_dims(uint8_t(bytes[1]));
  tensor.set_data_location(pb::TensorProto::EXTERNAL);
  llvm::SmallVector<llvm::StringRef> lines;
  bytes.drop_front(2).split(lines, '\n', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  for (llvm::StringRef line : lines) {
    auto [key, value] = line.split('=');
    pb::StringStringEntryProto &entry = *tensor.add_external_data();
    entry.set_key(key.str());
    entry.set_value(value.str());
  }

  ImportOptions options;
  options.files.baseDirectory = folder.path();
  options.files.allowLinkedData = bytes[0] & 1;
  options.files.avoidOpenat2 = bytes[0] & 2;
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  std::unique_ptr<ModelFile> file;
  auto module = importOnnx(context, llvm::MemoryBuffer::getMemBufferCopy(model.SerializeAsString(), "fuzz"),
                           options, file);
  if (!module) {
    return expectFaultOfTheInput(module.takeError());
  }
  for (const std::unique_ptr<MappedFile> &mapped : file->externalFiles()) {
    if (!options.files.allowLinkedData && !folder.mayRead(*mapped)) {
      llvm::errs() << "read " << mapped->path() << '\n';
      abort();
    }
  }
  *module = nullptr;
}
