# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measures Lathe and other runtimes in turn, each in a process of its own.

The runtimes take turns in rounds of a fraction of a second, in rotating order; whoever is not being timed is stopped,
so that its spinning threads take nothing from the others. Each has its best settings for one stream of requests, and
its inputs and outputs bound beforehand. Clocks and neighbours of a machine drift, so only figures of one run compare.
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ModelError

if TYPE_CHECKING:
    from rich.table import Table

    from .model import Array

Arrays = Mapping[str, "Array"]
# What runs once, and what fetches the outputs of the last run.
Loaded = tuple[Callable[[], Any], Callable[[], "list[Array]"]]

PEERS = ("onnxruntime", "openvino")


# -- In a peer's process -----------------------------------------------------------------------------------------------


def _lathe(path: str, inputs: Arrays, threads: int) -> Loaded:
    from .model import load

    binding = load(path, threads).bind(inputs)
    return binding, lambda: list(binding.outputs.values())


def _onnxruntime(path: str, inputs: Arrays, threads: int) -> Loaded:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for value in session.get_inputs():
        binding.bind_ortvalue_input(value.name, ort.OrtValue.ortvalue_from_numpy(inputs[value.name]))
    for value in session.get_outputs():
        binding.bind_output(value.name, "cpu")
    run, raw = session._sess.run_with_iobinding, binding._iobinding
    try:
        # A model that declares a wrong rank cannot have its output bound a second time.
        for _ in range(2):
            run(raw, None)
    except RuntimeError:
        names = [value.name for value in session.get_outputs()]
        return lambda: session.run(names, inputs), lambda: session.run(names, inputs)
    return lambda: run(raw, None), binding.copy_outputs_to_cpu


def _openvino(path: str, inputs: Arrays, threads: int, precision: str = "f32") -> Loaded:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path)
    if any(value.partial_shape.is_dynamic for value in model.inputs):
        model.reshape({value.any_name: list(inputs[value.any_name].shape) for value in model.inputs})
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    for value in compiled.inputs:
        request.set_tensor(value, ov.Tensor(np.array(inputs[value.any_name], order="C")))
    count = len(compiled.outputs)
    return request.infer, lambda: [np.array(request.get_output_tensor(i).data) for i in range(count)]


def _openvino_default(path: str, inputs: Arrays, threads: int) -> Loaded:
    """In the precision that it chooses itself: bf16 where the processor has matrix registers."""
    return _openvino(path, inputs, threads, precision="")


_LOADERS: dict[str, Callable[[str, Arrays, int], Loaded]] = {
    "lathe": _lathe, "onnxruntime": _onnxruntime, "openvino": _openvino, "openvino_default": _openvino_default}


