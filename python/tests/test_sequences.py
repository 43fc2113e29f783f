# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Sequences and optionals, which a compiled model has no more, compared with ONNX Runtime."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import lathe
from run_models import BOOL, FLOAT, INT64, compile_model, expected, graph, model, value


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name=f"/{op.lower()}/{outputs[0]}", **attributes)


def sequence(name, dtype=FLOAT):
    return helper.make_tensor_sequence_value_info(name, dtype, None)


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def check(proto, folder, *batches, **options):
    compiled = compile_model(proto, folder, **options)
    for inputs in batches:
        actual = compiled(inputs)
        wanted = expected(proto, inputs)
        assert len(actual) == len(wanted)
        for (name, result), right in zip(actual.items(), wanted):
            assert isinstance(result, list) == isinstance(right, list), name
            results, rights = (result, right) if isinstance(right, list) else ([result], [right])
            assert len(results) == len(rights), name
            for one, other in zip(results, rights):
                assert one.dtype == other.dtype and one.shape == other.shape, name
                np.testing.assert_allclose(one, other, rtol=1e-6, err_msg=name)


def test_elements_come_and_go(tmp_path):
    nodes = [node("SequenceConstruct", ["a", "b"], ["s0"]), node("SequenceInsert", ["s0", "c"], ["s1"]),
             node("SequenceInsert", ["s1", "c", "zero"], ["s2"]), node("SequenceInsert", ["s2", "a", "minus"], ["s3"]),
             node("SequenceErase", ["s3", "minus"], ["s4"]), node("SequenceErase", ["s3"], ["s5"]),
             node("SequenceAt", ["s3", "minus"], ["y"]), node("SequenceLength", ["s4"], ["n"])]
    proto = model(nodes, [value(name, FLOAT, "N", 3) for name in "abc"],
                  [sequence("s3"), sequence("s4"), sequence("s5"), value("y", FLOAT, None, 3), value("n", INT64)],
                  zero=np.int64(0), minus=np.int64(-2))
    check(proto, tmp_path, {name: numbers(size, 3) for name, size in zip("abc", [4, 4, 4])})


def test_empty_sequence_grows(tmp_path):
    nodes = [node("SequenceEmpty", [], ["s0"]), node("SequenceInsert", ["s0", "x"], ["s1"]),
             node("SequenceLength", ["s0"], ["n0"]), node("SequenceLength", ["s1"], ["n1"])]
    proto = model(nodes, [value("x", FLOAT, "N")], [sequence("s0"), sequence("s1"), value("n0", INT64), value("n1", INT64)])
    compiled = compile_model(proto, tmp_path)
    x = numbers(3)
    result = compiled(x=x)
    assert result["s0"] == [] and result["n0"] == 0 and result["n1"] == 1
    np.testing.assert_array_equal(result["s1"][0], x)


@pytest.mark.parametrize("axis, split, keepdims", [(0, None, 1), (1, None, 0), (-1, np.int64(2), 1), (0, np.int64(4), 1),
                                                   (1, np.array([2, 3]), 1), (0, np.array([3, 0, 1]), 1)])
def test_split(tmp_path, axis, split, keepdims):
    split_node = node("SplitToSequence", ["x", "split"] if split is not None else ["x"], ["y"], axis=axis, keepdims=keepdims)
    initializers = {} if split is None else {"split": split}
    check(model([split_node], [value("x", FLOAT, 4, 5)], [sequence("y")], **initializers), tmp_path, {"x": numbers(4, 5)})


def test_split_of_a_symbol(tmp_path):
    """The lengths of the parts are known, the other dimension is not."""
    nodes = [node("SplitToSequence", ["x", "split"], ["s"], axis=1), node("SequenceAt", ["s", "one"], ["y"])]
    proto = model(nodes, [value("x", FLOAT, "N", 5)], [value("y", FLOAT, None, None)], split=np.array([2, 3]), one=np.int64(1))
    check(proto, tmp_path, {"x": numbers(2, 5)}, {"x": numbers(7, 5)})


def test_split_into_parts_of_sizes_that_the_run_tells(tmp_path):
    proto = model([node("SplitToSequence", ["x", "split"], ["y"], axis=1)], [value("x", FLOAT, "N", "M"), value("split", INT64, 3)],
                  [sequence("y")])
    check(proto, tmp_path, {"x": numbers(2, 5), "split": np.array([2, 0, 3])}, {"x": numbers(1, 3), "split": np.array([1, 1, 1])})
    compiled = compile_model(proto, tmp_path)
    for split in [(2, 2, 2), (-1, 3, 3)]:
        with pytest.raises(lathe.ModelError) as error:
            compiled(x=numbers(2, 5), split=np.array(split))
        assert error.value.code == "E0702"


