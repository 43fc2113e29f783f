# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""If, Loop and Scan."""

import numpy as np
import pytest
from onnx import helper

import lathe
from run_models import BOOL, FLOAT, INT64, compare, compile_model, graph, model, value


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name="/" + (outputs[0] or op), **attributes)


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# -- If -----------------------------------------------------------------------------------------------------------

def choice(then_nodes, else_nodes, inputs, outputs, results, **initializers):
    """An If on the input c; each branch ends with values called t0, t1, ... and e0, e1, ..."""
    then_graph = graph("then", then_nodes, [], [f"t{i}" for i in range(len(results))])
    else_graph = graph("else", else_nodes, [], [f"e{i}" for i in range(len(results))])
    nodes = [node("If", ["c"], results, then_branch=then_graph, else_branch=else_graph)]
    return model(nodes, [value("c", BOOL), *inputs], outputs, **initializers)


@pytest.mark.parametrize("c", [True, False])
def test_if_with_captures(tmp_path, c):
    proto = choice([node("Add", ["x", "w"], ["t0"])], [node("Relu", ["x"], ["r"]), node("Neg", ["r"], ["e0"])],
                   [value("x", FLOAT, "N", 4)], [value("y", FLOAT, "N", 4)], ["y"], w=floats(4))
    compare(proto, compile_model(proto, tmp_path), {"c": np.array(c), "x": floats(5, 4)})


@pytest.mark.parametrize("c", [True, False])
def test_if_whose_branches_give_other_shapes(tmp_path, c):
    proto = choice([node("Concat", ["x", "x"], ["t0"], axis=0)], [node("Neg", ["x"], ["e0"])],
                   [value("x", FLOAT, "N", 4)], [value("y", FLOAT, None, 4)], ["r"])
    proto.graph.node.append(node("Exp", ["r"], ["y"]))
    compare(proto, compile_model(proto, tmp_path), {"c": np.array(c), "x": floats(3, 4)})


@pytest.mark.parametrize("c", [True, False])
def test_if_that_hands_on_what_is_there(tmp_path, c):
    """A capture, an input, a weight and a constant; one of them twice."""
    proto = choice([node("Identity", ["n"], ["t0"]), node("Identity", ["x"], ["t1"])],
                   [node("Constant", [], ["e0"], value_floats=[1.0, 2.0, 3.0, 4.0]), node("Identity", ["w"], ["e1"])],
                   [value("x", FLOAT, 4)], [value("y", FLOAT, 4), value("z", FLOAT, 4), value("v", FLOAT, 4)],
                   ["y", "z"], w=floats(4))
    proto.graph.node.insert(0, node("Exp", ["x"], ["n"]))
    proto.graph.node.append(node("Add", ["y", "n"], ["v"]))
    compare(proto, compile_model(proto, tmp_path), {"c": np.array(c), "x": floats(4)})


def test_a_branch_that_does_not_fit_ends_the_run_that_takes_it(tmp_path):
    """Exporters leave branches for other shapes in the model, too."""
    proto = choice([node("Reshape", ["x", "three"], ["t0"])], [node("Neg", ["x"], ["e0"])],
                   [value("x", FLOAT, 2, 4)], [value("y", FLOAT, None, None)], ["y"], three=np.array([3, 3]))
    compiled = compile_model(proto, tmp_path)
    np.testing.assert_array_equal(compiled(c=np.array(False), x=floats(2, 4))["y"], -floats(2, 4))
    with pytest.raises(lathe.ModelError) as error:
        compiled(c=np.array(True), x=floats(2, 4))
    assert error.value.code == "E0702"
    assert error.value.node == "/y"


def test_the_rank_that_the_model_says_chooses_the_branch(tmp_path):
    """torch.squeeze(x, 0) of a symbol, as TorchScript's exporter writes it: the rank is a matter of the run."""
    proto = choice([node("Squeeze", ["x", "zero"], ["t0"])], [node("Identity", ["x"], ["e0"])],
                   [value("x", FLOAT, "N", 4)], [value("y", FLOAT, None)], ["y"], zero=np.array([0]))
    compiled = compile_model(proto, tmp_path)
    np.testing.assert_array_equal(compiled(c=np.array(True), x=floats(1, 4))["y"], floats(1, 4)[0])
    for c, rows in [(False, 1), (True, 2)]:
        with pytest.raises(lathe.ModelError) as error:
            compiled(c=np.array(c), x=floats(rows, 4))
        assert error.value.code == "E0702"


