# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Types of 8 bits and fewer: every value of every type is converted to and from every other."""

import pathlib
import sys

import ml_dtypes
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from small_types import (FLOATS, INTS, SMALL, WIDE, dtype_of, width_of, all_values,
                         compile_nodes, run_nodes, cast, assert_same, tensor_of, integers, interesting_numbers,
                         narrowed, round_modes, lathe)  # noqa: E402


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
