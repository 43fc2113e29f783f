# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MoE of com.microsoft against ONNX Runtime, and what its processors' provider lacks against what it has; all of it with
LATHE_TEST_FULL=1."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import check, compare, lathe, run  # noqa: E402
from test_contrib_norms import MS, numbers, sample  # noqa: E402

TOKENS, HIDDEN, INNER, EXPERTS = 5, 8, 6, 4


def make(width=INNER, bias=True, dims=(TOKENS,)):
    rows = int(np.prod(dims))
    return {"x": numbers(*dims, HIDDEN), "router": numbers(rows, EXPERTS), "w1": numbers(EXPERTS, width, HIDDEN),
            "b1": numbers(EXPERTS, width) if bias else None, "w2": numbers(EXPERTS, HIDDEN, INNER),
            "b2": numbers(EXPERTS, HIDDEN) if bias else None}


@pytest.mark.parametrize("activation,k,normalize,bias,dims,constant", sample(
    ["relu", "gelu", "silu", "identity"], [1, 2, EXPERTS], [0, 1], [False, True], [(TOKENS,), (2, 3), (1, 1)],
    [False, True], step=13))
def test_experts(activation, k, normalize, bias, dims, constant):
    inputs = make(bias=bias, dims=dims)
    if not bias:
        del inputs["b2"]
    names = [name for name in inputs if name[0] in "wb" and inputs[name] is not None]
    options = {"symbolic": len(dims) == 2, "constants": names} if constant else {}
    check("MoE", inputs, ["y"], domain=MS, k=k, normalize_routing_weights=normalize, activation_type=activation,
          **options)


@pytest.mark.parametrize("attributes", [{}, {"activation_alpha": 1.702, "activation_beta": 1.0},
                                        {"swiglu_limit": 0.5, "activation_beta": 1.0}])
def test_gated_experts(attributes):
    inputs, options = make(2 * INNER), {"domain": MS, "k": 2, "activation_type": "swiglu", **attributes}
    check("MoE", inputs, ["y"], swiglu_fusion=1, **options)
    # The same with the two parts side by side, and as two layers.
    want = run("MoE", inputs, ["y"], swiglu_fusion=1, **options)
    parts = {name: (inputs[name][:, 0::2], inputs[name][:, 1::2]) for name in ("w1", "b1")}
    beside = {**inputs, **{name: np.concatenate(pair, 1) for name, pair in parts.items()}}
    compare(run("MoE", beside, ["y"], swiglu_fusion=2, **options), want)
    two = {**inputs, **{name: np.ascontiguousarray(pair[0]) for name, pair in parts.items()},
           "w3": np.ascontiguousarray(parts["w1"][1]), "b3": np.ascontiguousarray(parts["b1"][1])}
    compare(run("MoE", two, ["y"], swiglu_fusion=0, **options), want)


@pytest.mark.parametrize("change,message", [
    ({"k": 5}, "k is 5, must be from 1 to the number of experts, 4"), ({"activation_type": "sine"}, '"sine"'),
    ({"use_sparse_mixer": 1}, "use_sparse_mixer"), ({"activation_type": "swiglu"}, "swiglu_fusion is 0"),
    ({"router": numbers(6, EXPERTS)}, "a row for each token"), ({"w2": numbers(3, HIDDEN, INNER)}, "for each expert"),
    ({"b1": numbers(EXPERTS, 7)}, "for each feature"), ({"w1": None}, "input 2 is absent")])
def test_what_does_not_fit_is_an_error(change, message):
    inputs, attributes = make(), {}
    for name, value in change.items():
        (inputs if name in inputs else attributes)[name] = value
    with pytest.raises(lathe.ModelError, match=message):
        run("MoE", inputs, ["y"], domain=MS, **attributes)
