# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tool under test: LATHE_BUILD_DIR names the build folder, by default `build` beside the sources."""

import os
import pathlib
import resource
import subprocess

import pytest


class Run:
    def __init__(self, process, seconds):
        self.code, self.out, self.err, self.seconds = process.returncode, process.stdout, process.stderr, seconds


@pytest.fixture(scope="session")
def importer():
    """Runs lathe-import; `.seconds` is processor time, which does not depend on what else the machine does."""
    root = pathlib.Path(__file__).resolve().parents[1]
    tool = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", root / "build")) / "tools/lathe-import/lathe-import"
    if not tool.exists():
        pytest.fail(f"{tool} is not built")

    def run(*arguments, timeout=60):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.run([tool, *map(str, arguments)], capture_output=True, timeout=timeout)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Run(process, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    return run
