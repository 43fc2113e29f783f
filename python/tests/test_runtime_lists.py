# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Operands that are lists of which not even the length is known before a run."""

import numpy as np
import pytest
from onnx import helper

import lathe
from run_models import FLOAT, INT64, compare, compile_model, model, value

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
LOWEST, HIGHEST = -1 << 63, (1 << 63) - 1


def ints(*values):
    return np.array(values, np.int64)


def build(folder, op, lists, rank, x=("A", "B", "C"), dtype=FLOAT, outputs=("y",), opset=18, **attributes):
    """A model of one node `/op` whose operands behind x are lists of any length."""
    node = helper.make_node(op, ["x", *lists], list(outputs), name="/" + op.lower(), **attributes)
    proto = model([node], [value("x", dtype, *x)] + [value(name, INT64, name) for name in lists if name],
                  [value(name, dtype, *[None] * rank) for name in outputs], opset=opset)
    return proto, compile_model(proto, folder)


def refuse(compiled, node, **inputs):
    """The run fails with an error that names the node, and the session goes on."""
    with pytest.raises(lathe.ModelError) as error:
        compiled(**inputs)
    assert error.value.code == "E0702"
    assert error.value.node == node


@pytest.fixture(scope="module")
def slice_any(tmp_path_factory):
    return build(tmp_path_factory.mktemp("slice"), "Slice", ["starts", "ends", "axes", "steps"], 3)


@pytest.mark.parametrize("starts, ends, axes, steps", [
    ((), (), (), ()), ((1,), (3,), (0,), (1,)), ((0, 1), (HIGHEST, -1), (-1, 0), (2, 1)),
    ((2, -1, 0), (0, LOWEST, 4), (0, 2, 1), (-1, -2, 1)), ((4, 9), (2, 9), (2, 1), (1, 1))])
def test_slice(slice_any, starts, ends, axes, steps):
    compare(*slice_any, {"x": X, "starts": ints(*starts), "ends": ints(*ends), "axes": ints(*axes), "steps": ints(*steps)})


@pytest.mark.parametrize("lengths, axis, step", [((1, 1, 1, 2), 0, 1), ((2, 1, 1, 1), 0, 1), ((4, 4, 4, 4), 0, 1),
                                                 ((1, 1, 1, 1), 3, 1), ((1, 1, 1, 1), -4, 1), ((1, 1, 1, 1), 0, 0)])
def test_slices_that_are_none(slice_any, lengths, axis, step):
    lists = {name: np.full(length, number, np.int64) for name, length, number in
             zip(("starts", "ends", "axes", "steps"), lengths, (0, 1, axis, step))}
    refuse(slice_any[1], "/slice", x=X, **lists)
    test_slice(slice_any, (1,), (2,), (1,), (1,))


@pytest.mark.parametrize("starts, ends", [((), ()), ((1,), (2,)), ((0, 1, -2), (2, 9, 9))])
def test_slice_of_the_first_dimensions(tmp_path, starts, ends):
    compare(*build(tmp_path, "Slice", ["starts", "ends"], 3), {"x": X, "starts": ints(*starts), "ends": ints(*ends)})


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad(tmp_path, mode):
    proto, compiled = build(tmp_path, "Pad", ["pads"], 3, mode=mode, opset=19)
    for pads in [(0, 0, 0, 0, 0, 0), (1, 0, 2, 0, 3, 1), (0, -1, 2, -2, 0, 0)]:
        compare(proto, compiled, {"x": X, "pads": ints(*pads)})
    for pads in [(0,) * 5, (0,) * 8, (-2, 0, 0, -2, 0, 0), (HIGHEST, 0, 0, 0, 0, 0), (LOWEST, 0, 0, 0, 0, 0)]:
        refuse(compiled, "/pad", x=X, pads=ints(*pads))
    if mode != "constant":
        refuse(compiled, "/pad", x=X[:, :0], pads=ints(0, 1, 0, 0, 0, 0))


