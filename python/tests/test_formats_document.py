# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The table of docs/formats.md: bytes as the compiler stores them now, times of the newest result in bench/results."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_table_is_current(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    import formats

    text = formats.DOCUMENT.read_text()
    generated = text.split(formats.BEGIN)[1].split(formats.END)[0]
    assert generated == formats.render(formats.count_bytes(), formats.newest_result()), "run bench/formats.py --write"
    assert sys.modules.pop("formats")
