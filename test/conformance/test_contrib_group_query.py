# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GroupQueryAttention of com.microsoft against ONNX Runtime and numpy: prompts, steps with and without room in the cache,
lengths of their own for each row, windows, sinks and rotations; all of it with LATHE_TEST_FULL=1."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import lathe, run, runtime  # noqa: E402
from test_contrib_norms import MS, numbers, sample  # noqa: E402

# ONNX Runtime rotates heads of a multiple of 16 features, and of them a multiple of 16.
N, K, H = 4, 2, 32
# Rows, queries, the cache's length or None, seqlens_k, total_sequence_length.
STEPS = {"prompt": (2, 4, None, [3, 3], 4), "prompt and empty cache": (2, 4, 0, [3, 3], 4),
         "padded prompt": (2, 4, 0, [1, 3], 4), "prompt with room": (2, 4, 9, [2, 3], 4),
         "step": (2, 1, 5, [5, 5], 6), "step with room": (2, 1, 9, [5, 3], 6), "chunk": (1, 3, 5, [7], 8),
         "chunk with room": (1, 3, 12, [7], 8)}


def attend(inputs, lengths, fresh, window=-1, softcap=0.0, sink=None, causal=True):
    """The definition, in f64: results and the keys that each row has then."""
    q, k, v, bias = (None if inputs.get(name) is None else inputs[name].astype(np.float64)
                     for name in ("q", "k", "v", "bias"))
    rows, queries = q.shape[:2]
    q, k, v = q.reshape(rows, queries, N, H), k.reshape(rows, queries, K, H), v.reshape(rows, queries, K, H)
    result = np.full((rows, queries, N, H), np.nan)
    for b in range(rows):
        end, new = lengths[b] + 1, fresh[b]
        for h in range(N):
            g = h // (N // K)
            keys, values = ([] if inputs["past_" + name] is None else inputs["past_" + name][b, g, :end - new]
                            for name in ("k", "v"))
            keys = np.concatenate([np.reshape(keys, (-1, H)), k[b, :new, g]])
            values = np.concatenate([np.reshape(values, (-1, H)), v[b, :new, g]])
            for s in range(new):
                last = end - new + s
                first = max(0, last - window + 1) if window > 0 else 0
                seen = slice(first, last + 1 if causal else end)
                logits = keys[seen] @ q[b, s, h] / np.sqrt(H)
                logits = softcap * np.tanh(logits / softcap) if softcap else logits
                logits = logits if bias is None else logits + bias[b % len(bias), h % bias.shape[1], s, seen]
                weights = np.exp(logits)
                total = weights.sum() + (0 if sink is None else np.exp(sink[h]))
                result[b, s, h] = weights @ values[seen] / total
    return result.reshape(rows, queries, N * H)


def make(step, dtype=np.float32, packed=False, **more):
    rows, queries, past, lengths, total = STEPS[step]
    q, k, v = (numbers(rows, queries, heads * H, dtype=dtype) for heads in (N, K, K))
    cache = [None if past is None else numbers(rows, K, past, H, dtype=dtype) for _ in range(2)]
    inputs = {"q": np.concatenate([q, k, v], -1) if packed else q, "k": None if packed else k,
              "v": None if packed else v, "past_k": cache[0], "past_v": cache[1],
              "lengths": np.array(lengths, np.int32), "total": np.array(total, np.int32), "cos": None, "sin": None,
              "positions": None, "bias": None, "sink": None, **more}
    names = list(inputs)
    while inputs[names[-1]] is None:
        del inputs[names.pop()]
    return inputs


def compare_rows(got, want, inputs, atol, fresh=None):
    """Of results and caches, what is specified: rows are padded behind their ends."""
    ends = inputs["lengths"].reshape(-1) + 1
    for b, end in enumerate(ends):
        new = min(inputs["q"].shape[1], end) if fresh is None else fresh[b]
        for name, valid in (("y", np.s_[b, :new]), ("present_k", np.s_[b, :, :end]), ("present_v", np.s_[b, :, :end])):
            if name in want:
                assert got[name].shape == want[name].shape and got[name].dtype == want[name].dtype
                np.testing.assert_allclose(got[name][valid].astype("f8"), want[name][valid].astype("f8"), rtol=atol,
                                           atol=atol, err_msg=f"{name} of row {b}")