def _work(name: str, path: str, inputs: str, outputs: str, threads: int) -> None:
    """Loads, runs once, writes the outputs; then times calls for as many seconds as each line of standard input says."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints is not part of the conversation
    arrays = dict(np.load(inputs))
    begin = time.perf_counter()
    run, fetch = _LOADERS[name](path, arrays, threads)
    load = time.perf_counter() - begin
    run()
    results: dict[str, Any] = {str(i): value for i, value in enumerate(fetch())}
    np.savez(outputs, **results)
    print(json.dumps({"load_s": load}), file=channel, flush=True)
    clock = time.perf_counter
    for line in sys.stdin:
        times, end = [], clock() + float(line)
        while True:
            begin = clock()
            run()
            now = clock()
            times.append(now - begin)
            if now >= end:
                break
        print(json.dumps(times), file=channel, flush=True)


# -- In the measuring process ------------------------------------------------------------------------------------------


class _Process:
    """One runtime, stopped except in its turns."""

    def __init__(self, name: str, runtime: str, path: str, inputs: str, threads: int, folder: str) -> None:
        self.name, self.outputs = name, pathlib.Path(folder) / f"{name}.npz"
        self.log = open(pathlib.Path(folder) / f"{name}.log", "w+")
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        package = str(pathlib.Path(__file__).resolve().parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lathe._peers", runtime, path, inputs, self.outputs, str(threads)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment)
        assert self.process.stdin and self.process.stdout
        self.requests, self.answers = self.process.stdin, self.process.stdout
        self.info = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        self.rounds: list[list[float]] = []

    def _answer(self) -> Any:
        line = self.answers.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            last = self.log.read().strip().splitlines()[-3:]
            raise ModelError("E0704", f"{self.name} failed: " + "\n".join(last))
        return json.loads(line)

    def run(self, seconds: float) -> list[float]:
        self.process.send_signal(signal.SIGCONT)
        self.requests.write(f"{seconds}\n")
        self.requests.flush()
        times = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return times

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.requests.close()
        self.answers.close()
        self.log.close()


def measure(artifact: str | os.PathLike[str], model: str | os.PathLike[str], inputs: Arrays,
            peers: Sequence[str] = PEERS, threads: int = 1, seconds: float = 2.0,
            rounds: int = 8) -> dict[str, dict[str, Any]]:
    """Measures an artifact and peers on the same inputs, interleaved.

    Returns a dictionary from "lathe" and the peers' names to: p50_ms, p90_ms, p99_ms, min_ms, runs, load_s,
    rounds_ms (the medians of the rounds), and for the peers also ratio (their time over Lathe's, the median over rounds), spread (half its interquartile range) and
    difference (largest absolute difference of an output to Lathe's).
    """
    for peer in peers:
        if peer not in PEERS:
            raise ModelError("E0001", f"--vs={peer}: expects {' or '.join(PEERS)}")
    entries = {"lathe": ("lathe", artifact), **{peer: (peer, model) for peer in peers}}
    return measure_all(entries, inputs, threads, seconds, rounds)


def measure_all(entries: Mapping[str, tuple[str, str | os.PathLike[str]]], inputs: Arrays, threads: int = 1,
                seconds: float = 2.0, rounds: int = 8, exact: str | None = None) -> dict[str, dict[str, Any]]:
    """The same for any artifacts and files: by name, "lathe" or a peer, and what it loads. The first one is whom all
    others are compared with; differences are those to the results of `exact`, if that is given."""
    with tempfile.TemporaryDirectory(prefix="lathe-bench-") as folder:
        given = os.path.join(folder, "inputs.npz")
        arrays: dict[str, Any] = dict(inputs)
        np.savez(given, **arrays)
        processes: list[_Process] = []
        try:
            for name, (runtime, path) in entries.items():
                processes.append(_Process(name, runtime, os.fspath(path), given, threads, folder))
            for process in processes:  # clocks and caches settle
                process.run(seconds / rounds)
            for turn in range(rounds):
                shift = turn % len(processes)
                for process in processes[shift:] + processes[:shift]:
                    process.rounds.append(process.run(seconds / rounds))
            return _summarize(processes, exact)
        finally:
            for process in processes:
                process.close()


def _summarize(processes: list[_Process], exact: str | None) -> dict[str, dict[str, Any]]:
    reference = processes[0]
    (results_of,) = (process for process in processes if process.name == (exact or reference.name))
    results: dict[str, dict[str, Any]] = {}
    for process in processes:
        times = np.sort(np.concatenate(process.rounds)) * 1e3
        row = {"p50_ms": float(np.quantile(times, 0.5)), "p90_ms": float(np.quantile(times, 0.9)),
               "p99_ms": float(np.quantile(times, 0.99)), "min_ms": float(times[0]), "runs": len(times),
               "rounds_ms": [statistics.median(turn) * 1e3 for turn in process.rounds], **process.info}
        if process is not reference:
            row["ratio"], row["spread"] = ratio(row["rounds_ms"], results[reference.name]["rounds_ms"])
        if process is not results_of:
            row["difference"] = _difference(process.outputs, results_of.outputs)
        results[process.name] = row
    return results


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float]:
    """How many times as long theirs takes, from medians of rounds: the median, and half the interquartile range."""
    ratios = [a / b for a, b in zip(theirs, ours)]
    return float(np.median(ratios)), float(np.quantile(ratios, 0.75) - np.quantile(ratios, 0.25)) / 2


def _difference(path: pathlib.Path, reference: pathlib.Path) -> float:
    """The largest absolute difference of all outputs; infinite where one has a NaN or another shape."""
    largest = 0.0
    with np.load(path) as theirs, np.load(reference) as ours:
        for name in ours.files:
            a, b = theirs[name].astype(np.float64), ours[name].astype(np.float64)
            if a.size != b.size:
                return float("inf")
            if a.size:
                distance = np.abs(a.reshape(b.shape) - b).max()
                largest = max(largest, float(distance)) if np.isfinite(distance) else float("inf")
    return largest


def table(results: Mapping[str, Mapping[str, Any]], title: str | None = None) -> "Table":
    """The results as a rich table."""
    from rich.table import Table

    out = Table(title=title)
    out.add_column("runtime")
    for heading in ("p50 ms", "p90 ms", "p99 ms", "runs", "time / Lathe's", "max difference"):
        out.add_column(heading, justify="right")
    for name, row in results.items():
        ratio = f"{row['ratio']:.2f} ± {row['spread']:.2f}" if "ratio" in row else ""
        difference = f"{row['difference']:.1e}" if "difference" in row else ""
        out.add_row(name, *(f"{row[key]:.4g}" for key in ("p50_ms", "p90_ms", "p99_ms")), str(row["runs"]), ratio,
                    difference)
    return out


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
