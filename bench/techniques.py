# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What each technique of compression does to MiniLM: its speed, the bytes of its weights, and how its results differ.

All artifacts run in turns of a fraction of a second in one process. A speed-up is the median over turns of what the model
without a plan takes by what the artifact takes; beside it stands half the interquartile range. `--write` puts the table
into docs/techniques.md.
"""

import argparse
import datetime
import pathlib
import statistics
import sys

import numpy as np

from common import ROOT, median_time, processor
from compression import statistics as measured_statistics
from models import minilm_inputs

sys.path.insert(0, str(ROOT / "python"))

import lathe  # noqa: E402
from lathe._verify import compare  # noqa: E402
from lathe.zoo import build_models  # noqa: E402

#: The technique's name, what is done in words, and the arguments of lathe.compile that do it. Statistics are those of the
#: model of this name, measured on texts.
TECHNIQUES = [
    ("", "nothing", {}),
    ("layer skipping, balanced", "2 of 6 layers left out for a speed-up of 1.5", {"skip_to_speedup": 1.5}),
    ("layer skipping, balanced", "3 of 6 layers left out for a speed-up of 2", {"skip_to_speedup": 2}),
    ("layer skipping, by importance", "the 2 layers that change least", {"skip_to_speedup": 1.5, "stats": "minilm"}),
    ("layer skipping, by list", "the last 2 layers left out", {"skip_layers": [4, 5]}),
    ("attention skipping", "the attention of the last 2 layers left out", {"skip_layers": "4:attention,5:attention"}),
    ("feed-forward skipping", "the feed-forward parts of the last 2 layers left out", {"skip_layers": "4:ffn,5:ffn"}),
    ("products in bf16", "all products", {"math": "bf16"}),
    ("products of 8-bit integers", "all products, rows quantized as they come", {"quantize": "int8-dynamic"}),
    ("products of 8-bit integers", "all products, ranges known before", {"quantize": "int8-static", "stats": "minilm"}),
    ("migration of scales", "the same, channels evened out by 0.75",
     {"quantize": "int8-static", "migrate": 0.75, "stats": "minilm"}),
    ("weights of 4 bits", "all products, a scale for 32 rows", {"quantize": "int4"}),
    ("compensated rounding", "the same, rounded so that products change least",
     {"quantize": "int4", "rounding": "compensated", "stats": "minilm"}),
    # Slower than f32, maybe: measured all the same.
    ("weights of 4 bits, rows of 8", "all products, a scale for 32 rows and for 32 elements of a row", {"quantize": "int4-dynamic"}),
    ("places in a table", "NF4, a scale for 64 rows", {"quantize": "nf4", "force": True}),
    ("places in a table", "integers of 3 bits, a scale for 32 rows", {"quantize": "int3", "force": True}),
    ("places in a table", "floats of 8 bits (E4M3), a scale for 32 rows", {"quantize": "fp8", "force": True}),
    ("blocks of zeros", "3 of 4 blocks of 1 x 4", {"prune": "block:75%"}),
    ("single zeros", "9 of 10 elements", {"prune": "unstructured:90%"}),
    ("zeros by statistics (Wanda)", "9 of 10 elements, counted by what they are multiplied with",
     {"prune": "unstructured:90%", "stats": "minilm"}),
    ("blocks of zeros", "3 of 4 blocks of 4 x 32 integers of 8 bits, without matrix registers",
     {"quantize": "int8-dynamic", "prune": "block:75%", "target": "x86-64-v4+vnni"}),
    ("two of four zeros", "refused: products of single elements take as long at half of them", {"prune": "2:4"}),
    ("two of four zeros", "the same, forced", {"prune": "2:4", "force": True}),
    ("several", "products of 8-bit integers, and 2 of 6 layers left out",
     {"quantize": "int8-dynamic", "skip_to_speedup": 1.5}),
]
DOCUMENT = ROOT / "docs/techniques.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"


def prepare(folder):
    """The artifacts, in the order of TECHNIQUES."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build_models(folder)["minilm"]
    paths = []
    for number, (_, _, options) in enumerate(TECHNIQUES):
        if "stats" in options:
            options = {**options, "stats": measured_statistics("minilm", model, folder, gram=True)}
        paths.append(folder / f"technique{number}.so")
        lathe.compile(model, paths[-1], **options)
    return paths


def measure(paths, inputs, threads, seconds, rounds):
    """For each artifact the median time in ms, the speed-up and its spread, and the largest difference and cosine."""
    runs = [lathe.load(path, threads=threads).bind(**inputs) for path in paths]
    results = [{name: np.array(value) for name, value in run().items()} for run in runs]
    turns = []
    for _ in range(rounds):
        turns.append([median_time(run, seconds / rounds) for run in runs])
    for column, result in enumerate(results):
        ratios = sorted(turn[0] / turn[column] for turn in turns)
        quarter = len(ratios) // 4
        (loss,) = [compare(value, results[0][name]) for name, value in result.items()]
        yield {"ms": 1e3 * statistics.median(turn[column] for turn in turns), "speedup": statistics.median(ratios),
               "spread": (ratios[-1 - quarter] - ratios[quarter]) / 2, **loss}


def table(paths, batch, sequence, threads, seconds, rounds):
    size = [path.stat().st_size for path in paths]
    lines = [f"Batch {batch}, {sequence} tokens, {threads} thread{'s' * (threads > 1)}:\n",
             "| technique | what | ms | times as fast | bytes of the artifact | largest difference | cosine |",
             "|---|---|---|---|---|---|---|"]
    inputs = {name: np.repeat(value, batch, 0) for name, value in minilm_inputs(sequence).items()}
    measured = measure(paths, inputs, threads, seconds, rounds)
    for (name, what, _), own, result in zip(TECHNIQUES, size, measured):
        lines.append(f"| {name} | {what} | {result['ms']:.2f} | {result['speedup']:.2f} ± {result['spread']:.2f} | "
                     f"{own / 1e6:.1f} MB ({own / size[0]:.2f}) | {result['max_abs']:.3g} | {result['cosine']:.4f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/models")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=4, help="for each artifact")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--write", action="store_true", help="put the table into docs/techniques.md")
    arguments = parser.parse_args()
    paths = prepare(arguments.folder)
    text = f"On {processor()[0]} ({processor()[1]}), {datetime.date.today()}:\n\n" + "\n".join(
        table(paths, batch, arguments.sequence, threads, arguments.seconds, arguments.rounds)
        for batch in arguments.batch for threads in arguments.threads)
    print(text)
    if arguments.write:
        document = DOCUMENT.read_text()
        before, rest = document.split(BEGIN)
        DOCUMENT.write_text(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
