// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The formats of weights.

#ifndef LATHE_PACK_FORMATS_TD
#define LATHE_PACK_FORMATS_TD

include "lathe/Dialect/Pack/IR/PackBase.td"

class Pack_Format<string name, string attrMnemonic, list<string> methods = []>
    : AttrDef<Pack_Dialect, name, [DeclareAttrInterfaceMethods<
          Pack_FormatInterface, !listconcat(["getPanelLayout", "buildCode"], methods)>]> {
  let mnemonic = attrMnemonic;
}

def Pack_BF16Attr : Pack_Format<"BF16", "bf16"> {
  let summary = "each element as a bf16";
  let description = [{
    One component of the tensor's shape; elements are rounded to the nearest bf16, ties to even.

    Example: `#pack.bf16`
  }];
}

def Pack_F16Attr : Pack_Format<"F16", "f16"> {
  let summary = "each element as an f16";
  let description = [{
    One component of the tensor's shape; elements are rounded to the nearest f16, ties to even. None may be larger than
    65504.

    Example: `#pack.f16`
  }];
}

def Pack_Activations : I32EnumAttr<"Activations", "what integers of 8 bits are multiplied with", [
    I32EnumAttrCase<"Dynamic", 0, "dynamic">, I32EnumAttrCase<"Static", 1, "static">,
    I32EnumAttrCase<"WeightOnly", 2, "weight_only">]> {
  let cppNamespace = "::lathe::pack";
  let genSpecializedAttr = 0;
}

def Pack_Int8Attr : Pack_Format<"Int8", "int8", ["isWeightOnly", "needsRange", "canCompensate", "encodeCompensated"]> {
  let summary = "integers of 8 bits with one scale per column";
  let description = [{
    The components are `codes`, i8 of the tensor's shape, and `scales`, an f32 for each place of the last dimension: an
    element is its code times its scale. The scale is the largest magnitude of the column divided by 127; a column of
    zeros has scale 0.

    What the codes are multiplied with is said by `activations`: integers of 8 bits that the run quantizes row by row
    (`dynamic`) or with scales known before (`static`), or numbers as they are (`weight_only`).

    Examples: `#pack.int8<dynamic>`, `#pack.int8<weight_only>`
  }];
  let parameters = (ins EnumParameter<Pack_Activations>:$activations);
  let assemblyFormat = "`<` $activations `>`";
}

/// Codes of `width` bits with a scale, and maybe a zero point, per column and `group` rows.
class Pack_GroupedFormat<string name, string attrMnemonic, int width> : Pack_Format<name, attrMnemonic, ["canCompensate", "encodeCompensated", "roundsRows", "withRoundedRows"]> {
  let summary = "integers of " # width # " bits with a scale for each group of rows of a column";
  let description = [{
    Of a tensor [..., K, N], `group` rows of a column share a scale: an element is (code - zero) * scale. The components are

    - `codes`, ui8 of [..., K * }] # width # [{ / 8, N]: a byte holds the codes of consecutive rows, the first in its low bits;
    - `scales`, of type `scales` (f32 or f16), [..., K / group, N];
    - `zeros`, ui8 of [..., K / group, N], if `zeros` is true. Else all are }] # !shl(1, !sub(width, 1)) # [{.

    Encoded without zero points, the element of the largest magnitude has code 0; with them, the codes span what lies
    between the smallest element, or 0, and the largest. All-zero groups have scale 0.

    If `dynamic` is true, what the weight is multiplied with is rounded while the model runs: 32 elements of a row that stand
    side by side become integers from -127 to 127 times a scale, their largest magnitude divided by 127. `group` is then a
    multiple of 32. What is stored is the same.

    Examples: `#pack.}] # attrMnemonic # [{<group = 32>`, `#pack.}] # attrMnemonic # [{<group = 128, zeros = true, scales = f32>`,
    `#pack.}] # attrMnemonic # [{<group = 32, dynamic = true>`
  }];
  let parameters = (ins "int64_t":$group, DefaultValuedParameter<"bool", "false">:$zeros,
                        DefaultValuedParameter<"::mlir::Type", "::mlir::Float16Type::get($_ctxt)">:$scales,
                        DefaultValuedParameter<"bool", "false">:$dynamic);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = "static constexpr unsigned kBits = " # width # ";";
}

def Pack_Int2Attr : Pack_GroupedFormat<"Int2", "int2", 2>;
def Pack_Int4Attr : Pack_GroupedFormat<"Int4", "int4", 4>;
def Pack_Int8GroupsAttr : Pack_GroupedFormat<"Int8Groups", "int8_groups", 8>;

