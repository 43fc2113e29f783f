# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that ONNX Runtime's quantizer wrote run on integers throughout, and give what ONNX Runtime gives."""

import json
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import lathe
from lathe.compiler import driver
from lathe.zoo import quantized

# ONNX Runtime adds pairs of products in 16 bits without VNNI, where signed weights of more than 7 bits overflow.
HAS_VNNI = any(flag in pathlib.Path("/proc/cpuinfo").read_text().split() for flag in ("avx512_vnni", "avx_vnni"))


def network():
    """A small residual network: every kind of operator that one of its family has."""
    rng = np.random.default_rng(0)
    constants, nodes = {}, []

    def convolution(x, y, maps, channels, window, **attributes):
        constants[f"{y}_w"] = rng.standard_normal((maps, channels, window, window)) * np.sqrt(2 / (channels * window**2))
        constants[f"{y}_b"] = rng.standard_normal(maps) * 0.1
        nodes.append(helper.make_node("Conv", [x, f"{y}_w", f"{y}_b"], [y], y, **attributes))

    convolution("x", "a", 64, 3, 7, strides=[2, 2], pads=[3, 3, 3, 3])
    nodes.append(helper.make_node("Relu", ["a"], ["ar"]))
    nodes.append(helper.make_node("MaxPool", ["ar"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
    convolution("p", "b", 64, 64, 3, pads=[1, 1, 1, 1])
    nodes.append(helper.make_node("Relu", ["b"], ["br"]))
    convolution("br", "c", 128, 64, 1)
    convolution("p", "d", 128, 64, 1)
    nodes.append(helper.make_node("Add", ["c", "d"], ["e"]))
    nodes.append(helper.make_node("Relu", ["e"], ["er"]))
    convolution("er", "f", 128, 1, 3, group=128, pads=[1, 1, 1, 1])
    nodes.append(helper.make_node("GlobalAveragePool", ["f"], ["g"]))
    nodes.append(helper.make_node("Flatten", ["g"], ["h"]))
    constants["fc"] = rng.standard_normal((10, 128)) * 0.1
    constants["fc_b"] = rng.standard_normal(10) * 0.1
    nodes.append(helper.make_node("Gemm", ["h", "fc", "fc_b"], ["y"], "gemm", transB=1))
    graph = helper.make_graph(
        nodes, "network", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 56, 56))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))],
        [numpy_helper.from_array(array.astype("f4"), name) for name, array in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_network_of_measured_ranges(tmp_path):
    rng = np.random.default_rng(1)
    pictures = [{"x": rng.standard_normal((1, 3, 56, 56)).astype("f4")} for _ in range(3)]
    path = tmp_path / "network.onnx"
    quantized.quantize_static(network(), pictures, path, reduce_range=not HAS_VNNI)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    artifact, report = tmp_path / "network.so", tmp_path / "report.json"
    subprocess.run([driver(), "compile", path, "-o", artifact, "--report", report], check=True, capture_output=True)
    model = lathe.load(artifact)
    for inputs in pictures:
        want, got = session.run(None, inputs)[0], model(**inputs)["y"]
        # Ranges of 8 bits: a step of the result is a 255th of what it spans, and each layer may round the other way.
        step = (want.max() - want.min()) / 255
        np.testing.assert_allclose(got, want, atol=4 * step, rtol=0)
    remarks = json.loads(report.read_text())["remarks"]
    done = [remark for remark in remarks if remark["pass"] == "nn-fuse-quantized" and remark["kind"] == "passed"]
    products = [node for node in onnx.load(path).graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(done) == len(products) == 6


def test_products_of_dynamic_ranges(tmp_path):
    rng = np.random.default_rng(2)
    constants = {"v": rng.standard_normal((64, 192)), "w": rng.standard_normal((192, 10))}
    nodes = [helper.make_node("MatMul", ["x", "v"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("MatMul", ["b", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "products", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 10))],
        [numpy_helper.from_array(array.astype("f4"), name) for name, array in constants.items()])
    floats, path = tmp_path / "floats.onnx", tmp_path / "integers.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), floats)
    quantized.quantize_dynamic(floats, path, reduce_range=not HAS_VNNI)
    assert [node.op_type for node in onnx.load(path).graph.node].count("MatMulInteger") == 2
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    model = lathe.compile(path)
    for rows in (1, 7, 40):
        x = rng.standard_normal((rows, 64)).astype("f4")
        want = session.run(None, {"x": x})[0]
        # A number of the middle may be rounded the other way: one step of 255, times a weight of about 3.
        np.testing.assert_allclose(model(x=x)["y"], want, atol=0.02 * np.abs(want).max(), rtol=0)


@pytest.mark.parametrize("zero", [0, 1, 7])
@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16"])
def test_quantized_numbers_are_the_nearest(kind, zero):
    """Ties go to even before the zero point is added, what lies beyond becomes the least or the greatest, NaN 0; and what is
    dequantized in the same kernel is the same."""
    limits = np.iinfo(kind)
    most, least = limits.max - zero, limits.min - zero
    ties = np.arange(-20, 20) + 0.5
    beside = np.nextafter(ties.astype("f4"), np.float32(0))
    bounds = [*(most + ties), *(least + ties), 1e30, -1e30, np.inf, -np.inf, np.nan, -0.0, 2.0**22 + 0.5, -(2.0**22) - 0.5]
    x = np.concatenate([ties, beside, bounds, np.linspace(-70000, 70000, 997)]).astype("f4")
    constants = {"one": np.float32(1), "zero": np.array(zero, kind)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]), helper.make_node("Neg", ["x"], ["n"]),
             helper.make_node("QuantizeLinear", ["n", "one", "zero"], ["p"]),
             helper.make_node("DequantizeLinear", ["p", "one", "zero"], ["d"])]
    graph = helper.make_graph(
        nodes, "numbers", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("q", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), x.shape),
         helper.make_tensor_value_info("d", TensorProto.FLOAT, x.shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()])
    results = lathe.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))(x=x)

    def oracle(numbers):
        rounded = np.rint(numbers.astype("f8")) + zero
        return np.where(np.isnan(rounded), 0, np.clip(rounded, limits.min, limits.max))

    np.testing.assert_array_equal(results["q"], oracle(x).astype(kind))
    np.testing.assert_array_equal(results["d"], (oracle(-x) - zero).astype("f4"))
