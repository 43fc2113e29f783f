# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes docs/op-support.md from the results of all cases."""

import collections
import pathlib
import re

import cases

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/op-support.md"
HEADER = """# Operators

How many of ONNX's own cases pass, by operator and version, in three modes: with the shapes of the case, with every
dimension symbolic, and with the inputs turned into constants. The types are those of the cases that pass with static
shapes. A version is the newest up to the one that the case asks for. Written by `test/conformance/runner.py --update`.

"""
SHORT = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16", "complex64": "c64",
         "complex128": "c128", **{f"int{n}": f"i{n}" for n in (2, 4, 8, 16, 32, 64)},
         **{f"uint{n}": f"u{n}" for n in (2, 4, 8, 16, 32, 64)}}


def _row(title, names, passed, table):
    cells = [title]
    for mode in cases.MODES:
        count = sum((name, mode) in passed for name in names)
        cells.append(f"{count}/{len(names)}")
    types = set().union(*(table[name].types for name in names if (name, "static") in passed))
    cells.append(" ".join(sorted(SHORT.get(kind, kind) for kind in types)))
    return "| " + " | ".join(cells) + " |"


def _generic(reason):
    """A reason without the names and numbers of one case."""
    reason = re.sub(r'"[^"]*"', "…", reason)
    return re.sub(r"\s*help: .*", "", reason).replace("|", "\\|")[:160]


def _list_deviations(deviations):
    """Names and modes under each reason."""
    cases_of = collections.defaultdict(lambda: collections.defaultdict(list))
    for (name, mode), reason in deviations.items():
        cases_of[reason][name].append(mode)
    lines = []
    for reason, names in cases_of.items():
        described = [f"`{name}`" + ("" if len(modes) == len(cases.MODES) else f" ({', '.join(modes)})")
                     for name, modes in sorted(names.items())]
        lines.append(f"- {', '.join(described)}: {reason}")
    return lines


def write(results, deviations):
    table = cases.collect()
    passed = {(result.name, result.mode) for result in results if result.status == "pass"}
    operators, suites = collections.defaultdict(set), collections.defaultdict(set)
    for case in table.values():
        if case.suite == "node":
            operators[case.operator].add(case.name)
        else:
            suites[case.suite].add(case.name)
    lines = [f"{len(passed)} of {len(results)} cases pass.", ""]
    head = "static | symbolic | constant | types |\n|---|---:|---:|---:|---|"
    for domain in sorted({domain for domain, _, _ in operators}):
        lines += [f"## {domain or 'The default domain'}", "", f"| operator | {head}"]
        for key in sorted(key for key in operators if key[0] == domain):
            lines.append(_row(f"{key[1]}-{key[2]}", operators[key], passed, table))
        lines.append("")
    lines += ["## Models of several operators", "", f"| suite | {head}"]
    lines += [_row(suite, suites[suite], passed, table) for suite in cases.FOLDERS]
    lines += ["", "## Deviations", "", "Cases that need not pass: they contradict the specification or themselves.", ""]
    lines += _list_deviations(deviations)
    reasons = collections.defaultdict(collections.Counter)
    for result in results:
        if result.status != "pass" and (result.name, result.mode) not in deviations:
            case = table[result.name]
            where = case.operator[1] if case.suite == "node" else case.suite
            reasons[where][f"{result.status}: {_generic(result.reason)}"] += 1
    if reasons:
        lines += ["", "## What does not pass, and why", ""]
    for where in sorted(reasons):
        lines.append(f"- {where}")
        lines += [f"  - {count} × {reason}" for reason, count in sorted(reasons[where].items())]
    DOCUMENT.write_text(HEADER + "\n".join(lines).rstrip() + "\n")
