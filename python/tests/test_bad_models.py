# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that are well-formed files and wrong nevertheless: shapes, types and attributes that contradict each other.
What the reader itself refuses is in test/hostile."""

import re
import resource
import subprocess

import numpy as np
import onnx
import pytest

import lathe
from lathe.compiler import driver
from small_models import model, value

FLOAT, INT64, UINT8, BOOL, STRING = (getattr(onnx.TensorProto, kind) for kind in ("FLOAT", "INT64", "UINT8", "BOOL", "STRING"))
STATUS = {"E0301": 2, "E0304": 3, "E0306": 3, "E0307": 3, "E0308": 2}


def one(op, inputs, *, name="/node", shapes=((2, 3, 8, 8),), kind=FLOAT, attributes=None, **constants):
    """A node whose first inputs are the model's, of these shapes, and the others constants."""
    free = [value(inputs[i], kind if i == 0 else FLOAT, *shape) for i, shape in enumerate(shapes)]
    node = onnx.helper.make_node(op, inputs, ["y"], name=name, **(attributes or {}))
    result = model([node], free, [value("y", FLOAT)], **{k: np.asarray(v) for k, v in constants.items()})
    result.graph.output[0].type.tensor_type.ClearField("shape")
    return result


def conv(filter_shape=(4, 3, 3, 3), **attributes):
    return one("Conv", ["x", "w"], attributes=attributes, w=np.ones(filter_shape, np.float32))


def pair(op, left, right, **attributes):
    return one(op, ["x", "z"], shapes=(left, right), attributes=attributes)


CASES = {
    "stride 0": (conv(strides=[0, 0]), "E0304", "strides[0] is 0, must be from 1 to"),
    "dilation 0": (conv(dilations=[0, 1]), "E0304", "dilations[0] is 0, must be from 1 to"),
    "group 0": (conv(group=0), "E0304", "group is 0, must be at least 1"),
    "channels": (conv((4, 5, 3, 3)), "E0307", "the input has 3 channels, but the filter takes 5 in each of 1 groups"),
    "axis": (one("Softmax", ["x"], attributes={"axis": 4}), "E0304", "axis is 4, but the operand has 4 dimensions"),
    "negative axis": (pair("Concat", (2, 3), (2, 3), axis=-3), "E0304", "axis is -3, but the operand has 2 dimensions"),
    "norm axis": (one("LayerNormalization", ["x", "w"], attributes={"axis": 9}, w=np.ones(8, np.float32)), "E0304",
                  "axis is 9, but the operand has 4 dimensions"),
    "two unknown sizes": (one("Reshape", ["x", "s"], s=[-1, -1]), "E0307", "the shape [-1, -1] has -1 twice"),
    "elements lost": (one("Reshape", ["x", "s"], s=[5, 7]), "E0307",
                      "an operand of shape [2, 3, 8, 8] does not fit into the shape [5, 7]"),
    "negative size": (one("Reshape", ["x", "s"], s=[-2, 7]), "E0307", "dimension 0 of the shape is -2"),
    "negative constant": (one("ConstantOfShape", ["s"], shapes=(), s=[-4]), "E0307", "a dimension of the shape is -4"),
    "product": (pair("MatMul", (2, 3), (4, 5)), "E0307", "a matrix with 3 columns is multiplied with one of 4 rows"),
    "broadcast": (pair("Add", (2, 3), (4, 5)), "E0307", "expects operands of compatible shapes"),
    "concatenation": (pair("Concat", (2, 3), (4, 5), axis=0), "E0307", "equal that of the first, 3, but it is 5"),
    "types differ": (one("Add", ["x", "z"], kind=INT64, shapes=((2, 3), (2, 3))), "E0306",
                     "the operands have different element types, i64 and f32"),
    "integers": (one("Sqrt", ["x"], kind=INT64), "E0307", "expects x to have float elements"),
    "float indices": (pair("Gather", (2, 3), (2,)), "E0307", "expects indices to have i32 or i64 elements"),
    "step 0": (one("Slice", ["x", "a", "b", "c", "d"], a=[0], b=[2], c=[0], d=[0]), "E0307",
               "the step of dimension 0 is 0"),
    "unknown type": (one("Cast", ["x"], attributes={"to": 77}), "E0304", "to is 77, which is no element type"),
    "axis twice": (one("Unsqueeze", ["x", "a"], a=[1, 1]), "E0304", "axes names dimension 1 twice"),
    "no permutation": (one("Transpose", ["x"], attributes={"perm": [0, 0, 1, 2]}), "E0304",
                       "perm is [0, 0, 1, 2], which does not permute 4 dimensions"),
    "squeeze": (one("Squeeze", ["x", "a"], a=[1]), "E0307", "dimension 1 has size 3, only those of size 1"),
    "equation": (pair("Einsum", (2, 3), (3, 5), equation="ij,jk->iz"), "E0304", "the letters of the result"),
    "operands of an equation": (pair("Einsum", (2, 3), (3, 5), equation="ij;;"), "E0304",
                                "equation names 1 operands, but there are 2"),
}


