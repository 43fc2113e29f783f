#include "lathe/Compiler/Compile.h"
#include "lathe/Support/Error.h"
#include "llvm/Support/raw_ostream.h"
int main(int argc, char **argv) {
  lathe::CompileOptions o; lathe::Report r;
  o.input = argv[1]; o.output = argv[2];
  if (llvm::StringRef(argv[1]).ends_with(".mlir")) o.from = lathe::Stage::NN;
  for (int i = 3; i < argc; ++i) { llvm::StringRef a(argv[i]);
    if (a == "-O0") o.optLevel = 0;
    else if (a.consume_front("--to=")) o.to = *lathe::parseStage(a);
    else if (a.consume_front("--target=")) o.targets = {a.str()};
    else if (a.consume_front("--dump=")) o.dumpIRAfter = a.str();
    else if (a == "--verify") o.verifyEach = true;
    else if (a.consume_front("--shape=")) o.shapes.push_back(llvm::cantFail(lathe::ShapeOption::parse(a)));
  }
  auto e = lathe::compileModel(o, r);
  for (auto &p : r.phases) llvm::errs() << p.first << " " << p.second << "ms; ";
  for (auto &p : r.numbers) llvm::errs() << p.first << "=" << p.second << "; ";
  llvm::errs() << "\n";
  return lathe::reportError(std::move(e), llvm::errs());
}
