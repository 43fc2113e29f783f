# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reductions, products, data movement and composite ops, by their reference lowerings, against numpy."""

import numpy as np
import pytest

from harness import BF16, Faults, run

rng = np.random.default_rng(11)
DYNAMIC = pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])


def normal(*shape, dtype=np.float32):
    return rng.normal(size=shape).astype(dtype)


def reduce(kind, x, axes, keep, want_shape, dynamic=False, dtype=None):
    return run(f"%r = nn.reduce {kind} %a0 axes({axes}) keep_dims({'true' if keep else 'false'}) : {{0}} -> {{out}}",
               [x], want_shape, dtype or x.dtype, dynamic)


FUNCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod,
             "sum_square": lambda x, axis, keepdims: np.sum(x * x, axis=axis, keepdims=keepdims)}


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("keep", [False, True])
def test_reduce(kind, keep):
    x = normal(3, 4, 5)
    want = FUNCTIONS[kind](x, axis=(0, 2), keepdims=keep)
    np.testing.assert_allclose(reduce(kind, x, [0, 2], keep, want.shape, dynamic=keep), want, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sum", "max", "mean"])
def test_reduce_everything_to_rank_0(kind):
    x = normal(3, 4)
    np.testing.assert_allclose(reduce(kind, x, [0, 1], False, ()), FUNCTIONS[kind](x, axis=(0, 1), keepdims=False),
                               rtol=1e-5)


def test_reduce_propagates_nan():
    x = np.array([[1, np.nan, 3], [1, 2, 3]], np.float32)
    np.testing.assert_array_equal(reduce("max", x, [1], False, (2,)), [np.nan, 3])
    np.testing.assert_array_equal(reduce("min", x, [1], True, (2, 1)), [[np.nan], [1]])


@pytest.mark.parametrize("kind,want", [("sum", 0), ("prod", 1), ("max", -np.inf), ("min", np.inf), ("mean", np.nan)])
def test_reduce_nothing(kind, want):
    got = reduce(kind, np.zeros((2, 0), np.float32), [1], False, (2,), dynamic=True)
    np.testing.assert_array_equal(got, np.full(2, want, np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_reduce_integers(dtype):
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, (3, 6), dtype=dtype)
    np.testing.assert_array_equal(reduce("max", x, [1], False, (3,)), x.max(axis=1))
    np.testing.assert_array_equal(reduce("min", x, [1], False, (3,)), x.min(axis=1))
    if dtype != np.int64:
        np.testing.assert_array_equal(reduce("mean", x, [1], False, (3,)),
                                      np.trunc(x.astype(np.float64).mean(axis=1)).astype(dtype))


def test_narrow_floats_accumulate_in_f32():
    x = np.full((1, 4000), 1.0, np.float16)
    np.testing.assert_array_equal(reduce("sum", x, [1], False, (1,)), [4000])


@pytest.mark.parametrize("kind,function", [("all", np.all), ("any", np.any)])
def test_reduce_bools(kind, function):
    x = np.array([[1, 1, 1], [0, 1, 0], [0, 0, 0]], np.bool_)
    np.testing.assert_array_equal(reduce(kind, x, [1], False, (3,)), function(x, axis=1))


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("last", [False, True])
def test_arg_reduce(kind, last):
    x = np.array([[1, 5, 5, 0, 0], [np.nan, 1, np.nan, 2, 1], [3, 3, 3, 3, 3]], np.float32)
    arg = np.argmax if kind == "max" else np.argmin
    want = 4 - arg(x[:, ::-1], axis=1) if last else arg(x, axis=1)
    body = (f"%r = nn.arg_reduce {kind} %a0 axis(1) keep_dims({'true' if last else 'false'}) "
            f"select_last({'true' if last else 'false'}) : {{0}} -> {{out}}")
    got = run(body, [x], (3, 1) if last else (3,), np.int64)
    np.testing.assert_array_equal(got.ravel(), want)


@pytest.mark.parametrize("shapes", [((4, 3), (3, 5)), ((2, 4, 3), (3, 5)), ((2, 1, 4, 3), (1, 3, 3, 5)),
                                    ((4, 0), (0, 5)), ((1, 1), (1, 1)), ((3, 4, 3), (1, 3, 5))])
@DYNAMIC
def test_matmul(shapes, dynamic):
    x, y = normal(*shapes[0]), normal(*shapes[1])
    want = x @ y
    got = run("%r = nn.matmul %a0, %a1 : {0}, {1} -> {out}", [x, y], want.shape, np.float32, dynamic)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_matmul_of_bf16_accumulates_in_f32():
    x, y = normal(4, 300, dtype=BF16), normal(300, 5, dtype=BF16)
    want = (x.astype(np.float32) @ y.astype(np.float32)).astype(BF16).astype(np.float32)
    got = run("%r = nn.matmul %a0, %a1 : {0}, {1} -> {out}", [x, y], (4, 5), BF16).astype(np.float32)
    np.testing.assert_allclose(got, want, rtol=2**-7)


def convolve(x, w, strides, pads, dilations, groups):
    """Channels last, the slow way."""
    spatial = x.ndim - 2
    x = np.pad(x, [(0, 0), *zip(pads[:spatial], pads[spatial:]), (0, 0)])
    window, channels, outputs = w.shape[:spatial], w.shape[-2], w.shape[-1]
    out = [(x.shape[1 + i] - dilations[i] * (window[i] - 1) - 1) // strides[i] + 1 for i in range(spatial)]
    y = np.zeros((x.shape[0], *out, outputs), np.float32)
    for at in np.ndindex(*out):
        for tap in np.ndindex(*window):
            part = x[(slice(None), *[a * s + t * d for a, s, t, d in zip(at, strides, tap, dilations)])]
            for g in range(groups):
                mine = slice(g * outputs // groups, (g + 1) * outputs // groups)
                y[(slice(None), *at, mine)] += part[:, g * channels:(g + 1) * channels] @ w[tap][:, mine]
    return y


@pytest.mark.parametrize("x,w,strides,pads,dilations,groups", [
    ((2, 9, 3), (3, 3, 4), [1], [0, 0], [1], 1),
    ((1, 8, 7, 4), (3, 3, 2, 6), [2, 1], [1, 0, 1, 2], [1, 2], 2),
    ((1, 6, 6, 4), (3, 3, 1, 4), [1, 1], [1, 1, 1, 1], [1, 1], 4),
    ((1, 4, 5, 3, 2), (2, 2, 2, 2, 3), [1, 2, 1], [0, 1, 0, 1, 0, 0], [1, 1, 1], 1),
])
@DYNAMIC
def test_conv(x, w, strides, pads, dilations, groups, dynamic):
    x, w = normal(*x), normal(*w)
    want = convolve(x, w, strides, pads, dilations, groups)
    body = (f"%r = nn.conv %a0, %a1 strides({strides}) pads({pads}) dilations({dilations}) groups({groups}) "
            ": {0}, {1} -> {out}")
    got = run(body, [x, w], want.shape, np.float32, [dynamic, False, dynamic])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape,to", [((2, 3, 4), (6, 4)), ((6, 4), (2, 3, 4)), ((1, 1), ()), ((), (1, 1)),
                                      ((0, 3), (3, 0, 2)), ((4,), (2, 2)), ((2, 2), (4,)), ((3,), (3,))])
def test_reshape(shape, to):
    x = normal(*shape)
    got = run(f"%r = nn.reshape %a0 to {list(to)} : {{0}} -> {{out}}", [x], to, np.float32)
    np.testing.assert_array_equal(got, x.reshape(to))


def test_reshape_to_run_time_sizes():
    x = normal(2, 3, 4)
    got = run("%q = nn.reshape %a0 to [%s0, 2, %s1] : {0} -> tensor<?x2x?xf32>\n"
              "%r = nn.reshape %q to [%s0, %s1, %s1] : tensor<?x2x?xf32> -> {out}", [x], (6, 2, 2), np.float32, True,
              (6, 2))
    np.testing.assert_array_equal(got, x.reshape(6, 2, 2))


@DYNAMIC
def test_transpose(dynamic):
    x = normal(2, 3, 4)
    got = run("%r = nn.transpose %a0 perm([2, 0, 1]) : {0} -> {out}", [x], (4, 2, 3), np.float32, dynamic)
    np.testing.assert_array_equal(got, x.transpose(2, 0, 1))


def test_expand():
    x = normal(3, 1)
    got = run("%r = nn.expand %a0 to [2, 3, 4] : {0} -> {out}", [x], (2, 3, 4), np.float32)
    np.testing.assert_array_equal(got, np.broadcast_to(x, (2, 3, 4)))


def test_expand_of_unknown_sizes():
    x = normal(3, 1)
    got = run("%r = nn.expand %a0 to [%s0, %s1, %s2] : {0} -> {out}", [x], (2, 3, 4), np.float32, True, (2, 3, 4))
    np.testing.assert_array_equal(got, np.broadcast_to(x, (2, 3, 4)))


def test_slice():
    x = normal(5, 7)
    got = run("%r = nn.slice %a0 offsets [1, %s0] sizes [2, 3] strides [2, -2] : {0} -> {out}", [x], (2, 3), np.float32,
              False, (6,))
    np.testing.assert_array_equal(got, x[1:5:2, 6:1:-2])


def test_empty_slice_at_the_end():
    x = normal(5, 7)
    got = run("%r = nn.slice %a0 offsets [5, 0] sizes [0, 7] strides [1, 1] : {0} -> {out}", [x], (0, 7), np.float32)
    assert got.shape == (0, 7)


@DYNAMIC
def test_concat(dynamic):
    x, y, z = normal(2, 3), normal(2, 0), normal(2, 4)
    got = run("%r = nn.concat %a0, %a1, %a2 axis(1) : {0}, {1}, {2} -> {out}", [x, y, z], (2, 7), np.float32, dynamic)
    np.testing.assert_array_equal(got, np.concatenate([x, y, z], axis=1))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_gather(axis, dtype):
    x, i = normal(4, 5, 2), np.array([[0, -1], [3, -4]], dtype)
    want = np.take(x, i, axis=axis)
    got = run(f"%r = nn.gather %a0, %a1 axis({axis}) : {{0}}, {{1}} -> {{out}}", [x, i], want.shape, np.float32,
              dynamic=axis == 1)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("index", [4, -5, 2**40])
def test_gather_out_of_bounds_is_reported(index):
    with pytest.raises(Faults):
        run("%r = nn.gather %a0, %a1 axis(0) : {0}, {1} -> {out}", [normal(4, 2), np.array(index)], (2,), np.float32)


def test_gather_from_nothing_is_reported():
    with pytest.raises(Faults):
        run("%r = nn.gather %a0, %a1 axis(0) : {0}, {1} -> {out}", [normal(0, 2), np.array(0)], (2,), np.float32, True)


def test_gather_nd():
    x = normal(3, 4, 5)
    i = np.array([[0, 1], [2, -1]])
    got = run("%r = nn.gather_nd %a0, %a1 batch_dims(0) : {0}, {1} -> {out}", [x, i], (2, 5), np.float32)
    np.testing.assert_array_equal(got, x[[0, 2], [1, 3]])


def test_gather_nd_with_batches():
    x = normal(2, 4, 5)
    i = np.array([[[1, 2]], [[3, -1]]])
    got = run("%r = nn.gather_nd %a0, %a1 batch_dims(1) : {0}, {1} -> {out}", [x, i], (2, 1), np.float32)
    np.testing.assert_array_equal(got, [[x[0, 1, 2]], [x[1, 3, 4]]])


def test_gather_nd_out_of_bounds_is_reported():
    with pytest.raises(Faults):
        run("%r = nn.gather_nd %a0, %a1 batch_dims(0) : {0}, {1} -> {out}", [normal(3, 4), np.array([[1, 4]])], (1,),
            np.float32)


@pytest.mark.parametrize("dtype,start,step", [(np.int64, 5, -2), (np.float32, 0.5, 0.25), (np.float16, 1, 2)])
def test_range(dtype, start, step):
    got = run("%r = nn.range %a0, %a1 size %s0 : {0}, {1} -> {out}",
              [np.array(start, dtype), np.array(step, dtype)], (6,), dtype, [False, False, True], (6,))
    np.testing.assert_array_equal(got, (start + np.arange(6) * step).astype(dtype))


def test_from_scalars():
    got = run("%r = nn.from_scalars %s0, %s1 : {out}", [], (2,), np.int64, False, (7, -3))
    np.testing.assert_array_equal(got, [7, -3])
    np.testing.assert_array_equal(run("%r = nn.from_scalars %s0 : {out}", [], (), np.int32, False, (7,)), 7)


def softmax(x, axis):
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)


@DYNAMIC
@pytest.mark.parametrize("dtype,rtol", [(np.float32, 1e-6), (np.float16, 1e-3), (np.float64, 1e-14)])
def test_softmax(dtype, rtol, dynamic):
    x = (normal(3, 6, 2) * 5).astype(dtype)
    x[0, :, 0] = -np.inf
    got = run("%r = nn.softmax %a0 axis(1) : {0} -> {out}", [x], x.shape, dtype, dynamic)
    np.testing.assert_allclose(got, softmax(x.astype(np.float64), 1).astype(dtype), rtol=rtol, atol=1e-7)


def test_log_softmax():
    x = normal(3, 6) * 50
    got = run("%r = nn.softmax log %a0 axis(1) : {0} -> {out}", [x], x.shape, np.float32)
    shifted = x - x.max(axis=1, keepdims=True)
    np.testing.assert_allclose(got, shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), rtol=1e-5, atol=1e-6)


