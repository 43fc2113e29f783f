# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every kind of the pointwise ops, by their reference lowering, against numpy."""

import math
import os

import ml_dtypes
import numpy as np
import pytest

import accuracy
from harness import BF16, Faults, run

rng = np.random.default_rng(7)
FLOATS = [np.float32, np.float64, np.float16, BF16]
INTS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.0, -3.25, 100.0, -100.0, np.inf, -np.inf, np.nan]


def unary(kind, x, dtype=None, extra=""):
    x = np.asarray(x)
    return run(f"%r = nn.unary {kind} %a0 {extra} : {{0}} -> {{out}}", [x], x.shape, dtype or x.dtype)


def binary(kind, x, y):
    x, y = np.asarray(x), np.asarray(y)
    return run(f"%r = nn.binary {kind} %a0, %a1 : {{0}}, {{1}} -> {{out}}", [x, y], np.broadcast_shapes(x.shape, y.shape),
               x.dtype)


erf = np.vectorize(math.erf, otypes=[np.float64])
EXACT = {
    "abs": np.abs, "neg": np.negative, "sign": np.sign, "ceil": np.ceil, "floor": np.floor, "round": np.round,
    "sqrt": np.sqrt, "relu": lambda x: np.where(x < 0, 0, x), "reciprocal": lambda x: 1 / x,
}
CLOSE = {
    "rsqrt": lambda x: 1 / np.sqrt(x), "exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "erf": erf, "gelu": lambda x: x / 2 * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)), "softplus": lambda x: np.logaddexp(x, 0),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh,
}
# x * sigmoid(x) and the like vanish at minus infinity, where the formula has no value.
VANISHES = {"gelu", "gelu_tanh", "silu"}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", EXACT)
def test_exact_float_kinds(kind, dtype):
    x = np.concatenate([SPECIAL, rng.normal(size=50) * 10]).astype(dtype)
    with np.errstate(all="ignore"):
        want = EXACT[kind](x.astype(np.float64)).astype(dtype) if dtype != np.float32 else EXACT[kind](x)
    np.testing.assert_array_equal(unary(kind, x).astype(np.float64), want.astype(np.float64))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", CLOSE)
def test_other_float_kinds(kind, dtype):
    x = np.concatenate([SPECIAL, rng.normal(size=50) * 10]).astype(dtype)
    with np.errstate(all="ignore"):
        want = CLOSE[kind](x.astype(np.float64))
        if kind in VANISHES:
            want[np.isneginf(x.astype(np.float64))] = 0
        if kind == "hard_swish":
            # -inf * 0
            want[np.isneginf(x.astype(np.float64))] = np.nan
        want = want.astype(dtype)
    rtol = {4: 1e-6, 8: 1e-14, 2: float(ml_dtypes.finfo(dtype).eps)}[np.dtype(dtype).itemsize]
    # numpy's formulas above cancel in the tails.
    np.testing.assert_allclose(unary(kind, x).astype(np.float64), want.astype(np.float64), rtol=rtol,
                               atol=1e-12 if dtype != np.float64 else 1e-15)


@pytest.mark.parametrize("name", sorted(accuracy.REFERENCE))
@pytest.mark.parametrize("is_f32", [True, False], ids=["f32", "f64"])
def test_units_in_the_last_place(name, is_f32):
    # Every f32 with LATHE_TEST_FULL=1: a minute a function.
    everything = is_f32 and bool(os.environ.get("LATHE_TEST_FULL"))
    error, where = accuracy.largest_error(name, is_f32, everything, optimization="-O2")
    assert error <= accuracy.LIMITS.get(name, 2), f"{error} units at {where!r}"


def test_hard_sigmoid_parameters():
    x = np.linspace(-3, 3, 13, dtype=np.float32)
    got = unary("hard_sigmoid", x, extra="alpha(0.5) beta(0.25)")
    np.testing.assert_allclose(got, np.clip(0.5 * x + 0.25, 0, 1), rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_predicates(dtype):
    x = np.array(SPECIAL, dtype)
    np.testing.assert_array_equal(unary("is_nan", x, np.bool_), np.isnan(x))
    np.testing.assert_array_equal(unary("is_inf", x, np.bool_), np.isinf(x))


@pytest.mark.parametrize("dtype", INTS)
def test_integer_unary(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, info.min + 1, 0, 1, 5, info.max], dtype)
    with np.errstate(all="ignore"):
        kinds = {"abs": np.abs, "sign": np.sign, "relu": lambda x: np.maximum(x, 0)}
        if info.min < 0:
            kinds["neg"] = np.negative
        for kind, function in kinds.items():
            np.testing.assert_array_equal(unary(kind, x), function(x), kind)


def test_not():
    x = np.array([True, False, True])
    np.testing.assert_array_equal(unary("not", x), ~x)


