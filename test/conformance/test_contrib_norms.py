# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Normalizations and activations of com.microsoft against ONNX Runtime, or against numpy where its processors' provider
lacks them, over shapes, types and optional inputs; all of it with LATHE_TEST_FULL=1."""

import itertools
import math
import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import check, compare, lathe, run  # noqa: E402
from spatial import FULL  # noqa: E402

MS = "com.microsoft"
# Each result is the last of a few roundings of its type.
TOLERANCE = {np.float32: {"rtol": 1e-4, "atol": 1e-5}, np.float64: {"rtol": 1e-9, "atol": 1e-9},
             np.float16: {"rtol": 4e-3, "atol": 4e-3}}
# The schemata of sums have no f64.
TYPES = [np.float32, np.float16]
MODES = [{}, {"symbolic": True}, {"constants": "all"}]
rng = np.random.default_rng(5)


def numbers(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def sample(*lists, step=7):
    """Every combination, or every `step`-th: coprime to the lists' lengths, so that all entries are there."""
    cases = list(itertools.product(*lists))
    return cases if FULL else cases[::step]


def expand(mode, inputs):
    """The options of a mode: in the last one all inputs but the first are initializers."""
    if mode.get("constants") == "all":
        return {"constants": [name for name, array in inputs.items() if array is not None][1:]}
    return mode


def check_all(op, inputs, outputs, mode, dtype=np.float32, domain=MS, **attributes):
    check(op, inputs, outputs, domain=domain, **TOLERANCE[dtype], **expand(mode, inputs), **attributes)


# -- Norms of sums -----------------------------------------------------------------------------------------------------

SHAPES = [(2, 3, 8), (1, 1, 1), (5, 16), (2, 0, 4), (3, 7, 33)]


@pytest.mark.parametrize("dtype,shape,mode", sample(TYPES, SHAPES, MODES, step=7))
@pytest.mark.parametrize("skip", ["whole", "one batch", "no batch"])
def test_skip_layer_normalization(dtype, shape, mode, skip):
    if len(shape) == 2 and skip != "whole":
        pytest.skip("there are no batches")
    skips = {"whole": shape, "one batch": (1, *shape[1:]), "no batch": shape[1:]}
    width = shape[-1:]
    # Which of the optional operands are there varies with the case.
    beta, bias = len(skip) % 2 == 0, shape[0] % 2 == 0
    inputs = {"x": numbers(*shape, dtype=dtype), "skip": numbers(*skips[skip], dtype=dtype),
              "gamma": numbers(*width, dtype=dtype), "beta": numbers(*width, dtype=dtype) if beta else None,
              "bias": numbers(*width, dtype=dtype) if bias else None}
    check_all("SkipLayerNormalization", inputs, ["y", "", "", "sum"], mode, dtype, epsilon=1e-3)


@pytest.mark.parametrize("dtype,shape,mode,bias", sample(TYPES, SHAPES, MODES, [False, True], step=7))
def test_skip_simplified_layer_normalization(dtype, shape, mode, bias):
    inputs = {"x": numbers(*shape, dtype=dtype), "skip": numbers(*shape, dtype=dtype),
              "gamma": numbers(*shape[-1:], dtype=dtype),
              "bias": numbers(*shape[-1:], dtype=dtype) if bias else None}
    check_all("SkipSimplifiedLayerNormalization", inputs, ["y", "", "", "sum"], mode, dtype, epsilon=1e-2)


@pytest.mark.parametrize("dtype,shape,mode", sample(list(TOLERANCE), [(2, 3, 8), (5, 16), (2, 3, 4, 5)], MODES, step=2))
def test_simplified_layer_normalization_in_the_default_domain(dtype, shape, mode):
    inputs = {"x": numbers(*shape, dtype=dtype), "scale": numbers(*shape[-1:], dtype=dtype)}
    check_all("SimplifiedLayerNormalization", inputs, ["y", "root"], mode, dtype, domain="", epsilon=1e-3, axis=-1)


def test_statistics_of_a_skip_norm():
    x, skip, gamma = numbers(2, 3, 8), numbers(2, 3, 8), numbers(8)
    got = run("SkipLayerNormalization", {"x": x, "skip": skip, "gamma": gamma}, ["y", "mean", "root", ""], domain=MS)
    total = x + skip
    compare(got, {"mean": total.mean(-1, keepdims=True), "root": 1 / np.sqrt(total.var(-1, keepdims=True) + 1e-12)})


@pytest.mark.parametrize("bad,message", [
    ({"skip": numbers(2, 4, 8)}, "do not broadcast"), ({"gamma": numbers(7)}, "gamma has 7 elements, must have 8"),
    ({"gamma": numbers(8, 1)}, "gamma has 2 dimensions"), ({"skip": numbers(1, 2, 3, 8)}, "skip has 4 dimensions"),
    ({"bias": numbers(9)}, "the bias has 9 elements")])
def test_operands_of_a_skip_norm_that_do_not_fit(bad, message):
    inputs = {"x": numbers(2, 3, 8), "skip": numbers(2, 3, 8), "gamma": numbers(8), "beta": None, "bias": None, **bad}
    with pytest.raises(lathe.ModelError, match=message):
        run("SkipLayerNormalization", inputs, ["y"], domain=MS)


# -- Embeddings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segments,mask,positions,symbolic",
                         sample([False, True], [False, True], [None, 1, 3], [False, True], step=7))
