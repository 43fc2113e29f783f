# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that read well and whose subgraphs, attributes or shapes cannot be: what the legalizer refuses.

A case is a function that returns a model and is decorated with the expected code and a piece of the message. Its node
at fault is called "/bad"."""

from functools import partial

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

CASES = []


def value(name, dims=(4,), kind=T.FLOAT):
    return h.make_tensor_value_info(name, kind, dims)


def node(op, inputs, outputs, **attributes):
    return h.make_node(op, inputs, outputs, **attributes)


def model(nodes, inputs, outputs, initializers=()):
    whole = h.make_graph(nodes, "main_graph", inputs, outputs, list(initializers))
    return h.make_model(whole, opset_imports=[h.make_opsetid("", 17)], ir_version=10)


def case(code, text):
    def register(function):
        CASES.append((function.__name__, function, code, text))
        return function

    return register


def graph(nodes, inputs, outputs):
    return h.make_graph(nodes, "body", inputs, outputs)


def constant(name, data):
    return nh.from_array(np.asarray(data), name)


def one(op, inputs, *, dims=(2, 3, 8, 8), kind=T.FLOAT, outputs=("y",), constants=None, **attributes):
    """The bad node alone: x is the model's input, all others are constants."""
    initializers = [constant(name, data) for name, data in (constants or {}).items()]
    return model([node(op, inputs, list(outputs), name="/bad", **attributes)], [value("x", dims, kind)],
                 [value("y", None)], initializers)


# --- If --------------------------------------------------------------------------------------------------------------


def branch(op="Relu", source="x", result="r", kind=T.FLOAT, more=()):
    return graph([node(op, [source], [result])], [], [value(result, None, kind), *more])


def choice(then_branch=None, else_branch=None, condition=T.BOOL, dims=(), outputs=("y",), **attributes):
    if then_branch is not None:
        attributes["then_branch"] = then_branch
    if else_branch is not None:
        attributes["else_branch"] = else_branch
    return model([node("If", ["c"], list(outputs), name="/bad", **attributes)], [value("x"), value("c", dims, condition)],
                 [value("y", None)])


@case("E0303", "else_branch")
def if_without_an_else():
    return choice(branch())


@case("E0303", "then_branch")
def if_without_a_then():
    return choice(None, branch())


@case("E0303", "then_branch")
def if_whose_branch_is_a_number():
    return choice(else_branch=branch(), then_branch=3)


@case("E0305", "outputs, the node")
def if_whose_branch_has_too_many_outputs():
    return choice(branch(more=[value("x")]), branch("Neg"))


@case("E0305", "outputs, the node")
def if_whose_branch_has_too_few_outputs():
    return choice(branch(), branch("Neg"), outputs=("y", "z"))


@case("E0305", "a branch has 0 outputs, the node 1")
def if_whose_branch_has_no_outputs():
    return choice(graph([], [], []), branch())


@case("E0305", "input")
def if_whose_branch_has_inputs():
    return choice(graph([node("Relu", ["i"], ["r"])], [value("i")], [value("r")]), branch())


@case("E0306", "the branches give elements")
def if_whose_branches_differ_in_type():
    cast = graph([node("Cast", ["x"], ["r"], to=T.INT32)], [], [value("r", None, T.INT32)])
    return choice(branch(), cast)


@case("E0306", "a condition must be a bool")
def if_on_a_float():
    return choice(branch(), branch("Neg"), condition=T.FLOAT)


@case("E0306", "a condition must be a bool of one element")
def if_on_two_conditions():
    return choice(branch(), branch("Neg"), dims=(2,))


@case("E0308", "dimensions in one branch")
def if_whose_branches_differ_in_rank():
    flat = graph([node("ReduceSum", ["x"], ["r"], keepdims=0)], [], [value("r", None)])
    return choice(branch(), flat)


@case("E0201", "\"nothing\"")
def if_that_captures_nothing():
    return choice(branch(source="nothing"), branch())


