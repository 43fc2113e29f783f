# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products, convolutions and attention by tensor cores: what they compute, on the mock driver's emulator, against float64, and what
ptxas says of them. No device is needed."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cuda_models import (BOOL, FLOAT, FLOAT16, FORMATS, assert_nothing_spills, assert_omission_is_seen, attention, check_attention,
                         compile_with, mock_driver, needs_mock)
from lathe._verify import compare, run_reference
from lathe.zoo.vision import topology
from small_models import model, value
from test_cuda import compile_for, needs_ptxas

pytestmark = needs_mock


def product(depth, columns, transposed=False):
    """relu(x w + b)"""
    random = np.random.default_rng(0)
    w, b = random.standard_normal((depth, columns), np.float32), random.standard_normal(columns, np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["t"], transB=int(transposed)), helper.make_node("Relu", ["t"], ["y"])]
    made = model(nodes, [value("x", FLOAT, "N", depth)], [value("y", FLOAT, "N", columns)],
                 w=np.ascontiguousarray(w.T) if transposed else w, b=b)
    return made, w, b


def check_product(compiled, x, w, b, rounded):
    x, w = (rounded(array).astype(np.float64) for array in (x, w))
    expected = np.maximum(x @ w + b, 0)
    # Each of `depth` sums of f32, and of the emulator one of float64, rounds by half a unit in the last place at most.
    bound = (len(w) + 2) * 2.0**-24 * (np.abs(x) @ np.abs(w) + np.abs(b))
    assert np.all(np.abs(compiled - expected) <= bound + 1e-30)


@pytest.mark.parametrize("math", ["bf16", "tf32", "f32"])
@pytest.mark.parametrize("depth,columns", [(384, 384), (64, 72), (72, 200), (37, 50), (40, 20), (16, 1024)])
def test_products(math, depth, columns, tmp_path):
    source, w, b = product(depth, columns)
    compiled, _ = compile_with(math, source, tmp_path)
    for rows in (1, 3, 64, 70, 130):
        x = np.random.default_rng(rows).uniform(-1, 1, (rows, depth)).astype(np.float32)
        check_product(compiled(x=x)["y"], x, w, b, FORMATS[math])


@pytest.mark.parametrize("math", ["bf16", "tf32", "f32"])
@pytest.mark.parametrize("rows,depth,columns", [(1900, 96, 1536), (11, 200, 200)], ids=["large", "narrow"])
def test_tiles_for_sizes_that_are_known(math, rows, depth, columns, tmp_path):
    """Of 128 x 128 for many rows, of 16 x 32 for few."""
    source, w, b = product(depth, columns)
    source.graph.input[0].type.tensor_type.shape.dim[0].dim_value = rows
    source.graph.output[0].type.tensor_type.shape.dim[0].dim_value = rows
    compiled, _ = compile_with(math, source, tmp_path)
    x = np.random.default_rng(0).uniform(-1, 1, (rows, depth)).astype(np.float32)
    check_product(compiled(x=x)["y"], x, w, b, FORMATS[math])


@pytest.mark.parametrize("math", ["bf16", "f32"])
def test_tiles_that_are_chosen_by_the_rows_of_a_run(math, tmp_path):
    """160 blocks of 128 x 128 are many."""
    source, w, b = product(40, 1536)
    compiled, _ = compile_with(math, source, tmp_path)
    for rows in (1600, 1664, 1700):
        x = np.random.default_rng(0).uniform(-1, 1, (rows, 40)).astype(np.float32)
        check_product(compiled(x=x)["y"], x, w, b, FORMATS[math])


@pytest.mark.parametrize("math", ["bf16", "f32"])
@pytest.mark.parametrize("what", ["wait", "barrier:0", "barrier:1"])
def test_what_is_not_waited_for_is_seen(math, what, tmp_path, monkeypatch):
    """Copies that nobody waits for, or of which others do not know that they are there, and sums in the place of tiles
    that some still read."""
    source, w, b = product(128, 64)
    compiled, _ = compile_with(math, source, tmp_path)
    x = np.random.default_rng(0).uniform(-1, 1, (64, 128)).astype(np.float32)
    assert_omission_is_seen(what, lambda: check_product(compiled(x=x)["y"], x, w, b, FORMATS[math]), monkeypatch)


