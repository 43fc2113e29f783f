# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Types of 8 bits and fewer where data only moves."""

import pathlib
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from small_types import (SMALL, dtype_of, number_of, width_of, all_values, run_nodes, cast,
                         assert_same, tensor_of, integers, lathe)  # noqa: E402


MOVES = {
    "Identity": (["x"], {}, lambda x: x), "Transpose": (["x"], {"perm": [2, 0, 1]}, lambda x: x.transpose(2, 0, 1)),
    "Flatten": (["x"], {"axis": 2}, lambda x: x.reshape(-1, x.shape[2])),
    "Reshape": (["x", "shape"], {}, lambda x: x.reshape(4, -1)),
    "Squeeze": (["row", "zero"], {}, lambda x: x[0]), "Unsqueeze": (["x", "zero"], {}, lambda x: x[None]),
    "Pad": (["x", "pads"], {}, lambda x: np.pad(x.view("u1"), [(0, 1), (2, 0), (1, 3)]).view(x.dtype)),
    "Expand": (["row", "larger"], {}, lambda x: np.broadcast_to(x[:1], (3, *x.shape[1:]))),
    "Gather": (["x", "picked"], {"axis": 1}, lambda x: x[:, [3, 0, 0]]),
    "Slice": (["x", "last", "before", "axis", "back"], {}, lambda x: x[:, :, ::-2]),
    "Concat": (["x", "row"], {"axis": 0}, lambda x: np.concatenate([x, x[:1]])),
    "Where": (["chosen", "x", "row"], {}, None), "Tile": (["x", "repeats"], {}, lambda x: np.tile(x, (1, 2, 3)))}


@pytest.mark.parametrize("opt_level", [0, 2])
@pytest.mark.parametrize("name", SMALL)
def test_what_only_moves_data(name, opt_level):
    """All operators that move data take these types, also where ONNX's list of types is shorter."""
    x = tensor_of(name, (4, 6, 35))
    chosen = np.random.default_rng(2).integers(0, 2, x.shape).astype(bool)
    expected = {op: move(x if inputs[0] == "x" else x[:1]) for op, (inputs, _, move) in MOVES.items() if move}
    expected["Where"] = np.where(chosen, x.view("u1"), x[:1].view("u1")).view(x.dtype)
    numbers = {"shape": [4, -1], "zero": [0], "pads": [0, 2, 1, 1, 0, 3], "larger": [3, 1, 1], "picked": [3, 0, 0],
               "last": [34], "before": [-99], "axis": [2], "back": [-2], "repeats": [1, 2, 3]}
    nodes = [integers(key, values) for key, values in numbers.items()]
    moves = []
    for op, (inputs, attributes, _) in MOVES.items():
        moves.append(helper.make_node(op, inputs, [f"y_{op}"], name=f"/{op}", **attributes))
    infos = [helper.make_tensor_value_info("x", number_of(name), x.shape),
             helper.make_tensor_value_info("row", number_of(name), (1, *x.shape[1:])),
             helper.make_tensor_value_info("chosen", TensorProto.BOOL, x.shape)]
    outputs = [helper.make_empty_tensor_value_info(f"y_{op}") for op in MOVES]
    model = helper.make_model(helper.make_graph(nodes + moves, "graph", infos, outputs),
                              opset_imports=[helper.make_opsetid("", 28)], ir_version=14)
    compiled = lathe.compile(model, opt_level=opt_level)
    got = compiled(x=x, row=np.ascontiguousarray(x[:1]), chosen=chosen)
    for op, want in expected.items():
        np.testing.assert_array_equal(got[f"y_{op}"], np.ascontiguousarray(want).view("u1"), err_msg=op)


@pytest.mark.parametrize("rows", [4, 700], ids=["small", "weight"])
@pytest.mark.parametrize("name", SMALL)
def test_initializers(name, rows):
    """In the file they are packed; more than a KiB of them is a weight of the artifact."""
    w = tensor_of(name, (rows, 13))
    got = run_nodes([helper.make_node("Transpose", ["w"], ["turned"]), helper.make_node("Identity", ["w"], ["same"]),
                     cast("w", "wide", "float32"), cast("x", "y", "float32")],
                    {"w": w, "x": tensor_of(name, (3,))}, ["w"])
    assert_same(got["same"], w)
    assert_same(got["turned"], np.ascontiguousarray(w.T))
    assert_same(got["wide"], w.astype(np.float32))


