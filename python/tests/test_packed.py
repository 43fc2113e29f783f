# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights that are stored in fewer bytes: those that the file holds so, and those of which it is asked."""

import json
import pathlib
import re
import subprocess

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest

import lathe
from lathe.compiler import driver
from lathe.zoo import quantized

rng = np.random.default_rng(3)
HAS_VNNI = "avx512_vnni" in pathlib.Path("/proc/cpuinfo").read_text().split()


def compile_file(path, folder, *options):
    """A loaded artifact, the bytes of its weights, and its report."""
    artifact, report = folder / "m.so", folder / "report.json"
    subprocess.run([driver(), "compile", path, "-o", artifact, "--report", report, *options], check=True, capture_output=True)
    contents = json.loads(report.read_text())
    return lathe.load(artifact, threads=1), contents["numbers"]["weight_bytes"], json.dumps(contents)


def bound(x, matrix):
    """Of sums of K products in any order, each rounded to f32, and scaled in groups: K + 6 roundings of 2^-24, and one of
    2^-22 of the largest element of a row."""
    roundings = (matrix.shape[0] + 6) * 2.0 ** -24 * (np.abs(x).astype("f8") @ np.abs(matrix).astype("f8"))
    return roundings + 2.0 ** -22 * np.abs(x).max(1, keepdims=True) * np.abs(matrix).sum(0)