# --- Loop ------------------------------------------------------------------------------------------------------------


def body(nodes=None, inputs=None, outputs=None):
    return graph([node("Neg", ["v"], ["w"]), node("Identity", ["c"], ["d"])] if nodes is None else nodes,
                 [value("i", (), T.INT64), value("c", (), T.BOOL), value("v")] if inputs is None else inputs,
                 [value("d", (), T.BOOL), value("w", None)] if outputs is None else outputs)


def loop(inside=None, inputs=("n", "t", "x"), outputs=("y",), trips=3, **attributes):
    if inside is not None:
        attributes["body"] = inside
    return model([node("Loop", list(inputs), list(outputs), name="/bad", **attributes)], [value("x")], [value("y", None)],
                 [constant("n", trips), constant("t", True)])


@case("E0303", "body")
def loop_without_a_body():
    return loop()


@case("E0303", "body")
def loop_whose_body_is_text():
    return loop(body="Relu")


@case("E0305", "outputs")
def loop_whose_body_lacks_an_output():
    return loop(body(outputs=[value("d", (), T.BOOL)]))


@case("E0305", "outputs")
def loop_whose_body_has_an_output_more():
    return loop(body(outputs=[value("d", (), T.BOOL), value("w"), value("v")]))


@case("E0305", "input")
def loop_whose_body_lacks_an_input():
    return loop(body([node("Neg", ["x"], ["w"]), node("Identity", ["c"], ["d"])],
                     [value("i", (), T.INT64), value("c", (), T.BOOL)]))


@case("E0305", "input")
def loop_whose_body_has_no_inputs():
    return loop(graph([node("Neg", ["x"], ["w"]), node("Identity", ["t"], ["d"])], [],
                      [value("d", (), T.BOOL), value("w")]))


@case("E0305", "values are carried")
def loop_that_carries_more_than_it_gives():
    return loop(body(), inputs=("n", "t", "x", "x"))


@case("E0305", "is absent")
def loop_that_carries_nothing():
    return loop(body(), inputs=("n", "t", "", "x"), outputs=("y", "z"))


@case("E0306", "element")
def loop_whose_value_changes_its_type():
    return loop(body([node("Cast", ["v"], ["w"], to=T.INT32), node("Identity", ["c"], ["d"])],
                     outputs=[value("d", (), T.BOOL), value("w", None, T.INT32)]))


@case("E0308", "dimension")
def loop_whose_value_changes_its_rank():
    return loop(body([node("ReduceSum", ["v"], ["w"], keepdims=0), node("Identity", ["c"], ["d"])]))


@case("E0306", "a condition must be a bool")
def loop_whose_condition_is_a_float():
    return loop(body(outputs=[value("w", None), value("w", None)]))


@case("E0307", "the number of iterations must be one integer")
def loop_of_two_trip_counts():
    return loop(body(), trips=[3, 4])


@case("E0201", "\"nothing\"")
def loop_that_captures_nothing():
    return loop(body([node("Add", ["v", "nothing"], ["w"]), node("Identity", ["c"], ["d"])]))


# --- Scan ------------------------------------------------------------------------------------------------------------


def scan(inside=None, inputs=("s", "x"), outputs=("z", "y"), dims=(5, 4), **attributes):
    if inside is not None:
        attributes["body"] = inside
    return model([node("Scan", list(inputs), list(outputs), name="/bad", **attributes)], [value("x", dims)],
                 [value("y", None)], [constant("s", np.zeros(4, np.float32))])


def step(outputs=2, inputs=2):
    return graph([node("Add", ["a", "b"] if inputs == 2 else ["a", "a"], ["p"]), node("Neg", ["p"], ["q"])],
                 [value("a"), value("b")][:inputs], [value("p"), value("q")][:outputs])


@case("E0303", "body")
def scan_without_a_body():
    return scan(num_scan_inputs=1)


