# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Texts to calibrate and to judge models of language with: those of Debian's package fortunes."""

import math
import os
import pathlib
import subprocess
import tempfile

INSTALLED = pathlib.Path("/usr/share/games/fortunes")
# The texts of these files make the sample; the others are in verse, in code, or pictures of letters.
FILES = ("computers", "cookie", "definitions", "education", "food", "law", "linux", "medicine", "miscellaneous",
         "people", "politics", "science", "wisdom", "work")


def fortunes_folder(cache: str | os.PathLike[str]) -> pathlib.Path:
    """Where the package's files lie: as installed, or downloaded by apt into `cache`."""
    if INSTALLED.is_dir():
        return INSTALLED
    folder = pathlib.Path(cache) / "fortunes"
    if not folder.is_dir():
        pathlib.Path(cache).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            subprocess.run(["apt-get", "download", "-qq", "fortunes"], cwd=scratch, check=True, stderr=subprocess.DEVNULL)
            package = next(pathlib.Path(scratch).glob("fortunes_*.deb"))
            subprocess.run(["dpkg-deb", "-x", package, scratch], check=True)
            (pathlib.Path(scratch) / "usr/share/games/fortunes").rename(folder)
    return folder


def fortunes(cache: str | os.PathLike[str]) -> list[str]:
    """Texts of 60 to 600 characters, each in one line, in an order that has nothing to do with what they are about."""
    texts = []
    for name in FILES:
        whole = (fortunes_folder(cache) / name).read_text(encoding="utf-8", errors="replace")
        texts += [" ".join(part.split()) for part in whole.split("\n%\n")]
    texts = sorted({text for text in texts if 60 <= len(text) <= 600})
    # A stride without a common divisor visits all.
    stride = next(number for number in range(997, 2 * len(texts) + 997) if math.gcd(number, len(texts)) == 1)
    return [texts[i * stride % len(texts)] for i in range(len(texts))]
