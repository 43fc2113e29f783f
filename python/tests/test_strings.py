# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Operators on strings, compared with ONNX Runtime."""

import subprocess

import numpy as np
import pytest
from onnx import TensorProto, helper

import lathe
from lathe.compiler import driver
from run_models import FLOAT, INT64, compile_model, expected, graph, value

STRING, BOOL, DOUBLE = TensorProto.STRING, TensorProto.BOOL, TensorProto.DOUBLE
RANDOM = np.random.default_rng(11)
WORDS = ["red", "Green", "BLUE", "öl", "ÄRGER", "", "a b c", " two  blanks ", "x,y,,z", "a,b", "1.5", "日本 語"]


def model(nodes, inputs, outputs, opset=20, **initializers):
    nodes = nodes if isinstance(nodes, list) else [nodes]
    return helper.make_model(graph("graph", nodes, inputs, outputs, **initializers), ir_version=8,
                             opset_imports=[helper.make_opsetid("", opset)])


def words(*shape):
    return RANDOM.choice(np.array(WORDS, object), shape)


def check(proto, folder, *batches):
    compiled = compile_model(proto, folder)
    for inputs in batches:
        for (name, result), wanted in zip(compiled(inputs).items(), expected(proto, inputs)):
            wanted = np.asarray(wanted)
            assert result.shape == wanted.shape, name
            assert result.tolist() == wanted.tolist(), name
    return compiled


def test_strings_are_moved(tmp_path):
    nodes = [helper.make_node("Concat", ["a", "b"], ["ab"], axis=0), helper.make_node("Transpose", ["ab"], ["t"]),
             helper.make_node("Gather", ["t", "i"], ["g"], axis=1), helper.make_node("Shape", ["g"], ["shape"]),
             helper.make_node("Equal", ["a", "b"], ["same"]), helper.make_node("Where", ["same", "a", "b"], ["chosen"])]
    proto = model(nodes, [value("a", STRING, "N", 3), value("b", STRING, "N", 3), value("i", INT64, "K")],
                  ["g", "shape", "same", "chosen"])
    check(proto, tmp_path, {"a": words(4, 3), "b": words(4, 3), "i": np.array([7, 0, 3])},
          {"a": words(1, 3), "b": words(1, 3), "i": np.array([1])})


def test_concat_broadcasts(tmp_path):
    proto = model(helper.make_node("StringConcat", ["a", "b"], ["y"]), [value("a", STRING, "N", 1), value("b", STRING, 3)], ["y"])
    check(proto, tmp_path, {"a": words(5, 1), "b": words(3)}, {"a": words(0, 1), "b": words(3)})


@pytest.mark.parametrize("options", [{}, {"delimiter": ","}, {"maxsplit": 1}, {"delimiter": ",", "maxsplit": 2},
                                     {"delimiter": "  "}, {"delimiter": ""}])
def test_split(tmp_path, options):
    proto = model(helper.make_node("StringSplit", ["x"], ["y", "n"], **options), [value("x", STRING, "N", "M")], ["y", "n"])
    compiled = compile_model(proto, tmp_path)
    delimiter = options.get("delimiter") or None
    for x in (words(40, 2), words(1, 1), words(0, 3)):
        parts = [text.split(delimiter, options.get("maxsplit", -1)) for text in x.ravel()]
        width = max(map(len, parts), default=0)
        result = compiled(x=x)
        assert result["n"].tolist() == np.reshape([len(part) for part in parts], x.shape).tolist()
        padded = [part + [""] * (width - len(part)) for part in parts]
        assert result["y"].shape == (*x.shape, width)
        assert result["y"].ravel().tolist() == [text for part in padded for text in part]


@pytest.mark.parametrize("action", ["NONE", "LOWER", "UPPER"])
@pytest.mark.parametrize("sensitive", [0, 1])
@pytest.mark.parametrize("rows", [0, 1])
def test_normalizer(tmp_path, action, sensitive, rows):
    stopwords = ["RED", "öl", "BLUE", ""]
    node = helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action=action, is_case_sensitive=sensitive,
                            stopwords=stopwords, locale="en_US")
    compiled = compile_model(model(node, [value("x", STRING, *[1] * rows, "N")], ["y"]), tmp_path)
    x = words(*[1] * rows, 30)
    change = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}[action]
    stops = stopwords if sensitive else [text.lower() for text in stopwords]
    left = [change(text) for text in x.ravel() if (text if sensitive else text.lower()) not in stops]
    assert compiled(x=x)["y"].tolist() == ([left] if rows else left)
    none_left = compiled(x=np.full([1] * rows + [3], "öl", object))["y"]
    assert none_left.tolist() == ([[""]] if rows else [""])


