# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a model may hold: the documentation, the driver and Python name the same limits, and models of any depth that
they admit compile. That each limit holds is in test/hostile."""

import re
import subprocess
import sys

import numpy as np
import onnx
import pytest

import lathe
from lathe.compiler import LIMITS, driver
from small_models import ROOT, scale_add_relu, value

sys.path.append(str(ROOT / "test/hostile"))
from pieces import field, vint  # noqa: E402

FLOAT, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL


def documented():
    """From an option to its default."""
    table = (ROOT / "docs/security.md").read_text().split("### Limits")[1]
    return dict(re.findall(r"^\| `(--[a-z-]+)` \| ([^|]+) \|", table, re.MULTILINE))


@pytest.mark.parametrize("command", ["compile", "check", "inspect"])
def test_the_documented_limits_are_those_of_the_driver(command):
    text = subprocess.run([driver(), command, "--help"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^  (--(?:max-[a-z-]+|[a-z]+-limit))=\w+\s[^(]*\(default ([^),]*)", text, re.MULTILINE)
    assert dict(found) == documented()
    assert [f"--{name.replace('_', '-')}" for name in LIMITS] == list(documented())


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_can_be_set_in_python(name):
    with pytest.raises(lathe.ModelError) as error:
        lathe.compile(scale_add_relu(), limits={name: "1X"})
    assert error.value.code == "E0001"
    assert f"--{name.replace('_', '-')}=1X: expects" in str(error.value)


def test_unknown_limits_are_refused():
    with pytest.raises(lathe.ModelError, match="there is no limit 'nodes', but max_file_bytes"):
        lathe.compile(scale_add_relu(), limits={"nodes": 1})


def test_the_limit_itself_is_admitted():
    with pytest.raises(lathe.ModelError, match="the model has more than 2 nodes") as error:
        lathe.compile(scale_add_relu(), limits={"max_nodes": 2})
    assert error.value.code == "E0206"
    lathe.compile(scale_add_relu(), limits={"max_nodes": 3, "max_rank": 2, "max_elements": 4, "time_limit": 60,
                                            "memory_limit": "2G"})


def nested(depth):
    """If in If in If, each three messages deeper. The onnx package itself refuses to make this."""
    def node(op, source, attributes=b""):
        return field(1, field(1, source) + field(2, b"y") + field(4, op) + attributes) + field(12, field(1, b"y"))

    def branch(name, graph):
        return field(5, field(1, name) + field(6, graph) + vint(20 << 3) + vint(onnx.AttributeProto.GRAPH))
    graph = node(b"Relu", b"x")
    for _ in range(depth):
        graph = node(b"If", b"c", branch(b"then_branch", graph) + branch(b"else_branch", node(b"Neg", b"x")))
    inputs = [value("x", FLOAT, 4), value("c", BOOL)]
    graph += b"".join(field(11, v.SerializeToString()) for v in inputs)
    return vint(1 << 3) + vint(8) + field(8, vint(2 << 3) + vint(17)) + field(7, graph)


def test_the_deepest_model_compiles(tmp_path):
    """No pass runs out of stack at the greatest depth that --max-depth may admit."""
    path = tmp_path / "deep.onnx"
    path.write_bytes(nested(330))
    with pytest.raises(lathe.ModelError) as error:
        lathe.compile(path)
    assert error.value.code == "E0103" and "--max-depth raises the limit" in str(error.value)
    compiled = lathe.compile(path, limits={"max_depth": 1000})
    x = np.array([-1, 2, -3, 4], np.float32)
    np.testing.assert_array_equal(compiled(x=x, c=np.array(True))["y"], np.maximum(x, 0))
