# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Pointwise kernels against numpy: every tail, broadcasting, views, gathers, several outputs."""

import math
import subprocess

import numpy as np
import pytest

from kernel_harness import LATHE_OPT, Kernel, build, from_bf16, function

rng = np.random.default_rng(3)
TARGETS = ["x86-64-v4", "x86-64-v3"]
# Sizes that leave every tail behind vectors of 4 to 16 lanes, unrolled up to 4 times, and around a task's block.
LENGTHS = [0, *range(1, 34), 63, 64, 65, 127, 2047, 2048, 2049, 4097]


def normal(*shape):
    return rng.standard_normal(shape, np.float32)


SOURCE = "".join([
    function("add", "pointwise", {"a": (["N"], "f32"), "b": (["N"], "f32")}, {"y": (["N"], "f32")},
             "%y = nn.binary add %a, %b : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>", ["N"]),
    function("bias", "pointwise", {"a": (["B", "N"], "f32"), "b": (["N"], "f32"), "c": (["B", 1], "f32")},
             {"y": (["B", "N"], "f32")}, """
  %0 = nn.binary mul %a, %c : tensor<?x?xf32>, tensor<?x1xf32> -> tensor<?x?xf32>
  %y = nn.binary add %0, %b : tensor<?x?xf32>, tensor<?xf32> -> tensor<?x?xf32>""", ["B", "N"]),
    function("may_broadcast", "pointwise", {"a": (["B", "N"], "f32"), "b": (["C", "M"], "f32")},
             {"y": (["B", "N"], "f32")}, """
  %0 = nn.expand %b to [%B, %N] : tensor<?x?xf32> -> tensor<?x?xf32>
  %1 = nn.unary abs %0 : tensor<?x?xf32> -> tensor<?x?xf32>
  %2 = nn.unary abs %b : tensor<?x?xf32> -> tensor<?x?xf32>
  %3 = nn.expand %2 to [%B, %N] : tensor<?x?xf32> -> tensor<?x?xf32>
  %4 = nn.binary sub %a, %1 : tensor<?x?xf32>, tensor<?x?xf32> -> tensor<?x?xf32>
  %y = nn.binary sub %4, %3 : tensor<?x?xf32>, tensor<?x?xf32> -> tensor<?x?xf32>""", ["B", "N", "C", "M"]),
    function("scalar", "pointwise", {"a": ([], "f32"), "b": ([], "f32")}, {"y": ([], "f32")},
             "%y = nn.binary add %a, %b : tensor<f32>, tensor<f32> -> tensor<f32>"),
    function("half", "pointwise", {"a": (["N"], "f16"), "b": ([1], "f16")}, {"y": (["N"], "f16")},
             "%y = nn.binary mul %a, %b : tensor<?xf16>, tensor<1xf16> -> tensor<?xf16>", ["N"]),
    function("integers", "pointwise", {"a": (["N"], "i64"), "b": ([], "i64")},
             {"y": (["N"], "i64"), "m": (["N"], "i1")}, """
  %y = nn.binary mul %a, %b : tensor<?xi64>, tensor<i64> -> tensor<?xi64>
  %m = nn.compare lt %a, %b : tensor<?xi64>, tensor<i64> -> tensor<?xi1>""", ["N"]),
    function("bools", "pointwise", {"m": (["N"], "i1"), "a": (["N"], "f32")},
             {"y": (["N"], "f32"), "n": (["N"], "i1")}, """
  %c = arith.constant dense<-3.0> : tensor<f32>
  %n = nn.unary not %m : tensor<?xi1> -> tensor<?xi1>
  %y = nn.select %m, %a, %c : tensor<?xi1>, tensor<?xf32>, tensor<f32> -> tensor<?xf32>""", ["N"]),
    function("bytes", "pointwise", {"a": (["N"], "ui8")}, {"y": (["N"], "f32")},
             "%y = nn.cast %a : tensor<?xui8> -> tensor<?xf32>", ["N"]),
    function("shapes", "pointwise", {"a": (["B", "N"], "f32"), "b": (["N"], "f32")},
             {"y": (["B", "N"], "f32"), "z": (["N"], "f32")}, """
  %z = nn.unary neg %b : tensor<?xf32> -> tensor<?xf32>
  %y = nn.binary add %a, %z : tensor<?x?xf32>, tensor<?xf32> -> tensor<?x?xf32>""", ["B", "N"]),
    function("constants", "pointwise", {"a": (["B", 5], "f32")}, {"y": (["B", 5], "f32")}, """
  %c = arith.constant dense<[1.0, 2.0, 3.0, 4.0, 5.0]> : tensor<5xf32>
  %m = arith.constant dense<[true, false, true, false, false]> : tensor<5xi1>
  %0 = nn.binary mul %a, %c : tensor<?x5xf32>, tensor<5xf32> -> tensor<?x5xf32>
  %y = nn.select %m, %0, %a : tensor<5xi1>, tensor<?x5xf32>, tensor<?x5xf32> -> tensor<?x5xf32>""", ["B"]),
    function("transpose", "pointwise", {"a": (["B", "S", 3, 5], "f32")}, {"y": (["B", 3, "S", 5], "f32")},
             "%y = nn.transpose %a perm([0, 2, 1, 3]) : tensor<?x?x3x5xf32> -> tensor<?x3x?x5xf32>", ["B", "S"]),
    function("transpose_last", "pointwise", {"a": (["B", "N"], "f32"), "b": ([1], "f32")},
             {"y": (["N", "B"], "f32"), "z": (["N", "B"], "f32")}, """
  %y = nn.transpose %a perm([1, 0]) : tensor<?x?xf32> -> tensor<?x?xf32>
  %0 = nn.binary add %a, %b : tensor<?x?xf32>, tensor<1xf32> -> tensor<?x?xf32>
  %z = nn.transpose %0 perm([1, 0]) : tensor<?x?xf32> -> tensor<?x?xf32>""", ["B", "N"]),
    function("slice", "pointwise", {"a": ([7, "N"], "f32")}, {"y": ([2, "M"], "f32"), "z": ([2, "M"], "f32")}, """
  %y = nn.slice %a offsets [1, %o] sizes [2, %M] strides [3, 1] : tensor<7x?xf32> -> tensor<2x?xf32>
  %0 = nn.unary neg %a : tensor<7x?xf32> -> tensor<7x?xf32>
  %z = nn.slice %0 offsets [6, %l] sizes [2, %M] strides [-2, -1] : tensor<7x?xf32> -> tensor<2x?xf32>""",
             ["N", "M", "o", "l"]),
    function("reshape", "pointwise", {"a": (["B", 4, 6], "f32")}, {"y": (["B", 24], "f32"), "z": (["B", 2, 12], "f32")},
             """
  %0 = nn.unary neg %a : tensor<?x4x6xf32> -> tensor<?x4x6xf32>
  %y = nn.reshape %0 to [%B, 24] : tensor<?x4x6xf32> -> tensor<?x24xf32>
  %1 = nn.transpose %a perm([0, 2, 1]) : tensor<?x4x6xf32> -> tensor<?x6x4xf32>
  %z = nn.reshape %1 to [%B, 2, 12] : tensor<?x6x4xf32> -> tensor<?x2x12xf32>""", ["B"]),
    function("gather", "pointwise", {"a": ([9, "N"], "f32"), "i": (["B"], "i64"), "p": (["B", "N"], "f32")},
             {"y": (["B", "N"], "f32")}, """
  %0 = nn.gather %a, %i axis(0) : tensor<9x?xf32>, tensor<?xi64> -> tensor<?x?xf32>
  %y = nn.binary add %0, %p : tensor<?x?xf32>, tensor<?x?xf32> -> tensor<?x?xf32>""", ["B", "N"]),
    function("gather_last", "pointwise", {"a": (["N", 9], "f32"), "i": (["B"], "i32"), "s": ([], "i64")},
             {"y": (["N", "B"], "f32"), "z": (["N"], "f32")}, """
  %y = nn.gather %a, %i axis(1) : tensor<?x9xf32>, tensor<?xi32> -> tensor<?x?xf32>
  %z = nn.gather %a, %s axis(1) : tensor<?x9xf32>, tensor<i64> -> tensor<?xf32>""", ["N", "B"]),
    function("gather_any", "pointwise", {"a": (["M", "N"], "f32"), "i": (["B"], "i64")}, {"y": (["B", "N"], "f32")},
             "%y = nn.gather %a, %i axis(0) : tensor<?x?xf32>, tensor<?xi64> -> tensor<?x?xf32>", ["M", "N", "B"]),
    function("gather_nd", "pointwise", {"a": (["M", "N"], "i1"), "i": (["B", "C", 2], "i64")},
             {"y": (["B", "C"], "i1")},
             "%y = nn.gather_nd %a, %i batch_dims(0) : tensor<?x?xi1>, tensor<?x?x2xi64> -> tensor<?x?xi1>",
             ["M", "N", "B", "C"]),
    function("range", "pointwise", {"s": ([], "i64"), "d": ([], "i64")},
             {"y": (["N"], "i64"), "z": ([3], "i64")}, """
  %y = nn.range %s, %d size %N : tensor<i64>, tensor<i64> -> tensor<?xi64>
  %0 = nn.from_scalars %N, %N, %M : tensor<3xi64>
  %z = nn.binary add %0, %s : tensor<3xi64>, tensor<i64> -> tensor<3xi64>""", ["N", "M"]),
    function("concat", "pointwise", {"a": (["B", "N"], "f32"), "b": (["C", "N"], "f32"), "c": (["B", 3], "f32")},
             {"y": (["D", "N"], "f32"), "z": (["B", "M"], "f32")}, """
  %y = nn.concat %a, %b, %a axis(0) : tensor<?x?xf32>, tensor<?x?xf32>, tensor<?x?xf32> -> tensor<?x?xf32>
  %z = nn.concat %c, %a axis(1) : tensor<?x3xf32>, tensor<?x?xf32> -> tensor<?x?xf32>""",
             ["B", "N", "C", "D", "M"]),
    function("collapse", "pointwise", {"a": (["B", 3, 1, "N"], "f32"), "b": ([3, 1, 1], "f32"), "c": (["B", 1, 1, 1], "f32")},
             {"y": (["B", 3, 1, "N"], "f32")}, """
  %0 = nn.binary mul %a, %c : tensor<?x3x1x?xf32>, tensor<?x1x1x1xf32> -> tensor<?x3x1x?xf32>
  %y = nn.binary add %0, %b : tensor<?x3x1x?xf32>, tensor<3x1x1xf32> -> tensor<?x3x1x?xf32>""", ["B", "N"]),
])