@pytest.mark.parametrize("is_constant", [False, True])
def test_split_by_a_matrix(tmp_path, is_constant):
    inputs, constants = [value("x", FLOAT, 4, 5)], {}
    if is_constant:
        constants["split"] = np.array([[2, 2]])
    else:
        inputs.append(value("split", INT64, 1, "N"))
    with pytest.raises(lathe.ModelError) as error:
        compile_model(model([node("SplitToSequence", ["x", "split"], ["y"])], inputs, [sequence("y")], **constants), tmp_path)
    assert error.value.code == "E0307" and "split has 2 dimensions, must be a number or a list" in str(error.value)


@pytest.mark.parametrize("axis, new_axis", [(0, 0), (-1, 0), (0, 1), (1, 1), (-1, 1)])
def test_concat(tmp_path, axis, new_axis):
    nodes = [node("SequenceConstruct", ["a", "b", "a"], ["s"]),
             node("ConcatFromSequence", ["s"], ["y"], axis=axis, new_axis=new_axis)]
    proto = model(nodes, [value("a", FLOAT, "N", 3), value("b", FLOAT, "N", 3)], ["y"])
    check(proto, tmp_path, {"a": numbers(2, 3), "b": numbers(2, 3)})


def test_map(tmp_path):
    body = graph("body", [node("Add", ["e", "t"], ["sum"]), node("Shape", ["e"], ["shape"])],
                 [value("e", FLOAT, None, None), value("t", FLOAT, 1)], [value("sum", FLOAT, None, None), value("shape", INT64, 2)])
    nodes = [node("SequenceConstruct", ["a", "b"], ["s"]), node("SequenceMap", ["s", "z"], ["y", "shapes"], body=body)]
    proto = model(nodes, [value("a", FLOAT, "N", 3), value("b", FLOAT, 2, "M"), value("z", FLOAT, 1)],
                  [sequence("y"), sequence("shapes", INT64)])
    check(proto, tmp_path, {"a": numbers(5, 3), "b": numbers(2, 4), "z": numbers(1)})


def test_map_over_a_sequence_of_open_length(tmp_path):
    """Parts of a vector, with another sequence of as many elements and a tensor; results of two ranks and types."""
    body = graph("body", [node("Mul", ["e", "f"], ["m"]), node("Add", ["m", "z"], ["sum"]), node("Shape", ["e"], ["shape"]),
                          node("Unsqueeze", ["e", "axes"], ["column"])],
                 [value("e", FLOAT, None), value("f", FLOAT, None), value("z", FLOAT, 1)],
                 [value("sum", FLOAT, None), value("shape", INT64, 1), value("column", FLOAT, None, None)])
    nodes = [node("SplitToSequence", ["x", "split"], ["s"], axis=0),
             node("SplitToSequence", ["x", "split"], ["t"], axis=0),
             node("SequenceMap", ["s", "t", "z"], ["sums", "shapes", "columns"], body=body),
             node("ConcatFromSequence", ["sums"], ["y"], axis=0), node("ConcatFromSequence", ["shapes"], ["n"], axis=0),
             node("ConcatFromSequence", ["columns"], ["c"], axis=0)]
    proto = model(nodes, [value("x", FLOAT, "N"), value("split", INT64, "S"), value("z", FLOAT, 1)],
                  ["y", "n", value("c", FLOAT, None, None)], axes=np.array([1]))
    check(proto, tmp_path, {"x": numbers(7), "split": np.array([3, 4]), "z": numbers(1)},
          {"x": numbers(6), "split": np.array([1, 2, 0, 3]), "z": numbers(1)})


def test_map_over_sequences_of_other_lengths_ends_the_run(tmp_path):
    body = graph("body", [node("Add", ["e", "f"], ["sum"])], [value("e", FLOAT, 1), value("f", FLOAT, 1)], [value("sum", FLOAT, 1)])
    nodes = [node("SplitToSequence", ["x", "split"], ["s"], axis=0), node("SequenceConstruct", ["z", "z"], ["two"]),
             node("SequenceMap", ["s", "two"], ["sums"], body=body), node("ConcatFromSequence", ["sums"], ["y"], axis=0)]
    proto = model(nodes, [value("x", FLOAT, "N"), value("split", INT64, "S"), value("z", FLOAT, 1)], ["y"])
    compiled = compile_model(proto, tmp_path)
    x = numbers(2)
    np.testing.assert_allclose(compiled(x=x, split=np.array([1, 1]), z=numbers(1))["y"], x + numbers(1), rtol=1e-6)
    with pytest.raises(lathe.ModelError) as error:
        compiled(x=numbers(3), split=np.array([1, 1, 1]), z=numbers(1))
    assert error.value.code == "E0702"


