#!/usr/bin/env python3
# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How long MiniLM takes to compile and to open from page cache, and what an artifact adds to its weights.

Fails beyond the bars. The best of several tries counts: what else a machine does makes none of them faster.
"""

import ctypes
import json
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
# Seconds, milliseconds, megabytes.
BARS = {"compile": 5.0, "open full": 20.0, "open lazy": 2.0, "added": 1.5}
COMPILATIONS, OPENINGS = 3, 41


def open_once(path, check):
    """Milliseconds of lathe_open, by the clock and of processor time."""
    library, handle = _runtime.library(), ctypes.c_void_p()
    options = _runtime.OpenOptions(ctypes.sizeof(_runtime.OpenOptions), check)
    begin, busy = time.perf_counter(), time.process_time()
    _runtime.check(library.lathe_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(handle)))
    elapsed, busy = time.perf_counter() - begin, time.process_time() - busy
    library.lathe_close(handle)
    return elapsed * 1e3, busy * 1e3


def compile_once(model, artifact):
    """Seconds by the clock and of processor time."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([driver(), "compile", model, "-o", artifact, "--quiet"], check=True)
    elapsed, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def weight_bytes(model):
    """Of the model's initializers."""
    inspected = subprocess.run([driver(), "inspect", model, "--json"], check=True, capture_output=True, text=True)
    return json.loads(inspected.stdout)["weight_bytes"]


def judge(best):
    """What is beyond its bar, as texts."""
    return [f"{name}: {best[name]:.2f} is more than {bar}" for name, bar in BARS.items() if best[name] > bar]


def main():
    build = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build"))
    model = build_models(build / "models")["minilm"]
    best = {}
    with tempfile.TemporaryDirectory() as folder:
        artifact = pathlib.Path(folder) / "minilm.so"
        best["compile"], busy = min(compile_once(model, artifact) for _ in range(COMPILATIONS))
        print(f"compile    {best['compile']:6.2f} s, {busy:.2f} s of processor time, best of {COMPILATIONS}")
        size = artifact.stat().st_size
        best["added"] = (size - weight_bytes(model)) / 1e6
        print(f"artifact   {size / 1e6:6.2f} MB, {best['added']:.2f} MB beside the weights")
        for name, check in CHECKS.items():
            times, busy = (sorted(column) for column in zip(*(open_once(artifact, check) for _ in range(OPENINGS))))
            best[f"open {name}"] = times[0]
            print(f"open {name}  {times[0]:6.2f} ms, median {times[OPENINGS // 2]:.2f}, "
                  f"{busy[OPENINGS // 2]:.2f} ms of processor time, best of {OPENINGS}")
    failures = judge(best)
    print("\n".join(failures) if failures else "all within the bars: " +
          ", ".join(f"{name} {bar}" for name, bar in BARS.items()))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
