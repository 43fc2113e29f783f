# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compile time grows with the model, not with its square: measured as processor time of two sizes in one run."""

import resource
import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import lathe
from lathe.compiler import driver
from small_models import model, value

FLOAT = onnx.TensorProto.FLOAT
WIDTH = 32


def recurrence(steps):
    """h = tanh(h W + x[t]) written out, `steps` times four nodes."""
    weights = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32) / 8
    nodes, constants = [], {"W": weights}
    for t in range(steps):
        constants[f"t{t}"] = np.array(t)
        state = f"h{t}" if t else "h"
        nodes += [helper.make_node("Gather", ["x", f"t{t}"], [f"x{t}"], name=f"/row{t}", axis=0),
                  helper.make_node("MatMul", [state, "W"], [f"m{t}"], name=f"/product{t}"),
                  helper.make_node("Add", [f"m{t}", f"x{t}"], [f"a{t}"], name=f"/add{t}"),
                  helper.make_node("Tanh", [f"a{t}"], [f"h{t + 1}" if t + 1 < steps else "y"], name=f"/tanh{t}")]
    return model(nodes, [value("x", FLOAT, steps, 1, WIDTH), value("h", FLOAT, 1, WIDTH)],
                 [value("y", FLOAT, 1, WIDTH)], **constants)


def chain(count):
    """Functions of one another."""
    functions = ["Relu", "Neg", "Abs", "Sigmoid", "Tanh"]
    nodes = [helper.make_node(functions[i % 5], [f"v{i}" if i else "x"], [f"v{i + 1}" if i + 1 < count else "y"],
                              name=f"/n{i}") for i in range(count)]
    return model(nodes, [value("x", FLOAT, "N", WIDTH)], [value("y", FLOAT, "N", WIDTH)])


def products(count):
    """Products with weights of their own, and a function behind each."""
    nodes, constants = [], {}
    for i in range(count):
        constants[f"w{i}"] = np.eye(WIDTH, dtype=np.float32)
        nodes += [helper.make_node("MatMul", [f"v{i}" if i else "x", f"w{i}"], [f"m{i}"], name=f"/product{i}"),
                  helper.make_node("Relu", [f"m{i}"], [f"v{i + 1}" if i + 1 < count else "y"], name=f"/relu{i}")]
    return model(nodes, [value("x", FLOAT, "N", WIDTH)], [value("y", FLOAT, "N", WIDTH)], **constants)


def seconds(graph, folder):
    """Of the processor, in the driver and its worker; the smaller of two runs."""
    path = folder / "m.onnx"
    onnx.save(graph, path)

    def once():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([driver(), "compile", path, "-o", folder / "m.so", "--quiet"], check=True, timeout=300)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return min(once(), once())


@pytest.mark.parametrize("make,small,large", [(recurrence, 100, 400), (chain, 1250, 5000), (products, 250, 1000)])
def test_time_is_linear(tmp_path, make, small, large):
    """Four times the nodes take at most six times as long: squares would take sixteen."""
    assert seconds(make(large), tmp_path) < 6 * seconds(make(small), tmp_path)


def test_an_unrolled_recurrence_computes_what_it_says():
    """Its steps share one kernel, which is told the row."""
    graph = recurrence(20)
    x = np.random.default_rng(1).normal(size=(20, 1, WIDTH)).astype(np.float32)
    state = np.zeros((1, WIDTH), np.float32)
    compiled = lathe.compile(graph)
    given = compiled(x=x, h=state)["y"]
    weights = numpy_helper.to_array(graph.graph.initializer[0])
    for row in x:
        state = np.tanh(state @ weights + row)
    np.testing.assert_allclose(given, state, atol=1e-5)
