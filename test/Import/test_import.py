# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the importer makes of good models."""

import os
import re

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh


def value(name, dims=(4,), kind=T.FLOAT):
    return h.make_tensor_value_info(name, kind, dims)


def model(nodes, inputs=None, outputs=None, initializers=(), opset=17, functions=(), **kwargs):
    graph = h.make_graph(nodes, "main_graph", [value("x")] if inputs is None else inputs,
                         [value("y")] if outputs is None else outputs, list(initializers))
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("local", 1)],
                        functions=list(functions), ir_version=10, **kwargs)


def vint(x):
    return bytes([x]) if x < 128 else bytes([x & 127 | 128]) + vint(x >> 7)


def field(number, body):
    return vint(number << 3 | 2) + vint(len(body)) + body


@pytest.fixture
def ir(importer, tmp_path):
    """The IR of a model as text."""

    def run(m, *options):
        path = tmp_path / "model.onnx"
        path.write_bytes(m if isinstance(m, bytes) else m.SerializeToString())
        result = importer(*options, path)
        assert result.code == 0, result.err.decode()
        assert result.err == b""
        return result.out.decode()

    return run


def operators(text):
    return re.findall(r'onnx\.node "(\w+)"', text)


def test_order_of_the_file_stays_where_it_is_good(ir):
    nodes = [h.make_node(op, ["x"], [op]) for op in ("Tan", "Abs", "Neg", "Cos")] + [h.make_node("Relu", ["x"], ["y"])]
    assert operators(ir(model(nodes))) == ["Tan", "Abs", "Neg", "Cos", "Relu"]


def test_nodes_are_sorted_stably(ir):
    nodes = [h.make_node("Relu", ["b"], ["y"]), h.make_node("Tan", ["x"], ["t"]), h.make_node("Neg", ["a"], ["b"]),
             h.make_node("Abs", ["x"], ["a"])]
    assert operators(ir(model(nodes))) == ["Tan", "Abs", "Neg", "Relu"]


def test_a_subgraph_sees_the_values_around_it_and_orders_its_node(ir):
    branch = lambda op, n: h.make_graph([h.make_node(op, ["late"], [n])], n, [], [value(n)])
    text = ir(model([h.make_node("If", ["c"], ["y"], then_branch=branch("Relu", "t"), else_branch=branch("Neg", "e")),
                     h.make_node("Abs", ["x"], ["late"])], inputs=[value("x"), value("c", [], T.BOOL)]))
    assert operators(text) == ["Abs", "If", "Neg", "Relu"] or operators(text) == ["Abs", "If", "Relu", "Neg"]
    late = re.search(r'(%\d+) = onnx.node "Abs"', text).group(1)
    assert f'"Neg"({late})' in text and f'"Relu"({late})' in text


def test_loop_bodies_have_arguments(ir):
    body = h.make_graph([h.make_node("Add", ["s", "x"], ["t"]), h.make_node("Identity", ["c"], ["d"])], "body",
                        [value("i", [], T.INT64), value("c", [], T.BOOL), value("s")],
                        [value("d", [], T.BOOL), value("t")])
    text = ir(model([h.make_node("Loop", ["n", "", "x"], ["y"], body=body)], inputs=[value("x"), value("n", [], T.INT64)]))
    assert re.search(r"\^bb0\(%\w+: tensor<i64>, %\w+: tensor<i1>, %\w+: tensor<4xf32>\)", text)
    assert 'subgraphs ["body"]' in text


def test_names_of_values_and_dimensions(ir):
    text = ir(model([h.make_node("Relu", ["in.put"], ["out put"], name="/relu")], inputs=[value("in.put", ["B", 4, None])],
                    outputs=[value("out put", ["B", 4, "past + 1"])]))
    assert 'tensor<?x4x?xf32> {lathe.dims = ["B", "", ""], lathe.name = "in.put"}' in text
    assert '{lathe.dims = ["B", "", "past + 1"], lathe.name = "out put"}' in text
    assert 'outputs ["out put"]' in text


