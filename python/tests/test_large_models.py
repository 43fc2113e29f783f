# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Large models: right results, and a compiler whose memory does not grow with them."""

import os
import pathlib
import subprocess
import time

import numpy as np
import onnx
import pytest

import lathe
from large_models import Sparse
from lathe.compiler import driver
from small_models import scale_add_relu

MIB = 1 << 20
# 200 MB, and 3 GiB with one tensor beyond what 32 bits count.
# Products with so many rows of weights are not looked through for zeros, which would not be stored.
MODELS = [Sparse(rows=4096, width=4608, layers=2, row=4000)]
if os.environ.get("LATHE_TEST_FULL"):
    MODELS.append(Sparse(rows=140_000, width=4608, layers=8, row=139_999))


def own_memory(process):
    """Anonymous memory, and private pages of files that were written to, of the process's children: in bytes."""
    total = 0
    for child in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split():
        try:
            fields = dict(line.split()[:2] for line in pathlib.Path(f"/proc/{child}/smaps_rollup").read_text()
                          .splitlines()[1:])
        except OSError:
            continue  # it ended just now
        # Dirty private pages are anonymous ones too, but for those of shared mappings that nobody else has.
        total += 1024 * max(int(fields["Anonymous:"]) + int(fields["Swap:"]), int(fields["Private_Dirty:"]))
    return total


def compile_and_watch(source, output):
    """The worker's peak."""
    process = subprocess.Popen([driver(), "compile", source, "-o", output, "--quiet"], stderr=subprocess.PIPE)
    peak = samples = 0
    while process.poll() is None:
        peak = max(peak, own_memory(process.pid))
        samples += peak > 0
        time.sleep(0.005)
    err = process.stderr.read().decode()
    assert process.returncode == 0, err
    assert samples > 3
    return peak


def size_on_disk(path):
    return path.stat().st_blocks * 512


@pytest.fixture(scope="module")
def empty_peak(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    onnx.save(scale_add_relu(), folder / "m.onnx")
    return compile_and_watch(folder / "m.onnx", folder / "m.so")


@pytest.mark.parametrize("form", ["external", "raw"])
@pytest.mark.parametrize("large", MODELS, ids=lambda large: f"{large.weight_bytes / 1e9:.1f} GB")
def test_a_model_of_holes(tmp_path, empty_peak, large, form):
    source, output = tmp_path / "m.onnx", tmp_path / "m.so"
    (large.save_external if form == "external" else large.save_raw)(source)
    assert sum(size_on_disk(path) for path in tmp_path.iterdir()) < 4 * MIB
    peak = compile_and_watch(source, output)
    assert peak - empty_peak <= 256 * MIB + 2 * large.largest_repacked, f"{peak / MIB:.0f}, {empty_peak / MIB:.0f} MiB"
    assert large.weight_bytes <= output.stat().st_size <= large.weight_bytes + 1_500_000
    assert size_on_disk(output) < 4 * MIB
    got = lathe.load(output)(i=np.array([large.row, 0]))[f"v{large.layers}"]
    expected = np.zeros((2, large.width), np.float32)
    column, number = large.expected
    expected[0, column] = number
    np.testing.assert_array_equal(got, expected)


def test_minilm_keeps_its_memory(zoo, tmp_path, empty_peak):
    output = tmp_path / "m.so"
    peak = compile_and_watch(zoo["minilm"], output)
    largest_repacked = 4 * 384 * 1536
    assert peak - empty_peak <= 256 * MIB + 2 * largest_repacked, f"{peak / MIB:.0f}, {empty_peak / MIB:.0f} MiB"
    weights = 4 * sum(int(np.prod(tensor.dims)) for tensor in onnx.load(zoo["minilm"]).graph.initializer
                      if tensor.data_type == onnx.TensorProto.FLOAT)
    assert output.stat().st_size <= weights + 1_500_000
