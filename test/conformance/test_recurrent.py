# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""RNN, GRU and LSTM against ONNX Runtime, over directions, sizes and options."""

import os
import sys

import numpy as np
import pytest

sys.path.insert(0, __file__.rsplit("/", 1)[0])

import lathe  # noqa: E402
from nodes import check, compare, run, runtime  # noqa: E402

rng = np.random.default_rng(8)
FULL = bool(os.environ.get("LATHE_TEST_FULL"))
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def make(op, steps, batch, width, units, directions, dtype=np.float32, bias=True, lengths=None, states=True,
         peepholes=False, batch_first=False):
    """All inputs of a cell by name, None for those left out."""
    def normal(*shape):
        return (rng.standard_normal(shape) * 0.5).astype(dtype)

    gates = GATES[op]
    state = (batch, directions, units) if batch_first else (directions, batch, units)
    inputs = {"x": normal(*((batch, steps, width) if batch_first else (steps, batch, width))),
              "w": normal(directions, gates * units, width), "r": normal(directions, gates * units, units),
              "b": normal(directions, 2 * gates * units) if bias else None,
              "lengths": None if lengths is None else np.array(lengths, np.int32),
              "h": normal(*state) if states else None}
    if op == "LSTM":
        inputs["c"] = normal(*state) if states else None
        inputs["p"] = normal(directions, 3 * units) if peepholes else None
    while list(inputs.values())[-1] is None:
        inputs.popitem()
    return inputs


def outputs(op):
    return ["y", "y_h", "y_c"] if op == "LSTM" else ["y", "y_h"]


# Units that fill vectors, and that do not; rows that fill blocks, and that do not.
SIZES = [(5, 1, 3, 16), (1, 1, 4, 128), (3, 5, 2, 70), (4, 9, 7, 5), (0, 2, 3, 16)]


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("steps,batch,width,units", SIZES if FULL else SIZES[2:4])
def test_directions_and_sizes(op, direction, steps, batch, width, units):
    directions = 2 if direction == "bidirectional" else 1
    inputs = make(op, steps, batch, width, units, directions)
    if steps == 0:
        got = run(op, inputs, outputs(op), opset=14, hidden_size=units, direction=direction)
        np.testing.assert_array_equal(got["y_h"], inputs["h"])
        return
    check(op, inputs, outputs(op), opset=14, hidden_size=units, direction=direction)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_weights_in_the_model(op, direction):
    directions = 2 if direction == "bidirectional" else 1
    inputs = make(op, 6, 2, 8, 32, directions)
    check(op, inputs, outputs(op), opset=14, hidden_size=32, direction=direction, constants=["w", "r", "b"])


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("symbolic", [False, True])
def test_sequences_of_different_lengths(op, symbolic):
    inputs = make(op, 5, 4, 3, 20, 2, lengths=[5, 1, 3, 2])
    check(op, inputs, outputs(op), opset=14, hidden_size=20, direction="bidirectional", symbolic=symbolic)


@pytest.mark.parametrize("op", GATES)
def test_length_out_of_bounds_stops_the_run(op):
    for length in (4, -1):
        inputs = make(op, 3, 2, 3, 8, 1, lengths=[3, length])
        with pytest.raises(lathe.ModelError) as caught:
            run(op, inputs, outputs(op), opset=14, hidden_size=8)
        assert caught.value.code.startswith("E07")


@pytest.mark.parametrize("op", GATES)
def test_optional_inputs_left_out(op):
    for bias, states in [(False, False), (True, False), (False, True)]:
        inputs = make(op, 3, 2, 3, 8, 1, bias=bias, states=states)
        check(op, inputs, outputs(op), opset=14, hidden_size=8)
        check(op, inputs, ["", "y_h"], opset=7, hidden_size=8)


@pytest.mark.parametrize("op", GATES)
def test_batch_first(op):
    inputs = make(op, 3, 2, 4, 8, 2, batch_first=True)
    first = run(op, inputs, outputs(op), opset=14, hidden_size=8, direction="bidirectional", layout=1)
    swapped = {**inputs, "x": inputs["x"].swapaxes(0, 1), "h": inputs["h"].swapaxes(0, 1)}
    if "c" in inputs:
        swapped["c"] = inputs["c"].swapaxes(0, 1)
    want = runtime(op, {n: None if a is None else np.ascontiguousarray(a) for n, a in swapped.items()}, outputs(op),
                   opset=14, hidden_size=8, direction="bidirectional")
    compare(first, {"y": want["y"].transpose(2, 0, 1, 3), "y_h": want["y_h"].swapaxes(0, 1)})


def test_linear_before_reset():
    for bias in (True, False):
        inputs = make("GRU", 4, 3, 5, 24, 2, bias=bias)
        check("GRU", inputs, ["y", "y_h"], opset=14, hidden_size=24, direction="bidirectional", linear_before_reset=1)


def test_peepholes_and_coupled_gates():
    inputs = make("LSTM", 4, 3, 5, 24, 1, peepholes=True)
    check("LSTM", inputs, outputs("LSTM"), opset=14, hidden_size=24)
    check("LSTM", inputs, outputs("LSTM"), opset=14, hidden_size=24, input_forget=1)


@pytest.mark.parametrize("op", GATES)
def test_clip(op):
    inputs = make(op, 4, 3, 5, 24, 1)
    check(op, inputs, outputs(op), opset=14, hidden_size=24, clip=0.2)


@pytest.mark.parametrize("name", ["Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh",
                                  "HardSigmoid", "Elu", "Softsign", "Softplus"])
def test_activations(name):
    inputs = make("RNN", 4, 3, 5, 18, 1)
    check("RNN", inputs, ["y", "y_h"], opset=14, hidden_size=18, activations=[name], activation_alpha=[0.3],
          activation_beta=[0.7])


def test_parameters_go_to_the_activations_that_take_them():
    inputs = make("LSTM", 4, 3, 5, 18, 2)
    check("LSTM", inputs, outputs("LSTM"), opset=14, hidden_size=18, direction="bidirectional",
          activations=["Sigmoid", "LeakyRelu", "Tanh", "HardSigmoid", "Tanh", "Elu"],
          activation_alpha=[0.1, 0.25, 0.5], activation_beta=[0.4])


@pytest.mark.parametrize("op", GATES)
def test_other_floats(op):
    wide = make(op, 4, 3, 5, 20, 1, dtype=np.float64)
    single = {name: None if a is None else a.astype(np.float32) for name, a in wide.items()}
    want = runtime(op, single, outputs(op), opset=14, hidden_size=20)
    for dtype, tolerance in [(np.float64, 1e-5), (np.float16, 5e-3)]:
        inputs = {name: None if a is None else a.astype(dtype) for name, a in wide.items()}
        got = run(op, inputs, outputs(op), opset=14, hidden_size=20)
        compare({name: a.astype(np.float32) for name, a in got.items()}, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("attributes,code", [
    ({"direction": "backward"}, "E0304"), ({"layout": 2}, "E0304"), ({"activations": ["Tan", "Tanh"]}, "E0304"),
    ({"activations": ["Tanh"]}, "E0304"), ({"hidden_size": 0}, "E0304"), ({"hidden_size": 9}, "E0307")])
def test_bad_attributes(attributes, code):
    inputs = make("GRU", 2, 1, 3, 8, 1)
    with pytest.raises(lathe.ModelError) as caught:
        run("GRU", inputs, ["y", "y_h"], opset=14, **{"hidden_size": 8, **attributes})
    assert caught.value.code == code
