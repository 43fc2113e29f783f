// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Stands before LLVM's header of this name when g++ compiles. MLIR tells traits apart by the names of
/// classes that a function has for itself, and finds the same ones in its library, which clang has compiled,
/// by how the compiler spells them: `SymbolTable<Empty>`. g++ spells the function, too.

#ifndef LATHE_GCC_LLVM_SUPPORT_TYPENAME_H
#define LATHE_GCC_LLVM_SUPPORT_TYPENAME_H

#define getTypeName getSpelledTypeName
#include_next <llvm/Support/TypeName.h>
#undef getTypeName

#include <string>

namespace llvm {

/// The name of a type as clang spells it.
template <typename T>
inline StringRef getTypeName() {
  static const std::string name = [] {
    static constexpr std::string_view function = "mlir::TypeID::get<", end = ">()::";
    std::string spelled = getSpelledTypeName<T>().str();
    for (size_t from = spelled.find(function); from != std::string::npos;
         from = spelled.find(function, from)) {
      size_t to = spelled.find(end, from);
      if (to == std::string::npos) {
        break;
      }
      spelled.erase(from, to + end.size() - from);
    }
    return spelled;
  }();
  return name;
}

} // namespace llvm

#endif // LATHE_GCC_LLVM_SUPPORT_TYPENAME_H