def check(folder, graph, command=("check",)):
    path = folder / "model.onnx"
    onnx.save(graph, path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([driver(), command[0], path, *command[1:]], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 2
    assert done.stdout == ""
    return done


@pytest.mark.parametrize("graph,code,text", CASES.values(), ids=CASES.keys())
def test_contradictions(tmp_path, graph, code, text):
    done = check(tmp_path, graph)
    assert done.returncode == STATUS[code], done.stderr
    assert done.stderr.startswith(f"error[{code}]: ") and done.stderr.count("error[") == 1
    assert text in done.stderr
    assert f"  --> {tmp_path}/model.onnx: node " in done.stderr
    assert f'"/node" ({graph.graph.node[0].op_type}, opset 17)' in done.stderr
    assert not re.search(r"\.(cpp|h):", done.stderr)


def node(op, inputs, outputs, name, **attributes):
    return onnx.helper.make_node(op, inputs, outputs, name=name, **attributes)


def test_folding_an_index_out_of_bounds(tmp_path):
    graph = model([node("Gather", ["k", "i"], ["j"], "/look"), node("Reshape", ["x", "j"], ["y"], "/shape")],
                  [value("x", FLOAT, 6)], [value("y", FLOAT, 6)], k=np.array([1, 2, 3]), i=np.array([5]))
    done = check(tmp_path, graph)
    assert done.returncode == 3
    assert "error[E0307]: index 5 is out of bounds of dimension 0 with size 3" in done.stderr
    assert '"/look"' in done.stderr


def test_folding_a_division_by_zero(tmp_path):
    """It is left to the run, which stops where the sizes that depend on it do not fit."""
    graph = model([node("Div", ["a", "b"], ["k"], "/divide"), node("Reshape", ["x", "k"], ["y"], "/shape")],
                  [value("x", FLOAT, 6)], [value("y", FLOAT, 6)], a=np.array([6, 64]), b=np.array([0, 1]))
    onnx.save(graph, tmp_path / "model.onnx")
    compiled = lathe.compile(tmp_path / "model.onnx")
    with pytest.raises(lathe.ModelError):
        compiled(x=np.zeros(6, np.float32))


def test_folding_allocates_no_terabytes(tmp_path):
    graph = model([node("ConstantOfShape", ["s"], ["k"], "/big"), node("ReduceMax", ["k"], ["m"], "/max", keepdims=0),
                   node("Add", ["m", "x"], ["y"], "/add")],
                  [value("x", FLOAT, 1)], [value("y", FLOAT, 1)], s=np.array([1 << 20, 1 << 20]))
    done = check(tmp_path, graph, ("compile", "-o", tmp_path / "m.so", "--quiet", "--memory-limit=500M"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("sizes", [(1 << 30, 1 << 30), (1 << 40, 1 << 40)], ids=["no memory", "no integer"])
def test_sizes_that_fit_no_memory_are_refused_by_the_run(tmp_path, sizes):
    graph = model([node("Expand", ["x", "s"], ["y"], "/big")], [value("x", FLOAT, 1)],
                  [value("y", FLOAT, "A", "B")], s=np.array(sizes))
    done = check(tmp_path, graph, ("compile", "-o", tmp_path / "m.so", "--quiet"))
    assert done.returncode == 0, done.stderr
    done = subprocess.run([driver(), "run", tmp_path / "m.so", "--random"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "error[E0705]: " in done.stderr and "memory" in done.stderr


def test_all_unsupported_operators_at_once(tmp_path):
    nodes = [node("Snpe", ["x"], ["a"], "/first", DLC="model"), node("UnfoldTensor", ["x"], ["b"], "/second", size=2),
             node("UnfoldTensor", ["x"], ["c"], "/third", size=3)]
    for unsupported in nodes:
        unsupported.domain = "com.microsoft"
    graph = model(nodes, [value("x", FLOAT, 8)], [value("a", FLOAT, 8), value("b", FLOAT, 4, 2), value("c", FLOAT, 2, 3)])
    graph.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    done = check(tmp_path, graph)
    assert done.returncode == 2
    assert done.stderr.count("error[") == 1
    for name in ("Snpe", "UnfoldTensor", "/first", "/second", "/third"):
        assert name in done.stderr, done.stderr


def test_the_budget_of_nodes_can_be_changed(tmp_path):
    """A million nodes against the default budget are in test/hostile."""
    count = 3000
    nodes = [node("Neg", [f"v{i}" if i else "x"], [f"v{i + 1}" if i + 1 < count else "y"], f"/n{i}")
             for i in range(count)]
    graph = model(nodes, [value("x", FLOAT, 4)], [value("y", FLOAT, 4)])
    refused = check(tmp_path, graph, ("check", "--max-nodes=2999"))
    assert refused.returncode == 2 and "error[E0206]: " in refused.stderr
    assert check(tmp_path, graph, ("check", "--max-nodes=3000")).returncode == 0
