# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""com.microsoft DynamicQuantizeLSTM against ONNX Runtime: weights of 8 bits, scales of a matrix or of its columns."""

import sys

import numpy as np
import pytest

sys.path.insert(0, __file__.rsplit("/", 1)[0])

import lathe  # noqa: E402
from nodes import compare, run, runtime  # noqa: E402

OPERATOR = "DynamicQuantizeLSTM"
OUTPUTS = ["y", "y_h", "y_c"]
rng = np.random.default_rng(12)


def quantize(weights, dtype, per_column):
    """[D, K, N] as integers, with scales and zero points [D] or [D, N].

    ONNX Runtime wants equal zero points for all columns. Signed ones are of 7 bits: without VNNI, ONNX Runtime adds pairs of products with saturation at 16 bits."""
    axes = 1 if per_column else (1, 2)
    if dtype == np.int8:
        scale = np.abs(weights).max(axes, keepdims=True) / 63
        zero = np.zeros(scale.shape)
    elif per_column:
        scale = np.abs(weights).max(axes, keepdims=True) / 127
        zero = np.full(scale.shape, 128.0)
    else:
        low = np.minimum(weights.min(axes, keepdims=True), 0)
        scale = (np.maximum(weights.max(axes, keepdims=True), 0) - low) / 255
        zero = np.rint(-low / scale)
    stored = np.clip(np.rint(weights / scale) + zero, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    shape = (weights.shape[0], weights.shape[2]) if per_column else weights.shape[:1]
    return stored, scale.astype(np.float32).reshape(shape), zero.astype(dtype).reshape(shape)


def make(steps, batch, width, units, directions=1, dtype=np.int8, per_column=False, lengths=None, peepholes=False):
    def normal(*shape):
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    w, w_scale, w_zero = quantize(normal(directions, width, 4 * units), dtype, per_column)
    r, r_scale, r_zero = quantize(normal(directions, units, 4 * units), dtype, per_column)
    return {"x": normal(steps, batch, width), "w": w, "r": r, "b": normal(directions, 8 * units),
            "lengths": None if lengths is None else np.array(lengths, np.int32),
            "h": normal(directions, batch, units), "c": normal(directions, batch, units),
            "p": normal(directions, 3 * units) if peepholes else None,
            "w_scale": w_scale, "w_zero": w_zero, "r_scale": r_scale, "r_zero": r_zero}


def check(inputs, **attributes):
    """A state that lies between two integers may become either. It moves a sum of gates by a step, at most 2 / 255 (of a
    state in [-1, 1]), times a weight; what follows in later steps is of the same size."""
    options = {"domain": "com.microsoft", "opset": 14, **attributes}
    largest = float(np.abs(inputs["r"].astype(int)).max() * inputs["r_scale"].max())
    compare(run(OPERATOR, inputs, OUTPUTS, **options), runtime(OPERATOR, inputs, OUTPUTS, **options),
            rtol=0, atol=2 / 255 * largest)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("steps,width,units", [(4, 8, 16), (7, 12, 70), (3, 64, 128)])
def test_sizes_and_scales(dtype, per_column, steps, width, units):
    check(make(steps, 1, width, units, dtype=dtype, per_column=per_column), hidden_size=units,
          constants=["w", "r", "w_scale", "w_zero", "r_scale", "r_zero"])


def test_weights_of_the_run():
    check(make(3, 1, 8, 16, dtype=np.uint8), hidden_size=16)


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_directions(direction):
    inputs = make(5, 1, 8, 24, directions=2 if direction == "bidirectional" else 1, peepholes=True)
    check(inputs, hidden_size=24, direction=direction, constants=["w", "r"])


def test_states_are_rounded_sequence_by_sequence():
    """What a sequence becomes does not depend on those beside it, if the inputs share their range."""
    inputs = make(4, 3, 8, 16)
    inputs["x"][0, :, 0], inputs["x"][0, :, 1] = 3, -3
    options = {"domain": "com.microsoft", "opset": 14, "hidden_size": 16}
    together = run(OPERATOR, inputs, OUTPUTS, **options)
    for row in range(3):
        alone = {**inputs, **{name: inputs[name][:, row:row + 1] for name in "xhc"}}
        single = run(OPERATOR, alone, OUTPUTS, **options)
        np.testing.assert_array_equal(together["y"][:, :, row], single["y"][:, :, 0])


def test_no_states_and_no_zero_points():
    inputs = make(3, 1, 8, 16)
    without = {**inputs, "h": None, "c": None, "w_zero": None, "r_zero": None}
    zeros = {**inputs, "h": np.zeros_like(inputs["h"]), "c": np.zeros_like(inputs["c"])}
    options = {"domain": "com.microsoft", "opset": 14, "hidden_size": 16}
    got, want = run(OPERATOR, without, OUTPUTS, **options), run(OPERATOR, zeros, OUTPUTS, **options)
    np.testing.assert_array_equal(got["y"], want["y"])


@pytest.mark.parametrize("change,code", [
    ({"w": lambda a: a.astype(np.int16)}, "E0306"), ({"w_scale": lambda a: None}, "E0306"),
    ({"r_zero": lambda a: a.astype(np.uint8)}, "E0306"), ({"w_scale": lambda a: np.ones(2, np.float32)}, "E0307"),
    ({"r_scale": lambda a: np.ones((1, 3), np.float32)}, "E0307"),
    ({"r_scale": lambda a: np.ones((1, 64, 1), np.float32)}, "E0307"), ({"r": lambda a: a[:, :8]}, "E0307")])
def test_bad_inputs(change, code):
    inputs = make(2, 1, 8, 16)
    inputs.update({name: how(inputs[name]) for name, how in change.items()})
    with pytest.raises(lathe.ModelError) as caught:
        run(OPERATOR, inputs, OUTPUTS, domain="com.microsoft", opset=14, hidden_size=16)
    assert caught.value.code == code
