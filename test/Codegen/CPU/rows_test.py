# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels with reductions against numpy in f64."""

import numpy as np
import pytest

from kernel_harness import Kernel, build, function

rng = np.random.default_rng(5)
TARGETS = ["x86-64-v4", "x86-64-v3"]
LENGTHS = [*range(1, 34), 63, 64, 65, 127, 128, 200, 384]


def normal(*shape):
    return rng.standard_normal(shape, np.float32)


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layer_norm(x, scale, bias, epsilon, axes=(-1,)):
    x = x.astype(np.float64)
    d = x - x.mean(axes, keepdims=True)
    return d / np.sqrt((d * d).mean(axes, keepdims=True) + epsilon) * scale + bias


def close(actual, expected, tolerance=2e-6):
    scale = max(1.0, np.abs(expected).max(initial=0))
    return np.allclose(actual, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def reduce(name, kind, shape, axes, keep, result, element="f32", sizes=("B", "N"), out=None):
    tensor = "tensor<" + "".join(f"{d if isinstance(d, int) else '?'}x" for d in shape) + element + ">"
    to = "tensor<" + "".join(f"{d if isinstance(d, int) else '?'}x" for d in result) + element + ">"
    return function(name, "rows", {"x": (shape, element)}, {"y": (result, element)},
                    f"  %y = nn.reduce {kind} %x axes([{', '.join(map(str, axes))}]) keep_dims({keep}) : "
                    f"{tensor} -> {to}", sizes)


KINDS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod}
SOURCE = "".join([
    function("softmax", "rows", {"x": (["B", "N"], "f32")}, {"y": (["B", "N"], "f32")},
             "  %y = nn.softmax %x axis(1) : tensor<?x?xf32> -> tensor<?x?xf32>", ["B", "N"]),
    function("log_softmax", "rows", {"x": (["B", "N"], "f32")}, {"y": (["B", "N"], "f32")},
             "  %y = nn.softmax log %x axis(1) : tensor<?x?xf32> -> tensor<?x?xf32>", ["B", "N"]),
    function("softmax_half", "rows", {"x": (["B", 77], "f16")}, {"y": (["B", 77], "f16")},
             "  %y = nn.softmax %x axis(1) : tensor<?x77xf16> -> tensor<?x77xf16>", ["B"]),
    function("softmax_masked", "rows", {"x": (["B", 3, "N"], "f32"), "m": (["B", 1, "N"], "f32")},
             {"y": (["B", 3, "N"], "f32")}, """
  %c = arith.constant dense<0.125> : tensor<f32>
  %0 = nn.binary mul %x, %c : tensor<?x3x?xf32>, tensor<f32> -> tensor<?x3x?xf32>
  %1 = nn.binary add %0, %m : tensor<?x3x?xf32>, tensor<?x1x?xf32> -> tensor<?x3x?xf32>
  %2 = nn.softmax %1 axis(2) : tensor<?x3x?xf32> -> tensor<?x3x?xf32>
  %y = nn.binary mul %2, %x : tensor<?x3x?xf32>, tensor<?x3x?xf32> -> tensor<?x3x?xf32>""", ["B", "N"]),
    function("layer_norm", "rows", {"x": (["B", "N"], "f32"), "s": (["N"], "f32"), "b": (["N"], "f32")},
             {"y": (["B", "N"], "f32")},
             "  %y = nn.layer_norm %x, %s, %b axis(1) epsilon(1.0e-5) : "
             "tensor<?x?xf32>, tensor<?xf32>, tensor<?xf32> -> tensor<?x?xf32>", ["B", "N"]),
    function("layer_norm_2", "rows", {"x": (["B", 3, 21], "f32"), "s": ([3, 21], "f32"), "b": ([3, 21], "f32")},
             {"y": (["B", 3, 21], "f32")},
             "  %y = nn.layer_norm %x, %s, %b axis(1) epsilon(1.0e-5) : "
             "tensor<?x3x21xf32>, tensor<3x21xf32>, tensor<3x21xf32> -> tensor<?x3x21xf32>", ["B"]),
    function("residual_norm", "rows",
             {"x": (["B", "S", 40], "f32"), "r": (["B", "S", 40], "f32"), "s": ([40], "f32"), "b": ([40], "f32")},
             {"t": (["B", "S", 40], "f32"), "y": (["B", "S", 40], "f32")}, """
  %t = nn.binary add %x, %r : tensor<?x?x40xf32>, tensor<?x?x40xf32> -> tensor<?x?x40xf32>
  %y = nn.layer_norm %t, %s, %b axis(2) epsilon(1.0e-5)
    : tensor<?x?x40xf32>, tensor<40xf32>, tensor<40xf32> -> tensor<?x?x40xf32>""", ["B", "S"]),
    function("embedding_norm", "rows",
             {"w": ([31, 40], "f32"), "p": ([50, 40], "f32"), "i": (["B", "S"], "i64"), "s": ([40], "f32"),
              "b": ([40], "f32")},
             {"y": (["B", "S", 40], "f32")}, """
  %0 = nn.gather %w, %i axis(0) : tensor<31x40xf32>, tensor<?x?xi64> -> tensor<?x?x40xf32>
  %1 = nn.slice %p offsets [0, 0] sizes [%S, 40] strides [1, 1] : tensor<50x40xf32> -> tensor<?x40xf32>
  %2 = nn.binary add %0, %1 : tensor<?x?x40xf32>, tensor<?x40xf32> -> tensor<?x?x40xf32>
  %y = nn.layer_norm %2, %s, %b axis(2) epsilon(1.0e-5)
    : tensor<?x?x40xf32>, tensor<40xf32>, tensor<40xf32> -> tensor<?x?x40xf32>""", ["B", "S"]),
    function("rms_norm", "rows", {"x": (["B", "N"], "f32"), "s": (["N"], "f32")}, {"y": (["B", "N"], "f32")},
             "  %y = nn.rms_norm %x, %s axis(1) epsilon(1.0e-5) : "
             "tensor<?x?xf32>, tensor<?xf32> -> tensor<?x?xf32>", ["B", "N"]),
    function("norm_by_hand", "rows", {"x": (["B", "N"], "f32")}, {"y": (["B", "N"], "f32"), "v": (["B"], "f32")}, """
  %m = nn.reduce mean %x axes([1]) keep_dims(true) : tensor<?x?xf32> -> tensor<?x1xf32>
  %d = nn.binary sub %x, %m : tensor<?x?xf32>, tensor<?x1xf32> -> tensor<?x?xf32>
  %q = nn.binary mul %d, %d : tensor<?x?xf32>, tensor<?x?xf32> -> tensor<?x?xf32>
  %v = nn.reduce mean %q axes([1]) keep_dims(false) : tensor<?x?xf32> -> tensor<?xf32>
  %w = nn.reshape %v to [%B, 1] : tensor<?xf32> -> tensor<?x1xf32>
  %r = nn.unary rsqrt %w : tensor<?x1xf32> -> tensor<?x1xf32>
  %y = nn.binary mul %d, %r : tensor<?x?xf32>, tensor<?x1xf32> -> tensor<?x?xf32>""", ["B", "N"]),
    function("two_sums", "rows", {"x": (["B", "N"], "f32"), "z": (["B", "N"], "f32")}, {"y": (["B"], "f32")}, """
  %0 = nn.reduce sum %x axes([1]) keep_dims(false) : tensor<?x?xf32> -> tensor<?xf32>
  %1 = nn.reduce sum_square %z axes([1]) keep_dims(false) : tensor<?x?xf32> -> tensor<?xf32>
  %y = nn.binary sub %0, %1 : tensor<?xf32>, tensor<?xf32> -> tensor<?xf32>""", ["B", "N"]),
    function("masked_mean", "rows", {"x": (["B", "S", 24], "f32"), "m": (["B", "S"], "i64")}, {"y": (["B", 24], "f32")},
             """
  %0 = nn.cast %m : tensor<?x?xi64> -> tensor<?x?xf32>
  %1 = nn.reshape %0 to [%B, %S, 1] : tensor<?x?xf32> -> tensor<?x?x1xf32>
  %2 = nn.binary mul %x, %1 : tensor<?x?x24xf32>, tensor<?x?x1xf32> -> tensor<?x?x24xf32>
  %y = nn.reduce sum %2 axes([1]) keep_dims(false) : tensor<?x?x24xf32> -> tensor<?x24xf32>""", ["B", "S"]),
    function("column_variance", "rows", {"x": (["B", "S", "N"], "f32")}, {"y": (["B", 1, "N"], "f32")}, """
  %m = nn.reduce mean %x axes([1]) keep_dims(true) : tensor<?x?x?xf32> -> tensor<?x1x?xf32>
  %d = nn.binary sub %x, %m : tensor<?x?x?xf32>, tensor<?x1x?xf32> -> tensor<?x?x?xf32>
  %q = nn.binary mul %d, %d : tensor<?x?x?xf32>, tensor<?x?x?xf32> -> tensor<?x?x?xf32>
  %y = nn.reduce mean %q axes([1]) keep_dims(true) : tensor<?x?x?xf32> -> tensor<?x1x?xf32>""", ["B", "S", "N"]),
    *[reduce(f"row_{kind}", kind, ["B", "N"], [1], "false", ["B"]) for kind in KINDS],
    *[reduce(f"column_{kind}", kind, ["B", "S", "N"], [1], "true", ["B", 1, "N"], sizes=("B", "S", "N"))
      for kind in KINDS],
    reduce("pool", "mean", ["B", 3, 5, "N"], [1, 2], "false", ["B", "N"]),
    reduce("outer", "sum", ["B", "S", "N"], [0, 2], "false", ["S"], sizes=("B", "S", "N")),
    reduce("everything", "sum", ["B", "N"], [0, 1], "false", []),
    reduce("long_max", "max", ["B", "N"], [1], "true", ["B", 1], "i64"),
    reduce("byte_min", "min", ["B", "N"], [1], "false", ["B"], "ui8"),
    reduce("all", "all", ["B", "N"], [1], "false", ["B"], "i1"),
    reduce("any", "any", ["B", "S", "N"], [1], "false", ["B", "N"], "i1", sizes=("B", "S", "N")),
    reduce("half_sum", "sum", ["B", "N"], [1], "false", ["B"], "f16"),
])


