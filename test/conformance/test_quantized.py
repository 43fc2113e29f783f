# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products of 8-bit integers over types, shapes and forms of zero points and scales; all of it with LATHE_TEST_FULL=1.
Sums must be exact. Results are rounded as f32 says, which ONNX Runtime meets but for ties."""

import itertools
import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import compare, lathe, run, runtime  # noqa: E402
from spatial import FULL  # noqa: E402

TYPES = [("u1", "u1"), ("u1", "i1"), ("i1", "i1"), ("i1", "u1")]
SHAPES = [((4, 3), (3, 2)), ((17, 70), (70, 33)), ((2, 3, 5, 8), (2, 1, 8, 9)), ((6, 7), (5, 7, 4)), ((7,), (7, 4)),
          ((3, 7), (7,)), ((1, 300), (300, 1))]
ZEROS = ["none", "one", "list of one", "each", "tensor"]
CONVOLUTIONS = [
    ((1, 3, 9, 8), (4, 3, 3, 3), {"pads": [1, 0, 2, 1]}), ((2, 8, 7, 7), (8, 1, 3, 3), {"group": 8, "strides": [2, 1]}),
    ((1, 8, 5, 6), (16, 8, 1, 1), {}), ((2, 6, 11), (4, 3, 3), {"group": 2, "dilations": [2], "auto_pad": "VALID"}),
    ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), {"auto_pad": "SAME_UPPER"})]


def sample(cases):
    return cases if FULL else cases[::9]


def numbers(rng, kind, shape):
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, shape, kind, endpoint=True)


def shape_of(form, matrix, left):
    """The shape of the parameters of a matrix, or None for none at all."""
    if form in ("each", "tensor") and len(matrix) == 1:
        form = "one"
    if form == "tensor":
        return (*matrix[:-1], 1) if left else (*matrix[:-2], 1, matrix[-1])
    if form == "each":
        return (matrix[-2 if left else -1],)
    return {"none": None, "one": (), "list of one": (1,)}[form]


def parameters(rng, shape, kind):
    if shape is None:
        return None
    return rng.uniform(0.01, 0.1, shape).astype(kind) if kind == "f4" else numbers(rng, kind, shape)


def as_beside(array, left):
    """Parameters as numpy broadcasts them with a matrix."""
    if array is None:
        return 0
    return array.reshape(()) if array.size == 1 else array[:, None] if left and array.ndim == 1 else array


def rounded(sums, factor, zero, kind):
    """Sums of i32 times an f32 factor as numbers of `kind`."""
    info = np.iinfo(kind)
    scaled = np.rint(sums.astype("f4") * factor.astype("f4")) + zero.astype("f4")
    return np.clip(scaled, info.min, info.max).astype(kind)


@pytest.mark.parametrize("types,shapes,zeros,symbolic",
                         sample(list(itertools.product(TYPES, SHAPES, ZEROS, [False, True]))))
def test_matmul_integer(types, shapes, zeros, symbolic):
    rng = np.random.default_rng(1)
    a, b = (numbers(rng, kind, shape) for kind, shape in zip(types, shapes))
    a_zero, b_zero = (parameters(rng, shape_of(zeros, shape, left), kind)
                      for kind, shape, left in zip(types, shapes, [True, False]))
    inputs = {"a": a, "b": b, "a_zero": a_zero, "b_zero": b_zero}
    want = np.matmul(a.astype("i4") - as_beside(a_zero, True), b.astype("i4") - as_beside(b_zero, False), dtype="i4")
    options = {"symbolic": symbolic, "constants": ["a_zero", "b_zero"] if symbolic else []}
    compare(run("MatMulInteger", inputs, ["y"], **options), {"y": want})


@pytest.mark.parametrize("types,shapes,form", sample(list(itertools.product(TYPES, SHAPES, ZEROS[1:]))))
def test_qlinear_matmul(types, shapes, form):
    rng = np.random.default_rng(2)
    a, b = (numbers(rng, kind, shape) for kind, shape in zip(types, shapes))
    left, right = shape_of(form, shapes[0], True), shape_of(form, shapes[1], False)
    a_scale, a_zero = parameters(rng, left, "f4"), parameters(rng, left, types[0])
    b_scale, b_zero = parameters(rng, right, "f4"), parameters(rng, right, types[1])
    y_scale, y_zero = np.float32(0.9), numbers(rng, types[0], ())
    inputs = {"a": a, "a_scale": a_scale, "a_zero": a_zero, "b": b, "b_scale": b_scale, "b_zero": b_zero,
              "y_scale": np.asarray(y_scale), "y_zero": np.asarray(y_zero)}
    sums = np.matmul(a.astype("i4") - as_beside(a_zero, True), b.astype("i4") - as_beside(b_zero, False), dtype="i4")
    a_scale, b_scale = as_beside(a_scale, True), as_beside(b_scale, False)
    # The product with a vector has no columns, or no rows.
    a_scale = a_scale[..., 0] if len(shapes[1]) == 1 and a_scale.ndim > 1 else a_scale
    b_scale = b_scale[..., 0, :] if len(shapes[0]) == 1 and b_scale.ndim > 1 else b_scale
    want = rounded(sums, a_scale * b_scale / y_scale, y_zero, types[0])
    compare(run("QLinearMatMul", inputs, ["y"]), {"y": want})


def exact_sums(x, x_zero, filters, filter_zero, attributes):
    """ONNX Runtime's f32 convolution: sums of at most 258 products are below 2^24."""
    filter_zero = filter_zero.reshape(-1, *[1] * (filters.ndim - 1))
    floats = {"x": x.astype("f4") - x_zero, "w": filters.astype("f4") - filter_zero}
    return runtime("Conv", floats, ["y"], **attributes)["y"].astype("i4")


