# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`lathe verify MODEL.onnx --reduce OUT.onnx`: the smallest part of a model that still fails.

Nodes are left out in ever smaller groups; what others read of them becomes an input, which gets the values that ONNX
Runtime computed. Every attempt is compiled and run in a process of its own, for it may crash or hang.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .compiler import compile
from .errors import ModelError
from .model import Array

TIMEOUT = 300


def probe(path: str | os.PathLike[str], inputs: Mapping[str, Array], tolerance: float,
          options: Mapping[str, Any]) -> str:
    """What is wrong with a model: "" or "differs", or the code of an error."""
    from ._verify import verify

    try:
        artifact = compile(path, **options)
        inputs = {info.name: inputs[info.name] for info in artifact.inputs}
        result = verify(path, artifact, inputs, tolerance)
    except ModelError as error:
        return "" if error.code == "E0704" else error.code  # ONNX Runtime's own failure proves nothing
    return "" if result["passed"] else "differs"


def probe_apart(path: pathlib.Path, inputs_path: pathlib.Path, tolerance: float,
                options: Mapping[str, Any]) -> str:
    """The same in another process: also "died" and "hung"."""
    command = [sys.executable, "-m", "lathe._reduce", str(path), str(inputs_path), str(tolerance), json.dumps(options)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return "hung"
    return "died" if done.returncode else done.stdout.strip()


class Reducer:
    """Reduces a model for as long as `fails(model, inputs)` holds."""

    def __init__(self, model: Any, inputs: Mapping[str, Array],
                 fails: Callable[[Any, Mapping[str, Array]], bool]) -> None:
        import onnx

        self.onnx, self.model, self.fails = onnx, model, fails
        graph = model.graph
        self.initializers = {tensor.name for tensor in graph.initializer}
        self.inputs = {value.name: value for value in graph.input if value.name not in self.initializers}
        self.values = dict(inputs)
        self.values.update(self._record())

    def _record(self) -> dict[str, Array]:
        """What ONNX Runtime computes for every value that it can give out."""
        import onnxruntime as ort

        copy = self.onnx.ModelProto()
        copy.CopyFrom(self.model)
        names = [name for node in copy.graph.node for name in node.output if name]
        del copy.graph.output[:]
        copy.graph.output.extend(self.onnx.ValueInfoProto(name=name) for name in names)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        with tempfile.TemporaryDirectory(prefix="lathe-reduce-") as folder:
            path = pathlib.Path(folder) / "all.onnx"
            self.onnx.save(copy, path, save_as_external_data=True, location="all.data")
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            given = {name: self.values[name] for name in self.inputs}
            return dict(zip(names, session.run(names, given)))

    def part(self, numbers: Sequence[int]) -> tuple[Any, dict[str, Array]] | None:
        """(model, inputs) of some nodes, or None if one reads what is no tensor."""
        from ._verify import names_read

        nodes = [self.model.graph.node[number] for number in numbers]
        made = {name for node in nodes for name in node.output if name}
        read = {name for node in nodes for name in names_read(node) if name}
        copy = self.onnx.ModelProto()
        copy.CopyFrom(self.model)
        graph = copy.graph
        for field in (graph.node, graph.input, graph.output, graph.initializer, graph.value_info):
            del field[:]
        graph.node.extend(nodes)
        graph.initializer.extend(tensor for tensor in self.model.graph.initializer if tensor.name in read)
        inputs: dict[str, Any] = {}
        for name in sorted(read - made - self.initializers):
            value = self.values.get(name)
            if name in self.inputs:
                graph.input.append(self.inputs[name])
            elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
                kind = self.onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
                graph.input.append(self.onnx.helper.make_tensor_value_info(name, kind, value.shape))
            elif name in self.values:
                return None
            else:
                continue  # a name of a subgraph's own
            inputs[name] = value
        graph.output.extend(self.onnx.ValueInfoProto(name=name) for name in sorted(made - read) or sorted(made))
        return copy, inputs

    def _still_fails(self, numbers: Sequence[int]) -> bool:
        part = self.part(numbers) if numbers else None
        return part is not None and self.fails(*part)

    def run(self) -> tuple[Any, dict[str, Array]] | None:
        """(model, inputs) that fail and from which no node can be left out; None if the whole does not fail."""
        numbers = list(range(len(self.model.graph.node)))
        if not self._still_fails(numbers):
            return None
        step = (len(numbers) + 1) // 2
        while step:
            at = 0
            while at < len(numbers):
                fewer = numbers[:at] + numbers[at + step:]
                if self._still_fails(fewer):
                    numbers = fewer
                else:
                    at += step
            step = 0 if step == 1 else (step + 1) // 2
        return self.part(numbers)


def _save(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    np.savez(path, **arrays)


def reduce(path: str | os.PathLike[str], inputs: Mapping[str, Array], tolerance: float, options: Mapping[str, Any],
           output: str | os.PathLike[str]) -> tuple[str, int] | None:
    """Writes the smallest failing part of a model to `output`, its inputs beside it as .npz.

    Returns (kind of failure, number of nodes), or None if nothing fails.
    """
    import onnx

    output = pathlib.Path(output)
    with tempfile.TemporaryDirectory(prefix="lathe-reduce-") as name:
        folder = pathlib.Path(name)

        def attempt(model: Any, arrays: Mapping[str, Array]) -> str:
            part = folder / "part.onnx"
            (folder / "part.data").unlink(missing_ok=True)  # or the weights would be appended
            onnx.save(model, part, save_as_external_data=True, location="part.data")
            _save(folder / "part.npz", arrays)
            return probe_apart(part, folder / "part.npz", tolerance, options)

        model = onnx.load(path)
        kind = attempt(model, inputs)
        if not kind:
            return None
        reduced = Reducer(model, inputs, lambda part, arrays: attempt(part, arrays) == kind).run()
    if reduced is None:  # it fails only with its outputs as they are
        reduced = model, dict(inputs)
    onnx.save(reduced[0], output)
    _save(output.with_suffix(".npz"), reduced[1])
    return kind, len(reduced[0].graph.node)


if __name__ == "__main__":
    print(probe(sys.argv[1], dict(np.load(sys.argv[2])), float(sys.argv[3]), json.loads(sys.argv[4])))
