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

#: As many of the first runs are done again for each tensor.
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
    """The errors by tensor, of all, and of what multiplies no weights.

    One artifact rounds the operands that its last input names; another is compiled as it would be without products in bf16.
    """
    if not tensors:
        return {"tensors": [], "all": 0.0, "rest": 0.0}
    with tempfile.TemporaryDirectory(prefix="lathe-rounding-") as folder:
        artifact, file = pathlib.Path(folder) / "model.so", pathlib.Path(folder) / "plan.json"
        run_driver("compile", model, "-o", artifact, *arguments, "--expose-rounding")
        compiled = load(artifact, threads)
        known = json.loads(compiled.metadata["lathe.calibration"])["tensors"]
        assert [tensor["weights"] for tensor in known] == [tensor["weights"] for tensor in tensors]

        def run(rounded: Array) -> list[dict[str, Array]]:
            return [{name: np.array(value) for name, value in compiled({**sample, "lathe.rounded": rounded}).items()}
                    for sample in samples]

        def error(results: list[dict[str, Array]]) -> float:
            return float(np.median([_error(*pair) for pair in zip(results, references)]))

        nothing = np.zeros(len(tensors), bool)
        references = run(nothing)
        errors = []
        for number in range(len(tensors)):
            if progress:
                progress("rounding to bf16", number, len(tensors))
            one = nothing.copy()
            one[number] = True
            errors.append(error(run(one)))
        everything = error(run(~nothing))
        # Attention has no weights, and is computed in bf16 by some processors.
        kept: dict[str, Any] = {"nodes": {}, "weights": {}}
        for tensor in tensors:
            kind = "nodes" if tensor["nodes"] else "weights"
            kept[kind].update({name: {"format": "none"} for name in tensor[kind]})
        file.write_text(json.dumps({"version": 1, "defaults": {"math": "bf16"}, **kept}))
        run_driver("compile", model, "-o", artifact, *arguments, "--plan", file)
        rest = load(artifact, threads)
        return {"tensors": errors, "all": everything, "rest": error([rest(sample) for sample in samples])}
