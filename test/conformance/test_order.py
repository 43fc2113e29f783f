# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What ONNX's cases leave open of TopK, cumulative sums and operators that read and write by index."""

import sys

import numpy as np
import pytest

sys.path.insert(0, __file__.rsplit("/", 1)[0])

import lathe  # noqa: E402
from nodes import check, compare, run, runtime  # noqa: E402

rng = np.random.default_rng(4)
TYPES = [np.float32, np.float64, np.float16, np.int32, np.int64, np.int8, np.uint8, np.uint64]
SYMBOLIC = pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])


def numbers(shape, dtype):
    """Few different numbers: there are ties."""
    return rng.integers(0, 9, shape).astype(dtype)


def expected_top_k(x, k, axis, largest):
    order = np.argsort(-x.astype(np.float64) if largest else x, axis=axis, kind="stable")
    indices = np.take(order, range(k), axis=axis)
    return {"values": np.take_along_axis(x, indices, axis), "indices": indices}


@pytest.mark.parametrize("dtype", TYPES, ids=lambda t: t.__name__)
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_takes_the_first_of_equal_elements(dtype, largest):
    x = numbers((3, 40, 5), dtype)
    for axis, k in [(1, 7), (0, 3), (2, 1), (-1, 0)]:
        got = run("TopK", {"x": x, "k": np.array([k], np.int64)}, ["values", "indices"], constants=["k"], opset=11,
                  axis=axis, largest=largest)
        compare(got, expected_top_k(x, k, axis, largest))


@SYMBOLIC
def test_top_k_of_all_elements_sorts(symbolic):
    x = rng.standard_normal((2, 1000), np.float32)
    inputs = {"x": x, "k": np.array([1000], np.int64)}
    got = run("TopK", inputs, ["values", "indices"], constants=["k"], opset=24, symbolic=symbolic)
    compare(got, expected_top_k(x, 1000, 1, True))


def test_top_k_puts_nan_above_all_numbers():
    x = np.array([1, np.nan, np.inf, -np.inf, np.nan, 0], np.float32)
    inputs = {"x": x, "k": np.array([3], np.int64)}
    for largest, want in [(1, [1, 4, 2]), (0, [3, 5, 0])]:
        got = run("TopK", inputs, ["", "indices"], constants=["k"], opset=11, largest=largest)
        np.testing.assert_array_equal(got["indices"], want)


def test_top_k_of_version_1_has_k_as_an_attribute():
    x = numbers((2, 6), np.float32)
    compare(run("TopK", {"x": x}, ["values", "indices"], opset=9, k=2), expected_top_k(x, 2, 1, True))


def test_top_k_of_more_than_there_are_is_an_error():
    x = numbers((2, 6), np.float32)
    with pytest.raises(lathe.ModelError) as caught:
        run("TopK", {"x": x, "k": np.array([7], np.int64)}, ["values", "indices"], constants=["k"], opset=11)
    assert caught.value.code == "E0304"
    with pytest.raises(lathe.ModelError) as caught:
        run("TopK", {"x": x, "k": np.array([7], np.int64)}, ["values", "indices"], constants=["k"], opset=11,
            symbolic=True)
    assert caught.value.code.startswith("E07")


@pytest.mark.parametrize("axis", [0, 1, -1, -3])
def test_cumulative_sum_along_an_axis_that_is_an_input(axis):
    x = rng.standard_normal((3, 4, 5), np.float32)
    for shape in [(), (1,)]:
        got = run("CumSum", {"x": x, "axis": np.full(shape, axis, np.int64)}, ["y"], opset=14, symbolic=shape == ())
        compare(got, {"y": np.cumsum(x, axis)})


def test_cumulative_sum_along_an_axis_out_of_bounds():
    with pytest.raises(lathe.ModelError) as caught:
        run("CumSum", {"x": numbers((3, 4), np.float32), "axis": np.array(2, np.int64)}, ["y"], opset=14)
    assert caught.value.code.startswith("E07")


REDUCTIONS = {"none": lambda old, new: new, "add": lambda old, new: old + new, "mul": lambda old, new: old * new,
              "max": np.maximum, "min": np.minimum}


def scatter_elements(x, indices, updates, axis, reduction):
    y = x.copy()
    for at in np.ndindex(*indices.shape):
        to = list(at)
        to[axis] = indices[at]
        y[tuple(to)] = REDUCTIONS[reduction](y[tuple(to)], updates[at])
    return y


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8],
                         ids=lambda t: t.__name__)
def test_scatter_elements_in_the_order_of_updates(reduction, dtype):
    x, updates = numbers((6, 7), dtype), numbers((4, 5), dtype)
    for axis, symbolic in [(0, False), (1, True)]:
        indices = rng.integers(-x.shape[axis], x.shape[axis], updates.shape)
        got = run("ScatterElements", {"x": x, "i": indices, "u": updates}, ["y"], opset=18, axis=axis,
                  reduction=reduction, symbolic=symbolic)
        compare(got, {"y": scatter_elements(x, indices, updates, axis, reduction)})


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scatter_nd_with_duplicates(reduction):
    x, updates = numbers((4, 5, 6), np.float32), numbers((8, 6), np.float32)
    indices = np.stack([rng.integers(-4, 4, 8), rng.integers(-5, 5, 8)], -1)
    indices[3] = indices[1]
    want = x.copy()
    for row, update in zip(indices, updates):
        want[tuple(row)] = REDUCTIONS[reduction](want[tuple(row)], update)
    for symbolic in (False, True):
        got = run("ScatterND", {"x": x, "i": indices, "u": updates}, ["y"], opset=18, reduction=reduction,
                  symbolic=symbolic)
        compare(got, {"y": want})


