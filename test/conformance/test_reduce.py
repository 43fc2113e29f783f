# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reductions over axes that only the run tells."""

import sys

import numpy as np
import pytest

sys.path.insert(0, __file__.rsplit("/", 1)[0])

from nodes import build, run  # noqa: E402

import lathe  # noqa: E402

x = np.random.default_rng(8).standard_normal((2, 3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("axes", [[0], [3], [-1, 0], [2, 1], [0, 1, 2, 3], []])
def test_one_artifact_reduces_over_any_axes(symbolic, axes):
    model = lathe.compile(build("ReduceMean", {"x": x, "axes": np.array(axes, np.int64)}, ["y"], symbolic=symbolic))
    want = x.mean(tuple(axes) or None, keepdims=True)
    np.testing.assert_allclose(model(x=x, axes=np.array(axes, np.int64))["y"], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", [[0, 2], [-1, 1]])
def test_dimensions_that_are_reduced_go(axes):
    got = run("ReduceMax", {"x": x, "axes": np.array(axes)}, ["y"], keepdims=0)["y"]
    np.testing.assert_array_equal(got, x.max(tuple(axes)))


@pytest.mark.parametrize("axes", [[4], [-5], [1, 1], [1, -3]])
def test_an_axis_out_of_range_or_named_twice_ends_the_run(axes):
    with pytest.raises(lathe.ModelError):
        run("ReduceSum", {"x": x, "axes": np.array(axes)}, ["y"])
