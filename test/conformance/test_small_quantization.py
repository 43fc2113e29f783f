# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Quantization to types of 8 bits and fewer, and to those of 16."""

import pathlib
import sys

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from small_types import (INTS, SMALL, dtype_of, number_of, width_of, all_values, compile_nodes,
                         run_nodes, assert_same, narrowed, lathe)  # noqa: E402


QUANTIZED = [name for name in SMALL if name != "float8_e8m0fnu"] + ["int8", "uint8", "int16", "uint16"]
GRAINS = {"one": (), "each": (6,), "blocks": (4, 3, 2)}


def spread(parameters, shape):
    """Parameters of a grain as they stand beside a tensor of (4, 6, 2): by axis 1, or in blocks of 2 along it."""
    parameters = np.asarray(parameters)
    if parameters.ndim == 1:
        return parameters.reshape(-1, 1)
    return parameters.repeat(2, axis=1)[:, :shape[1]] if parameters.ndim == 3 else parameters


def limits(name):
    info = (ml_dtypes if name in SMALL else np).iinfo(dtype_of(name))
    return int(info.min), int(info.max)


def codes(rng, name, shape):
    if name in SMALL:
        return rng.integers(0, 2 ** width_of(name), shape, np.uint8).view(dtype_of(name))
    return rng.integers(*limits(name), shape, dtype_of(name), endpoint=True)


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", QUANTIZED)
def test_dequantize(name, grain):
    rng = np.random.default_rng(3)
    inputs, nodes, expected = {"x": codes(rng, name, (4, 6, 2))}, [], {}
    number = inputs["x"].astype(np.float32)
    attributes = {"axis": 1, "block_size": 2 if grain == "blocks" else 0}
    inputs["zero"] = codes(rng, name, GRAINS[grain]) if name in INTS or "int" in name else np.zeros(GRAINS[grain], dtype_of(name))
    for kind in ("float32", "float16", "bfloat16", "float8_e8m0fnu"):
        scale = np.exp2(rng.integers(-3, 3, GRAINS[grain])) if kind == "float8_e8m0fnu" else rng.uniform(0.1, 2, GRAINS[grain])
        inputs[kind] = np.asarray(scale).astype(dtype_of(kind))
        to = "bfloat16" if kind == "float8_e8m0fnu" else kind
        given = {"output_dtype": number_of(to)} if to != kind else {}
        for zero in (False, True):
            nodes.append(helper.make_node("DequantizeLinear", ["x", kind, *(["zero"] if zero else [])], [f"{kind}{zero}"],
                                          name=f"/{kind}{zero}", **attributes, **given))
            wide = number - spread(inputs["zero"], number.shape).astype(np.float32) if zero else number
            with np.errstate(all="ignore"):
                expected[f"{kind}{zero}"] = (wide * spread(inputs[kind], number.shape).astype(np.float32)).astype(dtype_of(to))
    got = run_nodes(nodes, inputs)
    for key, want in expected.items():
        assert_same(got[key], want, key)


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantize(name, grain):
    rng = np.random.default_rng(4)
    x = rng.normal(0, 40, (4, 6, 2)).astype(np.float32)
    x.reshape(-1)[:4] = [0.5, 1.5, 2.5, 6e4]  # ties, and what is beyond most types
    attributes = {"axis": 1, "block_size": 2 if grain == "blocks" else 0}
    is_integer = "int" in name
    inputs = {"x": x, "h": x.astype(np.float16), "i": np.rint(x).astype(np.int32)}
    inputs["zero"] = codes(rng, name, GRAINS[grain]) if is_integer else np.zeros(GRAINS[grain], dtype_of(name))
    inputs["scale"] = np.asarray(np.exp2(rng.integers(-2, 3, GRAINS[grain]))).astype(np.float32)
    inputs["uneven"] = np.asarray(rng.uniform(0.5, 3, GRAINS[grain])).astype(np.float32)
    inputs["half"] = inputs["uneven"].astype(np.float16)
    inputs["power"] = inputs["scale"].astype(ml_dtypes.float8_e8m0fnu)
    cases = {"even": ("x", "scale", True, {}), "uneven": ("x", "uneven", True, {}), "no_zero": ("x", "uneven", False, {}),
             "halves": ("h", "half", True, {}), "powers": ("x", "power", True, {}), "integers": ("i", "scale", True, {}),
             "precise": ("h", "half", True, {"precision": TensorProto.FLOAT}), "free": ("x", "scale", True, {"saturate": 0})}
    nodes, expected = [], {}
    for key, (source, scale, zero, extra) in cases.items():
        key = f"y_{key}"
        given = {} if zero else {"output_dtype": number_of(name)}
        nodes.append(helper.make_node("QuantizeLinear", [source, scale, *(["zero"] if zero else [])], [key], name=f"/{key}",
                                      **attributes, **extra, **given))
        precision = np.float32 if "precision" in extra or scale != "half" else np.float16  # of the scale, but for powers
        with np.errstate(all="ignore"):
            divided = inputs[source].astype(precision) / spread(inputs[scale], x.shape).astype(precision)
            if is_integer:
                whole = np.rint(divided).astype(np.float64) + (spread(inputs["zero"], x.shape).astype(np.float64) if zero else 0)
                expected[key] = np.clip(whole, *limits(name)).astype(np.int64).astype(dtype_of(name))
            else:
                # Adding a zero point of 0 makes -0 0.
                expected[key] = narrowed(divided + precision(0) if zero else divided, name, extra.get("saturate", 1))
    got = run_nodes(nodes, inputs)
    for key, want in expected.items():
        assert_same(got[key], want, key)


