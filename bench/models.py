# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models against ONNX Runtime and OpenVINO, interleaved in one run: a table, and JSON with date and processor.

A case's ratio is the faster peer's time over Lathe's, round by round. Everyone computes in f32.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

from lathe import _peers, compile  # noqa: E402
from lathe.compiler import driver  # noqa: E402
from lathe.zoo import build_models  # noqa: E402

RESULTS = pathlib.Path(__file__).parent / "results"


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


def processor():
    """The brand, and the family that floors are kept for: the vendor and the vectors. A virtual machine may show a
    wrong model number, never a wrong feature."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, text = line.partition(":")
        fields.setdefault(key.strip(), text.strip())
    flags = set(fields.get("flags", "").split())
    vendor = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}.get(fields.get("vendor_id"), "other")
    vectors = "avx512" if "avx512vl" in flags else "avx2" if "avx2" in flags else "sse"
    return fields.get("model name", "unknown"), "-".join([vendor, vectors] + (["amx"] if "amx_tile" in flags else []))


def profile(artifact, inputs, threads, folder):
    """Where Lathe's time goes, by `lathe profile`: the roofs and every kernel."""
    path = folder / "inputs.npz"
    np.savez(path, **inputs)
    done = subprocess.run([driver(), "profile", artifact, f"--inputs={path}", f"--threads={threads}", "--json"],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def measure(names, threads, seconds, rounds, folder):
    """Yields one record for each case and number of threads."""
    models = build_models(folder / "models")
    for name in names:
        model, make_inputs, flops = CASES[name]
        artifact = folder / "models" / f"{model}.bench.so"
        compile(models[model], artifact)
        inputs = make_inputs()
        for count in threads:
            results = _peers.measure(artifact, models[model], inputs, threads=count, seconds=seconds, rounds=rounds)
            best = [min(times) for times in zip(*(results[peer]["rounds_ms"] for peer in _peers.PEERS))]
            ratio, spread = _peers.ratio(best, results["lathe"]["rounds_ms"])
            yield {"case": name, "threads": count, "ratio": ratio, "spread": spread, "flops": flops,
                   "results": results, "profile": profile(artifact, inputs, count, folder)}


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def print_table(records, markdown=False):
    from rich.console import Console
    from rich.table import Table

    rows = [["case", "threads", "lathe ms", *(f"{peer} ms" for peer in _peers.PEERS), "ratio to the faster",
             "share of f32 roof"]]
    for record in records:
        results = record["results"]
        # The best of all measurements: a neighbour may have slowed the others.
        roof = max(other["profile"]["roof_gflops"] for other in records if other["threads"] == record["threads"])
        share = record.get("flops", CASES[record["case"]][2]) / (results["lathe"]["p50_ms"] * 1e6) / roof
        rows.append([record["case"], str(record["threads"]),
                     *(f"{results[name]['p50_ms']:.3f}" for name in ("lathe", *_peers.PEERS)),
                     f"{record['ratio']:.2f} ± {record['spread']:.2f}", f"{100 * share:.0f} %"])
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    else:
        table = Table()
        for number, heading in enumerate(rows[0]):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in rows[1:]:
            table.add_row(*row)
        Console(width=110).print(table)
    ratios = [record["ratio"] for record in records]
    print(f"geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", action="append", choices=CASES, help="one of the cases; may be repeated")
    parser.add_argument("--threads", default="1,2", help="numbers separated by commas (default 1,2)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each runtime and case (default 3)")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each runtime (default 8)")
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes (default bench/results)")
    parser.add_argument("--markdown", action="store_true", help="print the table for a document")
    parser.add_argument("--show", type=pathlib.Path, help="print the table of an earlier run's JSON and end")
    arguments = parser.parse_args()
    if arguments.show:
        print_table(json.loads(arguments.show.read_text())["records"], arguments.markdown)
        return
    brand, family = processor()
    folder = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build"))
    date = datetime.datetime.now(datetime.timezone.utc)
    print(f"{brand} ({family}), {os.cpu_count()} processors, {date:%Y-%m-%d %H:%M} UTC")
    records = list(measure(arguments.case or CASES, [int(text) for text in arguments.threads.split(",")],
                           arguments.seconds, arguments.rounds, folder))
    output = arguments.output or RESULTS / f"{date:%Y-%m-%d-%H%M}-{family}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"date": date.isoformat(timespec="seconds"), "processor": brand, "family": family,
                                  "cores": os.cpu_count(), "records": records}, indent=1) + "\n")
    print_table(records, arguments.markdown)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
