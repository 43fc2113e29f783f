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
class Pack_GroupedFormat<string name, string attrMnemonic, int width> : Pack_Format<name, attrMnemonic, ["canCompensate", "encodeCompensated"]> {
  let summary = "integers of " # width # " bits with a scale for each group of rows of a column";
  let description = [{
    Of a tensor [..., K, N], `group` rows of a column share a scale: an element is (code - zero) * scale. The components are

    - `codes`, ui8 of [..., K * }] # width # [{ / 8, N]: a byte holds the codes of consecutive rows, the first in its low bits;
    - `scales`, of type `scales` (f32 or f16), [..., K / group, N];
    - `zeros`, ui8 of [..., K / group, N], if `zeros` is true. Else all are }] # !shl(1, !sub(width, 1)) # [{.

    Encoded without zero points, the element of the largest magnitude has code 0; with them, the codes span what lies
    between the smallest element, or 0, and the largest. All-zero groups have scale 0.

    Examples: `#pack.}] # attrMnemonic # [{<group = 32>`, `#pack.}] # attrMnemonic # [{<group = 128, zeros = true, scales = f32>`
  }];
  let parameters = (ins "int64_t":$group, DefaultValuedParameter<"bool", "false">:$zeros,
                        DefaultValuedParameter<"::mlir::Type", "::mlir::Float16Type::get($_ctxt)">:$scales);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = "static constexpr unsigned kBits = " # width # ";";
}

def Pack_Int2Attr : Pack_GroupedFormat<"Int2", "int2", 2>;
def Pack_Int4Attr : Pack_GroupedFormat<"Int4", "int4", 4>;
def Pack_Int8GroupsAttr : Pack_GroupedFormat<"Int8Groups", "int8_groups", 8>;

#endif // LATHE_PACK_FORMATS_TD
