# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the runtime promises, kept with compiled models: nothing leaks, nothing races, runs are quiet.

LATHE_PROBE names the program that uses the C API, for builds with a sanitizer."""

import os
import pathlib
import subprocess

import pytest

from small_models import build_folder

PROBE = pathlib.Path(os.environ.get("LATHE_PROBE", build_folder() / "runtime/test/lathe_artifact_probe"))
FULL = bool(os.environ.get("LATHE_TEST_FULL"))
needs_own_allocator = pytest.mark.skipif("LATHE_PROBE" in os.environ, reason="a sanitizer allocates itself")


def probe(*arguments):
    done = subprocess.run([PROBE, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr[-6000:]}"
    return done.stdout


@needs_own_allocator
@pytest.mark.parametrize("sizes", [("batch=1", "sequence=1"), ("batch=3", "sequence=17"), ("batch=1", "sequence=128")])
def test_runs_of_minilm_neither_allocate_nor_call_the_system(compiled, sizes):
    assert probe("quiet", compiled("minilm"), *sizes) == "0 runs failed, 0 allocations\n"


@needs_own_allocator
def test_runs_of_a_small_model_neither_allocate_nor_call_the_system(tiny):
    assert probe("quiet", tiny, "N=3") == "0 runs failed, 0 allocations\n"


@needs_own_allocator
def test_opening_and_closing_leaves_nothing(tiny):
    assert "descriptors" in probe("cycle", tiny, 10_000 if FULL else 1_000)


@needs_own_allocator
def test_opening_and_closing_minilm_leaves_nothing(compiled):
    assert "descriptors" in probe("cycle", compiled("minilm"), 1_000 if FULL else 20)


def test_two_models_in_two_threads_each(compiled, tiny):
    assert probe("threads", tiny, compiled("minilm"), 3) == "0 results differ\n"