@pytest.fixture(scope="module", params=TARGETS)
def library(request):
    return build(SOURCE, request.param)


def test_every_tail(library):
    kernel = Kernel(library, "add")
    for n in LENGTHS:
        a, b = normal(n), normal(n)
        assert np.array_equal(kernel([a, b], (n,), (n,), pieces=1 + n % 3), a + b)


def test_broadcasts_along_rows_and_columns(library):
    kernel = Kernel(library, "bias")
    for n in (0, 1, 5, 16, 31, 65, 2050):
        for b in (0, 1, 3, 17):
            x, bias, scale = normal(b, n), normal(n), normal(b, 1)
            assert np.allclose(kernel([x, bias, scale], (b, n), (b, n), pieces=2), x * scale + bias, atol=1e-6)


def test_sizes_that_broadcast_only_at_run_time(library):
    kernel = Kernel(library, "may_broadcast")
    for n in (1, 7, 33):
        for c in (1, 3):
            for m in {1, n}:
                a, b = normal(3, n), normal(c, m)
                assert np.allclose(kernel([a, b], (3, n), (3, n, c, m)), a - 2 * np.abs(b), atol=1e-6)


def test_rank_0(library):
    a, b = normal(), normal()
    assert Kernel(library, "scalar")([np.array(a), np.array(b)], ()) == a + b


