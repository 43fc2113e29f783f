# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Detectors of speech as their package ships them, over a minute of sound with their state, against ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import lathe
from lathe.zoo.sound import RATE, SHAPES, VAD, chunks, sound, vad_models
from run_models import FLOAT, compare, compile_model, model, timed, value

COMPILE_SECONDS = 30
# Of a probability and of the state. What is rounded differently in a step fades in the next ones: a forget gate is
# below 1.
TOLERANCE = 1e-3
SPEECH = 0.5


@pytest.mark.parametrize("name", VAD)
def test_decisions_over_a_minute_agree_with_onnx_runtime(name, tmp_path):
    path = vad_models()[name]
    ours, seconds = timed(lathe.compile, path, tmp_path / "model.so", threads=1, shapes=SHAPES)
    assert seconds < COMPILE_SECONDS
    theirs = onnxruntime.InferenceSession(path)
    rate = {"sr": np.array(RATE)} if "sr" in {i.name for i in theirs.get_inputs()} else {}
    state = expected_state = np.zeros((2, 1, 128), np.float32)
    probabilities, expected = [], []
    for chunk in chunks(sound(60)):
        probability, state = ours(input=chunk, state=state, **rate).values()
        wanted, expected_state = theirs.run(None, {"input": chunk, "state": expected_state, **rate})
        probabilities.append(probability[0, 0])
        expected.append(wanted[0, 0])
        np.testing.assert_allclose(state, expected_state, atol=TOLERANCE * max(1, np.abs(expected_state).max()))
    expected = np.array(expected)
    np.testing.assert_allclose(probabilities, expected, atol=TOLERANCE)
    # There is something to decide, and no decision hangs on a rounding.
    assert (expected > SPEECH).any() and (expected < SPEECH).any()
    clear = np.abs(expected - SPEECH) > TOLERANCE
    assert ((np.array(probabilities) > SPEECH) == (expected > SPEECH))[clear].all()


def test_a_chunk_of_another_length_is_an_error_of_the_run(tmp_path):
    """The rank of what is between depends on the length; the model says which it is."""
    path = vad_models()["vad_16k"]
    compiled = lathe.compile(path, tmp_path / "model.so", threads=1)
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(RATE)
    feeds = {"input": next(iter(chunks(sound(1)))), "state": state, "sr": rate}
    compiled_feeds = {info.name: feeds[info.name] for info in compiled.inputs}
    expected = onnxruntime.InferenceSession(path).run(None, compiled_feeds)
    np.testing.assert_allclose(list(compiled(compiled_feeds).values())[0], expected[0], atol=TOLERANCE)
    with pytest.raises(lathe.ModelError) as error:
        compiled({**compiled_feeds, "input": np.zeros((1, 2000), np.float32)})
    assert error.value.code == "E0702"


@pytest.mark.parametrize("batch", [2, "batch"])
def test_a_convolution_to_one_channel_takes_what_follows_along(batch, tmp_path):
    rng = np.random.default_rng(3)
    proto = model([helper.make_node("Conv", ["x", "w", "b"], ["c"]), helper.make_node("Sigmoid", ["c"], ["s"]),
                   helper.make_node("Mul", ["s", "c"], ["y"])],
                  [value("x", FLOAT, batch, 24, 5)], ["y"], w=rng.standard_normal((1, 24, 1)).astype(np.float32),
                  b=np.array([0.5], np.float32))
    compare(proto, compile_model(proto, tmp_path), {"x": rng.standard_normal((2, 24, 5)).astype(np.float32)})
