# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How far a model's results move if its products are computed in bf16: those that read one tensor by themselves, and all.

Of several runs the median counts. One whose result lies on the edge between two others moves far by any rounding, and would
say nothing of where that was.
"""

import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .compiler import run_driver
from .model import Array, load

#: Each tensor takes a compilation, and so many runs.
RUNS = 16


def _error(results: Mapping[str, Array], references: Mapping[str, Array]) -> float:
    """The largest difference over the largest magnitude of its output."""
    most = 0.0
    for name, reference in references.items():
        if reference.dtype.kind != "f" or not reference.size:
            continue
        difference = np.abs(results[name].astype(np.float64) - reference).max()
        largest = float(np.abs(reference).max())
        most = max(most, float(difference) / largest if largest else 0.0)
    return most


def measure_errors(model: str | os.PathLike[str], tensors: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Array]],
                   arguments: Sequence[str], threads: int, progress: Callable[[str, int, int], None] | None) -> dict[str, Any]:
    """The errors by tensor (None where it has no names), of all, and of what multiplies no weights."""
    with tempfile.TemporaryDirectory(prefix="lathe-rounding-") as folder:
        artifact, file = pathlib.Path(folder) / "model.so", pathlib.Path(folder) / "plan.json"

        def run(plan: Mapping[str, Any] | None) -> list[dict[str, Array]]:
            file.write_text(json.dumps({"version": 1, **(plan or {})}))
            # Whether it pays on this machine does not matter.
            run_driver("compile", model, "-o", artifact, *arguments, *(["--plan", file, "--force"] if plan else []))
            compiled = load(artifact, threads)
            return [compiled(sample) for sample in samples]

        references = run(None)

        def error(plan: Mapping[str, Any]) -> float:
            return float(np.median([_error(*pair) for pair in zip(run(plan), references)]))

        def entries(tensor: Mapping[str, Any], form: str) -> dict[str, Any]:
            kind = "nodes" if tensor["nodes"] else "weights"
            return {kind: {name: {"format": form} for name in tensor[kind]}}

        errors: list[float | None] = []
        rest: dict[str, Any] = {"defaults": {"math": "bf16"}, "nodes": {}, "weights": {}}
        for number, tensor in enumerate(tensors):
            if progress:
                progress("rounding to bf16", number, len(tensors))
            one = entries(tensor, "bf16")
            errors.append(error(one) if any(one.values()) else None)
            for kind, kept in entries(tensor, "none").items():
                rest[kind].update(kept)
        return {"tensors": errors, "all": error({"defaults": {"math": "bf16"}}), "rest": error(rest)}
