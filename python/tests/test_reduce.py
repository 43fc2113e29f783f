# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Failing models are reduced to what fails."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lathe._reduce import Reducer, probe_apart
from small_models import model, value
from test_tools import run


def chain(operators):
    """A model of unary operators one after the other."""
    names = ["x", *(f"v{i}" for i in range(len(operators) - 1)), "z"]
    nodes = [helper.make_node(op, [a], [b], name=f"/{b}") for op, a, b in zip(operators, names, names[1:])]
    return model(nodes, [value("x", TensorProto.FLOAT, "N")], [value("z", TensorProto.FLOAT, "N")])


X = np.linspace(-1, 1, 7, dtype=np.float32)


@pytest.mark.parametrize("guilty", [["Exp"], ["Tanh", "Neg"]])
def test_what_is_left_is_what_fails(guilty):
    whole = chain(["Abs", "Exp", "Relu", "Tanh", "Sqrt", "Neg", "Cos", "Sin"])

    def fails(part, inputs):
        assert set(inputs) == {info.name for info in part.graph.input}
        return set(guilty) <= {node.op_type for node in part.graph.node}

    reduced, inputs = Reducer(whole, {"x": X}, fails).run()
    assert [node.op_type for node in reduced.graph.node] == guilty
    before = {"Exp": np.abs, "Tanh": lambda x: np.maximum(np.exp(np.abs(x)), 0)}
    first = reduced.graph.node[0]
    np.testing.assert_allclose(inputs[first.input[0]], before[guilty[0]](X), rtol=1e-6)


def test_constants_stay_and_captured_values_become_inputs():
    then = helper.make_graph([helper.make_node("Add", ["a", "c"], ["t"])], "then", [], [value("t", TensorProto.FLOAT, 7)])
    other = helper.make_graph([helper.make_node("Neg", ["a"], ["e"])], "else", [], [value("e", TensorProto.FLOAT, 7)])
    whole = model([helper.make_node("Abs", ["x"], ["a"]),
                   helper.make_node("If", ["go"], ["z"], then_branch=then, else_branch=other)],
                  [value("x", TensorProto.FLOAT, 7), value("go", TensorProto.BOOL)], [value("z", TensorProto.FLOAT, 7)],
                  c=np.ones(7, np.float32))
    fails = lambda part, inputs: any(node.op_type == "If" for node in part.graph.node)  # noqa: E731
    reduced, inputs = Reducer(whole, {"x": X, "go": np.array(True)}, fails).run()
    assert [node.op_type for node in reduced.graph.node] == ["If"]
    assert set(inputs) == {"a", "go"} and [tensor.name for tensor in reduced.graph.initializer] == ["c"]


def test_nothing_to_reduce():
    assert Reducer(chain(["Abs", "Exp"]), {"x": X}, lambda part, inputs: False).run() is None


def test_a_crash_is_a_kind_of_failure(tmp_path, monkeypatch):
    """The process that tries a model may die: here its Python does."""
    onnx.save(chain(["Abs"]), tmp_path / "m.onnx")
    np.savez(tmp_path / "m.npz", x=X)
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    assert probe_apart(tmp_path / "m.onnx", tmp_path / "m.npz", 1e-4, {}) == "died"


def test_command(tmp_path):
    """A tolerance of nothing finds the one operator that rounds otherwise than ONNX Runtime."""
    onnx.save(chain(["Abs", "Neg", "Erf", "Abs"]), tmp_path / "m.onnx")
    done = run("verify", tmp_path / "m.onnx", "--shape=N=999", "--tolerance=0", "--reduce", tmp_path / "out.onnx")
    assert done.returncode == 3, done.stderr
    assert "FAILED (differs): 1 node is left" in done.stdout
    assert [node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node] == ["Erf"]
    assert [array.shape for array in np.load(tmp_path / "out.npz").values()] == [(999,)]
    done = run("verify", tmp_path / "m.onnx", "--shape=N=9", "--reduce", tmp_path / "none.onnx")
    assert done.returncode == 0 and "nothing to reduce" in done.stdout
    assert not (tmp_path / "none.onnx").exists()
