#!/usr/bin/env python3
# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""make-seeds.py TARGET FOLDER: inputs to start a fuzzer from, good and bad ones. For the target "model": the hostile
models of the tests, and ONNX's own node tests. For all: what is kept in corpus/."""

import pathlib
import shutil
import sys
import tempfile
import warnings

HERE = pathlib.Path(__file__).resolve().parent
LARGEST = 8192


def hostile_models():
    sys.path[:0] = [str(HERE.parent / "hostile"), str(HERE.parents[1] / "python/tests")]
    import hostile_graphs
    import hostile_models as files

    yield "good", files.good()
    for name, make, *_ in files.CASES:
        with tempfile.TemporaryDirectory() as scratch:
            data = make(pathlib.Path(scratch))
        if data is not None:
            yield name, data
    for name, make, *_ in hostile_graphs.CASES:
        yield name, make().SerializeToString()


def node_tests():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in collect_testcases(None):
            yield case.name, case.model.SerializeToString()


def main():
    target, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((HERE / "corpus" / target).iterdir()):
        shutil.copy(path, folder)
    if target == "model":
        for source in (hostile_models, node_tests):
            for name, data in source():
                if len(data) < LARGEST:
                    (folder / name).write_bytes(data)


main()
