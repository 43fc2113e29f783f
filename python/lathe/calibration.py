# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a model multiplies with its weights, measured while it runs.

The model is compiled so that what products read, and what layers get and pass on, are outputs beside its own. Of what these
are in each run only sums, extremes and counts are kept.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from . import _inputs, _rounding
from .compiler import Shape, _shape_text, run_driver
from .errors import ModelError
from .model import Array, Model, load

VERSION = 1
#: Bins of a histogram, from -2^E to 2^E: a step of 256 codes is several of them.
BINS = 8192
#: What is smaller than 2^LEAST is in the middle bins from the start.
LEAST = -120
#: Between two writes of the state, in seconds.
INTERVAL = 10.0

Sample = Mapping[str, Array]


class _Tensor:
    """What is kept of one tensor."""

    def __init__(self, channels: int, gram: bool) -> None:
        self.low = np.full(channels, np.inf, np.float32)
        self.high = np.full(channels, -np.inf, np.float32)
        self.squares = np.zeros(channels)
        self.histogram = np.zeros(BINS, np.int64)
        self.gram = np.zeros((channels, channels), np.float32) if gram else None
        self.rows = self.not_finite = 0
        self.exponent = LEAST

    def add(self, x: Array) -> None:
        """Counts the rows, all dimensions but the last, that are finite."""
        rows = x.reshape(-1, x.shape[-1])
        finite = np.isfinite(rows)
        if not finite.all():
            self.not_finite += int(finite.size - finite.sum())
            rows = rows[finite.all(axis=1)]
        if not rows.size:
            return
        self.rows += len(rows)
        np.minimum(self.low, rows.min(axis=0), out=self.low)
        np.maximum(self.high, rows.max(axis=0), out=self.high)
        self.squares += np.square(rows, dtype=np.float64).sum(axis=0)
        self._widen(int(np.frexp(max(-float(self.low.min()), float(self.high.max())))[1]))
        places = np.floor(rows * np.float32(2.0 ** -self.exponent * (BINS // 2))).astype(np.int32)
        self.histogram += np.bincount(places.ravel() + BINS // 2, minlength=BINS)
        if self.gram is not None:
            self.gram += rows.T @ rows

    def _widen(self, exponent: int) -> None:
        """Bins join in pairs, so that what was counted lies where it would if the range had been known."""
        for _ in range(min(max(exponent - self.exponent, 0), BINS.bit_length())):
            joined = np.zeros_like(self.histogram)
            joined[BINS // 4:BINS - BINS // 4] = self.histogram.reshape(-1, 2).sum(axis=1)
            self.histogram = joined
        self.exponent = max(self.exponent, exponent)


class _Cosine:
    """The mean, over rows, of the cosine between two tensors."""

    def __init__(self) -> None:
        self.sum, self.rows = 0.0, 0

    def add(self, before: Array, after: Array) -> None:
        a, b = (x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (before, after))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        known = (norms > 0) & np.isfinite(norms)
        self.sum += float(((a * b).sum(axis=1)[known] / norms[known]).sum())
        self.rows += int(known.sum())


class Calibration:
    """The sums so far, and the file that they are kept in."""

    def __init__(self, model: Model, output: str | os.PathLike[str], key: Any, gram: bool, gram_limit: int) -> None:
        self.model, self.output = model, pathlib.Path(output)
        self.plan = json.loads(model.metadata["lathe.calibration"])
        shapes = {info.name: info.shape for info in model.outputs}
        self.tensors: list[_Tensor] = []
        self.without_gram: list[str] = []
        left = gram_limit
        for entry in self.plan["tensors"]:
            channels = shapes[entry["output"]][-1]
            if not isinstance(channels, int):
                raise ModelError("E0811", f"the last dimension of what node {entry['nodes'][:1]} reads is not known")
            wants = gram and entry["rows"] and 4 * channels ** 2 <= left
            if gram and not wants:
                self.without_gram.append(", ".join(entry["weights"]))
            left -= 4 * channels ** 2 if wants else 0
            self.tensors.append(_Tensor(channels, wants))
        self.cosines = [{part: _Cosine() for part in layer["parts"]} for layer in self.plan["layers"]]
        #: Runs, and a hash of what was read in them.
        self.runs, self.digest = 0, hashlib.sha256()
        self.key = hashlib.sha256(json.dumps([key, self.plan, gram, gram_limit, BINS], sort_keys=True).encode()).hexdigest()
        self.saved = time.monotonic()
        #: The inputs of the first runs, and how far results of these move by bf16, if that was asked for.
        self.samples: list[Sample] = []
        self.errors: dict[str, Any] | None = None
        #: Whether the sums hold whole runs, as they do not while one is added.
        self.is_whole = True

    def run(self, inputs: Sample) -> None:
        results = self.model(inputs)
        self.is_whole = False
        for entry, tensor in zip(self.plan["tensors"], self.tensors):
            tensor.add(results[entry["output"]])
        for layer, parts in zip(self.plan["layers"], self.cosines):
            for part, cosine in parts.items():
                cosine.add(*(results[name] for name in layer["parts"][part]))
        self.note(inputs)
        self.is_whole = True

    def note(self, inputs: Sample) -> None:
        """Counts what one run reads."""
        self.runs += 1
        for name in sorted(inputs):
            self.digest.update(f"{name} {inputs[name].dtype} {inputs[name].shape} ".encode())
            self.digest.update(np.ascontiguousarray(inputs[name]))

    #: What the sums of unfinished calibrations are kept in.
    @property
    def partial(self) -> pathlib.Path:
        return self.output.with_name(self.output.name + ".partial")

    def save(self) -> None:
        """Keeps the sums, to go on with them later."""
        state = {"key": self.key, "runs": self.runs, "digest": self.digest.hexdigest(),
                 "cosines": [{part: [cosine.sum, cosine.rows] for part, cosine in parts.items()} for parts in self.cosines]}
        self._write(self.partial, state)
        self.saved = time.monotonic()

    def restore(self) -> tuple[int, str] | None:
        """Takes over what an interrupted calibration of the same model kept: the runs that are in it, and their hash."""
        try:
            with np.load(self.partial, allow_pickle=False) as arrays:
                index = json.loads(arrays["lathe"].tobytes())
                state = index["partial"]
                if state["key"] != self.key:
                    return None
                for number, (entry, tensor) in enumerate(zip(index["tensors"], self.tensors)):
                    tensor.rows, tensor.exponent, tensor.not_finite = entry["rows"], entry["exponent"], entry["not_finite"]
                    for name in ("low", "high", "squares", "histogram", *(("gram",) if tensor.gram is not None else ())):
                        setattr(tensor, name, arrays[f"{name}.{number}"])
        except (OSError, ValueError, KeyError):
            return None
        for parts, kept in zip(self.cosines, state["cosines"]):
            for part, cosine in parts.items():
                cosine.sum, cosine.rows = kept[part]
        return state["runs"], state["digest"]

    def finish(self) -> None:
        self._write(self.output, None)
        self.partial.unlink(missing_ok=True)

    def _write(self, path: pathlib.Path, partial: Any) -> None:
        index = {"version": VERSION, "model": self.plan.get("model", ""), "runs": self.runs, "bins": BINS, "tensors": [], "layers": []}
        arrays: dict[str, Array] = {}
        for number, (entry, tensor) in enumerate(zip(self.plan["tensors"], self.tensors)):
            index["tensors"].append({"nodes": entry["nodes"], "weights": entry["weights"], "channels": tensor.low.size,
                                     "rows": tensor.rows, "exponent": tensor.exponent, "not_finite": tensor.not_finite})
            empty = not tensor.rows and not partial
            arrays[f"low.{number}"] = np.zeros_like(tensor.low) if empty else tensor.low
            arrays[f"high.{number}"] = np.zeros_like(tensor.high) if empty else tensor.high
            arrays[f"squares.{number}"], arrays[f"histogram.{number}"] = tensor.squares, tensor.histogram
            if tensor.gram is not None:
                arrays[f"gram.{number}"] = tensor.gram
        for layer, parts in zip(self.plan["layers"], self.cosines):
            index["layers"].append({"layer": layer["layer"], "nodes": layer["nodes"],
                                    "cosine": {part: cosine.sum / cosine.rows for part, cosine in parts.items() if cosine.rows}})
        if partial:
            index["partial"] = partial
        if self.errors:
            index["bf16_errors"] = {"all": self.errors["all"], "rest": self.errors["rest"]}
            for entry, error in zip(index["tensors"], self.errors["tensors"]):
                entry["bf16_error"] = error
        arrays["lathe"] = np.frombuffer(json.dumps(index).encode(), np.uint8)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays)
            os.replace(temporary, path)
        except OSError as error:
            raise ModelError("E0003", f"cannot write {str(path)!r}: {error.strerror or error}") from None
        finally:
            temporary.unlink(missing_ok=True)


def _files(data: str | os.PathLike[str]) -> list[pathlib.Path]:
    path = pathlib.Path(data)
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.npz"))
    if not files:
        raise ModelError("E0811", f"the folder {str(path)!r} has no .npz files to calibrate with")
    return files


def _check(name: str, inputs: Sample) -> None:
    if not inputs:
        raise ModelError("E0811", f"{name}: there is no input in it")
    for key, array in inputs.items():
        if array.size == 0:
            raise ModelError("E0811", f"{name}: input {key!r} has no elements, its shape is {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ModelError("E0811", f"{name}: input {key!r} is {array[place]} at {place}, expects finite numbers")


def _cut(name: str, inputs: Sample, batch: int | None) -> list[Sample]:
    """The inputs of each run."""
    if batch is None:
        return [inputs]
    sizes = {key: array.shape[0] if array.ndim else None for key, array in inputs.items()}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        raise ModelError("E0811", f"{name}: inputs that are cut have to have the same first dimension, they have {sizes}")
    (size,) = set(sizes.values())
    return [{key: array[first:first + batch] for key, array in inputs.items()} for first in range(0, size or 0, batch)]


def _runs(data: Any, batch: int | None) -> Iterator[tuple[str, int, int, Sample]]:
    """Of each run what it is called, how many parts of how many are done before it, and its inputs."""
    if isinstance(data, (str, os.PathLike)):
        files = _files(data)
        sources: Iterable[tuple[str, Any]] = ((str(path), path) for path in files)
        count = len(files)
    else:
        sources = ((f"sample {number}", inputs) for number, inputs in enumerate(data))
        count = len(data) if hasattr(data, "__len__") else 0
    for number, (name, source) in enumerate(sources):
        inputs = _inputs._read(str(source)) if isinstance(source, pathlib.Path) else source
        if not isinstance(inputs, Mapping):
            raise ModelError("E0703", f"{name!r} is no .npz file with inputs by name")
        inputs = {key: np.asarray(array) for key, array in inputs.items()}
        _check(name, inputs)
        parts = _cut(name, inputs, batch)
        for part, some in enumerate(parts):
            whole = count > 1 or len(parts) == 1
            yield name, number if whole else part, count if whole else len(parts), some


def calibrate(model: str | os.PathLike[str], data: Any, output: str | os.PathLike[str], *, batch: int | None = None,
              gram: bool = False, gram_limit: int = 1 << 30, errors: bool = False, shapes: Mapping[str, Shape] | None = None,
              threads: int = 0, progress: Callable[[str, int, int], None] | None = None) -> dict[str, Any]:
    """Runs a model on inputs and writes what `lathe.compile(..., stats=...)` wants to know of them.

    Parameters
    ----------
    model : str or os.PathLike
        The model.
    data : str, os.PathLike or iterable of mappings
        A .npz file with all inputs of one run, a folder of such files, or the inputs of each run.
    output : str or os.PathLike
        The file of statistics to write. While the calibration of files goes on, what it has found is kept beside it, and
        an interrupted one goes on from there.
    batch : int, optional
        Cuts inputs along their first dimension, so many to a run.
    gram : bool, default False
        Whether to sum up x^T x of the rows of each tensor, which compensated rounding needs.
    gram_limit : int, default 1 GiB
        The bytes that these sums may take in all. Tensors beyond it go without.
    errors : bool, default False
        Whether to measure how far results of the first runs move if the products that read a tensor are computed in bf16,
        one tensor after the other. ``max_error`` of `compile` needs it.
    shapes, threads
        As of `compile`.
    progress : callable, optional
        Called with what is done, and how much of how much is done before.

    Returns
    -------
    dict
        How many runs there were, the elements that were not finite by nodes, and the weights without sums of x^T x.
    """
    if isinstance(data, (str, os.PathLike)):
        _files(data)  # known before the work
    with tempfile.TemporaryDirectory(prefix="lathe-calibrate-") as folder:
        artifact = pathlib.Path(folder) / "model.so"
        arguments = [f"--shape={name}={shape if isinstance(shape, str) else _shape_text(shape)}"
                     for name, shape in (shapes or {}).items()]
        if progress:
            progress("compile", 0, 0)
        run_driver("compile", model, "-o", artifact, "--expose-operands", *arguments)

        def measure(tensors: list[dict[str, Any]], samples: list[Sample]) -> dict[str, Any]:
            return _rounding.measure_errors(model, tensors, samples, arguments, threads, progress)

        return _accumulate(load(artifact, threads), data, output, [arguments, batch], batch, gram, gram_limit,
                           measure if errors else None, progress)


def _accumulate(model: Model, data: Any, output: str | os.PathLike[str], key: Any, batch: int | None, gram: bool,
                gram_limit: int, measure: Callable[[list[dict[str, Any]], list[Sample]], dict[str, Any]] | None,
                progress: Callable[[str, int, int], None] | None) -> dict[str, Any]:
    calibration = Calibration(model, output, key, gram, gram_limit)
    is_kept = isinstance(data, (str, os.PathLike))
    kept = calibration.restore() if is_kept and calibration.partial.exists() else None
    if kept and not _skips(calibration, data, batch, *kept):
        calibration, kept = Calibration(model, output, key, gram, gram_limit), None
    try:
        for number, (name, step, steps, inputs) in enumerate(_runs(data, batch)):
            if measure and number < _rounding.RUNS:
                calibration.samples.append(inputs)
            if kept and number < kept[0]:
                continue
            if progress:
                progress(name, step, steps)
            try:
                calibration.run(inputs)
            except ModelError as error:
                raise ModelError(error.code, f"{name}: {error}", error.node) from None
            if is_kept and time.monotonic() - calibration.saved > INTERVAL:
                calibration.save()
    except BaseException:
        if is_kept and calibration.runs and calibration.is_whole:
            with contextlib.suppress(ModelError):
                calibration.save()
        raise
    if not calibration.runs:
        raise ModelError("E0811", "there are no inputs to calibrate with")
    if measure:
        calibration.errors = measure(calibration.plan["tensors"], calibration.samples)
    calibration.finish()
    not_finite = {", ".join(entry["nodes"]): tensor.not_finite
                  for entry, tensor in zip(calibration.plan["tensors"], calibration.tensors) if tensor.not_finite}
    return {"runs": calibration.runs, "tensors": len(calibration.tensors), "layers": len(calibration.cosines),
            "not_finite": not_finite, "without_gram": calibration.without_gram}


def _skips(calibration: Calibration, data: Any, batch: int | None, runs: int, digest: str) -> bool:
    """Whether the inputs begin with those that were read before."""
    for _, _, _, inputs in _runs(data, batch):
        calibration.note(inputs)
        if calibration.runs == runs:
            return calibration.digest.hexdigest() == digest
    return False
