# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Values that a model cannot work with, known only when it runs: the error names the node, the session runs again, and
other sessions go on."""

import threading

import numpy as np
import onnx
import pytest
from onnx import helper

import lathe
from small_models import model, value

FLOAT, INT64, BOOL, UINT8 = (getattr(onnx.TensorProto, kind) for kind in ("FLOAT", "INT64", "BOOL", "UINT8"))
X = np.arange(4, dtype=np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def one(op, inputs, outputs=("y",), opset=17, **attributes):
    """A node of these inputs, arrays of the bad run by name; results have what sizes they like."""
    node = helper.make_node(op, list(inputs), list(outputs), name="/bad", **attributes)
    infos = [value(name, helper.np_dtype_to_tensor_dtype(array.dtype), *array.shape) for name, array in inputs.items()]
    graph = model([node], infos, [helper.make_empty_tensor_value_info(name) for name in outputs])
    graph.opset_import[0].version = opset
    return graph


def loop(condition):
    """Adds 1 for as long as `condition` is true, which no step changes."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["next"]), helper.make_node("Add", ["s", "one"], ["sum"])], "body",
        [value("i", INT64), value("c", BOOL), value("s", FLOAT, 1)], [value("next", BOOL), value("sum", FLOAT, 1)])
    node = helper.make_node("Loop", ["", "c", "x"], ["y"], name="/bad", body=body)
    return model([node], [value("c", BOOL), value("x", FLOAT, 1)], [value("y", FLOAT, 1)], one=np.ones(1, np.float32))


#: Operator, inputs of the run that fails, those that differ in a run that does not, code, and the rest of the node.
CASES = {
    "gather": ("Gather", {"x": X, "i": ints(4)}, {"i": ints(3)}, "E0704", {}),
    "gather before the first": ("Gather", {"x": X, "i": ints(-5)}, {"i": ints(-4)}, "E0704", {}),
    "gather elements": ("GatherElements", {"x": X, "i": ints(4)}, {"i": ints(3)}, "E0704", {}),
    "gather nd": ("GatherND", {"x": X, "i": ints([4])}, {"i": ints([3])}, "E0704", {}),
    "scatter elements": ("ScatterElements", {"x": X, "i": ints(4), "u": X[:1]}, {"i": ints(3)}, "E0704", {}),
    "scatter nd": ("ScatterND", {"x": X, "i": ints([-9]), "u": X[:1]}, {"i": ints([-4])}, "E0704", {}),
    "scatter nd that adds": ("ScatterND", {"x": X, "i": ints([9]), "u": X[:1]}, {"i": ints([3])}, "E0704",
                             {"reduction": "add"}),
    "tensor scatter": ("TensorScatter", {"x": X.reshape(1, 4, 1), "u": X[:1].reshape(1, 1, 1), "i": ints(4)},
                       {"i": ints(3)}, "E0704", {"opset": 24}),
    "class of a loss": ("NegativeLogLikelihoodLoss", {"x": X.reshape(1, 4), "t": ints(4)}, {"t": ints(3)}, "E0704", {}),
    "length of a sequence": ("ReverseSequence", {"x": X.reshape(4, 1), "n": ints(9)}, {"n": ints(3)}, "E0704", {}),
    "quotient": ("Div", {"a": ints(*range(37)), "b": ints(*range(37))}, {"b": ints(*range(1, 38))}, "E0704", {}),
    "unsigned quotient": ("Div", {"a": np.ones(9, np.uint8), "b": np.arange(9, dtype=np.uint8)},
                          {"b": np.full(9, 255, np.uint8)}, "E0704", {}),
    "quotient of a scalar": ("Div", {"a": ints(1, 2, 3), "b": np.array(0)}, {"b": np.array(-1)}, "E0704", {}),
    "remainder": ("Mod", {"a": ints(7), "b": ints(0)}, {"b": ints(-7)}, "E0704", {}),
    "remainder of C": ("Mod", {"a": ints(7), "b": ints(0)}, {"b": ints(-7)}, "E0704", {"fmod": 1}),
    "reshape": ("Reshape", {"x": X, "s": ints(3, 2)}, {"s": ints(2, 2)}, "E0702", {}),
    "reshape with a rest": ("Reshape", {"x": X, "s": ints(-1, 3)}, {"s": ints(-1, 2)}, "E0702", {}),
    "reshape with two rests": ("Reshape", {"x": X, "s": ints(-1, -1)}, {"s": ints(-1, 2)}, "E0702", {}),
    "expand": ("Expand", {"x": X, "s": ints(2, 3)}, {"s": ints(2, 4)}, "E0702", {}),
    "tile": ("Tile", {"x": X, "s": ints(-1)}, {"s": ints(2)}, "E0702", {}),
    "range": ("Range", {"a": np.array(0), "b": np.array(5), "c": np.array(0)}, {"c": np.array(2)}, "E0702", {}),
    "split": ("Split", {"x": X, "s": ints(3, 2)}, {"s": ints(3, 1)}, "E0702", {"outputs": ("y", "z")}),
    "slice": ("Slice", {"x": X, "a": ints(0), "b": ints(4), "c": ints(0), "d": ints(0)}, {"d": ints(-1)}, "E0702", {}),
    "constant of shape": ("ConstantOfShape", {"s": ints(-1)}, {"s": ints(2)}, "E0702", {}),
}


