# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The kernels of products of bytes, with weights in panels, for every target: exact sums at all tile heights, depths
that fill no register, and forms of zero points."""

import itertools
import pathlib
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import lathe, runtime  # noqa: E402

TARGETS = ["native", "x86-64-v4", "x86-64-v3"]
TYPES = {"u1": TensorProto.UINT8, "i1": TensorProto.INT8}


def numbers(rng, kind, shape):
    info = np.iinfo(kind)
    return np.asarray(rng.integers(info.min, info.max, shape, kind, endpoint=True))


def usable(target):
    """Whether this processor runs a target's code."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return target != "x86-64-v4" or "avx512bw" in flags


class Graph:
    """Nodes side by side, each with inputs and constants of its own."""

    def __init__(self):
        self.nodes, self.inputs, self.outputs, self.constants, self.feeds, self.want = [], [], [], [], {}, {}

    def add(self, op, inputs, constants, want, **attributes):
        number = len(self.nodes)
        names = []
        for name, array in inputs.items():
            if array is None:
                names.append("")
                continue
            names.append(f"{name}{number}")
            if name in constants:
                self.constants.append(numpy_helper.from_array(array, names[-1]))
            else:
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                self.inputs.append(helper.make_tensor_value_info(names[-1], kind, array.shape))
                self.feeds[names[-1]] = array
        self.outputs.append(helper.make_tensor_value_info(f"y{number}", TensorProto.INT32, want.shape))
        self.nodes.append(helper.make_node(op, names, [f"y{number}"], f"node{number}", **attributes))
        self.want[f"y{number}"] = want

    def check(self, target):
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.checker.check_model(model)
        got = lathe.compile(model, target=target)(**self.feeds)
        for name, want in self.want.items():
            np.testing.assert_array_equal(got[name], want, err_msg=name)


def zero_of(rng, form, kind, shape):
    return {"none": None, "one": numbers(rng, kind, ()), "each": numbers(rng, kind, shape),
            "center": np.asarray(128 if kind == "u1" else 0, kind)}[form]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("lhs,rhs", list(itertools.product(TYPES, TYPES)))
def test_products(target, lhs, rhs):
    if not usable(target):
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(5)
    graph = Graph()
    shapes = [(1, 64, 40), (7, 100, 33), (8, 4, 16), (9, 64, 17), (16, 65, 32), (17, 128, 1), (31, 192, 64), (32, 63, 48),
              (33, 320, 31), (100, 68, 20), (129, 640, 70), (300, 72, 32)]
    forms = [("none", "none"), ("one", "center"), ("one", "one"), ("each", "each"), ("none", "each")]
    for number, (rows, depth, columns) in enumerate(shapes):
        left, right = forms[number % len(forms)]
        a, b = numbers(rng, lhs, (rows, depth)), numbers(rng, rhs, (depth, columns))
        a_zero, b_zero = zero_of(rng, left, lhs, (rows,)), zero_of(rng, right, rhs, (columns,))
        beside = 0 if a_zero is None else a_zero.astype("i4").reshape(-1, 1)
        want = (a.astype("i4") - beside) @ (b.astype("i4") - (0 if b_zero is None else b_zero.astype("i4")))
        graph.add("MatMulInteger", {"a": a, "b": b, "a_zero": a_zero, "b_zero": b_zero}, {"b", "a_zero", "b_zero"}, want)
    graph.check(target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", TYPES)
def test_operands_that_are_views_or_no_weights(target, kind):
    """A transposed left-hand side, and a right-hand side that is an input, are packed for each task."""
    if not usable(target):
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(6)
    a, b = numbers(rng, kind, (2, 700, 40)), numbers(rng, kind, (2, 700, 37))
    a_zero, b_zero = numbers(rng, kind, ()), numbers(rng, kind, ())
    constants = [numpy_helper.from_array(a_zero, "az"), numpy_helper.from_array(b_zero, "bz")]
    nodes = [helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
             helper.make_node("MatMulInteger", ["t", "b", "az", "bz"], ["y"])]
    inputs = [helper.make_tensor_value_info(name, TYPES[kind], shape)
              for name, shape in [("a", ("B", "K", "M")), ("b", ("B", "K", 37))]]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, constants),
                              opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    want = (a.transpose(0, 2, 1).astype("i4") - a_zero) @ (b.astype("i4") - b_zero)
    np.testing.assert_array_equal(lathe.compile(model, target=target)(a=a, b=b)["y"], want)


def exact_sums(x, x_zero, filters, filter_zero, attributes):
    """ONNX Runtime's f32 convolutions of the upper and lower parts of x: no sum reaches 2^24."""
    filters = filters.astype("f4") - np.asarray(filter_zero, "f4").reshape(-1, *[1] * (filters.ndim - 1))
    x = x.astype("i4") - x_zero
    high, low = (runtime("Conv", {"x": part.astype("f4"), "w": filters}, ["y"], **attributes)["y"].astype("i4")
                 for part in (x >> 4, x & 15))
    return 16 * high + low


