#!/usr/bin/env python3
# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How long MiniLM takes to compile and to open from page cache, and what an artifact adds to its weights.

The bars: compile 5 s, open 20 ms with the full check of the weights and 2 ms with the lazy one, 1.5 MB."""

import ctypes
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

from lathe import _runtime  # noqa: E402
from lathe.compiler import driver  # noqa: E402
from lathe.zoo import build_models  # noqa: E402

CHECKS = {"full": 0, "lazy": 1}


def open_once(path, check):
    """Milliseconds of lathe_open, by the clock and of processor time."""
    library, handle = _runtime.library(), ctypes.c_void_p()
    options = _runtime.OpenOptions(ctypes.sizeof(_runtime.OpenOptions), check)
    begin, busy = time.perf_counter(), time.process_time()
    _runtime.check(library.lathe_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(handle)))
    elapsed, busy = time.perf_counter() - begin, time.process_time() - busy
    library.lathe_close(handle)
    return elapsed * 1e3, busy * 1e3


def main():
    build = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build"))
    model = build_models(build / "models")["minilm"]
    with tempfile.TemporaryDirectory() as folder:
        artifact = pathlib.Path(folder) / "minilm.so"
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([driver(), "compile", model, "-o", artifact, "--quiet"], check=True)
        elapsed, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"compile    {elapsed:6.2f} s, {busy:.2f} s of processor time")
        print(f"artifact   {artifact.stat().st_size / 1e6:6.2f} MB, model {model.stat().st_size / 1e6:.2f} MB")
        for name, check in CHECKS.items():
            times, busy = (sorted(column) for column in zip(*(open_once(artifact, check) for _ in range(41))))
            print(f"open {name}  {times[20]:6.2f} ms, fastest {times[0]:.2f}, {busy[20]:.2f} ms of processor time")


if __name__ == "__main__":
    main()