@pytest.fixture(scope="module", params=TARGETS)
def library(request):
    return build(SOURCE, request.param)


def test_softmax_of_every_length(library):
    for n in LENGTHS:
        x = normal(3, n) * 5
        assert close(Kernel(library, "softmax")([x], (3, n), (3, n), pieces=2), softmax(x))
        assert close(Kernel(library, "log_softmax")([x], (3, n), (3, n)), np.log(softmax(x)))


def test_softmax_of_extremes(library):
    x = normal(4, 20)
    x[0] = -np.inf
    x[1, 3] = np.nan
    x[2, 5] = -np.inf
    x[3] = 3e38
    with np.errstate(invalid="ignore"):
        assert close(Kernel(library, "softmax")([x], (4, 20), (4, 20)), softmax(x))


def test_softmax_in_half(library):
    x = normal(5, 77).astype(np.float16)
    assert close(Kernel(library, "softmax_half")([x], (5, 77), (5,), np.float16), softmax(x), 1e-3)


def test_softmax_with_prologue_and_epilogue(library):
    for n in (1, 16, 37):
        x, m = normal(2, 3, n), np.where(normal(2, 1, n) < 0, np.float32(-1e9), np.float32(0))
        m[..., 0] = 0
        expected = softmax(x * np.float32(0.125) + m) * x
        assert close(Kernel(library, "softmax_masked")([x, m], (2, 3, n), (2, n), pieces=3), expected)


