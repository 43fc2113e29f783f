# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels of loops against numpy: whole, and split into parts."""

import numpy as np
import pytest

from kernel_harness import Kernel, function

rng = np.random.default_rng(5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("flags", ["", "exclusive", "reverse", "exclusive reverse"])
def test_cumulate(axis, flags):
    kernel = Kernel(function("sums", "loops", {"a": (["B", 3, "N"], "f32")}, {"y": (["B", 3, "N"], "f32")},
                             f"%y = nn.cumulate sum %a axis({axis}) {flags} : tensor<?x3x?xf32> -> tensor<?x3x?xf32>",
                             ["B", "N"]), "sums", "x86-64-v3")
    for shape in [(2, 3, 5), (1, 3, 1), (0, 3, 4), (3, 3, 0)]:
        a = rng.standard_normal(shape, np.float32)
        want = np.flip(a, axis) if "reverse" in flags else a
        sums = np.cumsum(want, axis, dtype=np.float32)
        want = sums - want if "exclusive" in flags else sums
        want = np.flip(want, axis) if "reverse" in flags else want
        sizes = (shape[0], shape[2])
        for pieces in (1, 3):
            np.testing.assert_allclose(kernel([a], shape, sizes, pieces=pieces), want, rtol=1e-5, atol=1e-6)
