# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What tests of code for CUDA devices share: models for the mock driver's emulator, and what they are to compute."""

import os

import numpy as np
import onnx
import pytest
from onnx import helper

import lathe
from small_models import build_folder, model, value
from test_cuda import compile_for

FLOAT, FLOAT16, BOOL, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BOOL, onnx.TensorProto.INT64
MOCK = build_folder() / "test/cuda/libcuda.so.1"
EMULATED = "cuda-sm_80,cuda-emulator"

needs_mock = pytest.mark.skipif(not MOCK.exists(), reason="this build has no mock driver: it is for a sanitizer")


@pytest.fixture(autouse=True, scope="module")
def mock_driver():
    """The driver is loaded once a process, by the first model that needs it."""
    os.environ["LATHE_CUDA_DRIVER"] = str(MOCK)
    yield
    del os.environ["LATHE_CUDA_DRIVER"]


def keep_bits(array, bits):
    """Floats rounded to the nearest with so many bits of their fraction; ties go up, or to even where 7 are kept: bf16."""
    drop = 23 - bits
    raw = array.astype(np.float32).view(np.uint32).astype(np.uint64)
    half = (1 << (drop - 1)) - 1 + (raw >> drop & 1) if bits == 7 else 1 << (drop - 1)
    return ((raw + half) >> drop << drop).astype(np.uint32).view(np.float32)


#: How operands are rounded.
FORMATS = {"bf16": lambda x: keep_bits(x, 7), "tf32": lambda x: keep_bits(x, 10), "f16": lambda x: x.astype(np.float16),
           "f32": lambda x: x}
#: Half a unit in the last place of what is rounded so.
HALF_UNITS = {"bf16": 2.0**-8, "f16": 2.0**-11, "tf32": 2.0**-11, "f32": 2.0**-24}


def compile_with(math, source, folder, targets=EMULATED, options=()):
    """Compiles a model; gives it loaded if the emulator is among the targets, and the report."""
    options = [*options, *([f"--math={math}"] if math in ("bf16", "tf32") else [])]
    report = compile_for(targets, source, folder, options=options)[1]
    return lathe.load(folder / "m.so") if "emulator" in targets else None, report


def assert_nothing_spills(report, what=None):
    numbers = report["numbers"]
    assert numbers["device_stack_bytes"] == numbers["device_spill_bytes"] == numbers["ptxas_warnings"] == 0, what


def assert_omission_is_seen(what, check, monkeypatch):
    """Without a barrier, or a wait for copies, half of the orders of threads at least give what `check` does not take."""
    check()
    monkeypatch.setenv("LATHE_EMU_OMIT", what)
    wrong = 0
    for seed in "01234567":
        monkeypatch.setenv("LATHE_EMU_SEED", seed)
        try:
            check()
        except (AssertionError, lathe.ModelError):
            wrong += 1
    assert wrong >= 4


def attention(heads, key_heads, depth, value_depth, dtype=FLOAT, mask=None, queries="S", **attributes):
    inputs = [value("q", dtype, "B", heads, queries, depth), value("k", dtype, "B", key_heads, "T", depth),
              value("v", dtype, "B", key_heads, "T", value_depth)]
    names = ["q", "k", "v"]
    if mask is not None:
        inputs.append(value("mask", *mask))
        names.append("mask")
    node = helper.make_node("Attention", names, ["y"], **attributes)
    made = model([node], inputs, [value("y", dtype, "B", heads, queries, value_depth)])
    made.opset_import[0].version = 23
    return made


def expected_attention(q, k, v, mask=None, is_causal=0, softcap=0.0):
    """In float64."""
    q, k, v = (array.astype(np.float64) for array in (q, k, v))
    k, v = (np.repeat(array, q.shape[1] // k.shape[1], axis=1) for array in (k, v))
    logits = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    if softcap:
        logits = softcap * np.tanh(logits / softcap)
    if is_causal:
        rows, columns = logits.shape[-2:]
        logits = np.where(np.arange(columns) <= np.arange(rows)[:, None] + columns - rows, logits, -np.inf)
    if mask is not None:
        logits = np.where(mask, logits, -np.inf) if mask.dtype == bool else logits + mask
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def check_attention(compiled, math, heads, key_heads, depth, value_depth, queries, keys, mask=None, batch=2, **attributes):
    random = np.random.default_rng(queries)
    q, k, v = (random.standard_normal((batch, *shape)).astype(np.float16 if math == "f16" else np.float32) for shape in (
        (heads, queries, depth), (key_heads, keys, depth), (key_heads, keys, value_depth)))
    inputs = {"q": q, "k": k, "v": v}
    if mask is not None:
        inputs["mask"] = mask
    result = compiled(inputs)["y"]
    q, k, v = (FORMATS[math](array) for array in (q, k, v))
    expected = expected_attention(q, k, v, mask, **attributes)
    # Weights are rounded as operands are, by half a unit in the last place, and so is the result of 16 bits; logits are f32.
    assert np.abs(result - expected).max() <= (2 * HALF_UNITS[math] + 2e-5) * np.abs(v).max()
