// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What weights may be that are no tensors in memory: the nn dialect stores them without knowing their formats.

#ifndef LATHE_NN_PACKED_TYPE_TD
#define LATHE_NN_PACKED_TYPE_TD

include "mlir/IR/OpBase.td"

def NN_PackedTypeInterface : TypeInterface<"PackedTypeInterface"> {
  let cppNamespace = "::lathe::nn";
  let description = [{
    The type of a tensor that is stored in another form: as components, which are tensors themselves. In memory they lie
    one after the other, dense and row-major, each from a multiple of `kComponentAlignment` bytes on.
  }];
  let methods = [
    InterfaceMethod<"The tensor that it stands for, of static shape.", "::mlir::RankedTensorType", "getTensorType">,
    InterfaceMethod<"The types of its components, of static shape.",
                    "::llvm::SmallVector<::mlir::RankedTensorType>", "getComponents">
  ];
}

def NN_PackedTensor : Type<CPred<"::llvm::isa<::lathe::nn::PackedTypeInterface>($_self)">, "packed tensor">;

#endif // LATHE_NN_PACKED_TYPE_TD