def test_every_node_knows_its_place(ir):
    branch = lambda n: h.make_graph([h.make_node("Relu", ["x"], [n], name="/in" + n)], n, [], [value(n)])
    text = ir(model([h.make_node("Identity", ["x"], ["z"]),
                     h.make_node("If", ["c"], ["y"], name="/gate", then_branch=branch("t"), else_branch=branch("e"))],
                    inputs=[value("x"), value("c", [], T.BOOL)]), "--locations")
    assert re.search(r'domain = "", graph = \["graph \\22main_graph\\22"\], index = 1 : i64, node = "/gate", '
                     r'op = "If", opset = 17', text)
    assert re.search(r'graph = \["graph \\22main_graph\\22", "If \\22/gate\\22 then_branch"\], index = 0 : i64, '
                     r'node = "/int", op = "Relu"', text)


def test_absent_inputs_and_outputs(ir):
    text = ir(model([h.make_node("Clip", ["x", "", "m"], ["y"]), h.make_node("Clip", ["x", "m", ""], ["z"]),
                     h.make_node("Dropout", ["x"], ["d", ""])],
                    initializers=[nh.from_array(np.float32(3), "m")]))
    none = re.search(r"(%\d+) = onnx.none", text).group(1)
    assert re.search(rf'"Clip"\(%arg0, {none}, %cst', text)
    assert re.search(r'"Clip"\(%arg0, %cst\w*\) ', text)
    assert 'outputs ["d", ""]' in text and "-> (!onnx.unknown, none)" in text


def test_small_tensors_are_constants_and_large_ones_weights(ir):
    text = ir(model([h.make_node("Add", ["x", "s"], ["a"]), h.make_node("Add", ["a", "l/w:0"], ["y"])],
                    inputs=[value("x", [257])], outputs=[value("y", [257])],
                    initializers=[nh.from_array(np.zeros(256, np.float32), "s"),
                                  nh.from_array(np.ones(257, np.float32), "l/w:0")]))
    assert "arith.constant dense<0.000000e+00> : tensor<256xf32>" in text
    assert 'nn.weight private @l_w_0 : tensor<257xf32> = dense_resource<l_w_0> {onnx_name = "l/w:0"}' in text
    assert "nn.weight_use @l_w_0 : tensor<257xf32>" in text


def test_symbols_stay_unique(ir):
    names = ["a/b", "a.b", "a:b", "a_b", "main", "1"]
    tensors = [nh.from_array(np.arange(300, dtype=np.float32), n) for n in names]
    text = ir(model([h.make_node("Sum", ["x", *names], ["y"])], inputs=[value("x", [300])], initializers=tensors))
    symbols = re.findall(r"nn\.weight private @(\S+) ", text)
    assert len(set(symbols)) == len(names)


def test_unused_initializers_are_left_out(ir):
    text = ir(model([h.make_node("Relu", ["x"], ["y"])], initializers=[nh.from_array(np.ones(999, np.float32), "w")]))
    assert "nn.weight" not in text and "constant" not in text


def test_an_input_with_an_initializer_is_no_input(ir):
    text = ir(model([h.make_node("Add", ["x", "w"], ["y"])], inputs=[value("x"), value("w")],
                    initializers=[nh.from_array(np.ones(4, np.float32), "w")]))
    assert "%arg1" not in text and "arith.constant" in text


def test_constant_nodes(ir):
    nodes = [h.make_node("Constant", [], ["a"], value=nh.from_array(np.arange(1000, dtype=np.int64))),
             h.make_node("Constant", [], ["b"], value_float=2.5), h.make_node("Constant", [], ["c"], value_ints=[3, 4]),
             h.make_node("Constant", [], ["d"], value_strings=["cat", "dog"]),
             h.make_node("Constant", [], ["e"])]
    nodes[-1].attribute.add(name="value_ints", type=onnx.AttributeProto.INTS)
    text = ir(model(nodes, inputs=[], outputs=[onnx.ValueInfoProto(name=n) for n in "abcde"]))
    assert "nn.weight private @a : tensor<1000xi64>" in text
    assert "dense<2.500000e+00> : tensor<f32>" in text and "dense<[3, 4]> : tensor<2xi64>" in text
    assert 'onnx.constant dense<["cat", "dog"]> : tensor<2x!onnx.string>' in text
    assert "dense<> : tensor<0xi64>" in text