@case("E0303", "num_scan_inputs")
def scan_without_a_count():
    return scan(step())


@case("E0304", "num_scan_inputs")
def scan_of_no_inputs():
    return scan(step(), num_scan_inputs=0)


@case("E0304", "num_scan_inputs")
def scan_of_more_inputs_than_there_are():
    return scan(step(), num_scan_inputs=3)


@case("E0304", "num_scan_inputs")
def scan_of_huge_count():
    return scan(step(), num_scan_inputs=2**63 - 1)


@case("E0305", "output")
def scan_whose_body_lacks_an_output():
    return scan(step(outputs=1), num_scan_inputs=1)


@case("E0305", "input")
def scan_whose_body_lacks_an_input():
    return scan(step(inputs=1), num_scan_inputs=1)


@case("E0304", "scan_input_axes is 7")
def scan_over_an_axis_that_is_none():
    return scan(step(), num_scan_inputs=1, scan_input_axes=[7])


@case("E0304", "scan_input_axes")
def scan_of_too_many_axes():
    return scan(step(), num_scan_inputs=1, scan_input_axes=[0, 1])


@case("E0304", "scan_input_directions")
def scan_in_no_direction():
    return scan(step(), num_scan_inputs=1, scan_input_directions=[2])


# --- attributes and sizes --------------------------------------------------------------------------------------------

W = np.ones((4, 3, 3, 3), np.float32)
HUGE = 2**62
LIMIT = 281474976710655

# Operator, attributes, expected code and message; Conv gets W as its filter.
ATTRIBUTES = [
    ("Conv", {"strides": [-1, 1]}, "E0304", "strides[0] is -1, must be from 1 to 16777216"),
    ("Conv", {"strides": [1]}, "E0304", "strides has 1 elements, must have 2"),
    ("Conv", {"strides": [1, 1, 1]}, "E0304", "strides has 3 elements, must have 2"),
    ("Conv", {"strides": [HUGE, HUGE]}, "E0304", f"strides[0] is {HUGE}, must be from 1 to 16777216"),
    ("Conv", {"dilations": [-3, 1]}, "E0304", "dilations[0] is -3, must be from 1 to 16777216"),
    ("Conv", {"dilations": [HUGE, 1]}, "E0304", f"dilations[0] is {HUGE}, must be from 1 to 16777216"),
    ("Conv", {"pads": [-9, 0, 0, 0]}, "E0304", "pads[0] is -9, must be from 0 to 16777216"),
    ("Conv", {"pads": [HUGE, 0, HUGE, 0]}, "E0304", f"pads[0] is {HUGE}, must be from 0 to 16777216"),
    ("Conv", {"pads": [0, 0, 0]}, "E0304", "pads has 3 elements, must have 4"),
    ("Conv", {"group": -1}, "E0304", "group is -1, must be at least 1"),
    ("Conv", {"group": HUGE}, "E0307", f"takes 3 in each of {HUGE} groups"),
    ("Conv", {"kernel_shape": [0, 3]}, "E0304", "kernel_shape is [0, 3], but the filter's window is [3, 3]"),
    ("Conv", {"kernel_shape": [3]}, "E0304", "kernel_shape is [3], but the filter's window is [3, 3]"),
    ("Conv", {"auto_pad": "ALL"}, "E0304", 'auto_pad is "ALL"'),
    ("MaxPool", {"kernel_shape": [0, 0]}, "E0304", "kernel_shape[0] is 0, must be from 1 to 16777216"),
    ("MaxPool", {"kernel_shape": [HUGE, HUGE]}, "E0304", f"kernel_shape[0] is {HUGE}, must be from 1 to 16777216"),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [0, 1]}, "E0304", "strides[0] is 0, must be from 1 to 16777216"),
    ("AveragePool", {"kernel_shape": [2]}, "E0304", "kernel_shape has 1 elements, must have 2"),
    ("AveragePool", {"kernel_shape": [2, 2], "pads": [HUGE] * 4}, "E0304", f"pads[0] is {HUGE}, must be from 0 to"),
    ("Softmax", {"axis": -5}, "E0304", "axis is -5, but the operand has 4 dimensions"),
    ("Softmax", {"axis": -(2**63)}, "E0304", "axis is -9223372036854775808, but the operand has 4 dimensions"),
    ("Flatten", {"axis": 5}, "E0304", "axis is 5, but the operand has 4 dimensions"),
    ("ArgMax", {"axis": 2**63 - 1}, "E0304", "axis is 9223372036854775807, but the operand has 4 dimensions"),
    ("Transpose", {"perm": [0, 1, 2]}, "E0304", "perm is [0, 1, 2], which does not permute 4 dimensions"),
    ("Transpose", {"perm": [0, 1, 2, 2**40]}, "E0304", "which does not permute 4 dimensions"),
    ("ReduceMean", {"axes": [9]}, "E0304", "axes is 9, but the operand has 4 dimensions"),
    ("ReduceMean", {"axes": [0, 0]}, "E0304", "axes names dimension 0 twice"),
    ("DepthToSpace", {"blocksize": 0}, "E0304", "blocksize is 0, must be from 1 to 16777216"),
    ("DepthToSpace", {"blocksize": HUGE}, "E0304", f"blocksize is {HUGE}, must be from 1 to 16777216"),
    ("SpaceToDepth", {"blocksize": -2}, "E0304", "blocksize is -2, must be from 1 to 16777216"),
    ("LRN", {"size": 0}, "E0304", "size is 0, must be from 1 to 16777216"),
    ("LRN", {"size": -7}, "E0304", "size is -7, must be from 1 to 16777216"),
    ("Cast", {"to": -1}, "E0304", "to is -1, which is no element type"),
    ("Cast", {"to": 0}, "E0304", "to is 0, which is no element type"),
    ("Shrink", {"bias": "much"}, "E0303", 'attribute "bias" is a string, must be a float'),
    ("Hardmax", {"axis": 4}, "E0304", "axis is 4, but the operand has 4 dimensions"),
    ("LpNormalization", {"p": 7}, "E0304", "p is 7, must be 1 or 2"),
    ("EyeLike", {"dtype": 99}, "E0304", "dtype is 99, which is no element type"),
]


