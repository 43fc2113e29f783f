# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models whose products are computed in bf16, with sums of f32."""

import pathlib

import numpy as np
import onnx
import pytest
from onnx import helper

import lathe
from lathe._verify import run_reference
from reports import compile_with_report, remarks, warnings_about_code
from run_models import FLOAT, model, value
from test_minilm import make_inputs

rng = np.random.default_rng(16)
TARGET = "x86-64-v4+bf16"
MATRICES = "x86-64-v4+amx"
both_targets = pytest.mark.parametrize("target", [TARGET, pytest.param(MATRICES, marks=pytest.mark.skipif(
    "amx_bf16" not in pathlib.Path("/proc/cpuinfo").read_text().split(), reason="this processor has no AMX"))])
needs_bf16 = pytest.mark.skipif("avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text().split(),
                                reason="this processor has no AVX512_BF16")


def round_to_bf16(values):
    """Floats rounded to bf16, nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7fff) + (bits >> 16 & 1)) & np.uint32(0xffff0000)).view(np.float32)


def run(proto, inputs, folder, products, *options, target=TARGET):
    """The first output of a model that asks for bf16, and what the compiler says of it."""
    path = folder / "m.onnx"
    onnx.save(proto, path)
    report = compile_with_report(path, folder / "m.so", "--math=bf16", f"--target={target}", *options)
    assert remarks(report, "pack-convert-bf16", "passed") == ["computed in bf16 with sums of f32"] * products
    assert not remarks(report, "kernel-form", "missed") and not warnings_about_code(report)
    return next(iter(lathe.load(folder / "m.so", threads=2)(inputs).values()))


def check(actual, x, w, product, after):
    """Products of bf16 are exact in f32, and K of them are summed up with an error of at most K 2^-24 of the sum of
    their magnitudes; what comes `after` rounds a few times. Operands that are not rounded are out of that bound."""
    depth = w.size // w.shape[-1]

    def compute(x, w):
        return product(x.astype(np.float64), w.astype(np.float64))

    bound = (depth + 4) * 2.0 ** -24 * (compute(np.abs(x), np.abs(w)) + np.abs(after(0)))
    assert np.all(np.abs(actual - after(compute(round_to_bf16(x), round_to_bf16(w)))) <= bound)
    assert np.any(np.abs(actual - after(compute(x, w))) > bound)


@needs_bf16
@both_targets
@pytest.mark.parametrize("batch,rows", [(1, 1), (3, 5), (2, 64)])
def test_product_with_bias_and_residual(tmp_path, batch, rows, target):
    """Sizes that are multiples of nothing, and a left operand that is also added as it is."""
    w, b = rng.standard_normal((37, 37), np.float32), rng.standard_normal(37, np.float32)
    proto = model([helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["s"]),
                   helper.make_node("Add", ["s", "x"], ["y"])],
                  [value("x", FLOAT, "B", "S", 37)], [value("y", FLOAT, "B", "S", 37)], w=w, b=b)
    x = rng.standard_normal((batch, rows, 37), np.float32)
    check(run(proto, {"x": x}, tmp_path, 1, target=target), x, w, np.matmul, lambda sums: sums + b + x)


@needs_bf16
@pytest.mark.parametrize("channels,groups,window", [(3, 1, 3), (32, 1, 3), (10, 2, 2), (24, 1, 1)])
def test_convolution(tmp_path, channels, groups, window):
    filters = 40
    w = rng.standard_normal((filters, channels // groups, window, window), np.float32)
    proto = model([helper.make_node("Conv", ["x", "w"], ["c"], group=groups, pads=[window // 2] * 4),
                   helper.make_node("Relu", ["c"], ["y"])],
                  [value("x", FLOAT, 1, channels, "H", 17)], [value("y", FLOAT, 1, filters, "H", None)], w=w)
    x = rng.standard_normal((1, channels, 9, 17), np.float32)

    def convolve(x, w):
        padded = np.pad(x, [(0, 0), (0, 0), *[(window // 2, window // 2)] * 2])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(2, 3))
        parts = zip(np.split(windows, groups, axis=1), np.split(w, groups, axis=0))
        return np.concatenate([np.einsum("nchwij,mcij->nmhw", part, own) for part, own in parts], axis=1)

    actual = run(proto, {"x": x}, tmp_path, 1)
    depth = channels // groups * window ** 2
    rounded = [round_to_bf16(x).astype(np.float64), round_to_bf16(w).astype(np.float64)]
    bound = (depth + 4) * 2.0 ** -24 * convolve(np.abs(rounded[0]), np.abs(rounded[1]))
    assert np.all(np.abs(actual - np.maximum(convolve(*rounded), 0)) <= bound)


@needs_bf16
@both_targets
def test_minilm(zoo, tmp_path, target):
    """Four products a layer, and attention on matrix registers. The bound is what is promised of bf16: 2 % of the largest
    output."""
    report = compile_with_report(zoo["minilm"], tmp_path / "m.so", "--math=bf16", f"--target={target}")
    assert len(remarks(report, "pack-convert-bf16", "passed")) == (30 if target == MATRICES else 24)
    loaded = lathe.load(tmp_path / "m.so", threads=2)
    for batch, sequence in ((1, 7), (3, 128)):
        inputs = make_inputs(batch, sequence)
        expected = run_reference(zoo["minilm"], inputs)["last_hidden_state"]
        error = np.abs(loaded(inputs)["last_hidden_state"] - expected).max() / np.abs(expected).max()
        assert 1e-4 < error <= 2e-2
    lathe.compile(zoo["minilm"], tmp_path / "f32.so", target=target)
    # Six layers of four matrices of 384 x 384 and two of 384 x 1536, two bytes less each element.
    saved = 6 * (4 * 384 * 384 + 2 * 384 * 1536) * 2
    assert abs((tmp_path / "f32.so").stat().st_size - (tmp_path / "m.so").stat().st_size - saved) < 1 << 20


def test_a_target_without_fast_instructions_refuses(tmp_path):
    w = rng.standard_normal((64, 64), np.float32)
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", FLOAT, "B", 64)],
                  [value("y", FLOAT, "B", 64)], w=w)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    report = compile_with_report(path, tmp_path / "m.so", "--math=bf16", "--target=x86-64-v3")
    assert not remarks(report, "pack-convert-bf16", "passed")
    assert remarks(report, "pack-convert-bf16", "missed") == [
        "not computed in bf16: x86-64-v3 has no instructions that multiply bf16 faster than f32, and the number of rows "
        "is not known to be so small that the bytes of the weight count"]
    lathe.compile(path, tmp_path / "f32.so", target="x86-64-v3")
    x = rng.standard_normal((5, 64), np.float32)
    results = [lathe.load(tmp_path / name, threads=1)(x=x)["y"] for name in ("m.so", "f32.so")]
    assert np.array_equal(*results)


def test_several_targets_in_any_order(tmp_path):
    """The best of them decides what is computed in bf16, and runs where the processor can."""
    w, x = rng.standard_normal((64, 64), np.float32), rng.standard_normal((5, 64), np.float32)
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", FLOAT, "B", 64)], [value("y", FLOAT, "B", 64)], w=w)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    targets = ["x86-64-v3", MATRICES, "x86-64-v4"]
    report = compile_with_report(path, tmp_path / "m.so", "--math=bf16", "--target=" + ",".join(targets))
    assert report["targets"] == [MATRICES, "x86-64-v4", "x86-64-v3"]
    assert remarks(report, "pack-convert-bf16", "passed") == ["computed in bf16 with sums of f32"]
    check(lathe.load(tmp_path / "m.so", threads=1)(x=x)["y"], x, w, np.matmul, lambda sums: sums)


def test_portable_code_moves_bf16():
    """Where no instruction rounds to bf16, the code generator calls a function, which has to be in the artifact."""
    node = helper.make_node("OneHot", ["indices", "depth", "values"], ["y"], axis=-1)
    depth = onnx.numpy_helper.from_array(np.array(5), "depth")
    graph = helper.make_graph([node], "g", [value("indices", onnx.TensorProto.INT64, "N"),
                                            value("values", onnx.TensorProto.BFLOAT16, 2)],
                              [value("y", onnx.TensorProto.BFLOAT16, "N", 5)], [depth])
    one_hot = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=13)
    off_on = np.array([1.5, -3], np.float32).view(np.uint32) >> 16
    indices = np.array([0, 4, 2, -1, 1, 3, 0])
    got = lathe.compile(one_hot, target="x86-64-v3")(indices=indices, values=off_on.astype(np.uint16))["y"]
    np.testing.assert_array_equal(got.view(np.uint16), off_on[np.eye(5, dtype=int)[indices]])


@pytest.mark.parametrize("dtype,half", [(onnx.TensorProto.FLOAT16, 2.0**-11), (onnx.TensorProto.BFLOAT16, 2.0**-8)])
def test_portable_code_rounds_f64_once(dtype, half):
    """By f32 in between, what is little more or less than halfway would become a tie."""
    node = helper.make_node("Cast", ["x"], ["y"], to=dtype)
    graph = helper.make_graph([node], "g", [value("x", onnx.TensorProto.DOUBLE, "N")], [value("y", dtype, "N")])
    cast = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = np.array([1, 1 + half, 1 + half + 2.0**-40, 1 + half - 2.0**-40, 1 + 3 * half, 1 + 3 * half - 2.0**-40, np.inf, 1e300, 0])
    x = np.concatenate([x, -x, [np.nan]])
    got = lathe.compile(cast, target="x86-64-v3")(x=x)["y"].view(np.uint16)
    one, infinite, sign = (0x3c00, 0x7c00, 0x8000) if dtype == onnx.TensorProto.FLOAT16 else (0x3f80, 0x7f80, 0x8000)
    want = np.array([one, one, one + 1, one, one + 2, one + 1, infinite, infinite, 0])
    np.testing.assert_array_equal(got[:-1], np.concatenate([want, want | sign]))
    assert int(got[-1]) & 0x7fff > infinite
