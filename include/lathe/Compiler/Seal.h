// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From a linked library, or an object, and a stream of weights to the files that users get.

#ifndef LATHE_COMPILER_SEAL_H
#define LATHE_COMPILER_SEAL_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace lathe {

using ByteSink = llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)>;
/// Calls the sink with all bytes of the weight section, in order, in pieces of any size.
using WeightSource = llvm::function_ref<llvm::Error(ByteSink)>;

/// One variant of the artifact, the same as the lathe_variant_info of the same index.
struct ArtifactTarget {
  std::string isa;
  uint64_t cpuFeatures = 0;
};

struct ArtifactInfo {
  uint64_t fingerprint = 0;
  /// For static output: what the names of its symbols end with, so that several can be linked into one
  /// program.
  std::string symbolId;
  uint64_t weightBytes = 0;
  std::vector<ArtifactTarget> targets;
  std::string compiler = "lathe 0.1.0";
  std::string triple = "x86_64-unknown-linux-gnu";
};

/// "lathe_model_0123456789abcdef": the symbol of the lathe_table in an artifact.
std::string tableSymbol(uint64_t fingerprint);

/// Writes the artifact `path`: `library` from linkShared(), the weights as a segment of their own at its end,
/// and the header filled. Holds no more than a piece of the weights in memory. Equal inputs give equal bytes.
llvm::Error sealArtifact(llvm::ArrayRef<char> library, const ArtifactInfo &info, WeightSource weights,
                         llvm::StringRef path);

/// The files of a statically linked model: `m.a`, `m.h` and, where there are weights, `m.weights` or
/// `m.weights.o`.
struct StaticPaths {
  std::string archive, header, weights;
};
/// `weightsAsObject` as in writeStaticArchive().
StaticPaths staticPaths(llvm::StringRef archivePath, bool weightsAsObject);

/// Writes `object` as the archive `path`, the header beside it that declares its table,
/// `lathe_model_<info.symbolId>`, and the weights: as a plain file for lathe_open_options.weights_path, or as
/// an object to link.
llvm::Error writeStaticArchive(llvm::ArrayRef<char> object, const ArtifactInfo &info, WeightSource weights,
                               bool weightsAsObject, llvm::StringRef path);

} // namespace lathe

#endif // LATHE_COMPILER_SEAL_H