def integers(*numbers):
    return np.array(numbers, np.int64)


def floats(*numbers):
    return np.array(numbers, np.float32)


def zeros(*dims, dtype=np.float32):
    return np.zeros(dims, dtype)


# Operator, what stands behind x in its inputs ("" is an absent one), expected code and message.
OPERANDS = [
    ("Pad", [np.full(8, HUGE)], "E0304", f"there is a pad of {HUGE}"),
    ("Pad", [zeros(3, dtype=np.int64)], "E0307", "pads has 3 elements, but 4 dimensions are padded"),
    ("Pad", [np.full(8, -9)], "E0307", "the pads cut off 18 elements of dimension 0, which has 2"),
    ("Reshape", [integers(HUGE, HUGE, -1)], "E0307", f"expects sizes up to {LIMIT}"),
    ("Reshape", [integers(0, 0, 0, 0, 0)], "E0307", "dimension 4 of the shape is 0, which copies a dimension"),
    ("Expand", [integers(5, 5, 5, 5)], "E0307", "dimensions 2 and 5 do not broadcast"),
    ("Expand", [integers(-1)], "E0307", f"a dimension is -1, must be 0 to {LIMIT}"),
    ("Expand", [np.full(4, HUGE)], "E0307", f"a dimension is {HUGE}, must be 0 to {LIMIT}"),
    ("Tile", [integers(1, 1)], "E0307", "there are 2 repeats, but the operand has 4 dimensions"),
    ("Tile", [np.full(4, -1)], "E0307", f"a dimension is -1, must be 0 to {LIMIT}"),
    ("Tile", [np.full(4, HUGE)], "E0307", f"a dimension is {HUGE}, must be 0 to {LIMIT}"),
    ("Split", [integers(1, 9)], "E0307", "the parts have 10 elements together, but the dimension has 2"),
    ("Split", [integers(-1, 3)], "E0307", f"a dimension is -1, must be 0 to {LIMIT}"),
    ("Slice", [integers(0, 0), integers(1, 1), integers(0, 0)], "E0304", "axes names dimension 0 twice"),
    ("Slice", [integers(0), integers(1, 1)], "E0307", "starts, ends, axes and steps have 1, 2, 1 and 1 elements"),
    ("Slice", [integers(0), integers(1), integers(77)], "E0304", "axes is 77, but the operand has 4 dimensions"),
    ("Unsqueeze", [integers(99)], "E0304", "axes is 99, but the operand has 5 dimensions"),
    ("Squeeze", [integers(-9)], "E0304", "axes is -9, but the operand has 4 dimensions"),
    ("Resize", ["", floats(1, 1, np.nan, 2)], "E0307", "a scale is nan, must be above 0 and at most 65536"),
    ("Resize", ["", floats(1, 1, np.inf, 2)], "E0307", "a scale is INF, must be above 0 and at most 65536"),
    ("Resize", ["", floats(1, 1, -1, 2)], "E0307", "a scale is -1.00, must be above 0 and at most 65536"),
    ("Resize", ["", floats(1, 1, 1e30, 2)], "E0307", "must be above 0 and at most 65536"),
    ("Resize", ["", "", integers(2, 3, -4, 8)], "E0307", "the size of dimension 2 is -4"),
    ("Resize", ["", "", integers(2, 3)], "E0307", "there are 2 sizes, must be 4"),
    ("TopK", [integers(99)], "E0304", "k is 99, must be from 0 to the size of dimension 3, 8"),
    ("TopK", [integers(-1)], "E0304", "k is -1, must be from 0 to the size of dimension 3, 8"),
    ("OneHot", [np.array(-3), zeros(2)], "E0307", f"a dimension is -3, must be 0 to {LIMIT}"),
    ("OneHot", [np.array(3), zeros(5)], "E0307", "values has 5 elements, must have 2"),
    ("OneHot", [np.array(3), zeros(1)], "E0307", "values has 1 elements, must have 2"),
    ("Gather", [integers(99)], "E0307", "index 99 is out of bounds of dimension 0 with size 2"),
    ("Gather", [integers(-3)], "E0307", "index -3 is out of bounds of dimension 0 with size 2"),
    ("GatherND", [zeros(1, 9, dtype=np.int64)], "E0307", "expects tuples of 1 to 4 indices"),
    ("ScatterElements", [zeros(9, 9, 9, 9, dtype=np.int64), zeros(1, 1, 1, 1)], "E0307",
     "expects at most 3 indices along dimension 1, but there are 9"),
    ("ScatterND", [zeros(1, 5, dtype=np.int64), zeros(1)], "E0307", "expects tuples of 1 to 4 indices"),
    ("Conv", [zeros(4, 3, 0, 3)], "E0307", "dimension 2 of the filter is 0, a window has at least 1"),
    ("Conv", [np.float32(1)], "E0307", "input and filter have 4 and 0 dimensions"),
    ("Conv", [W, zeros(5)], "E0307", "the bias has 5 elements, but there are 4 feature maps"),
    ("Conv", [W, zeros(4, 1, 1)], "E0307", "the bias has 3 dimensions, must have 1"),
    ("Conv", [W, zeros(4, dtype=np.int64)], "E0306", "the operands have different element types, f32 and i64"),
    ("ConvTranspose", [zeros(3, 4, 3, 0)], "E0307", "dimension 3 of the filter is 0, a window has at least 1"),
    ("ConvTranspose", [zeros(3, 4, 3, 3), zeros(5)], "E0307", "the bias has 5 elements, but there are 4 feature maps"),
    ("ConvTranspose", [np.float32(1)], "E0307", "input and filter have 4 and 0 dimensions"),
    ("Dropout", [np.float32(0.5), zeros(0, dtype=bool)], "E0307", "training_mode has 0 elements, must have 1"),
    ("BatchNormalization", [zeros(7)] * 4, "E0307", "expects operands of compatible shapes"),
    ("CumSum", [np.array(44)], "E0304", "axis is 44, but the operand has 4 dimensions"),
    ("Gemm", [zeros(3, 3)], "E0307", "the operands have 4 and 2 dimensions, must have 2"),
]