def matmul(batch, rows, depth, columns, dtype):
    """x w for each of a batch, w computed, too; and x transposed times itself."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
             helper.make_node("MatMul", ["t", "x"], ["z"])]
    return model(nodes, [value("x", dtype, batch, rows, depth), value("w", dtype, batch, depth, columns)],
                 [value("y", dtype, batch, rows, columns), value("z", dtype, batch, depth, depth)])


@pytest.mark.parametrize("math,dtype", [("f16", np.float16), ("tf32", np.float32), ("f32", np.float32)])
@pytest.mark.parametrize("rows", [72, 40])
def test_batches_and_transposed_operands(math, dtype, rows, tmp_path):
    compiled, _ = compile_with(math, matmul(2, rows, 48, 56, FLOAT16 if math == "f16" else FLOAT), tmp_path)
    random = np.random.default_rng(0)
    x, w = (random.uniform(-1, 1, shape).astype(dtype) for shape in ((2, rows, 48), (2, 48, 56)))
    results = compiled(x=x, w=w)
    x, w = (FORMATS[math](array).astype(np.float64) for array in (x, w))
    for name, lhs, rhs in (("y", x, w), ("z", x.transpose(0, 2, 1), x)):
        bound = rows * 2.0**-24 * (np.abs(lhs) @ np.abs(rhs)) + (2.0**-11 * np.abs(lhs @ rhs) if math == "f16" else 0)
        assert np.all(np.abs(results[name] - lhs @ rhs) <= bound), name


def convolution(channels, filters, window, dtype, **attributes):
    """relu(conv(x, w) + b)"""
    random = np.random.default_rng(0)
    w = random.standard_normal((filters, channels, *window)).astype(np.float16 if dtype == FLOAT16 else np.float32)
    b = random.standard_normal(filters).astype(w.dtype)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["t"], **attributes), helper.make_node("Relu", ["t"], ["y"])]
    spatial = [f"D{i}" for i in range(len(window))]
    return model(nodes, [value("x", dtype, "N", channels, *spatial)],
                 [value("y", dtype, "N", filters, *(f"E{i}" for i in range(len(window))))], w=w, b=b), w, b


@pytest.mark.parametrize("math", ["bf16", "tf32", "f16", "f32"])
@pytest.mark.parametrize("channels,filters,window,attributes", [
    (16, 24, (3, 3), {"pads": [1, 1, 1, 1]}), (32, 20, (3, 3), {"strides": [2, 2], "pads": [0, 1, 2, 1]}),
    (3, 16, (7, 7), {"strides": [2, 2], "pads": [3, 3, 3, 3]}), (8, 16, (3, 2), {"dilations": [2, 3], "pads": [2, 0, 2, 3]}),
    (16, 16, (5,), {"pads": [4, 0]}), (8, 16, (2, 3, 2), {"pads": [1, 1, 0, 0, 1, 1]})])
def test_convolutions(math, channels, filters, window, attributes, tmp_path):
    """Against ONNX Runtime's, of operands that are rounded before; its sums are f32, too, in another order."""
    dtype = FLOAT16 if math == "f16" else FLOAT
    source, w, b = convolution(channels, filters, window, dtype, **attributes)
    compiled, _ = compile_with(math, source, tmp_path)
    rounded = convolution(channels, filters, window, FLOAT, **attributes)[0]
    for initializer in rounded.graph.initializer:
        array = FORMATS[math](w) if initializer.name == "w" else b
        initializer.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), initializer.name))
    onnx.save(rounded, tmp_path / "r.onnx")
    for size in ((1, 9, 11, 7), (2, 12, 6, 5)):
        x = np.random.default_rng(1).uniform(-1, 1, (size[0], channels, *size[1:1 + len(window)])).astype(w.dtype)
        expected = run_reference(tmp_path / "r.onnx", {"x": FORMATS[math](x).astype(np.float32)})["y"]
        depth = w[0].size
        bound = 2 * (depth + 2) * 2.0**-24 * depth * np.abs(w).max()
        if math == "f16":  # the convolution is rounded, and so is the sum with the bias
            bound = bound + 2.0**-11 * (2 * np.abs(expected) + np.abs(b).max())
        assert np.all(np.abs(compiled(x=x)["y"] - expected) <= bound)


# -- Attention ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("math", ["bf16", "tf32", "f16"])
@pytest.mark.parametrize("heads,key_heads,depth,value_depth", [(2, 2, 32, 32), (4, 2, 64, 64), (2, 1, 128, 128), (1, 1, 80, 48)])
def test_attention(math, heads, key_heads, depth, value_depth, tmp_path):
    source = attention(heads, key_heads, depth, value_depth, FLOAT16 if math == "f16" else FLOAT)
    compiled, _ = compile_with(math, source, tmp_path)
    for queries, keys in ((1, 1), (5, 70), (64, 64), (70, 33), (130, 130)):
        check_attention(compiled, math, heads, key_heads, depth, value_depth, queries, keys)


@pytest.mark.parametrize("math", ["bf16", "f16"])
def test_attention_of_long_heads(math, tmp_path):
    compiled, _ = compile_with(math, attention(1, 1, 256, 256, FLOAT16 if math == "f16" else FLOAT), tmp_path)
    check_attention(compiled, math, 1, 1, 256, 256, 20, 50)


@pytest.mark.parametrize("math", ["bf16", "tf32"])
@pytest.mark.parametrize("length", [70, 200])
def test_causal_attention(math, length, tmp_path):
    compiled, _ = compile_with(math, attention(2, 1, 32, 32, is_causal=1), tmp_path)
    check_attention(compiled, math, 2, 1, 32, 32, length, length, is_causal=1)


