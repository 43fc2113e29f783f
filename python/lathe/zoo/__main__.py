# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes the models into a folder and prints their paths."""

import sys

from . import build_models

if len(sys.argv) != 2:
    sys.exit("usage: python -m lathe.zoo FOLDER")
for name, path in build_models(sys.argv[1]).items():
    print(f"{name} {path}")
