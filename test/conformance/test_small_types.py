# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Types of 8 bits and fewer: every value of every type, against ml_dtypes and against what ONNX's text says."""

import functools
import pathlib
import sys

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import lathe  # noqa: E402

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


#===------------------------------------------------------------------------------------------------------------------===#
# Widening
#===------------------------------------------------------------------------------------------------------------------===#


@pytest.mark.parametrize("opt_level", [0, 2])
@pytest.mark.parametrize("constant", [False, True], ids=["run", "folded"])
@pytest.mark.parametrize("name", SMALL)
def test_every_value_is_cast_to_wide_types(name, constant, opt_level):
    x = all_values(name)
    # Where a cast of a float to an integer is determined.
    number = x.astype(np.float64)
    results = {}
    with np.errstate(all="ignore"):
        for to in WIDE:
            results[to] = number.astype(np.float32).astype(dtype_of(to))
    got = run_nodes([cast("x", to, to) for to in WIDE], {"x": x}, ["x"] if constant else [], opt_level)
    for to in WIDE:
        fits = np.ones(x.shape, bool)
        if dtype_of(to).kind in "iu":
            info = np.iinfo(to)
            fits = (number >= info.min) & (number < float(info.max) + 1)
        assert_same(got[to][fits], results[to][fits], f"{name} to {to}")


#===------------------------------------------------------------------------------------------------------------------===#
# Narrowing
#===------------------------------------------------------------------------------------------------------------------===#


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


@pytest.mark.parametrize("opt_level", [0, 2])
@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("name", FLOATS)
def test_f32_to_small_floats(name, saturate, opt_level):
    x = interesting_numbers(name)
    modes = round_modes(name)
    got = run_nodes([cast("x", mode, name, saturate=saturate, round_mode=mode) for mode in modes], {"x": x},
                    opt_level=opt_level)
    for mode in modes:
        assert_same(got[mode], narrowed(x, name, saturate, mode), f"{name} {mode}")


