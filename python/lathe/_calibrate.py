# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`lathe calibrate MODEL.onnx`: the driver calls this with the arguments it was given."""

import argparse
import json
import os
import signal
import sys
import time
from typing import Any

from . import _inputs
from .calibration import calibrate
from .errors import ModelError


class _Progress:
    """As of the driver: a line that is written over, lines, JSON lines, or nothing."""

    def __init__(self, mode: str) -> None:
        self.mode = ("line" if sys.stderr.isatty() else "none") if mode == "auto" else mode
        self.begin, self.shown, self.stopped = time.monotonic(), False, False

    def stop(self, *_: Any) -> None:
        """A signal came: to end between two runs."""
        self.stopped = True

    def __call__(self, phase: str, step: int, steps: int) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        seconds, count = time.monotonic() - self.begin, f"[{step}/{steps}] " if steps else ""
        if self.mode == "json":
            print(json.dumps({"phase": phase, "step": step, "steps": steps, "seconds": seconds}), file=sys.stderr)
        elif self.mode == "plain":
            print(f"{count}{phase} {seconds:.1f} s", file=sys.stderr)
        elif self.mode == "line":
            self.shown = True
            print(f"\r\x1b[K{count}{phase} {seconds:.1f} s", end="", file=sys.stderr, flush=True)

    def finish(self) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _bytes(text: str) -> int:
    factor = {"k": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 0)
    return int(text[:-1]) * factor if factor else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="lathe calibrate", allow_abbrev=False)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("-o", dest="output", required=True)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--gram", action="store_true")
    parser.add_argument("--gram-limit", type=_bytes, default=1 << 30)
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--shape", action="append", default=[])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--progress", default="auto")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    for path, what in ((arguments.model, "model"), (arguments.data, "data")):
        if not os.path.exists(path):
            raise ModelError("E0002", f"cannot read {path!r}: no such file")
    folder = os.path.dirname(arguments.output) or "."
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ModelError("E0003", f"cannot write {arguments.output!r}: its folder cannot be written to")
    shapes = dict(text.rsplit("=", 1) for text in arguments.shape)
    progress = _Progress(arguments.progress)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, progress.stop)
    try:
        found = calibrate(arguments.model, arguments.data, arguments.output, batch=arguments.batch, gram=arguments.gram,
                          gram_limit=arguments.gram_limit, errors=arguments.errors, shapes=shapes, threads=arguments.threads, progress=progress)
    except KeyboardInterrupt:
        progress.finish()
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        progress.finish()
    for nodes, count in found["not_finite"].items():
        print(f"warning: {count} elements that {nodes} reads are not finite and do not count", file=sys.stderr)
    for weights in found["without_gram"]:
        print(f"warning: no sums of x^T x of what is multiplied with {weights}: convolution, or --gram-limit", file=sys.stderr)
    if not arguments.quiet:
        print(f"{found['runs']} runs, {found['tensors']} tensors, {found['layers']} layers\nwrote {arguments.output}",
              file=sys.stderr)
    return 0


if __name__ == "__main__":
    _inputs.run_tool(main)
