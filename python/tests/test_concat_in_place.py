# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Concatenations whose parts are written to their places, against ONNX Runtime."""

import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper

from lathe.compiler import driver
from run_models import FLOAT, compare, compile_model, model, value


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name="/" + outputs[0], **attributes)


def weights(**shapes):
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:])).astype(np.float32)
            for name, shape in shapes.items()}


def conv(x, weight, y, size, **attributes):
    return node("Conv", [x, weight], [y], kernel_shape=[size, size], pads=[size // 2] * 4, **attributes)


def joins(proto, folder):
    """How many concatenations cost nothing."""
    path = folder / "joins.onnx"
    onnx.save(proto, path)
    done = subprocess.run([driver(), "compile", path, "-o", folder / "joins.so", "--dump-ir-after=kernel-place-concats"],
                          capture_output=True, text=True, check=True)
    return done.stderr.count("kernel.join")


def check(proto, folder, shapes, expected_joins):
    assert joins(proto, folder) == expected_joins
    compiled = compile_model(proto, folder, threads=2)
    for shape in shapes:
        compare(proto, compiled, {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}, rtol=1e-4)


def fire(batch):
    """Products and convolutions of whole and odd vectors, with what follows them, and a result that is the whole."""
    nodes = [conv("x", "a", "p", 1), node("Relu", ["p"], ["q"]), conv("x", "b", "r", 3), node("Relu", ["r"], ["s"]),
             conv("x", "d", "t", 3, group=6), conv("x", "e", "u", 3, group=2),
             node("Concat", ["q", "s", "t", "u"], ["y"], axis=1)]
    return model(nodes, [value("x", FLOAT, batch, 6, "H", "W")], [value("y", FLOAT, batch, None, None, None)],
                 **weights(a=(16, 6, 1, 1), b=(19, 6, 3, 3), d=(6, 1, 3, 3), e=(4, 3, 3, 3)))


@pytest.mark.parametrize("batch", [1, "N"])
def test_convolutions_of_all_kinds(batch, tmp_path):
    # A transpose to the order of channels that ONNX has reads the whole.
    check(fire(batch), tmp_path, [(1, 6, 7, 9), (1, 6, 1, 1)] + ([(3, 6, 5, 4)] if batch == "N" else []), 1)


def test_dense_block(tmp_path):
    """Each layer reads all before it: parts of parts, read by pointwise kernels, products and convolutions."""
    nodes, names = [conv("x", "w0", "c0", 3)], ["c0"]
    shapes = {"w0": (8, 3, 3, 3)}
    whole, channels = "c0", 8
    for i in range(1, 4):
        nodes += [node("Sigmoid", [whole], [f"s{i}"]), conv(f"s{i}", f"v{i}", f"d{i}", 1), node("Relu", [f"d{i}"], [f"e{i}"]),
                  conv(f"e{i}", f"w{i}", f"c{i}", 3), node("Concat", [whole, f"c{i}"], [f"y{i}"], axis=1)]
        shapes |= {f"v{i}": (12, channels, 1, 1), f"w{i}": (4, 12, 3, 3)}
        whole, channels = f"y{i}", channels + 4
    nodes += [conv(whole, "last", "z", 3), node("GlobalAveragePool", ["z"], ["y"])]
    shapes["last"] = (5, channels, 3, 3)
    proto = model(nodes, [value("x", FLOAT, "N", 3, "H", "W")], [value("y", FLOAT, "N", 5, 1, 1)], **weights(**shapes))
    check(proto, tmp_path, [(1, 3, 8, 9), (2, 3, 5, 5)], 3)


def test_what_no_kernel_can_write_there_is_copied(tmp_path):
    """An argument beside a convolution."""
    nodes = [conv("x", "a", "p", 3), node("Concat", ["p", "x"], ["c"], axis=1), conv("c", "b", "y", 1)]
    proto = model(nodes, [value("x", FLOAT, "N", 3, "H", "W")], [value("y", FLOAT, "N", 4, None, None)],
                  **weights(a=(20, 3, 3, 3), b=(4, 23, 1, 1)))
    check(proto, tmp_path, [(1, 3, 6, 6), (2, 3, 4, 7)], 1)


@pytest.mark.parametrize("channels", [2, 19])
def test_neighbours_in_space(channels, tmp_path):
    """Pools, resized and padded tensors are written to their places, and read a part there, the convolution's result."""
    pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [conv("x", "a", "p", 3), node("MaxPool", ["p"], ["m"], **pads), node("AveragePool", ["p"], ["v"], **pads),
             node("AveragePool", ["x"], ["h"], kernel_shape=[2, 2], strides=[2, 2]),
             node("Resize", ["h", "", "twice"], ["n"], mode="nearest"), node("Resize", ["h", "", "twice"], ["l"], mode="linear"),
             node("Slice", ["p", "one", "last", "axis"], ["s"]), node("Pad", ["s", "border"], ["b"]),
             node("Concat", ["m", "p", "v", "n", "l", "b"], ["c"], axis=1), conv("c", "d", "y", 1)]
    proto = model(nodes, [value("x", FLOAT, "N", channels, "H", "W")], [value("y", FLOAT, "N", 4, None, None)],
                  twice=np.array([1, 1, 2, 2], np.float32), one=np.array([1]), last=np.array([9999]), axis=np.array([2]),
                  border=np.array([0, 0, 1, 0, 0, 0, 0, 0]),
                  **weights(a=(channels + 1, channels, 3, 3), d=(4, 6 * channels + 4, 1, 1)))
    check(proto, tmp_path, [(1, channels, 6, 6), (2, channels, 4, 8)], 1)


def test_a_concatenation_that_is_a_part(tmp_path):
    """Its pieces have gaps between them along the channels and along the last dimension, as where a border repeats."""
    nodes = [node("Concat", ["x", "w"], ["c"], axis=1), node("Slice", ["c", "four", "six", "axis"], ["a"]),
             node("Slice", ["c", "zero", "two", "axis"], ["b"]), node("Concat", ["a", "c", "b"], ["y"], axis=2)]
    proto = model(nodes, [value("x", FLOAT, "N", 1, 6)], [value("y", FLOAT, "N", 4, 10)], zero=np.array([0]),
                  two=np.array([2]), four=np.array([4]), six=np.array([6]), axis=np.array([2]), **weights(w=(2, 3, 6)))
    check(proto, tmp_path, [(2, 1, 6)], 1)


def test_rows_along_the_first_dimension(tmp_path):
    nodes = [node("Softmax", ["x"], ["a"], axis=1), node("Exp", ["x"], ["b"]), node("MatMul", ["x", "w"], ["d"]),
             node("Concat", ["a", "b", "d"], ["c"], axis=0), node("Neg", ["c"], ["y"])]
    proto = model(nodes, [value("x", FLOAT, 3, 7)], [value("y", FLOAT, 9, 7)], **weights(w=(7, 7)))
    check(proto, tmp_path, [(3, 7)], 1)