def test_layer_norm_of_every_length(library):
    for n in LENGTHS:
        x, s, b = normal(3, n) * 3 + 1, normal(n), normal(n)
        assert close(Kernel(library, "layer_norm")([x, s, b], (3, n), (3, n), pieces=2),
                     layer_norm(x, s, b, 1e-5), 5e-6)


def test_layer_norm_does_not_cancel(library):
    x, s, b = normal(3, 100) + 1000, normal(100), normal(100)
    assert close(Kernel(library, "layer_norm")([x, s, b], (3, 100), (3, 100)), layer_norm(x, s, b, 1e-5), 1e-4)


def test_layer_norm_over_two_dimensions(library):
    x, s, b = normal(4, 3, 21), normal(3, 21), normal(3, 21)
    assert close(Kernel(library, "layer_norm_2")([x, s, b], (4, 3, 21), (4,)),
                 layer_norm(x, s, b, 1e-5, (1, 2)), 5e-6)


def test_norm_of_a_sum_that_is_an_output_too(library):
    x, r, s, b = normal(2, 5, 40), normal(2, 5, 40), normal(40), normal(40)
    t, y = Kernel(library, "residual_norm").run([x, r, s, b], [((2, 5, 40), np.float32)] * 2, (2, 5), 3)
    assert np.array_equal(t, x + r) and close(y, layer_norm(x + r, s, b, 1e-5), 5e-6)


def test_embedding_and_norm_are_one_kernel(library):
    w, p, i, s, b = normal(31, 40), normal(50, 40), rng.integers(0, 31, (2, 7)), normal(40), normal(40)
    y = Kernel(library, "embedding_norm")([w, p, i, s, b], (2, 7, 40), (2, 7))
    assert close(y, layer_norm(w[i] + p[:7], s, b, 1e-5), 5e-6)
    i[1, 2] = 31
    Kernel(library, "embedding_norm").run([w, p, i, s, b], [((2, 7, 40), np.float32)], (2, 7), fault=1)