NUMBERS = [(T.FLOAT, np.float32, "f32"), (T.DOUBLE, np.float64, "f64"), (T.FLOAT16, np.float16, "f16"),
           (T.BFLOAT16, ml_dtypes.bfloat16, "bf16"), (T.INT8, np.int8, "i8"), (T.UINT8, np.uint8, "ui8"),
           (T.INT16, np.int16, "i16"), (T.UINT16, np.uint16, "ui16"), (T.INT32, np.int32, "i32"),
           (T.UINT32, np.uint32, "ui32"), (T.INT64, np.int64, "i64"), (T.UINT64, np.uint64, "ui64"),
           (T.INT4, ml_dtypes.int4, "i4"), (T.UINT4, ml_dtypes.uint4, "ui4"), (T.INT2, ml_dtypes.int2, "i2"),
           (T.UINT2, ml_dtypes.uint2, "ui2"), (T.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn, "f8E4M3FN"),
           (T.FLOAT8E5M2, ml_dtypes.float8_e5m2, "f8E5M2"), (T.FLOAT4E2M1, ml_dtypes.float4_e2m1fn, "f4E2M1FN")]


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("kind,dtype,name", NUMBERS, ids=[n[2] for n in NUMBERS])
def test_element_types(ir, kind, dtype, name, raw):
    signed = not name.startswith("ui")
    numbers = np.array([1, 0, -1 if signed else 3, 1, 0], dtype)
    t = nh.from_array(numbers, "w")
    if not raw:
        if kind in (T.INT4, T.UINT4, T.INT2, T.UINT2, T.FLOAT4E2M1, T.FLOAT16, T.BFLOAT16) or name.startswith("f8"):
            width = 16 if kind in (T.FLOAT16, T.BFLOAT16) else 8
            data = np.frombuffer(t.raw_data, np.uint16 if width == 16 else np.uint8)
            t = T(name="w", data_type=kind, dims=[5], int32_data=[int(v) for v in data])
        else:
            t = h.make_tensor("w", kind, [5], [v.item() for v in numbers])
    text = ir(model([h.make_node("Identity", ["w"], ["y"])], initializers=[t], outputs=[onnx.ValueInfoProto(name="y")]))
    last = -1 if signed else 3
    expected = "[1, 0, %d, 1, 0]" % last
    if not name.startswith(("i", "u")):
        expected = "[1.000000e+00, 0.000000e+00, -1.000000e+00, 1.000000e+00, 0.000000e+00]"
    assert f"arith.constant dense<{expected}> : tensor<5x{name}>" in text


def test_bools(ir):
    for t in (nh.from_array(np.array([True, False, True]), "w"), h.make_tensor("w", T.BOOL, [3], [1, 0, 1])):
        text = ir(model([h.make_node("Identity", ["w"], ["y"])], initializers=[t], outputs=[onnx.ValueInfoProto(name="y")]))
        assert "dense<[true, false, true]> : tensor<3xi1>" in text


def test_complex_numbers(ir):
    t = nh.from_array(np.array([1 + 2j], np.complex64), "w")
    text = ir(model([h.make_node("Identity", ["w"], ["y"])], initializers=[t], outputs=[onnx.ValueInfoProto(name="y")]))
    assert "dense<(1.000000e+00,2.000000e+00)> : tensor<1xcomplex<f32>>" in text


