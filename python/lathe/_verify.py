# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`lathe verify MODEL.onnx`: the driver calls this with the arguments it was given."""

import argparse
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _inputs
from .compiler import compile
from .errors import ModelError
from .model import Array, Model, load


def compare(ours: Any, reference: Any) -> dict[str, Any]:
    """Largest absolute difference, that relative to the reference's largest value, cosine. NaN agrees with NaN.

    Not relative to each element: where sums cancel, elements near zero have no correct digits in either runtime.
    """
    a, b = np.asarray(ours, np.float64).ravel(), np.asarray(reference, np.float64).ravel()
    if np.shape(ours) != np.shape(reference):
        return {"max_abs": float("inf"), "max_rel": float("inf"), "cosine": 0.0,
                "note": f"shape {np.shape(ours)}, expects {np.shape(reference)}"}
    if a.size == 0:
        return {"max_abs": 0.0, "max_rel": 0.0, "cosine": 1.0}
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - b)
    difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    largest = float(difference.max()) if not np.isnan(difference).any() else float("inf")
    finite = np.isfinite(a) & np.isfinite(b)
    scale = float(np.abs(b[finite]).max(initial=0))
    norm = float(np.linalg.norm(a[finite]) * np.linalg.norm(b[finite]))
    cosine = float(a[finite] @ b[finite]) / norm if norm else 1.0
    return {"max_abs": largest, "max_rel": largest / max(scale, 1e-30) if largest else 0.0, "cosine": cosine}


def run_reference(path: str | os.PathLike[str], inputs: Mapping[str, Array],
                  outputs: list[str] | None = None) -> dict[str, Array]:
    """ONNX Runtime's outputs by name."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = outputs or [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs)))
    except Exception as error:  # its exceptions have no common base
        raise ModelError("E0704", f"ONNX Runtime cannot run {str(path)!r}: {error}") from None


class Search:
    """Finds the first node whose result differs, in copies of the model that have other outputs.

    The copies are compiled as the model was, with `options` of `compile`. Their outputs are given without types: both
    sides know them, and no shape inference of another library reads the model in this process.
    """

    def __init__(self, path: str | os.PathLike[str], inputs: Mapping[str, Array], tolerance: float,
                 folder: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
        import onnx

        self.onnx, self.inputs, self.tolerance, self.folder = onnx, inputs, tolerance, pathlib.Path(folder)
        self.options = options
        self.model = onnx.load(path)
        self.values = [(name, node) for node in self.model.graph.node if node.op_type != "Constant"
                       for name in node.output if name]

    def first(self) -> dict[str, Any] | None:
        """The first value that differs and its node, or None.

        With all values visible nothing is fused, and one run shows them all. If that makes the difference go, or if
        some value cannot be an output, single values are looked at, each with what leads to it compiled as a whole.
        """
        try:
            found = self._differs(self.values) if self.values else None
        except ModelError:
            found = None
        return found or self._bisect()

    def _bisect(self) -> dict[str, Any] | None:
        low, high, best = 0, len(self.values) - 1, None
        while low <= high:
            middle = (low + high) // 2
            found, at = self._probe(range(middle, high + 1))
            if found:
                best = found
            if found or at is None:
                high = middle - 1
            else:
                low = at + 1
        return best

    def _probe(self, candidates: range) -> tuple[dict[str, Any] | None, int | None]:
        """How the first of some values that can be an output differs, None if it does not; and which one that is."""
        for index in candidates:
            try:
                return self._differs(self.values[index:index + 1]), index
            except ModelError:
                continue
        return None, None

    def _differs(self, values: list[tuple[str, Any]]) -> dict[str, Any] | None:
        """The first of some values that differs, with how."""
        names = [name for name, _ in values]
        path = self._with_outputs(names)
        model = compile(path, self.folder / "part.so", **self.options)
        inputs = {info.name: self.inputs[info.name] for info in model.inputs}
        ours, reference = model(inputs), run_reference(path, inputs, names)
        for name, node in values:
            found = compare(ours[name], reference[name])
            scale = float(np.abs(np.nan_to_num(np.asarray(reference[name], np.float64))).max(initial=0))
            if found["max_abs"] > self.tolerance * max(1.0, scale):
                return {"value": name, "node": node.name, "operator": node.op_type, **found}
        return None

    def _with_outputs(self, names: list[str]) -> pathlib.Path:
        """The path of a copy of the model that has these outputs; what they do not need is dropped."""
        copy = self.onnx.ModelProto()
        copy.CopyFrom(self.model)
        graph = copy.graph
        del graph.output[:]
        graph.output.extend(self.onnx.ValueInfoProto(name=name) for name in names)
        needed, nodes = set(names), []
        for node in reversed(graph.node):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(names_read(node))
        kept = [self.onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(nodes)]
        del graph.node[:]
        graph.node.extend(kept)
        path = self.folder / "part.onnx"
        (self.folder / "part.data").unlink(missing_ok=True)  # or the weights would be appended
        self.onnx.save(copy, path, save_as_external_data=True, location="part.data")
        return path


def names_read(node: Any) -> set[str]:
    """The values that a node reads, also those that its subgraphs, at any depth, take from around them."""
    names: set[str] = set()
    nodes = [node]
    while nodes:
        node = nodes.pop()
        names.update(node.input)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                nodes.extend(graph.node)
                names.update(value.name for value in graph.output)
    return names


# What dimensions that nobody gives are tried with: short sequences, then what pictures and sound want.
OPEN_SIZES = (16, 64, 320, 512)


def find_inputs(arguments: argparse.Namespace, artifact: Model) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs that ONNX Runtime takes, and its results: open dimensions get the first of OPEN_SIZES that it runs with."""
    tried: list[list[tuple[int, ...]]] = []
    errors: list[ModelError] = []
    for size in OPEN_SIZES:
        inputs = _inputs.gather(arguments, artifact.inputs, artifact.symbols, size)
        shapes = [np.shape(array) for array in inputs.values()]
        if shapes in tried:
            break  # nothing is open
        tried.append(shapes)
        try:
            reference = run_reference(arguments.model, inputs)
        except ModelError as error:
            errors.append(error)
            continue
        if errors:
            print(f"note: ONNX Runtime does not run with open dimensions of {OPEN_SIZES[0]}; they are {size}",
                  file=sys.stderr)
        return inputs, reference
    if len(errors) == 1:
        raise errors[0]
    sizes = ", ".join(map(str, OPEN_SIZES[1:len(errors)]))
    raise ModelError(errors[0].code,
                     f"{errors[0]}\n  help: nor with open dimensions of {sizes}; give their sizes by --shape")


