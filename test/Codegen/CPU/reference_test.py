# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels by their reference lowering against numpy."""

import subprocess

import numpy as np
import pytest

from kernel_harness import LATHE_OPT, Kernel, build, function

rng = np.random.default_rng(11)


def normal(*shape):
    return rng.standard_normal(shape, np.float32)


SOURCE = "".join([
    function("add", "reference", {"a": (["B", "N"], "f32"), "b": (["N"], "f32")}, {"y": (["B", "N"], "f32")},
             "  %y = nn.binary add %a, %b : tensor<?x?xf32>, tensor<?xf32> -> tensor<?x?xf32>", ["B", "N"]),
    function("scalar", "reference", {"a": ([], "f32")}, {"y": ([], "f32")},
             "  %y = nn.unary neg %a : tensor<f32> -> tensor<f32>"),
    function("matmul", "reference", {"a": (["B", 5], "f32"), "b": ([5, 7], "f32")}, {"y": (["B", 7], "f32")},
             "  %y = nn.matmul %a, %b : tensor<?x5xf32>, tensor<5x7xf32> -> tensor<?x7xf32>", ["B"]),
    function("conv", "reference", {"x": ([1, 6, 6, 4], "f32"), "w": ([3, 3, 2, 8], "f32")},
             {"y": ([1, 3, 3, 8], "f32")}, """
  %y = nn.conv %x, %w strides([2, 2]) pads([1, 1, 1, 1]) dilations([1, 1]) groups(2)
    : tensor<1x6x6x4xf32>, tensor<3x3x2x8xf32> -> tensor<1x3x3x8xf32>"""),
    function("arg_max", "reference", {"x": (["B", "N"], "f32")}, {"y": (["B"], "i64")}, """
  %y = nn.arg_reduce max %x axis(1) keep_dims(false) select_last(false) : tensor<?x?xf32> -> tensor<?xi64>""",
             ["B", "N"]),
    function("concat", "reference", {"a": (["B", "N"], "f32"), "b": (["B", "M"], "f32")}, {"y": (["B", "S"], "f32")},
             "  %y = nn.concat %a, %b axis(1) : tensor<?x?xf32>, tensor<?x?xf32> -> tensor<?x?xf32>",
             ["B", "N", "M", "S"]),
    function("gather", "reference", {"x": (["N", 3], "f32"), "i": (["B"], "i64")}, {"y": (["B", 3], "f32")},
             "  %y = nn.gather %x, %i axis(0) : tensor<?x3xf32>, tensor<?xi64> -> tensor<?x3xf32>", ["N", "B"]),
    function("transpose", "reference", {"x": (["B", "N"], "f32")}, {"y": (["N", "B"], "f32")},
             "  %y = nn.transpose %x perm([1, 0]) : tensor<?x?xf32> -> tensor<?x?xf32>", ["B", "N"]),
    function("compare", "reference", {"a": (["N"], "f32"), "m": (["N"], "i1")}, {"y": (["N"], "i1")}, """
  %c = arith.constant dense<0.5> : tensor<f32>
  %0 = nn.compare gt %a, %c : tensor<?xf32>, tensor<f32> -> tensor<?xi1>
  %y = nn.binary and %0, %m : tensor<?xi1>, tensor<?xi1> -> tensor<?xi1>""", ["N"]),
    function("unsigned", "reference", {"a": (["N"], "ui8"), "b": (["N"], "ui8")}, {"y": (["N"], "ui8")},
             "  %y = nn.binary div %a, %b : tensor<?xui8>, tensor<?xui8> -> tensor<?xui8>", ["N"]),
    function("softmax", "reference", {"x": ([3, 20], "f32")}, {"y": ([3, 20], "f32")},
             "  %y = nn.softmax %x axis(0) : tensor<3x20xf32> -> tensor<3x20xf32>"),
    function("sum", "reference", {"x": (["B", "N"], "f16")}, {"y": ([1, "N"], "f16")},
             "  %y = nn.reduce sum %x axes([0]) keep_dims(true) : tensor<?x?xf16> -> tensor<1x?xf16>", ["B", "N"]),
    function("mean", "reference", {"x": (["B", 3, "N"], "i32")}, {"y": (["B", 1, "N"], "i32")},
             "  %y = nn.reduce mean %x axes([1]) keep_dims(true) : tensor<?x3x?xi32> -> tensor<?x1x?xi32>", ["B", "N"]),
    function("matmul_half", "reference", {"a": (["B", 5], "f16"), "b": ([5, 7], "f16")}, {"y": (["B", 7], "f16")},
             "  %y = nn.matmul %a, %b : tensor<?x5xf16>, tensor<5x7xf16> -> tensor<?x7xf16>", ["B"]),
    function("reshape", "reference", {"x": (["B", 6], "f32")}, {"y": (["B", 2, 3], "f32")},
             "  %y = nn.reshape %x to [%B, 2, 3] : tensor<?x6xf32> -> tensor<?x2x3xf32>", ["B"]),
    function("copy", "reference", {"x": (["B"], "f32")}, {"y": (["B"], "f32")},
             "  %y = nn.expand %x to [%B] : tensor<?xf32> -> tensor<?xf32>", ["B"]),
    function("range", "reference", {"s": ([], "i64"), "d": ([], "i64")}, {"y": (["N"], "i64")},
             "  %y = nn.range %s, %d size %N : tensor<i64>, tensor<i64> -> tensor<?xi64>", ["N"]),
    function("sizes", "reference", {}, {"y": ([2], "i64")}, "  %y = nn.from_scalars %N, %M : tensor<2xi64>", ["N", "M"]),
])


