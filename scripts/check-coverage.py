# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Prints how many lines of each file ran, from `llvm-cov export`, and writes a JUnit file whose one test passes if at least
so many percent of all did. Lines of functions that only the compiler runs do not count."""

import argparse
import json
import pathlib


def count_lines(function):
    """The lines of a function that never ran."""
    first, last = (function["regions"][0][at] for at in (0, 2))
    return last - first + 1 if function["count"] == 0 else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("summary", type=pathlib.Path)
    parser.add_argument("--least", type=float, required=True)
    parser.add_argument("--compile-time", action="append", default=[], help="part of the name of a function")
    parser.add_argument("--junit", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    data = json.loads(arguments.summary.read_text())["data"][0]
    rows = [(pathlib.Path(file["filename"]).name, file["summary"]["lines"]) for file in data["files"]]
    rows.append(("all", data["totals"]["lines"]))
    for name, lines in rows:
        print(f"{name:24} {lines['covered']:5} of {lines['count']:5} lines, {lines['percent']:5.1f} %")
    total = dict(rows[-1][1])
    skipped = {function["name"]: count_lines(function) for function in data["functions"]
               if any(name in function["name"] for name in arguments.compile_time)}
    total["count"] -= sum(skipped.values())
    total["percent"] = 100 * total["covered"] / max(total["count"], 1)
    print(f"{sum(skipped.values())} lines are run by the compiler: {total['percent']:.1f} % of the others")
    # No line at all is no proof.
    passed = total["count"] > 0 and total["percent"] >= arguments.least
    failure = "" if passed else f'<failure message="{total["percent"]:.1f} % of lines ran, expects {arguments.least:g}"/>'
    arguments.junit.write_text('<testsuites><testsuite name="coverage"><testcase classname="coverage" name="lines">'
                               f"{failure}</testcase></testsuite></testsuites>\n")
    return 0 if passed else 1


raise SystemExit(main())