def test_pad_of_dimensions_that_data_names(tmp_path):
    proto, compiled = build(tmp_path, "Pad", ["pads", "", "axes"], 3)
    for pads, axes in [((), ()), ((1, 2), (1,)), ((1, -2, 0, 4), (-1, 0))]:
        compare(proto, compiled, {"x": X, "pads": ints(*pads), "axes": ints(*axes)})
    for pads, axes in [((1,), (1,)), ((1, 2), (3,)), ((1, 2), (-4,)), ((1, 2, 3, 4), (1, -2))]:
        refuse(compiled, "/pad", x=X, pads=ints(*pads), axes=ints(*axes))


def test_split(tmp_path):
    proto, compiled = build(tmp_path, "Split", ["sizes"], 3, outputs=("a", "b"), axis=1)
    for sizes in [(1, 3), (4, 0)]:
        compare(proto, compiled, {"x": X, "sizes": ints(*sizes)})
    for sizes in [(4,), (1, 1, 2), (2, 3), (-1, 5)]:
        refuse(compiled, "/split", x=X, sizes=ints(*sizes))


def test_tile(tmp_path):
    proto, compiled = build(tmp_path, "Tile", ["repeats"], 3)
    compare(proto, compiled, {"x": X, "repeats": ints(2, 1, 3)})
    refuse(compiled, "/tile", x=X, repeats=ints(2, 1))


def test_expand_by_a_shape_shorter_than_the_rank(tmp_path):
    proto, compiled = build(tmp_path, "Expand", ["shape"], 3)
    for x, shape in [(X, ()), (X, (5,)), (X[:, :1], (3, 6, 5)), (X[:1, :1], (2, 1))]:
        compare(proto, compiled, {"x": x, "shape": ints(*shape)})
    for shape in [(1, 1, 1, 1), (4,), (-1, 5)]:
        refuse(compiled, "/expand", x=X, shape=ints(*shape))


@pytest.mark.parametrize("rank, good, bad", [(2, [(20, 3), (-1, 0), (12, -1)], [(60,), (3, 4, 5), (7, -1)]),
                                             (4, [(1, 0, 1, -1)], [(3, 4, 5)])])
def test_reshape_to_the_rank_that_the_model_says(tmp_path, rank, good, bad):
    proto, compiled = build(tmp_path, "Reshape", ["shape"], rank)
    for shape in good:
        compare(proto, compiled, {"x": X, "shape": ints(*shape)})
    for shape in bad:
        refuse(compiled, "/reshape", x=X, shape=ints(*shape))


def test_the_rank_follows_through_what_keeps_it(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"], name="/reshape"),
             helper.make_node("Sqrt", ["r"], ["s"]), helper.make_node("Cast", ["s"], ["y"], to=FLOAT)]
    proto = model(nodes, [value("x", FLOAT, "N"), value("shape", INT64, "R")], [value("y", FLOAT, None, None)])
    compare(proto, compile_model(proto, tmp_path), {"x": np.arange(6, dtype=np.float32), "shape": ints(3, 2)})


def test_a_rank_that_only_the_run_knows_is_refused(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"], name="/reshape"),
             helper.make_node("ReduceSum", ["r"], ["y"], keepdims=0)]
    proto = model(nodes, [value("x", FLOAT, "N"), value("shape", INT64, "R")], [value("y", FLOAT)])
    with pytest.raises(lathe.ModelError, match="the rank of the result is the number of elements") as error:
        compile_model(proto, tmp_path)
    assert error.value.code == "E0308"


@pytest.mark.parametrize("op, rank, good, bad", [
    ("Unsqueeze", 5, [(0, 2), (-1, -2), (4, 1)], [(0,), (0, 0), (5, 1), (0, 1, 2)]),
    ("Squeeze", 2, [(1,), (-2,)], [(0,), (), (3,), (0, 1)])])
