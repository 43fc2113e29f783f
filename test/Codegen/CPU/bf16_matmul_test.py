# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Matrix products of bf16 against products in f64."""

import math

import numpy as np
import pytest

from kernel_harness import Kernel, from_bf16, function, to_bf16, to_panels

rng = np.random.default_rng(16)
# On matrix registers, with the instruction, widened in registers of 512 bits, and of 256.
TARGETS = ["x86-64-v4+amx", "x86-64-v4+bf16", "x86-64-v4", "x86-64-v3"]
# What lies in no panels is multiplied where processors know vectors of bf16.
PLAIN_TARGETS = TARGETS[:2]


def normal(*shape):
    return to_bf16(rng.standard_normal(shape, np.float32))


def check(actual, x, w, after=lambda sums: sums, rounds_to=2.0 ** -24):
    """Products of two bf16 are exact in f32, in whose units, 2^-24, each of the K sums is rounded: at most K 2^-24 of
    the sum of all magnitudes. `after` has slopes of at most 1 and rounds a few times; the result is rounded to
    `rounds_to`."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    expected = after(x @ w)
    bound = (x.shape[-1] + 4) * 2.0 ** -24 * (np.abs(x) @ np.abs(w) + np.abs(expected)) + rounds_to * np.abs(expected)
    assert actual.shape == expected.shape
    assert np.all(np.abs(actual - expected) <= bound), np.abs(actual - expected).max()


def rows_by_weight(k, n, panel, result="f32", epilogue=""):
    """x[S, k] by w[k, n], then an epilogue that reads a bias and a residual and ends in %r."""
    t, attribute = f"tensor<?x{n}x{result}>", "{kernel.panel = #nn.panel<32 x 2>}" if panel else ""
    return f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {attribute}, %b: memref<?xi8>, %z: memref<?xi8>,
             %y: memref<?xi8>, %S: index) attributes {{kernel.root = "matmul"}} {{
  %a = kernel.input %x[%S] : memref<?xi8> -> tensor<?x{k}xbf16>
  %m = kernel.input %w[] : memref<?xi8> -> tensor<{k}x{n}xbf16>
  %bias = kernel.input %b[] : memref<?xi8> -> tensor<{n}x{result}>
  %residual = kernel.input %z[%S] : memref<?xi8> -> {t}
  %p = nn.matmul %a, %m : tensor<?x{k}xbf16>, tensor<{k}x{n}xbf16> -> {t}
  {epilogue.replace("T", t) if epilogue else f"%r = nn.binary add %p, %bias : {t}, tensor<{n}x{result}> -> {t}"}
  kernel.output %r, %y[%S] : {t}, memref<?xi8>
  return
}}"""


@pytest.mark.parametrize("target,panel", [*((target, True) for target in TARGETS),
                                          *((target, False) for target in PLAIN_TARGETS)])
@pytest.mark.parametrize("k,n", [(32, 64), (37, 45), (1, 5), (2, 16), (515, 33), (2051, 7)])
def test_any_number_of_rows(target, panel, k, n):
    kernel = Kernel(rows_by_weight(k, n, panel), "f", target)
    w, b = normal(k, n), rng.standard_normal(n, np.float32)
    weights = to_panels(w, interleave=2) if panel else w
    for rows in list(range(1, 20)) + [64, 65, 129] if k < 100 else (1, 7, 70):
        x = normal(rows, k)
        actual = kernel([x, weights, b, b], (rows, n), (rows,), pieces=1 + rows % 3)
        check(actual, from_bf16(x), from_bf16(w), lambda sums: sums + b)


@pytest.mark.parametrize("target", TARGETS)
def test_result_in_bf16_is_rounded_once(target):
    kernel = Kernel(rows_by_weight(70, 40, True, result="bf16", epilogue="%r = nn.unary abs %p : T -> T"), "f", target)
    w, x, b = normal(70, 40), normal(9, 70), normal(40)
    actual = kernel([x, to_panels(w, interleave=2), b, b], (9, 40), (9,), dtype=np.uint16)
    check(from_bf16(actual), from_bf16(x), from_bf16(w), np.abs, rounds_to=2.0 ** -8)


