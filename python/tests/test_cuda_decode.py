# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention of few queries over many keys, which blocks divide: what it computes, on the mock driver's emulator, against float64."""

import numpy as np
import pytest
from onnx import helper

from cuda_models import (BOOL, FLOAT, FLOAT16, FORMATS as ROUNDED, HALF_UNITS, assert_nothing_spills, assert_omission_is_seen, attention,
                         check_attention, compile_with, expected_attention, mock_driver, needs_mock)
from small_models import model, value
from test_cuda import needs_ptxas

pytestmark = needs_mock
FORMATS = ["bf16", "f16", "tf32", "f32"]


def type_of(math):
    return FLOAT16 if math == "f16" else FLOAT


@pytest.mark.parametrize("math", FORMATS)
@pytest.mark.parametrize("heads,key_heads,depth,value_depth", [(4, 4, 64, 64), (8, 2, 32, 32), (6, 2, 48, 80), (16, 1, 64, 32)])
@pytest.mark.parametrize("queries", ["S", 1])
def test_one_query(math, heads, key_heads, depth, value_depth, queries, tmp_path):
    """One block for a few keys, and several that tell each other; heads that share keys are rows of one block."""
    compiled, _ = compile_with(math, attention(heads, key_heads, depth, value_depth, type_of(math), queries=queries), tmp_path)
    for keys in (1, 70, 129, 700):
        check_attention(compiled, math, heads, key_heads, depth, value_depth, 1, keys)


@pytest.mark.parametrize("math", FORMATS)
def test_few_queries_and_many(math, tmp_path):
    """Where the number of queries is not known, a run chooses; tickets are 0 again for the next one."""
    compiled, _ = compile_with(math, attention(4, 2, 32, 32, type_of(math)), tmp_path)
    for queries, keys in ((1, 300), (3, 300), (8, 300), (9, 300), (1, 300), (40, 300)):
        check_attention(compiled, math, 4, 2, 32, 32, queries, keys)


@pytest.mark.parametrize("math", ["bf16", "f32"])
def test_few_queries_behind_a_past(math, tmp_path):
    """The keys of a past are seen by all queries, of the new ones each sees those up to its own."""
    heads, key_heads, depth, past = 4, 2, 32, 280
    sizes = {"q": (heads, "S"), "k": (key_heads, "S"), "v": (key_heads, "S"), "pk": (key_heads, "P"), "pv": (key_heads, "P")}
    node = helper.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], is_causal=1)
    source = model([node], [value(name, FLOAT, 1, *size, depth) for name, size in sizes.items()],
                   [value("y", FLOAT, 1, heads, "S", depth), value("nk", FLOAT, 1, key_heads, "T", depth),
                    value("nv", FLOAT, 1, key_heads, "T", depth)])
    source.opset_import[0].version = 23
    compiled, _ = compile_with(math, source, tmp_path)
    random = np.random.default_rng(0)
    for queries in (1, 4, 30):
        inputs = {name: random.standard_normal((1, size[0], past if size[1] == "P" else queries, depth)).astype(np.float32)
                  for name, size in sizes.items()}
        q, k, v, pk, pv = (ROUNDED[math](array) for array in inputs.values())
        expected = expected_attention(q, np.concatenate([pk, k], 2), np.concatenate([pv, v], 2), is_causal=1)
        assert np.abs(compiled(inputs)["y"] - expected).max() <= (2 * HALF_UNITS[math] + 2e-5) * max(np.abs(v).max(), np.abs(pv).max())


@pytest.mark.parametrize("math", FORMATS)
def test_few_queries_with_masks(math, tmp_path):
    """All keys of one range are hidden; a mask for each head."""
    random = np.random.default_rng(0)
    keep = random.uniform(size=(3, 400)) < 0.7
    keep[:, 128:256] = False
    source = attention(4, 2, 32, 32, type_of(math), mask=(BOOL, 3, "T"), queries=3)
    check_attention(compile_with(math, source, tmp_path)[0], math, 4, 2, 32, 32, 3, 400, mask=keep)
    bias = random.standard_normal((2, 4, 3, 400)).astype(np.float16 if math == "f16" else np.float32)
    source = attention(4, 2, 32, 32, type_of(math), mask=(type_of(math), "B", 4, 3, "T"), softcap=2.0, queries=3)
    check_attention(compile_with(math, source, tmp_path)[0], math, 4, 2, 32, 32, 3, 400, mask=bias, softcap=2.0)


@pytest.mark.parametrize("math", ["bf16", "f32"])
@pytest.mark.parametrize("what", ["barrier:0", "barrier:1"])
def test_what_ranges_do_not_wait_for_is_seen(math, what, tmp_path, monkeypatch):
    compiled, _ = compile_with(math, attention(2, 1, 32, 32, queries=2), tmp_path)
    check = lambda: check_attention(compiled, math, 2, 1, 32, 32, 2, 260, batch=1)
    assert_omission_is_seen(what, check, monkeypatch)


def test_more_groups_than_blocks(tmp_path):
    """Then no keys are divided, and no group has a ticket."""
    compiled, _ = compile_with("f32", attention(160, 160, 8, 8, queries=1), tmp_path)
    check_attention(compiled, "f32", 160, 160, 8, 8, 1, 140)


@needs_ptxas
@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90a"])
@pytest.mark.parametrize("math", FORMATS)
def test_no_range_spills(architecture, math, tmp_path):
    for heads, depth in ((4, 64), (8, 128)):
        source = attention(heads, 2, depth, depth, type_of(math), queries=1)
        assert_nothing_spills(compile_with(math, source, tmp_path, f"cuda-{architecture}")[1], depth)
