# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A model of two products, its statistics, and those of MiniLM, for the tests of calibration."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lathe
from lathe.compiler import driver
from small_models import model, value

DEPTH, MIDDLE, COLUMNS = 96, 80, 64


def two_products(depth=DEPTH):
    """z = relu(x @ first) @ second."""
    nodes = [helper.make_node("MatMul", ["x", "first"], ["t"], name="/first"), helper.make_node("Relu", ["t"], ["u"]),
             helper.make_node("MatMul", ["u", "second"], ["z"], name="/second")]
    rng = np.random.default_rng(0)
    return model(nodes, [value("x", TensorProto.FLOAT, "N", depth)], [value("z", TensorProto.FLOAT, "N", COLUMNS)],
                 first=rng.standard_normal((depth, MIDDLE), np.float32),
                 second=rng.standard_normal((MIDDLE, COLUMNS), np.float32))


def weights_of(graph):
    return [onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "two.onnx"
    onnx.save(two_products(), path)
    return path


def samples(count=3):
    """Of one scale each: the range is known only in the end."""
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((7 + i, DEPTH), np.float32) * np.float32(4.0 ** i)} for i in range(count)]


@pytest.fixture(scope="module")
def stats(two, tmp_path_factory):
    path = tmp_path_factory.mktemp("stats") / "s.npz"
    lathe.calibrate(two, samples(), path, gram=True)
    return path


def write_samples(folder, some):
    folder.mkdir(exist_ok=True)
    for number, inputs in enumerate(some):
        np.savez(folder / f"{number}.npz", **inputs)
    return folder


#: The driver calls the interpreter that runs the tests.
ENVIRONMENT = {**os.environ, "LATHE_PYTHON": sys.executable}


def run(*arguments, **options):
    return subprocess.run([driver(), *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, **options)


def emit(path, *options):
    done = run("compile", path, "--emit-plan", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def texts(count, tokens=16):
    rng = np.random.default_rng(count)
    ids = rng.integers(1000, 30000, (count, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="module")
def minilm_stats(zoo, tmp_path_factory):
    path = tmp_path_factory.mktemp("minilm") / "s.npz"
    lathe.calibrate(zoo["minilm"], [texts(4)], path)
    return path
