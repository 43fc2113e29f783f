# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compilation: runs the driver as a process of its own, so that no Python process loads LLVM."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import weakref

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ModelError
from .model import Model


if TYPE_CHECKING:
    import onnx

#: The driver's options that bound what a model may hold and what compiling it may take; docs/security.md explains them.
LIMITS = ("max_file_bytes", "max_structure_bytes", "max_messages", "max_depth", "max_nodes", "max_inlined_nodes", "max_rank",
          "max_elements", "max_dense_bytes", "time_limit", "memory_limit")

#: Of an input, or of a symbol.
Shape = int | range | Iterable[int | None] | None


def driver() -> str:
    """The path of the `lathe` command: $LATHE_DRIVER, the package's own, the build folder's, or that on the PATH."""
    here = pathlib.Path(__file__).resolve().parent
    build = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", here.parents[1] / "build"))
    for candidate in (os.environ.get("LATHE_DRIVER"), here / "bin" / "lathe", build / "tools" / "lathe" / "lathe"):
        if candidate and os.access(candidate, os.X_OK):
            return str(candidate)
    found = shutil.which("lathe")
    if not found:
        raise ModelError("E0005", "the lathe command is not installed; set LATHE_DRIVER to its path")
    return found


def _environment() -> dict[str, str]:
    """This process's, with the ptxas of the package nvidia-cuda-nvcc if no other one is named."""
    environment = dict(os.environ)
    if "LATHE_PTXAS" not in environment and "CUDA_HOME" not in environment:
        for folder in map(pathlib.Path, sys.path):
            for path in folder.glob("nvidia/cu*/bin/ptxas"):
                environment["LATHE_PTXAS"] = str(path)
    return environment


