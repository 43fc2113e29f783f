// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_PACK_PASSES_TD
#define LATHE_PACK_PASSES_TD

include "mlir/Pass/PassBase.td"

def ApplyPlanPass : Pass<"pack-apply-plan", "::mlir::ModuleOp"> {
  let summary = "let ops ask for what a plan says of weights, nodes and layers";
  let description = [{
    A plan names what is in the file. Ops whose weights these have become, alone or joined with others, get the attribute
    `pack.format`, and `@main` the attribute `nn.skip`; other passes do what these ask for. Where the parts of a joined
    weight are to be stored differently, or the default format does not fit a weight, nothing is asked for and a remark
    says why. Entries that contradict each other or fit nothing are errors.

    Where the format rounds what the weight is multiplied with by a range that is known before, the attribute `pack.range`
    says which: that of the entry, or what the statistics in the file `stats`, written by `lathe calibrate`, tell.

    `plan` is the path of the plan; docs/plan.schema.json says what is in it.
  }];
  let dependentDialects = ["::lathe::pack::PackDialect"];
  let options = [Option<"plan", "plan", "std::string", /*default=*/"\"\"", "the plan, a JSON file">,
                 Option<"stats", "stats", "std::string", /*default=*/"\"\"", "the statistics, a .npz file">];
}

def ExposeOperandsPass : Pass<"pack-expose-operands", "::mlir::ModuleOp"> {
  let summary = "make what products read, and what layers get and pass on, outputs";
  let description = [{
    For calibration: the left operands of products with weights, and the hidden states before and after each layer and each
    part of it, become results of `@main` behind its own, `lathe.tensor.0` and so on. The metadata of the module gets an
    entry `lathe.calibration`, JSON, that says of which nodes, weights and layers each is. What is in a branch or a loop, or
    is not f32, is not shown; a remark says so.

    With `rounding` there is an input behind those of `@main` instead, `lathe.rounded`, i1: where its element is true, the
    operand of this number, and the weights of its products, are rounded to bf16, and sums stay f32.
  }];
  let options = [Option<"rounding", "rounding", "bool", /*default=*/"false", "an input that rounds, and no outputs">];
  let dependentDialects = ["::lathe::nn::NNDialect"];
}