@pytest.fixture(scope="module")
def library():
    return build(SOURCE)


def test_broadcasts(library):
    a, b = normal(3, 5), normal(5)
    assert np.array_equal(Kernel(library, "add")([a, b], (3, 5), (3, 5)), a + b)
    assert Kernel(library, "add")([normal(0, 5), b], (0, 5), (0, 5)).size == 0


def test_rank_0(library):
    a = np.array(normal())
    assert Kernel(library, "scalar")([a], ()) == -a


def test_products(library):
    a, b = normal(4, 5), normal(5, 7)
    assert np.allclose(Kernel(library, "matmul")([a, b], (4, 7), (4,)), a @ b, atol=1e-5)


def test_grouped_convolution_in_two_dimensions(library):
    x, w = normal(1, 6, 6, 4), normal(3, 3, 2, 8)
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    expected = np.zeros((1, 3, 3, 8), np.float32)
    for i in range(3):
        for j in range(3):
            window = padded[2 * i:2 * i + 3, 2 * j:2 * j + 3]
            for group in range(2):
                expected[0, i, j, 4 * group:4 * group + 4] = np.einsum(
                    "hwc,hwco->o", window[..., 2 * group:2 * group + 2], w[..., 4 * group:4 * group + 4])
    assert np.allclose(Kernel(library, "conv")([x, w], (1, 3, 3, 8)), expected, atol=1e-5)


def test_position_of_the_maximum(library):
    x = rng.integers(0, 9, (5, 30)).astype(np.float32)
    assert np.array_equal(Kernel(library, "arg_max")([x], (5,), (5, 30), np.int64), x.argmax(1))


def test_concatenation(library):
    a, b = normal(3, 5), normal(3, 2)
    assert np.array_equal(Kernel(library, "concat")([a, b], (3, 7), (3, 5, 2, 7)), np.concatenate([a, b], 1))


def test_gather_faults(library):
    x = normal(4, 3)
    for index, fault in ((3, 0), (-4, 0), (4, 1), (-5, 1)):
        i = np.array([0, index])
        y, = Kernel(library, "gather").run([x, i], [((2, 3), np.float32)], (4, 2), fault=fault)
        assert np.array_equal(y[0], x[0]) and (fault or np.array_equal(y[1], x[index]))


def test_transpose(library):
    x = normal(3, 5)
    assert np.array_equal(Kernel(library, "transpose")([x], (5, 3), (3, 5)), x.T)


def test_bools_and_unsigned_integers(library):
    a, m = normal(20), rng.integers(0, 2, 20).astype(np.bool_)
    assert np.array_equal(Kernel(library, "compare")([a, m], (20,), (20,), np.bool_), (a > 0.5) & m)
    a, b = rng.integers(0, 256, 50).astype(np.uint8), rng.integers(1, 256, 50).astype(np.uint8)
    assert np.array_equal(Kernel(library, "unsigned")([a, b], (50,), (50,), np.uint8), a // b)


def test_accumulators_of_another_type_need_no_memory(library):
    x = normal(9, 17).astype(np.float16)
    assert np.allclose(Kernel(library, "sum")([x], (1, 17), (9, 17), np.float16), x.astype(np.float32).sum(0), rtol=1e-3,
                       atol=1e-2)
    x = rng.integers(-99, 99, (2, 3, 5)).astype(np.int32)
    expected = np.trunc(x.sum(1, keepdims=True) / 3)
    assert np.array_equal(Kernel(library, "mean")([x], (2, 1, 5), (2, 5), np.int32), expected)
    a, b = normal(4, 5).astype(np.float16), normal(5, 7).astype(np.float16)
    expected = a.astype(np.float32) @ b.astype(np.float32)
    assert np.allclose(Kernel(library, "matmul_half")([a, b], (4, 7), (4,), np.float16), expected, rtol=1e-3, atol=1e-2)


def test_composite_ops_are_decomposed(library):
    x = normal(3, 20)
    e = np.exp(x - x.max(0))
    assert np.allclose(Kernel(library, "softmax")([x], (3, 20)), e / e.sum(0), atol=1e-6)


def test_views_become_copies(library):
    x = normal(4, 6)
    assert np.array_equal(Kernel(library, "reshape")([x], (4, 2, 3), (4,)), x.reshape(4, 2, 3))
    assert np.array_equal(Kernel(library, "copy")([x.reshape(24)], (24,), (24,)), x.reshape(24))


def test_ranges_and_sizes(library):
    y = Kernel(library, "range")([np.array(3), np.array(-2)], (7,), (7,), np.int64)
    assert np.array_equal(y, 3 - 2 * np.arange(7))
    assert np.array_equal(Kernel(library, "sizes")([], (2,), (4, 9), np.int64), [4, 9])


def test_temporary_memory_of_unknown_size_is_refused():
    source = function("f", "reference", {"x": (["B", "N"], "f32")}, {"y": (["B", "N"], "f32")},
                      "  %y = nn.softmax %x axis(1) : tensor<?x?xf32> -> tensor<?x?xf32>", ["B", "N"])
    result = subprocess.run([LATHE_OPT, "--emit-cpu-kernels"], input=source, capture_output=True, text=True)
    assert result.returncode != 0 and "needs temporary memory of a size known at run time only" in result.stderr
