# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs ONNX's cases and compares with what is recorded in failing.txt.

    PYTHONPATH=python build/venv/bin/python test/conformance/runner.py            # all, 5 to 45 minutes
        --filter REGEX      cases by name
        --shard I/N         every N-th, from the I-th
        --update            writes failing.txt and docs/op-support.md anew (the latter after a run of everything)
        --list FILE         writes one line `name mode status reason` for every case that fails
        --junit FILE        writes the results as JUnit does

Every case is expected to pass but those in failing.txt, and those in deviations.txt, each with the reason. The exit status
is 1 if one of the others fails.
"""

import argparse
import collections
import pathlib
import re
import sys
import time
import xml.sax.saxutils

import cases
import support
import worker

HERE = pathlib.Path(__file__).resolve().parent
FAILING = HERE / "failing.txt"
DEVIATIONS = HERE / "deviations.txt"
HEADER = """# The cases of ONNX that are not expected to pass, and in which modes. All others must.
# Written by: test/conformance/runner.py --update
"""


def read_deviations():
    """Reasons by pairs of a name and a mode."""
    reasons = {}
    for line in DEVIATIONS.read_text().splitlines():
        if line and not line.startswith("#"):
            case, reason = line.split(": ", 1)
            name, *modes = case.split()
            reasons.update(((name, mode), reason) for mode in modes)
    return reasons


def read_failing():
    """Pairs of a name and a mode: all that need not pass."""
    failing = set(read_deviations())
    for line in FAILING.read_text().splitlines():
        if line and not line.startswith("#"):
            name, *modes = line.split()
            failing.update((name, mode) for mode in modes)
    return failing


def write_failing(failing):
    modes = collections.defaultdict(list)
    for name, mode in sorted(failing, key=lambda pair: (pair[0], cases.MODES.index(pair[1]))):
        modes[name].append(mode)
    FAILING.write_text(HEADER + "".join(f"{name} {' '.join(modes[name])}\n" for name in sorted(modes)))


def all_jobs():
    return [(name, mode) for name in sorted(cases.collect()) for mode in cases.MODES]


def write_junit(path, results, failing):
    """What is recorded as failing counts as skipped."""
    lines = ["<testsuites><testsuite name=\"conformance\">"]
    for result in results:
        attributes = f"classname={xml.sax.saxutils.quoteattr(result.name)} name=\"{result.mode}\""
        reason = xml.sax.saxutils.quoteattr(re.sub(r"[^\x20-\x7e]", "?", f"{result.status}: {result.reason}")[:400])
        inner = "" if result.status == "pass" else f"<failure message={reason}/>"
        if (result.name, result.mode) in failing:
            inner = "<skipped/>" if inner else inner
        lines.append(f"<testcase {attributes}>{inner}</testcase>")
    lines.append("</testsuite></testsuites>")
    pathlib.Path(path).write_text("\n".join(lines) + "\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="")
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-O", dest="level", type=int, default=2)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--list", type=pathlib.Path)
    parser.add_argument("--junit", type=pathlib.Path)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    first, step = (int(part) for part in arguments.shard.split("/"))
    jobs = [job for job in all_jobs()[first - 1::step] if re.search(arguments.filter, job[0])]
    failing = read_failing()
    begin = time.monotonic()
    results = []
    for result in worker.run_all(jobs, arguments.workers, arguments.level):
        results.append(result)
        if result.status != "pass" and (result.name, result.mode) not in failing:
            print(f"FAILED {result.name} {result.mode}: {result.status}: {result.reason[:300]}", flush=True)
        if len(results) % 500 == 0:
            print(f"{len(results)} of {len(jobs)} in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    results.sort(key=lambda result: (result.name, cases.MODES.index(result.mode)))
    bad = {(result.name, result.mode) for result in results if result.status != "pass"}
    better = sorted(failing & {(result.name, result.mode) for result in results} - bad)
    for name, mode in better:
        print(f"passes now: {name} {mode}")
    if arguments.list:
        arguments.list.write_text("".join(f"{result.name} {result.mode} {result.status} {result.reason}\n"
                                          for result in results if result.status != "pass"))
    if arguments.junit:
        write_junit(arguments.junit, results, failing)
    if arguments.update:
        deviations = read_deviations()
        if len(jobs) == len(all_jobs()):
            support.write(results, deviations)
        ran = set(jobs)
        write_failing(({pair for pair in failing if pair not in ran} | bad) - set(deviations))
    counts = collections.Counter(result.status for result in results)
    print(f"{len(results)} in {time.monotonic() - begin:.0f} s: " +
          ", ".join(f"{count} {status}" for status, count in counts.most_common()) +
          f"; {len(bad - failing)} unexpected, {len(better)} newly pass")
    return 1 if bad - failing and not arguments.update else 0


if __name__ == "__main__":
    sys.exit(main())