@pytest.mark.parametrize("name", SMALL)
def test_control_flow(name):
    x = tensor_of(name, (2, 5))
    kind = number_of(name)
    branches = {branch: helper.make_graph([helper.make_node(op, ["x"], ["z"], **attributes)], branch, [],
                                          [helper.make_tensor_value_info("z", kind, None)])
                for branch, op, attributes in [("then_branch", "Identity", {}), ("else_branch", "Transpose", {})]}
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes"]), helper.make_node("Transpose", ["v"], ["next"]),
         helper.make_node("Identity", ["v"], ["seen"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("going", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v", kind, ["a", "b"])],
        [helper.make_tensor_value_info("goes", TensorProto.BOOL, []), helper.make_tensor_value_info("next", kind, ["b", "a"]),
         helper.make_tensor_value_info("seen", kind, ["a", "b"])])
    square = tensor_of(name, (3, 3), seed=4)
    nodes = [helper.make_node("If", ["condition"], ["chosen"], name="/If", **branches),
             helper.make_node("Loop", ["count", "", "square"], ["last", "all"], name="/Loop", body=body)]
    infos = [helper.make_tensor_value_info("condition", TensorProto.BOOL, []), helper.make_tensor_value_info("x", kind, [2, 5]),
             helper.make_tensor_value_info("square", kind, [3, 3])]
    outputs = [helper.make_tensor_value_info(n, kind, None) for n in ("chosen", "last", "all")]
    graph = helper.make_graph([integers("three", [3]), helper.make_node("Squeeze", ["three"], ["count"]), *nodes], "graph",
                              infos, outputs)
    model = lathe.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=14))
    for condition in (True, False):
        got = model(condition=np.array(condition), x=x, square=square)
        np.testing.assert_array_equal(got["chosen"], (x if condition else x.T).view("u1"))
        np.testing.assert_array_equal(got["last"], square.T.view("u1"))
        np.testing.assert_array_equal(got["all"], np.stack([square, square.T, square]).view("u1"))


@pytest.mark.parametrize("name", SMALL)
def test_constants_of_a_shape(name):
    value = helper.make_tensor("v", number_of(name), [1], [1.0])
    got = run_nodes([helper.make_node("ConstantOfShape", ["n"], ["y"], value=value)], {"n": np.array([3, 400])})
    assert_same(got["y"], np.ones((3, 400), dtype_of(name)))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
def test_predicates(name):
    x = all_values(name)
    number = x.astype(np.float64)
    nodes = [helper.make_node("IsNaN", ["x"], ["nan"]), helper.make_node("IsInf", ["x"], ["inf"]),
             helper.make_node("IsInf", ["x"], ["above"], detect_negative=0)]
    got = run_nodes(nodes, {"x": x})
    assert_same(got["nan"], np.isnan(number))
    assert_same(got["inf"], np.isinf(number))
    assert_same(got["above"], number == np.inf)


@pytest.mark.parametrize("name", SMALL)
def test_bits(name):
    """BitCast between types of one width."""
    x = all_values(name)
    partners = [other for other in SMALL if width_of(other) == width_of(name) and other != name]
    partners += ["int8", "uint8"] if width_of(name) == 8 else []
    partners = [other for other in partners if not other.startswith("float6")]
    got = run_nodes([helper.make_node("BitCast", ["x"], [to], to=number_of(to)) for to in partners], {"x": x}) if partners else {}
    for to, y in got.items():
        assert_same(y, x.view(dtype_of(to)), to)


@pytest.mark.parametrize("opt_level", [0, 2])
@pytest.mark.parametrize("name", ["int4", "uint2", "float8_e5m2", "float4_e2m1fn", "float6_e3m2fn"])
def test_movement_of_symbolic_sizes(name, opt_level):
    rng = np.random.default_rng(7)
    x, updates = tensor_of(name, (4, 6, 35)), tensor_of(name, (4, 6, 5), seed=3)
    columns = np.stack([rng.permutation(35)[:5] for _ in range(24)]).reshape(4, 6, 5)
    inputs = {"x": x, "columns": columns, "updates": updates, "picked": np.array([3, 0, 34, 2]),
              "kept": np.array([1, 0, 1, 1, 0, 1], bool), "lengths": np.array([1, 2, 3, 4, 2, 3])}
    nodes = [helper.make_node("Transpose", ["x"], ["turned"], perm=[2, 0, 1]),
             helper.make_node("Gather", ["x", "picked"], ["gathered"], axis=2),
             helper.make_node("Concat", ["x", "x"], ["joined"], axis=2),
             helper.make_node("Split", ["x"], ["first", "second"], axis=1, num_outputs=2),
             helper.make_node("GatherElements", ["x", "columns"], ["elements"], axis=2),
             helper.make_node("ScatterElements", ["x", "columns", "updates"], ["scattered"], axis=2),
             helper.make_node("Compress", ["x", "kept"], ["compressed"], axis=1),
             helper.make_node("Trilu", ["x"], ["upper"]),
             helper.make_node("ReverseSequence", ["x", "lengths"], ["reversed"], batch_axis=1, time_axis=0)]
    infos = [helper.make_tensor_value_info(key, number_of(array.dtype.name), [f"{key}{i}" for i in range(array.ndim)])
             for key, array in inputs.items()]
    outputs = [helper.make_empty_tensor_value_info(output) for node in nodes for output in node.output]
    graph = helper.make_graph(nodes, "graph", infos, outputs)
    model = lathe.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=14),
                          opt_level=opt_level)
    bits = x.view("u1")
    scattered, turned_back = bits.copy(), bits.copy()
    np.put_along_axis(scattered, columns, updates.view("u1"), 2)
    for column, length in enumerate(inputs["lengths"]):
        turned_back[:length, column] = bits[:length, column][::-1]
    expected = {"turned": bits.transpose(2, 0, 1), "gathered": bits[:, :, inputs["picked"]],
                "joined": np.concatenate([bits, bits], 2), "first": bits[:, :3], "second": bits[:, 3:],
                "elements": np.take_along_axis(bits, columns, 2), "scattered": scattered,
                "compressed": bits[:, inputs["kept"]], "upper": np.triu(bits), "reversed": turned_back}
    got = model(inputs)
    for key, want in expected.items():
        np.testing.assert_array_equal(got[key], want, err_msg=key)