@pytest.mark.parametrize("types,case,each,symbolic",
                         sample(list(itertools.product(TYPES, CONVOLUTIONS, [False, True], [False, True]))))
def test_conv_integer(types, case, each, symbolic):
    rng = np.random.default_rng(3)
    x, filters = (numbers(rng, kind, shape) for kind, shape in zip(types, case[:2]))
    x_zero, w_zero = numbers(rng, types[0], ()), numbers(rng, types[1], case[1][:1] if each else ())
    x_zero, w_zero = np.asarray(x_zero), np.asarray(w_zero)
    inputs = {"x": x, "w": filters, "x_zero": x_zero, "w_zero": w_zero}
    options = {"symbolic": symbolic, "constants": ["w", "w_zero", "x_zero"] if symbolic else []}
    compare(run("ConvInteger", inputs, ["y"], **options, **case[2]),
            {"y": exact_sums(x, x_zero, filters, w_zero, case[2])})


@pytest.mark.parametrize("types,case,each,bias",
                         sample(list(itertools.product(TYPES[:3], CONVOLUTIONS, [False, True], [False, True]))))
def test_qlinear_conv(types, case, each, bias):
    rng = np.random.default_rng(4)
    x, filters = (numbers(rng, kind, shape) for kind, shape in zip(types, case[:2]))
    maps = case[1][:1]
    x_zero, w_zero = np.asarray(numbers(rng, types[0], ())), np.zeros(maps if each else (), types[1])
    y_zero, y_scale, x_scale = (np.asarray(numbers(rng, types[0], ())), np.asarray(np.float32(0.7)),
                                np.asarray(np.float32(0.04)))
    w_scale = rng.uniform(0.01, 0.03, maps if each else ()).astype("f4") if each else np.asarray(np.float32(0.02))
    b = rng.integers(-5000, 5000, maps, "i4") if bias else None
    inputs = {"x": x, "x_scale": x_scale, "x_zero": x_zero, "w": filters, "w_scale": w_scale, "w_zero": w_zero,
              "y_scale": y_scale, "y_zero": y_zero, "b": b}
    channels = (-1, *[1] * (x.ndim - 2))
    sums = exact_sums(x, x_zero, filters, w_zero, case[2]) + (b.reshape(channels) if bias else 0)
    factor = x_scale * w_scale.reshape(channels) / y_scale
    got = run("QLinearConv", inputs, ["y"], **case[2])
    compare(got, {"y": rounded(sums, factor, y_zero, types[0])})
    if types != ("u1", "i1") or not each:
        return
    compare(got, runtime("QLinearConv", inputs, ["y"], **case[2]), atol=1)
