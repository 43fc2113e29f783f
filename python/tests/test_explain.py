# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the driver says of one node."""

import subprocess

import pytest

from lathe.compiler import driver


@pytest.fixture
def explain(zoo):
    def run(*arguments, path=zoo["minilm"]):
        return subprocess.run([driver(), "explain", path, *arguments], capture_output=True, text=True)

    return run


def test_a_product(explain):
    done = explain("--node", "/encoder/layer.0/MatMul")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == '"/encoder/layer.0/MatMul"'
    assert any(line.startswith("is computed by kernel ") and "(matmul)" in line for line in lines), lines
    assert any("[nn-fuse-projections] fused 3 products of one tensor" in line for line in lines), lines


def test_a_node_of_a_layer_that_is_left_out(explain):
    done = explain("--node", "/encoder/layer.4/MatMul", "--skip-layers", "4")
    assert "is computed by no kernel" in done.stdout
    assert "layer 4: requested all, became left out, 7.10 MB before and 0 B after" in done.stdout


def test_a_node_of_another_layer_than_the_first(explain):
    assert "compiled once for all equal ones, as @layer0" in explain("--node", "/encoder/layer.3/MatMul").stdout


def test_mistakes(explain, tiny_onnx):
    for arguments, message in [([], "expects the name of a node as --node"),
                               (["--node", "/encoder/layer.0/MatMull"], 'no node "/encoder/layer.0/MatMull", did you mean "')]:
        done = explain(*arguments)
        assert done.returncode == 1 and done.stderr.startswith("error[E0001]: ") and message in done.stderr, done.stderr
