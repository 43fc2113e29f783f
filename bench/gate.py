# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares a run of bench/models.py with bench/floors.json: what scripts/bench-gate calls.

A case fails below its floor minus the spread of both measurements. A processor family without floors is held to the
bar for a release: no case below 0.9, geometric mean at least 1.
"""

import argparse
import json
import pathlib
import sys

from models import geometric_mean

FLOORS = pathlib.Path(__file__).parent / "floors.json"
BAR, MEAN_BAR = 0.9, 1.0


def judge(run, floors):
    """Failures as texts; empty if the run passes."""
    known = floors.get(run["family"], {})
    failures = []
    for record in run["records"]:
        name = f"{record['case']}/{record['threads']}"
        floor = known.get(name)
        limit = floor["ratio"] - floor["spread"] - record["spread"] if floor else BAR - record["spread"]
        if record["ratio"] < limit:
            failures.append(f"{name}: ratio {record['ratio']:.3f} is below {limit:.3f}")
    mean = geometric_mean([record["ratio"] for record in run["records"]])
    if not known and mean < MEAN_BAR:
        failures.append(f"geometric mean {mean:.3f} is below {MEAN_BAR}")
    missing = known.keys() - {f"{record['case']}/{record['threads']}" for record in run["records"]}
    failures += [f"{name}: not measured" for name in sorted(missing)]
    return failures


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
    if not failures and arguments.update:
        FLOORS.write_text(json.dumps(raise_floors(run, floors), indent=1, sort_keys=True) + "\n")
    print(f"{len(run['records']) - len(failures)} of {len(run['records'])} cases hold on {run['family']}"
          if not failures else f"{len(failures)} failures on {run['family']}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
