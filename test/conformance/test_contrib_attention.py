# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention, QAttention, MultiHeadAttention and RotaryEmbedding of com.microsoft against ONNX Runtime, over masks, caches and forms
of the operands; all of it with LATHE_TEST_FULL=1."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import check, compare, integer_weights, lathe, run  # noqa: E402
from test_contrib_norms import MODES, MS, TOLERANCE, expand, numbers, sample  # noqa: E402

rng = np.random.default_rng(8)
B, S, N, H = 2, 3, 2, 4
D = N * H
# ONNX Runtime adds -10000 to what it hides, and so loses 10 bits of the logits of rows that see nothing; its other sums
# are as exact as ours.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def padding(form, keys, queries=S):
    """A mask of each form; None for none. No row of keys is empty."""
    lengths = np.array([max(1, keys - 2), keys], np.int32)
    starts = np.array([0, min(1, keys - 1)], np.int32)
    count = np.arange(keys)
    rows = (count < lengths[:, None]).astype(np.int32)
    return {"none": None, "lengths": lengths, "ends and starts": np.concatenate([lengths, starts]), "rows": rows,
            "packed": np.concatenate([lengths, np.zeros(2 * B + 2, np.int32)]), "dummy": np.ones((B, 1), np.int32),
            "matrices": np.tril(np.ones((queries, keys), np.int32), keys - queries) * rows[:, None]}[form]


def trim(inputs):
    """Without what is left out at the end."""
    names = list(inputs)
    while inputs[names[-1]] is None:
        del inputs[names.pop()]
    return inputs


# -- Attention ---------------------------------------------------------------------------------------------------------

MASKS = ["none", "lengths", "ends and starts", "rows", "packed", "dummy", "matrices"]


@pytest.mark.parametrize("mask,past,bias,unidirectional,added,mode",
                         sample(MASKS, [0, 5], [False, True], [0, 1], [None, (1, 1), (B, N)], MODES, step=19))
def test_attention(mask, past, bias, unidirectional, added, mode):
    if past:
        added = None  # ONNX Runtime takes one of them
    if mode.get("constants") and (past or added):
        mode = {}
    inputs = trim({"x": numbers(B, S, 10), "w": numbers(10, 3 * D), "b": numbers(3 * D) if bias else None,
                   "mask": padding(mask, S + past), "past": numbers(2, B, N, past, H) if past else None,
                   "added": numbers(*added, S, S + past) if added else None})
    # A mask of one dimension tells its form by its size.
    if mode.get("symbolic") and mask in ("lengths", "ends and starts", "packed", "dummy"):
        mode = {}
    outputs = ["y", "present"] if past or bias else ["y"]
    check("Attention", inputs, outputs, domain=MS, **CLOSE, **expand(mode, inputs), num_heads=N,
          unidirectional=unidirectional)


@pytest.mark.parametrize("attributes", [{"scale": 0.3}, {"mask_filter_value": -5.0}, {"qkv_hidden_sizes": [8, 8, 6]}])
def test_attributes_of_attention(attributes):
    width = sum(attributes.get("qkv_hidden_sizes", [D, D, D]))
    inputs = {"x": numbers(B, S, 10), "w": numbers(10, width), "b": numbers(width), "mask": padding("rows", S)}
    check("Attention", inputs, ["y"], domain=MS, **CLOSE, num_heads=N, **attributes)


def test_a_mask_for_all_positions_is_read_where_the_queries_are():
    past, most = 2, 9
    inputs = {"x": numbers(B, S, 10), "w": numbers(10, 3 * D), "b": numbers(3 * D),
              "mask": rng.integers(0, 2, (B, 1, most, most), dtype=np.int32), "past": numbers(2, B, N, past, H)}
    inputs["mask"][..., 0] = 1
    got = run("Attention", inputs, ["y"], domain=MS, num_heads=N)
    inputs["mask"] = np.ascontiguousarray(inputs["mask"][:, 0, past:past + S, :past + S])
    compare(got, run("Attention", inputs, ["y"], domain=MS, num_heads=N))


@pytest.mark.parametrize("change,message", [
    ({"num_heads": 3}, "num_heads is 3, must divide the width 8"), ({"num_heads": 0}, "must be at least 1"),
    ({"qkv_hidden_sizes": [8, 8, 4]}, "as many columns"), ({"b": numbers(7)}, "the bias has 7 elements, must have 24"),
    ({"mask": np.ones(3, np.int32)}, "1, 2 or 3 times"), ({"mask": np.ones((2, 7), np.int32)}, "do not fit|broadcast"),
    ({"do_rotary": 1}, "do_rotary")])
