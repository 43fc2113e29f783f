# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Integers where floats come in, and numbers that no float holds."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import run  # noqa: E402


@pytest.mark.parametrize("kind", ["int32", "int64", "uint32", "uint64"])
def test_root_of_squares(kind):
    """The squares do not fit into the type, the root does."""
    x = np.array([[3, 4, 0], [60000, 80000, 0], [1, 1, 1]], kind)
    got = run("ReduceL2", {"x": x, "axes": np.array([1])}, ["y"], constants=["axes"], keepdims=0)
    assert got["y"].dtype == kind
    np.testing.assert_array_equal(got["y"], [5, 100000, 1])


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_all_bits_flip(kind):
    info = np.iinfo(kind)
    x = np.array([0, 1, info.max, info.min, info.max // 3], kind)
    np.testing.assert_array_equal(run("BitwiseNot", {"x": x}, ["y"])["y"], ~x)
