# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`lathe bench MODEL.so --vs PEERS --model MODEL.onnx`: the driver calls this with the arguments it was given."""

import argparse
import json
import os

from . import _inputs, _peers
from .errors import ModelError
from .model import load


def main() -> int:
    parser = argparse.ArgumentParser(prog="lathe bench", allow_abbrev=False)
    parser.add_argument("artifact")
    _inputs.add_arguments(parser)
    parser.add_argument("--check", default="full")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--vs", required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    if not os.path.exists(arguments.model):
        raise ModelError("E0002", f"cannot read {arguments.model!r}: no such file")
    artifact = load(arguments.artifact, threads=1, check=arguments.check)
    inputs = _inputs.gather(arguments, artifact.inputs, artifact.symbols)
    threads = arguments.threads or len(os.sched_getaffinity(0))
    results = _peers.measure(arguments.artifact, arguments.model, inputs, arguments.vs.split(","), threads,
                             arguments.seconds)
    if arguments.json:
        print(json.dumps({"model": arguments.artifact, "variant": artifact.variant, "threads": threads,
                          "inputs": {name: list(array.shape) for name, array in inputs.items()},
                          "results": results}, indent=2))
        return 0
    from rich.console import Console

    shapes = ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in inputs.items())
    Console().print(_peers.table(results))
    print(f"{threads} thread(s), {artifact.variant}, f32 everywhere; {shapes}")
    return 0


if __name__ == "__main__":
    _inputs.run_tool(main)