def with_operands(op, operands, **attributes):
    names = [f"k{i}" if not isinstance(data, str) else "" for i, data in enumerate(operands)]
    constants = {name: data for name, data in zip(names, operands) if name}
    outputs = ("y", "z") if op in ("Split", "TopK") else ("y",)
    kind = T.INT64 if op == "OneHot" else T.FLOAT
    return one(op, ["x", *names], kind=kind, constants=constants, outputs=outputs, **attributes)


for number, (op, attributes, code, text) in enumerate(ATTRIBUTES):
    CASES.append((f"{op}_of_{next(iter(attributes))}_{number}", partial(with_operands, op, [W] if op == "Conv" else [], **attributes),
                  code, text))
for number, (op, operands, code, text) in enumerate(OPERANDS):
    CASES.append((f"{op}_with_operands_{number}", partial(with_operands, op, operands), code, text))


@case("E0304", "the step is 0")
def range_without_a_step():
    return model([node("Range", ["a", "b", "c"], ["y"], name="/bad")], [], [value("y", None, T.INT64)],
                 [constant("a", 0), constant("b", 9), constant("c", 0)])


@case("E0307", f"a dimension is {HUGE}, must be 0 to {LIMIT}")
def range_without_an_end():
    return model([node("Range", ["a", "b", "c"], ["y"], name="/bad")], [], [value("y", None, T.INT64)],
                 [constant("a", 0), constant("b", HUGE), constant("c", 1)])