def unpacked(codes, bits):
    """[..., K] numbers of the bytes of the last two dimensions."""
    parts = codes[..., None] >> (bits * np.arange(8 // bits, dtype="u1")) & np.uint8((1 << bits) - 1)
    return parts.reshape(*codes.shape[:-1], -1).astype("f4")


@pytest.mark.parametrize("optimization", ["-O2", "-O0"])
@pytest.mark.parametrize("bits,block", [(2, 16), (4, 32), (4, 128), (8, 32)])
def test_blocks_stay_in_their_bytes(tmp_path, bits, block, optimization):
    rows, depth, columns = 5, 256, 96
    model, inputs = quantized.float_product(rows, depth, columns)
    path = tmp_path / "blocks.onnx"
    quantized.quantize_blocks(model, path, bits, block)
    artifact, weight_bytes, _ = compile_file(path, tmp_path, optimization)
    # Codes, and scales of four bytes.
    assert weight_bytes == depth * columns * bits // 8 + 4 * depth // block * columns
    weights = {value.name: onnx.numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer}
    numbers = unpacked(weights["w.codes"], bits) - (1 << bits - 1)
    matrix = (numbers * weights["w.scales"].reshape(columns, -1, 1)).reshape(columns, depth).T
    got, want = artifact(inputs)["y"], inputs["x"].astype("f8") @ matrix
    assert np.all(np.abs(got - want) <= bound(inputs["x"], matrix))


def int4(matrix, group):
    """Rounded to the nearest code: the one of the largest magnitude is -8."""
    parts = matrix.reshape(-1, group, matrix.shape[1])
    extreme = np.where(-parts.min(1) >= parts.max(1), parts.min(1).clip(max=0), parts.max(1))
    scale = (extreme / np.float32(-8)).astype("f2").astype("f4")[:, None]
    codes = np.rint(np.divide(parts, scale, out=np.zeros_like(parts), where=scale != 0)).clip(-8, 7)
    return (codes * scale).reshape(matrix.shape), matrix.size // 2 + 2 * scale.size


def int8(matrix, _):
    scale = np.abs(matrix).max(0) / np.float32(127)
    return np.rint(matrix / scale) * scale, matrix.size + 4 * matrix.shape[1]


def codebook(table, bits, group):
    """Rounded to the nearest number, of two the smaller: the element of the largest magnitude of a group becomes the largest."""
    table = np.unique(np.asarray(table, "f4"))
    low, high = table[0], table[-1]

    def encode(matrix, _):
        parts = matrix.reshape(-1, group, matrix.shape[1])
        extreme = np.take_along_axis(parts, np.abs(parts).argmax(1)[:, None], 1)
        largest = np.where((-low > high) | ((-low == high) & (extreme < 0)), low, high)
        scale = (extreme / largest).astype("f2").astype("f4")
        wanted = np.divide(parts, scale, out=np.zeros_like(parts), where=scale != 0)
        above = np.searchsorted(table, wanted).clip(1, len(table) - 1)
        nearest = np.where(wanted - table[above - 1] <= table[above] - wanted, table[above - 1], table[above])
        return (nearest * scale).reshape(matrix.shape), matrix.size * bits // 8 + 2 * scale.size, -(-4 * (1 << bits) // 64) * 64

    return encode


def float8(dtype, factor):
    numbers = np.arange(256, dtype="u1").view(dtype).astype("f4") * np.float32(factor)
    return numbers[np.isfinite(numbers)]


FORMATS = {"#pack.codebook<int3, group = 32>": (codebook(np.arange(-4, 4), 3, 32), None),
           "#pack.codebook<[-1.000000e+00, 0.000000e+00, 5.000000e-01, 2.000000e+00], group = 64>":
           (codebook([-1, 0, 0.5, 2], 2, 64), None),
           "#pack.codebook<f8E4M3FN, group = 64>": (codebook(float8(ml_dtypes.float8_e4m3fn, 1 / 256), 8, 64), None),
           "#pack.int4<group = 32>": (int4, 32), "#pack.int4<group = 64>": (int4, 64), "#pack.int8<weight_only>": (int8, None),
           "#pack.f16": (lambda w, _: (w.astype("f2").astype("f4"), 2 * w.size), None)}


def requested(matrix, form, rows="?"):
    """A product that asks for a format of its weight."""
    depth, columns = matrix.shape
    dim = "S" if rows == "?" else ""
    return f"""
nn.weight private @w : tensor<{depth}x{columns}xf32> = dense<"0x{matrix.astype('<f4').tobytes().hex()}">
func.func @main(%x: tensor<{rows}x{depth}xf32> {{nn.name = "x", nn.dims = ["{dim}", ""]}}) -> (tensor<{rows}x{columns}xf32> {{nn.name = "y"}}) {{
  %w = nn.weight_use @w : tensor<{depth}x{columns}xf32>
  %0 = nn.matmul %x, %w {{pack.format = {form}}} : tensor<{rows}x{depth}xf32>, tensor<{depth}x{columns}xf32> -> tensor<{rows}x{columns}xf32>
  return %0 : tensor<{rows}x{columns}xf32>
}}"""


@pytest.mark.parametrize("optimization", ["-O2", "-O0"])
@pytest.mark.parametrize("form", FORMATS)
def test_request(tmp_path, form, optimization):
    matrix = rng.standard_normal((192, 64)).astype("f4")
    encode, group = FORMATS[form]
    matrix[64:128, 5] = 0
    (tmp_path / "m.mlir").write_text(requested(matrix, form))
    artifact, weight_bytes, report = compile_file(tmp_path / "m.mlir", tmp_path, "--from=nn", optimization)
    wanted, size, *table = encode(matrix, group)
    # Without panels, a codebook's table stands beside it.
    assert weight_bytes == size + (sum(table) if optimization == "-O0" else 0)
    assert f"weight stored as {form}" in report
    for rows in (1, 4, 16, 130):
        x = rng.standard_normal((rows, 192)).astype("f4")
        got = artifact({"x": x})["y"]
        assert np.all(np.abs(got - x.astype("f8") @ wanted) <= bound(x, wanted)), rows


def rounded(x):
    """32 elements that stand side by side as integers times a scale, in f32."""
    groups = x.reshape(len(x), -1, 32)
    largest = np.maximum(np.abs(groups).max(2, keepdims=True), np.float32(2.0 ** -100))
    return (np.rint(groups * (np.float32(127) / largest)) * (largest * np.float32(1 / 127))).reshape(x.shape)


DYNAMIC = {"#pack.int4<group = 32, dynamic = true>": 32, "#pack.int4<group = 96, dynamic = true>": 96}


@pytest.mark.parametrize("target", ["native", "x86-64-v4+vnni", "x86-64-v3", "-O0"])
@pytest.mark.parametrize("form", DYNAMIC)
def test_rounded_rows(tmp_path, form, target):
    """Rows become integers of 8 bits in groups where there are dot products of bytes, whatever their number."""
    if target == "x86-64-v4+vnni" and not HAS_VNNI:
        pytest.skip("no AVX-512 VNNI")
    matrix = rng.standard_normal((192, 80)).astype("f4")
    (tmp_path / "m.mlir").write_text(requested(matrix, form))
    options = [target] if target == "-O0" else [f"--target={target}"]
    artifact, weight_bytes, report = compile_file(tmp_path / "m.mlir", tmp_path, "--from=nn", *options)
    wanted, _ = int4(matrix, DYNAMIC[form])
    rounds = target != "x86-64-v3" and HAS_VNNI
    assert ("its rows are rounded to 8 bits" in report) == rounds and ("its rows are not rounded" in report) != rounds
    for rows in (1, 5, 6, 7, 64, 65, 131, 200):
        x = (rng.standard_normal((rows, 192)) * np.exp(rng.standard_normal((rows, 1)) * 4)).astype("f4")
        x[rows // 2, :40] = 0
        x[rows // 3, 70] = 1e30
        read = rounded(x) if rounds else x
        got = artifact({"x": x})["y"]
        assert np.all(np.abs(got - read.astype("f8") @ wanted) <= bound(read, wanted)), rows


@pytest.mark.parametrize("depth", [4096, 32768])
def test_rounded_rows_that_are_deep(tmp_path, depth):
    """Of rows that are deep, fewer are split into integers at a time; of the deepest, more than a few are multiplied as f32."""
    matrix = rng.standard_normal((depth, 32)).astype("f4")
    (tmp_path / "m.mlir").write_text(requested(matrix, "#pack.int4<group = 32, dynamic = true>"))
    artifact, *_ = compile_file(tmp_path / "m.mlir", tmp_path, "--from=nn")
    wanted, _ = int4(matrix, 32)
    for rows in (3, 9, 70):
        x = rng.standard_normal((rows, depth)).astype("f4")
        read = rounded(x) if HAS_VNNI else x
        assert np.all(np.abs(artifact({"x": x})["y"] - read.astype("f8") @ wanted) <= bound(read, wanted)), rows


@pytest.mark.skipif(not HAS_VNNI, reason="rows are rounded with AVX-512 VNNI")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rounded_rows_that_are_not_finite(tmp_path, value):
    """What is not finite stays in its row, and shows there."""
    matrix = rng.standard_normal((192, 64)).astype("f4")
    (tmp_path / "m.mlir").write_text(requested(matrix, "#pack.int4<group = 32, dynamic = true>"))
    artifact, *_ = compile_file(tmp_path / "m.mlir", tmp_path, "--from=nn")
    x = rng.standard_normal((9, 192)).astype("f4")
    finite = artifact({"x": x})["y"]
    x[4, 100] = value
    got = artifact({"x": x})["y"]
    assert not np.isfinite(got[4]).any()
    assert np.array_equal(np.delete(got, 4, 0), np.delete(finite, 4, 0))


@pytest.mark.skipif(not HAS_VNNI, reason="rows are rounded with AVX-512 VNNI")
@pytest.mark.parametrize("options", [(), ("--quantize=int4-dynamic",)])
@pytest.mark.parametrize("bits,block", [(2, 32), (4, 32), (4, 128), (8, 32), (4, 16)])
def test_blocks_that_may_be_rounded(tmp_path, bits, block, options):
    """MatMulNBits with an accuracy_level of 4, or on request; blocks of fewer rows than are rounded together are multiplied as
    they are."""
    rows, depth, columns = 70, 256, 96
    model, inputs = quantized.float_product(rows, depth, columns)
    path = tmp_path / "blocks.onnx"
    quantized.quantize_blocks(model, path, bits, block, accuracy_level=None if options else 4)
    artifact, _, report = compile_file(path, tmp_path, *options)
    assert not options or ("the file stores its weight" in report) == (block < 32)
    weights = {value.name: onnx.numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer}
    numbers = unpacked(weights["w.codes"], bits) - (1 << bits - 1)
    matrix = (numbers * weights["w.scales"].reshape(columns, -1, 1)).reshape(columns, depth).T
    read = inputs["x"] if block < 32 else rounded(inputs["x"])
    assert np.all(np.abs(artifact(inputs)["y"] - read.astype("f8") @ matrix) <= bound(read, matrix))


def test_blocks_stay_as_they_are_in_the_file(tmp_path):
    """Another format is refused, for each weight and with the reason."""
    model, _ = quantized.float_product(4, 256, 96)
    path = tmp_path / "blocks.onnx"
    quantized.quantize_blocks(model, path)
    compile_file(path, tmp_path, "--quantize=int8-dynamic")
    [entry] = json.loads((tmp_path / "report.json").read_text())["compression"]
    assert not entry["done"] and entry["became"] == "int4<group = 32, scales = f32>"
    assert entry["reason"] == "not stored as int8<dynamic>: the file stores its weight as int4<group = 32, scales = f32>"


def test_bf16_as_storage(tmp_path):
    """Few rows, for a processor that is not known to compute in bf16: weights take half their bytes, and are f32 again."""
    matrix = rng.standard_normal((192, 64)).astype("f4")
    (tmp_path / "m.mlir").write_text(requested(matrix, "#pack.bf16", rows=4))
    artifact, weight_bytes, report = compile_file(tmp_path / "m.mlir", tmp_path, "--from=nn", "--target=x86-64-v3")
    assert weight_bytes == 2 * matrix.size and "weight stored as #pack.bf16" in report
    wanted, x = matrix.astype(ml_dtypes.bfloat16).astype("f4"), rng.standard_normal((4, 192)).astype("f4")
    assert np.all(np.abs(artifact({"x": x})["y"] - x.astype("f8") @ wanted) <= bound(x, wanted))


def test_minilm_of_four_bits(zoo, tmp_path):
    """Layers that are outlined, and share kernels that decode."""
    path = tmp_path / "minilm.onnx"
    quantized.quantize_blocks(zoo["minilm"], path)
    artifact, weight_bytes, report = compile_file(path, tmp_path)
    assert "equal layers compiled once" in report
    matrices = [value for value in onnx.load(path).graph.initializer if value.name.endswith(".codes")]
    packed = sum(int(np.prod(value.dims)) for value in matrices) * (1 + 4 / 16)
    numbers = sum(value.dims[0] * value.dims[1] * value.dims[2] * 2 for value in matrices)
    assert len(matrices) > 30 and packed <= 0.16 * 4 * numbers
    others = sum(int(np.prod(value.dims)) * 4 for value in onnx.load(zoo["minilm"]).graph.initializer) - 4 * numbers
    assert weight_bytes <= packed + others + 64 * 200
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {value.name: np.ones((2, 16), np.int64) for value in session.get_inputs()}
    inputs["input_ids"] = rng.integers(1000, 20000, (2, 16))
    want = session.run(None, inputs)[0]
    # Both compute in f32 from the same codes; MiniLM's own bar between runtimes (test_minilm.py) is 1e-4.
    assert np.abs(list(artifact(inputs).values())[0] - want).max() <= 1e-4


@pytest.mark.skipif(not HAS_VNNI, reason="rows are rounded with AVX-512 VNNI")
def test_rows_are_rounded_by_the_pass_alone(tmp_path):
    """A bisection that leaves it out gets the products of the rows as they are, whatever the kernels can do."""
    matrix = rng.standard_normal((192, 64)).astype("f4")
    (tmp_path / "m.mlir").write_text(requested(matrix, "#pack.int4<group = 32, dynamic = true>"))
    wanted, _ = int4(matrix, 32)
    command = [driver(), "compile", tmp_path / "m.mlir", "-o", tmp_path / "m.so", "--from=nn"]
    done = subprocess.run([*command, "--run-pass-until=1000"], check=True, capture_output=True, text=True)
    (number,) = re.findall(r"running pass \((\d+)\) pack-round-rows", done.stderr)
    subprocess.run([*command, f"--run-pass-until={int(number) - 1}"], check=True, capture_output=True)
    x = rng.standard_normal((70, 192)).astype("f4")
    got = lathe.load(tmp_path / "m.so", threads=1)({"x": x})["y"]
    assert np.all(np.abs(got - x.astype("f8") @ wanted) <= bound(x, wanted))