def test_embed_layer_normalization(segments, mask, positions, symbolic):
    ids = rng.integers(0, 11, (3, 5), dtype=np.int32)
    keep = np.ones((3, 5), np.int32)
    keep[1, 2:] = 0
    inputs = {"ids": ids, "segments": rng.integers(0, 2, (3, 5), dtype=np.int32) if segments else None,
              "words": numbers(11, 8), "places": numbers(9, 8), "kinds": numbers(2, 8) if segments else None,
              "gamma": numbers(8), "beta": numbers(8), "mask": keep if mask else None,
              "positions": rng.integers(0, 9, (positions, 5), dtype=np.int32) if positions else None}
    tables = [name for name in ("words", "places", "kinds", "gamma", "beta") if inputs[name] is not None]
    options = {"symbolic": True, "constants": tables} if symbolic else {}
    check("EmbedLayerNormalization", inputs, ["y", "count", "sum"], domain=MS, epsilon=1e-3, **options)


# -- Groups ------------------------------------------------------------------------------------------------------------


def group_norm(x, gamma, beta, groups, epsilon, activation):
    """`x` has its channels last."""
    split = x.astype(np.float64).reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    split = split - split.mean((1, 3), keepdims=True)
    split = split / np.sqrt((split**2).mean((1, 3), keepdims=True) + epsilon)
    y = split.reshape(x.shape) * gamma + beta
    return y / (1 + np.exp(-y)) if activation else y


@pytest.mark.parametrize("dtype,groups,last,activation,symbolic",
                         sample([np.float32, np.float16], [1, 4, 12], [0, 1], [0, 1], [False, True], step=7))
@pytest.mark.parametrize("skip", [None, (2, 12), (2, 1, 1, 12), (2, 4, 3, 12)])
def test_group_norm(dtype, groups, last, activation, symbolic, skip):
    x, gamma, beta, bias = numbers(2, 4, 3, 12, dtype=dtype), numbers(12), numbers(12), numbers(12, dtype=dtype)
    addend = None if skip is None else numbers(*skip, dtype=dtype)
    swap = lambda a: a if last or a.ndim == 2 else np.moveaxis(a, -1, 1)  # noqa: E731
    inputs = {"x": swap(x), "gamma": gamma, "beta": beta}
    total = x.astype(np.float64)
    if skip:
        inputs.update(skip=swap(addend), bias=bias)
        total = total + (addend.reshape(2, 1, 1, 12) if len(skip) == 2 else addend) + bias
    got = run("SkipGroupNorm" if skip else "GroupNorm", inputs, ["y", "sum"] if skip else ["y"], domain=MS,
              groups=groups, channels_last=last, activation=activation, epsilon=1e-3, symbolic=symbolic)
    want = {"y": swap(group_norm(total, gamma, beta, groups, 1e-3, activation)).astype(dtype)}
    if skip:
        want["sum"] = swap(total).astype(dtype)
    compare(got, want, **TOLERANCE[dtype])


# -- Activations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op,bias,shape,mode", sample(
    ["BiasGelu", "FastGelu"], [False, True], [(2, 3, 8), (5,), (3, 0, 4), (2, 3, 4, 5)], MODES))
def test_gelu_with_a_bias(op, bias, shape, mode):
    if op == "BiasGelu" and not bias:
        pytest.skip("the bias must be there")
    inputs = {"x": 3 * numbers(*shape), "bias": numbers(shape[-1]) if bias else None}
    check_all(op, inputs, ["y"], mode)


@pytest.mark.parametrize("op,attributes", [("Gelu", {}), ("QuickGelu", {}), ("QuickGelu", {"alpha": 1.0}),
                                           ("QuickGelu", {"alpha": -0.5})])
@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
def test_gelu(op, attributes, symbolic):
    x = np.concatenate([np.linspace(-12, 12, 99), [0, -100, 100]]).astype(np.float32).reshape(6, 17)
    check(op, {"x": x}, ["y"], domain=MS, symbolic=symbolic, **attributes)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("mode", MODES)
def test_bias_add_and_bias_split_gelu(dtype, mode):
    x, bias, skip = numbers(2, 3, 8, dtype=dtype), numbers(8, dtype=dtype), numbers(2, 3, 8, dtype=dtype)
    inputs = {"x": x, "bias": bias, "skip": skip}
    compare(run("BiasAdd", inputs, ["y"], domain=MS, **expand(mode, inputs)), {"y": x + bias + skip},
            **TOLERANCE[dtype])
    del inputs["skip"]
    left, right = np.split((x + bias).astype(np.float64), 2, -1)
    want = left * right * (1 + np.vectorize(math.erf)(right / np.sqrt(2))) / 2
    compare(run("BiasSplitGelu", inputs, ["y"], domain=MS, **expand(mode, inputs)), {"y": want.astype(dtype)},
            **TOLERANCE[dtype])


def test_operands_of_activations_that_do_not_fit():
    with pytest.raises(lathe.ModelError, match="the bias has 3 elements, must have 4"):
        run("BiasGelu", {"x": numbers(2, 4), "bias": numbers(3)}, ["y"], domain=MS)
    with pytest.raises(lathe.ModelError, match="must be even"):
        run("BiasSplitGelu", {"x": numbers(2, 5), "bias": numbers(5)}, ["y"], domain=MS)