def test_half(library):
    for n in LENGTHS[:40]:
        a, b = normal(n).astype(np.float16), normal(1).astype(np.float16)
        assert np.array_equal(Kernel(library, "half")([a, b], (n,), (n,), np.float16), a * b)


def test_integers(library):
    for n in LENGTHS[:40]:
        a, b = rng.integers(-2**60, 2**60, n), np.array(rng.integers(-50, 50))
        y, m = Kernel(library, "integers").run([a, b], [((n,), np.int64), ((n,), np.bool_)], (n,))
        assert np.array_equal(y, a * b) and np.array_equal(m, a < b)


def test_bools_are_bytes(library):
    for n in LENGTHS[:40]:
        m, a = rng.integers(0, 2, n).astype(np.bool_), normal(n)
        y, inverse = Kernel(library, "bools").run([m, a], [((n,), np.float32), ((n,), np.bool_)], (n,))
        assert np.array_equal(y, np.where(m, a, np.float32(-3))) and np.array_equal(inverse.view(np.uint8), 1 - m)


def test_unsigned_bytes(library):
    a = np.arange(256, dtype=np.uint8)
    assert np.array_equal(Kernel(library, "bytes")([a], (256,), (256,)), a.astype(np.float32))


def test_outputs_of_several_shapes(library):
    for pieces in (1, 2, 5):
        a, b = normal(4, 19), normal(19)
        y, z = Kernel(library, "shapes").run([a, b], [((4, 19), np.float32), ((19,), np.float32)], (4, 19), pieces)
        assert np.array_equal(y, a - b) and np.array_equal(z, -b)