@pytest.mark.parametrize("name", FLOATS)
def test_folding_agrees_with_kernels(name):
    x = interesting_numbers(name)[::len(interesting_numbers(name)) // 200]
    modes = round_modes(name)
    nodes = [cast("x", mode + str(s), name, saturate=s, round_mode=mode) for mode in modes for s in (0, 1)]
    folded, run = run_nodes(nodes, {"x": x}, ["x"]), run_nodes(nodes, {"x": x})
    for key in run:
        assert_same(folded[key], run[key], key)


@pytest.mark.parametrize("name", FLOATS)
def test_every_f16_and_bf16_to_small_floats(name):
    every = np.arange(2**16, dtype=np.uint16)
    inputs = {"h": every.view(np.float16), "b": every.view(ml_dtypes.bfloat16)}
    nodes = [cast(key, f"{key}{s}", name, saturate=s) for key in inputs for s in (0, 1)]
    got = run_nodes(nodes, inputs)
    for key, x in inputs.items():
        x = x.astype(np.float32)
        # A NaN where there is none is -0, or 0 as ml_dtypes has it for negative ones: neither is a number.
        fits = ~np.isnan(x) if name.startswith(("float4", "float6")) else np.ones(x.shape, bool)
        for s in (0, 1):
            assert_same(got[f"{key}{s}"][fits], narrowed(x, name, s)[fits], f"{key} {s}")


@pytest.mark.parametrize("name", FLOATS)
def test_f64_is_rounded_once(name):
    exact = interesting_numbers(name).astype(np.float64)
    exact = exact[np.isfinite(exact)]
    # Next to a tie by less than f32 can tell.
    x = np.concatenate([exact, exact * (1 + 2.0**-50), exact * (1 - 2.0**-50)])
    got = run_nodes([cast("x", "y", name, saturate=1), cast("x", "z", name, saturate=0)], {"x": x})
    # ml_dtypes converts f64 to some types by way of f32: rounded to odd, that is exact.
    near = x.astype(np.float32)
    bits = near.view(np.uint32)
    away = np.abs(near.astype(np.float64)) < np.abs(x)
    step = np.where(near.astype(np.float64) == x, 0, np.where(away, 1, -1)) * (bits % 2 == 0)
    odd = (bits + step).astype(np.uint32).view(np.float32)
    assert_same(got["y"], narrowed(odd, name, True), "saturated")
    assert_same(got["z"], narrowed(odd, name, False), "not saturated")


@pytest.mark.parametrize("name", INTS)
def test_wide_types_to_small_integers(name):
    numbers = np.arange(-40, 41)
    inputs = {kind: numbers.astype(kind) for kind in ("int64", "int32", "int8", "float32", "float64", "float16")}
    inputs["uint8"] = np.arange(81, dtype=np.uint8)
    inputs["bool"] = numbers % 2 == 0
    got = run_nodes([cast(key, "to_" + key, name) for key in inputs], inputs)
    for key, x in inputs.items():
        # As ONNX has it for integers, and its tests for floats: the last bits stay.
        bits = x.astype(np.int64) & (2 ** width_of(name) - 1)
        assert_same(got["to_" + key], bits.astype(np.uint8).view(dtype_of(name)), key)


@pytest.mark.parametrize("name", SMALL)
def test_every_small_type_to_every_other(name):
    x = all_values(name)
    number = x.astype(np.float32)
    got = run_nodes([cast("x", to, to) for to in SMALL if to != name], {"x": x})
    for to, y in got.items():
        if to in FLOATS:
            fits = ~np.isnan(number) if to.startswith(("float4", "float6")) else np.ones(x.shape, bool)
            assert_same(y[fits], narrowed(number[fits], to, True), to)
        else:
            fits = np.abs(number) < 2**31
            bits = number[fits].astype(np.int64) & (2 ** width_of(to) - 1)
            assert_same(y[fits], bits.astype(np.uint8).view(dtype_of(to)), to)


#===------------------------------------------------------------------------------------------------------------------===#
# Movement
#===------------------------------------------------------------------------------------------------------------------===#


def tensor_of(name, shape, seed=0):
    codes = np.random.default_rng(seed).integers(0, 2 ** width_of(name), shape, np.uint8)
    return codes.view(dtype_of(name))


def integers(name, values):
    return helper.make_node("Constant", [], [name], value_ints=values)


MOVES = {
    "Identity": (["x"], {}, lambda x: x), "Transpose": (["x"], {"perm": [2, 0, 1]}, lambda x: x.transpose(2, 0, 1)),
    "Flatten": (["x"], {"axis": 2}, lambda x: x.reshape(-1, x.shape[2])),
    "Reshape": (["x", "shape"], {}, lambda x: x.reshape(4, -1)),
    "Squeeze": (["row", "zero"], {}, lambda x: x[0]), "Unsqueeze": (["x", "zero"], {}, lambda x: x[None]),
    "Pad": (["x", "pads"], {}, lambda x: np.pad(x.view("u1"), [(0, 1), (2, 0), (1, 3)]).view(x.dtype)),
    "Expand": (["row", "larger"], {}, lambda x: np.broadcast_to(x[:1], (3, *x.shape[1:]))),
    "Gather": (["x", "picked"], {"axis": 1}, lambda x: x[:, [3, 0, 0]]),
    "Slice": (["x", "last", "before", "axis", "back"], {}, lambda x: x[:, :, ::-2]),
    "Concat": (["x", "row"], {"axis": 0}, lambda x: np.concatenate([x, x[:1]])),
    "Where": (["chosen", "x", "row"], {}, None), "Tile": (["x", "repeats"], {}, lambda x: np.tile(x, (1, 2, 3)))}


@pytest.mark.parametrize("opt_level", [0, 2])
@pytest.mark.parametrize("name", SMALL)
def test_what_only_moves_data(name, opt_level):
    """All operators that move data take these types, also where ONNX's list of types is shorter."""
    x = tensor_of(name, (4, 6, 35))
    chosen = np.random.default_rng(2).integers(0, 2, x.shape).astype(bool)
    expected = {op: move(x if inputs[0] == "x" else x[:1]) for op, (inputs, _, move) in MOVES.items() if move}
    expected["Where"] = np.where(chosen, x.view("u1"), x[:1].view("u1")).view(x.dtype)
    numbers = {"shape": [4, -1], "zero": [0], "pads": [0, 2, 1, 1, 0, 3], "larger": [3, 1, 1], "picked": [3, 0, 0],
               "last": [34], "before": [-99], "axis": [2], "back": [-2], "repeats": [1, 2, 3]}
    nodes = [integers(key, values) for key, values in numbers.items()]
    moves = []
    for op, (inputs, attributes, _) in MOVES.items():
        moves.append(helper.make_node(op, inputs, [f"y_{op}"], name=f"/{op}", **attributes))
    infos = [helper.make_tensor_value_info("x", number_of(name), x.shape),
             helper.make_tensor_value_info("row", number_of(name), (1, *x.shape[1:])),
             helper.make_tensor_value_info("chosen", TensorProto.BOOL, x.shape)]
    outputs = [helper.make_empty_tensor_value_info(f"y_{op}") for op in MOVES]
    model = helper.make_model(helper.make_graph(nodes + moves, "graph", infos, outputs),
                              opset_imports=[helper.make_opsetid("", 28)], ir_version=14)
    compiled = lathe.compile(model, opt_level=opt_level)
    got = compiled(x=x, row=np.ascontiguousarray(x[:1]), chosen=chosen)
    for op, want in expected.items():
        np.testing.assert_array_equal(got[f"y_{op}"], np.ascontiguousarray(want).view("u1"), err_msg=op)


@pytest.mark.parametrize("rows", [4, 700], ids=["small", "weight"])
@pytest.mark.parametrize("name", SMALL)
def test_initializers(name, rows):
    """In the file they are packed; more than a KiB of them is a weight of the artifact."""
    w = tensor_of(name, (rows, 13))
    got = run_nodes([helper.make_node("Transpose", ["w"], ["turned"]), helper.make_node("Identity", ["w"], ["same"]),
                     cast("w", "wide", "float32"), cast("x", "y", "float32")],
                    {"w": w, "x": tensor_of(name, (3,))}, ["w"])
    assert_same(got["same"], w)
    assert_same(got["turned"], np.ascontiguousarray(w.T))
    assert_same(got["wide"], w.astype(np.float32))


@pytest.mark.parametrize("name", SMALL)
def test_control_flow(name):
    x = tensor_of(name, (2, 5))
    kind = number_of(name)
    branches = {branch: helper.make_graph([helper.make_node(op, ["x"], ["z"], **attributes)], branch, [],
                                          [helper.make_tensor_value_info("z", kind, None)])
                for branch, op, attributes in [("then_branch", "Identity", {}), ("else_branch", "Transpose", {})]}
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes"]), helper.make_node("Transpose", ["v"], ["next"]),
         helper.make_node("Identity", ["v"], ["seen"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("going", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v", kind, ["a", "b"])],
        [helper.make_tensor_value_info("goes", TensorProto.BOOL, []), helper.make_tensor_value_info("next", kind, ["b", "a"]),
         helper.make_tensor_value_info("seen", kind, ["a", "b"])])
    square = tensor_of(name, (3, 3), seed=4)
    nodes = [helper.make_node("If", ["condition"], ["chosen"], name="/If", **branches),
             helper.make_node("Loop", ["count", "", "square"], ["last", "all"], name="/Loop", body=body)]
    infos = [helper.make_tensor_value_info("condition", TensorProto.BOOL, []), helper.make_tensor_value_info("x", kind, [2, 5]),
             helper.make_tensor_value_info("square", kind, [3, 3])]
    outputs = [helper.make_tensor_value_info(n, kind, None) for n in ("chosen", "last", "all")]
    graph = helper.make_graph([integers("three", [3]), helper.make_node("Squeeze", ["three"], ["count"]), *nodes], "graph",
                              infos, outputs)
    model = lathe.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=14))
    for condition in (True, False):
        got = model(condition=np.array(condition), x=x, square=square)
        np.testing.assert_array_equal(got["chosen"], (x if condition else x.T).view("u1"))
        np.testing.assert_array_equal(got["last"], square.T.view("u1"))
        np.testing.assert_array_equal(got["all"], np.stack([square, square.T, square]).view("u1"))


@pytest.mark.parametrize("name", SMALL)
def test_constants_of_a_shape(name):
    value = helper.make_tensor("v", number_of(name), [1], [1.0])
    got = run_nodes([helper.make_node("ConstantOfShape", ["n"], ["y"], value=value)], {"n": np.array([3, 400])})
    assert_same(got["y"], np.ones((3, 400), dtype_of(name)))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
def test_predicates(name):
    x = all_values(name)
    number = x.astype(np.float64)
    nodes = [helper.make_node("IsNaN", ["x"], ["nan"]), helper.make_node("IsInf", ["x"], ["inf"]),
             helper.make_node("IsInf", ["x"], ["above"], detect_negative=0)]
    got = run_nodes(nodes, {"x": x})
    assert_same(got["nan"], np.isnan(number))
    assert_same(got["inf"], np.isinf(number))
    assert_same(got["above"], number == np.inf)


@pytest.mark.parametrize("name", SMALL)
def test_bits(name):
    """BitCast between types of one width."""
    x = all_values(name)
    partners = [other for other in SMALL if width_of(other) == width_of(name) and other != name]
    partners += ["int8", "uint8"] if width_of(name) == 8 else []
    partners = [other for other in partners if not other.startswith("float6")]
    got = run_nodes([helper.make_node("BitCast", ["x"], [to], to=number_of(to)) for to in partners], {"x": x}) if partners else {}
    for to, y in got.items():
        assert_same(y, x.view(dtype_of(to)), to)


#===------------------------------------------------------------------------------------------------------------------===#
# Borders
#===------------------------------------------------------------------------------------------------------------------===#


def test_bits_fit_instead_of_numbers():
    model = compile_nodes([cast("x", "y", "float32")], {"x": all_values("int4")})
    assert (model.inputs[0].element, model.inputs[0].dtype) == ("int4", np.uint8)
    np.testing.assert_array_equal(model(x=np.arange(16, dtype=np.uint8))["y"], [*range(8), *range(-8, 0)])


def test_other_types_are_refused():
    model = compile_nodes([cast("x", "y", "float32")], {"x": all_values("int4")})
    with pytest.raises(lathe.ModelError, match="has type int8, expects uint8, the bits of int4") as caught:
        model(x=np.zeros(16, np.int8))
    assert caught.value.code == "E0702"


def test_strides_of_small_elements():
    x = tensor_of("int4", (16,)).repeat(2)[::2]
    model = compile_nodes([cast("x", "y", "int32")], {"x": x})
    np.testing.assert_array_equal(model(x=x)["y"], x.astype(np.int32))


#===------------------------------------------------------------------------------------------------------------------===#
# Quantization
#===------------------------------------------------------------------------------------------------------------------===#

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