def growing_loop(trip, condition):
    """Appends x * i in each iteration, until i is 3 if `condition`."""
    body = graph("body", [node("Cast", ["i"], ["f"], to=FLOAT), node("Mul", ["x", "f"], ["m"]),
                          node("SequenceInsert", ["s_in", "m"], ["s_out"]),
                          node("Less", ["i", "three"], ["c_out"]) if condition else node("Identity", ["c_in"], ["c_out"]),
                          node("Identity", ["m"], ["scan"])],
                 [value("i", INT64), value("c_in", BOOL), sequence("s_in")],
                 [value("c_out", BOOL), sequence("s_out"), value("scan", FLOAT, None)])
    nodes = [node("SequenceEmpty", [], ["s"]), node("Loop", ["trip", "", "s"], ["t", "scans"], body=body),
             node("ConcatFromSequence", ["t"], ["y"], axis=0)]
    return model(nodes, [value("x", FLOAT, "N")], ["y", "scans"], trip=np.int64(trip), three=np.int64(3))


@pytest.mark.parametrize("trip, condition", [(1, False), (5, False), (9, True)])
def test_loop_that_appends(tmp_path, trip, condition):
    check(growing_loop(trip, condition), tmp_path, {"x": numbers(4)}, {"x": numbers(1)})


def test_loop_that_appends_as_often_as_data_says(tmp_path):
    proto = growing_loop(3, False)
    proto.graph.initializer.remove(next(i for i in proto.graph.initializer if i.name == "trip"))
    proto.graph.input.append(value("trip", INT64))
    check(proto, tmp_path, {"x": numbers(4), "trip": np.array(3)}, {"x": numbers(1), "trip": np.array(300)})


def test_loop_of_many_iterations_that_appends(tmp_path):
    check(growing_loop(1000, False), tmp_path, {"x": numbers(2)})


def test_loop_whose_elements_differ_in_rank(tmp_path):
    """The highest rank is found in the second round."""
    body = graph("body", [node("SequenceInsert", ["s_in", "y"], ["s1"]), node("SequenceInsert", ["s1", "i", "minus"], ["s_out"]),
                          node("Identity", ["c_in"], ["c_out"])],
                 [value("i", INT64), value("c_in", BOOL), sequence("s_in", INT64)], [value("c_out", BOOL), sequence("s_out", INT64)])
    nodes = [node("SequenceConstruct", ["one"], ["s"]), node("Loop", ["n", "", "s"], ["t"], body=body)]
    proto = model(nodes, [value("n", INT64), value("y", INT64, "A", "B")], [sequence("t", INT64)], one=np.int64(1), minus=np.int64(-1))
    y = np.arange(6).reshape(2, 3)
    check(proto, tmp_path, *({"n": np.array(n), "y": y} for n in (0, 1, 3)))
    proto.graph.node.append(node("SequenceAt", ["t", "minus"], ["last"]))
    proto.graph.output.append(value("last", INT64))
    compiled = compile_model(proto, tmp_path)
    assert compiled(n=np.array(0), y=y)["last"] == 1
    with pytest.raises(lathe.ModelError, match="sizes contradict each other") as error:
        compiled(n=np.array(1), y=y)  # the last one is no scalar, as declared
    assert error.value.node == "/sequenceat/last"


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_split_in_as_many_parts_as_the_run_says(tmp_path, axis, keepdims):
    nodes = [node("SplitToSequence", ["x"], ["s"], axis=axis, keepdims=keepdims), node("SequenceLength", ["s"], ["n"]),
             node("SequenceAt", ["s", "p"], ["e"]), node("ConcatFromSequence", ["s"], ["stacked"], axis=1, new_axis=1)]
    rank = 2 + keepdims
    proto = model(nodes, [value("x", FLOAT, "A", "B", "C"), value("p", INT64)],
                  [sequence("s"), value("n", INT64), value("e", FLOAT, *[None] * rank), value("stacked", FLOAT, *[None] * (rank + 1))])
    check(proto, tmp_path, {"x": numbers(2, 3, 4), "p": np.array(1)}, {"x": numbers(5, 2, 3), "p": np.array(-2)},
          {"x": numbers(1, 1, 1), "p": np.array(0)})


