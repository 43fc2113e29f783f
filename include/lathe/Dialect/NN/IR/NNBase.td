// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_NN_BASE_TD
#define LATHE_NN_BASE_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def NN_Dialect : Dialect {
  let name = "nn";
  let cppNamespace = "::lathe::nn";
  let summary = "a neural network without the history of any file format";
  let description = [{
    One op for each thing a pass or a kernel must know, whatever operator set it came from.

    - *Signs*: signless integers are signed, `ui*` is unsigned. `i1` is bool.
    - *Broadcasting*: pointwise ops broadcast like numpy.
    - *Symbols*: a dynamic dimension is `?` in the type; its size is an `index` value made by `nn.dim_symbol`, and
      every op says how the sizes of its results follow from those of its operands (`ShapeOpInterface`).
    - *Weights*: anything over 1 KiB is an `nn.weight`, whose bytes stay in the mapped file.
    - *Layout*: spatial ops are channels-last.
  }];
  let useDefaultAttributePrinterParser = 1;
  let hasConstantMaterializer = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::tensor::TensorDialect"];
  let extraClassDeclaration = [{
    void registerAttributes();
    /// Argument attribute: the name the file gives to the value.
    static constexpr llvm::StringLiteral kNameAttr = "nn.name";
    /// Argument attribute: one string per dimension, the symbol's name where it is dynamic, else empty.
    static constexpr llvm::StringLiteral kDimsAttr = "nn.dims";
    /// Function attribute: a dictionary from symbols to their bounds, [smallest, largest]; what is not there lies in
    /// [0, kMaxDim].
    static constexpr llvm::StringLiteral kBoundsAttr = "nn.bounds";
    /// Result attribute: the number of the argument in whose memory the result may lie.
    static constexpr llvm::StringLiteral kSharesAttr = "nn.shares";
  }];
}

