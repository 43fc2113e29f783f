# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`lathe profile`: what kernels cost, by hand, and where their time goes."""

import json
import os
import pty
import subprocess
import termios

import pytest

from lathe.compiler import driver


def profile(artifact, *options):
    done = subprocess.run([driver(), "profile", artifact, "--threads=1", "--runs=3", "--json", *map(str, options)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kernel_of(result, node):
    return next(kernel for kernel in result["kernels"] if node in kernel["nodes"])


@pytest.mark.parametrize("sequence", [7, 48])
def test_costs_of_minilm(compiled, sequence):
    trace = compiled("minilm").with_suffix(f".{sequence}.json")
    result = profile(compiled("minilm"), f"--shape=input_ids=2x{sequence}", f"--trace={trace}")
    rows = 2 * sequence
    # The first product of the feed-forward part with bias and gelu, and both products of twelve heads of 32.
    product = kernel_of(result, "/encoder/layer.0/MatMul_6")
    attention = kernel_of(result, "/encoder/layer.0/Softmax")
    assert "/encoder/layer.0/Erf" in product["nodes"]
    assert (product["layers"], product["calls_per_run"]) == (6, 6)
    assert product["flops"] == 6 * (2 * rows * 384 * 1536 + 2 * rows * 1536)
    assert product["bytes"] == 6 * 4 * (rows * 384 + 384 * 1536 + 1536 + rows * 1536)
    assert attention["flops"] == 6 * 2 * 2 * 2 * 12 * sequence * sequence * 32
    # Nothing without costs, nothing faster than the roof by more than the clock's moods, hardly any time elsewhere.
    for kernel in result["kernels"]:
        assert kernel["flops"] + kernel["bytes"] > 0 and kernel["bound"] in ("compute", "memory"), kernel
    assert product["roof_share"] < 1.5
    assert result["ms_in_kernels"] > 0.9 * result["ms_per_run"]

    events = json.loads(trace.read_text())["traceEvents"]
    assert len(events) == 3 * sum(kernel["calls_per_run"] for kernel in result["kernels"])
    nodes = {event["name"]: event["args"]["nodes"] for event in events}
    assert nodes == {kernel["name"]: kernel["nodes"] for kernel in result["kernels"]}
    assert sum(event["args"]["flops"] for event in events) == 3 * result["all_kernels"]["flops"]


def test_table_fits_the_terminal(compiled):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 110))
    process = subprocess.Popen([driver(), "profile", compiled("magika"), "--shape=bytes=1x2048", "--runs=3"],
                               stdout=theirs, stdin=subprocess.DEVNULL,
                               env={name: text for name, text in os.environ.items() if name != "COLUMNS"})
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 4096):
            text += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    lines = text.decode().splitlines()
    assert lines[0].split() == ["ms/run", "%", "calls", "GFLOP/s", "GB/s", "%", "roof", "bound", "kernel", "nodes"]
    # Its place depends on how long each kernel took.
    [convolution] = [line for line in lines if line.endswith("MagikaV2/Conv_0/Conv2D")]
    assert "compute" in convolution and "..." in convolution
    assert all(len(line) <= 110 for line in lines)
