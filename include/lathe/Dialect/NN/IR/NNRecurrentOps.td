// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Recurrent cells run over sequences.

#ifndef LATHE_NN_RECURRENT_OPS_TD
#define LATHE_NN_RECURRENT_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

def NN_RecurrentOp
    : NN_LoopsOp<"recurrent", [AttrSizedOperandSegments,
                               DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>]> {
  let summary = "a recurrent cell run over sequences, forward, in reverse or both";
  let description = [{
    `products` [T, B, D, G H] holds what the inputs add to the G gates of every step, biases included: one matrix product
    for all steps makes it. `weights` [D, H, G H] multiplies the state; the units of a gate are adjacent. D is the length
    of `reverse`, which says for each direction whether it runs from the end. With `lengths` [B], sequence b has that many
    steps; its results beyond are zero. A length above T or below 0 stops the run with an error. `initial_h` and
    `initial_c` [D, B, H] are zero if absent. The equations are those of ONNX's RNN, GRU and LSTM:

    - `rnn`: one gate, `h = f(gate)`.
    - `gru`: gates z, r, h. With `linear_before_reset` the reset gate multiplies the product of the state, to which
      `recurrent_bias` [D, H] is added before; else it multiplies the state.
    - `lstm`: gates i, o, f, c; `peepholes` [D, 3 H] are those of i, o and f. With `input_forget`, f is 1 - i.

    `activations` are the functions of a cell, direction by direction, with their `alpha` and `beta`. The sums of gates
    are clipped to [-clip, clip] first, what `lstm` takes the last function of is not (as all runtimes do). The results are the states h of all steps [T, D, B, H], the last h and
    the last c [D, B, H], and `gates`, which is memory for a step. But for `lstm`, `last_c` is such memory, too.

    With `weight_scales` [D, G H], `weights` are integers of 8 bits, from which `weight_zeros` [D, G H], of their type, are
    subtracted first. What they multiply is rounded to integers of 8 bits in every step, each sequence over its own range
    as DynamicQuantizeLinear does; `gates` is longer by H + 1 numbers, for these integers and their scale. Sums are exact
    while they are below 2^24, as those of up to 258 units are.

    ```mlir
    %y, %h, %c, %g = nn.recurrent lstm %p, %r reverse([false]) activations(["sigmoid", "tanh", "tanh"])
      alpha([0.0, 0.0, 0.0]) beta([0.0, 0.0, 0.0])
      : (tensor<?x?x1x512xf32>, tensor<1x128x512xf32>)
      -> (tensor<?x1x?x128xf32>, tensor<1x?x128xf32>, tensor<1x?x128xf32>, tensor<1x?x512xf32>)
    ```
  }];
  let arguments = (ins NN_RecurrentKind:$kind, AnyRankedTensor:$products, AnyRankedTensor:$weights,
                       Optional<AnyRankedTensor>:$recurrent_bias, Optional<AnyRankedTensor>:$lengths,
                       Optional<AnyRankedTensor>:$initial_h, Optional<AnyRankedTensor>:$initial_c,
                       Optional<AnyRankedTensor>:$peepholes, Optional<AnyRankedTensor>:$weight_scales,
                       Optional<AnyRankedTensor>:$weight_zeros, DenseBoolArrayAttr:$reverse, StrArrayAttr:$activations,
                       DenseF32ArrayAttr:$alpha, DenseF32ArrayAttr:$beta, OptionalAttr<F32Attr>:$clip,
                       UnitAttr:$input_forget, UnitAttr:$linear_before_reset);
  let results = (outs AnyRankedTensor:$states, AnyRankedTensor:$last_h, AnyRankedTensor:$last_c,
                      AnyRankedTensor:$gates);
  let assemblyFormat = [{
    $kind $products `,` $weights (`recurrent_bias` `(` $recurrent_bias^ `)`)? (`lengths` `(` $lengths^ `)`)?
    (`initial_h` `(` $initial_h^ `)`)? (`initial_c` `(` $initial_c^ `)`)? (`peepholes` `(` $peepholes^ `)`)?
    (`weight_scales` `(` $weight_scales^ `)`)? (`weight_zeros` `(` $weight_zeros^ `)`)?
    `reverse` `(` $reverse `)` `activations` `(` $activations `)` `alpha` `(` $alpha `)` `beta` `(` $beta `)`
    (`clip` `(` $clip^ `)`)? (`input_forget` $input_forget^)? (`linear_before_reset` $linear_before_reset^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let extraClassDeclaration = [{
    /// The gates of a cell, and its functions.
    int64_t getGateCount();
    int64_t getActivationCount();
    /// Whether an activation of this name is known.
    static bool isActivation(::llvm::StringRef name);
  }];
}

#endif // LATHE_NN_RECURRENT_OPS_TD