@pytest.mark.parametrize("c", [True, False])
def test_a_condition_and_a_count_of_unknown_shape(c, tmp_path):
    """One element of any rank."""
    proto = choice([node("Exp", ["x"], ["t0"])], [node("Neg", ["x"], ["e0"])], [value("x", FLOAT, "N"), value("n", INT64, "M")],
                   [value("z", FLOAT, None)], ["y"])
    proto.graph.input[0].CopyFrom(value("c", BOOL, "C"))
    body = graph("body", [node("Identity", ["go"], ["on"]), node("Add", ["s", "s"], ["next"])],
                 [value("i", INT64), value("go", BOOL), value("s", FLOAT, None)], ["on", "next"])
    proto.graph.node.append(node("Loop", ["n", "", "y"], ["z"], body=body))
    compiled = compile_model(proto, tmp_path)
    x = floats(3)
    got = compiled(c=np.array([c]), x=x, n=np.array([3]))["z"]
    np.testing.assert_allclose(got, 8 * (np.exp(x) if c else -x), rtol=1e-6)
    for bad in [{"c": np.array([c, c]), "n": np.array([3])}, {"c": np.array([c]), "n": np.array([3, 3])}]:
        with pytest.raises(lathe.ModelError) as error:
            compiled(x=x, **bad)
        assert error.value.code == "E0702"


def test_two_branches_that_do_not_fit_are_an_error(tmp_path):
    proto = choice([node("Reshape", ["x", "three"], ["t0"])], [node("Concat", ["x", "x"], ["e0"], axis=2)],
                   [value("x", FLOAT, 2, 4)], [value("y", FLOAT, None, None)], ["y"], three=np.array([3, 3]))
    with pytest.raises(lathe.ModelError, match="neither branch fits.*axis is 2") as error:
        compile_model(proto, tmp_path)
    assert error.value.code == "E0307"


@pytest.mark.parametrize("c", [True, False])
def test_if_around_shapes(tmp_path, c):
    """The branches choose the shape that something else gets."""
    proto = choice([node("Constant", [], ["t0"], value_ints=[2, -1])], [node("Shape", ["x"], ["e0"])],
                   [value("x", FLOAT, "N", 4)], [value("y", FLOAT, None, None)], ["shape"])
    proto.graph.node.append(node("Reshape", ["x", "shape"], ["y"]))
    compare(proto, compile_model(proto, tmp_path), {"c": np.array(c), "x": floats(3, 4)})


def test_if_that_is_known_when_it_is_compiled_may_differ_in_rank(tmp_path):
    branches = {"then_branch": graph("then", [node("Squeeze", ["x", "axes"], ["t"])], [], ["t"]),
                "else_branch": graph("else", [node("Identity", ["x"], ["e"])], [], ["e"])}
    nodes = [node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "one"], ["size"]),
             node("Equal", ["size", "one"], ["c"]), node("If", ["c"], ["r"], **branches), node("Neg", ["r"], ["y"])]
    proto = model(nodes, [value("x", FLOAT, "N", 1)], [value("y", FLOAT, "N")], axes=np.array([1]), one=np.array(1))
    compare(proto, compile_model(proto, tmp_path), {"x": floats(3, 1)})


@pytest.mark.parametrize("c", [True, False])
def test_what_reads_a_result_of_either_rank_moves_into_the_branches(tmp_path, c):
    """A row or a matrix, read by two nodes one behind the other and by one within another If; a node between them that
    does not depend on it; and a result that others read, too."""
    proto = choice([node("Relu", ["w"], ["t0"]), node("Exp", ["w"], ["t1"])],
                   [node("Neg", ["x"], ["e0"]), node("Abs", ["w"], ["e1"])],
                   [value("x", FLOAT, "N", 4), value("d", BOOL)],
                   [value("y", FLOAT, "N", 4), value("z", FLOAT, 4), value("v", FLOAT, None, None)], ["r", "z"], w=floats(4))
    inner = {"then_branch": graph("then", [node("Mul", ["s", "r"], ["a"])], [], ["a"]),
             "else_branch": graph("else", [node("Sub", ["s", "r"], ["b"])], [], ["b"])}
    proto.graph.node.extend([node("Add", ["x", "w"], ["k"]), node("Mul", ["r", "r"], ["q"]), node("Add", ["q", "k"], ["s"]),
                             node("If", ["d"], ["v"], **inner), node("Add", ["s", "z"], ["y"])])
    compiled = compile_model(proto, tmp_path)
    for d in [True, False]:
        compare(proto, compiled, {"c": np.array(c), "d": np.array(d), "x": floats(3, 4)})


