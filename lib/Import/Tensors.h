// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Tensors of the file: their types, and their bytes without a copy.

#ifndef LATHE_LIB_IMPORT_TENSORS_H
#define LATHE_LIB_IMPORT_TENSORS_H

#include "Types.h"
#include "mlir/IR/BuiltinAttributes.h"

namespace lathe {

/// A tensor's type and values. Numbers lie in `bytes` as raw_data has them: little endian, elements below 8
/// bits packed from the lowest bit on, one byte a bool.
struct TensorData {
  mlir::RankedTensorType type;
  /// In a mapped file, or in `owned`.
  llvm::ArrayRef<char> bytes;
  std::vector<char> owned;
  /// For tensors of strings, in place of bytes.
  std::vector<llvm::StringRef> strings;

  bool isStrings() const;
};

class TensorReader {
public:
  TensorReader(mlir::MLIRContext *context, ModelFile &file, const ImportOptions &options)
      : context(context), file(file), options(options) {}

  /// Checks and reads one tensor.
  llvm::Expected<TensorData> read(const pb::TensorProto &tensor);
  /// A sparse tensor, made dense.
  llvm::Expected<TensorData> read(const pb::SparseTensorProto &sparse);

  /// The values as an attribute: in the context for small tensors, else a resource called `name` that refers
  /// to the bytes; what is owned moves into it.
  mlir::ElementsAttr attribute(TensorData data, llvm::StringRef name);
  bool isSmall(const TensorData &data) const;

  /// The bytes of all tensors read so far, in this order, in the mapped files only.
  llvm::ArrayRef<llvm::ArrayRef<char>> mappedBytes() const { return mapped; }

private:
  llvm::Error readExternal(const pb::TensorProto &tensor, uint64_t size, TensorData &data);
  llvm::Error readTyped(const pb::TensorProto &tensor, llvm::ArrayRef<DataRange> ranges, uint64_t count,
                        TensorData &data);
  llvm::Error readStrings(const pb::TensorProto &tensor, uint64_t count, TensorData &data);
  template <typename T>
  llvm::Error readVarints(const pb::TensorProto &tensor, llvm::ArrayRef<DataRange> ranges,
                          const google::protobuf::RepeatedField<T> &loose, uint64_t count, TensorData &data);

  mlir::MLIRContext *context;
  ModelFile &file;
  const ImportOptions &options;
  std::vector<llvm::ArrayRef<char>> mapped;
};

} // namespace lathe

#endif // LATHE_LIB_IMPORT_TENSORS_H
