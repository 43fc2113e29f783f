# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products with weights that are stored in a format, on the mock driver's emulator, against the same file on a processor."""

import numpy as np
import pytest
from onnx import helper

import lathe
from cuda_models import FLOAT, FORMATS, HALF_UNITS, assert_nothing_spills, assert_omission_is_seen, compile_with, mock_driver, needs_mock
from lathe._verify import compare, run_reference
from small_models import model, value
from test_cuda import compile_for, needs_ptxas

pytestmark = needs_mock
STORED = ["int4", "int8-weights", "int4<group = 128, zeros = true, scales = f32>", "int2<group = 16>", "int8_groups<group = 64>"]


def product(depth, columns, rows="N"):
    """relu(x w + b)"""
    random = np.random.default_rng(0)
    w, b = random.standard_normal((depth, columns), np.float32), random.standard_normal(columns, np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["t"]), helper.make_node("Relu", ["t"], ["y"])]
    return model(nodes, [value("x", FLOAT, rows, depth)], [value("y", FLOAT, rows, columns)], w=w, b=b), w


def compile_both(source, stored, folder, math="f32"):
    """For the emulator, and for a processor, whose kernels of the format other tests compare with float64."""
    options = [f"--quantize={stored}"]
    device, report = compile_with(math, source, folder, options=options)
    assert report["compression"], "the weight is not stored in the format"
    (folder / "p").mkdir()
    compile_for("x86-64-v3", source, folder / "p", options=options)
    return device, lathe.load(folder / "p/m.so")


def check(device, processor, x, w, math="f32"):
    # Sums of f32 in two orders, of elements that rounding moves by the largest of a group at most; and the operands' rounding.
    bound = (2 * len(w) * 2.0**-24 + 4 * (HALF_UNITS[math] if math != "f32" else 0)) * (np.abs(x) @ (np.abs(w) + np.abs(w).max()) + 4)
    assert np.all(np.abs(device(x=x)["y"] - processor(x=x)["y"]) <= bound)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("depth,columns", [(384, 72), (2048, 40), (256, 136)])
def test_products(stored, depth, columns, tmp_path):
    """Few rows read the weight into registers; for more it is decoded into tiles."""
    source, w = product(depth, columns)
    device, processor = compile_both(source, stored, tmp_path)
    for rows in (1, 3, 8, 9, 70):
        x = np.random.default_rng(rows).uniform(-1, 1, (rows, depth)).astype(np.float32)
        check(device, processor, x, w)


@pytest.mark.parametrize("rows", [1, 5, 20, 200])
@pytest.mark.parametrize("math", ["f32", "tf32"])
def test_rows_that_are_known(rows, math, tmp_path):
    source, w = product(256, 64, rows)
    device, processor = compile_both(source, "int4", tmp_path, math)
    check(device, processor, np.random.default_rng(rows).uniform(-1, 1, (rows, 256)).astype(np.float32), w, math)


def test_formats_that_are_looked_up(tmp_path):
    """Element by element: they are right, not fast."""
    source, w = product(128, 40)
    device, processor = compile_both(source, "nf4", tmp_path)
    check(device, processor, np.random.default_rng(0).uniform(-1, 1, (5, 128)).astype(np.float32), w)


@pytest.mark.parametrize("rows", [4, 64])
def test_what_is_not_waited_for_is_seen(rows, tmp_path, monkeypatch):
    source, w = product(256, 64, rows)
    device, processor = compile_both(source, "int4", tmp_path)
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 256)).astype(np.float32)
    assert_omission_is_seen("barrier:0", lambda: check(device, processor, x, w), monkeypatch)


def test_minilm_in_4_bits(zoo, tmp_path):
    inputs = {"input_ids": np.random.default_rng(0).integers(0, 30522, (1, 12)), "attention_mask": np.ones((1, 12), np.int64),
              "token_type_ids": np.zeros((1, 12), np.int64)}
    device, processor = compile_both(zoo["minilm"], "int4", tmp_path)
    expected, actual = processor(inputs), device(inputs)
    reference = run_reference(zoo["minilm"], inputs)
    for name, result in actual.items():
        most = np.abs(reference[name]).max()
        assert compare(result, expected[name])["max_abs"] <= 1e-4 * most, name
        # And it is another model than that of f32.
        assert compare(result, reference[name])["max_abs"] > 1e-3 * most, name


@needs_ptxas
@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90a"])
@pytest.mark.parametrize("stored", ["int4", "int8-weights", "int2<group = 16>"])
def test_no_kernel_spills(architecture, stored, tmp_path):
    for math in ("f32", "tf32"):
        _, report = compile_with(math, product(2048, 1024)[0], tmp_path, f"cuda-{architecture}", [f"--quantize={stored}"])
        assert_nothing_spills(report, math)