@pytest.mark.parametrize("c", [True, False])
@pytest.mark.parametrize("d", [True, False])
def test_a_result_of_either_rank_of_an_inner_if(tmp_path, c, d):
    """The outer branch hands it on, so that what reads it moves into that first."""
    inner = {"then_branch": graph("then", [node("ReduceSum", ["x"], ["a"], keepdims=0)], [], ["a"]),
             "else_branch": graph("else", [node("Neg", ["x"], ["b"])], [], ["b"])}
    proto = choice([node("If", ["d"], ["t0"], **inner)], [node("Exp", ["x"], ["e0"])],
                   [value("x", FLOAT, "N", 4), value("d", BOOL)], [value("y", FLOAT, "N", 4)], ["r"])
    proto.graph.node.append(node("Add", ["r", "x"], ["y"]))
    compare(proto, compile_model(proto, tmp_path), {"c": np.array(c), "d": np.array(d), "x": floats(3, 4)}, rtol=1e-4)


@pytest.mark.parametrize("n", [0, 3])
def test_a_result_of_either_rank_in_a_loop(tmp_path, n):
    branches = {"then_branch": graph("then", [node("Identity", ["one"], ["a"])], [], ["a"]),
                "else_branch": graph("else", [node("Neg", ["x"], ["b"])], [], ["b"])}
    body = graph("body", [node("Greater", ["i", "zero"], ["c"]), node("If", ["c"], ["r"], **branches),
                          node("Add", ["s", "r"], ["next"]), node("Identity", ["go"], ["on"])],
                 [value("i", INT64), value("go", BOOL), value("s", FLOAT, "N", 4)], ["on", "next"])
    proto = model([node("Loop", ["n", "", "x"], ["y"], body=body)], [value("n", INT64), value("x", FLOAT, "N", 4)],
                  [value("y", FLOAT, "N", 4)], one=np.float32(1), zero=np.array(0))
    compare(proto, compile_model(proto, tmp_path), {"n": np.array(n), "x": floats(3, 4)})


def test_if_of_branches_of_other_rank_is_refused_with_words(tmp_path):
    proto = choice([node("Identity", ["x"], ["t0"])], [node("ReduceSum", ["x"], ["e0"], keepdims=0)],
                   [value("x", FLOAT, 4)], ["y"], ["y"])
    with pytest.raises(lathe.ModelError, match="1 dimensions in one branch, 0 in the other"):
        compile_model(proto, tmp_path)


@pytest.mark.parametrize("c", [True, False])
@pytest.mark.parametrize("d", [True, False])
def test_if_in_if(tmp_path, c, d):
    inner = node("If", ["d"], ["t0"], then_branch=graph("a", [node("Exp", ["n"], ["p"])], [], ["p"]),
                 else_branch=graph("b", [node("Add", ["n", "x"], ["q"])], [], ["q"]))
    proto = choice([node("Abs", ["x"], ["n"]), inner], [node("Neg", ["x"], ["e0"])],
                   [value("d", BOOL), value("x", FLOAT, "N")], [value("y", FLOAT, "N")], ["y"])
    compare(proto, compile_model(proto, tmp_path), {"c": np.array(c), "d": np.array(d), "x": floats(7)})


# -- Loop ---------------------------------------------------------------------------------------------------------

