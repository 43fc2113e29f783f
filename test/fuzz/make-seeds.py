#!/usr/bin/env python3
# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""make-seeds.py FOLDER: models to start a fuzzer from, good and bad ones."""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "hostile"))
import hostile_models as models  # noqa: E402

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "good").write_bytes(models.good())
for name, make, *_ in models.CASES:
    with tempfile.TemporaryDirectory() as scratch:
        data = make(pathlib.Path(scratch))
    if data is not None and len(data) < 65536:
        (folder / name).write_bytes(data)
