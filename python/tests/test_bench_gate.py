# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What scripts/bench-gate lets pass."""

import sys

import pytest

from small_models import ROOT

sys.path.insert(0, str(ROOT / "bench"))
import gate  # noqa: E402
import open as opening  # noqa: E402


def run(*ratios, family="amd-avx512"):
    return {"family": family, "date": "2026-01-01T00:00:00+00:00", "processor": "p",
            "records": [{"case": f"c{i}", "threads": 1, "ratio": ratio, "spread": 0.02}
                        for i, ratio in enumerate(ratios)]}


FLOORS = {"amd-avx512": {"c0/1": {"ratio": 1.2, "spread": 0.03}, "c1/1": {"ratio": 1.5, "spread": 0.01}}}


@pytest.mark.parametrize("ratios,failures", [
    ((1.2, 1.5), 0),
    ((1.16, 1.48), 0),  # within the spread
    ((1.14, 1.5), 1),
    ((1.14, 1.4), 2),
    ((1.2,), 1),  # not measured
])
def test_floors(ratios, failures):
    assert len(gate.judge(run(*ratios), FLOORS)) == failures


BELOW_BARS = [((1.0, 1.1), 0), ((0.95, 1.2), 0), ((0.89, 1.5), 1), ((0.9, 0.9), 1), ((0.8, 0.8), 3)]


@pytest.mark.parametrize("ratios,failures", BELOW_BARS)
@pytest.mark.parametrize("family", ["intel-avx512", "intel-avx512-amx"])
def test_bars_hold_with_avx512(ratios, failures, family):
    assert len(gate.judge(run(*ratios, family=family), FLOORS)) == failures


def test_bars_hold_beside_low_floors():
    floors = {"amd-avx512": {"c0/1": {"ratio": 0.8, "spread": 0.01}}}
    assert gate.judge(run(0.8), floors) == ["c0/1: ratio 0.800 is below the bar, 0.9",
                                            "geometric mean 0.800 is below the bar, 1.0"]


@pytest.mark.parametrize("ratios,failures", BELOW_BARS)
def test_bars_are_only_told_with_avx2(ratios, failures):
    measured = run(*ratios, family="amd-avx2")
    assert gate.judge(measured, FLOORS) == []
    assert len(gate.below_bars(measured)) == failures


def test_floors_hold_with_avx2():
    floors = {"amd-avx2": FLOORS["amd-avx512"]}
    assert len(gate.judge(run(1.0, 1.5, family="amd-avx2"), floors)) == 1


def test_floors_only_rise():
    floors = gate.raise_floors(run(1.1, 1.6), {"amd-avx512": {name: dict(row) for name, row in
                                                              FLOORS["amd-avx512"].items()}})
    assert floors["amd-avx512"]["c0/1"]["ratio"] == 1.2
    assert floors["amd-avx512"]["c1/1"]["ratio"] == 1.6


@pytest.mark.parametrize("name,value,failures", [
    ("compile", 4.9, []), ("compile", 5.2, ["compile: 5.20 is more than 5.0"]),
    ("open full", 21.0, ["open full: 21.00 is more than 20.0"]), ("open lazy", 2.5, ["open lazy: 2.50 is more than 2.0"]),
    ("added", 1.6, ["added: 1.60 is more than 1.5"]),
])
def test_bars_of_compiling_and_opening(name, value, failures):
    within = {"compile": 1.0, "open full": 10.0, "open lazy": 0.5, "added": 0.5}
    assert opening.judge({**within, name: value}) == failures