def NN_UnaryKind : I32EnumAttr<"UnaryKind", "a pointwise function of one operand", [
    I32EnumAttrCase<"Abs", 0, "abs">, I32EnumAttrCase<"Neg", 1, "neg">, I32EnumAttrCase<"Sign", 2, "sign">,
    I32EnumAttrCase<"Ceil", 3, "ceil">, I32EnumAttrCase<"Floor", 4, "floor">, I32EnumAttrCase<"Round", 5, "round">,
    I32EnumAttrCase<"Sqrt", 6, "sqrt">, I32EnumAttrCase<"Rsqrt", 7, "rsqrt">,
    I32EnumAttrCase<"Reciprocal", 8, "reciprocal">, I32EnumAttrCase<"Exp", 9, "exp">,
    I32EnumAttrCase<"Log", 10, "log">, I32EnumAttrCase<"Sin", 11, "sin">, I32EnumAttrCase<"Cos", 12, "cos">,
    I32EnumAttrCase<"Tanh", 13, "tanh">, I32EnumAttrCase<"Sigmoid", 14, "sigmoid">,
    I32EnumAttrCase<"Erf", 15, "erf">, I32EnumAttrCase<"Gelu", 16, "gelu">,
    I32EnumAttrCase<"GeluTanh", 17, "gelu_tanh">, I32EnumAttrCase<"Relu", 18, "relu">,
    I32EnumAttrCase<"Silu", 19, "silu">, I32EnumAttrCase<"Softplus", 20, "softplus">,
    I32EnumAttrCase<"HardSwish", 21, "hard_swish">, I32EnumAttrCase<"HardSigmoid", 22, "hard_sigmoid">,
    I32EnumAttrCase<"Not", 23, "not">, I32EnumAttrCase<"IsNaN", 24, "is_nan">,
    I32EnumAttrCase<"IsInf", 25, "is_inf">, I32EnumAttrCase<"Asin", 26, "asin">, I32EnumAttrCase<"Acos", 27, "acos">,
    I32EnumAttrCase<"Atan", 28, "atan">, I32EnumAttrCase<"Sinh", 29, "sinh">, I32EnumAttrCase<"Cosh", 30, "cosh">,
    I32EnumAttrCase<"Asinh", 31, "asinh">, I32EnumAttrCase<"Acosh", 32, "acosh">,
    I32EnumAttrCase<"Atanh", 33, "atanh">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_BinaryKind : I32EnumAttr<"BinaryKind", "a pointwise function of two operands", [
    I32EnumAttrCase<"Add", 0, "add">, I32EnumAttrCase<"Sub", 1, "sub">, I32EnumAttrCase<"Mul", 2, "mul">,
    I32EnumAttrCase<"Div", 3, "div">, I32EnumAttrCase<"Mod", 4, "mod">, I32EnumAttrCase<"FMod", 5, "fmod">,
    I32EnumAttrCase<"Pow", 6, "pow">, I32EnumAttrCase<"Max", 7, "max">, I32EnumAttrCase<"Min", 8, "min">,
    I32EnumAttrCase<"And", 9, "and">, I32EnumAttrCase<"Or", 10, "or">, I32EnumAttrCase<"Xor", 11, "xor">,
    I32EnumAttrCase<"ShiftLeft", 12, "shift_left">, I32EnumAttrCase<"ShiftRight", 13, "shift_right">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_CompareKind : I32EnumAttr<"CompareKind", "a comparison", [
    I32EnumAttrCase<"Equal", 0, "eq">, I32EnumAttrCase<"NotEqual", 1, "ne">, I32EnumAttrCase<"Less", 2, "lt">,
    I32EnumAttrCase<"LessOrEqual", 3, "le">, I32EnumAttrCase<"Greater", 4, "gt">,
    I32EnumAttrCase<"GreaterOrEqual", 5, "ge">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_ReduceKind : I32EnumAttr<"ReduceKind", "a reduction", [
    I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Mean", 1, "mean">, I32EnumAttrCase<"Max", 2, "max">,
    I32EnumAttrCase<"Min", 3, "min">, I32EnumAttrCase<"Prod", 4, "prod">,
    I32EnumAttrCase<"SumSquare", 5, "sum_square">, I32EnumAttrCase<"All", 6, "all">,
    I32EnumAttrCase<"Any", 7, "any">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_ArgReduceKind : I32EnumAttr<"ArgReduceKind", "the position of an extremum", [
    I32EnumAttrCase<"Max", 0, "max">, I32EnumAttrCase<"Min", 1, "min">]> {
  let cppNamespace = "::lathe::nn";
}

def NN_CumulateKind : I32EnumAttr<"CumulateKind", "what is cumulated", [
    I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Prod", 1, "prod">]> {
  let cppNamespace = "::lathe::nn";
}

def NN_ScatterKind : I32EnumAttr<"ScatterKind", "how an update and what is there become one", [
    I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Add", 1, "add">, I32EnumAttrCase<"Mul", 2, "mul">,
    I32EnumAttrCase<"Max", 3, "max">, I32EnumAttrCase<"Min", 4, "min">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_PowerRounding : I32EnumAttr<"PowerRoundingKind", "where a number between two powers of two goes", [
    I32EnumAttrCase<"Up", 0, "up">, I32EnumAttrCase<"Down", 1, "down">, I32EnumAttrCase<"Nearest", 2, "nearest">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_RecurrentKind : I32EnumAttr<"RecurrentKind", "a recurrent cell", [
    I32EnumAttrCase<"RNN", 0, "rnn">, I32EnumAttrCase<"GRU", 1, "gru">, I32EnumAttrCase<"LSTM", 2, "lstm">]> {
  let cppNamespace = "::lathe::nn";
}

class NN_Attr<string name, string attrMnemonic, list<Trait> traits = []> : AttrDef<NN_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

def NN_PanelAttr : NN_Attr<"Panel", "panel"> {
  let summary = "the blocked arrangement of a matrix of weights";
  let description = [{
    A [K, N] matrix (the dimensions before the last count as one) is stored as
    [ceil(N / width)][K / interleave][width][interleave], the last panel padded with zeros. The dimension before the last
    is padded to a multiple of `interleave`.

    With `sums`, the elements are integers of 8 bits, as signed ones: of unsigned ones 128 is taken off. Behind each
    panel stand the sums of its columns, as i32.

    The filter of a convolution with `groups` groups is several matrices, one after the other, each of `joined` groups:
    its columns are those of its groups, its rows run over the window and the channels of its groups, and it is zero
    where a row and a column belong to different groups.

    Examples: `#nn.panel<32 x 1>`, `#nn.panel<32 x 1, groups 8 joined 4>`, `#nn.panel<32 x 4 sums true>`
  }];
  let parameters = (ins "int64_t":$width, "int64_t":$interleave, DefaultValuedParameter<"bool", "false">:$sums,
                        DefaultValuedParameter<"int64_t", "1">:$groups,
                        DefaultValuedParameter<"int64_t", "1">:$joined);
  let assemblyFormat = [{
    `<` $width `x` $interleave (`sums` $sums^)? (`,` `groups` $groups^)? (`joined` $joined^)? `>`
  }];
  let builders = [AttrBuilder<(ins "int64_t":$width, "int64_t":$interleave), [{
    return $_get($_ctxt, width, interleave, /*sums=*/false, /*groups=*/1, /*joined=*/1);
  }]>];
  let extraClassDeclaration = [{
    /// The rows of a matrix of a weight of `type`, with those of zeros.
    int64_t getStoredRows(::mlir::RankedTensorType type) const;
    /// The number of elements that a weight of `type` has in this arrangement, sums as four elements each.
    int64_t getStoredElements(::mlir::RankedTensorType type) const;
  }];
  let genVerifyDecl = 1;
}

#endif // LATHE_NN_BASE_TD
