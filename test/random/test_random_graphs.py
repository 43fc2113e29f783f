# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random graphs agree with ONNX Runtime; and a compiler that gets an operator wrong would be found out."""

import json
import os
import pathlib
import random
import subprocess
import sys

import onnx
import pytest

import graphs

HERE = pathlib.Path(__file__).parent


def test_random_graphs():
    """In processes that may die; all operators that compile by themselves."""
    count = 2000 if os.environ.get("LATHE_TEST_FULL") else 40
    done = subprocess.run([sys.executable, HERE / "run.py", "--supported", f"--seeds=0:{count}"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-2])
    assert len(counts["operators"]) >= 110, "operators that do not compile any more drop out of the graphs"
    # An operator that compiles by itself may be refused in another form; most graphs must have been compared.
    assert sum(counts["refused"].values()) <= count // 10, counts["refused"]


def replace(operator, other):
    def apply(node):
        node.op_type = other
    return operator, apply


def negate_attribute(operator, name):
    def apply(node):
        for attribute in node.attribute:
            if attribute.name == name:
                attribute.i = 1 - attribute.i
    return operator, apply


def swap_operands(operator):
    def apply(node):
        node.input[0], node.input[1] = node.input[1], node.input[0]
    return operator, apply


PLANTED = {
    "relu as the identity": replace("Relu", "Identity"), "floor as ceil": replace("Floor", "Ceil"),
    "sum as mean": replace("ReduceSum", "ReduceMean"), "minimum as maximum": replace("Min", "Max"),
    "greater as less": replace("Greater", "Less"), "and as or": replace("And", "Or"),
    "first as last extremum": replace("ArgMax", "ArgMin"), "difference the other way round": swap_operands("Sub"),
    "a triangle for the other": negate_attribute("Trilu", "upper"),
    "sums that include their own element": negate_attribute("CumSum", "exclusive"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_miscompile_is_found(name):
    """The model that is compiled differs at one node from the one that ONNX Runtime runs."""
    operator, break_node = PLANTED[name]
    for seed in range(10):
        generated = graphs.generate(random.Random(seed), nodes=3, operators=[operator])
        model, inputs, exact, *_ = generated
        broken = onnx.ModelProto()
        broken.CopyFrom(model)
        break_node(next(node for node in broken.graph.node if node.op_type == operator))
        if graphs.check(model, inputs, exact, levels=(2,), compiled=broken)[1]:
            return
    pytest.fail("ten graphs did not show it")
