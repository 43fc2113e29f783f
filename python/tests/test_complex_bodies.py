# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Complex numbers, and strings, that go into and out of the bodies of control flow, against numpy."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import lathe
from run_models import BOOL, FLOAT, INT64, compile_model, graph, model, value
from test_complex import C64, C128, numbers, of

STRING = TensorProto.STRING
node = helper.make_node


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_if(tmp_path, dtype):
    """Of one shape in both branches, and of two; from around the branch, and from a constant in it."""
    constant = numbers(2, dtype=dtype)
    then = graph("then", [node("Transpose", ["x"], ["p"]), node("Identity", ["w"], ["q"])], [],
                 [value("p", of(dtype), None, None), value("q", of(dtype), 2)], w=constant)
    otherwise = graph("else", [node("Concat", ["x", "x"], ["r"], axis=0), node("Slice", ["v", "begin", "end"], ["s"])], [],
                      [value("r", of(dtype), None, None), value("s", of(dtype), 2)], begin=np.array([1]), end=np.array([3]))
    proto = model([node("Gather", ["x", "one"], ["v"]), node("If", ["c"], ["a", "b"], then_branch=then, else_branch=otherwise),
                   node("Unsqueeze", ["a", "axes"], ["y"])],
                  [value("x", of(dtype), "N", 3), value("c", BOOL)], ["y", "b"], one=np.array(1), axes=np.array([0]))
    compiled, x = compile_model(proto, tmp_path), numbers(2, 3, dtype=dtype)
    for condition, y, b in [(True, x.T, constant), (False, np.concatenate([x, x]), x[1, 1:3])]:
        got = compiled(x=x, c=np.array(condition))
        np.testing.assert_array_equal(got["y"], y[None])
        np.testing.assert_array_equal(got["b"], b)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_loop(tmp_path, dtype):
    """One value keeps its shape, one grows, one is there for each iteration."""
    body = graph("body", [node("Transpose", ["k"], ["k2"]), node("Concat", ["g", "x"], ["g2"], axis=0),
                          node("Gather", ["x", "i"], ["s"]), node("Identity", ["c"], ["c2"])],
                 [value("i", INT64), value("c", BOOL), value("k", of(dtype), 2, 2), value("g", of(dtype), None)],
                 [value("c2", BOOL), value("k2", of(dtype), 2, 2), value("g2", of(dtype), None), value("s", of(dtype))])
    proto = model([node("Loop", ["n", "", "k0", "x"], ["k", "g", "s"], body=body)],
                  [value("n", INT64), value("k0", of(dtype), 2, 2), value("x", of(dtype), "N")], ["k", "g", "s"])
    compiled, x, k = compile_model(proto, tmp_path), numbers(4, dtype=dtype), numbers(2, 2, dtype=dtype)
    for n in (0, 1, 3):
        got = compiled(n=np.array(n), k0=k, x=x)
        np.testing.assert_array_equal(got["k"], k.T if n % 2 else k)
        np.testing.assert_array_equal(got["g"], np.tile(x, n + 1))
        np.testing.assert_array_equal(got["s"], x[:n])


def scan_body(dtype):
    """Gives the state before as what is scanned, and the slice as the next state."""
    return graph("body", [node("Identity", ["part"], ["after"]), node("Unsqueeze", ["before", "axes"], ["out"])],
                 [value("before", dtype, 3), value("part", dtype, 3)], [value("after", dtype, 3), value("out", dtype, 1, 3)],
                 axes=np.array([0]))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_scan(tmp_path, dtype):
    """Backward along the last dimension, to the last one backward."""
    proto = model([node("Scan", ["s0", "x"], ["s", "y"], body=scan_body(of(dtype)), num_scan_inputs=1, scan_input_axes=[-1],
                        scan_input_directions=[1], scan_output_axes=[-1], scan_output_directions=[1])],
                  [value("s0", of(dtype), 3), value("x", of(dtype), 3, "N")], ["s", "y"])
    s0, x = numbers(3, dtype=dtype), numbers(3, 5, dtype=dtype)
    got = compile_model(proto, tmp_path)(s0=s0, x=x)
    np.testing.assert_array_equal(got["s"], x[:, 0])
    states = [s0, *x.T[:0:-1]]
    np.testing.assert_array_equal(got["y"], np.stack(states[::-1], -1)[None])