@case("E0307", f"a dimension is {HUGE}, must be 0 to {LIMIT}")
def constant_of_a_huge_shape():
    return model([node("ConstantOfShape", ["s"], ["y"], name="/bad")], [], [value("y", None)],
                 [constant("s", np.full(6, HUGE))])


def all_at_once():
    """Twenty nodes, each with a problem of its own; they are called "/bad0" to "/bad19"."""
    wrong = [("Softmax", {"axis": 9}), ("Softmax", {"axis": -9}), ("Flatten", {"axis": 9}), ("ArgMax", {"axis": 9}),
             ("Transpose", {"perm": [0, 0, 1, 2]}), ("Transpose", {"perm": [0]}), ("ReduceMean", {"axes": [9]}),
             ("ReduceMax", {"axes": [-9]}), ("ReduceMin", {"axes": [0, 0]}), ("DepthToSpace", {"blocksize": 0}),
             ("SpaceToDepth", {"blocksize": 0}), ("LRN", {"size": 0}), ("Cast", {"to": 77}), ("Hardmax", {"axis": 9}),
             ("LogSoftmax", {"axis": 9}), ("MaxPool", {"kernel_shape": [0, 0]}), ("MaxPool", {"kernel_shape": [2]}),
             ("AveragePool", {"kernel_shape": [2, 2], "strides": [0, 0]}), ("ArgMin", {"axis": -9}),
             ("Concat", {"axis": 9})]
    nodes = [node(op, ["x"], [f"y{i}"], name=f"/bad{i}", **attributes) for i, (op, attributes) in enumerate(wrong)]
    return model(nodes, [value("x", (2, 3, 8, 8))], [value(f"y{i}", None) for i in range(len(wrong))])
