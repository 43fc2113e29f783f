# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products whose right-hand side is stored in blocks, against numpy."""

import numpy as np
import pytest

from kernel_harness import Kernel

rng = np.random.default_rng(5)


class Blocks:
    """A matrix of which a share of blocks is not zero, and its components."""

    def __init__(self, rows, columns, k, n, share, dtype="f4"):
        self.k, self.n = k, n
        down, across = -(-k // rows), -(-n // columns)
        stored = rng.random((down, across)) < share
        stored[:, across // 2] = False  # a column of blocks without any
        matrix = rng.standard_normal((down * rows, across * columns)).astype("f4")
        if dtype == "i1":
            matrix = rng.integers(-127, 128, matrix.shape).astype("i1")
        matrix *= np.repeat(np.repeat(stored, rows, 0), columns, 1)
        matrix[k:], matrix[:, n:] = 0, 0
        blocks = matrix.reshape(down, rows, across, columns).transpose(2, 0, 3, 1)  # [across, down, columns, rows]
        places, values, starts = [], [], [0]
        for column in range(across):
            (own,) = np.nonzero(blocks[column].any((1, 2)))
            missing = -len(own) % 4
            places += [*own, *[own[-1]] * missing] if len(own) else []
            values += [blocks[column][own], np.zeros((missing if len(own) else 0, columns, rows), dtype)]
            starts.append(len(places))
        self.count = len(places) + 3
        self.matrix = matrix[:k, :n]
        values = np.concatenate([*values, np.zeros((3, columns, rows), dtype)])
        self.components = [np.array(starts, "i4"), np.array([*places, 0, 0, 0], "u2"), values.astype(dtype)]
        if dtype == "i1":
            self.components.append(matrix.sum(0, dtype="i4"))
        self.type = f"!pack.tensor<{k}x{n}x{'i8' if dtype == 'i1' else 'f32'}, " \
                    f"#pack.blocks<rows = {rows}, columns = {columns}, count = {self.count}>>"

    @property
    def bytes(self):
        pieces = [c.tobytes() + bytes(-c.nbytes % 64) for c in self.components]
        return np.frombuffer(b"".join(pieces), "u1").copy()


def float_kernel(w, shape="?", sizes="%S"):
    t = f"tensor<{shape}x{w.n}xf32>"
    return f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8>, %b: memref<?xi8>, %y: memref<?xi8>{''.join(f', {s}: index' for s in sizes.split(', ') if s)})
    attributes {{kernel.root = "matmul"}} {{
  %a = kernel.input %x[{sizes}] : memref<?xi8> -> tensor<{shape}x{w.k}xf32>
  %p = kernel.input %w[] : memref<?xi8> -> {w.type}
  %bias = kernel.input %b[] : memref<?xi8> -> tensor<{w.n}xf32>
  %m = pack.decode %p : {w.type} -> tensor<{w.k}x{w.n}xf32>
  %s = nn.matmul %a, %m : tensor<{shape}x{w.k}xf32>, tensor<{w.k}x{w.n}xf32> -> {t}
  %r = nn.binary add %s, %bias : {t}, tensor<{w.n}xf32> -> {t}
  kernel.output %r, %y[{sizes}] : {t}, memref<?xi8>
  return
}}"""


def bound(w, x, b):
    """Sums of K products in any order: K + 2 roundings of 2^-24 of what is summed up."""
    return (w.k + 2) * 2.0 ** -24 * (np.abs(x).astype("f8") @ np.abs(w.matrix) + np.abs(b)) + 1e-37


FLOATS = [(1, 4, 64, 64, 0.25), (1, 4, 97, 70, 0.5), (1, 4, 40, 131, 0.02), (1, 1, 64, 64, 0.1), (1, 1, 33, 45, 0.5),
          (1, 4, 2100, 40, 0.25), (1, 2, 48, 36, 0.3)]


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
@pytest.mark.parametrize("rows,columns,k,n,share", FLOATS)
def test_floats(target, rows, columns, k, n, share):
    w = Blocks(rows, columns, k, n, share)
    kernel, b = Kernel(float_kernel(w), "f", target), rng.standard_normal(n).astype("f4")
    for m in (1, 2, 8, 9, 15, 16, 17, 32, 33, 70):
        x = rng.standard_normal((m, k)).astype("f4")
        want = x.astype("f8") @ w.matrix.astype("f8") + b
        got = kernel([x, w.bytes, b], (m, n), (m,), pieces=1 + m % 3)
        assert np.all(np.abs(got - want) <= bound(w, x, b)), (m, np.abs(got - want).max())


def test_batches():
    w = Blocks(1, 4, 64, 48, 0.3)
    kernel, b = Kernel(float_kernel(w, "?x?", "%B, %S"), "f"), rng.standard_normal(w.n).astype("f4")
    for batch, m in ((1, 5), (3, 20), (2, 33)):
        x = rng.standard_normal((batch, m, w.k)).astype("f4")
        got = kernel([x, w.bytes, b], (batch, m, w.n), (batch, m))
        assert np.all(np.abs(got - (x.astype("f8") @ w.matrix + b)) <= bound(w, x, b))


def test_computed_left_operand():
    """A transposed tensor is read element by element."""
    w = Blocks(1, 4, 37, 48, 0.3)
    source = float_kernel(w).replace("%a = kernel.input %x[%S] : memref<?xi8> -> tensor<?x37xf32>", """
  %t = kernel.input %x[%S] : memref<?xi8> -> tensor<37x?xf32>
  %a = nn.transpose %t perm([1, 0]) : tensor<37x?xf32> -> tensor<?x37xf32>""")
    kernel, b = Kernel(source, "f"), rng.standard_normal(w.n).astype("f4")
    for m in (1, 17, 40):
        x = rng.standard_normal((m, w.k)).astype("f4")
        got = kernel([np.ascontiguousarray(x.T), w.bytes, b], (m, w.n), (m,))
        assert np.all(np.abs(got - (x.astype("f8") @ w.matrix + b)) <= bound(w, x, b))


def test_not_finite_rows_stay_apart():
    w = Blocks(1, 4, 64, 48, 0.3)
    kernel, b = Kernel(float_kernel(w), "f"), np.zeros(w.n, "f4")
    x = rng.standard_normal((40, w.k)).astype("f4")
    x[3], x[17] = np.nan, np.inf
    got = kernel([x, w.bytes, b], (40, w.n), (40,))
    finite = np.isfinite(x).all(1)
    assert np.all(np.abs(got[finite] - x[finite].astype("f8") @ w.matrix) <= bound(w, x[finite], b))


BYTES = [(64, 64, 0.25), (128, 96, 0.1), (68, 45, 0.5), (67, 70, 0.3)]


def byte_kernel(w, sign, zero):
    t = f"tensor<?x{w.n}xi32>"
    return f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8>, %y: memref<?xi8>, %S: index) attributes {{kernel.root = "matmul"}} {{
  %a = kernel.input %x[%S] : memref<?xi8> -> tensor<?x{w.k}x{sign}8>
  %p = kernel.input %w[] : memref<?xi8> -> {w.type}
  %m = pack.decode %p : {w.type} -> tensor<{w.k}x{w.n}xi8>
  %z = arith.constant dense<{zero}> : tensor<{sign}8>
  %s = nn.integer_matmul %a, %m lhs_zero(%z : tensor<{sign}8>) : tensor<?x{w.k}x{sign}8>, tensor<{w.k}x{w.n}xi8> -> {t}
  kernel.output %s, %y[%S] : {t}, memref<?xi8>
  return
}}"""


@pytest.mark.parametrize("target", ["x86-64-v4+amx", "x86-64-v4+vnni", "x86-64-v4", "x86-64-v3"])
@pytest.mark.parametrize("sign,zero", [("ui", 128), ("i", 3)])
@pytest.mark.parametrize("k,n,share", BYTES)
def test_bytes(target, sign, zero, k, n, share):
    w = Blocks(4, 32, k, n, share, "i1")
    kernel = Kernel(byte_kernel(w, sign, zero), "f", target)
    for m in (1, 3, 8, 17, 64, 101):
        x = rng.integers(0, 256, (m, k)).astype("u1").view("u1" if sign == "ui" else "i1")
        want = (x.astype("i4") - zero) @ w.matrix.astype("i4")
        assert np.array_equal(kernel([x, w.bytes], (m, n), (m,), np.int32, pieces=1 + m % 2), want), m


@pytest.mark.parametrize("make", [lambda: Blocks(1, 4, 65, 46, 0.3), lambda: Blocks(1, 1, 48, 33, 0.1),
                                  lambda: Blocks(4, 32, 66, 70, 0.3, "i1"), lambda: Blocks(3, 5, 31, 21, 0.5)])
def test_decoded_by_itself(make):
    """The reference: every element is looked up."""
    w = make()
    t = f"tensor<{w.k}x{w.n}x{'i8' if w.matrix.dtype == np.int8 else 'f32'}>"
    kernel = Kernel(f"""
func.func @f(%w: memref<?xi8>, %y: memref<?xi8>) attributes {{kernel.root = "pointwise"}} {{
  %p = kernel.input %w[] : memref<?xi8> -> {w.type}
  %m = pack.decode %p : {w.type} -> {t}
  kernel.output %m, %y[] : {t}, memref<?xi8>
  return
}}""", "f")
    assert np.array_equal(kernel([w.bytes], (w.k, w.n), dtype=w.matrix.dtype), w.matrix)
