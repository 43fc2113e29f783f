# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs cases in processes of their own: one that crashes or hangs fails alone, and its worker is replaced."""

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import re
import subprocess
import tempfile
import time

import numpy as np

import cases
from lathe.compiler import driver
from lathe.errors import ModelError
from lathe.model import Model

# A case takes a tenth of a second; the machine may be busy.
TIME_LIMIT = 60
# The driver's exit statuses: of what Lathe says that it does not support, and of a fault of its own.
REFUSED, INTERNAL = 2, 4


@dataclasses.dataclass(frozen=True)
class Result:
    """status: pass, refused, error (a valid model called invalid), wrong, failed (the run), crash or hang."""

    name: str
    mode: str
    status: str
    reason: str = ""


def _message(text):
    """An error's text without what differs from case to case: the file, and the names of nodes."""
    text = re.sub(r"^  --> .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^error\[(E\d{4})\]: \d+ nodes? (is|are) not supported\s+note: ", r"\1: ", text)
    text = re.sub(r'node #\d+ "[^"]*"|\(node "[^"]*"\)', "", text)
    text = re.sub(r': \d+ nodes?, "[^"\n]*"', ": no such operator", text)
    return re.sub(r"\s+", " ", text).strip()


def _lengths(name, kind, content):
    """Options that say how many elements an input that is a sequence has, and whether an optional has one."""
    if kind.HasField("optional_type"):
        return [f"{name}=none"] if content is None else _lengths(name, kind.optional_type.elem_type, content)
    if kind.HasField("sequence_type"):
        element = kind.sequence_type.elem_type
        return [f"{name}={len(content)}", *(option for i, value in enumerate(content)
                                            for option in _lengths(f"{name}[{i}]", element, value))]
    is_shaped = kind.tensor_type.HasField("shape")
    return [] if is_shaped or "[" not in name else [f"{name}=" + "x".join(map(str, np.shape(content)))]


def _compile(model, inputs, folder, level):
    """The artifact, or a pair of a status and its reason."""
    source, artifact = pathlib.Path(folder) / "model.onnx", pathlib.Path(folder) / "model.so"
    source.write_bytes(model.SerializeToString())
    options = [option for value in model.graph.input for option in _lengths(value.name, value.type, inputs.get(value.name))]
    options = [f"--shape={option}" for option in options]
    done = subprocess.run([driver(), "compile", source, "-o", artifact, f"-O{level}", *options], capture_output=True, text=True,
                          check=False)
    if done.returncode == 0:
        return artifact
    reason = _message(done.stderr)
    if done.returncode == REFUSED:
        return "refused", reason
    return "crash" if done.returncode == INTERNAL or done.returncode < 0 else "error", reason


def _encode(array, dtype):
    """An array as the runtime's Python interface takes it: types that numpy does not have by their bytes."""
    array = np.asarray(array)
    if array.dtype.kind in "OUS":
        return array  # strings
    return array if array.dtype == dtype or array.dtype.itemsize != dtype.itemsize else array.view(dtype)


def _decode(array, like):
    like = np.asarray(like)
    if array.dtype.kind == "O":
        return array
    return array if array.dtype == like.dtype or array.dtype.itemsize != like.dtype.itemsize else array.view(like.dtype)


def run_case(case, mode, level=2):
    """Compiles and runs a case on all its data."""
    artifact = None
    for data in case.data:
        with tempfile.TemporaryDirectory(prefix="lathe-conformance-") as folder:
            if artifact is None or mode == "constant":
                model, inputs = cases.rewrite(case, mode, data)
                artifact = _compile(model, inputs, folder, level)
                if isinstance(artifact, tuple):
                    return Result(case.name, mode, *artifact)
                loaded = Model(artifact, threads=1)
            _, inputs = cases.rewrite(case, mode, data)
            try:
                wanted = {info.name: info for info in loaded.inputs}
                outputs = loaded({name: _encode(value, wanted[name].dtype) if name in wanted else value
                                  for name, value in inputs.items()})
            except ModelError as error:
                return Result(case.name, mode, "failed", _message(str(error)))
            actual = [_decode(value, like) if isinstance(value, np.ndarray) and not isinstance(like, list) else value
                      for value, like in zip(outputs.values(), data[1])]
            problem = cases.compare(case, data[1], actual)
            if problem:
                return Result(case.name, mode, "wrong", problem)
    return Result(case.name, mode, "pass")


def _serve(connection, level):
    table = cases.collect()
    while True:
        try:
            name, mode = connection.recv()
        except EOFError:
            return
        try:
            result = run_case(table[name], mode, level)
        except Exception as error:  # a case must not end the worker
            result = Result(name, mode, "failed", f"{type(error).__name__}: {error}")
        connection.send(result)


class _Worker:
    """A process forked from this one, so that it has the cases already."""

    def __init__(self, level):
        self.connection, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_serve, args=(theirs, level), daemon=True)
        self.process.start()
        theirs.close()
        self.job = None

    def give(self, job):
        self.job, self.deadline = job, time.monotonic() + TIME_LIMIT
        self.connection.send(job)

    def close(self):
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Queue:
    """What is to be done, one mode after the other: an operator that is unknown in one is unknown in all."""

    def __init__(self, jobs):
        self.pending = sorted(jobs, key=lambda job: (-cases.MODES.index(job[1]), job[0]))
        self.unknown = {}

    def note(self, result):
        if result.reason.startswith("E0301"):
            self.unknown[result.name] = result

    def take_known(self):
        """The results of those at the end of the queue that need no run."""
        while self.pending and self.pending[-1][0] in self.unknown:
            name, mode = self.pending.pop()
            yield dataclasses.replace(self.unknown[name], mode=mode)


def run_all(jobs, workers=2, level=2):
    """Yields the result of every (name, mode), as they come."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cases.collect()
    queue = _Queue(jobs)
    pending = queue.pending
    busy = []
    try:
        for _ in range(min(workers, len(pending))):
            busy.append(_Worker(level))
            busy[-1].give(pending.pop())
        while busy:
            ready = multiprocessing.connection.wait([worker.connection for worker in busy], timeout=1)
            now = time.monotonic()
            for worker in list(busy):
                result = None
                if worker.connection in ready:
                    try:
                        result = worker.connection.recv()
                    except (EOFError, ConnectionResetError):
                        worker.process.join()
                        result = Result(*worker.job, "crash", f"the process ended with {worker.process.exitcode}")
                elif now > worker.deadline:
                    result = Result(*worker.job, "hang", f"no answer in {TIME_LIMIT} s")
                if result is None:
                    continue
                yield result
                queue.note(result)
                yield from queue.take_known()
                if result.status in ("crash", "hang"):
                    worker.close()
                    busy.remove(worker)
                    if pending:
                        worker = _Worker(level)
                        busy.append(worker)
                        worker.give(pending.pop())
                elif pending:
                    worker.give(pending.pop())
                else:
                    worker.close()
                    busy.remove(worker)
    finally:
        for worker in busy:
            worker.close()