def verify(model: str | os.PathLike[str], artifact: Model, inputs: Mapping[str, Array], tolerance: float,
           options: Mapping[str, Any] | None = None, reference: Mapping[str, Array] | None = None) -> dict[str, Any]:
    """Compares one artifact's results with ONNX Runtime's: {"outputs": ..., "passed": ..., "first": ... or None}.

    reference: ONNX Runtime's results, if they are known.
    options: those of `compile` that the artifact was made with, for the search of the first node that differs. None
    if it was not made from this model here: an artifact shows only its outputs, so that there is nothing to search.
    """
    reference = run_reference(model, inputs) if reference is None else reference
    ours = artifact(inputs)
    outputs = {name: compare(ours[name], value) for name, value in reference.items()}
    result = {"outputs": outputs, "tolerance": tolerance, "first": None,
              "passed": all(row["max_abs"] <= tolerance for row in outputs.values())}
    if result["passed"]:
        return result
    if options is None:
        result["not_searched"] = ("an artifact shows nothing but its outputs; without --artifact the model is compiled "
                                  "and searched")
        return result
    with tempfile.TemporaryDirectory(prefix="lathe-verify-") as folder:
        try:
            result["first"] = Search(model, inputs, tolerance, folder, options).first()
        except ModelError as error:
            result["not_searched"] = str(error)
    return result


def _print(result: dict[str, Any]) -> None:
    print(f"{'output':40} {'max abs':>10} {'max rel':>10} {'cosine':>12}")
    for name, row in result["outputs"].items():
        print(f"{name:40} {row['max_abs']:10.2e} {row['max_rel']:10.2e} {row['cosine']:12.9f}  {row.get('note', '')}")
    first = result["first"]
    if first:
        print(f"first difference: node \"{first['node']}\" ({first['operator']}), value \"{first['value']}\": "
              f"{first['max_abs']:.2e}")
    elif not result["passed"]:
        reason = result.get("not_searched")
        print(f"first difference: not searched, {reason}" if reason else
              "first difference: not found, no single value differs on its own")
    print(("passed" if result["passed"] else "FAILED") + f": tolerance {result['tolerance']:g}")


def _reduce_to(arguments: argparse.Namespace, options: Mapping[str, Any]) -> int:
    """Also models that do not compile are reduced: their inputs are those that the file declares."""
    import onnx

    from ._reduce import reduce

    tensors, symbols = _inputs.declared(onnx.load(arguments.model, load_external_data=False))
    inputs = _inputs.gather(arguments, tensors, symbols)
    found = reduce(arguments.model, inputs, arguments.tolerance, options, arguments.reduce)
    if found is None:
        print(f"passed: nothing to reduce at tolerance {arguments.tolerance:g}")
        return 0
    kind, nodes = found
    print(f"FAILED ({kind}): {nodes} {'node is' if nodes == 1 else 'nodes are'} left in {arguments.reduce}, their inputs "
          f"are in {pathlib.Path(arguments.reduce).with_suffix('.npz')}")
    return 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="lathe verify", allow_abbrev=False)
    parser.add_argument("model")
    _inputs.add_arguments(parser)
    parser.add_argument("--artifact")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--run-pass-until", type=int, metavar="N")
    parser.add_argument("--reduce", metavar="OUT.onnx")
    arguments = parser.parse_args()
    if arguments.artifact and arguments.run_pass_until is not None:
        parser.error("--run-pass-until is of a compilation, and --artifact needs none")
    if arguments.artifact and arguments.reduce:
        parser.error("--reduce compiles parts of the model, and --artifact stands for the whole")
    if not pathlib.Path(arguments.model).exists():
        raise ModelError("E0002", f"cannot read {arguments.model!r}: no such file")
    if arguments.artifact:
        artifact, options = load(arguments.artifact, arguments.threads), None
    else:
        options = {"threads": arguments.threads, "run_pass_until": arguments.run_pass_until}
        if arguments.reduce:
            return _reduce_to(arguments, options)
        artifact = compile(arguments.model, **options)
    inputs, reference = find_inputs(arguments, artifact)
    result = verify(arguments.model, artifact, inputs, arguments.tolerance, options, reference)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)
    return 0 if result["passed"] else 3


if __name__ == "__main__":
    sys.exit(_inputs.run_tool(main))
