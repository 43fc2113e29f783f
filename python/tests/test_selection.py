# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Operators whose results are as many as the data says: NonZero, Compress, Unique, NonMaxSuppression."""

import numpy as np
import pytest
from onnx import helper

import lathe
from run_models import BOOL, FLOAT, INT64, compare, compile_model, model, value


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name="/" + op.lower(), **attributes)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (0, 4), ()])
@pytest.mark.parametrize("dtype, kind", [(np.float32, FLOAT), (np.int64, INT64), (np.bool_, BOOL)])
def test_nonzero(tmp_path, shape, dtype, kind):
    if shape == ():
        pytest.skip("ONNX Runtime gives a scalar no dimension")
    names = [f"D{i}" for i in range(len(shape))]
    proto = model([node("NonZero", ["x"], ["y"])], [value("x", kind, *names)], [value("y", INT64, len(shape), None)])
    compiled = compile_model(proto, tmp_path)
    random = np.random.default_rng(0)
    for few in [2, 1, 5]:
        compare(proto, compiled, {"x": (random.integers(0, few, shape) == 1).astype(dtype)})


def test_nonzero_as_positions(tmp_path):
    """What it finds is gathered and added up."""
    nodes = [node("NonZero", ["m"], ["p"]), node("Transpose", ["p"], ["t"]), node("GatherND", ["x", "t"], ["g"]),
             node("Mul", ["g", "g"], ["y"])]
    proto = model(nodes, [value("m", BOOL, "A", "B"), value("x", FLOAT, "A", "B")], [value("y", FLOAT, None)])
    compiled = compile_model(proto, tmp_path, threads=2)
    x = np.random.default_rng(1).standard_normal((40, 50)).astype(np.float32)
    for limit in [0, -9, 9]:
        compare(proto, compiled, {"m": x > limit, "x": x})


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("length", [0, 2, 3])
def test_compress(tmp_path, axis, length):
    attributes = {} if axis is None else {"axis": axis}
    proto = model([node("Compress", ["x", "c"], ["y"], **attributes)], [value("x", FLOAT, "A", "B"), value("c", BOOL, "L")],
                  [value("y", FLOAT, *([None] if axis is None else [None, None]))])
    compiled = compile_model(proto, tmp_path)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    compare(proto, compiled, {"x": x, "c": np.array([True, False, True])[:length]})


@pytest.mark.parametrize("is_sorted", [0, 1])
@pytest.mark.parametrize("axis, shape", [(None, (30,)), (None, (4, 5)), (0, (12, 2)), (1, (2, 12)), (-1, (2, 2, 9)),
                                         (None, (0,)), (0, (1, 3))])
def test_unique(tmp_path, is_sorted, axis, shape):
    attributes = {"sorted": is_sorted} if axis is None else {"sorted": is_sorted, "axis": axis}
    outputs = ["y", "indices", "inverse", "counts"]
    proto = model([node("Unique", ["x"], outputs, **attributes)], [value("x", INT64, *[f"D{i}" for i in range(len(shape))])],
                  [value("y", INT64, *([None] if axis is None else [None] * len(shape)))] +
                  [value(name, INT64, None) for name in outputs[1:]])
    compiled = compile_model(proto, tmp_path)
    x = np.random.default_rng(0).integers(-2, 2, shape)
    compare(proto, compiled, {"x": x})


def test_unique_of_many(tmp_path):
    proto = model([node("Unique", ["x"], ["y", "", "", "counts"])], [value("x", FLOAT, "N")],
                  [value("y", FLOAT, None), value("counts", INT64, None)])
    compiled = compile_model(proto, tmp_path)
    compare(proto, compiled, {"x": np.random.default_rng(0).integers(0, 3000, 20000).astype(np.float32)})


def test_unique_of_nans_is_one(tmp_path):
    proto = model([node("Unique", ["x"], ["y"])], [value("x", FLOAT, 5)], [value("y", FLOAT, None)])
    y = compile_model(proto, tmp_path)(x=np.array([np.nan, 1, np.nan, np.inf, 1], np.float32))["y"]
    np.testing.assert_array_equal(y, np.array([1, np.inf, np.nan], np.float32))


def suppression(**attributes):
    return model([node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "score"], ["y"], **attributes)],
                 [value("boxes", FLOAT, "B", "N", 4), value("scores", FLOAT, "B", "C", "N"), value("most", INT64, 1),
                  value("iou", FLOAT, 1), value("score", FLOAT, 1)], [value("y", INT64, None, 3)])


@pytest.mark.parametrize("center", [0, 1])
def test_non_max_suppression(tmp_path, center):
    proto = suppression(center_point_box=center)
    compiled = compile_model(proto, tmp_path)
    random = np.random.default_rng(0)
    for batch, boxes, classes, most, iou, score in [(1, 50, 1, 10, 0.5, 0.1), (2, 200, 3, 1000, 0.3, 0.5), (1, 1, 1, 0, 0.5, 0),
                                                    (2, 30, 2, 5, 0.0, 0.0), (1, 20, 1, 1 << 62, 1.0, 0.9)]:
        corners = random.random((batch, boxes, 4)).astype(np.float32)
        # Few different scores: ties go to the first.
        scores = random.integers(0, 9, (batch, classes, boxes)).astype(np.float32) / 8
        compare(proto, compiled, {"boxes": corners, "scores": scores, "most": np.array([most]),
                                  "iou": np.array([iou], np.float32), "score": np.array([score], np.float32)})


def test_boxes_and_scores_that_do_not_fit(tmp_path):
    compiled = compile_model(suppression(), tmp_path)
    model_inputs = {"most": np.array([5]), "iou": np.zeros(1, np.float32), "score": np.zeros(1, np.float32)}
    with pytest.raises(lathe.ModelError, match="symbol N"):
        compiled(boxes=np.zeros((1, 4, 4), np.float32), scores=np.zeros((1, 1, 5), np.float32), **model_inputs)


def test_suppression_without_a_limit_selects_nothing(tmp_path):
    proto = model([node("NonMaxSuppression", ["boxes", "scores"], ["y"])],
                  [value("boxes", FLOAT, 1, 3, 4), value("scores", FLOAT, 1, 1, 3)], [value("y", INT64, None, 3)])
    compiled = compile_model(proto, tmp_path)
    assert compiled(boxes=np.zeros((1, 3, 4), np.float32), scores=np.ones((1, 1, 3), np.float32))["y"].shape == (0, 3)