def test_scan_of_a_batch(tmp_path):
    """Opset 8: each element of a batch by itself."""
    body = graph("body", [node("Identity", ["part"], ["after"]), node("Identity", ["before"], ["out"])],
                 [value("before", C64, 3), value("part", C64, 3)], [value("after", C64, 3), value("out", C64, 3)])
    proto = model([node("Scan", ["", "s0", "x"], ["s", "y"], body=body, num_scan_inputs=1)],
                  [value("s0", C64, "B", 3), value("x", C64, "B", "N", 3)], ["s", "y"], opset=8)
    s0, x = numbers(2, 3), numbers(2, 4, 3)
    got = compile_model(proto, tmp_path)(s0=s0, x=x)
    np.testing.assert_array_equal(got["s"], x[:, -1])
    np.testing.assert_array_equal(got["y"], np.concatenate([s0[:, None], x[:, :-1]], 1))


def test_scan_of_strings(tmp_path):
    proto = model([node("Scan", ["s0", "x"], ["s", "y"], body=scan_body(STRING), num_scan_inputs=1, scan_output_axes=[1])],
                  [value("s0", STRING, 3), value("x", STRING, "N", 3)], ["s", "y"])
    s0, x = np.array(["", "a", "b"], object), np.array([["c", "d", "e"], ["f", "g", "h"]], object)
    got = compile_model(proto, tmp_path)(s0=s0, x=x)
    np.testing.assert_array_equal(got["s"], x[1])
    np.testing.assert_array_equal(got["y"], np.stack([s0, x[0]])[None])


def test_iterations_one_behind_the_other(tmp_path):
    """A loop over a sequence is unrolled."""
    body = graph("body", [node("SequenceAt", ["parts", "i"], ["part"]), node("Gather", ["k", "part"], ["k2"]),
                          node("Identity", ["k"], ["s"]), node("Identity", ["c"], ["c2"])],
                 [value("i", INT64), value("c", BOOL), value("k", C128, 3)],
                 [value("c2", BOOL), value("k2", C128, 3), value("s", C128, 3)])
    proto = model([node("SequenceConstruct", ["a", "b"], ["parts"]), node("Loop", ["n", "", "k0"], ["k", "s"], body=body)],
                  [value("a", INT64, 3), value("b", INT64, 3), value("k0", C128, 3)], ["k", "s"], n=np.array(2))
    k, a, b = numbers(3, dtype=np.complex128), np.array([1, 2, 0]), np.array([2, 2, 1])
    got = compile_model(proto, tmp_path)(k0=k, a=a, b=b)
    np.testing.assert_array_equal(got["k"], k[a][b])
    np.testing.assert_array_equal(got["s"], [k, k[a]])


def refuse(proto, folder, code, message):
    with pytest.raises(lathe.ModelError, match=message) as caught:
        compile_model(proto, folder)
    assert caught.value.code == code


def test_numbers_of_one_kind_in_one_branch_alone(tmp_path):
    branches = {branch: graph(branch, [node("Identity", [name], [branch])], [], [helper.make_empty_tensor_value_info(branch)])
                for branch, name in (("then_branch", "x"), ("else_branch", "z"))}
    proto = model([node("If", ["c"], ["y"], name="/choice", **branches)],
                  [value("x", C64, "N"), value("z", FLOAT, "N"), value("c", BOOL)], ["y"])
    refuse(proto, tmp_path, "E0306", "result 0 is of complex numbers in one branch, of numbers in the other")


def test_a_carried_value_that_becomes_complex(tmp_path):
    body = graph("body", [node("Identity", ["z"], ["k2"]), node("Identity", ["c"], ["c2"])],
                 [value("i", INT64), value("c", BOOL), value("k", FLOAT, 2)], ["c2", "k2"])
    proto = model([node("Loop", ["n", "", "x"], ["y"], body=body, name="/loop")],
                  [value("n", INT64), value("x", FLOAT, 2), value("z", C64, 2)], ["y"])
    refuse(proto, tmp_path, "E0306", "a carried value is of numbers at first, of complex numbers after an iteration")


def test_maps_over_sequences_give_no_complex_numbers(tmp_path):
    body = graph("body", [node("Gather", ["x", "part"], ["p"])], [value("part", INT64, 2)], ["p"])
    proto = model([node("SequenceConstruct", ["a", "a"], ["parts"]), node("SequenceMap", ["parts"], ["ys"], body=body, name="/map"),
                   node("ConcatFromSequence", ["ys"], ["y"], axis=0)],
                  [value("a", INT64, 2), value("x", C64, "N")], ["y"], opset=18)
    refuse(proto, tmp_path, "E0308", 'SequenceMap "/map": the body gives a tensor of complex numbers')