def test_what_does_not_fit_is_an_error(change, message):
    inputs = {"x": numbers(B, S, 10), "w": numbers(10, 3 * D), "b": numbers(3 * D), "mask": padding("rows", S)}
    attributes = {"num_heads": N}
    for name, value in change.items():
        (inputs if name in inputs else attributes)[name] = value
    with pytest.raises(lathe.ModelError, match=message):
        run("Attention", inputs, ["y"], domain=MS, **attributes)


# -- QAttention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype,zeros,columns,mask,past,unidirectional,mode", sample(
    [np.uint8, np.int8], ["none", "input", "both"], [False, True], ["none", "lengths", "rows"], [0, 4], [0, 1], MODES,
    step=23))
def test_quantized_attention(dtype, zeros, columns, mask, past, unidirectional, mode):
    shape = (3 * D,) if columns else ()
    low = np.iinfo(dtype).min
    inputs = trim({"x": rng.integers(0, 256, (B, S, 10), np.uint8), "w": integer_weights(rng, dtype, (10, 3 * D)),
                   "b": numbers(3 * D), "x_scale": np.float32(0.007),
                   "w_scale": rng.uniform(0.004, 0.01, shape).astype(np.float32), "mask": padding(mask, S + past),
                   "x_zero": None if zeros == "none" else np.uint8(118),
                   "w_zero": rng.integers(low + 120, low + 136, shape, dtype) if zeros == "both" else None,
                   "past": numbers(2, B, N, past, H) if past else None})
    inputs = {name: None if value is None else np.asarray(value) for name, value in inputs.items()}
    if mode.get("symbolic"):
        # A mask of one dimension tells its form by its size, a list of parameters whether there is one for each column.
        mode = {} if mask == "lengths" else {"symbolic": True, "constants": ["w_scale", "w_zero"]}
    if past:
        mode = {}
    outputs = ["y", "present"]
    check("QAttention", inputs, outputs, domain=MS, **CLOSE, **expand(mode, inputs), num_heads=N,
          unidirectional=unidirectional)


@pytest.mark.parametrize("change,message", [({"w": numbers(10, 3 * D)}, "operand 1 holds f32"),
                                            ({"b": numbers(7)}, "the bias has 7 elements, must have 24"),
                                            ({"w_zero": np.zeros(5, np.uint8)}, "a zero point of type")])
def test_what_does_not_fit_a_quantized_attention(change, message):
    inputs = {"x": rng.integers(0, 256, (B, S, 10), np.uint8), "w": rng.integers(0, 256, (10, 3 * D), np.uint8),
              "b": numbers(3 * D), "x_scale": np.array(0.1, np.float32), "w_scale": np.array(0.1, np.float32), "mask": None,
              "x_zero": None, "w_zero": np.array(3, np.uint8), **change}
    with pytest.raises(lathe.ModelError, match=message):
        run("QAttention", inputs, ["y"], domain=MS, num_heads=N)


# -- MultiHeadAttention ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask,past,keys,bias,unidirectional,added,mode", sample(
    ["none", "lengths", "rows", "packed", "matrices"], [0, 4], [S, 5], [False, True], [0, 1], [None, (1, N), (B, 1)],
    MODES, step=23))
def test_multi_head_attention(mask, past, keys, bias, unidirectional, added, mode):
    if keys != S:
        unidirectional = 0  # ONNX Runtime shows all keys to the last query then
    width = D if past else N * 6
    inputs = trim({"q": numbers(B, S, D), "k": numbers(B, keys, D), "v": numbers(B, keys, width),
                   "bias": numbers(2 * D + width) if bias else None, "mask": padding(mask, keys + past),
                   "added": numbers(*added, S, keys + past) if added else None,
                   "past_key": numbers(B, N, past, H) if past else None,
                   "past_value": numbers(B, N, past, H) if past else None})
    if mode.get("symbolic"):
        if mask in ("lengths", "packed"):
            mode = {}
        else:
            mode = {"symbolic": True, "constants": ["bias"] if bias else []}
    outputs = ["y", "present_key", "present_value"] if past or bias else ["y"]
    check("MultiHeadAttention", inputs, outputs, domain=MS, **CLOSE, **expand(mode, inputs), num_heads=N,
          unidirectional=unidirectional, scale=0.4 if added else 0.0)


