# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models whose graph is wrong: versions, operators, names and functions."""

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from pieces import case, field, model, node, tensor, value

# --- versions --------------------------------------------------------------------------------------------------------


@case("E0104", "IR version")
def ir_version_of_the_future(folder):
    m = model()
    m.ir_version = 99
    return m.SerializeToString()


@case("E0104", "no IR version")
def no_ir_version(folder):
    m = model()
    m.ClearField("ir_version")
    return m.SerializeToString()


@case("E0104", "known are 1 to")
def negative_ir_version(folder):
    m = model()
    m.ir_version = -3
    return m.SerializeToString()


@case("E0104", "operator set version 99 of the default domain")
def opset_of_the_future(folder):
    return model(opset=99).SerializeToString()


@case("E0104", "version 0")
def opset_zero(folder):
    return model(opset=0).SerializeToString()


@case("E0104", "imports no operator set of domain \"ai.onnx.ml\"")
def domain_not_imported(folder):
    return model([node("Scaler", ["x"], ["y"], domain="ai.onnx.ml")]).SerializeToString()


@case("E0207", "no graph")
def no_graph(folder):
    m = model()
    m.ClearField("graph")
    return m.SerializeToString()


@case("E0207", "no outputs")
def no_outputs(folder):
    return model(outputs=[]).SerializeToString()


# --- operators -------------------------------------------------------------------------------------------------------


@case("E0302", "unknown operator \"Relv\" of the default domain")
def unknown_operator(folder):
    return model([node("Relv", ["x"], ["y"], name="/typo")]).SerializeToString()


@case("E0302", "3 unknown operators in 4 nodes")
def all_unknown_operators_at_once(folder):
    return model([node("A", ["x"], ["a"], name="n1"), node("B", ["a"], ["b"], name="n2"),
                  node("A", ["b"], ["c"], name="n3"), node("A", ["c"], ["y"], domain="local", name="n4")]).SerializeToString()


@case("E0302", "new in version 20")
def operator_newer_than_the_opset(folder):
    return model([node("Gelu", ["x"], ["y"])]).SerializeToString()


@case("E0302", "does not import")
def unknown_domain(folder):
    return model([node("Foo", ["x"], ["y"], domain="nowhere")]).SerializeToString()


@case("E0302", "\\u{202e}")
def name_that_reorders_text(folder):
    return model([node("\u202eevil\x1b[2J", ["x"], ["y"])]).SerializeToString()


@case("E0302", "\\xff\\xfe")
def name_that_is_not_utf8(folder):
    body = field(1, b"x") + field(2, b"y") + field(4, b"\xff\xfe")
    graph = field(1, body) + field(12, field(1, b"y"))
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, graph + field(11, value("x").SerializeToString()))


@case("E0303", "is an integer, must be a float")
def attribute_of_the_wrong_type(folder):
    return model([node("LeakyRelu", ["x"], ["y"], alpha=1)]).SerializeToString()


@case("E0303", "has no attribute \"alpa\"")
def misspelt_attribute(folder):
    return model([node("LeakyRelu", ["x"], ["y"], alpa=1.0)]).SerializeToString()


@case("E0303", "\"axis\" is missing")
def missing_attribute(folder):
    return model([node("Concat", ["x", "x"], ["y"])]).SerializeToString()


@case("E0303", "given twice")
def attribute_twice(folder):
    n = node("LeakyRelu", ["x"], ["y"], alpha=1.0)
    n.attribute.append(n.attribute[0])
    return model([n]).SerializeToString()


@case("E0303", "declared as a float but holds a list of integers")
def attribute_that_contradicts_itself(folder):
    n = node("LeakyRelu", ["x"], ["y"], alpha=1.0)
    n.attribute[0].ClearField("f")
    n.attribute[0].ints.append(3)
    return model([n]).SerializeToString()