@pytest.mark.parametrize("axis", [0, 1])
def test_split_in_parts_of_a_size_that_the_run_says(tmp_path, axis):
    proto = model([node("SplitToSequence", ["x", "size"], ["y"], axis=axis)], [value("x", FLOAT, "A", 7), value("size", INT64)],
                  [sequence("y")])
    check(proto, tmp_path, {"x": numbers(6, 7), "size": np.array(2)}, {"x": numbers(6, 7), "size": np.array(3)},
          {"x": numbers(2, 7), "size": np.array(7)}, {"x": numbers(1, 7), "size": np.array(100)})
    with pytest.raises(lathe.ModelError, match="sizes contradict each other"):
        lathe.load(tmp_path / "m.so")(x=numbers(6, 7), size=np.array(0))


def test_split_in_parts_that_the_run_lists(tmp_path):
    nodes = [node("SplitToSequence", ["x", "sizes"], ["y"]), node("ConcatFromSequence", ["y"], ["z"], axis=0)]
    proto = model(nodes, [value("x", FLOAT, "A", 3), value("sizes", INT64, "K")], [sequence("y"), value("z", FLOAT, None, 3)])
    check(proto, tmp_path, {"x": numbers(6, 3), "sizes": np.array([1, 0, 5])}, {"x": numbers(4, 3), "sizes": np.array([4])})
    with pytest.raises(lathe.ModelError, match="sizes contradict each other"):
        lathe.load(tmp_path / "m.so")(x=numbers(6, 3), sizes=np.array([1, 2]))


def test_positions_that_the_run_says(tmp_path):
    nodes = [node("SequenceConstruct", ["a", "b"], ["s0"]), node("SequenceInsert", ["s0", "a", "p"], ["s1"]),
             node("SequenceErase", ["s1", "q"], ["s2"]), node("SequenceAt", ["s1", "q"], ["e"])]
    proto = model(nodes, [value("a", FLOAT, "N", 2), value("b", FLOAT, "M", 2), value("p", INT64), value("q", INT64)],
                  [sequence("s1"), sequence("s2"), value("e", FLOAT, None, 2)])
    ab = {"a": numbers(3, 2), "b": numbers(4, 2)}
    check(proto, tmp_path, *({**ab, "p": np.array(p), "q": np.array(q)} for p in range(-2, 3) for q in range(-3, 3)))
    compiled = lathe.load(tmp_path / "m.so")
    for p, q in [(3, 0), (-3, 0), (0, 3), (0, -4)]:
        with pytest.raises(lathe.ModelError, match="sizes contradict each other"):
            compiled(**ab, p=np.array(p), q=np.array(q))


@pytest.mark.parametrize("present", [True, False])
def test_optional(tmp_path, present):
    """A branch is taken by whether there is a value."""
    kind = helper.make_tensor_type_proto(FLOAT, ["N"])
    make = node("Optional", ["x"], ["o"]) if present else node("Optional", [], ["o"], type=kind)
    then = graph("then", [node("OptionalGetElement", ["o"], ["e"]), node("Neg", ["e"], ["r"])], [], ["r"])
    other = graph("else", [node("Abs", ["x"], ["q"])], [], ["q"])
    nodes = [make, node("OptionalHasElement", ["o"], ["has"]), node("If", ["has"], ["y"], then_branch=then, else_branch=other)]
    proto = model(nodes, [value("x", FLOAT, "N")], [value("has", BOOL), value("y", FLOAT, None)], opset=18)
    x = numbers(4)
    result = compile_model(proto, tmp_path)(x=x)
    assert result["has"] == present
    np.testing.assert_array_equal(result["y"], -x if present else np.abs(x))


@pytest.mark.parametrize("nodes, message", [
    ([node("SequenceConstruct", ["x"], ["s"]), node("SequenceAt", ["s", "five"], ["y"])],
     "position 5 is out of bounds of 1 elements"),
    ([node("SequenceConstruct", ["x"], ["s"]), node("Neg", ["s"], ["y"])], "input 0 is a sequence"),
    ([node("SequenceLength", ["x"], ["y"])], "input 0 is no sequence"),
    ([node("Optional", [], ["o"], type=helper.make_tensor_type_proto(FLOAT, ["N"])),
      node("OptionalGetElement", ["o"], ["y"])], "the optional is empty")])
