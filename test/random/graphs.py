# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random models, and what Lathe makes of one."""

import dataclasses
import pathlib
import random
import tempfile

import numpy as np
import onnx
import onnx.utils
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import control_flow  # noqa: F401  registers its samplers
import lathe
from builder import Builder, run_onnxruntime
import numeric_samplers  # noqa: F401, registers its operators
from samplers import SAMPLERS, sample

# Without rounding errors both compute the same; with them Lathe may be this many times as far from the exact result as
# ONNX Runtime, or, where that is luckily exact, this far in units of the result's own scale.
FACTOR = 16
FLOOR = 2e-6
UNSUPPORTED = {"E0301", "E0308"}


@dataclasses.dataclass
class Result:
    seed: object
    counts: dict
    symbolic: bool
    refused: str = ""
    failure: str = ""


def generate(source, nodes=None, operators=None, tries=20):
    """(ModelProto, inputs, names of exact outputs, nodes by operator, symbolic) from a random.Random; None where all
    that was tried came to nothing."""
    for _ in range(tries):
        builder = Builder(source, symbolic=source.random() < 0.5)
        wanted = source.randint(3, 18) if nodes is None else nodes
        for _ in range(6 * wanted):
            if sum(builder.counts.values()) < wanted:
                sample(builder, operators)
        if builder.nodes:
            return *builder.build(), builder.counts, builder.symbolic
    return None


def in_double(model):
    """The model with every float in f64."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    double, single = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT

    def convert(graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == single:
                value.type.tensor_type.elem_type = double
        for tensor in graph.initializer:
            if tensor.data_type == single:
                array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                    attribute.i = double
                if attribute.type == onnx.AttributeProto.GRAPH:
                    convert(attribute.g)

    convert(copy.graph)
    return copy


def ending_with(model, output):
    """The model with one output and what that needs: onnx's reference may not know the rest."""
    return onnx.utils.Extractor(model).extract_model([value.name for value in model.graph.input], [output])


class MeanVarianceNormalization(OpRun):
    """onnx's own adds a constant in single precision, and knows no other."""

    def _run(self, x, axes=(0, 2, 3)):
        centered = x - x.mean(axis=tuple(axes), keepdims=True)
        return centered / (np.sqrt((centered ** 2).mean(axis=tuple(axes), keepdims=True)) + 1e-9),


def exact_results(model, inputs):
    """The outputs computed in f64, or None where onnx's reference cannot."""
    try:
        evaluator = ReferenceEvaluator(in_double(model), new_ops=[MeanVarianceNormalization])
        wide = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in inputs.items()}
        return dict(zip(evaluator.output_names, evaluator.run(None, wide)))
    except Exception:  # it has no common base, and knows not every type
        return None


def describe_difference(name, ours, theirs, is_exact, exact):
    """What is wrong with an output, or nothing."""
    if ours.shape != theirs.shape:
        return f"{name}: shape {ours.shape}, expects {theirs.shape}"
    if ours.dtype != theirs.dtype:
        return f"{name}: type {ours.dtype}, expects {theirs.dtype}"
    if np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
        return ""
    if ours.dtype.kind != "f" or is_exact:
        return f"{name}: {np.sum(ours != theirs)} of {ours.size} elements differ and all should be equal"
    scale = float(np.abs(theirs).max(initial=1e-30))
    difference = float(np.abs(ours.astype(np.float64) - theirs).max())
    if difference <= FLOOR * scale:
        return ""
    if exact is not None and exact[name].shape == ours.shape:
        own = float(np.abs(ours - exact[name]).max())
        allowed = max(FACTOR * float(np.abs(theirs - exact[name]).max()), FLOOR * scale)
        return "" if own <= allowed else f"{name}: off by {own:.2e}, ONNX Runtime allows {allowed:.2e}"
    return "" if difference <= 1e-4 * scale else f"{name}: differs by {difference:.2e} at a scale of {scale:.2e}"


def check(model, inputs, exact_names, levels=(0, 2), compiled=None):
    """(why it was refused, what is wrong): compares every level of optimization with ONNX Runtime.

    compiled: what Lathe gets instead of the model, for tests of this very check.
    """
    theirs = run_onnxruntime(model, inputs)
    with tempfile.TemporaryDirectory(prefix="lathe-random-") as folder:
        for level in levels:
            path = pathlib.Path(folder) / f"model{level}.so"
            try:
                artifact = lathe.compile(compiled or model, path, threads=1, opt_level=level)
            except lathe.ModelError as error:
                if error.code in UNSUPPORTED:
                    return str(error), ""
                return "", f"-O{level}: {error}"
            try:
                ours = artifact(inputs)
            except lathe.ModelError as error:
                return "", f"-O{level}: {error}"
            for name, value in theirs.items():
                value = np.asarray(value)
                wrong = describe_difference(name, ours[name], value, name in exact_names, None)
                if wrong and value.dtype.kind == "f" and name not in exact_names:
                    wrong = describe_difference(name, ours[name], value, False, exact_results(ending_with(model, name), inputs))
                elif wrong and value.dtype.kind in "iu":
                    # Where a processor has no dot products of bytes, ONNX Runtime's saturate at 16 bits.
                    reference = exact_results(ending_with(model, name), inputs)
                    wrong = wrong if reference is None else describe_difference(name, ours[name], reference[name], True, None)
                if wrong:
                    return "", f"-O{level}: {wrong}"
    return "", ""


def supported_operators():
    """Those whose nodes Lathe compiles by themselves."""
    found = []
    for operator in sorted(SAMPLERS):
        generated = generate(random.Random(operator), nodes=1, operators=[operator])
        if generated and not check(*generated[:3], levels=(2,))[0]:
            found.append(operator)
    return found


def check_seed(seed, levels=(0, 2), keep=None, operators=None):
    """Makes the model of a seed and checks it; with `keep`, a failing one is saved in that folder."""
    model, inputs, exact, counts, symbolic = generate(random.Random(seed), operators=operators)
    refused, failure = check(model, inputs, exact, levels)
    if failure and keep:
        onnx.save(model, pathlib.Path(keep) / f"random-{seed}.onnx")
        np.savez(pathlib.Path(keep) / f"random-{seed}.npz", **inputs)
    return Result(seed, counts, symbolic, refused, failure)
