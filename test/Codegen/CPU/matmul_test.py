# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Matrix products, and convolutions that are such, against numpy."""

import numpy as np
import pytest

from kernel_harness import Kernel, function, to_panels

rng = np.random.default_rng(7)
PANEL = "{kernel.panel = #nn.panel<32 x 1>}"


def normal(*shape):
    return rng.standard_normal(shape, np.float32)


def check(actual, expected, depth):
    assert np.allclose(actual, expected, rtol=1e-5, atol=3e-7 * depth), np.abs(actual - expected).max()


def rows_by_weight(k, n, panel, epilogue=""):
    """x[B, S, k] by w[k, n], then an epilogue that reads a bias and a residual and ends in %r."""
    t = f"tensor<?x?x{n}xf32>"
    return f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {PANEL if panel else ""}, %b: memref<?xi8>, %z: memref<?xi8>,
             %y: memref<?xi8>, %B: index, %S: index) attributes {{kernel.root = "matmul"}} {{
  %a = kernel.input %x[%B, %S] : memref<?xi8> -> tensor<?x?x{k}xf32>
  %m = kernel.input %w[] : memref<?xi8> -> tensor<{k}x{n}xf32>
  %bias = kernel.input %b[] : memref<?xi8> -> tensor<{n}xf32>
  %position = kernel.input %b[%S] : memref<?xi8> -> tensor<?x{n}xf32>
  %residual = kernel.input %z[%B, %S] : memref<?xi8> -> {t}
  %p = nn.matmul %a, %m : tensor<?x?x{k}xf32>, tensor<{k}x{n}xf32> -> {t}
  {epilogue.replace("T", t) if epilogue else f"%r = nn.binary add %p, %bias : {t}, tensor<{n}xf32> -> {t}"}
  kernel.output %r, %y[%B, %S] : {t}, memref<?xi8>
  return
}}"""


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
@pytest.mark.parametrize("panel", [True, False])
@pytest.mark.parametrize("k,n", [(32, 64), (37, 45), (1, 5), (5, 16), (2050, 33)])
def test_any_number_of_rows(target, panel, k, n):
    kernel = Kernel(rows_by_weight(k, n, panel), "f", target)
    w, b = normal(k, n), normal(n)
    weights = to_panels(w) if panel else w
    for rows in list(range(1, 34)) + [64, 65, 100, 129, 200] if k < 100 else (1, 7, 40):
        x = normal(rows, k)
        check(kernel([x, weights, b, b], (rows, n), (1, rows), pieces=1 + rows % 3), x @ w + b, k)


def test_batches_are_rows_of_one_product():
    kernel = Kernel(rows_by_weight(48, 40, True), "f")
    w, b, x = normal(48, 40), normal(40), normal(3, 7, 48)
    check(kernel([x, to_panels(w), b, b], (3, 7, 40), (3, 7)), x @ w + b, 48)
    assert kernel.tasks((16, 4)) == kernel.tasks((1, 64))


def test_rows_before_a_dimension_of_one_element():
    kernel = Kernel(function("f", "matmul", {"a": ([3, 4, 1, "K"], "f32"), "b": (["K", 2], "f32")},
                             {"y": ([3, 4, 1, 2], "f32")},
                             "%y = nn.matmul %a, %b : tensor<3x4x1x?xf32>, tensor<?x2xf32> -> tensor<3x4x1x2xf32>",
                             ["K"]), "f")
    a, b = normal(3, 4, 1, 5), normal(5, 2)
    check(kernel([a, b], (3, 4, 1, 2), (5,)), a @ b, 5)


def test_no_rows():
    kernel = Kernel(rows_by_weight(8, 8, True), "f")
    assert kernel.tasks((0, 5))[0] == 0


def test_epilogue_reads_residual():
    epilogue = "%s = nn.binary mul %p, %residual : T, T -> T\n %r = nn.binary add %s, %residual : T, T -> T"
    kernel = Kernel(rows_by_weight(24, 33, True, epilogue), "f")
    w, b, x, z = normal(24, 33), normal(33), normal(2, 9, 24), normal(2, 9, 33)
    check(kernel([x, to_panels(w), b, z], (2, 9, 33), (2, 9)), (x @ w) * z + z, 24)


def test_epilogue_reads_operand_of_one_row_dimension():
    epilogue = "%r = nn.binary add %p, %position : T, tensor<?x33xf32> -> T"
    kernel = Kernel(rows_by_weight(24, 33, True, epilogue), "f")
    w, b, x = normal(24, 33), normal(9, 33), normal(2, 9, 24)
    check(kernel([x, to_panels(w), b, b], (2, 9, 33), (2, 9)), x @ w + b, 24)


def test_rows_of_a_slice():
    """The middle third of the last dimension."""
    kernel = Kernel(f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {PANEL}, %y: memref<?xi8>, %B: index, %S: index)
    attributes {{kernel.root = "matmul"}} {{
  %a = kernel.input %x[%B, %S] : memref<?xi8> -> tensor<?x?x96xf32>
  %m = kernel.input %w[] : memref<?xi8> -> tensor<32x64xf32>
  %s = nn.slice %a offsets [0, 0, 32] sizes [%B, %S, 32] strides [1, 1, 1] : tensor<?x?x96xf32> -> tensor<?x?x32xf32>
  %p = nn.matmul %s, %m : tensor<?x?x32xf32>, tensor<32x64xf32> -> tensor<?x?x64xf32>
  kernel.output %p, %y[%B, %S] : tensor<?x?x64xf32>, memref<?xi8>
  return
}}""", "f")
    w, x = normal(32, 64), normal(2, 11, 96)
    check(kernel([x, to_panels(w)], (2, 11, 64), (2, 11)), x[:, :, 32:64] @ w, 32)
    assert kernel.tasks((16, 4)) == kernel.tasks((1, 64))