@pytest.mark.parametrize("target", TARGETS)
def test_epilogue_stores_bf16(target):
    """The next product reads what this one leaves."""
    n, k = 45, 64
    kernel = Kernel(f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {{kernel.panel = #nn.panel<32 x 2>}}, %z: memref<?xi8>,
             %y: memref<?xi8>, %S: index) attributes {{kernel.root = "matmul"}} {{
  %a = kernel.input %x[%S] : memref<?xi8> -> tensor<?x{k}xbf16>
  %m = kernel.input %w[] : memref<?xi8> -> tensor<{k}x{n}xbf16>
  %residual = kernel.input %z[%S] : memref<?xi8> -> tensor<?x{n}xf32>
  %p = nn.matmul %a, %m : tensor<?x{k}xbf16>, tensor<{k}x{n}xbf16> -> tensor<?x{n}xf32>
  %s = nn.binary add %p, %residual : tensor<?x{n}xf32>, tensor<?x{n}xf32> -> tensor<?x{n}xf32>
  %g = nn.unary gelu %s : tensor<?x{n}xf32> -> tensor<?x{n}xf32>
  %r = nn.cast %g : tensor<?x{n}xf32> -> tensor<?x{n}xbf16>
  kernel.output %r, %y[%S] : tensor<?x{n}xbf16>, memref<?xi8>
  return
}}""", "f", target)
    w, x, z = normal(k, n), normal(19, k), rng.standard_normal((19, n), np.float32)

    def gelu(sums):
        return (sums + z) * 0.5 * (1 + np.vectorize(math.erf)((sums + z) / np.sqrt(2)))

    actual = kernel([x, to_panels(w, interleave=2), z], (19, n), (19,), dtype=np.uint16)
    # The slope of gelu is at most 1.13: what that is more than 1 drowns in the rounding of the result.
    check(from_bf16(actual), from_bf16(x), from_bf16(w), gelu, rounds_to=2.0 ** -8)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("k", [6, 7])
def test_special_values(target, k):
    """Infinities and NaNs reach the results of their rows and columns, and none arises from what lies beside."""
    kernel = Kernel(rows_by_weight(k, 20, True, epilogue="%r = nn.unary neg %p : T -> T"), "f", target)
    x, w = np.ones((5, k), np.float32), np.ones((k, 20), np.float32)
    x[1, 2], x[2, k - 1], x[3, 0], w[1, 4], w[k - 1, 6] = np.inf, np.nan, 1e38, -np.inf, np.nan
    with np.errstate(all="ignore"):
        expected = -(x.astype(np.float64) @ w)
    # Behind the last row lies what must not be read as the other half of a pair.
    stored = np.full((6, k), np.nan, np.float32)
    stored[:5] = x
    stored = to_bf16(stored)[:5]
    weights = to_panels(to_bf16(w), interleave=2)
    bias = np.zeros(20, np.float32)
    actual = kernel([stored, weights, bias, bias], (5, 20), (5,))
    finite = np.isfinite(expected)
    assert np.array_equal(actual[~finite], expected[~finite].astype(np.float32), equal_nan=True)
    # 1e38 is rounded to bf16, the other terms are lost beside it.
    assert np.allclose(actual[finite], expected[finite], rtol=2.0 ** -8)


@pytest.mark.parametrize("target", PLAIN_TARGETS)
def test_batches_with_transposed_operands(target):
    """Q Kt of heads that stand next to their features, of any number of keys."""
    kernel = Kernel("""
func.func @f(%q: memref<?xi8>, %k: memref<?xi8>, %y: memref<?xi8>, %S: index, %T: index)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %q[%S] : memref<?xi8> -> tensor<2x?x3x20xbf16>
  %1 = kernel.input %k[%T] : memref<?xi8> -> tensor<2x?x3x20xbf16>
  %2 = nn.transpose %0 perm([0, 2, 1, 3]) : tensor<2x?x3x20xbf16> -> tensor<2x3x?x20xbf16>
  %3 = nn.transpose %1 perm([0, 2, 3, 1]) : tensor<2x?x3x20xbf16> -> tensor<2x3x20x?xbf16>
  %4 = nn.matmul %2, %3 : tensor<2x3x?x20xbf16>, tensor<2x3x20x?xbf16> -> tensor<2x3x?x?xf32>
  kernel.output %4, %y[%S, %T] : tensor<2x3x?x?xf32>, memref<?xi8>
  return
}""", "f", target)
    for s, t in ((1, 1), (5, 33), (70, 40)):
        q, k = normal(2, s, 3, 20), normal(2, t, 3, 20)
        check(kernel([q, k], (2, 3, s, t), (s, t)), from_bf16(q.transpose(0, 2, 1, 3)),
              from_bf16(k.transpose(0, 2, 3, 1)))


@pytest.mark.parametrize("target", PLAIN_TARGETS)
def test_depth_and_rows_that_the_run_knows(target):
    """The left operand is transposed: its pairs do not lie together."""
    kernel = Kernel(function("f", "matmul", {"a": (["K", "S"], "bf16"), "b": (["K", 50], "bf16")},
                             {"y": (["S", 50], "f32")}, """
  %t = nn.transpose %a perm([1, 0]) : tensor<?x?xbf16> -> tensor<?x?xbf16>
  %y = nn.matmul %t, %b : tensor<?x?xbf16>, tensor<?x50xbf16> -> tensor<?x50xf32>""", ["K", "S"]), "f", target)
    direct = Kernel(function("f", "matmul", {"a": (["S", "K"], "bf16"), "b": (["K", 50], "bf16")},
                             {"y": (["S", 50], "f32")}, """
  %y = nn.matmul %a, %b : tensor<?x?xbf16>, tensor<?x50xbf16> -> tensor<?x50xf32>""", ["K", "S"]), "f", target)
    for k, s in ((0, 3), (1, 1), (2, 9), (31, 13), (600, 5), (2101, 3)):
        a, b = normal(k, s), normal(k, 50)
        x, w = from_bf16(a).T, from_bf16(b)
        check(kernel([a, b], (s, 50), (k, s)), x, w)
        check(direct([np.ascontiguousarray(a.T), b], (s, 50), (k, s)), x, w)


@pytest.mark.parametrize("target", TARGETS)
def test_slice_whose_elements_do_not_lie_together(target):
    """Every second element of rows that are one product."""
    kernel = Kernel("""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 2>}, %y: memref<?xi8>,
             %B: index, %S: index) attributes {kernel.root = "matmul"} {
  %a = kernel.input %x[%B, %S] : memref<?xi8> -> tensor<?x?x64xbf16>
  %m = kernel.input %w[] : memref<?xi8> -> tensor<32x40xbf16>
  %s = nn.slice %a offsets [0, 0, 0] sizes [%B, %S, 32] strides [1, 1, 2]
    : tensor<?x?x64xbf16> -> tensor<?x?x32xbf16>
  %p = nn.matmul %s, %m : tensor<?x?x32xbf16>, tensor<32x40xbf16> -> tensor<?x?x40xf32>
  kernel.output %p, %y[%B, %S] : tensor<?x?x40xf32>, memref<?xi8>
  return
}""", "f", target)
    w, x = normal(32, 40), normal(2, 11, 64)
    check(kernel([x, to_panels(w, interleave=2)], (2, 11, 40), (2, 11)), from_bf16(x[:, :, ::2].copy()), from_bf16(w))


@pytest.mark.parametrize("target", TARGETS)
def test_convolution_of_single_pixels(target):
    kernel = Kernel("""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {kernel.panel = #nn.panel<32 x 2>}, %y: memref<?xi8>, %H: index)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %x[%H] : memref<?xi8> -> tensor<1x?x9x13xbf16>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<1x1x13x24xbf16>
  %2 = nn.conv %0, %1 strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<1x?x9x13xbf16>, tensor<1x1x13x24xbf16> -> tensor<1x?x9x24xf32>
  kernel.output %2, %y[%H] : tensor<1x?x9x24xf32>, memref<?xi8>
  return
}""", "f", target)
    x, w = normal(1, 7, 9, 13), normal(13, 24)
    check(kernel([x, to_panels(w, interleave=2)], (1, 7, 9, 24), (7,)), from_bf16(x), from_bf16(w))