@case("E0303", "values of 2 types")
def attribute_with_two_values(folder):
    n = node("LeakyRelu", ["x"], ["y"], alpha=1.0)
    n.attribute[0].s = b"no"
    return model([n]).SerializeToString()


@case("E0303", "outside of any function")
def attribute_reference_outside_of_functions(folder):
    n = node("LeakyRelu", ["x"], ["y"])
    n.attribute.add(name="alpha", ref_attr_name="a", type=onnx.AttributeProto.FLOAT)
    return model([n]).SerializeToString()


@case("E0303", "0 attributes, must have one value")
def constant_without_a_value(folder):
    return model([node("Constant", [], ["y"])]).SerializeToString()


@case("E0305", "has 2 inputs, must have 1")
def too_many_inputs(folder):
    return model([node("Relu", ["x", "x"], ["y"])]).SerializeToString()


@case("E0305", "has 1 inputs, must have 2 to 3")
def too_few_inputs(folder):
    return model([node("Gemm", ["x"], ["y"])]).SerializeToString()


@case("E0305", "has 2 outputs, must have 1")
def too_many_outputs(folder):
    return model([node("Relu", ["x"], ["y", "z"])]).SerializeToString()


# --- names -----------------------------------------------------------------------------------------------------------


@case("E0201", "\"nothing\" is used by a node")
def undefined_input(folder):
    return model([node("Add", ["x", "nothing"], ["y"])]).SerializeToString()


@case("E0201", "and the value \"n2\"")
def all_undefined_names_at_once(folder):
    return model([node("Add", ["n1", "n2"], ["y"])]).SerializeToString()


@case("E0201", "used by an output of the graph")
def undefined_output(folder):
    return model(outputs=[value("z")]).SerializeToString()


@case("E0201", "\"inner\"")
def name_of_another_branch(folder):
    then = h.make_graph([node("Relu", ["x"], ["inner"])], "t", [], [value("inner")])
    other = h.make_graph([node("Neg", ["inner"], ["o"])], "e", [], [value("o")])
    return model([node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
                 inputs=[value("x"), value("c", [], T.BOOL)]).SerializeToString()


@case("E0201", "no name")
def initializer_without_a_name(folder):
    t = tensor(bytes(16))
    t.name = ""
    return model(initializers=[t]).SerializeToString()


@case("E0202", "defined twice")
def two_nodes_of_one_output(folder):
    return model([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])]).SerializeToString()


@case("E0202", "first by an initializer")
def node_that_redefines_an_initializer(folder):
    return model([node("Relu", ["x"], ["y"])], initializers=[nh.from_array(np.zeros(4, np.float32), "y")]).SerializeToString()


@case("E0202", "defined twice")
def initializer_twice(folder):
    return model(initializers=[tensor(bytes(16)), tensor(bytes(16))]).SerializeToString()


@case("E0202", "defined twice")
def input_twice(folder):
    return model(inputs=[value("x"), value("x")]).SerializeToString()


@case("E0202", "listed twice")
def output_twice(folder):
    return model(outputs=[value("y"), value("y")]).SerializeToString()


@case("E0203", "\"a\" (Add) -> \"b\" (Relu) -> \"a\" (Add)")
def cycle(folder):
    return model([node("Add", ["x", "t"], ["s"], name="a"), node("Relu", ["s"], ["t"], name="b"),
                  node("Neg", ["t"], ["y"], name="c")]).SerializeToString()


@case("E0203", "a loop of 1 node")
def node_that_needs_itself(folder):
    return model([node("Add", ["x", "y"], ["y"], name="a")]).SerializeToString()


@case("E0203", "a loop of")
def cycle_through_a_subgraph(folder):
    branch = lambda n: h.make_graph([node("Relu", ["late"], [n])], n, [], [value(n)])
    return model([node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"), name="if"),
                  node("Neg", ["y"], ["late"])], inputs=[value("x"), value("c", [], T.BOOL)]).SerializeToString()


