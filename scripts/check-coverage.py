# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Prints how many lines of each file ran, from `llvm-cov export`, and writes a JUnit file whose one test passes if at least
so many percent of all did."""

import argparse
import json
import pathlib


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("summary", type=pathlib.Path)
    parser.add_argument("--least", type=float, required=True)
    parser.add_argument("--junit", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    data = json.loads(arguments.summary.read_text())["data"][0]
    rows = [(pathlib.Path(file["filename"]).name, file["summary"]["lines"]) for file in data["files"]]
    rows.append(("all", data["totals"]["lines"]))
    for name, lines in rows:
        print(f"{name:24} {lines['covered']:5} of {lines['count']:5} lines, {lines['percent']:5.1f} %")
    total = rows[-1][1]
    # No line at all is no proof.
    passed = total["count"] > 0 and total["percent"] >= arguments.least
    failure = "" if passed else f'<failure message="{total["percent"]:.1f} % of lines ran, expects {arguments.least:g}"/>'
    arguments.junit.write_text('<testsuites><testsuite name="coverage"><testcase classname="coverage" name="lines">'
                               f"{failure}</testcase></testsuite></testsuites>\n")
    return 0 if passed else 1


raise SystemExit(main())
