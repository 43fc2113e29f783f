# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""If, Loop and Scan with bodies that read values around them, and recurrences."""

import numpy as np
from onnx import TensorProto, helper

from builder import BOOL, FLOAT, value_info
from samplers import sampler


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], name=f"in_{output}", **attributes)


def info(name, rank):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)


@sampler("If")
def branch(b, op):
    x = b.pick()
    y = b.broadcasting(x)
    condition = b.fresh((), BOOL)
    rank = max(x.rank, y.rank)
    then, otherwise = b.name("then"), b.name("else")
    inner = b.name("t")
    graphs = {
        "then_branch": helper.make_graph([node("Add", [x.name, y.name], inner), node("Relu", [inner], then)], "then", [],
                                         [info(then, rank)]),
        "else_branch": helper.make_graph([node("Sub", [x.name, y.name], otherwise)], "else", [], [info(otherwise, rank)])}
    b.finish(helper.make_node(op, [condition.name], [b.name("v")], name=b.name("n_"), **graphs), [condition], [x, y])


@sampler("Loop")
def loop(b, op):
    x = b.pick(exact=True)
    y = b.fresh(x.shape[-1:] if b.chance(0.5) else ())
    # Without a trip, ONNX Runtime gives a scan output no element in any dimension whose size it does not know.
    trips = b.constant(np.array(b.random.randint(1, 4), np.int64))
    names = {key: b.name(key) for key in ("i", "go", "state", "go_on", "next", "scan")}
    body = helper.make_graph(
        [node("Identity", [names["go"]], names["go_on"]), node("Add", [names["state"], y.name], names["next"]),
         node("Neg", [names["next"]], names["scan"])], "body",
        [helper.make_tensor_value_info(names["i"], TensorProto.INT64, []),
         helper.make_tensor_value_info(names["go"], TensorProto.BOOL, []), info(names["state"], x.rank)],
        [helper.make_tensor_value_info(names["go_on"], TensorProto.BOOL, []), info(names["next"], x.rank),
         info(names["scan"], x.rank)])
    b.finish(helper.make_node(op, [trips.name, "", x.name], [b.name("v"), b.name("v")], name=b.name("n_"), body=body),
             [trips, x], [y])


@sampler("Scan")
def scan(b, op):
    x = b.pick(min_rank=1, condition=lambda value: value.rank <= 3)
    state = b.fresh(x.shape[1:])
    names = {key: b.name(key) for key in ("state", "row", "next", "out")}
    body = helper.make_graph([node("Add", [names["state"], names["row"]], names["next"]),
                              node("Tanh", [names["next"]], names["out"])], "body",
                             [info(names["state"], x.rank - 1), info(names["row"], x.rank - 1)],
                             [info(names["next"], x.rank - 1), info(names["out"], x.rank - 1)])
    b.finish(helper.make_node(op, [state.name, x.name], [b.name("v"), b.name("v")], name=b.name("n_"), body=body,
                              num_scan_inputs=1), [state, x])


@sampler("LSTM", gates=4)
@sampler("GRU", gates=3)
@sampler("RNN", gates=1)
def recurrent(b, op, gates):
    # ONNX Runtime 1.32 dies of a step without inputs.
    steps, batch, inputs, hidden = (b.random.randint(1, most) for most in (4, 3, 4, 9))
    directions = b.random.choice([1, 2])
    x = b.fresh((steps, batch, inputs))
    weights = b.fresh((directions, gates * hidden, inputs), constant=True)
    recurrence = b.constant(b.numbers((directions, gates * hidden, hidden), FLOAT, -0.5, 0.5))
    bias = b.fresh((directions, 2 * gates * hidden), constant=True) if b.chance(0.7) else None
    b.add(op, [x, weights, recurrence, bias], count=2, hidden_size=hidden,
          direction="bidirectional" if directions == 2 else b.random.choice(["forward", "reverse"]))