def test_constants(library):
    a = normal(11, 5)
    c, m = np.arange(1, 6, dtype=np.float32), np.array([1, 0, 1, 0, 0], bool)
    assert np.array_equal(Kernel(library, "constants")([a], (11, 5), (11,)), np.where(m, a * c, a))


def test_transpose_of_outer_dimensions(library):
    a = normal(2, 7, 3, 5)
    assert np.array_equal(Kernel(library, "transpose")([a], (2, 3, 7, 5), (2, 7)), a.transpose(0, 2, 1, 3))


def test_transpose_of_the_last_dimension(library):
    for b in (1, 5, 16, 33):
        a, c = normal(b, 21), normal(1)
        y, z = Kernel(library, "transpose_last").run([a, c], [((21, b), np.float32)] * 2, (b, 21), 3)
        assert np.array_equal(y, a.T) and np.array_equal(z, (a + c).T)


def test_slices(library):
    for m in (1, 9, 20):
        a = normal(7, 40)
        y, z = Kernel(library, "slice").run([a], [((2, m), np.float32)] * 2, (40, m, 11, 35))
        assert np.array_equal(y, a[1:5:3, 11:11 + m]) and np.array_equal(z, -a[6:2:-2, 35:35 - m:-1])


def test_reshapes(library):
    a = normal(3, 4, 6)
    y, z = Kernel(library, "reshape").run([a], [((3, 24), np.float32), ((3, 2, 12), np.float32)], (3,))
    assert np.array_equal(y, -a.reshape(3, 24)) and np.array_equal(z, a.transpose(0, 2, 1).reshape(3, 2, 12))


def test_gathers_rows(library):
    for n in (1, 16, 37):
        a, i, p = normal(9, n), rng.integers(-9, 9, 12), normal(12, n)
        assert np.array_equal(Kernel(library, "gather")([a, i, p], (12, n), (12, n), pieces=2), a[i] + p)


@pytest.mark.parametrize("bad", [9, -10, 2**62, -2**63])
def test_an_index_out_of_bounds_is_a_fault(library, bad):
    a, i, p = normal(9, 20), np.array([1, bad]), normal(2, 20)
    Kernel(library, "gather").run([a, i, p], [((2, 20), np.float32)], (2, 20), fault=1)