@pytest.mark.parametrize("dtype", INTS)
def test_integer_arithmetic(dtype):
    info = np.iinfo(dtype)
    values = np.unique(np.array([info.min, info.min + 1, info.min // 2, 0, 1, 2, 3, 7, info.max - 1, info.max], dtype))
    if info.min < 0:
        values = np.concatenate([values, np.array([-1, -2, -7], dtype)])
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        for kind, function in {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum,
                               "min": np.minimum, "and": np.bitwise_and, "or": np.bitwise_or,
                               "xor": np.bitwise_xor}.items():
            np.testing.assert_array_equal(binary(kind, x, y), function(x, y), kind)
        for kind in ("div", "mod", "fmod"):
            with pytest.raises(Faults):
                binary(kind, x, y)
        x, y = x[y != 0], y[y != 0]
        for kind, function in {"mod": np.mod, "fmod": np.fmod}.items():
            np.testing.assert_array_equal(binary(kind, x, y), function(x, y), kind)
    exact = [abs(int(a)) // abs(int(b)) * (1 if (a < 0) == (b < 0) else -1) for a, b in zip(x, y)]
    want = np.array([(v + (1 << 64)) % (1 << 64) for v in exact], np.uint64).astype(dtype)
    np.testing.assert_array_equal(binary("div", x, y), want)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_integer_pow(dtype):
    x = np.array([0, 1, 2, 3, 5, 2, 10, 0], dtype)
    y = np.array([0, 9, 7, 4, 2, 0, 2, 3], dtype)
    np.testing.assert_array_equal(binary("pow", x, y), x**y)


def test_integer_pow_of_negative_numbers():
    x = np.array([-1, -1, 1, 2, -2, 0], np.int32)
    y = np.array([-3, -2, -5, -1, 3, -1], np.int32)
    np.testing.assert_array_equal(binary("pow", x, y), [-1, 1, 1, 0, -8, 0])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["add", "sub", "mul", "div", "max", "min", "fmod", "mod", "pow"])
def test_float_binary(kind, dtype):
    values = np.array(SPECIAL, np.float64)
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(values, values))
    x = np.concatenate([x, (rng.normal(size=200) * 50).astype(dtype)])
    y = np.concatenate([y, (rng.normal(size=200) * 5).astype(dtype)])
    function = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum,
                "min": np.minimum, "fmod": np.fmod, "mod": np.mod, "pow": np.power}[kind]
    wide = np.float64 if dtype in (np.float16, BF16) else dtype
    if kind == "mod":
        # In numpy the remainder by an infinity of the other sign is that infinity; so it is here.
        function = lambda a, b: np.where(np.isinf(b) & np.isfinite(a) & (a != 0) & ((a < 0) != (b < 0)), b, np.mod(a, b))
    with np.errstate(all="ignore"):
        if kind == "pow" and dtype != np.float64:
            want = np.power(x.astype(np.float64), y.astype(np.float64)).astype(dtype)
        else:
            want = function(x.astype(wide), y.astype(wide)).astype(dtype)
    rtol = {4: 1.2e-7, 8: 5e-16, 2: float(ml_dtypes.finfo(dtype).eps)}[np.dtype(dtype).itemsize] if kind == "pow" else 0
    got = binary(kind, x, y).astype(np.float64)
    np.testing.assert_allclose(got, want.astype(np.float64), rtol=rtol, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_remainder_of_huge_quotients_is_exact(dtype):
    info = np.finfo(dtype)
    x = np.array([info.max, info.max, 1e30, 12345.678, info.smallest_subnormal * 7, 1e10], dtype)
    y = np.array([info.smallest_subnormal * 3, 0.1, 1e-30, 1e-3, info.smallest_subnormal * 4, 3.0], dtype)
    np.testing.assert_array_equal(binary("fmod", x, y), np.fmod(x, y))
    np.testing.assert_array_equal(binary("fmod", -x, y), np.fmod(-x, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pow_of_large_and_small_numbers(dtype):
    info = np.finfo(dtype)
    x = np.exp(rng.uniform(np.log(info.tiny), np.log(info.max), 5000)).astype(dtype)
    y = (rng.uniform(-1, 1, 5000) * np.log(float(info.max)) / np.abs(np.log(x.astype(np.float64)))).astype(dtype)
    want = np.power(x.astype(np.longdouble), y.astype(np.longdouble)).astype(dtype)
    normal = np.abs(want) > info.tiny
    np.testing.assert_allclose(binary("pow", x, y)[normal], want[normal], rtol=2 * info.eps)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, -1.0, 0.5, 0.25])
def test_pow_with_constant_exponent(exponent):
    x = np.array(SPECIAL, np.float32)
    got = run(f"%c = arith.constant dense<{exponent}> : tensor<f32>\n"
              "%r = nn.binary pow %a0, %c : {0}, tensor<f32> -> {out}", [x], x.shape, np.float32)
    with np.errstate(all="ignore"):
        # An array of exponents: for a scalar 0.5 numpy takes the square root, which differs at -0 and -inf.
        want = np.power(x.astype(np.float64), np.full(x.shape, exponent)).astype(np.float32)
    np.testing.assert_allclose(got, want, rtol=1.2e-7)


@pytest.mark.parametrize("kind", ["and", "or", "xor"])
def test_bool_binary(kind):
    x, y = np.array([0, 0, 1, 1], np.bool_), np.array([0, 1, 0, 1], np.bool_)
    function = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[kind]
    np.testing.assert_array_equal(binary(kind, x, y), function(x, y))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, np.bool_])
