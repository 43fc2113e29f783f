# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The `lathe` command of the Python package: becomes the driver."""

import os
import sys

from .compiler import driver
from .errors import ModelError


def main() -> None:
    os.environ.setdefault("LATHE_PYTHON", sys.executable)
    try:
        path = driver()
        if os.path.realpath(path) == os.path.realpath(sys.argv[0]):  # this very script, found on the PATH
            raise ModelError("E0005", "the compiler is not part of this installation")
    except ModelError as error:
        print(f"error[{error.code}]: {error}", file=sys.stderr)
        sys.exit(1)
    os.execv(path, [path, *sys.argv[1:]])
