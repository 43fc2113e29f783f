# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Convolution and its transpose over a seeded matrix of shapes and attributes; all of it with LATHE_TEST_FULL=1."""

import random
import sys
import pathlib

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from spatial import FULL, Case, check  # noqa: E402


def sizes_that_fit(rng, window, dilations, low=1, high=9):
    return [(k - 1) * d + 1 + rng.randint(low, high) for k, d in zip(window, dilations)]


def conv_case(seed):
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    spatial = rng.choice([1, 2, 2, 2, 3])
    groups = rng.choice([1, 1, 2, 4, "depthwise"])
    channels = rng.choice([4, 8, 12, 16, 20])
    maps = channels * rng.choice([1, 2]) if groups == "depthwise" else 4 * rng.randint(1, 9)
    groups = channels if groups == "depthwise" else groups
    window = [rng.choice([1, 1, 2, 3, 3, 5]) for _ in range(spatial)]
    dilations = [rng.choice([1, 1, 2]) for _ in range(spatial)]
    attributes = {"kernel_shape": window, "strides": [rng.choice([1, 1, 2, 3]) for _ in range(spatial)],
                  "dilations": dilations, "group": groups}
    pads = rng.choice(["pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"])
    if pads == "pads":
        attributes["pads"] = [rng.randint(0, 2) for _ in range(2 * spatial)]
    elif pads != "none":
        attributes["auto_pad"] = pads
        if pads != "VALID":
            attributes["dilations"] = [1] * spatial  # ONNX Runtime ignores them there
    x = numbers.standard_normal((rng.randint(1, 2), channels, *sizes_that_fit(rng, window, dilations)))
    filters = numbers.standard_normal((maps, channels // groups, *window))
    bias = numbers.standard_normal(maps).astype(np.float32) if rng.random() < 0.5 else None
    return Case("Conv", [x.astype(np.float32), filters.astype(np.float32), bias], attributes,
                dynamic=rng.random() < 0.5)


def picture_case(seed):
    """A few planes, whose rows are put together as vectors of pixels, with what is left of these."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    spatial, channels, maps = rng.choice([1, 2, 2, 3]), rng.choice([2, 3, 3, 4, 5]), rng.randint(1, 40)
    window = [rng.choice([1, 3, 5]) for _ in range(spatial - 1)] + [rng.choice([2, 3, 7])]
    attributes = {"kernel_shape": window, "strides": [rng.randint(1, 3) for _ in range(spatial)],
                  "dilations": [1] * (spatial - 1) + [rng.choice([1, 1, 2])], "pads": [rng.randint(0, 3) for _ in range(2 * spatial)]}
    size = [rng.randint(6, 9) for _ in range(spatial - 1)] + [rng.randint(14, 150)]
    x = numbers.standard_normal((rng.randint(1, 2), channels, *size)).astype(np.float32)
    return Case("Conv", [x, numbers.standard_normal((maps, channels, *window)).astype(np.float32), None], attributes,
                dynamic=rng.random() < 0.5)


def transposed_case(seed):
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    spatial = rng.choice([1, 2, 2, 3])
    groups = rng.choice([1, 1, 2])
    channels, maps = 4 * rng.randint(1, 4), 2 * rng.randint(1, 9)
    window = [rng.randint(1, 4) for _ in range(spatial)]
    strides = [rng.randint(1, 3) for _ in range(spatial)]
    attributes = {"kernel_shape": window, "strides": strides, "group": groups,
                  "dilations": [rng.choice([1, 1, 2]) for _ in range(spatial)]}
    kind = rng.choice(["pads", "pads", "output_padding", "output_shape", "SAME_UPPER", "SAME_LOWER"])
    size = [rng.randint(3, 7) for _ in range(spatial)]
    if kind == "pads":
        attributes["pads"] = [rng.randint(0, 1) for _ in range(2 * spatial)]
    elif kind == "output_padding":
        attributes["output_padding"] = [rng.randint(0, s - 1) for s in strides]
    elif kind == "output_shape":
        attributes["output_shape"] = [s * n for s, n in zip(strides, size)]
    else:
        # Where windows leave gaps, ONNX Runtime makes less than the size times the stride.
        attributes["auto_pad"] = kind
        attributes["strides"] = [min(s, k) for s, k in zip(strides, window)]
        attributes["dilations"] = [1] * spatial
    x = numbers.standard_normal((rng.randint(1, 2), channels, *size)).astype(np.float32)
    filters = numbers.standard_normal((channels, maps // 2, *window)).astype(np.float32)
    bias = numbers.standard_normal(maps // 2 * groups).astype(np.float32) if rng.random() < 0.5 else None
    dynamic = rng.random() < 0.5 and kind != "output_shape"
    return Case("ConvTranspose", [x, filters, bias], attributes, dynamic=dynamic)


def test_conv(tmp_path):
    check([conv_case(seed) for seed in range(320 if FULL else 16)], tmp_path, opset=17)


def test_conv_of_pictures(tmp_path):
    check([picture_case(2000 + seed) for seed in range(120 if FULL else 16)], tmp_path, opset=17)


def test_conv_transpose(tmp_path):
    check([transposed_case(1000 + seed) for seed in range(120 if FULL else 8)], tmp_path, opset=17)
