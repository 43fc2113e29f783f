# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Convolutional models as others ship them, against ONNX Runtime. A few by default, all with LATHE_TEST_FULL=1."""

import os
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest

import lathe
from lathe.compiler import driver
from lathe.zoo.vision import TOPOLOGIES, ocr_models, topology
from run_models import timed

FULL = bool(os.environ.get("LATHE_TEST_FULL"))
# Of the largest number of a result.
TOLERANCE = 1e-3
# Two shapes of each: all of their dimensions but the channels are dynamic.
OCR_SHAPES = {"ocr_det": [(1, 3, 64, 96), (2, 3, 160, 128)], "ocr_cls": [(1, 3, 48, 192), (3, 3, 48, 192)],
              "ocr_rec": [(1, 3, 48, 320), (2, 3, 48, 160)]}
COMPILE_SECONDS = 30


def full_only(names, sample):
    return [pytest.param(name, marks=() if name in sample else
                         pytest.mark.skipif(not FULL, reason="LATHE_TEST_FULL is not set")) for name in names]


def assert_close(got, expected, resolution=0.0):
    scale = max(float(np.abs(expected).max()), 1e-30)
    assert got.shape == expected.shape
    assert float(np.abs(got - expected).max()) <= TOLERANCE * scale + resolution


def transposes_left(path, folder):
    """The transposes of activations after the weights have taken theirs."""
    done = subprocess.run([driver(), "compile", path, "-o", folder / "left.so", "--dump-ir-after=nn-fold-weights"],
                          capture_output=True, text=True, check=True)
    functions = done.stderr[done.stderr.index("func.func"):]
    return [line.strip() for line in functions.splitlines() if "nn.transpose" in line]


@pytest.mark.parametrize("name", full_only(OCR_SHAPES, ["ocr_cls"]))
def test_ocr_model_agrees_with_onnx_runtime(name, tmp_path):
    path = ocr_models()[name]
    model, seconds = timed(lathe.compile, path, tmp_path / "model.so")
    assert not FULL or seconds < COMPILE_SECONDS
    session = onnxruntime.InferenceSession(path)
    rng = np.random.default_rng(1)
    for shape in OCR_SHAPES[name]:
        x = rng.random(shape, dtype=np.float32) * 2 - 1
        for got, expected in zip(model(x=x).values(), session.run(None, {"x": x}), strict=True):
            # The detector's sigmoids are all but 0 where there is no text; ONNX Runtime's are multiples of this number.
            assert_close(got, expected, resolution=float(np.finfo(np.float32).eps) if name == "ocr_det" else 0.0)


@pytest.mark.parametrize("name", full_only(["ocr_det", "ocr_cls"], ["ocr_cls"]))
def test_no_transpose_is_left_but_that_of_the_image(name, tmp_path):
    left = transposes_left(ocr_models()[name], tmp_path)
    assert len(left) == 1 and "%arg0" in left[0], left


@pytest.mark.parametrize("name", full_only(TOPOLOGIES, ["squeezenet"]))
def test_topology_agrees_with_onnx_runtime(name, tmp_path):
    model = topology(name)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    compiled = lathe.compile(path, tmp_path / "model.so")
    session = onnxruntime.InferenceSession(path)
    x = np.random.default_rng(2).standard_normal((1, 3, 224, 224)).astype(np.float32)
    feeds = {session.get_inputs()[0].name: x}
    expected = session.run(None, feeds)[0]
    assert np.isfinite(expected).all() and float(expected.std()) > 0
    assert_close(next(iter(compiled(**feeds).values())), expected)
    left = [line for line in transposes_left(path, tmp_path) if "%arg0" not in line]
    # The shuffle of ShuffleNet is a transpose of its own.
    assert len(left) == (16 if name == "shufflenet" else 0), left
