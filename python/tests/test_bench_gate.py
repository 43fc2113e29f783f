# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What scripts/bench-gate lets pass."""

import sys

import pytest

from small_models import ROOT

sys.path.insert(0, str(ROOT / "bench"))
import gate  # noqa: E402


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


@pytest.mark.parametrize("ratios,failures", [((1.0, 1.1), 0), ((0.95, 1.2), 0), ((0.8, 1.5), 1), ((0.9, 0.9), 1)])
def test_a_family_without_floors_is_held_to_the_bar(ratios, failures):
    assert len(gate.judge(run(*ratios, family="intel-avx512"), FLOORS)) == failures


def test_floors_only_rise():
    floors = gate.raise_floors(run(1.1, 1.6), {"amd-avx512": {name: dict(row) for name, row in
                                                              FLOORS["amd-avx512"].items()}})
    assert floors["amd-avx512"]["c0/1"]["ratio"] == 1.2
    assert floors["amd-avx512"]["c1/1"]["ratio"] == 1.6