def run_driver(*arguments: object) -> str:
    """Runs the driver and returns its standard output; its error becomes a ModelError."""
    done = subprocess.run([driver(), *map(str, arguments)], capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        code = re.search(r"error\[(E\d{4})\]", done.stderr)
        node = re.search(r'node #\d+ "((?:[^"\\]|\\.)*)"', done.stderr)
        raise ModelError(code.group(1) if code else "E0902", done.stderr.strip(), node.group(1) if node else None)
    return done.stdout


def compile(model: "str | os.PathLike[str] | onnx.ModelProto", output: str | os.PathLike[str] | None = None, *,
            threads: int = 0, shapes: Mapping[str, "Shape"] | None = None, target: str | Iterable[str] = "native",
            opt_level: int = 2, limits: Mapping[str, int | float | str] | None = None,
            plan: "str | os.PathLike[str] | Mapping[str, Any] | None" = None,
            stats: str | os.PathLike[str] | None = None, quantize: str | None = None, ranges: str | None = None,
            migrate: float | None = None, rounding: str | None = None, math: str | None = None, max_error: float | None = None,
            prune: str | None = None, skip_layers: str | Iterable[int] | None = None, skip_to_speedup: float | None = None,
            latencies: "str | os.PathLike[str] | None" = None, force: bool = False,
            fold_budget: int | str | None = None, run_pass_until: int | None = None) -> Model:
    """Compiles an ONNX model and loads the result.

    Parameters
    ----------
    model : str, os.PathLike or onnx.ModelProto
        The model.
    output : str or os.PathLike, optional
        Where the artifact goes. Without it, it lives in a temporary folder for as long as the returned model.
    threads : int, default 0
        The threads of the returned model's sessions; 0 is one per core. An artifact is not tied to a number.
    shapes : mapping, optional
        From an input to its shape (None keeps a dimension), from a symbol to its size or to a range:
        ``{"x": (1, 128)}``, ``{"S": 128}``, ``{"S": range(1, 513)}``. From a sequence to its length, and from an
        optional that holds nothing to None.
    target : str or sequence of str, default "native"
        "native", "x86-64-v3", "x86-64-v4"; the last with "+vnni", "+bf16" or "+amx", too. Or "cuda-sm_80", "cuda-sm_89",
        "cuda-sm_90a", whose machine code is made by ptxas: that of the toolkit, or of the package nvidia-cuda-nvcc.
    opt_level : {0, 2}, default 2
        0 compiles every operator by its reference lowering.
    limits : mapping, optional
        What the model may hold and what compiling it may take, by the names of the driver's options:
        ``{"max_nodes": 10**6, "time_limit": 60, "memory_limit": "4G"}``. `lathe.compiler.LIMITS` lists them,
        docs/security.md explains them.
    plan : str, os.PathLike or mapping, optional
        What is to become of weights and layers: the path of a plan, or what would stand in it.
    stats : str or os.PathLike, optional
        What `lathe.calibrate` has found of the model: the plan may need to know.
    quantize : str, optional
        In which format the weights of products are stored: "int8-dynamic", "int8-static", "int8-weights", "fp8", "int4",
        "int4-dynamic", "nf4", "int3", or as plans write it, "int4<group = 64>".
    ranges : str, optional
        How "int8-static" finds between which numbers to round: "minmax", "mse" or "percentile:99.99".
    migrate : float, optional
        How far channels are evened out before they are rounded, by factors that weights take over: 0 to 1.
    rounding : {"nearest", "compensated"}, optional
        Of weights: to the nearest number of their format, or so that products change least.
    math : {"bf16", "tf32"}, optional
        The type in which products are computed that have no format of their own; "tf32" on CUDA devices only.
    max_error : float, optional
        How far results may move by "bf16", as a share of the largest magnitude of an output. The statistics, made with
        ``errors=True``, say which products stay in f32 for it.
    prune : str, optional
        Which elements of the weights of products become zero, the least in size: "block:75%", "unstructured:90%" or "2:4".
    skip_layers : str or iterable of int, optional
        Layers to leave out, counted from 0, or parts of them: ``[3, 4]``, ``"3,4:attention"``.
    skip_to_speedup : float, optional
        Leaves out as many layers as make the model so many times faster if all time goes to layers, evenly spread.
    latencies : str or os.PathLike, default "native"
        The table by which formats are refused that do not pay: a file that ``lathe latencies`` wrote, "native" for this
        machine's if that was run, "none" for built-in rules alone.
    force : bool, default False
        Does what does not pay all the same.
    fold_budget : int or str, default "1G"
        The bytes that may be computed from weights alone when the artifact is written. What goes beyond is computed in every
        run, and the report says so.
    run_pass_until : int, optional
        Leaves out all optional passes but the first so many: to find the one at fault.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        With the compiler's message, its code and the node at fault.
    """
    holder: tempfile.TemporaryDirectory[str] | None = None
    if output is None or not isinstance(model, (str, os.PathLike)) or isinstance(plan, Mapping):
        holder = tempfile.TemporaryDirectory(prefix="lathe-")
    folder = pathlib.Path(holder.name) if holder else pathlib.Path()
    if not isinstance(model, (str, os.PathLike)):
        path = folder / "model.onnx"
        path.write_bytes(model.SerializeToString())
        model = path
    output = pathlib.Path(output) if output is not None else folder / "model.so"
    arguments: list[object] = ["compile", model, "-o", output, f"-O{opt_level}"]
    targets = [target] if isinstance(target, str) else target
    arguments.append("--target=" + ",".join(targets))
    for name, shape in (shapes or {}).items():
        arguments.append(f"--shape={name}={_shape_text(shape)}")
    for name, limit in (limits or {}).items():
        if name not in LIMITS:
            raise ModelError("E0001", f"there is no limit {name!r}, but {', '.join(LIMITS)}")
        arguments.append(f"--{name.replace('_', '-')}={limit}")
    if isinstance(plan, Mapping):
        path = folder / "plan.json"
        path.write_text(json.dumps(plan))
        plan = path
    if skip_layers is not None and not isinstance(skip_layers, str):
        skip_layers = ",".join(map(str, skip_layers))
    if force:
        arguments.append("--force")
    options = {"plan": plan and os.fspath(plan), "stats": stats and os.fspath(stats), "quantize": quantize, "ranges": ranges,
               "migrate": migrate, "rounding": rounding,
               "math": math, "max-error": max_error, "prune": prune, "skip-layers": skip_layers, "skip-to-speedup": skip_to_speedup, "fold-budget": fold_budget,
               "latencies": latencies and os.fspath(latencies), "run-pass-until": run_pass_until}
    arguments += [f"--{name}={value}" for name, value in options.items() if value is not None]
    run_driver(*arguments)
    loaded = Model(output, threads)
    if holder:
        weakref.finalize(loaded, holder.cleanup)
    return loaded


def _shape_text(shape: Shape) -> str:
    """The driver's spelling: 128, 1..512 for a symbol's bounds, 1x128 for an input."""
    if shape is None:
        return "none"
    if isinstance(shape, int):
        return str(shape)
    if isinstance(shape, range):
        return f"{shape.start}..{shape.stop - 1}"
    return "x".join("?" if size is None else str(size) for size in shape)