def MigrateScalesPass : Pass<"pack-migrate-scales", "::mlir::ModuleOp"> {
  let summary = "move what makes channels larger than others into the weight";
  let description = [{
    Where an op has an attribute `pack.migrate`, a factor for each channel of its left operand, that operand is divided by
    them, and the rows of the weight are multiplied with them when the artifact is written. A norm that only products with
    the same factors read divides by having other scales. `pack.range` is that of the quotient already. Factors that fit no
    channels are a remark.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def PruneWeightsPass : Pass<"pack-prune-weights", "::mlir::ModuleOp"> {
  let summary = "make zeros in weights where they are asked for, and use those that are there";
  let description = [{
    Where an op has an attribute `pack.sparsity`, its weight becomes one that is computed by `pack.prune`, and the op asks for
    `#pack.blocks` of the size that the products of its type read; the attribute goes. With `find`, ops that ask for no zeros
    but whose weights have many get the same blocks as they are.

    What is refused is a remark: matrices of more rows, or fewer elements, than products read in blocks, other ops and
    formats, and zeros so few that the product would take as long as it does (not with `force`, which is a remark, too). How
    long it takes, by the size of blocks and the share of them that is not zero, is said by the measured product whose shape
    is nearest, in `latencies`, a table that `lathe latencies` writes; without one, or where it lacks the format, by
    times that were measured for the release.
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"native\"", "as of emit-cpu-kernels">,
                 Option<"latencies", "latencies", "std::string", /*default=*/"\"\"", "the table, a JSON file">,
                 Option<"find", "find", "bool", /*default=*/"true", "use the zeros that weights have">,
                 Option<"force", "force", "bool", /*default=*/"false", "prune also where products do not get faster">];
  let dependentDialects = ["::lathe::pack::PackDialect"];
}

def RefuseSlowPass : Pass<"pack-refuse-slow", "::mlir::ModuleOp"> {
  let summary = "refuse formats in which products would not take less time";
  let description = [{
    Where an op has an attribute `pack.format`, the measured product whose shape is nearest to its own says how much of the
    time of f32 it will take. A format that takes as long is refused, with a remark that has the measured numbers; with
    `force` it is kept, and a remark says so. A codebook, in which weights are only stored, is refused where it takes
    longer; one that was not measured is taken to be like another of as many bits. Other formats that were not measured, as
    integers in which weights are only stored, stay. An unknown number of rows is taken to be the one that suits the format
    best.

    `latencies` is a table that `lathe latencies` writes; without one, nothing is refused.
  }];
  let options = [Option<"latencies", "latencies", "std::string", /*default=*/"\"\"", "the table, a JSON file">,
                 Option<"force", "force", "bool", /*default=*/"false", "refuse nothing, but say what would be refused">];
  let dependentDialects = ["::lathe::pack::PackDialect"];
}

def EncodeWeightsPass : Pass<"pack-encode-weights", "::mlir::ModuleOp"> {
  let summary = "store weights in the formats that are asked for";
  let description = [{
    Where an op has an attribute `pack.format` that says how its weight is to be stored, and no more than that, the weight
    becomes one that is computed by `pack.encode`, and the op reads it through `pack.decode`. The attribute goes; a request
    that is refused is a remark. Weights that hold elements the format has not, that it would not make smaller, or that
    other ops read, too, are left as they are, unless all of these ask for the same.
  }];
  let dependentDialects = ["::lathe::pack::PackDialect"];
}

def RoundRowsPass : Pass<"pack-round-rows", "::mlir::ModuleOp"> {
  let summary = "round what is multiplied with weights of dynamic formats";
  let description = [{
    Where the weight of an `nn.matmul` is decoded from a format of which `dynamic` is true, 32 elements of a row that stand side
    by side become integers of 8 bits times a scale of their own, once for all products that read the row. They stay f32, so
    that every kernel computes the same; kernels of AVX-512 VNNI multiply the integers.

    On a target without dot products of bytes nothing is rounded, which is a remark, unless `force` is given. If code is
    compiled for several targets, the best of them decides.
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"native\"", "as of emit-cpu-kernels">,
                 Option<"force", "force", "bool", /*default=*/"false", "also where it is not faster">];
  let dependentDialects = ["::lathe::pack::PackDialect", "::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def QuantizeInt8Pass : Pass<"pack-quantize-int8", "::mlir::ModuleOp"> {
  let summary = "compute products with integers of 8 bits";
  let description = [{
    Products with weights that ask for `#pack.int8<dynamic>` become `nn.integer_matmul`s, times the scales of their rows and
    columns. The weights become codes with a scale for each column when the artifact is written; a row of what they are
    multiplied with becomes unsigned codes around 128, by a scale that is its largest magnitude over 127, once for all
    products that read it. `#pack.int8<static>` takes one scale and zero point for all rows, of the range that `pack.range`
    says: their numbers are weights, so that layers of other ranges are alike, and the scale is part of those of the columns.

    A request that is refused is a remark: weights that are not finite, or so few that quantizing the rows takes longer than
    the integers save (not with `force`), and ranges that are missing.
  }];
  let options = [Option<"force", "force", "bool", /*default=*/"false", "however small the weights are">];
  let dependentDialects = ["::lathe::pack::PackDialect", "::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def ConvertBF16Pass : Pass<"pack-convert-bf16", "::mlir::ModuleOp"> {
  let summary = "compute products in bf16 where it is asked for";
  let description = [{
    A product of f32 with `pack.format = #pack.bf16` gets operands of bf16 and keeps its result, sums of f32. The weight
    becomes one that is computed in bf16, half its bytes. The left operand is rounded where it is computed, before it is
    reshaped: a kernel that computes it for such products alone stores bf16, otherwise one kernel rounds it for all of
    them.

    On a target without instructions that multiply bf16 faster than f32, the request stays on products of few rows, whose
    time is that of reading the weight: `pack-encode-weights` stores it in bf16. AVX512_BF16 is such an instruction on AMD's
    processors and has half the rate of f32 on Intel's, which have matrix registers instead. Attention gets operands and a
    result of bf16 where matrix registers multiply its heads. What is refused is a remark: other attention, depthwise
    convolutions, products of few columns, and products of so few of all operations that they save no time, as those that
    compute a factor for each channel, whose error is that of every position (not with `force`).

    If code is compiled for several targets, the best of them decides; the others widen bf16 in registers. CUDA devices
    multiply everything in bf16 but what has few columns.
  }];
  let options = [Option<"target", "target", "std::string", /*default=*/"\"native\"", "as of emit-cpu-kernels">,
                 Option<"all", "all", "bool", /*default=*/"false", "as if every product asked for it">,
                 Option<"force", "force", "bool", /*default=*/"false",
                        "also where instructions are slow, or columns few">,
                 Option<"onDevice", "on-device", "bool", /*default=*/"false", "for CUDA devices alone">];
  let dependentDialects = ["::lathe::pack::PackDialect"];
}

#endif // LATHE_PACK_PASSES_TD
