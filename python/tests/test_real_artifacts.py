# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the runtime promises, kept with compiled models: nothing leaks, nothing races, runs are quiet.

LATHE_PROBE names the program that uses the C API, for builds with a sanitizer."""

import os
import pathlib
import re
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


def readelf(option, path):
    return subprocess.run(["readelf", "-W", option, path], capture_output=True, text=True, check=True,
                          env={**os.environ, "LC_ALL": "C"}).stdout


@pytest.mark.parametrize("name", ["minilm", "magika"])
def test_artifacts_are_hardened(compiled, name):
    """Nothing stays writable that holds addresses, nothing is writable and executable, no code is relocated."""
    path = compiled(name)
    segments = re.findall(r"^ +(LOAD|GNU_RELRO|GNU_STACK) .* 0x[0-9a-f]+ ([R ][W ][E ]) 0", readelf("--segments", path), re.M)
    kinds = dict(segments)
    assert "GNU_RELRO" in kinds and kinds["GNU_STACK"] == "RW "
    assert not [flags for kind, flags in segments if kind == "LOAD" and "W" in flags and "E" in flags]
    dynamic = readelf("--dynamic", path)
    assert "BIND_NOW" in dynamic and re.search(r"FLAGS_1.*\bNOW\b", dynamic)
    assert not re.search("TEXTREL|RPATH|RUNPATH|INIT_ARRAY|FINI_ARRAY", dynamic), dynamic
    # Of what it exports there is the table, and of what it needs memory functions of the C library.
    symbols = [line.split() for line in readelf("--dyn-syms", path).splitlines() if re.match(r" +\d+: ", line)][1:]
    defined = [fields[7] for fields in symbols if fields[6] != "UND"]
    needed = {fields[7].split("@")[0] for fields in symbols if fields[6] == "UND"}
    assert len(defined) == 1 and re.fullmatch("lathe_model_[0-9a-f]{16}", defined[0])
    assert needed <= {"memcpy", "memmove", "memset"}