def test_comparisons(dtype):
    if dtype == np.bool_:
        values = np.array([False, True])
    elif dtype in INTS:
        values = np.array([np.iinfo(dtype).min, 0, 1, np.iinfo(dtype).max], dtype)
    else:
        values = np.array(SPECIAL, dtype)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    for kind, function in {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
                           "ge": np.greater_equal}.items():
        if dtype == np.bool_ and kind not in ("eq", "ne"):
            continue
        got = run(f"%r = nn.compare {kind} %a0, %a1 : {{0}}, {{1}} -> {{out}}", [x, y], x.shape, np.bool_)
        np.testing.assert_array_equal(got, function(x, y), kind)


def test_select():
    c = rng.integers(0, 2, (3, 1)).astype(np.bool_)
    x, y = rng.normal(size=(3, 4)).astype(np.float32), np.float32(2.5)
    got = run("%r = nn.select %a0, %a1, %a2 : {0}, {1}, {2} -> {out}", [c, x, y], (3, 4), np.float32)
    np.testing.assert_array_equal(got, np.where(c, x, y))


def saturate(x, dtype):
    """Float to integer: truncated, to the nearest number of the type; NaN to 0."""
    info = np.iinfo(dtype)
    result = []
    for v in x.astype(np.float64):
        if np.isnan(v):
            result.append(0)
        elif np.isinf(v):
            result.append(info.max if v > 0 else info.min)
        else:
            result.append(min(max(int(v), int(info.min)), int(info.max)))
    return np.array(result, dtype)


@pytest.mark.parametrize("to", [*FLOATS, *INTS, np.bool_])
@pytest.mark.parametrize("origin", [*FLOATS, *INTS, np.bool_])
def test_casts(origin, to):
    if origin == np.bool_:
        x = np.array([False, True])
    elif origin in INTS:
        info = np.iinfo(origin)
        x = np.concatenate([np.array([info.min, info.max, info.max // 2, 0, 1, 100], origin),
                            rng.integers(info.min, info.max, 40, dtype=origin)])
    else:
        x = np.concatenate([SPECIAL, [300.7, -300.7, 1e5, 3e9, -3e9, 1e19, 2e19, -1e19, 65504, 65520, 1e-8],
                            rng.normal(size=60) * 1000]).astype(origin)
    got = run("%r = nn.cast %a0 : {0} -> {out}", [x], x.shape, to)
    with np.errstate(all="ignore"):
        if origin in FLOATS and to in INTS:
            want = saturate(x, to)
        elif to == BF16 and origin != np.float64:
            want = x.astype(np.float32).astype(BF16)
        else:
            want = x.astype(to)
    if to in FLOATS:
        got, want = got.astype(np.float64), want.astype(np.float64)
    np.testing.assert_array_equal(got, want)


def test_narrowing_rounds_once():
    # Just above the tie between two f16: rounding to f32 first would make it a tie.
    x = np.array([1 + 2**-11 + 2**-40, 1 + 2**-11 - 2**-40, 1 + 2**-11, 1 + 3 * 2**-11], np.float64)
    x = np.concatenate([x, -x])
    got = run("%r = nn.cast %a0 : {0} -> {out}", [x], x.shape, np.float16)
    np.testing.assert_array_equal(got, x.astype(np.float16))


@pytest.mark.parametrize("shapes", [((3, 4), (4,)), ((3, 1), (1, 4)), ((1,), (3, 4)), ((), (3, 4)), ((2, 1, 4), (3, 1)),
                                    ((), ()), ((0, 4), (1, 4)), ((3, 4), (3, 4))])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_broadcast(shapes, dynamic):
    x, y = (rng.normal(size=s).astype(np.float32) for s in shapes)
    want = x - y
    got = run("%r = nn.binary sub %a0, %a1 : {0}, {1} -> {out}", [x, y], want.shape, np.float32, dynamic)
    np.testing.assert_array_equal(got, want)


def test_broadcast_of_half_known_shapes():
    x, y = rng.normal(size=(1, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    got = run("%r = nn.binary sub %a0, %a1 : {0}, {1} -> {out}", [x, y], (3, 4), np.float32, [True, False, False])
    np.testing.assert_array_equal(got, x - y)
