# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Complex numbers, which ONNX's operators only move, against numpy: nothing may round."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import lathe
from run_models import BOOL, FLOAT, INT64, compile_model, graph, model, value

C64, C128 = TensorProto.COMPLEX64, TensorProto.COMPLEX128
rng = np.random.default_rng(4)


def numbers(*shape, dtype=np.complex64):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def of(dtype):
    return C64 if dtype == np.complex64 else C128


X = numbers(4, 6)
INDICES = np.array([3, 0, -1])
MOVES = {
    "Identity": ([], {}, lambda x: x), "Transpose": ([], {}, lambda x: x.T), "Flatten": ([], {"axis": 0}, lambda x: x.reshape(1, -1)),
    "Reshape": ([np.array([3, -1])], {}, lambda x: x.reshape(3, -1)), "Unsqueeze": ([np.array([1])], {}, lambda x: x[:, None]),
    "Slice": ([np.array([3]), np.array([-9]), np.array([0]), np.array([-2])], {}, lambda x: x[3::-2]),
    "Gather": ([INDICES], {"axis": 1}, lambda x: x[:, INDICES]),
    "GatherElements": ([np.array([[1, 2], [0, 5]])], {"axis": 1}, lambda x: np.take_along_axis(x[:2], np.array([[1, 2], [0, 5]]), 1)),
    "GatherND": ([np.array([[1, 2], [3, 0]])], {}, lambda x: x[[1, 3], [2, 0]]),
    "Expand": ([np.array([2, 4, 6])], {}, lambda x: np.broadcast_to(x, (2, 4, 6))), "Tile": ([np.array([2, 1])], {}, lambda x: np.tile(x, (2, 1))),
    "Pad": ([np.array([0, 1, 2, 0])], {}, lambda x: np.pad(x, ((0, 2), (1, 0)))), "Trilu": ([], {"upper": 0}, np.tril),
    "Concat": ([X], {"axis": 0}, lambda x: np.concatenate([x, X])),
    "ScatterElements": ([np.array([[1], [0]]), numbers(2, 1)], {"axis": 1, "reduction": "add"}, None),
    "ScatterND": ([np.array([[2]]), numbers(1, 6)], {}, None)}


@pytest.mark.parametrize("operator", MOVES)
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("symbolic", [False, True])
def test_what_moves_numbers_moves_complex_ones(tmp_path, operator, dtype, symbolic):
    others, attributes, function = MOVES[operator]
    others = [array.astype(dtype) if array.dtype.kind == "c" else array for array in others]
    names = [f"i{number}" for number in range(len(others))]
    dims = ["A", "B"] if symbolic else [4, 6]
    proto = model([helper.make_node(operator, ["x", *names], ["y"], **attributes)], [value("x", of(dtype), *dims)],
                  [helper.make_empty_tensor_value_info("y")], opset=18, **dict(zip(names, others)))
    x = numbers(4, 6, dtype=dtype)
    if operator == "ScatterElements":
        want = x.copy()
        for row in (0, 1):
            want[row, others[0][row, 0]] += others[1][row, 0]
    elif operator == "ScatterND":
        want = x.copy()
        want[2] = others[1][0]
    else:
        want = function(x).astype(dtype)
    got = compile_model(proto, tmp_path)
    assert got.inputs[0].dtype == dtype and got.outputs[0].dtype == dtype
    np.testing.assert_array_equal(got(x=x)["y"], want)


def test_sizes_and_choices(tmp_path):
    nodes = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Where", ["c", "x", "w"], ["y"]),
             helper.make_node("Compress", ["x", "keep"], ["kept"], axis=0), helper.make_node("Split", ["x"], ["a", "b"], axis=0)]
    proto = model(nodes, [value("x", C64, "N", 3), value("c", BOOL, "N", 1), value("keep", BOOL, "N")],
                  ["shape", "y", "kept", "b"], w=numbers(3))
    w = next(tensor for tensor in proto.graph.initializer)
    x, c = numbers(4, 3), np.array([True, False, False, True])
    got = compile_model(proto, tmp_path)(x=x, c=c[:, None], keep=c)
    weights = np.frombuffer(w.raw_data, np.complex64)
    np.testing.assert_array_equal(got["shape"], [4, 3])
    np.testing.assert_array_equal(got["y"], np.where(c[:, None], x, weights))
    np.testing.assert_array_equal(got["kept"], x[c])
    np.testing.assert_array_equal(got["b"], x[2:])


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_a_weight_of_complex_numbers(tmp_path, dtype):
    """Too large for a constant in the code."""
    table = numbers(300, 5, dtype=dtype)
    proto = model([helper.make_node("Gather", ["w", "i"], ["y"])], [value("i", INT64, "N")], ["y"], w=table)
    np.testing.assert_array_equal(compile_model(proto, tmp_path)(i=np.array([299, 0, -2]))["y"], table[[299, 0, -2]])


def test_a_body_reads_complex_numbers_around_it(tmp_path):
    then, otherwise = (graph(name, [helper.make_node("Shape", [tensor], [name])], [], [value(name, INT64, 1)])
                       for name, tensor in (("p", "x"), ("q", "z")))
    proto = model([helper.make_node("Flatten", ["x"], ["z"], axis=0), helper.make_node("Size", ["x"], ["n"]),
                   helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise)],
                  [value("x", C64, "N"), value("c", BOOL)], ["n", "y"])
    got = compile_model(proto, tmp_path)(x=numbers(7), c=np.array(False))
    assert got["n"] == 7
    np.testing.assert_array_equal(got["y"], [1, 7])


@pytest.mark.parametrize("node, reason", [
    (helper.make_node("Neg", ["x"], ["y"]), "input 0 is a tensor of complex numbers"),
    (helper.make_node("ScatterElements", ["x", "i", "x"], ["y"], reduction="max"), 'reduction "max" of complex numbers'),
    (helper.make_node("SequenceConstruct", ["x"], ["y"]), "input 0 is a tensor of complex numbers")])
def test_what_computes_with_complex_numbers_is_refused(tmp_path, node, reason):
    proto = model([node], [value("x", C64, 4), value("i", INT64, 4)], ["y"], opset=18)
    with pytest.raises(lathe.ModelError, match=reason) as caught:
        compile_model(proto, tmp_path)
    assert caught.value.code == "E0308"


def test_strides_and_types_of_arrays(tmp_path):
    compiled = compile_model(model([helper.make_node("Identity", ["x"], ["y"])], [value("x", C64, "N", "M")], ["y"]), tmp_path)
    x = numbers(6, 8)
    np.testing.assert_array_equal(compiled(x=x[::2, ::-1])["y"], x[::2, ::-1])
    with pytest.raises(lathe.ModelError) as caught:
        compiled(x=x.astype(np.complex128))
    assert caught.value.code == "E0702"