def test_sparse_initializers_become_dense(ir):
    m = model([h.make_node("Add", ["x", "w"], ["y"])])
    s = m.graph.sparse_initializer.add(dims=[2, 2])
    s.values.CopyFrom(nh.from_array(np.array([5, 7], np.float32), "w"))
    s.indices.CopyFrom(nh.from_array(np.array([[0, 1], [1, 0]], np.int64), "i"))
    assert "dense<[[0.000000e+00, 5.000000e+00], [7.000000e+00, 0.000000e+00]]> : tensor<2x2xf32>" in ir(m)


def leaky(**attributes):
    n = h.make_node("LeakyRelu", ["a"], ["t"], name="leak")
    for name, reference in attributes.items():
        n.attribute.add(name=name, ref_attr_name=reference, type=onnx.AttributeProto.FLOAT)
    return [n, h.make_node("Neg", ["t"], ["b"], name="neg")]


def function(nodes, **kwargs):
    return h.make_function("local", "f", ["a"], ["b"], nodes, [h.make_opsetid("", 17)], **kwargs)


def test_functions_are_inlined_under_their_callers_name(ir):
    text = ir(model([h.make_node("f", ["x"], ["y"], domain="local", name="/call", slope=0.5)],
                    functions=[function(leaky(alpha="slope"), attributes=["slope"])]), "--locations")
    assert operators(text) == ["LeakyRelu", "Neg"]
    assert "{alpha = 5.000000e-01 : f32}" in text
    assert 'outputs ["/call/t"]' in text and 'outputs ["y"]' in text
    assert 'node = "/call/leak"' in text and 'function \\22local.f\\22 called by' in text


def test_defaults_of_function_attributes(ir):
    f = function(leaky(alpha="slope"), attribute_protos=[h.make_attribute("slope", 0.25)])
    text = ir(model([h.make_node("f", ["x"], ["y"], domain="local")], functions=[f]))
    assert "{alpha = 2.500000e-01 : f32}" in text


def test_absent_function_attributes_stay_absent(ir):
    text = ir(model([h.make_node("f", ["x"], ["y"], domain="local")],
                    functions=[function(leaky(alpha="slope"), attributes=["slope"])]))
    assert 'onnx.node "LeakyRelu"(%arg0) version 17 {}' in text


def test_a_weight_in_a_function_exists_once(ir):
    nodes = [h.make_node("Constant", [], ["w"], value=nh.from_array(np.ones(500, np.float32))),
             h.make_node("Add", ["a", "w"], ["b"])]
    calls = [h.make_node("f", ["x"], ["z"], domain="local"), h.make_node("f", ["z"], ["y"], domain="local")]
    text = ir(model(calls, functions=[function(nodes)]))
    assert text.count("nn.weight private") == 1 and text.count("nn.weight_use") == 2


def test_two_imports_of_one_domain(ir):
    m = model([h.make_node("Relu", ["x"], ["y"])])
    m.opset_import.append(h.make_opsetid("ai.onnx", 18))
    assert "version 18" in ir(m)


def test_metadata(ir):
    m = model([h.make_node("Relu", ["x"], ["y"])], producer_name="me", producer_version="1.2")
    h.set_model_props(m, {"author": "someone"})
    text = ir(m)
    assert 'lathe.graph_name = "main_graph"' in text and 'lathe.producer = "me 1.2"' in text
    assert 'lathe.metadata = {author = "someone"}' in text


def fingerprint(text):
    return re.search(r'lathe.fingerprint = "([0-9a-f]{16})"', text).group(1)


def test_fingerprint_follows_weights_and_structure_but_not_documentation(ir):
    def made(last=1.0, op="Add", doc=""):
        w = np.ones(5000, np.float32)
        w[-1] = last
        return model([h.make_node(op, ["x", "w"], ["y"])], initializers=[nh.from_array(w, "w")], doc_string=doc)

    first = fingerprint(ir(made()))
    assert first == fingerprint(ir(made()))
    assert first != fingerprint(ir(made(last=2.0)))
    assert first != fingerprint(ir(made(op="Sub")))


