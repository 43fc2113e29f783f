# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""PagedAttention of com.microsoft, which ONNX Runtime's processors' provider lacks, against its definition in f64."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import lathe, run  # noqa: E402
from test_contrib_norms import MS, numbers, sample  # noqa: E402

N, K, H, BLOCK = 4, 2, 8, 4
# New tokens and old keys of each sequence.
BATCHES = {"prompts": ([3, 1, 5], [0, 0, 0]), "steps": ([1, 1], [6, 3]), "mixed": ([1, 4, 0, 2], [7, 0, 2, 5])}
OUTPUTS = ["y", "k_out", "v_out"]
rng = np.random.default_rng(12)


def make(batch, packed=False):
    fresh, past = BATCHES[batch]
    most = -(-max(n + p for n, p in zip(fresh, past)) // BLOCK) + 1
    # Blocks in any order; those that a sequence does not need are not there.
    order, table = list(rng.permutation(most * len(fresh) + 2)), np.full((len(fresh), most), -1, np.int32)
    for b, (n, p) in enumerate(zip(fresh, past)):
        for i in range(-(-(n + p) // BLOCK)):
            table[b, i] = order.pop()
    tokens = sum(fresh)
    q, k, v = numbers(tokens, N * H), numbers(tokens, K * H), numbers(tokens, K * H)
    cache = [numbers(most * len(fresh) + 2, BLOCK, K, H) for _ in range(2)]
    return {"q": np.concatenate([q, k, v], 1) if packed else q, "k": None if packed else k, "v": None if packed else v,
            "k_cache": cache[0], "v_cache": cache[1], "ends": np.cumsum([0, *fresh]).astype(np.int32),
            "past": np.array(past, np.int32), "table": table, "cos": None, "sin": None, "slots": None, "sink": None,
            "q_norm": None, "k_norm": None, "k_scale": None, "v_scale": None, "bounds": None}


def attend(inputs, window=-1, causal=True, softcap=0.0):
    """The results and the caches, in f64."""
    wide = {name: None if array is None else array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
            for name, array in inputs.items()}
    q, k, v = (wide[name] for name in "qkv")
    if k is None:
        q, k, v = np.split(q, [N * H, (N + K) * H], 1)
    q, k, v = q.reshape(-1, N, H), k.reshape(-1, K, H), v.reshape(-1, K, H)
    for name in ("q", "k"):
        if wide[name + "_norm"] is not None:
            x = q if name == "q" else k
            x[:] = x / np.sqrt((x ** 2).mean(-1, keepdims=True) + 1e-6) * wide[name + "_norm"]
    ends, past = wide["ends"], wide["past"]
    where = [(b, past[b] + t - ends[b]) for b in range(len(past)) for t in range(ends[b], ends[b + 1])]
    if wide["cos"] is not None:
        at = [position for _, position in where]
        cos, sin = wide["cos"][at][:, None], wide["sin"][at][:, None]
        for x in (q, k):
            first, second = x[..., :H // 2].copy(), x[..., H // 2:].copy()
            x[..., :H // 2], x[..., H // 2:] = first * cos - second * sin, first * sin + second * cos
    caches = [wide["k_cache"].copy(), wide["v_cache"].copy()]
    for t, (b, position) in enumerate(where):
        slot = wide["table"][b, position // BLOCK] * BLOCK + position % BLOCK
        if wide["slots"] is not None:
            slot = wide["slots"][t]
        if slot >= 0:
            for cache, own in zip(caches, (k, v)):
                cache.reshape(-1, K, H)[slot] = own[t]
    result = np.zeros((len(where), N, H))
    for t, (b, position) in enumerate(where):
        end = position + 1 if causal else past[b] + ends[b + 1] - ends[b]
        seen = range(max(0, position - window + 1) if window > 0 else 0, end)
        keys, values = ([cache[wide["table"][b, j // BLOCK], j % BLOCK] for j in seen] for cache in caches)
        for h in range(N):
            g = h // (N // K)
            logits = np.array([key[g] for key in keys]) @ q[t, h] / np.sqrt(H)
            logits = softcap * np.tanh(logits / softcap) if softcap else logits
            weights = np.exp(logits)
            total = weights.sum() + (0 if wide["sink"] is None else np.exp(wide["sink"][h]))
            result[t, h] = weights @ np.array([value[g] for value in values]) / total
    return {"y": result.reshape(len(where), N * H), "k_out": caches[0], "v_out": caches[1]}


def compare(inputs, symbolic=False, **attributes):
    options = {name: value for name, value in attributes.items() if name in ("window", "causal", "softcap")}
    want = attend(inputs, **options)
    given = {"num_heads": N, "kv_num_heads": K, "do_rotary": int(inputs["cos"] is not None),
             "local_window_size": options.get("window", -1), "is_causal": int(options.get("causal", True)),
             "softcap": options.get("softcap", 0.0)}
    constants = [name for name in ("cos", "sin") if symbolic and inputs[name] is not None]
    got = run("PagedAttention", inputs, OUTPUTS, domain=MS, symbolic=symbolic, constants=constants, **given)
    for name in OUTPUTS:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("batch,packed,rotated,symbolic", sample(list(BATCHES), [False, True], [False, True], [False, True],
                                                                step=5))
def test_paged_attention(batch, packed, rotated, symbolic):
    inputs = make(batch, packed)
    if rotated:
        angles = numbers(16, H // 2)
        inputs.update(cos=np.cos(angles), sin=np.sin(angles))
    compare(inputs, symbolic)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("attributes", [{"window": 2}, {"causal": False}, {"causal": False, "window": 3}, {"softcap": 0.7}])
def test_what_a_token_sees(batch, attributes):
    compare(make(batch), **attributes)


@pytest.mark.parametrize("batch", BATCHES)
def test_sinks_norms_and_bounds(batch):
    inputs = make(batch)
    inputs.update(sink=numbers(N), q_norm=numbers(H), k_norm=numbers(H), bounds=np.array([5, 0], np.int32))
    compare(inputs)


def test_tokens_that_are_stored_elsewhere_or_nowhere():
    inputs = make("mixed")
    inputs["slots"] = np.array([9, -1, 2, 0, -1, 30, 7], np.int32)
    compare(inputs)


@pytest.mark.parametrize("change", [{"table": np.full((2, 3), -1, np.int32)}, {"ends": np.array([0, 1, 1], np.int32)},
                                    {"bounds": np.array([1, 0], np.int32)}])
def test_what_has_no_place_ends_the_run(change):
    """A token without a block, or behind the last sequence; more new tokens than the bound says."""
    inputs = make("steps")
    if "bounds" in change:
        inputs = make("prompts")
    inputs.update(change)
    with pytest.raises(lathe.ModelError) as caught:
        run("PagedAttention", inputs, OUTPUTS, domain=MS, num_heads=N, kv_num_heads=K)
    assert caught.value.code == "E0704"


@pytest.mark.parametrize("change,message", [
    ({"kv_cache_layout": "LATENT"}, "latent rows"), ({"k_quant_type": "PER_TENSOR"}, "a quantized cache"),
    ({"rotary_offset": 8}, "rotary_offset"), ({"local_window_size": 0}, "local_window_size is 0"),
    ({"kv_num_heads": 3}, "must be a multiple of kv_num_heads, 3"), ({"v": None}, "one of key and value is absent"),
    ({"table": np.zeros(4, np.int32)}, "input 7 has 1 dimensions, must have 2"), ({"past": None}, "input 6 is absent"),
    ({"ends": np.zeros(2, np.int32)}, "one element more")])
def test_what_does_not_fit_is_an_error(change, message):
    inputs = make("steps")
    attributes = {"num_heads": N, "kv_num_heads": K}
    for name, value in change.items():
        (inputs if name in inputs else attributes)[name] = value
    with pytest.raises(lathe.ModelError, match=message):
        run("PagedAttention", inputs, OUTPUTS, domain=MS, **attributes)
