# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the benchmarks of whole models share: options, the processor, tables, and JSON with date and processor."""

import argparse
import datetime
import json
import math
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

RESULTS = pathlib.Path(__file__).parent / "results"


def build_folder():
    return pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build"))


def processor():
    """The brand, and the family that floors are kept for: the vendor, the vectors, and what else makes ratios differ. A
    virtual machine may show a wrong model number, never a wrong feature."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, text = line.partition(":")
        fields.setdefault(key.strip(), text.strip())
    flags = set(fields.get("flags", "").split())
    vendor = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}.get(fields.get("vendor_id"), "other")
    parts = [vendor, "avx512" if "avx512vl" in flags else "avx2" if "avx2" in flags else "sse"]
    if "amx_tile" in flags:
        parts.append("amx")
    if vendor == "amd" and "avx512_vp2intersect" in flags:
        # The first of AMD's whose vector units are 512 bits wide; Zen 4 passes such vectors through in halves.
        parts.append("zen5")
    return fields.get("model name", "unknown"), "-".join(parts)


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def with_spread(row):
    """The ratio of a peer, or of another artifact."""
    return f"{row['ratio']:.2f} ± {row['spread']:.2f}"


def median_time(run, seconds):
    """Of as many runs as fit, in seconds."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def print_rows(heading, rows):
    """A markdown table."""
    for row in (heading, ["---"] * len(heading), *rows):
        print("| " + " | ".join(row) + " |")


def main(description, cases, name, prepare, measure, print_table, seconds=2.0, rounds=8):
    """Runs a benchmark: `prepare(cases, folder)` makes and compiles what `measure(prepared, threads, seconds, rounds)`
    measures, one record after the other, and `print_table(records)` prints. `name` goes into the JSON's file name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--case", action="append", choices=cases, help="one of the cases; may be repeated")
    parser.add_argument("--threads", default="1,2", help="numbers separated by commas (default 1,2)")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"for each runtime and case (default {seconds:g})")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each runtime (default {rounds})")
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON goes (default bench/results)")
    parser.add_argument("--prepare", action="store_true", help="only make and compile what is not there yet, so that a run "
                        "that must not be disturbed does nothing but measure")
    parser.add_argument("--show", type=pathlib.Path, action="append", help="print the table of earlier runs and end")
    arguments = parser.parse_args()
    if arguments.show:
        print_table([record for path in arguments.show for record in json.loads(path.read_text())["records"]])
        return
    folder = build_folder() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare(arguments.case or cases, folder)
    if arguments.prepare:
        return
    brand, family = processor()
    date = datetime.datetime.now(datetime.timezone.utc)
    print(f"{brand} ({family}), {os.cpu_count()} processors, {date:%Y-%m-%d %H:%M} UTC")
    threads = [int(text) for text in arguments.threads.split(",")]
    records = list(measure(prepared, threads, arguments.seconds, arguments.rounds))
    output = arguments.output or RESULTS / f"{date:%Y-%m-%d-%H%M}{name and '-' + name}-{family}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"date": date.isoformat(timespec="seconds"), "processor": brand, "family": family,
                                  "cores": os.cpu_count(), "records": records}, indent=1) + "\n")
    print_table(records)
    print(f"wrote {output}")


def compiled(model, artifact, **options):
    """The artifact of a model, compiled anew if the model or the compiler is newer."""
    from lathe import compile
    from lathe.compiler import driver

    newest = max(os.path.getmtime(path) for path in (model, driver()))
    if not (artifact.exists() and artifact.stat().st_mtime > newest):
        compile(model, artifact, **options)
    return artifact
