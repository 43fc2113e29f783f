// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What every format of weights implements; the only thing about it that passes know.

#ifndef LATHE_PACK_INTERFACES_TD
#define LATHE_PACK_INTERFACES_TD

include "mlir/IR/OpBase.td"

def Pack_FormatInterface : AttrInterface<"FormatAttrInterface"> {
  let cppNamespace = "::lathe::pack";
  let description = [{
    A form in which a tensor, of f32 unless the format takes others, is stored. It says what the components are, how they are made of the tensor, and how
    the tensor is made of them again.
  }];
  let methods = [
    InterfaceMethod<"Whether the format stores elements of this type.", "bool", "takesElements",
    (ins "::mlir::Type":$element), "", [{ return element.isF32(); }]>,
    InterfaceMethod<[{
      Whether a tensor of this type, which is static and of elements that the format takes, can be stored so; the error says
      why not.
    }], "::llvm::LogicalResult", "verifyTensor",
    (ins "::llvm::function_ref<::mlir::InFlightDiagnostic()>":$emitError, "::mlir::RankedTensorType":$type)>,
    InterfaceMethod<"The types of the components of a tensor that can be stored.",
    "::llvm::SmallVector<::mlir::RankedTensorType>", "getComponents", (ins "::mlir::RankedTensorType":$type)>,
    InterfaceMethod<[{
      Whether the format only says how elements are stored, so that they are multiplied as the f32 that they are again.
    }], "bool", "isWeightOnly", (ins), "", [{ return true; }]>,
    InterfaceMethod<[{
      Whether what the weight is multiplied with is rounded by a range that has to be known before, `pack.range`.
    }], "bool", "needsRange", (ins), "", [{ return false; }]>,
    InterfaceMethod<[{
      Whether what the weight is multiplied with is rounded to integers of 8 bits, in groups of `PanelLayout::kRoundedGroup`
      elements of a row that have a scale each, before it is multiplied as f32.
    }], "bool", "roundsRows", (ins), "", [{ return false; }]>,
    InterfaceMethod<"What stores the same and rounds rows; null if there is no such format.",
    "::lathe::pack::FormatAttrInterface", "withRoundedRows", (ins), "", [{ return {}; }]>,
    InterfaceMethod<"No element may be larger than this, or smaller than its negative.", "float", "getLimit">,
    InterfaceMethod<[{
      Why a tensor whose elements are all finite and within the limit cannot be stored; nothing if it can.
    }], "::std::optional<::std::string>", "findObstacle", (ins "const ::lathe::nn::ConstantTensor &":$tensor), "",
    [{ return ::std::nullopt; }]>,
    InterfaceMethod<[{
      The components of `tensor`, whose elements are all finite and within the limit. Runs when artifacts are written: it
      is the same to the last bit on every machine, and needs no more memory than its result and a few rows.
    }], "::lathe::nn::ConstantParts", "encode", (ins "const ::lathe::nn::ConstantTensor &":$tensor)>,
    InterfaceMethod<"Whether `encodeCompensated` does more than `encode`.", "bool", "canCompensate", (ins), "",
    [{ return false; }]>,
    InterfaceMethod<[{
      The same as `encode`, but elements are rounded so that products with rows x change little, of which `gram`, [K, K] for
      K rows of the tensor as a matrix, is the sum of x^T x.
    }], "::lathe::nn::ConstantParts", "encodeCompensated",
    (ins "const ::lathe::nn::ConstantTensor &":$tensor, "::llvm::ArrayRef<float>":$gram), "",
    [{ return $_attr.encode(tensor); }]>,
    InterfaceMethod<[{
      Builds the tensor of type `type` from its components with nn ops: what the format means, and what runs wherever no
      kernel reads the format itself.
    }], "::mlir::Value", "buildDecode",
    (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::RankedTensorType":$type,
         "::mlir::ValueRange":$components)>,
    InterfaceMethod<[{
      The panels in which kernels read a matrix of this type, if the format has such.
    }], "::std::optional<::lathe::pack::PanelLayout>", "getPanelLayout", (ins "::mlir::RankedTensorType":$type), "",
    [{ return ::std::nullopt; }]>,
    InterfaceMethod<[{
      The blocks in which products read a matrix of this type, if that is how the format stores it.
    }], "::std::optional<::lathe::pack::BlockLayout>", "getBlockLayout", (ins "::mlir::RankedTensorType":$type), "",
    [{ return ::std::nullopt; }]>,
    InterfaceMethod<[{
      Of codes that are places in a table of numbers: these, for kernels to look up. Empty if `buildCode` makes numbers of
      codes.
    }], "::llvm::ArrayRef<float>", "getTable", (ins), "", [{ return {}; }]>,
    InterfaceMethod<[{
      Builds, in a kernel, what code number `position` of a unit of a panel stands for before it is scaled, a vector of f32.
      `words` are those of the unit, vectors of i32; `zeros`, of f32, are null if the layout has none.
    }], "::mlir::Value", "buildCode",
    (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::ValueRange":$words, "int64_t":$position,
         "::mlir::Value":$zeros), "", [{ return ::mlir::Value(); }]>
  ];
}

#endif // LATHE_PACK_INTERFACES_TD
