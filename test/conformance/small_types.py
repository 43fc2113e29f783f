# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Types of 8 bits and fewer: their values, and what ml_dtypes and ONNX's text say of conversions to them."""

import ml_dtypes
import numpy as np
from onnx import helper, numpy_helper

from nodes import lathe

FLOATS = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn",
          "float6_e2m3fn", "float6_e3m2fn"]
INTS = ["int4", "uint4", "int2", "uint2"]
SMALL = FLOATS + INTS
WIDE = ["float32", "float16", "bfloat16", "float64", "int32", "int64", "uint8", "int8", "bool"]


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, name))


def number_of(name):
    return helper.np_dtype_to_tensor_dtype(dtype_of(name))


def width_of(name):
    return int("".join(c for c in name.split("_")[0] if c.isdigit()))


def all_values(name):
    return np.arange(2 ** width_of(name), dtype=np.uint8).view(dtype_of(name))


def compile_nodes(nodes, inputs, constants=(), opt_level=2):
    """`inputs` are arrays by name; every node's outputs are the model's."""
    infos = [helper.make_tensor_value_info(name, number_of(array.dtype.name), array.shape)
             for name, array in inputs.items() if name not in constants]
    outputs = [helper.make_empty_tensor_value_info(name) for node in nodes for name in node.output]
    weights = [numpy_helper.from_array(inputs[name], name) for name in constants]
    graph = helper.make_graph(nodes, "graph", infos, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=14)
    return lathe.compile(model, opt_level=opt_level)


def run_nodes(nodes, inputs, constants=(), opt_level=2):
    model = compile_nodes(nodes, inputs, constants, opt_level)
    results = model({name: array for name, array in inputs.items() if name not in constants})
    return {info.name: results[info.name].view(dtype_of(info.element)) for info in model.outputs}


def cast(source, result, to, **attributes):
    return helper.make_node("Cast", [source], [result], name=f"/{result}", to=number_of(to), **attributes)


def assert_same(actual, expected, context=""):
    """The same numbers, zeros' signs included; any NaN is one."""
    assert actual.dtype == expected.dtype, context
    bits = f"u{expected.dtype.itemsize}"
    equal = actual.view(bits) == expected.view(bits)
    if expected.dtype.name not in INTS and expected.dtype.kind not in "biu":
        equal |= np.isnan(actual.astype("f8")) & np.isnan(expected.astype("f8"))
    wrong = np.flatnonzero(~equal)
    shown = [(int(i), actual.ravel()[i], expected.ravel()[i]) for i in wrong[:8]]
    assert wrong.size == 0, f"{context}: {wrong.size} of {equal.size} differ: {shown}"


def tensor_of(name, shape, seed=0):
    codes = np.random.default_rng(seed).integers(0, 2 ** width_of(name), shape, np.uint8)
    return codes.view(dtype_of(name))


def integers(name, values):
    return helper.make_node("Constant", [], [name], value_ints=values)


def interesting_numbers(name):
    """All numbers of a type, the middles between neighbours, and what lies next to both in f32; then what is far off."""
    codes = all_values(name)
    known = np.unique(codes.astype(np.float64)[np.isfinite(codes.astype(np.float64))])
    gaps = [(known[1:] + known[:-1]) / 2, known, known[-1:] * 2 - known[-2:-1] / 2, known[-1:] * 1.5]
    exact = np.concatenate(gaps).astype(np.float32)
    exact = np.concatenate([exact, -exact])
    near = [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))]
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38, 1e-38], np.float32)
    return np.concatenate([*near, special, np.random.default_rng(1).normal(0, 4, 999).astype(np.float32)])


def powers_of_two(x, saturate, mode):
    """f8E8M0FNU by ONNX's text, in f64: the numbers are 2^-127 to 2^127. For numbers that are not negative."""
    with np.errstate(all="ignore"):
        x = np.abs(x.astype(np.float64))
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(x))
        lower = np.exp2(exponent)
        # log2 may be off by one next to a power of two.
        exponent -= lower > x
        exponent += 2 * np.exp2(exponent) <= x
        lower = np.exp2(exponent)
        up = {"up": x > lower, "down": np.zeros(x.shape, bool), "nearest": x >= 1.5 * lower}[mode]
        code = exponent + up + 127
    low, high = np.nan_to_num(code, nan=0, posinf=999, neginf=-999) < 0, code > 254
    if saturate:
        code = np.where(low | (x == 0), 0, np.where(high, 254, code))
    else:
        # What is below the smallest number is no number, whichever way it is rounded.
        code = np.where((x < 2.0**-127) | high, 255, code)
    return np.where(np.isnan(x), 255, code).astype(np.uint8).view(ml_dtypes.float8_e8m0fnu)


def narrowed(x, name, saturate, mode="up"):
    to = dtype_of(name)
    if name == "float8_e8m0fnu":
        return powers_of_two(x, saturate, mode)
    with np.errstate(all="ignore"):
        if saturate and name.startswith("float8"):
            return numpy_helper.saturate_cast(x.astype(np.float64), to)
        return x.astype(to)


def round_modes(name):
    return ["up", "down", "nearest"] if name == "float8_e8m0fnu" else ["up"]
