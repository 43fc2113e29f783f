# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the pinned onnx package has is known; and derivatives."""

import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper

import lathe
from lathe.compiler import driver
from run_models import FLOAT, compile_model, model, value


def attributes(schema):
    """Something for each attribute that must be there, so that the model gets to the conversion."""
    kinds = onnx.defs.OpSchema.AttrType
    examples = {kinds.INT: 1, kinds.FLOAT: 1.0, kinds.STRING: "a", kinds.INTS: [1], kinds.FLOATS: [1.0], kinds.STRINGS: ["a"],
                kinds.TENSOR: helper.make_tensor("t", FLOAT, [1], [1.0]), kinds.GRAPH: helper.make_graph([], "empty", [], []),
                kinds.TYPE_PROTO: helper.make_tensor_type_proto(FLOAT, [1])}
    return {name: examples[attribute.type] for name, attribute in schema.attributes.items() if attribute.required}


def test_every_operator_with_a_function_body_is_converted(tmp_path):
    """None needs to be expanded."""
    schemas = {(schema.domain, schema.name): schema for schema in onnx.defs.get_all_schemas() if not schema.deprecated}
    newest = {domain: max(schema.since_version for schema in schemas.values() if schema.domain == domain)
              for domain in {schema.domain for schema in schemas.values()}}
    nodes = [helper.make_node(name, ["x"] * schema.min_input, [f"y{i}" for i in range(max(schema.min_output, 1))],
                              domain=domain, name=f"{domain}/{name}", **attributes(schema))
             for (domain, name), schema in schemas.items()
             if schema.has_function or schema.has_context_dependent_function]
    assert len(nodes) > 40
    unknown = []
    for node in nodes:
        proto = helper.make_model(
            helper.make_graph([node], "graph", [value("x", FLOAT, 4)], [helper.make_empty_tensor_value_info(node.output[0])]),
            ir_version=10, opset_imports=[helper.make_opsetid(domain, newest[domain]) for domain in {node.domain, ""}])
        path = tmp_path / "m.onnx"
        path.write_bytes(proto.SerializeToString())
        done = subprocess.run([driver(), "check", path], capture_output=True, text=True, check=False)
        if "E0301" in done.stderr or "E0302" in done.stderr:
            unknown.append(node.name)
    assert unknown == []


def gradient(nodes, xs, y):
    outputs = [f"d{x}" for x in xs]
    return [*nodes, helper.make_node("Gradient", xs, outputs, domain="ai.onnx.preview.training", xs=xs, y=y, name="/gradient")], outputs


def with_training(proto):
    proto.opset_import.append(helper.make_opsetid("ai.onnx.preview.training", 1))
    return proto


def test_derivatives(tmp_path):
    """Against differences of the function in f64."""
    make = helper.make_node
    nodes = [make("MatMul", ["x", "w"], ["m"]), make("Add", ["m", "b"], ["a"]), make("Tanh", ["a"], ["t"]),
             make("Sigmoid", ["a"], ["s"]), make("Mul", ["t", "s"], ["p"]), make("Exp", ["p"], ["e"]), make("Sqrt", ["e"], ["q"]),
             make("Div", ["q", "c"], ["d"]), make("Sin", ["d"], ["i"]), make("Cos", ["d"], ["j"]), make("Sub", ["i", "j"], ["k"]),
             make("Relu", ["k"], ["r"]), make("Log", ["e"], ["l"]), make("Neg", ["l"], ["n"]), make("Add", ["r", "n"], ["y"])]
    nodes, outputs = gradient(nodes, ["x", "w", "b", "c"], "y")
    proto = with_training(model(nodes, [value("x", FLOAT, "N", 3), value("w", FLOAT, 3, 4), value("b", FLOAT, 4), value("c", FLOAT, 1, 4)],
                                outputs))
    random = np.random.default_rng(3)
    inputs = {"x": random.standard_normal((5, 3)), "w": random.standard_normal((3, 4)), "b": random.standard_normal(4),
              "c": random.uniform(1, 2, (1, 4))}

    def function(x, w, b, c):
        a = x @ w + b
        p = np.tanh(a) / (1 + np.exp(-a))
        d = np.sqrt(np.exp(p)) / c
        return (np.maximum(np.sin(d) - np.cos(d), 0) - p).sum()

    results = compile_model(proto, tmp_path)({name: array.astype(np.float32) for name, array in inputs.items()})
    for name, array in inputs.items():
        for index in np.ndindex(array.shape):
            step = np.zeros_like(array)
            step[index] = 1e-5
            difference = (function(**{**inputs, name: array + step}) - function(**{**inputs, name: array - step})) / 2e-5
            assert results[f"d{name}"][index] == pytest.approx(difference, rel=1e-4, abs=1e-4), (name, index)


@pytest.mark.parametrize("nodes, y, message", [
    ([helper.make_node("Softmax", ["x"], ["y"])], "y", "the derivative of Softmax"),
    ([helper.make_node("Exp", ["x"], ["y"])], "z", 'y is "z", which no node before this one computes')])
def test_derivatives_that_are_refused(tmp_path, nodes, y, message):
    nodes, outputs = gradient(nodes, ["x"], y)
    with pytest.raises(lathe.ModelError, match=message):
        compile_model(with_training(model(nodes, [value("x", FLOAT, 4)], outputs)), tmp_path)