CONVOLUTIONS = [
    ((1, 64, 9, 33), (40, 64, 3, 3), {"pads": [1, 1, 1, 1]}), ((2, 64, 14, 14), (33, 64, 3, 3), {"pads": [1, 0, 2, 1]}),
    ((1, 128, 7, 7), (32, 128, 3, 3), {"pads": [1, 1, 1, 1]}), ((1, 64, 20, 70), (64, 64, 3, 3), {"strides": [2, 2]}),
    ((1, 3, 30, 31), (24, 3, 7, 7), {"pads": [3, 3, 3, 3], "strides": [2, 2]}),
    ((1, 64, 12, 12), (16, 64, 1, 1), {"strides": [2, 2]}), ((1, 20, 9, 9), (17, 20, 3, 3), {"dilations": [2, 2]}),
    ((1, 64, 9, 9), (32, 64, 3, 3), {"dilations": [2, 1]}), ((2, 96, 5, 6), (50, 96, 1, 1), {}),
    ((1, 16, 8, 8), (12, 8, 3, 3), {"group": 2, "pads": [0, 1, 0, 1]}),
    ((1, 160, 6, 6), (10, 80, 3, 3), {"group": 2}), ((1, 32, 9, 9), (32, 1, 3, 3), {"group": 32}),
    ((1, 70, 40), (9, 70, 5), {"pads": [2, 2]}), ((1, 12, 4, 5, 6), (7, 12, 2, 2, 2), {"pads": [1, 0, 0, 0, 1, 1]})]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind,filter_kind", list(itertools.product(TYPES, TYPES)))
def test_convolutions(target, kind, filter_kind):
    if not usable(target):
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(7)
    graph = Graph()
    for number, (shape, filter_shape, attributes) in enumerate(CONVOLUTIONS):
        x, filters = numbers(rng, kind, shape), numbers(rng, filter_kind, filter_shape)
        form = ["center", "one", "center", "each"][number % 4]
        zero, filter_zero = numbers(rng, kind, ()), zero_of(rng, form, filter_kind, filter_shape[:1])
        # Filters are inputs now and then.
        constants = {"zero", "filter_zero"} | ({"w"} if number % 5 != 3 else set())
        graph.add("ConvInteger", {"x": x, "w": filters, "zero": zero, "filter_zero": filter_zero}, constants,
                  exact_sums(x, zero, filters, filter_zero, attributes), **attributes)
    graph.check(target)


def check_one(op, inputs, dims, constants, want, target="native", **attributes):
    """A node whose inputs have the dimensions `dims`; those named in `constants` are initializers."""
    node = helper.make_node(op, list(inputs), ["y"], **attributes)
    infos = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), dims[name])
             for name, array in inputs.items() if name not in constants]
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
                              [numpy_helper.from_array(inputs[name], name) for name in constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {name: array for name, array in inputs.items() if name not in constants}
    np.testing.assert_array_equal(lathe.compile(model, target=target)(**feeds)["y"], want)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape,filter_shape,attributes", [
    ((1, 64, 9, 33), (40, 64, 3, 3), {"pads": [1, 1, 1, 1]}), ((2, 64, 21, 50), (33, 64, 3, 3), {"strides": [2, 1]}),
    ((1, 128, 5, 7), (32, 128, 1, 1), {"strides": [2, 2]}), ((1, 5, 40), (7, 5, 3), {"pads": [1, 1]})])
def test_convolutions_of_any_size(target, shape, filter_shape, attributes):
    if not usable(target):
        pytest.skip("no AVX-512 here")
    rng = np.random.default_rng(8)
    inputs = {"x": numbers(rng, "u1", shape), "w": numbers(rng, "i1", filter_shape), "zero": numbers(rng, "u1", ())}
    want = exact_sums(inputs["x"], inputs["zero"], inputs["w"], 0, attributes)
    dims = {"x": ("N", shape[1], *"HW"[:len(shape) - 2])}
    check_one("ConvInteger", inputs, dims, ["w", "zero"], want, target, **attributes)


@pytest.mark.parametrize("left,right", [((0, 5), (5, 3)), ((2, 0), (0, 3)), ((2, 5), (5, 0)), ((3, 0, 5), (5, 4))])
@pytest.mark.parametrize("symbolic", [False, True])
def test_products_of_nothing(left, right, symbolic):
    rng = np.random.default_rng(9)
    a, b, zero = numbers(rng, "u1", left), numbers(rng, "i1", right), numbers(rng, "u1", ())
    dims = {"a": [f"d{i}" for i in range(len(left))] if symbolic else left, "b": right}
    want = ((a.astype("i4") - zero) @ b.astype("i4")).astype("i4")
    check_one("MatMulInteger", {"a": a, "b": b, "zero": zero}, dims, ["b", "zero"] if symbolic else ["zero"], want)
