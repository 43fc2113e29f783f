# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models with one thing wrong each, and the error that each must give.

A case is a function that returns the model's bytes (or None if it wrote `folder/model.onnx` itself) and is decorated
with the expected code and a piece of the message. `folder` is where external data goes."""

import os
import socket

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

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


# --- the file -------------------------------------------------------------------------------------------------------


@case("E0101", "empty")
def empty(folder):
    return b""


@case("E0102", "ends in the middle")
def truncated_to_half(folder):
    return good()[: len(good()) // 2]


@case("E0102", "ends in the middle")
def truncated_by_one_byte(folder):
    return good()[:-1]


@case("E0101", "no ONNX model")
def random_bytes(folder):
    return np.random.default_rng(1).bytes(4096)


@case("E0101", "no ONNX model")
def zeros(folder):
    return bytes(4096)


@case("E0101", "no ONNX model")
def text(folder):
    return b"This is a text file, and not a model.\n" * 100


@case("E0101", "text form")
def text_of_a_model(folder):
    return b"ir_version: 8\ngraph { name: \"g\" }\n"


@case("E0101", "text form")
def json(folder):
    return b'{"irVersion": "8"}'


@case("E0101", "git lfs pull")
def lfs_pointer(folder):
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@case("E0102", "behind the end")
def trailing_field(folder):
    return good() + field(99, b"junk")


@case("E0102", "field")
def trailing_text(folder):
    return good() + b"junk that is no field"


@case("E0102", "number 0")
def trailing_zeros(folder):
    return good() + bytes(16)


@case("E0102", "second graph")
def two_models(folder):
    return good() + good()


@case("E0102", "longer than 64 bits")
def endless_number(folder):
    return b"\x08\x08" + b"\x08" + b"\xff" * 20


@case("E0102", "wire type 3")
def group(folder):
    return b"\x08\x08" + vint(9 << 3 | 3) + vint(9 << 3 | 4)


@case("E0102", "wire type")
def number_in_place_of_text(folder):
    return b"\x08\x08" + field(7, field(1, vint(1 << 3) + b"\x05"))


@case("E0102", "beyond the end of its message")
def length_beyond_the_message(folder):
    graph = field(1, vint(1 << 3 | 2) + b"\x7f") + field(2, b"x" * 200)
    return b"\x08\x08" + field(7, graph)


@case("E0102", "middle of a field")
def length_beyond_64_bits(folder):
    return b"\x08\x08" + vint(7 << 3 | 2) + vint(2**64 - 1)


@case("E0103", "deep inside each other")
def nested_messages(folder):
    body = b""
    for _ in range(3000):
        body = field(1, field(5, field(6, body)))
    return b"\x08\x08" + field(7, body)


@case("E0103", "deep inside each other")
def nested_types(folder):
    kind = b""
    for _ in range(2000):
        kind = field(4, field(1, kind))
    return b"\x08\x08" + field(7, field(11, field(1, b"x") + field(2, kind)))


@case("E0103", "messages and strings")
def too_many_messages(folder):
    return b"\x08\x08" + field(7, b"\x6a\x00" * 5_000_000)


@case("E0103", "structure")
def too_much_structure(folder):
    return b"\x08\x08" + field(7, field(2, b"x" * (65 << 20)))


@case("E0206", "more than 200000 nodes")
def a_million_nodes(folder):
    chain = b"".join(field(1, field(1, b"v%d" % i) + field(2, b"v%d" % (i + 1)) + field(4, b"Relu"))
                     for i in range(1_000_000))
    return b"\x08\x08" + field(7, chain)


@case("E0206", "more than 3 nodes", "--max-nodes=3")
def more_nodes_than_asked_for(folder):
    return model([node("Relu", [f"{i}" if i else "x"], [f"{i + 1}" if i < 3 else "y"]) for i in range(4)]).SerializeToString()


@case("E0206", "more than 200000 nodes")
def empty_nodes(folder):
    return b"\x08\x08" + field(7, b"\x0a\x00" * 5_000_000)


@case("E0002", "regular file")
def model_is_a_folder(folder):
    (folder / "model.onnx").mkdir()


@case("E0002", "regular file")
def model_is_a_pipe(folder):
    os.mkfifo(folder / "model.onnx")


@case("E0002", "cannot open")
def no_file(folder):
    return None


# --- versions -------------------------------------------------------------------------------------------------------


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


# --- operators ------------------------------------------------------------------------------------------------------


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


# --- names ----------------------------------------------------------------------------------------------------------


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


# --- functions ------------------------------------------------------------------------------------------------------


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


@case("E0206", "once its functions are inlined")
def billion_laughs(folder):
    functions = [function("f0", [node("Relu", ["a"], ["b"])])]
    for i in range(1, 60):
        functions.append(function(f"f{i}", [call(f"f{i - 1}", ["a"], ["c"]), call(f"f{i - 1}", ["c"], ["b"])]))
    return model([call("f59", ["x"], ["y"])], functions=functions).SerializeToString()


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


# --- types and tensors ----------------------------------------------------------------------------------------------


@case("E0204", "element type 77")
def unknown_element_type_of_an_input(folder):
    return model(inputs=[value("x", kind=77)]).SerializeToString()


@case("E0204", "has element type 77")
def unknown_element_type_of_a_tensor(folder):
    return with_tensor(tensor(bytes(16), kind=77))


@case("E0204", "has element type 0")
def undefined_element_type(folder):
    return with_tensor(tensor(bytes(16), kind=0))


@case("E0204", "dimension 0 is -1")
def negative_dimension_of_an_input(folder):
    return model(inputs=[value("x", [-1, 4])]).SerializeToString()


@case("E0204", "dimension 0 is -4")
def negative_dimension_of_a_tensor(folder):
    return with_tensor(tensor(bytes(16), dims=[-4]))


@case("E0204", "tensor \"w\": the product of dimensions overflows")
def dimensions_that_overflow(folder):
    return with_tensor(tensor(bytes(16), dims=[2**32, 2**32]))


@case("E0204", "overflow")
def zero_does_not_hide_an_overflow(folder):
    return with_tensor(tensor(dims=[0, 2**40, 2**40]))


@case("E0204", "dimension 0 is 9223372036854775807")
def huge_dimension(folder):
    return model(inputs=[value("x", [2**63 - 1])]).SerializeToString()


@case("E0103", "rank 2000")
def huge_rank(folder):
    return model(inputs=[value("x", [1] * 2000)]).SerializeToString()


@case("E0204", "has no type")
def input_without_a_type(folder):
    return model(inputs=[onnx.ValueInfoProto(name="x")]).SerializeToString()


@case("E0109", "has 12 bytes, its shape and element type need 16")
def initializer_too_short(folder):
    return with_tensor(tensor(bytes(12)))


@case("E0109", "has 20 bytes, its shape and element type need 16")
def initializer_too_long(folder):
    return with_tensor(tensor(bytes(20)))


@case("E0109", "need 562949953421312")
def initializer_of_terabytes(folder):
    return with_tensor(tensor(bytes(16), dims=[2**47]))


@case("E0109", "has no data")
def initializer_without_data(folder):
    return with_tensor(tensor())


@case("E0109", "both raw and typed")
def raw_and_typed(folder):
    return with_tensor(tensor(bytes(16), float_data=[1.0, 2.0, 3.0, 4.0]))


@case("E0109", "in another field than float_data")
def values_in_the_wrong_field(folder):
    return with_tensor(tensor(int32_data=[1, 2, 3, 4]))


@case("E0109", "has 3 values, its shape needs 4")
def too_few_values(folder):
    return with_tensor(tensor(kind=T.INT64, int64_data=[1, 2, 3]))


@case("E0109", "cannot hold")
def value_too_large_for_its_type(folder):
    return with_tensor(tensor(kind=T.INT8, int32_data=[1, 2, 3, 300]))


@case("E0109", "need 2")
def packed_int4_of_odd_length(folder):
    return with_tensor(tensor(bytes(1), dims=[3], kind=T.INT4))


@case("E0109", "strings, which cannot be raw")
def raw_strings(folder):
    return with_tensor(tensor(bytes(16), kind=T.STRING))


def sparse(indices, dims, values=2):
    m = model()
    s = m.graph.sparse_initializer.add(dims=dims)
    s.values.CopyFrom(nh.from_array(np.ones(values, np.float32), "w"))
    s.indices.CopyFrom(nh.from_array(np.array(indices, np.int64), "i"))
    return m.SerializeToString()


@case("E0109", "must be from 0 to 9")
def sparse_index_out_of_bounds(folder):
    return sparse([0, 10], [10])


@case("E0109", "must be from 0 to 9")
def negative_sparse_index(folder):
    return sparse([-1, 2], [10])


@case("E0109", "repeats or precedes")
def sparse_index_twice(folder):
    return sparse([3, 3], [10])


@case("E0109", "do not fit each other")
def sparse_indices_of_another_count(folder):
    return sparse([1, 2, 3], [10])


@case("E0103", "the limit is")
def sparse_bomb(folder):
    return sparse([[0, 0], [1, 1]], [2**20, 2**20])


# --- external data --------------------------------------------------------------------------------------------------


@case("E0105", "absolute path")
def external_absolute(folder):
    return external(folder, "/etc/passwd")


@case("E0105", "leaves the model's folder")
def external_parent(folder):
    return external(folder, "../w.bin")


@case("E0105", "leaves the model's folder")
def external_hidden_parent(folder):
    return external(folder, "a/b/../../../w.bin")


@case("E0105", "has no name")
def external_without_a_name(folder):
    return external(folder, "")


@case("E0105", "is a folder")
def external_is_the_folder(folder):
    return external(folder, "./")


@case("E0105", "regular file")
def external_folder(folder):
    (folder / "d").mkdir()
    return external(folder, "d")


@case("E0105", "regular file")
def external_pipe(folder):
    os.mkfifo(folder / "p")
    return external(folder, "p")


@case("E0105", "regular file")
def external_socket(folder):
    before = os.getcwd()
    os.chdir(folder)  # a socket's path is short
    socket.socket(socket.AF_UNIX).bind("s")
    os.chdir(before)
    return external(folder, "s")


@case("E0105", "zero byte")
def external_with_a_zero_byte(folder):
    return external(folder, "w.bin\0.txt")


@case("E0105", "without a location")
def external_without_a_location(folder):
    t = T(name="w", data_type=T.FLOAT, dims=[4], data_location=T.EXTERNAL)
    return with_tensor(t)


@case("E0105", "unknown key \"basepath\"")
def external_with_a_foreign_key(folder):
    return external(folder, basepath="/etc")


@case("E0105", "twice")
def external_with_two_locations(folder):
    t = T(name="w", data_type=T.FLOAT, dims=[4], data_location=T.EXTERNAL)
    t.external_data.add(key="location", value="w.bin")
    t.external_data.add(key="location", value="v.bin")
    return with_tensor(t)


@case("E0106", "cannot open external data")
def external_missing(folder):
    return external(folder, write=False)


@case("E0106", "lies at 4 with 16 bytes")
def external_beyond_the_end(folder):
    return external(folder, offset="4")


@case("E0106", "lies at 0 with 16 bytes")
def external_empty_file(folder):
    return external(folder, size=0)


@case("E0106", "must be a decimal number")
def external_negative_offset(folder):
    return external(folder, offset="-4")


@case("E0106", "must be a decimal number")
def external_offset_that_overflows(folder):
    return external(folder, offset="18446744073709551612")


@case("E0106", "must be a decimal number")
def external_offset_with_a_space(folder):
    return external(folder, offset=" 0")


@case("E0106", "must be a decimal number")
def external_hexadecimal_offset(folder):
    return external(folder, offset="0x0")


@case("E0106", "has 12 bytes of external data")
def external_of_another_length(folder):
    return external(folder, length="12")


@case("E0109", "both external data and data in the model")
def external_and_raw(folder):
    t = tensor(bytes(16), data_location=T.EXTERNAL)
    t.external_data.add(key="location", value="w.bin")
    return with_tensor(t)


def linked(folder, make):
    (folder / "real.bin").write_bytes(bytes(16))
    make(folder / "real.bin", folder / "w.bin")
    return external(folder, write=False)


@case("E0107", "--allow-linked-data")
def external_symbolic_link(folder):
    return linked(folder, lambda to, at: at.symlink_to(to))


@case("E0107", "--allow-linked-data", "--avoid-openat2")
def external_symbolic_link_without_openat2(folder):
    return linked(folder, lambda to, at: at.symlink_to(to))


@case("E0107", "2 hard links")
def external_hard_link(folder):
    return linked(folder, lambda to, at: os.link(to, at))


def behind_a_link(folder):
    (folder / "d").mkdir()
    (folder / "d" / "w.bin").write_bytes(bytes(16))
    (folder / "e").symlink_to("d")
    return external(folder, "e/w.bin")


@case("E0107", "lies behind one")
def external_behind_a_linked_folder(folder):
    return behind_a_link(folder)


@case("E0107", "lies behind one", "--avoid-openat2")
def external_behind_a_linked_folder_without_openat2(folder):
    return behind_a_link(folder)
