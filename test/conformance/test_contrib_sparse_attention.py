# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""SparseAttention of com.microsoft against ONNX Runtime: prompts and steps, layouts of heads, packed operands, rotations;
all of it with LATHE_TEST_FULL=1."""

import pathlib
import sys

import numpy as np
import onnxruntime
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import build, lathe, run  # noqa: E402
from test_contrib_norms import MS, numbers, sample  # noqa: E402

# Heads of a multiple of 16 features, as ONNX Runtime rotates them. Its blocks are of any size here.
N, K, H, BLOCK, BLOCKS = 4, 2, 32, 4, 4
CACHE = BLOCK * BLOCKS
# Rows, queries, keys of each row after the step, total_sequence_length.
STEPS = {"prompt": (2, 9, [9, 9], 9), "padded prompt": (2, 9, [6, 9], 9), "step": (2, 1, [14, 6], 14),
         "first of a block": (1, 1, [13], 13), "whole cache": (1, CACHE, [CACHE], CACHE)}


def layout(kind):
    """Blocks that a row of blocks sees: itself always."""
    grid = np.tril(np.ones((BLOCKS, BLOCKS), bool))
    row, column = np.indices(grid.shape)
    if kind == "local":
        grid &= row - column < 2
    elif kind == "strided":
        grid &= (row == column) | (column % 2 == 0)
    return grid


def compress(grids):
    rows = np.concatenate([np.zeros((len(grids), 1), int), np.cumsum([grid.sum(1) for grid in grids], 1)], 1)
    columns = [np.nonzero(grid)[1] for grid in grids]
    most = max(map(len, columns))
    # Shorter lists are filled up.
    columns = [np.concatenate([column, np.full(most - len(column), -1)]) for column in columns]
    return rows.astype(np.int32), np.array(columns, np.int32)


def make(step, kinds, packed=False, rotated=False):
    rows, queries, lengths, total = STEPS[step]
    q, k, v = (numbers(rows, queries, heads * H) for heads in (N, K, K))
    block_rows, block_columns = compress([layout(kind) for kind in kinds])
    inputs = {"q": np.concatenate([q, k, v], -1) if packed else q, "k": None if packed else k, "v": None if packed else v,
              "past_k": numbers(rows, K, CACHE, H), "past_v": numbers(rows, K, CACHE, H), "block_rows": block_rows,
              "block_columns": block_columns, "total": np.array(total, np.int32), "lengths": np.array(lengths, np.int32)}
    if rotated:
        angles = numbers(CACHE, H // 2)
        inputs.update(cos=np.cos(angles), sin=np.sin(angles))
    return inputs


OUTPUTS = ["y", "present_k", "present_v"]


def runtime(inputs, **options):
    """What ONNX Runtime gives, which demands that the caches before and after are the same memory."""
    session = onnxruntime.InferenceSession(build("SparseAttention", inputs, OUTPUTS, **options).SerializeToString())
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items() if array is not None}
    binding = session.io_binding()
    for name, array in values.items():
        binding.bind_ortvalue_input(name, array)
    binding.bind_output("y")
    for part in "kv":
        binding.bind_ortvalue_output(f"present_{part}", values[f"past_{part}"])
    session.run_with_iobinding(binding)
    return dict(zip(OUTPUTS, binding.copy_outputs_to_cpu()))


def alone(inputs, b):
    """Row `b` without what fills it up: with rows of different lengths, ONNX Runtime 1.32 reads the weights of one at the
    place of another."""
    length = inputs["lengths"][b]
    row = {**inputs, "total": np.array(length), "lengths": inputs["lengths"][b:b + 1]}
    for name in ("q", "k", "v"):
        row[name] = None if inputs[name] is None else inputs[name][b:b + 1, :length]
    for name in ("past_k", "past_v"):
        row[name] = inputs[name][b:b + 1].copy()
    return row


@pytest.mark.parametrize("step,kinds,packed,rotated,symbolic", sample(
    list(STEPS), [["dense"], ["local"], ["strided", "dense"], ["local", "strided", "dense", "local"]], [False, True],
    [None, 0, 1], [False, True], step=7))
def test_sparse_attention(step, kinds, packed, rotated, symbolic):
    inputs = make(step, kinds, packed, rotated is not None)
    options = {"domain": MS, "num_heads": N, "kv_num_heads": K, "sparse_block_size": BLOCK, "do_rotary": int(rotated is not None),
               "rotary_interleaved": rotated or 0}
    # How wide the rotations are must be known.
    got = run("SparseAttention", inputs, OUTPUTS, symbolic=symbolic,
              constants=["cos", "sin"] if symbolic and rotated is not None else [], **options)
    for b, length in enumerate(inputs["lengths"]):
        want = runtime(alone(inputs, b), **options)
        queries = want["y"].shape[1]
        np.testing.assert_allclose(got["y"][b, :queries], want["y"][0], rtol=1e-4, atol=1e-5, err_msg=f"row {b}")
        for name in OUTPUTS[1:]:
            np.testing.assert_allclose(got[name][b, :, :length], want[name][0, :, :length], rtol=1e-5, atol=1e-6,
                                       err_msg=f"{name} of row {b}")


@pytest.mark.parametrize("change,message", [
    ({"sparse_block_size": 0}, "sparse_block_size is 0, must be at least 1"),
    ({"kv_num_heads": 3}, "num_heads is 4, must be a multiple of kv_num_heads, 3"),
    ({"block_columns": np.zeros((2, 4), np.int32)}, "as many layouts"),
    ({"block_rows": np.zeros(5, np.int32)}, "have 1 and 2 dimensions, must have 2"),
    ({"past_k": None}, "input 3 is absent")])
def test_what_does_not_fit_is_an_error(change, message):
    inputs = make("prompt", ["local"])
    attributes = {"num_heads": N, "kv_num_heads": K, "sparse_block_size": BLOCK}
    for name, value in change.items():
        (inputs if name in inputs else attributes)[name] = value
    with pytest.raises(lathe.ModelError, match=message):
        run("SparseAttention", inputs, OUTPUTS, domain=MS, **attributes)


def test_a_block_behind_the_last_one_ends_the_run():
    inputs = make("prompt", ["dense"])
    inputs["block_columns"][0, 1] = BLOCKS
    with pytest.raises(lathe.ModelError) as caught:
        run("SparseAttention", inputs, OUTPUTS, domain=MS, num_heads=N, kv_num_heads=K, sparse_block_size=BLOCK)
    assert caught.value.code == "E0704"
