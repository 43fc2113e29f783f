# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products whose right-hand side is packed, in panels and as components, against numpy."""

import ml_dtypes
import numpy as np
import pytest

from kernel_harness import Kernel

rng = np.random.default_rng(11)
WIDTH = 32


class Grouped:
    """Integers of `bits` bits in groups of rows: random codes, scales and zero points."""

    def __init__(self, bits, group, zeros, scales, k, n):
        self.k, self.n, self.bits, self.group = k, n, bits, group
        name = {2: "int2", 4: "int4", 8: "int8_groups"}[bits]
        self.format = f"#pack.{name}<group = {group}{', zeros = true' if zeros else ''}{', scales = f32' if scales == 'f4' else ''}>"
        self.codes = rng.integers(0, 1 << bits, (k, n), "u1")
        self.scales = rng.uniform(-0.2, 0.2, (k // group, n)).astype(scales)
        self.zeros = rng.integers(0, 1 << bits, (k // group, n), "u1") if zeros else None
        zero = self.zeros.astype("f4") if zeros else np.full((k // group, n), 1 << bits - 1, "f4")
        each = lambda a: np.repeat(a.astype("f4"), group, 0)  # noqa: E731
        self.matrix = (self.codes.astype("f4") - each(zero)) * each(self.scales)
        rows = self.codes.reshape(k * bits // 8, 8 // bits, n).astype("u4") << (bits * np.arange(8 // bits, dtype="u4"))[:, None]
        self.bytes = rows.sum(1).astype("u1")

    def components(self):
        return [self.bytes, self.scales, *([] if self.zeros is None else [self.zeros])]

    def parameters(self, group, columns):
        zeros = [] if self.zeros is None else [self.zeros[group, columns]]
        return [self.scales[group, columns], *zeros]

    def words(self):
        """[K * bits / 32, N, 4] bytes."""
        return self.bytes.reshape(-1, 4, self.n).transpose(0, 2, 1)


class Int8(Grouped):
    """One scale per column, signed."""

    def __init__(self, k, n):
        self.k, self.n, self.bits, self.group, self.zeros = k, n, 8, k, None
        self.format = "#pack.int8<weight_only>"
        self.codes = rng.integers(-127, 128, (k, n)).astype("i1")
        self.scales = rng.uniform(0, 0.1, (1, n)).astype("f4")
        self.matrix = self.codes.astype("f4") * self.scales
        self.bytes = np.zeros((-(-k // 4) * 4, n), "u1")
        self.bytes[:k] = self.codes.view("u1") ^ 0x80

    def components(self):
        return [self.codes, self.scales[0]]


class Float(Grouped):
    """Floats of 16 bits."""

    def __init__(self, name, k, n):
        self.k, self.n, self.bits, self.group = k, n, 16, k
        self.format = f"#pack.{name}"
        self.codes = rng.standard_normal((k, n)).astype({"bf16": ml_dtypes.bfloat16, "f16": "f2"}[name])
        self.matrix = self.codes.astype("f4")

    def components(self):
        return [self.codes]

    def parameters(self, group, columns):
        return []

    def words(self):
        pairs = np.zeros((-(-self.k // 2) * 2, self.n), "u2")
        pairs[:self.k] = self.codes.view("u2")
        return np.ascontiguousarray(pairs.reshape(-1, 2, self.n).transpose(0, 2, 1)).view("u1").reshape(-1, self.n, 4)


NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], "f4")


class Codebook(Grouped):
    """Places in a table: `name` is how it is written, `table` what it holds, of which numbers that are not finite are unused."""

    def __init__(self, name, table, group, scales, k, n):
        self.k, self.n, self.group, self.zeros, self.table = k, n, group, None, np.where(np.isfinite(table), table, 0).astype("f4")
        self.bits = max(int(np.ceil(np.log2(len(table)))), 1)
        self.format = f"#pack.codebook<{name}, group = {group}{', scales = f32' if scales == 'f4' else ''}>"
        self.codes = rng.choice(np.flatnonzero(np.isfinite(table)), (k, n)).astype("u1")
        self.scales = rng.uniform(-0.2, 0.2, (k // group, n)).astype(scales)
        self.matrix = self.table[self.codes] * np.repeat(self.scales.astype("f4"), group, 0)
        bits = self.codes[:, None] >> np.arange(self.bits, dtype="u1")[:, None] & 1
        self.bytes = np.packbits(bits.reshape(k * self.bits, n), axis=0, bitorder="little")

    def components(self):
        return [self.bytes, self.scales, self.table]


def float8(dtype, factor):
    """All 256 in the order of their bits."""
    return np.arange(256, dtype="u1").view(dtype).astype("f4") * np.float32(factor)


def aligned(data):
    raw = data.tobytes()
    return raw + bytes(-len(raw) % 64)


def to_components(w):
    return np.frombuffer(b"".join(aligned(component) for component in w.components()), "u1").copy()


def to_panels(w):
    out = b""
    words = w.words()
    for first in range(0, w.n, WIDTH):
        columns = slice(first, min(first + WIDTH, w.n))
        missing = WIDTH - (columns.stop - first)
        for group in range(-(-w.k // w.group)):
            out += aligned(np.concatenate([np.pad(p, (0, missing)).view("u1") for p in w.parameters(group, columns)] or
                                          [np.zeros(0, "u1")]))
            count = -(-w.group * w.bits // 32)
            part = words[group * count:(group + 1) * count, columns]
            out += np.pad(part, [(0, 0), (0, missing), (0, 0)]).tobytes()
    return np.frombuffer(out, "u1").copy()


def kernel_text(w, panel):
    attribute = f"{{kernel.panel = #nn.panel<32 x {max(32 // w.bits, 1)}>}}" if panel else ""
    packed = f"!pack.tensor<{w.k}x{w.n}xf32, {w.format}>"
    t = f"tensor<?x{w.n}xf32>"
    return f"""
func.func @f(%x: memref<?xi8>, %w: memref<?xi8> {attribute}, %b: memref<?xi8>, %y: memref<?xi8>, %S: index)
    attributes {{kernel.root = "matmul"}} {{
  %a = kernel.input %x[%S] : memref<?xi8> -> tensor<?x{w.k}xf32>
  %p = kernel.input %w[] : memref<?xi8> -> {packed}
  %bias = kernel.input %b[] : memref<?xi8> -> tensor<{w.n}xf32>
  %m = pack.decode %p : {packed} -> tensor<{w.k}x{w.n}xf32>
  %s = nn.matmul %a, %m : tensor<?x{w.k}xf32>, tensor<{w.k}x{w.n}xf32> -> {t}
  %r = nn.binary add %s, %bias : {t}, tensor<{w.n}xf32> -> {t}
  kernel.output %r, %y[%S] : {t}, memref<?xi8>
  return
}}"""


def bound(w, x, b):
    """Sums of K products in any order: K roundings of 2^-24 of what is summed up, which scaling a whole group adds a few
    more to. With few rows, integers are multiplied with elements that are rounded to 2^-22 of the largest beside them."""
    roundings = (w.k + 6) * 2.0 ** -24 * (np.abs(x).astype("f8") @ np.abs(w.matrix) + np.abs(b))
    return roundings + 2.0 ** -22 * np.abs(x).max(1, keepdims=True) * np.abs(w.matrix).sum(0)


CASES = [("int4", lambda: Grouped(4, 32, False, "f2", 96, 45)), ("int4_zeros", lambda: Grouped(4, 32, True, "f2", 64, 33)),
         ("int4_f32_scales", lambda: Grouped(4, 64, False, "f4", 192, 32)),
         ("int4_zeros_f32_scales", lambda: Grouped(4, 16, True, "f4", 48, 70)),
         ("int4_long_groups", lambda: Grouped(4, 128, False, "f2", 384, 40)),
         ("int4_many_blocks", lambda: Grouped(4, 32, False, "f2", 1184, 20)),
         ("int2", lambda: Grouped(2, 32, False, "f2", 64, 17)), ("int2_zeros", lambda: Grouped(2, 16, True, "f2", 48, 64)),
         ("int8_groups", lambda: Grouped(8, 32, False, "f2", 96, 50)), ("int8_zeros", lambda: Grouped(8, 16, True, "f4", 64, 5)),
         ("int3", lambda: Codebook("int3", np.arange(-4, 4), 32, "f2", 96, 45)),
         ("int3_long_groups", lambda: Codebook("int3", np.arange(-4, 4), 96, "f4", 192, 33)),
         ("nf4", lambda: Codebook("nf4", NF4, 64, "f2", 192, 40)), ("f4", lambda: Codebook("f4E2M1FN", float8(
             ml_dtypes.float4_e2m1fn, 1)[:16], 32, "f2", 64, 70)),
         ("f8_e4m3", lambda: Codebook("f8E4M3FN", float8(ml_dtypes.float8_e4m3fn, 1 / 256), 32, "f2", 96, 50)),
         ("f8_e5m2", lambda: Codebook("f8E5M2", float8(ml_dtypes.float8_e5m2, 1), 16, "f4", 48, 33)),
         ("two_numbers", lambda: Codebook("[-1.5, 0.25]", np.array([-1.5, 0.25]), 32, "f2", 64, 17)),
         ("three_numbers", lambda: Codebook("[-1.0, 0.0, 2.0]", np.array([-1, 0, 2]), 16, "f2", 48, 64)),
         ("int8", lambda: Int8(52, 37)), ("int8_blocks", lambda: Int8(260, 37)), ("int8_odd", lambda: Int8(51, 33)),
         ("bf16", lambda: Float("bf16", 70, 40)), ("bf16_odd", lambda: Float("bf16", 131, 9)), ("f16", lambda: Float("f16", 64, 40))]


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
@pytest.mark.parametrize("make", [make for _, make in CASES], ids=[name for name, _ in CASES])
def test_panels(target, make):
    w = make()
    kernel = Kernel(kernel_text(w, True), "f", target)
    b, panels = rng.standard_normal(w.n).astype("f4"), to_panels(w)
    for rows in (*range(1, 18), 64, 65, 130):
        x = rng.standard_normal((rows, w.k)).astype("f4")
        want = x.astype("f8") @ w.matrix.astype("f8") + b
        got = kernel([x, panels, b], (rows, w.n), (rows,), pieces=1 + rows % 3)
        assert np.all(np.abs(got - want) <= bound(w, x, b)), (rows, np.abs(got - want).max())


@pytest.mark.parametrize("make", [lambda: Grouped(4, 32, True, "f2", 96, 45), lambda: Int8(64, 37),
                                  lambda: Grouped(2, 16, False, "f4", 48, 33),
                                  lambda: Codebook("nf4", NF4, 32, "f2", 96, 45)], ids=["int4", "int8", "int2", "nf4"])
def test_any_numbers(make):
    """Rows of very large and very small numbers, of zeros, and of what is not finite."""
    w = make()
    kernel = Kernel(kernel_text(w, True), "f")
    x = rng.standard_normal((9, w.k)).astype("f4")
    x[1] *= np.float32(2.0 ** 100)
    x[2] *= np.float32(2.0 ** -100)
    x[3] = 0
    x[4, :16] *= np.float32(2.0 ** -126)
    x[5, 16:32] = 0
    b, panels = np.zeros(w.n, "f4"), to_panels(w)
    finite = kernel([x, panels, b], (9, w.n), (9,))
    # Products of numbers below 2^-126 may be lost.
    assert np.all(np.abs(finite - x.astype("f8") @ w.matrix) <= bound(w, x, b) + w.k * 2.0 ** -126)
    x[6, 3], x[7, 20], x[8, 0] = np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        want = x @ w.matrix
    got = kernel([x, panels, b], (9, w.n), (9,))
    assert np.array_equal(np.isnan(got), np.isnan(want)) and np.array_equal(np.isinf(got), np.isinf(want))
    whole = x[:6]
    assert np.all(np.abs(got[:6] - whole.astype("f8") @ w.matrix) <= bound(w, whole, b) + w.k * 2.0 ** -126)


def large_table():
    """One that registers do not hold: 40 numbers, codes of 6 bits."""
    table = rng.standard_normal(40).astype("f4")
    return Codebook("[" + ", ".join(f"{x:.9e}" for x in table) + "]", table, 32, "f2", 64, 37)


COMPONENTS = [*CASES, ("large_table", large_table), ("int3_short_groups", lambda: Codebook("int3", np.arange(-4, 4), 8, "f2", 24, 9))]


@pytest.mark.parametrize("make", [make for _, make in COMPONENTS], ids=[name for name, _ in COMPONENTS])
def test_components(make):
    """What no kernel arranges is decoded element by element."""
    w = make()
    kernel = Kernel(kernel_text(w, False), "f")
    b, components = rng.standard_normal(w.n).astype("f4"), to_components(w)
    for rows in (1, 9):
        x = rng.standard_normal((rows, w.k)).astype("f4")
        want = x.astype("f8") @ w.matrix.astype("f8") + b
        assert np.all(np.abs(kernel([x, components, b], (rows, w.n), (rows,)) - want) <= bound(w, x, b))


@pytest.mark.parametrize("make", [make for _, make in COMPONENTS], ids=[name for name, _ in COMPONENTS])
def test_decoded_by_itself(make):
    w = make()
    packed, t = f"!pack.tensor<{w.k}x{w.n}xf32, {w.format}>", f"tensor<{w.k}x{w.n}xf32>"
    kernel = Kernel(f"""
func.func @f(%w: memref<?xi8>, %y: memref<?xi8>) attributes {{kernel.root = "pointwise"}} {{
  %p = kernel.input %w[] : memref<?xi8> -> {packed}
  %m = pack.decode %p : {packed} -> {t}
  kernel.output %m, %y[] : {t}, memref<?xi8>
  return
}}""", "f")
    assert np.array_equal(kernel([to_components(w)], (w.k, w.n)), w.matrix)
