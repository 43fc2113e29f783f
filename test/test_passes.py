# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What holds for every pass and op that is declared: it has a test, a description, and an example."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PASSES = sorted(path.relative_to(ROOT) for path in (ROOT / "include").rglob("Passes.td"))
# One file only lists the others, for the reference.
OPS = sorted(path.relative_to(ROOT) for path in (ROOT / "include").rglob("*Ops.td") if path.name != "NNAllOps.td")


def records(path, kind):
    """(name, text) of every `def X : <kind><"name"...` of a file, up to the next record."""
    text = (ROOT / path).read_text()
    starts = [*re.finditer(r'^def \w+\s+:\s+' + kind + r'<"([\w-]+)"', text, re.MULTILINE)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return [(match.group(1), text[match.start():end]) for match, end in zip(starts, ends)]


@pytest.fixture(scope="module")
def run_lines():
    files = [*(ROOT / "test").rglob("*.mlir"), *(ROOT / "test").rglob("*.test")]
    return "\n".join(line for file in files for line in file.read_text().splitlines() if "RUN:" in line)


@pytest.mark.parametrize("path", PASSES, ids=str)
def test_every_pass_is_named_in_a_run_line(path, run_lines):
    names = [name for name, _ in records(path, "Pass")]
    assert names
    missing = [name for name in names if not re.search(rf"(?<![\w-]){'-?' * 2}{name}(?![\w-])", run_lines)]
    assert not missing, "no lit test runs these"


@pytest.mark.parametrize("path", PASSES, ids=str)
def test_every_pass_is_described(path):
    bad = [name for name, text in records(path, "Pass") if "let summary" not in text or "let description" not in text]
    assert not bad


@pytest.mark.parametrize("path", OPS, ids=str)
def test_every_op_is_described_with_an_example(path):
    ops = records(path, r"\w+_(?:\w*Op)")
    assert ops
    for name, text in ops:
        assert "let summary" in text, name
        description = re.search(r"let description = \[\{(.*?)\}\];", text, re.DOTALL)
        assert description, f"{name} has no description"
        words, _, example = description.group(1).partition("```mlir")
        assert words.strip(), f"{name} has no semantics"
        assert example, f"{name} has no example"
