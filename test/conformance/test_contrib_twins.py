# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Operators of com.microsoft that do what their standard twins do, against ONNX Runtime."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import check, lathe, run  # noqa: E402
from test_contrib_norms import MS, numbers  # noqa: E402

SYMBOLIC = pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])


@SYMBOLIC
def test_gather_nd_trilu_and_grid_sample(symbolic):
    x = numbers(3, 4, 5)
    check("GatherND", {"x": x, "i": np.array([[0, 1], [2, -1]])}, ["y"], domain=MS, constants=["i"], symbolic=symbolic)
    check("Trilu", {"x": x, "k": np.array(1)}, ["y"], domain=MS, upper=0, symbolic=symbolic)
    grid = np.random.default_rng(1).uniform(-1.2, 1.2, (2, 3, 5, 2)).astype(np.float32)
    for mode in ("bilinear", "nearest"):
        check("GridSample", {"x": numbers(2, 3, 6, 7), "grid": grid}, ["y"], domain=MS, mode=mode, padding_mode="border",
              symbolic=symbolic)


@pytest.mark.parametrize("bias,state,activation", [(False, False, "none"), (True, True, "silu"), (False, True, "swish")])
@SYMBOLIC
def test_causal_convolution_with_a_state(bias, state, activation, symbolic):
    inputs = {"x": numbers(2, 4, 7), "w": numbers(4, 1, 3), "b": numbers(4) if bias else None,
              "state": numbers(2, 4, 2) if state else None}
    check("CausalConvWithState", inputs, ["y", "present"], domain=MS, activation=activation, symbolic=symbolic,
          constants=["w", "b"] if bias else ["w"])


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("state", [False, True])
def test_linear_attention(rule, state):
    heads, features = 2, 4
    k = numbers(2, 5, heads, features)
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    inputs = {"q": numbers(2, 5, 4 * features), "k": k.reshape(2, 5, -1), "v": numbers(2, 5, heads * 6),
              "state": numbers(2, heads, features, 6) if state else None,
              "decay": -np.abs(numbers(2, 5, heads)) if "gated" in rule else None,
              "beta": 1 / (1 + np.exp(numbers(2, 5, heads))) if "delta" in rule else None}
    check("LinearAttention", inputs, ["y", "last"], domain=MS, q_num_heads=4, kv_num_heads=heads, update_rule=rule)


def test_what_a_twin_lacks_is_not_supported():
    inputs = {"x": numbers(2, 4, 7), "w": numbers(4, 1, 3)}
    with pytest.raises(lathe.ModelError, match="dilation = 2"):
        run("CausalConvWithState", inputs, ["y", "present"], domain=MS, dilation=2)