def loop(body_nodes, inits, body_outputs, inputs, outputs, results, trip="n", condition="", body_inputs=None, after=(),
         **initializers):
    """A Loop whose body gets i, go and then, by default untyped, one input per init called <init>_in."""
    carried = body_inputs or [helper.make_empty_tensor_value_info(name + "_in") for name in inits]
    body = graph("body", body_nodes, [value("i", INT64), value("go", BOOL), *carried], body_outputs)
    nodes = [node("Loop", [trip, condition, *inits], results, body=body), *after]
    return model(nodes, inputs, outputs, **initializers)


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    """s = s + x * w in each iteration, and all of them."""
    proto = loop([node("Mul", ["x", "w"], ["p"]), node("Add", ["s_in", "p"], ["next"]), node("Identity", ["next"], ["all"]),
                  node("Identity", ["go"], ["more"])], ["s"], ["more", "next", "all"],
                 [value("n", INT64), value("s", FLOAT, "N", 4), value("x", FLOAT, "N", 4)],
                 [value("last", FLOAT, "N", 4), value("history", FLOAT, None, "N", 4)], ["last", "history"], w=floats(4))
    return proto, compile_model(proto, tmp_path_factory.mktemp("sums"))


@pytest.mark.parametrize("n", [1, 2, 17])
def test_loop(sums, n):
    compare(*sums, {"n": np.array(n), "s": floats(3, 4), "x": np.ones((3, 4), np.float32)})


@pytest.mark.parametrize("n", [0, -5])
def test_loop_that_does_not_run(sums, n):
    s = floats(3, 4)
    result = sums[1](n=np.array(n), s=s, x=s)
    assert (result["last"] == s).all() and result["history"].shape == (0, 3, 4)


def test_loop_that_swaps_and_uses_a_value_twice(tmp_path):
    nodes = [node("Identity", ["b_in"], ["a_next"]), node("Add", ["a_in", "c_in"], ["b_next"]),
             node("Identity", ["a_in"], ["c_next"]), node("Identity", ["go"], ["more"])]
    proto = loop(nodes, ["a", "b", "c"], ["more", "a_next", "b_next", "c_next"],
                 [value("n", INT64)] + [value(x, FLOAT, 3) for x in "abc"], [value(x, FLOAT, 3) for x in "xyz"],
                 ["x", "y", "z"])
    compiled = compile_model(proto, tmp_path)
    for n in range(5):
        compare(proto, compiled, {"n": np.array(n), "a": floats(3), "b": floats(3) + 1, "c": floats(3) + 2})


def test_loop_with_a_condition_and_a_scan_output_of_unknown_length(tmp_path):
    """Doubles until the sum is large."""
    nodes = [node("Add", ["s_in", "s_in"], ["next"]), node("ReduceSum", ["next"], ["sum"], keepdims=0),
             node("Less", ["sum", "limit"], ["more"]), node("Identity", ["s_in"], ["seen"])]
    proto = loop(nodes, ["s"], ["more", "next", "seen"], [value("s", FLOAT, "N"), value("limit", FLOAT)],
                 [value("last", FLOAT, "N"), value("all", FLOAT, None, "N")], ["last", "all"], trip="")
    compiled = compile_model(proto, tmp_path)
    for limit in [0, 10, 1e6, 1e30]:
        compare(proto, compiled, {"s": np.ones(3, np.float32), "limit": np.array(limit, np.float32)})


def test_loop_without_end_is_an_error_with_a_name(tmp_path):
    proto = loop([node("Identity", ["s_in"], ["next"]), node("Identity", ["go"], ["more"])], ["s"], ["more", "next"],
                 [value("s", FLOAT, 2)], [value("last", FLOAT, 2)], ["last"], trip="")
    compiled = lathe.load(compile_model(proto, tmp_path).path, threads=1, loop_limit=1000)
    with pytest.raises(lathe.ModelError, match="did not end within 1000 iterations in node \"/last\""):
        compiled(s=floats(2))


def test_loop_whose_state_grows(tmp_path):
    proto = loop([node("Concat", ["s_in", "x"], ["next"], axis=0), node("Identity", ["go"], ["more"])], ["s"],
                 ["more", "next"], [value("n", INT64), value("s", FLOAT, 0, 4), value("x", FLOAT, "K", 4)],
                 [value("last", FLOAT, None, 4)], ["last"])
    compiled = compile_model(proto, tmp_path)
    for n, k in [(0, 3), (1, 1), (20, 2), (5, 0)]:
        compare(proto, compiled, {"n": np.array(n), "s": np.zeros((0, 4), np.float32), "x": floats(k, 4)})


