# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares a run of bench/models.py with bench/floors.json and with the bars: what scripts/bench-gate calls.

A case fails below its floor minus the spread of both measurements. With AVX-512 the bars hold in any case: no case below
0.9 of the faster peer, geometric mean at least 1. Without, code is to be right, and what is below a bar is only told.
"""

import argparse
import json
import pathlib
import sys

from common import geometric_mean

FLOORS = pathlib.Path(__file__).parent / "floors.json"
BAR, MEAN_BAR = 0.9, 1.0


def below_floors(run, floors):
    """What is slower than proven, as texts."""
    known = floors.get(run["family"], {})
    failures = []
    for record in run["records"]:
        name = f"{record['case']}/{record['threads']}"
        floor = known.get(name)
        if floor:
            limit = floor["ratio"] - floor["spread"] - record["spread"]
            if record["ratio"] < limit:
                failures.append(f"{name}: ratio {record['ratio']:.3f} is below {limit:.3f}, its floor")
    missing = known.keys() - {f"{record['case']}/{record['threads']}" for record in run["records"]}
    return failures + [f"{name}: not measured" for name in sorted(missing)]


def below_bars(run):
    """What is slower than the faster peer allows, as texts."""
    failures = [f"{record['case']}/{record['threads']}: ratio {record['ratio']:.3f} is below the bar, {BAR}"
                for record in run["records"] if record["ratio"] < BAR]
    mean = geometric_mean([record["ratio"] for record in run["records"]])
    return failures + ([f"geometric mean {mean:.3f} is below the bar, {MEAN_BAR}"] if mean < MEAN_BAR else [])


def has_bars(run):
    return "avx512" in run["family"]


def judge(run, floors):
    """Failures as texts; empty if the run passes."""
    return below_floors(run, floors) + (below_bars(run) if has_bars(run) else [])


def raise_floors(run, floors):
    """The floors with every case's ratio that is higher in this run."""
    known = floors.setdefault(run["family"], {})
    for record in run["records"]:
        name = f"{record['case']}/{record['threads']}"
        if name not in known or known[name]["ratio"] < record["ratio"]:
            known[name] = {"ratio": round(record["ratio"], 3), "spread": round(record["spread"], 3),
                           "date": run["date"], "processor": run["processor"]}
    return floors


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--raise", dest="update", action="store_true", help="write better ratios into floors.json")
    arguments = parser.parse_args()
    run, floors = json.loads(arguments.run.read_text()), json.loads(FLOORS.read_text())
    failures = judge(run, floors)
    for failure in failures:
        print(failure)
    for finding in [] if has_bars(run) else below_bars(run):
        print(f"{finding}; no bar for {run['family']}")
    if not failures and arguments.update:
        FLOORS.write_text(json.dumps(raise_floors(run, floors), indent=1, sort_keys=True) + "\n")
    print(f"{len(run['records']) - len(failures)} of {len(run['records'])} cases hold on {run['family']}"
          if not failures else f"{len(failures)} failures on {run['family']}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
