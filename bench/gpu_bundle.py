# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the folder that scripts/gpu-check takes to a machine with a GPU: compiled models with inputs and ONNX Runtime's
results, or those of a processor, the runtime, and the program that checks. The compiler is not in it."""

import argparse
import functools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx

from common import ROOT, build_folder
from gpu_cases import CASES

import lathe
from lathe._verify import run_reference
from lathe.compiler import driver

LIMIT = 60 << 20
TARGETS = "cuda-sm_80,cuda-sm_90a"


def oldest_glibc(library):
    """The newest version of a symbol that a library asks of the C library."""
    text = subprocess.run(["readelf", "--wide", "--version-info", library], capture_output=True, text=True, check=True).stdout
    return ".".join(map(str, max(tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([\d.]+)", text))))


def add_case(case, sizes, measured, targets, folder):
    """Compiles a case, and computes what it must give."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "model.onnx"
        onnx.save(case.model(), source)
        options = [*([f"--math={case.math}"] if case.math else []), *([f"--quantize={case.quantize}"] if case.quantize else [])]

        def compile_for(target, path):
            subprocess.run([driver(), "compile", source, "-o", path, f"--target={target}", "--quiet", *options], check=True)

        compile_for(targets, folder / "model.so")
        reference = functools.partial(run_reference, source)
        if case.quantize:
            processor = pathlib.Path(scratch) / "processor.so"
            compile_for("native", processor)
            reference = lathe.load(processor)
        for number, size in enumerate(sizes):
            inputs = case.inputs(size, np.random.default_rng(number))
            np.savez_compressed(folder / f"inputs{number}.npz", **inputs)
            np.savez_compressed(folder / f"expected{number}.npz", **reference(inputs))
    return {"name": case.name, "sizes": [str(size) for size in sizes], "small": case.small, "peer": case.peer,
            "measured": measured, "math": case.math, "tolerance": case.tolerance}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path, nargs="?", default=build_folder() / "gpu-bundle",
                        help="the folder (default gpu-bundle in the build folder); what is there is replaced")
    parser.add_argument("--case", action="append", choices=CASES, help="one of the cases; may be repeated")
    parser.add_argument("--target", default=TARGETS, help=f"default {TARGETS}; with cuda-emulator the bundle can be rehearsed")
    parser.add_argument("--first-size", action="store_true", help="only the first size of each case, which is the smallest")
    options = parser.parse_args()
    if options.output.exists() and not (options.output / "bundle.json").exists() and any(options.output.iterdir()):
        parser.error(f"{options.output} is not empty, and no bundle")
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    library = (build_folder() / "runtime" / "liblathe.so").resolve()
    shutil.copy(library, options.output / "liblathe.so")
    shutil.copytree(ROOT / "python" / "lathe", options.output / "python" / "lathe",
                    ignore=shutil.ignore_patterns("zoo", "__pycache__", "lib", "bin"))
    shutil.copy(pathlib.Path(__file__).with_name("gpu_check.py"), options.output)
    cases = []
    for name in options.case or CASES:
        case = CASES[name]
        most = 1 if options.first_size else None
        cases.append(add_case(case, case.sizes[:most], case.measured[:most], options.target, options.output / "cases" / name))
    (options.output / "bundle.json").write_text(json.dumps(
        {"glibc": oldest_glibc(library), "targets": options.target.split(","), "cases": cases}, indent=2) + "\n")
    size = sum(path.stat().st_size for path in options.output.rglob("*") if path.is_file())
    print(f"{options.output}: {len(cases)} cases, {size / (1 << 20):.1f} MiB, for glibc {oldest_glibc(library)} or newer")
    if size > LIMIT:
        sys.exit(f"the bundle is larger than {LIMIT >> 20} MiB")


if __name__ == "__main__":
    main()