def test_rms_norm(library):
    for n in (1, 15, 16, 64, 100):
        x, s = normal(3, n), normal(n)
        expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-5) * s
        assert close(Kernel(library, "rms_norm")([x, s], (3, n), (3, n)), expected)


def test_chained_reductions(library):
    for n in (2, 17, 64, 100):
        x = normal(4, n)
        y, v = Kernel(library, "norm_by_hand").run([x], [((4, n), np.float32), ((4,), np.float32)], (4, n))
        assert close(y, layer_norm(x, 1, 0, 0), 2e-5) and close(v, x.astype(np.float64).var(-1), 1e-5)


def test_reductions_side_by_side(library):
    x, z = normal(4, 50), normal(4, 50)
    expected = x.astype(np.float64).sum(1) - (z.astype(np.float64) ** 2).sum(1)
    assert close(Kernel(library, "two_sums")([x, z], (4,), (4, 50)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_reductions_of_rows(library, kind):
    for n in LENGTHS:
        x = normal(3, n)
        expected = KINDS[kind](x.astype(np.float64), -1)
        assert close(Kernel(library, f"row_{kind}")([x], (3,), (3, n), pieces=2), expected, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_reductions_of_columns(library, kind):
    for n in (1, 3, 16, 17, 63, 64, 65, 130):
        x = normal(2, 9, n)
        expected = KINDS[kind](x.astype(np.float64), 1, keepdims=True)
        assert close(Kernel(library, f"column_{kind}")([x], (2, 1, n), (2, 9, n), pieces=2), expected, 1e-5)


@pytest.mark.parametrize("kind,expected", [("sum", 0), ("mean", np.nan), ("max", -np.inf), ("min", np.inf), ("prod", 1)])
def test_reductions_of_nothing(library, kind, expected):
    assert np.array_equal(Kernel(library, f"row_{kind}")([normal(3, 0)], (3,), (3, 0)), [expected] * 3, equal_nan=True)
    y = Kernel(library, f"column_{kind}")([normal(2, 0, 5)], (2, 1, 5), (2, 0, 5))
    assert np.array_equal(y, np.full((2, 1, 5), expected), equal_nan=True)


def test_maximum_keeps_nan(library):
    x = normal(2, 30)
    x[1, 7] = np.nan
    assert np.array_equal(Kernel(library, "row_max")([x], (2,), (2, 30)), x.max(1), equal_nan=True)
    x = x.reshape(1, 2, 30)
    assert np.array_equal(Kernel(library, "column_max")([x], (1, 1, 30), (1, 2, 30)), x.max(1, keepdims=True),
                          equal_nan=True)


def test_reductions_of_several_dimensions(library):
    x = normal(2, 3, 5, 19)
    assert close(Kernel(library, "pool")([x], (2, 19), (2, 19)), x.astype(np.float64).mean((1, 2)))
    x = normal(4, 3, 19)
    assert close(Kernel(library, "outer")([x], (3,), (4, 3, 19)), x.astype(np.float64).sum((0, 2)))
    assert close(Kernel(library, "everything")([x[0]], (), (3, 19)), x[0].astype(np.float64).sum())


def test_masked_mean_and_column_variance(library):
    x, m = normal(2, 7, 24), rng.integers(0, 2, (2, 7))
    assert close(Kernel(library, "masked_mean")([x, m], (2, 24), (2, 7)), (x * m[..., None]).sum(1))
    assert close(Kernel(library, "column_variance")([x], (2, 1, 24), (2, 7, 24)), x.var(1, keepdims=True), 1e-5)


def test_other_types(library):
    x = rng.integers(-2**60, 2**60, (3, 37))
    assert np.array_equal(Kernel(library, "long_max")([x], (3, 1), (3, 37), np.int64), x.max(1, keepdims=True))
    x = rng.integers(0, 256, (3, 37)).astype(np.uint8)
    assert np.array_equal(Kernel(library, "byte_min")([x], (3,), (3, 37), np.uint8), x.min(1))
    x = rng.integers(0, 8, (4, 37)) > 0
    x[1] = True
    assert np.array_equal(Kernel(library, "all")([x], (4,), (4, 37), np.bool_), x.all(1))
    x = (rng.integers(0, 8, (2, 5, 37)) == 0)
    assert np.array_equal(Kernel(library, "any")([x], (2, 37), (2, 5, 37), np.bool_), x.any(1))
    x = normal(3, 100).astype(np.float16)
    assert close(Kernel(library, "half_sum")([x], (3,), (3, 100), np.float16), x.astype(np.float64).sum(1), 1e-3)