def test_first_row_of_each_batch():
    kernel = Kernel(f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {PANEL}, %y: memref<?xi8>, %B: index, %S: index)
    attributes {{kernel.root = "matmul"}} {{
  %a = kernel.input %x[%B, %S] : memref<?xi8> -> tensor<?x?x32xf32>
  %m = kernel.input %w[] : memref<?xi8> -> tensor<32x64xf32>
  %s = nn.slice %a offsets [0, 0, 0] sizes [%B, 1, 32] strides [1, 1, 1] : tensor<?x?x32xf32> -> tensor<?x1x32xf32>
  %p = nn.matmul %s, %m : tensor<?x1x32xf32>, tensor<32x64xf32> -> tensor<?x1x64xf32>
  kernel.output %p, %y[%B] : tensor<?x1x64xf32>, memref<?xi8>
  return
}}""", "f")
    w, x = normal(32, 64), normal(5, 3, 32)
    check(kernel([x, to_panels(w)], (5, 1, 64), (5, 3)), x[:, :1] @ w, 32)


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
def test_batched_product_with_a_transposed_operand(target):
    """Q Kt of heads that stand next to their features, Sk any size."""
    kernel = Kernel("""
func.func @f(%q: memref<?xi8>, %k: memref<?xi8>, %y: memref<?xi8>, %B: index, %S: index, %T: index)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %q[%B, %S] : memref<?xi8> -> tensor<?x?x3x20xf32>
  %1 = kernel.input %k[%B, %T] : memref<?xi8> -> tensor<?x?x3x20xf32>
  %2 = nn.transpose %0 perm([0, 2, 1, 3]) : tensor<?x?x3x20xf32> -> tensor<?x3x?x20xf32>
  %3 = nn.transpose %1 perm([0, 2, 3, 1]) : tensor<?x?x3x20xf32> -> tensor<?x3x20x?xf32>
  %4 = nn.matmul %2, %3 : tensor<?x3x?x20xf32>, tensor<?x3x20x?xf32> -> tensor<?x3x?x?xf32>
  kernel.output %4, %y[%B, %S, %T] : tensor<?x3x?x?xf32>, memref<?xi8>
  return
}""", "f", target)
    for s, t in ((1, 1), (5, 33), (70, 40)):
        q, k = normal(2, s, 3, 20), normal(2, t, 3, 20)
        expected = q.transpose(0, 2, 1, 3) @ k.transpose(0, 2, 3, 1)
        check(kernel([q, k], (2, 3, s, t), (2, s, t)), expected, 20)


def test_dynamic_depth():
    """P V: the reduced dimension is a symbol, the right operand a matrix with strides."""
    kernel = Kernel("""
