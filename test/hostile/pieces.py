# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What bad models are made of: pieces of protobuf's wire format, a good model to spoil, and the list of the cases.

A case is a function that returns the model's bytes (or None if it wrote `folder/model.onnx` itself) and is decorated
with the expected code and a piece of the message. `folder` is where external data goes."""

from onnx import TensorProto as T
from onnx import helper as h

CASES = []


def case(code, text, *options):
    def register(function):
        CASES.append((function.__name__, function, code, text, list(options)))
        return function

    return register


def vint(x):
    out = b""
    while x > 127:
        out, x = out + bytes([x & 127 | 128]), x >> 7
    return out + bytes([x])


def field(number, body):
    return vint(number << 3 | 2) + vint(len(body)) + body


def value(name, dims=(4,), kind=T.FLOAT):
    return h.make_tensor_value_info(name, kind, dims)


def node(op, inputs, outputs, **kwargs):
    return h.make_node(op, inputs, outputs, **kwargs)


def model(nodes=None, inputs=None, outputs=None, initializers=(), opset=17, functions=(), **kwargs):
    """By default x -> Relu -> y."""
    nodes = [node("Relu", ["x"], ["y"], name="/relu")] if nodes is None else nodes
    graph = h.make_graph(nodes, "main_graph", [value("x")] if inputs is None else inputs,
                         [value("y")] if outputs is None else outputs, list(initializers))
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("local", 1)],
                        functions=list(functions), ir_version=10, **kwargs)


def good():
    return model().SerializeToString()


def with_tensor(tensor):
    """x + the tensor, which is called w."""
    return model([node("Add", ["x", "w"], ["y"], name="/add")], initializers=[tensor]).SerializeToString()


def tensor(data=b"", dims=(4,), kind=T.FLOAT, **fields):
    t = T(name="w", data_type=kind, dims=dims, **fields)
    if data:
        t.raw_data = data
    return t


def external(folder, location=b"w.bin", size=16, dims=(4,), write=True, **keys):
    t = T(name="w", data_type=T.FLOAT, dims=dims, data_location=T.EXTERNAL)
    t.external_data.add(key="location", value=location)
    for key, text in keys.items():
        t.external_data.add(key=key, value=text)
    if write:
        (folder / "w.bin").write_bytes(bytes(size))
    return with_tensor(t)
