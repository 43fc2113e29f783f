# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A fixed sample of ONNX's cases; `scripts/test --all --suite conformance` runs all of them."""

import os
import pathlib
import random
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SAMPLE_SIZE = 480


@pytest.fixture(scope="module")
def suite():
    """The modules of this folder, which find the runtime as a user's program does."""
    sys.path[:0] = [str(HERE), str(HERE.parents[1] / "python")]
    import runner

    yield runner
    del sys.path[:2]


def test_sample_passes(suite):
    expected = [job for job in suite.all_jobs() if job not in suite.read_failing()]
    sample = random.Random(20261129).sample(expected, min(SAMPLE_SIZE, len(expected)))
    results = list(suite.worker.run_all(sample, workers=int(os.environ.get("LATHE_JOBS", 2))))
    failures = [f"{result.name} {result.mode}: {result.status}: {result.reason}" for result in results
                if result.status != "pass"]
    assert not failures, "\n".join(failures)
    assert len(results) == len(sample)


def test_crashing_case_fails_alone(suite, monkeypatch):
    run_case = suite.worker.run_case

    def crash_once(case, mode, level):
        if mode == "symbolic":
            os.abort()
        return run_case(case, mode, level)

    monkeypatch.setattr(suite.worker, "run_case", crash_once)
    results = {result.mode: result.status for result in
               suite.worker.run_all([("test_relu", mode) for mode in suite.cases.MODES], workers=1)}
    assert results == {"static": "pass", "symbolic": "crash", "constant": "pass"}


def test_hanging_case_fails_alone(suite, monkeypatch):
    def hang(case, mode, level):
        import time

        time.sleep(60)

    monkeypatch.setattr(suite.worker, "run_case", hang)
    monkeypatch.setattr(suite.worker, "TIME_LIMIT", 0.5)
    results = list(suite.worker.run_all([("test_relu", "static")], workers=1))
    assert [result.status for result in results] == ["hang"]


def test_wrong_numbers_are_noticed(suite):
    case = suite.cases.collect()["test_relu"]
    expected = case.data[0][1]
    assert suite.cases.compare(case, expected, expected) is None
    assert suite.cases.compare(case, expected, [expected[0] + 1e-2])
    assert suite.cases.compare(case, expected, [expected[0].astype("float64")])
    assert suite.cases.compare(case, expected, [expected[0][:, :, :1]])
    assert suite.cases.compare(case, expected, [])