def test_normalizer_of_rows(tmp_path):
    node = helper.make_node("StringNormalizer", ["x"], ["y"], stopwords=["a"], name="/norm")
    with pytest.raises(lathe.ModelError, match="X has more rows than one") as error:
        compile_model(model(node, [value("x", STRING, 9, None)], ["y"]), tmp_path)
    assert error.value.code == "E0307" and error.value.node == "/norm"


def test_regular_expressions(tmp_path):
    proto = model(helper.make_node("RegexFullMatch", ["x"], ["y"], pattern=r"[a-zä-ü]+|\d+\.\d+"), [value("x", STRING, "N")], ["y"])
    check(proto, tmp_path, {"x": np.array(WORDS, object)})
    bad = compile_model(model(helper.make_node("RegexFullMatch", ["x"], ["y"], pattern="(", name="/match"),
                              [value("x", STRING, "N")], ["y"]), tmp_path)
    with pytest.raises(lathe.ModelError, match=r"no regular expression of RE2: missing \)") as error:
        bad(x=["a"])
    assert error.value.code == "E0704" and error.value.node == "/match"


@pytest.mark.parametrize("ordered", [0, 1])
def test_unique(tmp_path, ordered):
    proto = model(helper.make_node("Unique", ["x"], ["y", "first", "inverse", "counts"], sorted=ordered),
                  [value("x", STRING, "N")], ["y", "first", "inverse", "counts"])
    compiled = compile_model(proto, tmp_path)
    x = words(50)
    result = compiled(x=x)
    distinct, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    order = np.arange(len(distinct)) if ordered else np.argsort(first)
    assert result["y"].tolist() == distinct[order].tolist()
    assert result["first"].tolist() == first[order].tolist() and result["counts"].tolist() == counts[order].tolist()
    assert (result["y"][result["inverse"]] == x).all()


@pytest.mark.parametrize(("kind", "texts"), [
    (FLOAT, ["1", "-2.5", "1e-5", "INF", "-inf", "+INF", "nan", " 3.25 ", "1e400", "-1e-400"]),
    (DOUBLE, ["0.1", "123456789.123", "1E8"]),
    (INT64, ["9223372036854775807", "-9223372036854775808", "+7", "100.5"]),
    (TensorProto.UINT64, ["18446744073709551615", "0"]),
    (TensorProto.INT8, ["-128", "127"])])
def test_strings_to_numbers(tmp_path, kind, texts):
    compiled = compile_model(model(helper.make_node("Cast", ["x"], ["y"], to=kind), [value("x", STRING, "N")], ["y"]), tmp_path)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    with np.errstate(over="ignore"):
        wanted = [np.float64(text).astype(dtype) if "." in text or np.dtype(dtype).kind == "f" else dtype.type(int(text))
                  for text in texts]
    np.testing.assert_array_equal(compiled(x=texts)["y"], np.array(wanted, dtype))
    with pytest.raises(lathe.ModelError, match='"Hello" is no number') as error:
        compiled(x=["Hello"])
    assert error.value.code == "E0704"
    assert compiled(x=["1"])["y"] == 1  # the session goes on


def test_numbers_to_strings(tmp_path):
    for kind, numbers, wanted in [
            (FLOAT, [1.0, -2.5, 0.1, 314.15926, 1e20, 1e-7, np.inf, -np.inf, np.nan, -0.0],
             ["1", "-2.5", "0.1", "314.15927", "1e+20", "1e-07", "INF", "-INF", "NaN", "-0"]),
            (DOUBLE, [0.1, 1 / 3], ["0.1", "0.3333333333333333"]), (INT64, [-5, 2**63 - 1], ["-5", "9223372036854775807"]),
            (TensorProto.UINT64, [2**64 - 1], ["18446744073709551615"]), (BOOL, [True, False], ["1", "0"])]:
        proto = model(helper.make_node("Cast", ["x"], ["y"], to=STRING), [value("x", kind, "N")], ["y"])
        x = np.array(numbers, helper.tensor_dtype_to_np_dtype(kind))
        assert compile_model(proto, tmp_path)(x=x)["y"].tolist() == wanted