func.func @f(%p: memref<?xi8>, %v: memref<?xi8>, %y: memref<?xi8>, %S: index, %T: index)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %p[%S, %T] : memref<?xi8> -> tensor<3x?x?xf32>
  %1 = kernel.input %v[%T] : memref<?xi8> -> tensor<?x3x20xf32>
  %2 = nn.transpose %1 perm([1, 0, 2]) : tensor<?x3x20xf32> -> tensor<3x?x20xf32>
  %3 = nn.matmul %0, %2 : tensor<3x?x?xf32>, tensor<3x?x20xf32> -> tensor<3x?x20xf32>
  kernel.output %3, %y[%S] : tensor<3x?x20xf32>, memref<?xi8>
  return
}""", "f")
    for s, t in ((1, 1), (9, 30), (4, 5000)):
        p, v = normal(3, s, t), normal(t, 3, 20)
        check(kernel([p, v], (3, s, 20), (s, t)), p @ v.transpose(1, 0, 2), t)


def test_transposed_left_operand():
    kernel = Kernel("""
func.func @f(%a: memref<?xi8>, %b: memref<?xi8>, %y: memref<?xi8>, %S: index) attributes {kernel.root = "matmul"} {
  %0 = kernel.input %a[%S] : memref<?xi8> -> tensor<19x?xf32>
  %1 = kernel.input %b[] : memref<?xi8> -> tensor<19x50xf32>
  %2 = nn.transpose %0 perm([1, 0]) : tensor<19x?xf32> -> tensor<?x19xf32>
  %3 = nn.matmul %2, %1 : tensor<?x19xf32>, tensor<19x50xf32> -> tensor<?x50xf32>
  kernel.output %3, %y[%S] : tensor<?x50xf32>, memref<?xi8>
  return
}""", "f")
    a, b = normal(19, 13), normal(19, 50)
    check(kernel([a, b], (13, 50), (13,)), a.T @ b, 19)


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
@pytest.mark.parametrize("panel", [True, False])
@pytest.mark.parametrize("filters", [8, 24, 45])
def test_convolution_of_single_pixels(target, panel, filters):
    """All pixels are rows of one product."""
    y = f"tensor<?x?x9x{filters}xf32>"
    kernel = Kernel(f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {PANEL if panel else ""}, %z: memref<?xi8>, %y: memref<?xi8>,
             %B: index, %H: index) attributes {{kernel.root = "matmul"}} {{
  %0 = kernel.input %x[%B, %H] : memref<?xi8> -> tensor<?x?x9x12xf32>
  %1 = kernel.input %w[] : memref<?xi8> -> tensor<1x1x12x{filters}xf32>
  %2 = kernel.input %z[%B, %H] : memref<?xi8> -> {y}
  %3 = nn.conv %0, %1 strides([1, 1]) pads([0, 0, 0, 0]) dilations([1, 1]) groups(1)
    : tensor<?x?x9x12xf32>, tensor<1x1x12x{filters}xf32> -> {y}
  %4 = nn.binary add %3, %2 : {y}, {y} -> {y}
  kernel.output %4, %y[%B, %H] : {y}, memref<?xi8>
  return
}}""", "f", target)
    x, w, z = normal(3, 5, 9, 12), normal(12, filters), normal(3, 5, 9, filters)
    check(kernel([x, to_panels(w) if panel else w, z], z.shape, (3, 5)), x @ w + z, 12)
    assert kernel.tasks((2, 30)) == kernel.tasks((1, 60))