def test_loop_whose_counter_is_a_position(tmp_path):
    """A carried integer decides what is sliced, how long it is, and when to stop."""
    nodes = [node("Add", ["k_in", "two"], ["k_next"]), node("Unsqueeze", ["k_in", "zero"], ["start"]),
             node("Unsqueeze", ["k_next", "zero"], ["end"]), node("Slice", ["x", "start", "end"], ["part"]),
             node("ReduceSum", ["part"], ["sum"], keepdims=0), node("Less", ["k_next", "length"], ["more"])]
    proto = loop(nodes, ["k"], ["more", "k_next", "sum"], [value("n", INT64), value("x", FLOAT, "N")],
                 [value("last", INT64), value("sums", FLOAT, None)], ["last", "sums"], k=np.array(0), two=np.array(2),
                 zero=np.array([0]), length=np.array(9))
    compiled = compile_model(proto, tmp_path)
    for n in [0, 2, 100]:
        compare(proto, compiled, {"n": np.array(n), "x": floats(10)})


def test_scan_outputs_must_keep_their_shape(tmp_path):
    nodes = [node("Unsqueeze", ["i", "zero"], ["size"]), node("ConstantOfShape", ["size"], ["out"]),
             node("Identity", ["go"], ["more"])]
    proto = loop(nodes, [], ["more", "out"], [value("n", INT64)], [value("all", FLOAT, None, None)], ["all"],
                 zero=np.array([0]))
    compiled = compile_model(proto, tmp_path)
    assert compiled(n=np.array(1))["all"].shape == (1, 0)
    with pytest.raises(lathe.ModelError, match="/all"):
        compiled(n=np.array(3))


@pytest.mark.parametrize("rows, columns", [(2, 3), (0, 2), (3, 0)])
def test_loop_in_loop(tmp_path, rows, columns):
    inner = graph("inner", [node("Add", ["t_in", "u"], ["t_next"]), node("Identity", ["jgo"], ["jmore"]),
                            node("Mul", ["t_next", "s_in"], ["cell"])],
                  [value("j", INT64), value("jgo", BOOL), helper.make_empty_tensor_value_info("t_in")],
                  ["jmore", "t_next", "cell"])
    nodes = [node("Exp", ["s_in"], ["u"]), node("Loop", ["m", "", "s_in"], ["next", "line"], body=inner),
             node("Identity", ["go"], ["more"])]
    proto = loop(nodes, ["s"], ["more", "next", "line"], [value("n", INT64), value("m", INT64), value("s", FLOAT, 2)],
                 [value("last", FLOAT, 2), value("all", FLOAT, None, None, 2)], ["last", "all"])
    compiled = compile_model(proto, tmp_path)
    s = np.array([-1, 0.1], np.float32)
    wanted = {"n": np.array(rows), "m": np.array(columns), "s": s}
    if rows and columns:
        compare(proto, compiled, wanted, rtol=1e-4)
    else:
        result = compiled(wanted)
        assert (result["last"] == s).all() and result["all"].shape == (rows, columns if rows else 0, 2)


@pytest.mark.parametrize("n", [0, 1, 6])
def test_if_in_loop(tmp_path, n):
    """A branch hands on a carried value; the iteration decides."""
    branches = {"then_branch": graph("a", [node("Identity", ["b_in"], ["p"])], [], ["p"]),
                "else_branch": graph("b", [node("Add", ["a_in", "b_in"], ["q"])], [], ["q"])}
    nodes = [node("Mod", ["i", "two"], ["odd"]), node("Cast", ["odd"], ["c"], to=BOOL),
             node("If", ["c"], ["a_next"], **branches), node("Identity", ["a_in"], ["b_next"]),
             node("Identity", ["go"], ["more"])]
    proto = loop(nodes, ["a", "b"], ["more", "a_next", "b_next"],
                 [value("n", INT64), value("a", FLOAT, 3), value("b", FLOAT, 3)],
                 [value("x", FLOAT, 3), value("y", FLOAT, 3)], ["x", "y"], two=np.array(2))
    compare(proto, compile_model(proto, tmp_path), {"n": np.array(n), "a": floats(3), "b": floats(3) + 1})


