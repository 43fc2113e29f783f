# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of floats that are computed with integers of 8 bits: --quantize=int8-dynamic."""

import math

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe

ROWS, DEPTH, COLUMNS = 37, 96, 80


def model(nodes, weights, inputs, output):
    graph = helper.make_graph(nodes, "graph", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                                               for name, shape in inputs.items()],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
                              [numpy_helper.from_array(array, name) for name, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def weight_codes(w):
    """Codes and scales by column."""
    scales = np.abs(w).reshape(-1, w.shape[-1]).max(axis=0) / np.float32(127)
    return np.where(scales > 0, np.rint(w / np.where(scales > 0, scales, 1)), 0).astype(int), scales.astype(np.float64)


def row_codes(x, axes=-1):
    """Codes and scales by row, with the roundings of f32 where they are taken."""
    largest = np.maximum(np.abs(x).max(axis=axes, keepdims=True), np.float32(2.0 ** -100))
    return np.rint(x * (np.float32(127) / largest)).astype(int), (largest * np.float32(1 / 127)).astype(np.float64)


def expected(x, w):
    (xq, xs), (wq, ws) = row_codes(x), weight_codes(w)
    return (xq @ wq) * xs * ws


@pytest.fixture(scope="module")
def product():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((DEPTH, COLUMNS), np.float32)
    w[:, 5] = 0
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"], "product")], {"w": w}, {"x": ("N", DEPTH)}, ("N", COLUMNS))
    return w, lathe.compile(graph, quantize="int8-dynamic")


def assert_equal_products(ours, wanted):
    # The sums are exact; the scale of the row, one of 1/127, and two products round in f32, and so does the sum's
    # conversion: 5 half units.
    assert np.abs(ours - wanted).max() <= 5 * 2.0 ** -24 * np.abs(wanted).max()
    np.testing.assert_allclose(ours, wanted, rtol=5 * 2.0 ** -24, atol=0)


@pytest.mark.parametrize("rows", [1, 3, 37, 200])
def test_product(product, rows):
    w, compiled = product
    x = np.random.default_rng(rows).standard_normal((rows, DEPTH), np.float32)
    x *= np.exp(np.arange(rows, dtype=np.float32) % 40 - 20)[:, None]  # each row has a scale of its own
    assert_equal_products(compiled(x=x)["y"], expected(x, w))


@pytest.mark.parametrize("depth,columns", [(65, 64), (66, 65), (67, 81), (128, 97)])
def test_sizes_that_fill_no_vectors(depth, columns):
    rng = np.random.default_rng(depth)
    w, x = rng.standard_normal((depth, columns), np.float32), rng.standard_normal((ROWS, depth), np.float32)
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": w}, {"x": (ROWS, depth)}, (ROWS, columns))
    assert_equal_products(lathe.compile(graph, quantize="int8-dynamic")(x=x)["y"], expected(x, w))


def test_rows_of_zeros_give_zeros(product):
    w, compiled = product
    x = np.random.default_rng(1).standard_normal((ROWS, DEPTH), np.float32)
    x[3] = 0
    x[4] = np.float32(1e-42)  # no normal number: as small as nothing
    y = compiled(x=x)["y"]
    assert not y[3:5].any()
    assert_equal_products(y[5:], expected(x[5:], w))


def test_columns_of_zeros_give_zeros(product):
    w, compiled = product
    x = np.random.default_rng(2).standard_normal((ROWS, DEPTH), np.float32)
    assert not compiled(x=x)["y"][:, 5].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(product, value):
    w, compiled = product
    x = np.random.default_rng(3).standard_normal((ROWS, DEPTH), np.float32)
    x[7, 11] = value
    y = compiled(x=x)["y"]
    assert not np.isfinite(np.delete(y[7], 5)).any()
    others = np.delete(np.arange(ROWS), 7)
    assert_equal_products(y[others], expected(x[others], w))


def convolve(x, w, stride, pad, groups):
    """Of whole numbers, channels second, exact."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    size = w.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    windows = windows.reshape(x.shape[0], groups, -1, *windows.shape[2:])
    filters = w.reshape(groups, -1, *w.shape[1:])
    return np.einsum("bgchwij,gfcij->bgfhw", windows, filters).reshape(x.shape[0], w.shape[0], *windows.shape[3:5])


@pytest.mark.parametrize("size,stride,groups", [(1, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2)])
def test_convolution(size, stride, groups):
    rng = np.random.default_rng(size + stride)
    w = rng.standard_normal((64 * groups, 64, size, size), np.float32)
    x = rng.standard_normal((2, 64 * groups, 9, 11), np.float32)
    x[1] *= 100  # an image of another scale
    pad = size // 2
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[pad] * 4, strides=[stride] * 2, group=groups)
    graph = model([node], {"w": w}, {"x": x.shape}, (2, w.shape[0], None, None))
    wq, ws = weight_codes(w.transpose(1, 2, 3, 0))
    # A pixel's channels have one scale if no window is larger, else all of an image.
    xq, xs = row_codes(x, 1 if size == 1 else (1, 2, 3))
    wanted = convolve(xq, wq.transpose(3, 0, 1, 2), stride, pad, groups) * xs * ws[:, None, None]
    assert_equal_products(lathe.compile(graph, quantize="int8-dynamic")(x=x)["y"], wanted)


def test_depthwise_convolution_stays():
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((64, 1, 3, 3), np.float32), rng.standard_normal((1, 64, 9, 9), np.float32)
    graph = model([helper.make_node("Conv", ["x", "w"], ["y"], group=64, pads=[1] * 4)], {"w": w}, {"x": x.shape}, x.shape)
    np.testing.assert_array_equal(lathe.compile(graph, quantize="int8-dynamic")(x=x)["y"], lathe.compile(graph)(x=x)["y"])


def rounding_error(x, w):
    """The deviation of each element of x @ w if what rounds x and w to codes is random: a step has one of 1/sqrt(12)."""
    (_, xs), (_, ws) = row_codes(x), weight_codes(w)
    return np.sqrt((np.square(xs) * np.square(w).sum(axis=0) + np.square(x).sum(axis=-1, keepdims=True) * np.square(ws)) / 12)


def test_norm_bias_and_gelu():
    """Everything that is fused around products, of a feed-forward block, in batches."""
    rng = np.random.default_rng(4)
    weights = {"up": rng.standard_normal((DEPTH, 256), np.float32) / 8, "up_b": rng.standard_normal(256, np.float32) / 8,
               "down": rng.standard_normal((256, DEPTH), np.float32) / 16, "down_b": rng.standard_normal(DEPTH, np.float32) / 8,
               "scale": rng.uniform(0.5, 1.5, DEPTH).astype("f4"), "shift": rng.standard_normal(DEPTH).astype("f4")}
    nodes = [helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["n"], epsilon=1e-5),
             helper.make_node("MatMul", ["n", "up"], ["u"]), helper.make_node("Add", ["u", "up_b"], ["ub"]),
             helper.make_node("Gelu", ["ub"], ["g"]), helper.make_node("MatMul", ["g", "down"], ["d"]),
             helper.make_node("Add", ["d", "down_b"], ["db"]), helper.make_node("Add", ["db", "n"], ["y"])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("B", "S", size))
               for name, size in {"y": DEPTH, "n": DEPTH, "g": 256}.items()]
    graph = helper.make_model(helper.make_graph(
        nodes, "block", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("B", "S", DEPTH))], outputs,
        [numpy_helper.from_array(array, name) for name, array in weights.items()]),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = rng.standard_normal((3, 17, DEPTH), np.float32)
    floats, ours = lathe.compile(graph)(x=x), lathe.compile(graph, quantize="int8-dynamic")(x=x)
    np.testing.assert_allclose(ours["n"], floats["n"], rtol=1e-6, atol=1e-6)
    # The error of the first product passes gelu, whose slope is 1 or 0 but near 0, and the second product. Errors of rounding
    # are as even as this if codes are many; half and twice as much is beyond chance for thousands of elements.
    first = rounding_error(floats["n"], weights["up"])
    slopes = np.square(first * (floats["g"] > 0)) @ np.square(weights["down"])
    predicted = np.sqrt(slopes + np.square(rounding_error(floats["g"], weights["down"])))
    ratio = np.sqrt(np.square(ours["y"] - floats["y"]).mean() / np.square(predicted).mean())
    assert 0.5 < ratio < 2


@pytest.mark.parametrize("scale", [1, 1e-3])
def test_gelu_that_only_a_product_reads(scale):
    """It may be coarse, but its error drowns in that of the codes, however small the rows are: a tenth more is beyond chance."""
    rng = np.random.default_rng(6)
    w, x = rng.standard_normal((DEPTH, COLUMNS), np.float32), np.float32(scale) * rng.standard_normal((500, DEPTH), np.float32)
    nodes = [helper.make_node("Gelu", ["x"], ["g"]), helper.make_node("MatMul", ["g", "w"], ["y"])]
    graph = model(nodes, {"w": w}, {"x": ("N", DEPTH)}, ("N", COLUMNS))
    graph.opset_import[0].version = 20
    g = np.vectorize(lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2)))(x.astype(np.float64))
    errors = lathe.compile(graph, quantize="int8-dynamic")(x=x)["y"] - g @ w.astype(np.float64)
    predicted = rounding_error(g.astype(np.float32), w)
    assert 0.9 < np.sqrt(np.square(errors).mean() / np.square(predicted).mean()) < 1.1
