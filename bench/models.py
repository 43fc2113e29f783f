# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models against ONNX Runtime and OpenVINO, interleaved in one run: a table, and JSON with date and processor.

A case's ratio is the faster peer's time over Lathe's, round by round. Everyone computes in f32.
"""

import json
import subprocess
import sys

import numpy as np

import common
from common import build_folder, geometric_mean

from lathe import _peers
from lathe.compiler import driver
from lathe.zoo import build_models


def minilm_inputs(sequence):
    random = np.random.default_rng(0)
    return {"input_ids": random.integers(0, 30522, (1, sequence)),
            "attention_mask": np.ones((1, sequence), np.int64),
            "token_type_ids": np.zeros((1, sequence), np.int64)}


def magika_inputs():
    return {"bytes": np.random.default_rng(0).integers(0, 257, (1, 2048)).astype(np.int32)}


def minilm_flops(sequence):
    """Of the products of six layers: four of 384x384, two of 384x1536, and two of attention."""
    return 6 * (4 * 2 * sequence * 384 * 384 + 2 * 2 * sequence * 384 * 1536 + 2 * 2 * sequence * sequence * 384)


# One-hot bytes by 257x64, a convolution of width 5 from 256 to 512 channels, and 512x214.
MAGIKA_FLOPS = 2 * 2048 * 257 * 64 + 2 * 508 * 5 * 256 * 512 + 2 * 512 * 214

# A case's name: the model, its inputs, the operations of its products.
CASES = {
    "minilm_s16": ("minilm", lambda: minilm_inputs(16), minilm_flops(16)),
    "minilm_s128": ("minilm", lambda: minilm_inputs(128), minilm_flops(128)),
    "minilm_s512": ("minilm", lambda: minilm_inputs(512), minilm_flops(512)),
    "magika": ("magika", magika_inputs, MAGIKA_FLOPS),
}


def profile(artifact, inputs, threads, folder):
    """Where Lathe's time goes, by `lathe profile`: the roofs and every kernel."""
    path = folder / "inputs.npz"
    np.savez(path, **inputs)
    done = subprocess.run([driver(), "profile", artifact, f"--inputs={path}", f"--threads={threads}", "--json"],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def prepare(names, folder):
    """The artifact, the model and the inputs of each case."""
    models = build_models(folder)
    return {name: (common.compiled(models[CASES[name][0]], folder / f"{CASES[name][0]}.bench.so"), models[CASES[name][0]],
                   CASES[name][1]()) for name in names}


def measure(prepared, threads, seconds, rounds):
    for name, (artifact, model, inputs) in prepared.items():
        for count in threads:
            results = _peers.measure(artifact, model, inputs, threads=count, seconds=seconds, rounds=rounds)
            best = [min(times) for times in zip(*(results[peer]["rounds_ms"] for peer in _peers.PEERS))]
            ratio, spread = _peers.ratio(best, results["lathe"]["rounds_ms"])
            yield {"case": name, "threads": count, "ratio": ratio, "spread": spread, "flops": CASES[name][2],
                   "results": results, "profile": profile(artifact, inputs, count, build_folder())}


def print_table(records):
    rows = []
    for record in records:
        results = record["results"]
        # The best of all measurements: a neighbour may have slowed the others.
        roof = max(other["profile"]["roof_gflops"] for other in records if other["threads"] == record["threads"])
        share = record["flops"] / (results["lathe"]["p50_ms"] * 1e6) / roof
        rows.append([record["case"], str(record["threads"]),
                     *(f"{results[name]['p50_ms']:.3f}" for name in ("lathe", *_peers.PEERS)),
                     common.with_spread(record), f"{100 * share:.0f} %"])
    common.print_rows(["case", "threads", "lathe ms", *(f"{peer} ms" for peer in _peers.PEERS), "ratio to the faster",
                       "share of f32 roof"], rows)
    ratios = [record["ratio"] for record in records]
    print(f"geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")


if __name__ == "__main__":
    common.main(__doc__.split("\n")[0], list(CASES), "", prepare, measure, print_table, seconds=3.0)