def test_integers_are_divided_exactly():
    x, scale = np.array([2**30 + 3, -7, 7], np.int32), np.array(2, np.int32)
    node = helper.make_node("QuantizeLinear", ["x", "scale"], ["y"], output_dtype=TensorProto.INT16)
    got = run_nodes([node], {"x": x, "scale": scale})
    np.testing.assert_array_equal(got["y"], [32767, -4, 4])


@pytest.mark.parametrize("node,code,message", [
    (helper.make_node("DequantizeLinear", ["x", "power"], ["y"]), "E0303", "output_dtype is missing beside a scale of f8E8M0FNU"),
    (helper.make_node("DequantizeLinear", ["x", "s"], ["y"], output_dtype=TensorProto.INT8), "E0304", "output_dtype is i8"),
    (helper.make_node("QuantizeLinear", ["s", "s"], ["y"], output_dtype=TensorProto.FLOAT8E8M0), "E0306", "f8E8M0FNU"),
    (helper.make_node("QuantizeLinear", ["s", "s"], ["y"], output_dtype=77), "E0304", "77"),
    (helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT8E8M0, round_mode="odd"), "E0304", 'round_mode is "odd"')])
def test_what_is_wrong_is_named(node, code, message):
    inputs = {"x": all_values("int4"), "s": np.ones((), np.float32), "power": np.ones((), ml_dtypes.float8_e8m0fnu)}
    with pytest.raises(lathe.ModelError, match=message) as caught:
        compile_nodes([node], {name: array for name, array in inputs.items() if name in node.input})
    assert caught.value.code == code


def test_one_scale_has_one_zero_point():
    node = helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["y"], name="/dequantize")
    infos = [helper.make_tensor_value_info("x", TensorProto.INT4, ["n"]), helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
             helper.make_tensor_value_info("zero", TensorProto.INT4, ["z"])]
    graph = helper.make_graph([node], "graph", infos, [helper.make_empty_tensor_value_info("y")])
    model = lathe.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11))
    x, scale = all_values("int4"), np.array(0.5, np.float32)
    got = model(x=x, scale=scale, zero=all_values("int4")[3:4])
    np.testing.assert_array_equal(got["y"], (x.astype(np.float32) - 3) / 2)
    with pytest.raises(lathe.ModelError, match="/dequantize"):
        model(x=x, scale=scale, zero=all_values("int4")[3:5])


@pytest.mark.parametrize("opt_level", [0, 2])
@pytest.mark.parametrize("name", ["int4", "uint4", "int2", "float4_e2m1fn", "float8_e4m3fn"])
def test_products_with_blocked_weights(name, opt_level):
    rng = np.random.default_rng(6)
    w = codes(rng, name, (256, 192)) if name != "float8_e4m3fn" else rng.normal(0, 1, (256, 192)).astype(dtype_of(name))
    zero = codes(rng, name, (8, 192)) if name in INTS else np.zeros((8, 192), dtype_of(name))
    inputs = {"x": rng.normal(size=(5, 256)).astype(np.float32), "w": w, "zero": zero,
              "scale": rng.uniform(0.01, 0.1, (8, 192)).astype(np.float32)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["wide"], axis=0, block_size=32),
             helper.make_node("MatMul", ["x", "wide"], ["y"])]
    got = run_nodes(nodes, inputs, ["w", "zero", "scale"], opt_level)
    wide = (w.astype(np.float32) - zero.astype(np.float32).repeat(32, 0)) * inputs["scale"].repeat(32, 0)
    assert_same(got["wide"], wide)
    exact = inputs["x"].astype("f8") @ wide.astype("f8")
    bound = 256 * 2.0**-24 * (np.abs(inputs["x"]).astype("f8") @ np.abs(wide).astype("f8"))
    assert (np.abs(got["y"] - exact) <= bound).all()
@pytest.mark.parametrize("kinds", [("float8_e4m3fn",) * 3, ("float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
                                   ("float8_e4m3fn", "int8", "uint8"), ("uint8", "int8", "float8_e4m3fn")])
def test_products_of_small_floats(kinds):
    rng = np.random.default_rng(5)
    a, b = (rng.integers(0, 16, shape).astype(dtype_of(kind)) for kind, shape in zip(kinds, [(4, 7), (7, 5)]))
    inputs = {"a": a, "a_scale": np.float32(0.5), "a_zero": np.ones((), a.dtype), "b": b,
              "b_scale": rng.uniform(0.1, 1, 5).astype(np.float32), "b_zero": np.ones(5, b.dtype),
              "y_scale": np.float32(4), "y_zero": np.ones((), dtype_of(kinds[2]))}
    inputs = {name: np.asarray(array) for name, array in inputs.items()}
    got = run_nodes([helper.make_node("QLinearMatMul", list(inputs), ["y"])], inputs)
    sums = (a.astype(np.float32) - 1) @ (b.astype(np.float32) - 1)
    scaled = sums * (np.float32(0.5) * inputs["b_scale"] / np.float32(4))
    if kinds[2] == "uint8":
        want = np.clip(np.rint(scaled) + 1, 0, 255).astype(np.uint8)
    else:
        want = narrowed(scaled + np.float32(1), kinds[2], True)
    assert_same(got["y"], want)