def expect_error(compiled, code, inputs):
    with pytest.raises(lathe.ModelError) as error:
        compiled(**inputs)
    assert error.value.code == code
    assert error.value.node == "/bad", error.value
    assert '"/bad"' in str(error.value)


@pytest.mark.parametrize("opt_level", [0, 2])
@pytest.mark.parametrize("name", CASES)
def test_the_error_names_the_node_and_the_session_runs_again(name, opt_level):
    op, bad, change, code, rest = CASES[name]
    compiled = lathe.compile(one(op, bad, **rest), threads=1, opt_level=opt_level)
    good = {**bad, **change}
    before = compiled(**good)
    for _ in range(2):
        expect_error(compiled, code, bad)
        for output, array in compiled(**good).items():
            np.testing.assert_array_equal(array, before[output])


def test_a_division_among_others_is_found():
    """Where it is one of several nodes of a kernel, and where its result is only a part of what is computed."""
    nodes = [helper.make_node("Add", ["a", "a"], ["t"], name="/sum"),
             helper.make_node("Div", ["t", "b"], ["q"], name="/bad"),
             helper.make_node("Concat", ["q", "a"], ["j"], name="/join", axis=0),
             helper.make_node("ReduceSum", ["j"], ["y"], name="/all", keepdims=0)]
    compiled = lathe.compile(model(nodes, [value("a", INT64, "N"), value("b", INT64, "N")], [value("y", INT64)]), threads=1)
    for size in range(1, 40):
        a, b = np.arange(size), np.arange(1, size + 1)
        assert compiled(a=a, b=b)["y"] == (2 * a // b).sum() + a.sum()
        b[size // 2] = 0
        with pytest.raises(lathe.ModelError, match="an integer is divided by zero") as error:
            compiled(a=a, b=b)
        assert error.value.code == "E0704"
    assert compiled(a=np.zeros(0, np.int64), b=np.zeros(0, np.int64))["y"] == 0


def test_divisors_that_overflow_are_no_error():
    compiled = lathe.compile(one("Div", {"a": ints(0, 0), "b": ints(0, 0)}))
    smallest = np.iinfo(np.int64).min
    assert compiled(a=ints(smallest, 7), b=ints(-1, -1))["y"].tolist() == [smallest, -7]


def test_a_loop_without_end(tmp_path):
    path = lathe.compile(loop(True), tmp_path / "m.so").path
    compiled = lathe.load(path, threads=1, loop_limit=1000)
    x = np.zeros(1, np.float32)
    expect_error(compiled, "E0704", {"c": np.array(True), "x": x})
    assert compiled(c=np.array(False), x=x)["y"] == 0
    # Without a limit of its own a session has the default one, which ends within seconds.
    expect_error(lathe.load(path, threads=1), "E0704", {"c": np.array(True), "x": x})


def test_other_sessions_go_on(tmp_path):
    graph = one("Gather", {"x": X, "i": ints(0)})
    path = lathe.compile(graph, tmp_path / "m.so").path
    failing, working = lathe.load(path, threads=2), lathe.load(path, threads=2)
    wrong = []

    def work():
        for i in range(300):
            if working(x=X, i=ints(i % 4))["y"] != i % 4:
                wrong.append(i)
    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(300):
        expect_error(failing, "E0704", {"x": X, "i": ints(99)})
    thread.join()
    assert not wrong
