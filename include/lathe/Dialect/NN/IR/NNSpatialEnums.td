// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The kinds of the ops that look at neighbours in space.

#ifndef LATHE_NN_SPATIAL_ENUMS_TD
#define LATHE_NN_SPATIAL_ENUMS_TD

include "mlir/IR/EnumAttr.td"

def NN_PoolKind : I32EnumAttr<"PoolKind", "what is made of the elements of a window", [
    I32EnumAttrCase<"Max", 0, "max">, I32EnumAttrCase<"ArgMax", 1, "arg_max">, I32EnumAttrCase<"Mean", 2, "mean">,
    I32EnumAttrCase<"Sum", 3, "sum">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_PadKind : I32EnumAttr<"PadKind", "what stands outside of a tensor", [
    I32EnumAttrCase<"Constant", 0, "constant">, I32EnumAttrCase<"Edge", 1, "edge">,
    I32EnumAttrCase<"Reflect", 2, "reflect">, I32EnumAttrCase<"Wrap", 3, "wrap">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_SampleKind : I32EnumAttr<"SampleKind", "interpolation between the elements of a tensor", [
    I32EnumAttrCase<"Nearest", 0, "nearest">, I32EnumAttrCase<"Linear", 1, "linear">,
    I32EnumAttrCase<"Cubic", 2, "cubic">]> {
  let cppNamespace = "::lathe::nn";
}
def NN_BorderKind : I32EnumAttr<"BorderKind", "what samples outside of a tensor see", [
    I32EnumAttrCase<"Zeros", 0, "zeros">, I32EnumAttrCase<"Clamp", 1, "clamp">,
    I32EnumAttrCase<"Reflection", 2, "reflection">]> {
  let cppNamespace = "::lathe::nn";
}

#endif // LATHE_NN_SPATIAL_ENUMS_TD