def test_strings_in_control_flow(tmp_path):
    """A Loop that writes a string for each iteration and appends to one; an If that chooses one."""
    body = helper.make_graph(
        [helper.make_node("Cast", ["i"], ["text"], to=STRING), helper.make_node("StringConcat", ["s", "text"], ["next"]),
         helper.make_node("Identity", ["c"], ["on"])], "body",
        [value("i", INT64), value("c", BOOL), value("s", STRING)], [value("on", BOOL), value("next", STRING), value("text", STRING)])
    branches = {key: helper.make_graph([helper.make_node("StringConcat", ["joined", suffix], [key])], key, [], [value(key, STRING)])
                for key, suffix in (("then_branch", "yes"), ("else_branch", "no"))}
    nodes = [helper.make_node("Loop", ["n", "", "s"], ["joined", "all"], body=body),
             helper.make_node("If", ["b"], ["y"], **branches)]
    proto = model(nodes, [value("n", INT64), value("s", STRING), value("b", BOOL)],
                  [value("y", STRING), value("all", STRING, None)])
    for name in ("yes", "no"):
        proto.graph.initializer.append(helper.make_tensor(name, STRING, [], [" " + name]))
    compiled = compile_model(proto, tmp_path)
    result = compiled(n=np.array(4), s=np.array(">", object), b=np.array(False))
    assert result["y"].item() == ">0123 no" and result["all"].tolist() == ["0", "1", "2", "3"]
    result = compiled(n=np.array(0), s=np.array(">", object), b=np.array(True))
    assert result["y"].item() == "> yes" and result["all"].tolist() == []


def test_bound_strings(tmp_path):
    compiled = compile_model(model(helper.make_node("StringConcat", ["a", "b"], ["y"]),
                                   [value("a", STRING, "N"), value("b", STRING, "N")], ["y"]), tmp_path)
    binding = compiled.bind(a=["a", "b"], b=["c", "d"])
    for _ in range(3):
        assert binding()["y"].tolist() == ["ac", "bd"]


def test_artifacts_without_strings_name_no_texts(tmp_path):
    """Words that become numbers while the model is compiled are not in the artifact."""
    nodes = [helper.make_node("LabelEncoder", ["x"], ["w"], domain="ai.onnx.ml", keys_int64s=[1, 2], values_strings=["secret", "b"]),
             helper.make_node("LabelEncoder", ["w"], ["y"], domain="ai.onnx.ml", keys_strings=["secret"], values_int64s=[7])]
    proto = model(nodes, [value("x", INT64, "N")], ["y"])
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    compiled = compile_model(proto, tmp_path)
    assert compiled(x=np.array([1, 2]))["y"].tolist() == [7, -1]
    with open(compiled.path, "rb") as artifact:
        assert b"secret" not in artifact.read()


def test_strings_of_any_kind_are_taken(tmp_path):
    compiled = compile_model(model(helper.make_node("Identity", ["x"], ["y"]), [value("x", STRING, "N")], ["y"]), tmp_path)
    for x in (["b", "ö"], np.array(["b", "ö"]), np.array(["b", "ö"], object), np.array([b"b", "ö".encode()])):
        assert compiled(x=x)["y"].tolist() == ["b", "ö"]
    assert compiled.inputs[0].dtype == object and compiled.outputs[0].dtype == object
    with pytest.raises(lathe.ModelError):
        compiled(x=np.array([1.5]))


def test_strings_on_the_command_line(tmp_path):
    compile_model(model(helper.make_node("StringConcat", ["a", "b"], ["y"]), [value("a", STRING, "N"), value("b", STRING, "N")], ["y"]),
                  tmp_path)
    np.savez(tmp_path / "in.npz", a=np.array(["ö", "longer"]), b=np.array(["", "日本"]))
    for options in (["--inputs", tmp_path / "in.npz"], ["--random"]):
        done = subprocess.run([driver(), "run", tmp_path / "m.so", *options, "--outputs", tmp_path / "out.npz"],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if "--inputs" in options:
            assert np.load(tmp_path / "out.npz")["y"].tolist() == ["ö", "longer日本"]
