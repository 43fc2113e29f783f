// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What models that are no networks need: tables that are searched, and trees.

#ifndef LATHE_NN_LEARNED_OPS_TD
#define LATHE_NN_LEARNED_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

class NN_LearnedLoopsOp<string mnemonic>
    : NN_LoopsOp<mnemonic, [DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>]>;

def NN_FindOp : NN_LearnedLoopsOp<"find"> {
  let summary = "the position of each element in a sorted list";
  let description = [{
    For each element of `x`, its position in the list `keys`, which rises strictly; a NaN may stand at the end. What is
    not in the list has the position behind its end, so that a table of values may have its default there. NaN is found
    where the list has one.

    ```mlir
    %y = nn.find %x, %keys : tensor<?x4xi64>, tensor<7xi64> -> tensor<?x4xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$keys);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $keys attr-dict `:` type($x) `,` type($keys) `->` type($result)";
}

def NN_TreeEnsembleOp : NN_LearnedLoopsOp<"tree_ensemble"> {
  let summary = "decision trees, whose leaves add up";
  let description = [{
    Every row of `x` [rows, features] goes from the root of each tree to a leaf. Row n of `nodes` [M, 4] is a node: a
    feature, and where to go if it is at most `splits[n]`, if it is not, and if it is NaN. A place below M is a node,
    others are leaves, M the first of them; `roots` are places, too. All comparisons have this form, whatever the trees
    had: x < y is x <= the number before y.

    Leaf i has the weight `weights[i]` of the only target, or, with the lists `starts` and `targets`, the weights
    `starts[i]` to `starts[i + 1]` (exclusive) of the targets given there. The result [rows, targets] is the sum, the
    smallest or the largest of the weights that a row has reached for each target, 0 where it has reached none.

    All places, features and targets must exist, and no path may return to a node: whoever makes the tables sees to it.

    ```mlir
    %y = nn.tree_ensemble sum %x, %roots, %nodes, %splits, %weights targets(1)
      : (tensor<?x4xf32>, tensor<2xi32>, tensor<5x4xi32>, tensor<5xf32>, tensor<7xf32>) -> tensor<?x1xf32>
    %z = nn.tree_ensemble sum %x, %roots, %nodes, %splits, %v lists(%starts, %targets) targets(3)
      : (tensor<?x4xf32>, tensor<2xi32>, tensor<5x4xi32>, tensor<5xf32>, tensor<9xf32>, tensor<8xi32>, tensor<9xi32>)
      -> tensor<?x3xf32>
    ```
  }];
  let arguments = (ins NN_ReduceKind:$kind, AnyRankedTensor:$x, AnyRankedTensor:$roots, AnyRankedTensor:$nodes,
                       AnyRankedTensor:$splits, AnyRankedTensor:$weights, Variadic<AnyRankedTensor>:$lists,
                       I64Attr:$target_count);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x `,` $roots `,` $nodes `,` $splits `,` $weights (`lists` `(` $lists^ `)`)? `targets` `(` $target_count `)`
    attr-dict `:` functional-type(operands, results)
  }];
}

def NN_CouplePairsOp : NN_LearnedLoopsOp<"couple_pairs"> {
  let summary = "probabilities of classes from those of every two of them";
  let description = [{
    Each row of `pairs` holds, for the classes (0, 1), (0, 2), ..., (1, 2), ..., how probable the first is if it is one of
    the two. The result [rows, classes] is the probabilities of all classes that contradict these least, found by at most
    100 rounds of pairwise coupling, until the error is below 0.005 / classes.

    ```mlir
    %p = nn.couple_pairs %pairs classes(3) : tensor<?x3xf32> -> tensor<?x3xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$pairs, I64Attr:$class_count);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$pairs `classes` `(` $class_count `)` attr-dict `:` type($pairs) `->` type($result)";
  let extraClassDeclaration = [{
    /// The square of it is local memory.
    static constexpr int64_t kMaxClasses = 64;
  }];
}

#endif // LATHE_NN_LEARNED_OPS_TD
