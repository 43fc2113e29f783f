# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models with tensors that have no elements, and with results that are the same value."""

import numpy as np
import onnx
import pytest

from onnx import TensorProto, helper, numpy_helper

import lathe


def compile_graph(nodes, inputs, outputs, constants, opt_level):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(*v) for v in inputs],
                              [helper.make_tensor_value_info(*v) for v in outputs],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return lathe.compile(model, opt_level=opt_level)


@pytest.mark.parametrize("opt_level", [0, 2])
@pytest.mark.parametrize("op, dtype, value", [("ReduceL1", np.float32, 0), ("ReduceProd", np.float32, 1),
                                              ("ReduceMax", np.bool_, False), ("ReduceMax", np.float32, -np.inf)])
def test_reduction_over_nothing(op, dtype, value, opt_level):
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = compile_graph([helper.make_node(op, ["x", "axes"], ["y"], keepdims=1)], [("x", number, [2, 0, 4])],
                          [("y", number, [2, 1, 4])], {"axes": np.array([1])}, opt_level)
    np.testing.assert_array_equal(model(x=np.zeros((2, 0, 4), dtype))["y"], np.full((2, 1, 4), value, dtype))


@pytest.mark.parametrize("opt_level", [0, 2])
def test_split_of_nothing(opt_level):
    shape = [0]
    model = compile_graph([helper.make_node("Split", ["x", "sizes"], ["a", "b"])], [("x", TensorProto.FLOAT, shape)],
                          [(name, TensorProto.FLOAT, shape) for name in "ab"], {"sizes": np.array([0, 0])}, opt_level)
    assert [result.shape for result in model(x=np.zeros(0, np.float32)).values()] == [(0,), (0,)]


@pytest.mark.parametrize("opt_level", [0, 2])
def test_one_value_as_several_results(opt_level):
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["x"], ["b"]),
             helper.make_node("Identity", ["x"], ["c"]), helper.make_node("Identity", ["x"], ["d"])]
    model = compile_graph(nodes, [("x", TensorProto.FLOAT, ["n"])],
                          [(name, TensorProto.FLOAT, ["n"]) for name in "abcd"], {}, opt_level)
    x = np.array([-1, 2], np.float32)
    results = model(x=x)
    for name, expected in zip("abcd", [[0, 2], [0, 2], x, x]):
        np.testing.assert_array_equal(results[name], expected)


@pytest.mark.parametrize("opt_level", [0, 2])
def test_nothing_broadcasts_with_one(opt_level):
    """Of a size that is 0 and one that is 1 the broadcast is 0, not the larger; only the run knows them."""
    nodes = [helper.make_node("Add", ["x", "y"], ["s"]), helper.make_node("Mul", ["s", "y"], ["p"]),
             helper.make_node("Softmax", ["p"], ["z"], axis=1)]
    model = compile_graph(nodes, [("x", TensorProto.FLOAT, ["a", 3]), ("y", TensorProto.FLOAT, ["b", 3])],
                          [("z", TensorProto.FLOAT, ["c", 3])], {}, opt_level)
    for a, b in [(0, 1), (1, 0), (0, 0), (1, 2), (2, 1), (2, 2)]:
        x, y = np.ones((a, 3), np.float32), np.ones((b, 3), np.float32)
        np.testing.assert_allclose(model(x=x, y=y)["z"], np.full(np.broadcast_shapes(x.shape, y.shape), 1 / 3), rtol=1e-6)
