# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Resize over a seeded matrix of modes, scales and sizes; all of it with LATHE_TEST_FULL=1."""

import itertools
import pathlib
import random
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from spatial import FULL, Case, check  # noqa: E402

COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resize_case(seed):
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    mode = rng.choice(["nearest", "linear", "cubic"])
    spatial = 2 if mode == "cubic" else rng.choice([1, 2, 2, 3])
    attributes = {"mode": mode, "coordinate_transformation_mode": rng.choice(COORDINATES)}
    if mode == "nearest":
        attributes["nearest_mode"] = rng.choice(NEAREST)
    if mode == "cubic":
        attributes["cubic_coeff_a"] = rng.choice([-0.5, -0.75])
        attributes["exclude_outside"] = rng.randint(0, 1)
    shape = [rng.randint(1, 2), rng.choice([1, 3, 16, 20]), *[rng.randint(3, 9) for _ in range(spatial)]]
    x = numbers.standard_normal(shape).astype(np.float32)
    if rng.random() < 0.5:
        # The specification takes a fractional length for align_corners, ONNX Runtime a whole one.
        steps = [2.0, 3.0] if attributes["coordinate_transformation_mode"] == "align_corners" else [0.5, 1.5, 2.0, 2.5]
        scales = np.array([1, 1, *[rng.choice(steps) for _ in range(spatial)]], np.float32)
        return Case("Resize", [x, None, scales], attributes, dynamic=rng.random() < 0.5)
    sizes = np.array([*shape[:2], *[rng.randint(2, 14) for _ in range(spatial)]], np.int64)
    # The batch is static where its size is a number here.
    return Case("Resize", [x, None, None, sizes], attributes)


def test_resize(tmp_path):
    check([resize_case(seed) for seed in range(200 if FULL else 12)], tmp_path, opset=18)


def test_every_nearest_mode_with_every_coordinate(tmp_path):
    x = np.arange(2 * 7 * 5, dtype=np.float32).reshape(1, 2, 7, 5)
    cases = []
    for coordinates, nearest in itertools.product(COORDINATES, NEAREST if FULL else NEAREST[:2]):
        attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
        cases.append(Case("Resize", [x, None, None, np.array([1, 2, 10, 3], np.int64)], attributes))
    check(cases, tmp_path, opset=13)


def test_nearest_between_two_elements(tmp_path):
    """Positions that lie in the middle of two elements, unless the ratio of sizes is rounded to f32."""
    cases = [Case("Resize", [np.arange(size, dtype=np.float32).reshape(1, 1, size, 1), None, None, np.array([1, 1, to, 1], np.int64)],
                  {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest})
             for size, to in ((7, 2), (7, 4), (7, 8), (5, 2)) for nearest in NEAREST]
    check(cases, tmp_path, opset=18)