def test_refused(tmp_path, nodes, message):
    proto = model(nodes, [value("x", FLOAT, "N"), value("i", INT64)], ["y"], five=np.int64(5))
    with pytest.raises(lathe.ModelError, match=message):
        compile_model(proto, tmp_path)


def test_sequence_of_a_branch_that_data_takes(tmp_path):
    then, other = [graph(name, [node("SequenceConstruct", ["x"] * count, ["s" + name])], [], [sequence("s" + name)])
                   for name, count in [("then", 1), ("else", 2)]]
    proto = model([node("If", ["c"], ["y"], then_branch=then, else_branch=other)], [value("x", FLOAT, "N"), value("c", BOOL)],
                  [sequence("y")])
    check(proto, tmp_path, {"x": numbers(3), "c": np.array(True)}, {"x": numbers(4), "c": np.array(False)})


@pytest.mark.parametrize("is_sequence", [False, True])
def test_optional_that_data_fills(tmp_path, is_sequence):
    kind = helper.make_tensor_type_proto(FLOAT, ["N"])
    kind = helper.make_sequence_type_proto(kind) if is_sequence else kind
    empty = graph("then", [node("Optional", [], ["none"], type=kind)], [], ["none"])
    content = [node("SequenceConstruct", ["x", "x"], ["s"]), node("Optional", ["s"], ["some"])] if is_sequence else \
        [node("Neg", ["x"], ["n"]), node("Optional", ["n"], ["some"])]
    nodes = [node("If", ["c"], ["o"], then_branch=empty, else_branch=graph("else", content, [], ["some"])),
             node("OptionalHasElement", ["o"], ["has"])]
    outputs = [helper.make_value_info("o", helper.make_optional_type_proto(kind)), value("has", BOOL)]
    compiled = compile_model(model(nodes, [value("x", FLOAT, "N"), value("c", BOOL)], outputs, opset=18), tmp_path)
    x = numbers(3)
    result = compiled(x=x, c=np.array(True))
    assert result["o"] is None and not result["has"]
    result = compiled(x=x, c=np.array(False))
    assert result["has"] and list(result) == ["o", "has"]
    np.testing.assert_array_equal(result["o"], [x, x] if is_sequence else -x)


def test_strings_in_sequences_of_unknown_length(tmp_path):
    nodes = [node("SplitToSequence", ["x"], ["s"], keepdims=0), node("SequenceInsert", ["s", "e", "p"], ["y"])]
    proto = model(nodes, [value("x", TensorProto.STRING, "N"), value("e", TensorProto.STRING), value("p", INT64)],
                  [sequence("y", TensorProto.STRING)])
    result = compile_model(proto, tmp_path)(x=["a", "b"], e=np.array("c", object), p=np.array(-1))
    assert [text.item() for text in result["y"]] == ["a", "c", "b"]


def test_sequence_as_input(tmp_path):
    nodes = [node("SequenceInsert", ["s", "x"], ["y"]), node("ConcatFromSequence", ["y"], ["all"], axis=0)]
    proto = model(nodes, [helper.make_tensor_sequence_value_info("s", FLOAT, ["N"]), value("x", FLOAT, "M")],
                  [sequence("y"), value("all", FLOAT, None)])
    check(proto, tmp_path, {"s": [numbers(3), numbers(5)], "x": numbers(4)}, {"s": [numbers(1), numbers(2)], "x": numbers(9)},
          shapes={"s": 2})
    compiled = lathe.load(tmp_path / "m.so")
    assert [info.name for info in compiled.inputs] == ["s[0]", "s[1]", "x"]
    with pytest.raises(lathe.ModelError, match="input 's' has 3 elements, expects 2"):
        compiled(s=[numbers(3)] * 3, x=numbers(4))
    with pytest.raises(lathe.ModelError, match="--shape s=3 says that it has 3 elements"):
        compile_model(proto, tmp_path)


@pytest.mark.parametrize("present", [True, False])
def test_optional_as_input(tmp_path, present):
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, ["N"]))
    proto = model([node("OptionalHasElement", ["o"], ["y"])], [helper.make_value_info("o", kind), value("x", FLOAT, 1)],
                  [value("y", BOOL)], opset=18)
    compiled = compile_model(proto, tmp_path, **({} if present else {"shapes": {"o": None}}))
    assert compiled(o=numbers(3) if present else None, x=numbers(1))["y"] == present