@case("E0203", "a loop of 100000 nodes")
def long_cycle(folder):
    n = 100_000
    body = b"".join(field(1, field(1, b"v%d" % i) + field(2, b"v%d" % ((i + 1) % n)) + field(4, b"Relu"))
                    for i in range(n))
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, body + field(12, field(1, b"v0")))


# --- functions -------------------------------------------------------------------------------------------------------


def function(name, nodes, inputs=("a",), outputs=("b",)):
    return h.make_function("local", name, list(inputs), list(outputs), nodes, [h.make_opsetid("", 17), h.make_opsetid("local", 1)])


def call(name, inputs, outputs):
    return node(name, inputs, outputs, domain="local")


@case("E0205", "calls itself")
def recursive_function(folder):
    return model([call("f", ["x"], ["y"])], functions=[function("f", [call("f", ["a"], ["b"])])]).SerializeToString()


@case("E0205", "local.f\" -> function \"local.g\" -> function \"local.f")
def functions_that_call_each_other(folder):
    return model([call("f", ["x"], ["y"])], functions=[
        function("f", [call("g", ["a"], ["b"])]), function("g", [call("f", ["a"], ["b"])])]).SerializeToString()


@case("E0206", "calls of the model's functions become 4 nodes, the limit is 3", "--max-inlined-nodes=3")
def more_inlined_nodes_than_asked_for(folder):
    f = function("f", [node("Relu", ["a"], ["c"]), node("Relu", ["c"], ["b"])])
    return model([call("f", ["x"], ["z"]), call("f", ["z"], ["y"])], functions=[f]).SerializeToString()


@case("E0206", "the graph has 7 nodes once its functions are inlined, the limit is 6", "--max-nodes=6")
def more_nodes_than_asked_for_once_inlined(folder):
    f = function("f", [node("Relu", ["a"], ["c"]), node("Relu", ["c"], ["b"])])
    return model([call("f", ["x"], ["z"]), call("f", ["z"], ["w"]), call("f", ["w"], ["v"]), node("Relu", ["v"], ["y"])],
                 functions=[f]).SerializeToString()


@case("E0206", "more than 2^64 nodes")
def billion_laughs(folder):
    functions = [function("f0", [node("Relu", ["a"], ["b"])])]
    for i in range(1, 70):
        functions.append(function(f"f{i}", [call(f"f{i - 1}", ["a"], ["c"]), call(f"f{i - 1}", ["c"], ["b"])]))
    return model([call("f69", ["x"], ["y"])], functions=functions).SerializeToString()


@case("E0103", "deep inside each other")
def long_chain_of_functions(folder):
    functions = [function("f0", [node("Relu", ["a"], ["b"])])]
    for i in range(1, 20_000):
        functions.append(function(f"f{i}", [call(f"f{i - 1}", ["a"], ["b"])]))
    return model([call("f19999", ["x"], ["y"])], functions=functions).SerializeToString()


@case("E0202", "defined twice")
def function_twice(folder):
    f = function("f", [node("Relu", ["a"], ["b"])])
    return model([call("f", ["x"], ["y"])], functions=[f, f]).SerializeToString()


@case("E0201", "\"x\" is used by a node")
def function_that_sees_its_caller(folder):
    return model([call("f", ["x"], ["y"])], functions=[function("f", [node("Add", ["a", "x"], ["b"])])]).SerializeToString()


@case("E0305", "is called with 2 inputs")
def function_with_too_many_inputs(folder):
    return model([call("f", ["x", "x"], ["y"])], functions=[function("f", [node("Relu", ["a"], ["b"])])]).SerializeToString()


@case("E0303", "no attribute of its function")
def reference_to_an_attribute_that_is_none(folder):
    n = node("LeakyRelu", ["a"], ["b"])
    n.attribute.add(name="alpha", ref_attr_name="nope", type=onnx.AttributeProto.FLOAT)
    return model([call("f", ["x"], ["y"])], functions=[function("f", [n])]).SerializeToString()