def test_scatter_is_the_same_with_many_threads():
    x, updates = numbers((300, 64), np.float32), numbers((4000, 64), np.float32)
    indices = rng.integers(0, 300, (4000, 1))
    want = x.copy()
    np.add.at(want, indices[:, 0], updates)
    compare(run("ScatterND", {"x": x, "i": indices, "u": updates}, ["y"], opset=18, reduction="add"), {"y": want})


@pytest.mark.parametrize("op,indices,updates", [
    ("ScatterElements", [[5]], [[1]]), ("ScatterElements", [[-6]], [[1]]), ("ScatterND", [[0, 4]], [1]),
    ("GatherElements", [[5]], None)])
def test_index_out_of_bounds_stops_the_run(op, indices, updates):
    inputs = {"x": numbers((5, 4), np.float32), "i": np.array(indices, np.int64)}
    if updates is not None:
        inputs["u"] = np.array(updates, np.float32)
    with pytest.raises(lathe.ModelError) as caught:
        run(op, inputs, ["y"], opset=18)
    assert caught.value.code.startswith("E07")


@pytest.mark.parametrize("dtype", [*TYPES, np.bool_], ids=lambda t: t.__name__)
def test_gather_elements(dtype):
    x = numbers((4, 5, 6), dtype)
    for axis in range(3):
        indices = rng.integers(-x.shape[axis], x.shape[axis], (2, 3, 4)).astype(np.int32)
        got = run("GatherElements", {"x": x, "i": indices}, ["y"], opset=13, axis=axis, symbolic=axis == 1)
        from_front = np.where(indices < 0, indices + x.shape[axis], indices)
        part = x[tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(indices.shape))]
        compare(got, {"y": np.take_along_axis(part, from_front, axis)})


def test_scatter_of_nothing():
    x = numbers((3, 4), np.float32)
    none = {"i": np.zeros((0, 4), np.int64), "u": np.zeros((0, 4), np.float32)}
    compare(run("ScatterElements", {"x": x, **none}, ["y"], opset=18, symbolic=True), {"y": x})
    empty = np.zeros((0, 4), np.float32)
    compare(run("ScatterElements", {"x": empty, **none}, ["y"], opset=18, axis=1, symbolic=True), {"y": empty})


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode):
    cache, update = numbers((2, 3, 6, 4), np.float32), numbers((2, 3, 2, 4), np.float32)
    start = np.array([1, 4 if mode == "linear" else 5], np.int64)
    want = cache.copy()
    for batch, first in enumerate(start):
        for row in range(2):
            want[batch, :, (first + row) % 6] = update[batch, :, row]
    inputs = {"cache": cache, "update": update, "start": start}
    compare(run("TensorScatter", inputs, ["y"], opset=24, mode=mode), {"y": want})
    if mode == "linear":
        inputs["start"] = np.array([1, 5], np.int64)
        with pytest.raises(lathe.ModelError):
            run("TensorScatter", inputs, ["y"], opset=24, mode=mode)


@pytest.mark.parametrize("batch,time", [(0, 1), (1, 0)])
def test_reverse_sequence(batch, time):
    x, lengths = numbers((3, 4, 2), np.float32), np.array([1, 3, 2, 4][:3 if batch == 0 else 4], np.int64)
    lengths[-1] = 3
    check("ReverseSequence", {"x": x, "l": lengths}, ["y"], opset=10, batch_axis=batch, time_axis=time)
    lengths[0] = 5
    with pytest.raises(lathe.ModelError):
        run("ReverseSequence", {"x": x, "l": lengths}, ["y"], opset=10, batch_axis=batch, time_axis=time)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("depth", [np.array(7, np.int64), np.array([7], np.int32), np.array(7.0, np.float32)],
                         ids=["i64", "i32", "f32"])
def test_one_hot(axis, depth):
    inputs = {"i": np.array([[0, -1, 6], [7, -8, -7]], np.int64), "d": depth, "v": np.array([2, 5], np.int32)}
    got = run("OneHot", inputs, ["y"], opset=11, axis=axis, constants=["d"])
    hot = np.moveaxis(np.eye(7, dtype=bool)[inputs["i"] % 7] & ((inputs["i"] >= -7) & (inputs["i"] < 7))[..., None],
                      -1, axis)
    compare(got, {"y": np.where(hot, 5, 2).astype(np.int32)})


def test_order_of_the_runtime():
    x = rng.standard_normal((5, 33), np.float32)
    inputs = {"x": x, "k": np.array([9], np.int64)}
    options = dict(constants=["k"], opset=11, axis=1)
    compare(run("TopK", inputs, ["values", "indices"], **options), runtime("TopK", inputs, ["values", "indices"], **options))