@pytest.mark.parametrize("math", ["bf16", "tf32"])
def test_attention_with_masks_and_softcap(math, tmp_path):
    random = np.random.default_rng(0)
    keep = random.uniform(size=(40, 70)) < 0.7
    keep[:, 0] = True
    bias = random.standard_normal((2, 2, 40, 70)).astype(np.float32)
    compiled, _ = compile_with(math, attention(2, 2, 32, 32, mask=(BOOL, "S", "T")), tmp_path)
    check_attention(compiled, math, 2, 2, 32, 32, 40, 70, mask=keep)
    compiled, _ = compile_with(math, attention(2, 2, 32, 32, mask=(FLOAT, "B", 2, "S", "T"), softcap=2.0), tmp_path)
    check_attention(compiled, math, 2, 2, 32, 32, 40, 70, mask=bias, softcap=2.0)


@pytest.mark.parametrize("what", ["wait", "barrier:0", "barrier:1", "barrier:2"])
def test_what_attention_does_not_wait_for_is_seen(what, tmp_path, monkeypatch):
    compiled, _ = compile_with("bf16", attention(1, 1, 32, 32), tmp_path)
    assert_omission_is_seen(what, lambda: check_attention(compiled, "bf16", 1, 1, 32, 32, 64, 200), monkeypatch)


# -- Whole models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("math,bound", [("bf16", 0.02), ("tf32", 0.002)])
def test_minilm(math, bound, zoo, tmp_path):
    """The error is that of the operands' rounding, relative to the largest value."""
    compiled, report = compile_with(math, zoo["minilm"], tmp_path)
    random = np.random.default_rng(0)
    mask = np.ones((2, 24), np.int64)
    mask[1:, 15:] = 0
    inputs = {"input_ids": random.integers(0, 30522, (2, 24)), "attention_mask": mask, "token_type_ids": random.integers(0, 2, (2, 24))}
    expected, actual = run_reference(zoo["minilm"], inputs), compiled(inputs)
    for name, result in actual.items():
        error = compare(result, expected[name])["max_abs"] / np.abs(expected[name]).max()
        assert bound / 100 < error <= bound, name


@pytest.mark.parametrize("math,least,most", [("bf16", 2e-4, 0.02), ("tf32", 2e-5, 0.002), ("f32", 0, 1e-5)])
def test_squeezenet(math, least, most, tmp_path):
    """Convolutions of all kinds but depthwise ones."""
    onnx.save(topology("squeezenet"), tmp_path / "s.onnx")
    compiled, _ = compile_with(math, tmp_path / "s.onnx", tmp_path)
    (image,) = compiled.inputs
    inputs = {image.name: np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)}
    expected, actual = run_reference(tmp_path / "s.onnx", inputs), compiled(inputs)
    for name, result in actual.items():
        error = compare(result, expected[name])["max_abs"] / np.abs(expected[name]).max()
        assert least <= error <= most, name


@needs_ptxas
@pytest.mark.parametrize("math", ["bf16", "tf32"])
@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90a"])
def test_no_kernel_spills(math, architecture, zoo, tmp_path):
    _, report = compile_with(math, zoo["minilm"], tmp_path, f"cuda-{architecture}")
    assert_nothing_spills(report)


@needs_ptxas
@pytest.mark.parametrize("math", ["bf16", "tf32", "f32"])
def test_no_other_tile_spills(math, tmp_path):
    """Of windows, of weights that lie transposed, and of few rows."""
    few = product(512, 512)[0]
    for shape in (few.graph.input[0], few.graph.output[0]):
        shape.type.tensor_type.shape.dim[0].dim_value = 8
    turned = model([helper.make_node("Transpose", ["w"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["y"])],
                   [value("x", FLOAT, "N", 512), value("w", FLOAT, 1024, 512)], [value("y", FLOAT, "N", 1024)])
    for source in (few, turned, convolution(64, 128, (3, 3), FLOAT, pads=[1, 1, 1, 1])[0]):
        _, report = compile_with(math, source, tmp_path, "cuda-sm_80")
        assert_nothing_spills(report)


@needs_ptxas
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90a"])
def test_no_head_spills(architecture, tmp_path):
    for depth in (64, 128, 256):
        for math in ("bf16", "f16", "tf32"):
            source = attention(2, 2, depth, depth, FLOAT16 if math == "f16" else FLOAT, is_causal=1)
            _, report = compile_with(math, source, tmp_path, f"cuda-{architecture}")
            assert_nothing_spills(report, (depth, math))


def test_processors_do_not_multiply_tf32(tmp_path):
    said, _ = compile_for("x86-64-v3", product(8, 8)[0], tmp_path, check=False, options=["--math=tf32"])
    assert said.startswith("error[E0503]: only CUDA devices multiply tf32")


def test_heads_that_tensor_cores_do_not_multiply_are_told(tmp_path):
    _, report = compile_with("tf32", attention(1, 1, 160, 160), tmp_path)
    (said,) = [remark["message"] for remark in report["remarks"] if remark.get("pass") == "emit-cuda-kernels"]
    assert said.startswith("multiplied as f32, not by tensor cores: of heads of 160 and 160 features, with 4 bytes each, ")
