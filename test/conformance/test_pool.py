# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Pools with every rounding, pad and dilation over a seeded matrix; all of it with LATHE_TEST_FULL=1."""

import random
import sys
import pathlib

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from spatial import FULL, Case, check  # noqa: E402


def pool_case(op, seed):
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    spatial = rng.choice([1, 2, 2, 3])
    window = [rng.randint(1, 4) for _ in range(spatial)]
    attributes = {"kernel_shape": window, "strides": [rng.randint(1, 3) for _ in range(spatial)]}
    dilations = [1] * spatial
    if op == "MaxPool" and rng.random() < 0.4:
        dilations = attributes["dilations"] = [rng.randint(1, 2) for _ in range(spatial)]
    if rng.random() < 0.25:
        attributes["auto_pad"] = rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])
        # A step over whole elements would need pads below zero, which ONNX Runtime refuses.
        attributes["strides"] = [min(stride, k) for stride, k in zip(attributes["strides"], window)]
        dilations = attributes["dilations"] = [1] * spatial
        if op != "MaxPool":
            del attributes["dilations"]
    else:
        attributes["pads"] = [rng.randint(0, (k - 1) // 2) for k in window * 2]
        attributes["ceil_mode"] = rng.randint(0, 1)
    if op == "AveragePool":
        attributes["count_include_pad"] = rng.randint(0, 1)
    outputs = 1
    if op == "MaxPool" and rng.random() < 0.3:
        outputs = 2
    if op == "LpPool":
        attributes["p"] = rng.choice([1, 2, 3])
        attributes.pop("ceil_mode", None)
    sizes = [(k - 1) * d + 1 + rng.randint(1, 8) for k, d in zip(window, dilations)]
    x = numbers.standard_normal((rng.randint(1, 2), rng.choice([1, 3, 8, 16, 20]), *sizes)).astype(np.float32)
    return Case(op, [x], attributes, outputs, dynamic=rng.random() < 0.5)


def test_max_pool(tmp_path):
    check([pool_case("MaxPool", seed) for seed in range(96 if FULL else 8)], tmp_path, opset=17)


def test_average_pool(tmp_path):
    check([pool_case("AveragePool", seed) for seed in range(96 if FULL else 8)], tmp_path, opset=19)


def test_lp_pool(tmp_path):
    check([pool_case("LpPool", seed) for seed in range(32 if FULL else 4)], tmp_path, opset=17)


def test_integers_and_nan(tmp_path):
    numbers = np.random.default_rng(5)
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    cases = [Case("MaxPool", [numbers.integers(low, high, (1, 20, 9, 9)).astype(dtype)], attributes)
             for dtype, low, high in ((np.int8, -128, 127), (np.uint8, 0, 255))]
    check(cases, tmp_path, opset=17)
