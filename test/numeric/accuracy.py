#!/usr/bin/env python3
# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The largest error of elementary functions in units in the last place.

    test/numeric/accuracy.py [--all] [--type f32|f64] [function ...]

f32 is compared with C's double precision functions (error function and others included), on a sample or, with --all,
on every one of the 2^32 inputs; f64 with long double where C has it. The reference is compiled C: a minute a function.
"""

import argparse
import ctypes
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import harness

# How C computes it in type T with suffix S; the functions must keep their precision where the result is small.
REFERENCE = {
    "exp": "exp{S}(x)",
    "log": "log{S}(x)",
    "sin": "sin{S}(x)",
    "cos": "cos{S}(x)",
    "tanh": "tanh{S}(x)",
    "erf": "erf{S}(x)",
    "sigmoid": "x < 0 ? exp{S}(x) / (1 + exp{S}(x)) : 1 / (1 + exp{S}(-x))",
    "silu": "isinf(x) ? (x < 0 ? -0.0 : x) : x < 0 ? x * exp{S}(x) / (1 + exp{S}(x)) : x / (1 + exp{S}(-x))",
    "gelu": "isinf(x) ? (x < 0 ? -0.0 : x) : x / 2 * erfc{S}(-x * 0.707106781186547524400844362104849039284836L)",
    "gelu_tanh": "isinf(x) ? (x < 0 ? -0.0 : x) : gelu_tanh(x)",
    "softplus": "x > 0 ? x + log1p{S}(exp{S}(-x)) : log1p{S}(exp{S}(x))",
    "rsqrt": "1 / sqrt{S}(x)",
    **{name: name + "{S}(x)" for name in ("asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh")},
}

# x times a function that vanishes: an error of half a unit of x is allowed, too. The exponential magnifies the rounding
# of its argument v to |v| e^-|v| of x, at most 0.37 of it.
SCALED = {"gelu", "gelu_tanh", "silu"}

# What is allowed, in units, where it is not 2. gelu's negative side is h * P(2 h - 1) * exp(-t^2/2) with h = t / (t + 4):
# a product whose roundings add up. Relative to 2^-24: sum and quotient of h 2 (less where P's argument takes it back),
# P's argument 0.8, P 1.5, both products 2, the exponential 0.5 and its argument 1 where the scale of x does not cover it.
# silu and gelu_tanh: the exponential 2, its sum and the quotient 1, in units of up to twice that.
LIMITS = {"gelu": 5, "gelu_tanh": 3, "silu": 3}

C = """
#include <math.h>
#include <stdint.h>
#include <string.h>
typedef WIDE T;
static T gelu_tanh(T x) {
  T v = 1.59576912160573071175978423973752747390343L * (x + 0.044715L * x * x * x);
  if (v < -11000) v = -11000;
  return v < 0 ? x * exp{S}(v) / (1 + exp{S}(v)) : x / (1 + exp{S}(-v));
}
static T reference(T x) { return EXPRESSION; }
/* Units in the last place of the number nearest to y. */
static double ulp(T y) {
  int e;
  frexp{S}(fabs{S}(y), &e);
  if (e < MIN_EXPONENT) e = MIN_EXPONENT;
  return ldexp(1.0, e - DIGITS);
}
__attribute__((visibility("default")))
double compare(const NARROW *xs, const NARROW *ys, long n, NARROW *worst) {
  double largest = 0;
  for (long i = 0; i < n; ++i) {
    T want = reference((T)xs[i]);
    NARROW rounded = (NARROW)want;
    double error;
    if (isnan(rounded) || isnan(ys[i])) {
      error = isnan(rounded) && isnan(ys[i]) ? 0 : 1e30;
    } else if (isinf(rounded) || isinf(ys[i])) {
      /* The largest number beside infinity is an error of one unit. */
      error = rounded == ys[i] ? 0 : fabs(ys[i]) >= MAX && isinf(rounded) ? 1 :
              fabs(rounded) >= MAX && isinf(ys[i]) ? 1 : 1e30;
    } else {
      double unit = ulp(want), scaled = SHARE * ulp((T)xs[i]);
      error = (double)(fabs{S}((T)ys[i] - want)) / (unit > scaled ? unit : scaled);
    }
    if (error > largest) { largest = error; *worst = xs[i]; }
  }
  return largest;
}
"""


def build_reference(name, is_f32):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lathe-accuracy-"))
    suffix = "" if is_f32 else "l"
    text = C.replace("EXPRESSION", REFERENCE[name]).replace("{S}", suffix)
    # The share of x's unit of which the limit makes half.
    text = text.replace("SHARE", str(0.5 / LIMITS[name] if name in SCALED else 0.0))
    constants = ({"WIDE": "double", "NARROW": "float", "MIN_EXPONENT": "-125", "DIGITS": "24", "MAX": "0x1.fffffep127"}
                 if is_f32 else {"WIDE": "long double", "NARROW": "double", "MIN_EXPONENT": "-1021", "DIGITS": "53",
                                 "MAX": "0x1.fffffffffffffp1023"})
    for key, value in constants.items():
        text = text.replace(key, value)
    (folder / "r.c").write_text(text)
    subprocess.run([f"{harness.LLVM}/clang", "-O2", "-march=native", "-fPIC", "-shared", str(folder / "r.c"), "-o",
                    str(folder / "r.so"), "-lm"], check=True)
    function = ctypes.CDLL(str(folder / "r.so")).compare
    function.restype = ctypes.c_double
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p]
    return function


def chunks(is_f32, everything):
    """Inputs: all f32, or bit patterns spread over all f32 or f64, with the neighbourhood of what is special."""
    if is_f32 and everything:
        for start in range(0, 1 << 32, 1 << 22):
            yield np.arange(start, start + (1 << 22), dtype=np.uint32).view(np.float32)
        return
    rng = np.random.default_rng(1)
    if is_f32:
        bits = np.concatenate([np.arange(0, 1 << 32, 4093, dtype=np.uint64).astype(np.uint32),
                               rng.integers(0, 1 << 32, 1 << 19, dtype=np.uint64).astype(np.uint32)])
        values = bits.view(np.float32)
    else:
        values = rng.integers(0, 1 << 64, 1 << 18, dtype=np.uint64).view(np.float64)
    ordinary = [rng.uniform(-bound, bound, 1 << 18) for bound in (1, 10, 120)] + [rng.uniform(-760, 760, 1 << 16)]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 5e-324, 1e-45, -1e-45, 3.4e38, -3.4e38]
    with np.errstate(all="ignore"):
        yield np.concatenate([values, *ordinary, special]).astype(np.float32 if is_f32 else np.float64)


def largest_error(name, is_f32=True, everything=False, optimization="-O3"):
    dtype = np.float32 if is_f32 else np.float64
    text = harness.module(f"%r = nn.unary {name} %a0 : {{0}} -> {{out}}", [((1,), dtype)], ((1,), dtype), True)
    library = harness.compile_mlir(text, optimization)
    compare = build_reference(name, is_f32)
    largest, where = 0.0, None
    worst = np.zeros(1, dtype)
    for x in chunks(is_f32, everything):
        y = harness.call(library, [x], x.shape, dtype)
        error = compare(x.ctypes.data, y.ctypes.data, len(x), worst.ctypes.data)
        if error > largest:
            largest, where = error, worst[0]
    return largest, where


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every f32")
    parser.add_argument("--type", choices=["f32", "f64"], default="f32")
    parser.add_argument("--limit", type=float, default=2.0, help="fail above this many units")
    parser.add_argument("functions", nargs="*", default=sorted(REFERENCE))
    arguments = parser.parse_args()
    failed = False
    for name in arguments.functions or sorted(REFERENCE):
        error, where = largest_error(name, arguments.type == "f32", arguments.all)
        print(f"{name:10} {error:8.3f} ulp at {where!r}", flush=True)
        failed |= error > max(arguments.limit, LIMITS.get(name, 0))
    sys.exit(failed)


if __name__ == "__main__":
    main()