def test_a_model_in_memory_is_the_same(ir):
    m = model([h.make_node("Add", ["x", "w"], ["y"])], initializers=[nh.from_array(np.ones(500, np.float32), "w")])
    assert ir(m) == ir(m, "--from-memory")


# --- external data --------------------------------------------------------------------------------------------------


def external(folder, **keys):
    (folder / "sub").mkdir()
    (folder / "sub" / "w.bin").write_bytes(bytes(3) + np.arange(4, dtype=np.float32).tobytes())
    t = T(name="w", data_type=T.FLOAT, dims=[4], data_location=T.EXTERNAL)
    for key, text in {"location": "sub/../sub/./w.bin", "offset": "3", **keys}.items():
        t.external_data.add(key=key, value=text)
    return model([h.make_node("Add", ["x", "w"], ["y"])], initializers=[t])


@pytest.mark.parametrize("options", [[], ["--avoid-openat2"], ["--allow-linked-data"]], ids=str)
@pytest.mark.parametrize("keys", [{}, {"length": "16", "checksum": "0" * 40}], ids=["offset", "all"])
def test_external_data(ir, tmp_path, options, keys):
    assert "dense<[0.000000e+00, 1.000000e+00, 2.000000e+00, 3.000000e+00]>" in ir(external(tmp_path, **keys), *options)


@pytest.mark.parametrize("make", [lambda to, at: at.symlink_to(to), lambda to, at: os.link(to, at)],
                         ids=["symbolic", "hard"])
def test_linked_external_data_on_request(ir, tmp_path, make):
    m = external(tmp_path)
    (tmp_path / "sub" / "w.bin").rename(tmp_path / "blob")
    make(tmp_path / "blob", tmp_path / "sub" / "w.bin")
    assert "dense<[0.000000e+00, 1.000000e+00" in ir(m, "--allow-linked-data")


def test_thousands_of_external_files(ir, tmp_path):
    tensors = []
    for i in range(2000):
        (tmp_path / f"w{i}").write_bytes(bytes(8))
        t = T(name=f"w{i}", data_type=T.FLOAT, dims=[2], data_location=T.EXTERNAL)
        t.external_data.add(key="location", value=f"w{i}")
        tensors.append(t)
    ir(model([h.make_node("Sum", ["x"] + [t.name for t in tensors], ["y"])], initializers=tensors))


# --- size -----------------------------------------------------------------------------------------------------------


