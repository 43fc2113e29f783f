# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products of bytes by tensor cores: exact, on the mock driver's emulator. No device is needed."""

import numpy as np
import onnx
import pytest
from onnx import helper

from cuda_models import assert_nothing_spills, assert_omission_is_seen, compile_with, mock_driver, needs_mock
from lathe._verify import compare, run_reference
from small_models import model, value
from test_cuda import needs_ptxas

pytestmark = needs_mock
TYPES = {np.uint8: onnx.TensorProto.UINT8, np.int8: onnx.TensorProto.INT8}
INT32 = onnx.TensorProto.INT32


def numbers(dtype, *shape, seed=0):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, dtype, endpoint=True)


def product(lhs, rhs, depth, columns, zeros=(None, None), constant=True, rows="N"):
    """x w of bytes; `zeros` are arrays or None."""
    w = numbers(rhs, depth, columns)
    names = {f"z{i}": zero for i, zero in enumerate(zeros) if zero is not None}
    inputs = [value("x", TYPES[lhs], rows, depth)] + ([] if constant else [value("w", TYPES[rhs], depth, columns)])
    node = helper.make_node("MatMulInteger", ["x", "w", *(f"z{i}" if f"z{i}" in names else "" for i in range(2))], ["y"])
    return model([node], inputs, [value("y", INT32, rows, columns)], **names, **({"w": w} if constant else {})), w


def check(compiled, x, w, zeros=(0, 0), constant=True):
    result = compiled({"x": x} if constant else {"x": x, "w": w})["y"]
    a, b = (np.asarray(0 if zero is None else zero, np.int64) for zero in zeros)
    assert np.array_equal(result, (x - (a[:, None] if a.ndim else a)) @ (w - b))


@pytest.mark.parametrize("lhs", TYPES)
@pytest.mark.parametrize("rhs", TYPES)
@pytest.mark.parametrize("depth,columns", [(64, 72), (384, 40), (37, 50), (40, 20)])
@pytest.mark.parametrize("constant", [True, False], ids=["weight", "computed"])
def test_products(lhs, rhs, depth, columns, constant, tmp_path):
    """Weights come in panels; what is computed is transposed byte by byte."""
    source, w = product(lhs, rhs, depth, columns, constant=constant)
    compiled, _ = compile_with("bytes", source, tmp_path)
    for rows in (1, 70, 130):
        check(compiled, numbers(lhs, rows, depth, seed=rows), w, constant=constant)


@pytest.mark.parametrize("which", ["lhs", "rhs", "both", "columns", "rows"])
def test_zero_points(which, tmp_path):
    """One number, or one for each row or column."""
    depth, columns, rows = 72, 50, 70
    zeros = {"lhs": (np.uint8(131), None), "rhs": (None, np.int8(-7)), "both": (np.uint8(3), np.int8(90)),
             "columns": (np.uint8(128), numbers(np.int8, columns, seed=1)), "rows": (numbers(np.uint8, rows, seed=2), np.int8(5))}[which]
    source, w = product(np.uint8, np.int8, depth, columns, zeros, rows=rows)
    compiled, _ = compile_with("bytes", source, tmp_path)
    check(compiled, numbers(np.uint8, rows, depth, seed=3), w, zeros)


@pytest.mark.parametrize("rows", [1, 1700])
def test_tiles_for_sizes_that_are_known(rows, tmp_path):
    source, w = product(np.uint8, np.int8, 96, 1536 if rows > 1 else 200, (np.uint8(128), None), rows=rows)
    compiled, _ = compile_with("bytes", source, tmp_path)
    check(compiled, numbers(np.uint8, rows, 96), w, (128, 0))


@pytest.mark.parametrize("what", ["wait", "barrier:0", "barrier:1"])
def test_what_is_not_waited_for_is_seen(what, tmp_path, monkeypatch):
    source, w = product(np.uint8, np.int8, 256, 64, (np.uint8(128), None))
    compiled, _ = compile_with("bytes", source, tmp_path)
    assert_omission_is_seen(what, lambda: check(compiled, numbers(np.uint8, 64, 256), w, (128, 0)), monkeypatch)


@pytest.mark.parametrize("name,bound", [("minilm", 0.1)])
def test_models_that_are_rounded_as_they_run(name, bound, zoo, tmp_path):
    """The error is that of 8 bits, relative to the largest value."""
    source = zoo[name]
    inputs = {"input_ids": np.random.default_rng(0).integers(0, 30522, (1, 16)), "attention_mask": np.ones((1, 16), np.int64),
              "token_type_ids": np.zeros((1, 16), np.int64)}
    compiled, _ = compile_with("bytes", source, tmp_path, options=["--quantize=int8-dynamic"])
    expected, actual = run_reference(source, inputs), compiled(inputs)
    for key, result in actual.items():
        error = compare(result, expected[key])["max_abs"] / np.abs(expected[key]).max()
        assert bound / 100 < error <= bound, key


@needs_ptxas
@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90a"])
@pytest.mark.parametrize("rows", [8, "N", 4096])
def test_no_kernel_spills(architecture, rows, tmp_path):
    source, _ = product(np.uint8, np.int8, 512, 1024, (np.uint8(128), numbers(np.int8, 1024)), rows=rows)
    assert_nothing_spills(compile_with("bytes", source, tmp_path, f"cuda-{architecture}")[1])