def test_axes(tmp_path, op, rank, good, bad):
    x = X[:, :1]
    proto, compiled = build(tmp_path, op, ["axes"], rank)
    for axes in good:
        compare(proto, compiled, {"x": x, "axes": ints(*axes)})
    for axes in bad:
        refuse(compiled, "/" + op.lower(), x=x, axes=ints(*axes))


def test_squeeze_of_all_that_is_1(tmp_path):
    proto, compiled = build(tmp_path, "Squeeze", [], 2)
    for x in [X[:, :1], X[:1], X[:, :, :1]]:
        compare(proto, compiled, {"x": x})
    for x in [X, X[:1, :1]]:
        refuse(compiled, "/squeeze", x=x)


def test_top_k(tmp_path):
    node = helper.make_node("TopK", ["x", "k"], ["v", "i"], name="/topk", axis=1)
    proto = model([node], [value("x", FLOAT, "A", "B", "C"), value("k", INT64, "K")],
                  [value("v", FLOAT, None, None, None), value("i", INT64, None, None, None)])
    compiled = compile_model(proto, tmp_path)
    for k in [0, 1, 4]:
        compare(proto, compiled, {"x": X, "k": ints(k)})
    for k in [(5,), (-1,), (HIGHEST,), (1, 1), ()]:
        refuse(compiled, "/topk", x=X, k=ints(*k))


@pytest.mark.parametrize("depth", [np.float32, np.int64, np.int32])
def test_one_hot(tmp_path, depth):
    node = helper.make_node("OneHot", ["i", "depth", "values"], ["y"], name="/onehot", axis=0)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(depth))
    proto = model([node], [value("i", INT64, "N"), value("depth", kind, "D"), value("values", FLOAT, "V")],
                  [value("y", FLOAT, None, None)])
    compiled = compile_model(proto, tmp_path)
    values = np.array([-1, 2], np.float32)
    for size in [1, 4]:
        got = compiled(i=ints(0, 3, -1), depth=np.array([size], depth), values=values)["y"]
        hot = np.arange(size)[:, None] == np.where(ints(0, 3, -1) < 0, ints(0, 3, -1) + size, ints(0, 3, -1))
        np.testing.assert_array_equal(got, np.where(hot, values[1], values[0]))
    refuse(compiled, "/onehot", i=ints(0), depth=np.array([-1], depth), values=values)
    refuse(compiled, "/onehot", i=ints(0), depth=np.array([1, 1], depth), values=values)
    if depth == np.float32:
        refuse(compiled, "/onehot", i=ints(0), depth=np.array([np.inf], depth), values=values)


def test_gather_nd_whose_result_says_how_long_an_index_is(tmp_path):
    node = helper.make_node("GatherND", ["x", "i"], ["y"], name="/gathernd")
    proto = model([node], [value("x", FLOAT, "A", "B", "C"), value("i", INT64, "N", "T")],
                  [value("y", FLOAT, None, None)])
    compiled = compile_model(proto, tmp_path)
    compare(proto, compiled, {"x": X, "i": np.array([[0, 1], [2, 3]], np.int64)})
    refuse(compiled, "/gathernd", x=X, i=np.zeros((2, 3), np.int64))


def test_non_maximum_suppression(tmp_path):
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou"], ["y"], name="/nms")
    proto = model([node], [value("boxes", FLOAT, "N", "B", "four"), value("scores", FLOAT, "N", "C", "B"),
                           value("most", INT64, "M"), value("iou", FLOAT, "I")], [value("y", INT64, None, 3)])
    compiled = compile_model(proto, tmp_path)
    boxes = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 10, 1, 11]]], np.float32)
    scores = np.array([[[0.9, 0.75, 0.6]]], np.float32)
    compare(proto, compiled, {"boxes": boxes, "scores": scores, "most": ints(2), "iou": np.array([0.5], np.float32)})
    refuse(compiled, "/nms", boxes=boxes[..., :3], scores=scores, most=ints(2), iou=np.array([0.5], np.float32))
    refuse(compiled, "/nms", boxes=boxes, scores=scores, most=ints(2, 2), iou=np.array([0.5], np.float32))