def test_convolution_of_single_pixels_with_channels_that_come_first():
    kernel = Kernel(f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {PANEL}, %y: memref<?xi8>, %B: index)
    attributes {{kernel.root = "matmul"}} {{
  %0 = kernel.input %x[%B] : memref<?xi8> -> tensor<?x32x150xf32>
  %1 = nn.transpose %0 perm([0, 2, 1]) : tensor<?x32x150xf32> -> tensor<?x150x32xf32>
  %2 = kernel.input %w[] : memref<?xi8> -> tensor<1x32x40xf32>
  %3 = nn.conv %1, %2 strides([1]) pads([0, 0]) dilations([1]) groups(1)
    : tensor<?x150x32xf32>, tensor<1x32x40xf32> -> tensor<?x150x40xf32>
  kernel.output %3, %y[%B] : tensor<?x150x40xf32>, memref<?xi8>
  return
}}""", "f")
    x, w = normal(3, 32, 150), normal(32, 40)
    check(kernel([x, to_panels(w)], (3, 150, 40), (3,)), x.transpose(0, 2, 1) @ w, 32)


def test_operands_that_no_strides_describe():
    """Heads are joined by a reshape of a transposed tensor, on both sides."""
    kernel = Kernel("""
func.func @f(%a: memref<?xi8>, %b: memref<?xi8>, %y: memref<?xi8>, %B: index, %S: index)
    attributes {kernel.root = "matmul"} {
  %0 = kernel.input %a[%B, %S] : memref<?xi8> -> tensor<?x3x?x100xf32>
  %1 = kernel.input %b[] : memref<?xi8> -> tensor<3x40x100xf32>
  %2 = nn.transpose %0 perm([0, 2, 1, 3]) : tensor<?x3x?x100xf32> -> tensor<?x?x3x100xf32>
  %3 = nn.reshape %2 to [%B, %S, 300] : tensor<?x?x3x100xf32> -> tensor<?x?x300xf32>
  %4 = nn.transpose %1 perm([1, 0, 2]) : tensor<3x40x100xf32> -> tensor<40x3x100xf32>
  %5 = nn.reshape %4 to [300, 40] : tensor<40x3x100xf32> -> tensor<300x40xf32>
  %6 = nn.matmul %3, %5 : tensor<?x?x300xf32>, tensor<300x40xf32> -> tensor<?x?x40xf32>
  kernel.output %6, %y[%B, %S] : tensor<?x?x40xf32>, memref<?xi8>
  return
}""", "f")
    for s in (1, 70):
        a, b = normal(2, 3, s, 100), normal(3, 40, 100)
        joined = a.transpose(0, 2, 1, 3).reshape(2, s, 300)
        check(kernel([a, b], (2, s, 40), (2, s)), joined @ b.transpose(1, 0, 2).reshape(300, 40), 300)


@pytest.mark.parametrize("rows", [1, 9])
def test_epilogue_of_one_column(rows):
    """Each op of the epilogue reads vectors of the product, of which one lane counts, and scalars."""
    epilogue = """%half = arith.constant dense<0.5> : tensor<f32>
  %q = nn.binary add %p, %half : T, tensor<f32> -> T
  %r = nn.unary abs %q : T -> T"""
    kernel = Kernel(rows_by_weight(4, 1, True, epilogue), "f")
    x, w, b = normal(rows, 4), normal(4, 1), normal(1)
    check(kernel([x, to_panels(w), b, b], (rows, 1), (1, rows)), np.abs(x @ w + 0.5), 4)