@pytest.mark.parametrize("past", [0, 4])
def test_a_query_sees_as_many_new_keys_as_there_are_queries_before_it(past):
    inputs = {"q": numbers(B, S, D), "k": numbers(B, 5, D), "v": numbers(B, 5, D), "bias": None, "mask": None,
                   "added": None, "past_key": numbers(B, N, past, H) if past else None,
                   "past_value": numbers(B, N, past, H) if past else None}
    got = run("MultiHeadAttention", inputs, ["y"], domain=MS, num_heads=N, unidirectional=1)
    hidden = np.where(np.arange(past + 5) > past + np.arange(S)[:, None], -np.inf, 0)[None, None].astype(np.float32)
    inputs["added"] = hidden
    compare(got, run("MultiHeadAttention", inputs, ["y"], domain=MS, num_heads=N))


@pytest.mark.parametrize("mask", ["none", "rows"])
@pytest.mark.parametrize("bias", [False, True])
def test_keys_and_values_of_an_encoder_have_heads_and_their_bias_already(mask, bias):
    inputs = trim({"q": numbers(B, S, D), "k": numbers(B, N, 5, H), "v": numbers(B, N, 5, H),
                   "bias": numbers(3 * D) if bias else None, "mask": padding(mask, 5)})
    check("MultiHeadAttention", inputs, ["y"], domain=MS, **CLOSE, num_heads=N)


def test_packed_operands_are_what_they_are_packed_from():
    q, k, v, bias = numbers(B, S, D), numbers(B, S, D), numbers(B, S, D), numbers(3 * D)
    split = [x.reshape(B, S, N, H) for x in (q, k, v)]
    options = {"domain": MS, "num_heads": N}
    want = run("MultiHeadAttention", {"q": q, "k": k, "v": v, "b": bias}, ["y"], **options)
    packed = {"q": q, "k": np.stack(split[1:], 3), "v": None, "b": bias}
    compare(run("MultiHeadAttention", packed, ["y"], **options), want)
    packed = {"q": np.stack(split, 3), "k": None, "v": None, "b": bias}
    compare(run("MultiHeadAttention", packed, ["y"], **options), want)


@pytest.mark.parametrize("bad,message", [
    ({"k": None, "v": None}, "the query has 3 dimensions"), ({"v": None}, "the key has 3 dimensions"),
    ({"v": numbers(B, 4, D)}, "do not fit"), ({"bias": numbers(D)}, "the bias has 8 elements, must have 24"),
    ({"mask": numbers(1, 1, 1, 1, 1).astype(np.int32)}, "the mask has 5 dimensions"),
    ({"past_key": numbers(B, N, 2, H)}, "one of past_key and past_value is absent")])
def test_operands_of_heads_that_do_not_fit(bad, message):
    inputs = {"q": numbers(B, S, D), "k": numbers(B, S, D), "v": numbers(B, S, D), "bias": None, "mask": None,
              "added": None, "past_key": None, "past_value": None, **bad}
    with pytest.raises(lathe.ModelError, match=message):
        run("MultiHeadAttention", inputs, ["y"], domain=MS, num_heads=N)


# -- RotaryEmbedding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype,form,positions,interleaved,partial,mode", sample(
    [np.float32, np.float16], ["joined", "heads"], ["first", "each"], [0, 1], [False, True], MODES, step=7))
def test_rotary_embedding(dtype, form, positions, interleaved, partial, mode):
    features = 12 if partial else 8
    shape = (B, S, N * features) if form == "joined" else (B, N, S, features)
    inputs = {"x": numbers(*shape, dtype=dtype),
              "positions": np.array([4]) if positions == "first" else rng.integers(0, 10, (B, S)),
              "cos": numbers(10, 4, dtype=dtype), "sin": numbers(10, 4, dtype=dtype)}
    attributes = {"num_heads": N, "rotary_embedding_dim": 8} if partial else {}
    if mode.get("symbolic"):
        mode = {"symbolic": True, "constants": ["cos", "sin"]}
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if dtype == np.float16 else TOLERANCE[dtype]
    check("RotaryEmbedding", inputs, ["y"], domain=MS, **tolerance, **expand(mode, inputs), interleaved=interleaved,
          **attributes)


def test_a_position_outside_of_the_caches_is_an_error():
    inputs = {"x": numbers(1, S, 8), "positions": np.array([8]), "cos": numbers(10, 4), "sin": numbers(10, 4)}
    with pytest.raises(lathe.ModelError) as caught:
        run("RotaryEmbedding", inputs, ["y"], domain=MS)
    assert caught.value.code == "E0704"