@DYNAMIC
@pytest.mark.parametrize("axis", [1, 2])
def test_layer_norm(axis, dynamic):
    x = normal(2, 3, 8) + 3
    scale, bias = normal(*x.shape[axis:]), normal(8)
    axes = tuple(range(axis, 3))
    d = x - x.mean(axis=axes, keepdims=True)
    want = d / np.sqrt((d * d).mean(axis=axes, keepdims=True) + 1e-5) * scale + bias
    got = run(f"%r = nn.layer_norm %a0, %a1, %a2 axis({axis}) epsilon(1.0e-5) : {{0}}, {{1}}, {{2}} -> {{out}}",
              [x, scale, bias], x.shape, np.float32, dynamic)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_rms_norm_rounds_before_it_scales():
    x, scale = normal(4, 16, dtype=np.float16), normal(16, dtype=np.float16)
    wide = x.astype(np.float32)
    want = (wide / np.sqrt((wide * wide).mean(axis=1, keepdims=True) + 1e-5)).astype(np.float16) * scale
    got = run("%r = nn.rms_norm %a0, %a1 axis(1) epsilon(1.0e-5) : {0}, {1} -> {out}", [x, scale], x.shape, np.float16)
    np.testing.assert_allclose(got, want, rtol=1e-3)


def attend(q, k, v, scale, mask=None, causal=False, guard=False):
    q, k, v = (t.transpose(0, 2, 1, 3).astype(np.float64) for t in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    bias = np.zeros((q.shape[0], q.shape[1], q.shape[2], k.shape[2]))
    if mask is not None:
        bias = bias + (np.where(mask, 0, -np.inf) if mask.dtype == np.bool_ else mask)
    if causal:
        i, j = np.arange(q.shape[2])[:, None], np.arange(k.shape[2])
        bias = np.where(j <= i + k.shape[2] - q.shape[2], bias, -np.inf)
    p = softmax(q @ k.transpose(0, 1, 3, 2) * scale + bias, -1)
    if guard:
        p = np.where(bias.max(axis=-1, keepdims=True) == -np.inf, 0, p)
    return (p @ v).transpose(0, 2, 1, 3)


def attention(q, k, v, scale=0.25, mask=None, causal=False, guard=False, dynamic=False):
    arrays = [q, k, v] + ([] if mask is None else [mask])
    types = ", ".join(f"{{{i}}}" for i in range(len(arrays)))
    body = (f"%r = nn.attention %a0, %a1, %a2 {'' if mask is None else 'mask(%a3)'} scale({scale}) "
            f"{'causal' if causal else ''} {'guard_empty' if guard else ''} : {types} -> {{out}}")
    return run(body, arrays, (*q.shape[:3], v.shape[3]), q.dtype, dynamic)


@DYNAMIC
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_attention_heads(key_heads, dynamic):
    q, k, v = normal(2, 3, 4, 8), normal(2, 5, key_heads, 8), normal(2, 5, key_heads, 6)
    np.testing.assert_allclose(attention(q, k, v, dynamic=dynamic), attend(q, k, v, 0.25), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [(4, 4), (2, 5), (5, 3)])
@pytest.mark.parametrize("guard", [False, True])
def test_causal_attention(lengths, guard):
    q, k, v = normal(1, lengths[0], 2, 8), normal(1, lengths[1], 2, 8), normal(1, lengths[1], 2, 8)
    got = attention(q, k, v, causal=True, guard=guard, dynamic=True)
    np.testing.assert_allclose(got, attend(q, k, v, 0.25, causal=True, guard=guard), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3, 5), (2, 1, 1, 5), (3, 5)])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_attention_masks(shape, kind):
    q, k, v = normal(2, 3, 2, 8), normal(2, 5, 2, 8), normal(2, 5, 2, 8)
    mask = rng.integers(0, 2, shape).astype(np.bool_)
    mask[..., 0, :] = False
    if kind == "float":
        mask = np.where(mask, normal(*shape), -np.inf).astype(np.float32)
    for guard in (False, True):
        np.testing.assert_allclose(attention(q, k, v, mask=mask, guard=guard),
                                   attend(q, k, v, 0.25, mask, guard=guard), rtol=1e-4, atol=1e-5)


def test_attention_over_no_keys():
    q, k, v = normal(1, 2, 2, 4), normal(1, 0, 2, 4), normal(1, 0, 2, 4)
    np.testing.assert_array_equal(attention(q, k, v, causal=True, guard=True, dynamic=True), np.zeros((1, 2, 2, 4)))