def test_gathers_columns(library):
    for n in (1, 16, 37):
        a, i = normal(n, 9), rng.integers(-9, 9, 21).astype(np.int32)
        y, z = Kernel(library, "gather_last").run([a, i, np.array(-2)], [((n, 21), np.float32), ((n,), np.float32)],
                                                  (n, 21))
        assert np.array_equal(y, a[:, i]) and np.array_equal(z, a[:, -2])


def test_gathers_from_nothing(library):
    y = Kernel(library, "gather_any").run([normal(0, 5), np.array([0, 1])], [((2, 5), np.float32)], (0, 5, 2),
                                          fault=1)[0]
    assert np.all(y == 0)


def test_gathers_tuples(library):
    a, i = rng.integers(0, 2, (6, 7)).astype(np.bool_), rng.integers(-6, 6, (3, 20, 2))
    y = Kernel(library, "gather_nd").run([a, i], [((3, 20), np.bool_)], (6, 7, 3, 20))[0]
    assert np.array_equal(y, a[i[..., 0], i[..., 1]])


def test_ranges_and_sizes(library):
    y, z = Kernel(library, "range").run([np.array(5), np.array(-3)], [((19,), np.int64), ((3,), np.int64)], (19, 4))
    assert np.array_equal(y, 5 - 3 * np.arange(19)) and np.array_equal(z, [24, 24, 9])


def test_concatenations(library):
    a, b, c = normal(3, 18), normal(2, 18), normal(3, 3)
    y, z = Kernel(library, "concat").run([a, b, c], [((8, 18), np.float32), ((3, 21), np.float32)],
                                         (3, 18, 2, 8, 21))
    assert np.array_equal(y, np.concatenate([a, b, a])) and np.array_equal(z, np.concatenate([c, a], 1))


def test_dimensions_that_only_some_operands_have(library):
    a, b, c = normal(4, 3, 1, 21), normal(3, 1, 1), normal(4, 1, 1, 1)
    assert np.allclose(Kernel(library, "collapse")([a, b, c], (4, 3, 1, 21), (4, 21)), a * c + b, atol=1e-6)


def test_long_chains_are_cut_into_kernels():
    lines = [f"  %x{i + 1} = nn.unary {('abs', 'neg')[i % 2]} %x{i} : tensor<?xf32> -> tensor<?xf32>" for i in range(20000)]
    source = "\n".join(['func.func @main(%x0: tensor<?xf32> {nn.dims = ["N"]}) -> tensor<?xf32> {', *lines,
                        "  return %x20000 : tensor<?xf32>", "}"])
    passes = "builtin.module(func.func(kernel-form),kernel-outline,emit-cpu-kernels)"
    result = subprocess.run([LATHE_OPT, f"--pass-pipeline={passes}"], input=source, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.count("kernel.launch") == -(-20000 // 256)


@pytest.mark.parametrize("target", ["native", "x86-64-v3"])
def test_gelu_that_is_rounded_to_bf16(target):
    """Within 2^-15 before it is rounded; far out it is its argument or 0."""
    kernel = Kernel(function("f", "pointwise", {"x": (["N"], "f32")}, {"y": (["N"], "bf16")}, """
  %g = nn.unary gelu %x : tensor<?xf32> -> tensor<?xf32>
  %y = nn.cast %g : tensor<?xf32> -> tensor<?xbf16>""", ["N"]), "f", target)
    x = np.concatenate([np.linspace(-8, 8, 100001), [-np.inf, -1e30, -1e-20, 0, 1e-20, 1e30, np.inf, np.nan]]).astype("f4")
    actual = from_bf16(kernel([x], x.shape, x.shape, dtype=np.uint16)).astype(float)
    with np.errstate(invalid="ignore"):
        exact = np.array([v * 0.5 * math.erfc(-v / math.sqrt(2)) if np.isfinite(v) else max(v, 0) for v in x.astype(float)])
        exact[-1] = np.nan
        assert np.all((np.abs(actual - exact) <= 2.0 ** -15 + 2.0 ** -8 * np.abs(exact)) | (actual == exact) | np.isnan(exact))
    assert np.isnan(actual[-1]) and not np.isnan(actual[:-1]).any()
