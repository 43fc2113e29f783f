// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The pack dialect and its type.

#ifndef LATHE_PACK_BASE_TD
#define LATHE_PACK_BASE_TD

include "lathe/Dialect/NN/IR/NNPackedType.td"
include "lathe/Dialect/Pack/IR/PackInterfaces.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Pack_Dialect : Dialect {
  let name = "pack";
  let cppNamespace = "::lathe::pack";
  let summary = "weights stored in fewer bytes";
  let description = [{
    A *format* is an attribute that says how a tensor is stored, mostly one of f32; `!pack.tensor<768x3072xf32, #pack.int4<group = 32>>`
    is such a tensor. `pack.encode` makes one when the artifact is written, within the body of an `nn.weight`, and
    `pack.decode` makes it a tensor again: kernels that know the format do that in registers, others element by element.

    Ops on tensors stay what they are. What they are to be stored in is asked for by the attribute `pack.format` on the op
    that reads a weight; the passes of this dialect do it or say why not. `pack.range`, two numbers, says between which
    elements of the other operand lie, for formats that quantize it. `pack.migrate` has factors for the channels of that
    operand, which pack-migrate-scales moves into the weight; `pack.gram` names a weight that holds the sum of x^T x over rows
    x of it, by which `pack.encode` compensates. `pack.sparsity` asks for zeros in the weight, chosen with the
    norms in the weight that `pack.norms` names, if it is there, and `pack.blocks` says in which
    blocks those that are left are worth storing, in the type that the other attributes give them.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let dependentDialects = ["::lathe::nn::NNDialect"];
  let extraClassDeclaration = [{
    void registerAttributes();
    void registerTypes();
    /// Attribute of an op of any dialect: the format in which its weight is to be stored.
    static constexpr llvm::StringLiteral kFormatAttr = "pack.format";
    /// Attribute of an op beside a format of quantized activations: the least and the greatest element of its left operand.
    static constexpr llvm::StringLiteral kRangeAttr = "pack.range";
    /// The same: a positive number for each channel of its left operand.
    static constexpr llvm::StringLiteral kMigrateAttr = "pack.migrate";
    /// The same: the `nn.weight` that holds x^T x, [K, K], summed over rows x of its left operand.
    static constexpr llvm::StringLiteral kGramAttr = "pack.gram";
    /// Attribute of a product, without a value: its left operand has been rounded as the format of its weight says.
    static constexpr llvm::StringLiteral kRoundedAttr = "pack.rounded";
    /// Attribute of an op: which elements of its weight are to become zero.
    static constexpr llvm::StringLiteral kSparsityAttr = "pack.sparsity";
    /// Attribute of an op beside that: the weight that holds the norms of what each row of its weight is multiplied with.
    static constexpr llvm::StringLiteral kNormsAttr = "pack.norms";
    /// Attribute of an op beside a format of quantized activations: the blocks in which its weight's codes are stored.
    static constexpr llvm::StringLiteral kBlocksAttr = "pack.blocks";
  }];
}

def Pack_TensorType : TypeDef<Pack_Dialect, "PackedTensor", [DeclareTypeInterfaceMethods<NN_PackedTypeInterface>]> {
  let mnemonic = "tensor";
  let summary = "a tensor stored in a format";
  let description = [{
    A tensor of static shape, stored as the components that the format names. The elements given are f32, or what else the
    format takes.

    Example: `!pack.tensor<768x3072xf32, #pack.int4<group = 32>>`
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "::mlir::Type":$elementType,
                        "::lathe::pack::FormatAttrInterface":$format);
  let builders = [TypeBuilderWithInferredContext<(ins "::mlir::RankedTensorType":$tensor,
                                                      "::lathe::pack::FormatAttrInterface":$format), [{
    return $_get(tensor.getContext(), tensor.getShape(), tensor.getElementType(), format);
  }]>];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

#endif // LATHE_PACK_BASE_TD