def test_a_weight_over_2_gib_in_the_file_is_not_copied(importer, tmp_path):
    size = 3 << 30
    head = b"\x08" + vint(size // 4) + b"\x10\x01" + field(8, b"w") + vint(9 << 3 | 2) + vint(size)
    rest = (field(1, field(1, b"w") + field(2, b"y") + field(4, b"Identity")) + field(2, b"g") + field(12, field(1, b"y")))
    initializer = vint(5 << 3 | 2) + vint(len(head) + size) + head
    path = tmp_path / "big.onnx"
    with open(path, "wb") as out:
        out.write(b"\x08\x08" + field(8, b"\x10\x11") + vint(7 << 3 | 2) + vint(len(rest) + len(initializer) + size))
        out.write(rest + initializer)
        out.truncate(out.tell() + size)
    result = importer("--no-fingerprint", path)
    assert result.code == 0, result.err.decode()
    assert b"nn.weight private @w : tensor<805306368xf32>" in result.out
    assert result.seconds < 2


def test_large_typed_data_is_not_structure(ir):
    t = h.make_tensor("w", T.INT64, [3_000_000], np.full(3_000_000, -1, np.int64))
    text = ir(model([h.make_node("Identity", ["w"], ["y"])], initializers=[t], outputs=[onnx.ValueInfoProto(name="y")]))
    assert "nn.weight private @w : tensor<3000000xi64>" in text


def chain(nodes):
    made = [h.make_node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}" if i + 1 < nodes else "y"]) for i in range(nodes)]
    return made


def test_a_chain_of_the_limits_length(ir):
    assert len(operators(ir(model(chain(200_000)[::-1])))) == 200_000


def test_the_limit_on_nodes_can_be_raised(ir):
    assert len(operators(ir(model(chain(200_001)), "--max-nodes=300000"))) == 200_001


def test_subgraphs_a_hundred_deep(ir):
    # The package itself refuses messages this deep.
    graph = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Relu"))
    other = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Neg")) + field(12, field(1, b"y"))
    for _ in range(100):
        branch = lambda name, g: field(5, field(1, name) + field(6, g) + vint(20 << 3) + b"\x05")
        graph = field(1, field(1, b"c") + field(2, b"y") + field(4, b"If") + branch(b"then_branch", graph + field(12, field(1, b"y"))) +
                      branch(b"else_branch", other))
    inputs = field(11, value("x").SerializeToString()) + field(11, value("c", [], T.BOOL).SerializeToString())
    text = ir(b"\x08\x08" + field(8, b"\x10\x11") + field(7, graph + inputs + field(12, field(1, b"y"))))
    assert operators(text).count("If") == 100


def test_attributes_of_all_kinds(ir):
    """Lists of texts and numbers, tensors, sparse tensors and types."""
    sparse = h.make_sparse_tensor(nh.from_array(np.array([3.0], np.float32)), nh.from_array(np.array([1], np.int64)), [4])
    kind = h.make_sequence_type_proto(h.make_tensor_type_proto(T.FLOAT, ["N", 2]))
    nodes = [h.make_node("Constant", [], ["s"], sparse_value=sparse), h.make_node("Optional", [], ["o"], type=kind),
             h.make_node("StringNormalizer", ["t"], ["n"], stopwords=["der", "die"], locale="de"),
             h.make_node("ConstantOfShape", ["i"], ["f"], value=nh.from_array(np.array([2], np.int8))),
             h.make_node("LabelEncoder", ["x"], ["l"], domain="ai.onnx.ml", keys_floats=[1.5, 2.5], values_int64s=[4, 5])]
    m = model(nodes, inputs=[value("x"), value("t", [2], T.STRING), value("i", [1], T.INT64)],
              outputs=[onnx.ValueInfoProto(name=name) for name in "sonfl"])
    m.opset_import.append(h.make_opsetid("ai.onnx.ml", 2))
    text = ir(m)
    assert "dense<[0.000000e+00, 3.000000e+00, 0.000000e+00, 0.000000e+00]> : tensor<4xf32>" in text
    assert 'stopwords = ["der", "die"]' in text and 'locale = "de"' in text
    assert "!onnx.seq<tensor<?x2xf32>>" in text
    assert re.search(r"keys_floats = .*1\.5.*2\.5", text) and re.search(r"values_int64s = .*4, 5", text)
    assert "dense<2> : tensor<1xi8>" in text


def test_initializers_of_texts(ir):
    t = h.make_tensor("w", T.STRING, [2, 1], [b"cat", b"dog"])
    text = ir(model([h.make_node("Identity", ["w"], ["y"])], initializers=[t], outputs=[onnx.ValueInfoProto(name="y")]))
    assert 'onnx.constant dense<[["cat"], ["dog"]]> : tensor<2x1x!onnx.string>' in text


@pytest.mark.parametrize("kind,name", [(T.COMPLEX64, "f32"), (T.COMPLEX128, "f64")])
def test_typed_and_empty_complex_numbers(ir, kind, name):
    typed = h.make_tensor("w", kind, [1], [1 + 2j])
    empty = T(name="e", data_type=kind, dims=[0])
    text = ir(model([h.make_node("Concat", ["w", "e"], ["y"], axis=0)], initializers=[typed, empty],
                    outputs=[onnx.ValueInfoProto(name="y")]))
    assert f"(1.000000e+00,2.000000e+00)> : tensor<1xcomplex<{name}>>" in text and f"tensor<0xcomplex<{name}>>" in text
