# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sums the JUnit files that the test runners wrote.

usage: sum-results.py FOLDER NAME...

A suite whose file is missing, unreadable or empty counts as one failure: a runner that died has not passed.
"""

import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def count(path):
    """Returns (passed, failed, skipped) of one file."""
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
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped += 1
    return len(cases) - failed - skipped, failed, skipped


def main():
    folder = pathlib.Path(sys.argv[1])
    totals = [0, 0, 0]
    for name in sys.argv[2:]:
        counts = count(folder / f"{name}.xml")
        print("{:24} {} passed, {} failed, {} skipped".format(name, *counts))
        totals = [total + new for total, new in zip(totals, counts)]
    print("{} passed, {} failed, {} skipped".format(*totals))
    return 1 if totals[1] else 0


sys.exit(main())