def test_product_in_a_loop(tmp_path):
    """A recurrence over matrix products, with a weight from outside."""
    nodes = [node("MatMul", ["h_in", "w"], ["p"]), node("Add", ["p", "x"], ["q"]), node("Tanh", ["q"], ["next"]),
             node("Identity", ["go"], ["more"])]
    proto = loop(nodes, ["h"], ["more", "next", "next"],
                 [value("n", INT64), value("h", FLOAT, "B", 16), value("x", FLOAT, "B", 16)],
                 [value("last", FLOAT, "B", 16), value("all", FLOAT, None, "B", 16)], ["last", "all"],
                 w=floats(16, 16) / 4)
    compiled = compile_model(proto, tmp_path, threads=2)
    compare(proto, compiled, {"n": np.array(9), "h": floats(3, 16), "x": floats(3, 16)}, rtol=1e-4)


# -- Scan ---------------------------------------------------------------------------------------------------------

def scan(attributes, states, inputs, opset=17):
    body = graph("body", [node("Add", ["s_in", "x_in"], ["s_next"]), node("Mul", ["s_next", "x_in"], ["out"])],
                 [helper.make_empty_tensor_value_info("s_in"), helper.make_empty_tensor_value_info("x_in")],
                 ["s_next", "out"])
    return model([node("Scan", ["s", "x"], ["last", "all"], body=body, num_scan_inputs=1, **attributes)],
                 [value("s", FLOAT, *states), value("x", FLOAT, *inputs)],
                 [value("last", FLOAT, *states), value("all", FLOAT, None, None)], opset=opset)


@pytest.mark.parametrize("attributes, shape", [
    ({}, (5, 3)), ({"scan_input_directions": [1]}, (5, 3)), ({"scan_output_directions": [1]}, (5, 3)),
    ({"scan_input_axes": [1]}, (3, 5)), ({"scan_input_axes": [-1], "scan_output_axes": [1]}, (3, 5)),
    ({}, (0, 3)), ({"scan_output_directions": [1]}, (0, 3))])
def test_scan(tmp_path, attributes, shape):
    proto = scan(attributes, (3,), ("A", "B"))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    compiled = compile_model(proto, tmp_path)
    x = floats(*shape)
    if 0 in shape:
        result = compiled(s=floats(3), x=x)
        assert (result["last"] == floats(3)).all() and result["all"].shape == (0, 3)
    else:
        compare(proto, compiled, {"s": floats(3), "x": x})


def test_scan_of_nothing(tmp_path):
    """Which the model says: there is no slice that the body could be given."""
    compiled = compile_model(scan({}, (3,), (0, 3)), tmp_path)
    result = compiled(s=floats(3), x=floats(0, 3))
    assert (result["last"] == floats(3)).all() and result["all"].shape == (0, 3)


def test_scan_inputs_of_other_length(tmp_path):
    body = graph("body", [node("Add", ["a_in", "b_in"], ["out"])],
                 [helper.make_empty_tensor_value_info("a_in"), helper.make_empty_tensor_value_info("b_in")], ["out"])
    proto = model([node("Scan", ["a", "b"], ["all"], body=body, num_scan_inputs=2)],
                  [value("a", FLOAT, "N", 2), value("b", FLOAT, "M", 2)], [value("all", FLOAT, None, 2)])
    compiled = compile_model(proto, tmp_path)
    compare(proto, compiled, {"a": floats(4, 2), "b": floats(4, 2)})
    with pytest.raises(lathe.ModelError, match="/all"):
        compiled(a=floats(4, 2), b=floats(3, 2))


def test_loops_in_loops_whose_state_grows(tmp_path):
    """Every loop is converted again when it is known that its state grows, and those in it with it."""
    def body(depth):
        inner, state, more, grown = f"t{depth + 1}", f"t{depth}", f"more{depth}", f"r{depth}"
        work = node("Concat", [state, "x"], [grown], axis=0)
        if depth < 3:
            work = node("Loop", ["n", "", state], [grown], body=body(depth + 1))
        return graph(inner, [work, node("Identity", [f"go{depth}"], [more])],
                     [value(f"i{depth}", INT64), value(f"go{depth}", BOOL), helper.make_empty_tensor_value_info(state)],
                     [more, grown])

    proto = model([node("Loop", ["n", "", "x"], ["y"], body=body(0))], [value("n", INT64), value("x", FLOAT, 2)],
                  [value("y", FLOAT, None)])
    compiled = compile_model(proto, tmp_path)
    for n in [1, 2]:
        compare(proto, compiled, {"n": np.array(n), "x": floats(2)})