def check_step(inputs, dtype=np.float32, symbolic=False, **attributes):
    outputs = ["y", "present_k", "present_v"]
    options = {"domain": MS, "num_heads": N, "kv_num_heads": K, **attributes}
    tables = [name for name in ("cos", "sin", "sink") if inputs.get(name) is not None]
    got = run("GroupQueryAttention", inputs, outputs, symbolic=symbolic, constants=tables if symbolic else [], **options)
    want = runtime("GroupQueryAttention", inputs, outputs, **options)
    compare_rows(got, want, inputs, 2e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("dtype,packed,symbolic", sample([np.float32, np.float16], [False, True], [False, True], step=3))
def test_steps(step, dtype, packed, symbolic):
    check_step(make(step, dtype, packed), dtype, symbolic)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("interleaved,partial,positions,packed", sample([0, 1], [False, True], [False, True],
                                                                        [False, True], step=7))
def test_rotations(step, interleaved, partial, positions, packed):
    pairs = H // 4 if partial else H // 2
    rows, queries, _, lengths, _ = STEPS[step]
    tables = {"cos": numbers(16, pairs), "sin": numbers(16, pairs)}
    if positions:
        first = np.maximum(np.array(lengths) + 1 - queries, 0)
        tables["positions"] = first[:, None] + np.arange(queries)
    check_step(make(step, packed=packed, **tables), do_rotary=1, rotary_interleaved=interleaved)


@pytest.mark.parametrize("step", ["prompt", "step with room", "chunk"])
@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("attributes", [{"local_window_size": 2}, {"softcap": 0.5}, {"scale": 0.2}, {"smooth_softmax": 1},
                                        {"smooth_softmax": 1, "softcap": 0.5, "local_window_size": 3}])
def test_attributes(step, symbolic, attributes):
    check_step(make(step), symbolic=symbolic, **attributes)


@pytest.mark.parametrize("step", ["prompt", "step", "chunk with room"])
@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize("bias", [None, (1, 1), (1, N)])
def test_sinks_and_biases(step, sink, bias):
    _, queries, _, _, total = STEPS[step]
    inputs = make(step, bias=numbers(*bias, queries, total) if bias else None, sink=numbers(N) if sink else None)
    check_step(inputs)


@pytest.mark.parametrize("step", ["prompt", "padded prompt"])
def test_all_keys_are_seen_without_causality(step):
    check_step(make(step), causal=0)


def residents(keys, rows, window):
    """How many of `keys` keys a windowed cache of so many rows holds."""
    group = rows - window + 1
    return keys - group * max(0, -(-(keys - rows) // group))


@pytest.mark.parametrize("window,rows", [(3, 3), (3, 5), (2, 7)])
def test_windowed_caches(window, rows):
    """Chunk after chunk gives what all at once does, and the cache holds the last keys in their order."""
    count = 10
    q, k, v = (numbers(1, count, heads * H) for heads in (N, K, K))
    whole = {"q": q, "k": k, "v": v, "past_k": None, "past_v": None}
    want, model = attend(whole, [count - 1], [count], window), None
    for chunks in ([1] * count, [4, 3, 2, 1], [9, 1]):
        cache = {name: np.zeros((1, K, rows, H), np.float32) for name in ("past_k", "past_v")}
        first = 0
        for new in chunks:
            end = first + new
            inputs = {"q": q[:, first:end], "k": k[:, first:end], "v": v[:, first:end], **cache,
                      "lengths": np.array([end - 1], np.int32), "total": np.array(end, np.int32)}
            model = model or lathe.compile(build_symbolic(inputs, ["y", "present_k", "present_v"], local_window_size=window,
                                                          sliding_window_cache=1))
            got = model(**inputs)
            np.testing.assert_allclose(got["y"], want[:, first:end], rtol=1e-5, atol=1e-5)
            held = residents(end, rows, window)
            for name, own in (("present_k", k), ("present_v", v)):
                kept = own[:, end - held:end].reshape(1, held, K, H).transpose(0, 2, 1, 3)
                assert got[name].shape == (1, K, rows, H)
                np.testing.assert_array_equal(got[name][:, :, :held], kept)
            cache, first = {"past_k": got["present_k"], "past_v": got["present_v"]}, end


@pytest.mark.parametrize("rows", [3, 4, 6])
def test_rows_of_windowed_caches_have_their_own_lengths(rows):
    """As in ONNX Runtime: each batch entry drops its own oldest keys."""
    inputs = make("step", past_k=numbers(2, K, rows, H), past_v=numbers(2, K, rows, H), lengths=np.array([7, 2], np.int32),
                  total=np.array(8, np.int32), cos=numbers(16, H // 2), sin=numbers(16, H // 2))
    outputs, options = ["y", "present_k", "present_v"], {"domain": MS, "num_heads": N, "kv_num_heads": K, "do_rotary": 1,
                                                         "local_window_size": 3, "sliding_window_cache": 1}
    got, want = (function("GroupQueryAttention", inputs, outputs, **options) for function in (run, runtime))
    np.testing.assert_allclose(got["y"], want["y"], rtol=1e-5, atol=1e-5)
    for b, keys in enumerate((8, 3)):
        held = residents(keys, rows, 3)
        for name in outputs[1:]:
            np.testing.assert_allclose(got[name][b, :, :held], want[name][b, :, :held], rtol=1e-5, atol=1e-5)


def test_lengths_may_have_another_dimension():
    inputs = make("step with room")
    want = attend(inputs, [5, 3], [1, 1])
    inputs["lengths"] = inputs["lengths"].reshape(2, 1)
    got = run("GroupQueryAttention", inputs, ["y"], domain=MS, num_heads=N, kv_num_heads=K)
    compare_rows(got, {"y": want.astype(np.float32)}, inputs, 1e-5)


def test_chunks_that_are_padded_behind_their_ends():
    lengths, fresh = [4, 7], [2, 3]
    inputs = make("chunk")
    inputs.update({"q": numbers(2, 4, N * H), "k": numbers(2, 4, K * H), "v": numbers(2, 4, K * H),
                   "past_k": numbers(2, K, 12, H), "past_v": numbers(2, K, 12, H), "total": np.array(12, np.int32),
                   "lengths": np.array(lengths, np.int32), "cos": None, "sin": None, "positions": None, "bias": None,
                   "sink": None, "k_scale": None, "v_scale": None, "q_norm": None, "k_norm": None,
                   "fresh": np.array(fresh, np.int32)})
    got = run("GroupQueryAttention", inputs, ["y"], domain=MS, num_heads=N, kv_num_heads=K)
    compare_rows(got, {"y": attend(inputs, lengths, fresh).astype(np.float32)}, inputs, 1e-5, fresh)


def test_norms_of_heads():
    inputs = make("prompt", sink=None, k_scale=None, v_scale=None, q_norm=numbers(H), k_norm=numbers(H))
    got = run("GroupQueryAttention", inputs, ["y"], domain=MS, num_heads=N, kv_num_heads=K)
    plain = make("prompt", v=inputs["v"])
    for name in "qk":
        split = inputs[name].reshape(2, 4, -1, H)
        normalized = split / np.sqrt((split**2).mean(-1, keepdims=True) + 1e-6) * inputs[name + "_norm"]
        plain[name] = normalized.reshape(inputs[name].shape)
    want = attend({**plain, "past_k": None, "past_v": None}, [3, 3], [4, 4]).astype(np.float32)
    compare_rows(got, {"y": want}, inputs, 1e-5)


@pytest.mark.parametrize("change,message", [
    ({"num_heads": 3}, "must be a multiple of kv_num_heads"), ({"local_window_size": 0}, "local_window_size is 0"),
    ({"kv_cache_bit_width": 8}, "a quantized cache"), ({"sliding_window_cache": 1}, "local_window_size is -1, must be positive"),
    ({"sliding_window_cache": 1, "local_window_size": 6}, "room for local_window_size keys"),
    ({"sliding_window_cache": 1, "local_window_size": 2, "past_k": None, "past_v": None}, "must be past_key and past_value"),
    ({"do_rotary": 1}, "must be cos_cache and sin_cache"), ({"v": None}, "one of key and value is absent"),
    ({"past_v": None}, "one of past_key and past_value is absent"),
    ({"lengths": np.zeros(3, np.int32)}, "one length for each batch entry")])
def test_what_does_not_fit_is_an_error(change, message):
    inputs, attributes = make("step"), {"num_heads": N, "kv_num_heads": K}
    for name, value in change.items():
        (inputs if name in inputs else attributes)[name] = value
    with pytest.raises(lathe.ModelError, match=message):
        run("GroupQueryAttention", inputs, ["y"], domain=MS, **attributes)


def test_lengths_beyond_the_cache_stop_the_run():
    inputs = make("step with room")
    inputs["lengths"] = np.array([5, 40], np.int32)
    model = lathe.compile(build_symbolic(inputs))
    with pytest.raises(lathe.ModelError) as caught:
        model(**inputs)
    assert caught.value.code.startswith("E07")
    inputs["lengths"] = np.array([5, 3], np.int32)
    model(**inputs)


def build_symbolic(inputs, outputs=("y",), **attributes):
    from nodes import build

    return build("GroupQueryAttention", inputs, list(outputs), domain=MS, symbolic=True, num_heads=N, kv_num_heads=K,
                 **attributes)
