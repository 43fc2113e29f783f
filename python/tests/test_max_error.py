# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How far results move by bf16: measured of each product, and held within what a plan allows."""

import json

import numpy as np
import pytest

import lathe
from calibration import emit, run, samples, two, weights_of, two_products  # noqa: F401
from reports import compile_with_report, remarks
from test_bf16 import round_to_bf16


@pytest.fixture(scope="module")
def errors(two, tmp_path_factory):
    path = tmp_path_factory.mktemp("errors") / "s.npz"
    lathe.calibrate(two, samples(), path, errors=True)
    return path


def emulated(x, first, second):
    """z of `two_products`, of which the products are rounded that are named."""
    w, v = (array.astype("f8") for array in weights_of(two_products()))
    same = lambda values: values.astype("f4")  # noqa: E731
    a, b = (round_to_bf16 if rounds else same for rounds in (first, second))
    t = np.maximum(a(x).astype("f8") @ a(w.astype("f4")), 0)
    return b(t.astype("f4")).astype("f8") @ b(v.astype("f4"))


def moved(first, second):
    pairs = [(emulated(s["x"], first, second), emulated(s["x"], False, False)) for s in samples()]
    return np.median([np.abs(a - b).max() / np.abs(b).max() for a, b in pairs])


def test_measured_errors(errors):
    """Of each product alone, and of both: as far as an emulation moves, which sums up exactly."""
    index = json.loads(np.load(errors)["lathe"].tobytes())
    measured = [tensor["bf16_error"] for tensor in index["tensors"]]
    assert [tensor["weights"] for tensor in index["tensors"]] == [["first"], ["second"]]
    np.testing.assert_allclose(measured, [moved(True, False), moved(False, True)], rtol=0.05)
    np.testing.assert_allclose(index["bf16_errors"]["all"], moved(True, True), rtol=0.05)
    assert index["bf16_errors"]["rest"] == 0


def compiled_weights(two, errors, allowed):
    plan = emit(two, "--math=bf16", "--force", f"--max-error={allowed}", "--stats", errors)
    return sorted(plan.get("weights", {}))


def test_products_stay_in_f32(two, errors, tmp_path):
    """That which moves results further for its operations goes first, and results move by no more than is allowed."""
    both, first, second = moved(True, True), moved(True, False), moved(False, True)
    # DEPTH and COLUMNS are what their operations differ by.
    kept = "first" if first ** 2 / 96 > second ** 2 / 64 else "second"
    left = {"first": second, "second": first}[kept]
    assert compiled_weights(two, errors, 1.2 * both) == ["first", "second"]
    # What is left, by the share that was measured of both.
    allowed = 1.02 * left * both / np.hypot(first, second)
    assert compiled_weights(two, errors, allowed) == [name for name in ("first", "second") if name != kept]
    assert compiled_weights(two, errors, 1e-6) == []
    report = compile_with_report(two, tmp_path / "m.so", "--math=bf16", "--force", f"--max-error={allowed}", "--stats", errors)
    (reason,) = remarks(report, "pack-apply-plan", "missed")
    assert reason.startswith("not computed in bf16: alone it moves results by ") and "all are allowed" in reason
    model = lathe.load(tmp_path / "m.so")
    for sample in samples():
        wanted = emulated(sample["x"], kept != "first", kept != "second")
        assert np.abs(model(sample)["z"] - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_nothing_is_computed_in_bf16_that_may_not(two, errors, tmp_path):
    sample = samples()[0]
    held = lathe.compile(two, math="bf16", force=True, max_error=1e-6, stats=errors)
    np.testing.assert_array_equal(held(sample)["z"], lathe.compile(two)(sample)["z"])


def test_what_has_another_format_is_not_held(two, errors, tmp_path):
    """The error that is allowed is that of bf16: integers that are asked for beside it stay."""
    report = compile_with_report(two, tmp_path / "m.so", "--quantize=int8-dynamic", "--math=bf16", "--max-error=1e-6", "--stats",
                                 errors)
    assert not remarks(report, "pack-apply-plan", "missed")


def test_needs_statistics(two, tmp_path):
    path = tmp_path / "s.npz"
    lathe.calibrate(two, samples(), path)
    for options in ([], ["--stats", path]):
        done = run("compile", two, "-o", tmp_path / "m.so", "--math=bf16", "--max-error=0.01", *options)
        assert done.returncode == 1 and done.stderr.startswith("error[E0812]: "), done.stderr
        assert "`lathe calibrate --errors` finds out" in done.stderr


@pytest.mark.parametrize("options,what", [
    (["--max-error=0.01"], "--max-error is for --math=bf16"),
    (["--math=bf16", "--max-error=0"], "--max-error=0: expects a number between 0 and 1"),
    (["--math=bf16", "--max-error=2"], "--max-error=2: expects a number between 0 and 1")])
def test_wrong_requests(two, tmp_path, options, what):
    done = run("compile", two, "-o", tmp_path / "m.so", *options)
    assert done.returncode == 1 and what in done.stderr, done.stderr
