# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention against numpy: every form of mask, any number of queries and keys."""

import numpy as np
import pytest

from kernel_harness import Kernel, from_bf16, to_bf16

rng = np.random.default_rng(11)
LOWEST = np.finfo(np.float32).min


def normal(*shape):
    return rng.standard_normal(shape, np.float32)


def reference(q, k, v, scale, mask=None, causal=False, guard_empty=False):
    q, k, v = (x.astype(np.float64).transpose(0, 2, 1, 3) for x in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat(group, axis=1), v.repeat(group, axis=1)
    logits = q @ k.transpose(0, 1, 3, 2) * scale
    if mask is not None:
        logits = np.where(mask, logits, -np.inf) if mask.dtype == bool else (logits + mask).astype(np.float32)
    if causal:
        sq, sk = logits.shape[2:]
        logits = np.where(np.arange(sk) <= np.arange(sq)[:, None] + sk - sq, logits, -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp((logits - logits.max(-1, keepdims=True)).astype(np.float64))
        weights /= weights.sum(-1, keepdims=True)
    if guard_empty:
        weights = np.nan_to_num(weights)
    return (weights @ v).transpose(0, 2, 1, 3)


def source(heads, key_heads, depth, value_depth, mask=None, flags="", scale=0.25, element="f32"):
    """`mask`: the type of the mask, its dynamic dimensions given by the sizes in `[...]` after it."""
    mask_type, mask_sizes = mask or (None, "")
    q, k, v = (f"tensor<?x?x{h}x{d}x{element}>" for h, d in ((heads, depth), (key_heads, depth), (key_heads, value_depth)))
    result = f"tensor<?x?x{heads}x{value_depth}x{element}>"
    return f"""
func.func @f(%q: memref<?xi8>, %k: memref<?xi8>, %v: memref<?xi8>, %m: memref<?xi8>, %y: memref<?xi8>,
             %B: index, %S: index, %T: index) attributes {{kernel.root = "attention"}} {{
  %0 = kernel.input %q[%B, %S] : memref<?xi8> -> {q}
  %1 = kernel.input %k[%B, %T] : memref<?xi8> -> {k}
  %2 = kernel.input %v[%B, %T] : memref<?xi8> -> {v}
  {f"%3 = kernel.input %m[{mask_sizes}] : memref<?xi8> -> {mask_type}" if mask else ""}
  %4 = nn.attention %0, %1, %2 {"mask(%3)" if mask else ""} scale({scale}) {flags}
    : {q}, {k}, {v} {f", {mask_type}" if mask else ""} -> {result}
  kernel.output %4, %y[%B, %S] : {result}, memref<?xi8>
  return
}}"""


def check(kernel, heads, key_heads, depth, value_depth, b, sq, sk, mask=None, scale=0.25, atol=1e-5, **options):
    q, k, v = normal(b, sq, heads, depth), normal(b, sk, key_heads, depth), normal(b, sk, key_heads, value_depth)
    buffer = np.zeros(1, np.float32) if mask is None else np.ascontiguousarray(mask)
    actual = kernel([q, k, v, buffer], (b, sq, heads, value_depth), (b, sq, sk), pieces=2)
    expected = reference(q, k, v, scale, mask, **options)
    assert np.allclose(actual, expected, rtol=2e-5, atol=atol, equal_nan=True), np.nanmax(np.abs(actual - expected))


SIZES = [(1, 1), (1, 7), (3, 1), (16, 16), (33, 40), (32, 128), (5, 129), (70, 300)]


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
@pytest.mark.parametrize("heads,key_heads,depth,value_depth", [(2, 2, 32, 32), (4, 2, 64, 64), (3, 1, 20, 9), (1, 1, 80, 144)])
def test_sizes(target, heads, key_heads, depth, value_depth):
    kernel = Kernel(source(heads, key_heads, depth, value_depth), "f", target)
    for sq, sk in SIZES:
        check(kernel, heads, key_heads, depth, value_depth, 2, sq, sk)


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
def test_causal(target):
    kernel = Kernel(source(2, 2, 32, 32, flags="causal"), "f", target)
    for sq, sk in SIZES:
        check(kernel, 2, 2, 32, 32, 1, sq, sk, causal=True)


def test_causal_query_that_sees_no_key():
    """With fewer keys than queries the first queries see none."""
    check(Kernel(source(1, 1, 16, 16, flags="causal guard_empty"), "f"), 1, 1, 16, 16, 1, 40, 6, causal=True,
          guard_empty=True)


MASKS = {
    "per_key": ("?x1x1x?", "%B, %T", lambda b, h, s, t: (b, 1, 1, t)),
    "per_query": ("1x1x?x?", "%S, %T", lambda b, h, s, t: (1, 1, s, t)),
    "full": ("?x2x?x?", "%B, %S, %T", lambda b, h, s, t: (b, h, s, t)),
    "rank_2": ("?x?", "%S, %T", lambda b, h, s, t: (s, t)),
    "rank_1": ("?", "%T", lambda b, h, s, t: (t,)),
    "one_key": ("?x1x1x1", "%B", lambda b, h, s, t: (b, 1, 1, 1)),
    "one_key_per_query": ("?x1", "%S", lambda b, h, s, t: (s, 1)),
    "scalar": ("", "", lambda b, h, s, t: ()),
}


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3"])
@pytest.mark.parametrize("dtype", ["f32", "i1"])
@pytest.mark.parametrize("form", MASKS)
def test_mask(target, dtype, form):
    shape_type, sizes, shape = MASKS[form]
    mask_type = f"tensor<{shape_type}{'x' if shape_type else ''}{dtype}>"
    kernel = Kernel(source(2, 2, 32, 16, (mask_type, sizes)), "f", target)
    for sq, sk in SIZES:
        dims = shape(2, 2, sq, sk)
        mask = rng.random(dims) < 0.7 if dtype == "i1" else normal(*dims)
        check(kernel, 2, 2, 32, 16, 2, sq, sk, np.asarray(mask))


def test_symbol_that_broadcasts():
    """The mask's last dimension is a symbol of its own: 1 or the number of keys."""
    kernel = Kernel(source(2, 2, 32, 16, ("tensor<?x1x1x?xf32>", "%B, %S")), "f")
    for sk in (1, 5, 200):
        check(kernel, 2, 2, 32, 16, 2, 1, sk, normal(2, 1, 1, 1))
        check(kernel, 2, 2, 32, 16, 2, sk, sk, normal(2, 1, 1, sk))


def test_lowest_number_everywhere_gives_equal_weights():
    kernel = Kernel(source(1, 1, 16, 16, ("tensor<?x1x1x?xf32>", "%B, %T")), "f")
    mask = np.full((2, 1, 1, 150), LOWEST, np.float32)
    mask[0, ..., :100] = 0
    check(kernel, 1, 1, 16, 16, 2, 20, 150, mask)


@pytest.mark.parametrize("guard", [False, True])
def test_hidden_rows(guard):
    """Rows without a key, with keys in the first block only, and in the second only."""
    kernel = Kernel(source(1, 1, 16, 16, ("tensor<?x?xi1>", "%S, %T"), "guard_empty" if guard else ""), "f")
    mask = np.zeros((6, 200), bool)
    mask[1, :50], mask[2, 150:], mask[3, 5], mask[4] = True, True, True, True
    check(kernel, 1, 1, 16, 16, 1, 6, 200, mask, guard_empty=guard)


def test_large_logits():
    """Logits of some 500 are precise to 5e-5 in f32."""
    check(Kernel(source(1, 1, 32, 32, scale=30.0), "f"), 1, 1, 32, 32, 1, 40, 140, scale=30.0, atol=1e-3)


def test_slices_of_one_tensor():
    """q, k and v are parts of one fused product; the mask is computed from the tokens' mask."""
    kernel = Kernel("""
func.func @f(%x: memref<?xi8>, %m: memref<?xi8>, %y: memref<?xi8>, %B: index, %S: index)
    attributes {kernel.root = "attention"} {
  %0 = kernel.input %x[%B, %S] : memref<?xi8> -> tensor<?x?x192xf32>
  %1 = nn.slice %0 offsets [0, 0, 0] sizes [%B, %S, 64] strides [1, 1, 1] : tensor<?x?x192xf32> -> tensor<?x?x64xf32>
  %2 = nn.slice %0 offsets [0, 0, 64] sizes [%B, %S, 64] strides [1, 1, 1] : tensor<?x?x192xf32> -> tensor<?x?x64xf32>
  %3 = nn.slice %0 offsets [0, 0, 128] sizes [%B, %S, 64] strides [1, 1, 1] : tensor<?x?x192xf32> -> tensor<?x?x64xf32>
  %q = nn.reshape %1 to [%B, %S, 2, 32] : tensor<?x?x64xf32> -> tensor<?x?x2x32xf32>
  %k = nn.reshape %2 to [%B, %S, 2, 32] : tensor<?x?x64xf32> -> tensor<?x?x2x32xf32>
  %v = nn.reshape %3 to [%B, %S, 2, 32] : tensor<?x?x64xf32> -> tensor<?x?x2x32xf32>
  %4 = kernel.input %m[%B, %S] : memref<?xi8> -> tensor<?x1x1x?xf32>
  %c = arith.constant dense<-10000.0> : tensor<f32>
  %5 = nn.binary mul %4, %c : tensor<?x1x1x?xf32>, tensor<f32> -> tensor<?x1x1x?xf32>
  %6 = nn.attention %q, %k, %v mask(%5) scale(0.125)
    : tensor<?x?x2x32xf32>, tensor<?x?x2x32xf32>, tensor<?x?x2x32xf32>, tensor<?x1x1x?xf32> -> tensor<?x?x2x32xf32>
  kernel.output %6, %y[%B, %S] : tensor<?x?x2x32xf32>, memref<?xi8>
  return
}""", "f")
    for b, s in ((1, 16), (2, 128), (3, 50)):
        x, hidden = normal(b, s, 192), (rng.random((b, 1, 1, s)) < 0.3).astype(np.float32)
        q, k, v = (x[:, :, i * 64:i * 64 + 64].reshape(b, s, 2, 32) for i in range(3))
        actual = kernel([x, hidden], (b, s, 2, 32), (b, s))
        assert np.allclose(actual, reference(q, k, v, 0.125, hidden * -10000), rtol=2e-5, atol=1e-5)


def test_heads_before_positions():
    """q and k are transposed views of [B, H, S, D]; k has its features apart."""
    kernel = Kernel("""
func.func @f(%q: memref<?xi8>, %k: memref<?xi8>, %v: memref<?xi8>, %y: memref<?xi8>, %B: index, %S: index, %T: index)
    attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[%B, %S] : memref<?xi8> -> tensor<?x2x?x32xf32>
  %1 = kernel.input %k[%B, %T] : memref<?xi8> -> tensor<?x2x32x?xf32>
  %2 = kernel.input %v[%B, %T] : memref<?xi8> -> tensor<?x2x?x32xf32>
  %3 = nn.transpose %0 perm([0, 2, 1, 3]) : tensor<?x2x?x32xf32> -> tensor<?x?x2x32xf32>
  %4 = nn.transpose %1 perm([0, 3, 1, 2]) : tensor<?x2x32x?xf32> -> tensor<?x?x2x32xf32>
  %5 = nn.transpose %2 perm([0, 2, 1, 3]) : tensor<?x2x?x32xf32> -> tensor<?x?x2x32xf32>
  %6 = nn.attention %3, %4, %5 scale(0.125)
    : tensor<?x?x2x32xf32>, tensor<?x?x2x32xf32>, tensor<?x?x2x32xf32> -> tensor<?x?x2x32xf32>
  kernel.output %6, %y[%B, %S] : tensor<?x?x2x32xf32>, memref<?xi8>
  return
}""", "f")
    q, k, v = normal(2, 2, 40, 32), normal(2, 2, 32, 50), normal(2, 2, 50, 32)
    actual = kernel([q, k, v], (2, 40, 2, 32), (2, 40, 50))
    expected = reference(q.transpose(0, 2, 1, 3), k.transpose(0, 3, 1, 2), v.transpose(0, 2, 1, 3), 0.125)
    assert np.allclose(actual, expected, rtol=2e-5, atol=1e-5)


def test_operands_that_no_strides_describe():
    """All three are reshapes of transposed tensors."""
    kernel = Kernel("""
func.func @f(%q: memref<?xi8>, %k: memref<?xi8>, %v: memref<?xi8>, %y: memref<?xi8>, %B: index, %S: index, %T: index)
    attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[%B, %S] : memref<?xi8> -> tensor<?x40x?xf32>
  %1 = kernel.input %k[%B, %T] : memref<?xi8> -> tensor<?x40x?xf32>
  %2 = kernel.input %v[%B, %T] : memref<?xi8> -> tensor<?x40x?xf32>
  %3 = nn.transpose %0 perm([0, 2, 1]) : tensor<?x40x?xf32> -> tensor<?x?x40xf32>
  %4 = nn.transpose %1 perm([0, 2, 1]) : tensor<?x40x?xf32> -> tensor<?x?x40xf32>
  %5 = nn.transpose %2 perm([0, 2, 1]) : tensor<?x40x?xf32> -> tensor<?x?x40xf32>
  %6 = nn.reshape %3 to [%B, %S, 2, 20] : tensor<?x?x40xf32> -> tensor<?x?x2x20xf32>
  %7 = nn.reshape %4 to [%B, %T, 2, 20] : tensor<?x?x40xf32> -> tensor<?x?x2x20xf32>
  %8 = nn.reshape %5 to [%B, %T, 2, 20] : tensor<?x?x40xf32> -> tensor<?x?x2x20xf32>
  %9 = nn.attention %6, %7, %8 scale(0.125)
    : tensor<?x?x2x20xf32>, tensor<?x?x2x20xf32>, tensor<?x?x2x20xf32> -> tensor<?x?x2x20xf32>
  kernel.output %9, %y[%B, %S] : tensor<?x?x2x20xf32>, memref<?xi8>
  return
}""", "f")
    for s, t in ((1, 3), (40, 150)):
        q, k, v = normal(2, 40, s), normal(2, 40, t), normal(2, 40, t)
        actual = kernel([q, k, v], (2, s, 2, 20), (2, s, t))
        heads = (x.transpose(0, 2, 1).reshape(2, -1, 2, 20) for x in (q, k, v))
        assert np.allclose(actual, reference(*heads, 0.125), rtol=2e-5, atol=1e-5)


def test_heads_merged_across_positions():
    """The reshape splits positions, not features: only an evaluated copy can have this shape."""
    kernel = Kernel("""
func.func @f(%q: memref<?xi8>, %k: memref<?xi8>, %v: memref<?xi8>, %y: memref<?xi8>)
    attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[] : memref<?xi8> -> tensor<2x24x6xf32>
  %1 = kernel.input %k[] : memref<?xi8> -> tensor<2x24x6xf32>
  %2 = kernel.input %v[] : memref<?xi8> -> tensor<2x24x6xf32>
  %3 = nn.transpose %0 perm([0, 2, 1]) : tensor<2x24x6xf32> -> tensor<2x6x24xf32>
  %4 = nn.transpose %1 perm([0, 2, 1]) : tensor<2x24x6xf32> -> tensor<2x6x24xf32>
  %5 = nn.transpose %2 perm([0, 2, 1]) : tensor<2x24x6xf32> -> tensor<2x6x24xf32>
  %6 = nn.reshape %3 to [2, 9, 2, 8] : tensor<2x6x24xf32> -> tensor<2x9x2x8xf32>
  %7 = nn.reshape %4 to [2, 9, 2, 8] : tensor<2x6x24xf32> -> tensor<2x9x2x8xf32>
  %8 = nn.reshape %5 to [2, 9, 2, 8] : tensor<2x6x24xf32> -> tensor<2x9x2x8xf32>
  %9 = nn.attention %6, %7, %8 scale(0.125)
    : tensor<2x9x2x8xf32>, tensor<2x9x2x8xf32>, tensor<2x9x2x8xf32> -> tensor<2x9x2x8xf32>
  kernel.output %9, %y[] : tensor<2x9x2x8xf32>, memref<?xi8>
  return
}""", "f")
    q, k, v = normal(2, 24, 6), normal(2, 24, 6), normal(2, 24, 6)
    actual = kernel([q, k, v], (2, 9, 2, 8))
    heads = (np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(2, 9, 2, 8) for x in (q, k, v))
    assert np.allclose(actual, reference(*heads, 0.125), rtol=2e-5, atol=1e-5)


# On matrix registers, if the heads fill them; as f32 elsewhere.
BF16_TARGETS = ["x86-64-v4+amx", "x86-64-v4", "x86-64-v3"]


def check_bf16(kernel, heads, key_heads, depth, value_depth, b, sq, sk, mask=None, scale=0.25, **options):
    """Weights are rounded to bf16 and off by 1e-4 before, both relative, and the result is rounded once more; half a unit
    of bf16 is 2^-8. What f32 adds is the smallest part."""
    bits = [to_bf16(normal(*shape)) for shape in ((b, sq, heads, depth), (b, sk, key_heads, depth), (b, sk, key_heads, value_depth))]
    q, k, v = map(from_bf16, bits)
    buffer = np.zeros(1, np.float32) if mask is None else np.ascontiguousarray(mask)
    actual = from_bf16(kernel([*bits, buffer], (b, sq, heads, value_depth), (b, sq, sk), dtype=np.uint16, pieces=2))
    expected = reference(q, k, v, scale, mask, **options)
    magnitude = reference(q, k, np.abs(v), scale, mask, **options)
    bound = (2.0 ** -8 + 3e-4) * magnitude + 2.0 ** -8 * np.abs(expected) + 1e-5
    assert np.array_equal(np.isnan(actual), np.isnan(expected))
    assert not np.any(np.abs(actual - expected) > bound), np.nanmax(np.abs(actual - expected) / bound)


@pytest.mark.parametrize("target", BF16_TARGETS)
@pytest.mark.parametrize("heads,key_heads,depth,value_depth", [(2, 2, 32, 32), (4, 2, 64, 48), (1, 1, 96, 16), (3, 1, 16, 16)])
def test_bf16(target, heads, key_heads, depth, value_depth):
    kernel = Kernel(source(heads, key_heads, depth, value_depth, element="bf16"), "f", target)
    for sq, sk in [*SIZES, (128, 128), (100, 261)]:
        check_bf16(kernel, heads, key_heads, depth, value_depth, 2, sq, sk)


@pytest.mark.parametrize("target", BF16_TARGETS)
def test_bf16_causal(target):
    kernel = Kernel(source(2, 1, 32, 32, flags="causal guard_empty", element="bf16"), "f", target)
    for sq, sk in [*SIZES, (70, 20), (200, 200)]:
        check_bf16(kernel, 2, 1, 32, 32, 1, sq, sk, causal=True, guard_empty=True)


@pytest.mark.parametrize("target", BF16_TARGETS)
@pytest.mark.parametrize("dtype", ["f32", "i1"])
@pytest.mark.parametrize("form", MASKS)
def test_bf16_mask(target, dtype, form):
    """Also rows that see no key, and keys that only some rows see."""
    shape_type, sizes, shape = MASKS[form]
    mask_type = f"tensor<{shape_type}{'x' if shape_type else ''}{dtype}>"
    kernel = Kernel(source(2, 2, 32, 16, (mask_type, sizes), element="bf16"), "f", target)
    for sq, sk in SIZES:
        dims = shape(2, 2, sq, sk)
        mask = rng.random(dims) < 0.7 if dtype == "i1" else normal(*dims)
        check_bf16(kernel, 2, 2, 32, 16, 2, sq, sk, np.asarray(mask))


@pytest.mark.parametrize("target", BF16_TARGETS)
def test_bf16_operands_that_no_rows_hold(target):
    """k has its features apart, v is a slice of every second one, and the result is stored as f32."""
    kernel = Kernel("""
func.func @f(%q: memref<?xi8>, %k: memref<?xi8>, %v: memref<?xi8>, %y: memref<?xi8>, %B: index, %S: index, %T: index)
    attributes {kernel.root = "attention"} {
  %0 = kernel.input %q[%B, %S] : memref<?xi8> -> tensor<?x2x?x32xbf16>
  %1 = kernel.input %k[%B, %T] : memref<?xi8> -> tensor<?x2x32x?xbf16>
  %2 = kernel.input %v[%B, %T] : memref<?xi8> -> tensor<?x?x2x64xbf16>
  %3 = nn.transpose %0 perm([0, 2, 1, 3]) : tensor<?x2x?x32xbf16> -> tensor<?x?x2x32xbf16>
  %4 = nn.transpose %1 perm([0, 3, 1, 2]) : tensor<?x2x32x?xbf16> -> tensor<?x?x2x32xbf16>
  %5 = nn.slice %2 offsets [0, 0, 0, 0] sizes [%B, %T, 2, 32] strides [1, 1, 1, 2]
    : tensor<?x?x2x64xbf16> -> tensor<?x?x2x32xbf16>
  %6 = nn.attention %3, %4, %5 scale(0.125)
    : tensor<?x?x2x32xbf16>, tensor<?x?x2x32xbf16>, tensor<?x?x2x32xbf16> -> tensor<?x?x2x32xbf16>
  %7 = nn.cast %6 : tensor<?x?x2x32xbf16> -> tensor<?x?x2x32xf32>
  kernel.output %7, %y[%B, %S] : tensor<?x?x2x32xf32>, memref<?xi8>
  return
}""", "f", target)
    q, k, v = (to_bf16(normal(*shape)) for shape in ((2, 2, 40, 32), (2, 2, 32, 150), (2, 150, 2, 64)))
    actual = kernel([q, k, v], (2, 40, 2, 32), (2, 40, 150))
    q, k, v = from_bf16(q).transpose(0, 2, 1, 3), from_bf16(k).transpose(0, 3, 1, 2), from_bf16(v)[..., ::2]
    bound = (2.0 ** -8 + 3e-4) * reference(q, k, np.abs(v), 0.125) + 2.0 ** -8 * np.abs(reference(q, k, v, 0.125)) + 1e-5
    assert np.all(np.abs(actual - reference(q, k, v, 0.125)) <= bound)


@pytest.mark.parametrize("target", BF16_TARGETS)
def test_bf16_not_finite(target):
    """What is not finite in a key reaches the rows of its head, what is in a query its own row."""
    kernel = Kernel(source(2, 2, 32, 32, element="bf16"), "f", target)
    q, k, v = normal(1, 40, 2, 32), normal(1, 130, 2, 32), normal(1, 130, 2, 32)
    q[0, 7, 0, 3], k[0, 129, 1, 5] = np.nan, np.nan
    actual = from_bf16(kernel([to_bf16(x) for x in (q, k, v)] + [np.zeros(1, np.float32)], (1, 40, 2, 32), (1, 40, 130),
                              dtype=np.uint16))
    wrong = np.zeros((1, 40, 2, 32), bool)
    wrong[0, 7, 0], wrong[0, :, 1] = True, True
    assert np.array_equal(np.isnan(actual), wrong)