def Pack_CodebookAttr : Pack_Format<"Codebook", "codebook", ["canCompensate", "encodeCompensated", "getTable"]> {
  let summary = "places in a table of numbers, with a scale for each group of rows of a column";
  let description = [{
    Of a tensor [..., K, N], `group` rows of a column share a scale: an element is `values[code] * scale`. A code has as many
    bits B as places need. The components are

    - `codes`, ui8 of [..., K * B / 8, N]: the codes of a column one after the other, the first in the low bits;
    - `scales`, of type `scales` (f32 or f16), [..., K / group, N];
    - `table`, f32 [n]: `values`.

    The element of the largest magnitude of a group becomes the number of the largest magnitude, others the nearest one, of
    two the smaller. Of numbers that stand in the table twice the first is used. All-zero groups have scale 0.

    `values` are numbers in brackets, or the name of a table: `int3` (-4 to 3), `nf4`, and the finite numbers of `f4E2M1FN`,
    `f8E4M3FN` (divided by 256) and `f8E5M2`.

    Examples: `#pack.codebook<int3, group = 32>`, `#pack.codebook<[-1.0, 0.0, 1.0, 2.5], group = 64, scales = f32>`
  }];
  let parameters = (ins "::mlir::DenseF32ArrayAttr":$values, "int64_t":$group,
                        DefaultValuedParameter<"::mlir::Type", "::mlir::Float16Type::get($_ctxt)">:$scales);
  let assemblyFormat = "`<` custom<Table>($values) `,` struct($group, $scales) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The bits of a code.
    int64_t getBits() const;
  }];
}

def Pack_BlocksAttr : AttrDef<Pack_Dialect, "Blocks", [DeclareAttrInterfaceMethods<
    Pack_FormatInterface, ["takesElements", "findObstacle", "getBlockLayout"]>]> {
  let mnemonic = "blocks";
  let summary = "those blocks of a matrix that are not zero";
  let description = [{
    A matrix, of f32 or i8, is cut into blocks of `rows` x `columns`; in a tensor of more dimensions, those before the last
    count as rows. Blocks that hold anything but zeros are stored, `count` of them at most. The components are

    - `starts`, i32 [ceil(N / columns) + 1]: where the blocks of each column of blocks begin, in the order of their rows. Each
      column's are filled up to a multiple of 4, by zeros at the place of its last block;
    - `places`, ui16 [count]: a block's row, counted in blocks;
    - `values`, of the tensor's type, [count, columns, rows];
    - `sums`, i32 [ceil(N / columns) * columns], of a matrix of i8 only: the sums of its columns.

    Nothing is lost but the sign of zeros.

    Examples: `#pack.blocks<rows = 1, columns = 4, count = 36864>`, `#pack.blocks<rows = 4, columns = 32, count = 288>`
  }];
  let parameters = (ins "int64_t":$rows, "int64_t":$columns, "int64_t":$count);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The most blocks that are stored for `count` that are not zero: each column is filled up.
    static int64_t getRoom(int64_t count, int64_t columnBlocks);
    /// The format for blocks of this size with room for all that are in `tensor`.
    static BlocksAttr getFor(const nn::ConstantTensor &tensor, int64_t rows, int64_t columns);
  }];
}

def Pack_Pattern : I32EnumAttr<"ZeroPattern", "which elements of a matrix become zero together", [
    I32EnumAttrCase<"Unstructured", 0, "unstructured">, I32EnumAttrCase<"Block", 1, "block">,
    I32EnumAttrCase<"TwoOfFour", 2, "two_of_four">]> {
  let cppNamespace = "::lathe::pack";
  let genSpecializedAttr = 0;
}

def Pack_SparsityAttr : AttrDef<Pack_Dialect, "Sparsity"> {
  let mnemonic = "sparsity";
  let summary = "how many elements of a matrix are to become zero, and in which pattern";
  let description = [{
    `zeros` of a thousand elements become zero: each by itself (`unstructured`), in blocks (`block`), or so that of four
    consecutive rows of a column at least two are zero (`two_of_four`, of which `zeros` is 500).

    Example: `#pack.sparsity<block, zeros = 750>`
  }];
  let parameters = (ins EnumParameter<Pack_Pattern>:$pattern, "int64_t":$zeros);
  let assemblyFormat = "`<` $pattern `,` `zeros` `=` $zeros `>`";
  let genVerifyDecl = 1;
}

#endif // LATHE_PACK_FORMATS_TD
