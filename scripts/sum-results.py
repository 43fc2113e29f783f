# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sums the JUnit files that the test runners wrote.

usage: sum-results.py [--budgets] FOLDER NAME...

A suite whose file is missing, unreadable or empty counts as one failure: a runner that died has not passed.
With --budgets it also says how long the tests of each part of the compiler took, and may take.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


# The parts, what the full names of their tests have in them, and minutes on 2 cores. The first that fits counts.
BUDGETS = (
    ("CUDA", re.compile("cuda", re.IGNORECASE), 6),
    ("compression", re.compile("pack|plan|prune|sparsity|skip_?layers|latenc|calibrat|compress|test_bf16|test_int8|explain",
                               re.IGNORECASE), 4),
    ("operators", re.compile("conformance|random|hostile|numeric|test_(operators|quantized|vision|sound|strings|sequences"
                             "|maps|machine_learning|training|einsum|complex|runtime_|small_)"), 6),
    ("foundation", re.compile(""), 9),
)


def count(path, seconds):
    """Returns (passed, failed, skipped) of one file, and adds to the seconds of each part."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        print(f"{path.name}: {error}")
        return 0, 1, 0
    if not cases:
        print(f"{path.name}: holds no test")
        return 0, 1, 0
    failed = skipped = 0
    for case in cases:
        name = f"{case.get('classname')}.{case.get('name')}"
        part = next(part for part, pattern, _ in BUDGETS if pattern.search(name))
        seconds[part] += float(case.get("time") or 0)
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped += 1
    return len(cases) - failed - skipped, failed, skipped


def main():
    arguments = sys.argv[1:]
    shows_budgets = arguments[0] == "--budgets"
    folder, *names = arguments[shows_budgets:]
    totals = [0, 0, 0]
    seconds = {part: 0.0 for part, _, _ in BUDGETS}
    for name in names:
        counts = count(pathlib.Path(folder) / f"{name}.xml", seconds)
        print("{:24} {} passed, {} failed, {} skipped".format(name, *counts))
        totals = [total + new for total, new in zip(totals, counts)]
    if shows_budgets:
        for part, _, minutes in reversed(BUDGETS):
            print(f"{part:24} {seconds[part]:.0f} s of tests; the budget is {60 * minutes} s on 2 cores")
    print("{} passed, {} failed, {} skipped".format(*totals))
    return 1 if totals[1] else 0


sys.exit(main())
