# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small models and where things are, for the tests."""

import os
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build_folder():
    return pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build"))


def value(name, dtype, *dims):
    return helper.make_tensor_value_info(name, dtype, dims)


def model(nodes, inputs, outputs, **initializers):
    graph = helper.make_graph(nodes, "graph", inputs, outputs,
                              [onnx.numpy_helper.from_array(array, name) for name, array in initializers.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def scale_add_relu():
    """z = relu(x * [0, 1, 2, 3] + y), any number of rows."""
    nodes = [helper.make_node("Mul", ["x", "c"], ["t"], name="/mul"),
             helper.make_node("Add", ["t", "y"], ["u"], name="/add"),
             helper.make_node("Relu", ["u"], ["z"], name="/relu")]
    return model(nodes, [value("x", TensorProto.FLOAT, "N", 4), value("y", TensorProto.FLOAT, "N", 4)],
                 [value("z", TensorProto.FLOAT, "N", 4)], c=np.arange(4, dtype=np.float32))


def expected_scale_add_relu(x, y):
    return np.maximum(x * np.arange(4, dtype=np.float32) + y, 0)


def gather_rows():
    """Rows of a 5x4 table by index."""
    table = np.arange(20, dtype=np.float32).reshape(5, 4)
    return model([helper.make_node("Gather", ["table", "i"], ["rows"], name="/look/up")],
                 [value("i", TensorProto.INT64, "N")], [value("rows", TensorProto.FLOAT, "N", 4)], table=table)


def outer_maximum():
    """The largest value of softmax(zeros(A, B)), where A and B are the first sizes of x and y."""
    nodes = [helper.make_node("Shape", ["x"], ["rows"], name="/rows", start=0, end=1),
             helper.make_node("Shape", ["y"], ["columns"], name="/columns", start=0, end=1),
             helper.make_node("Concat", ["rows", "columns"], ["shape"], name="/shape", axis=0),
             helper.make_node("ConstantOfShape", ["shape"], ["zeros"], name="/zeros"),
             helper.make_node("Softmax", ["zeros"], ["p"], name="/softmax"),
             helper.make_node("ReduceMax", ["p"], ["z"], name="/max", keepdims=0)]
    return model(nodes, [value("x", TensorProto.FLOAT, "A", 0), value("y", TensorProto.FLOAT, "B", 0)],
                 [value("z", TensorProto.FLOAT)])
