# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs whose symbols are different but must be equal, or not above one another, for an operator: a run that gives them
other values is refused before anything is read, and the session goes on."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import lathe
from run_models import compare, compile_model, model, value

F, I = TensorProto.FLOAT, TensorProto.INT64  # noqa: E741
TYPES = {F: np.float32, I: np.int64}


# operator, attributes, outputs, inputs as (type, dimensions), sizes that fit, sizes that do not
CASES = {
    "filter of other channels": ("Conv", {}, 1, [(F, (1, "C", 8, 8)), (F, (4, "D", 3, 3))], {"C": 3, "D": 3}, {"C": 3, "D": 9}),
    "a window longer than a dimension": ("AveragePool", {"kernel_shape": [3, 2], "strides": [3, 2]}, 1, [(F, (1, 2, "H", 8))],
                                         {"H": 3}, {"H": 2}),
    "a filter longer than a dimension": ("Conv", {"pads": [1, 0, 0, 0]}, 1, [(F, (1, 2, "H", 8)), (F, (1, 2, 4, 1))],
                                         {"H": 3}, {"H": 2}),
    "more than there are": ("TopK", {"k": 5}, 2, [(F, (2, "N"))], {"N": 5}, {"N": 4}),
    "lengths of other sequences": ("ReverseSequence", {}, 1, [(F, (4, "B", 2)), (I, ("L",))], {"B": 3, "L": 3},
                                   {"B": 3, "L": 1}),
    "more indices beside the axis": ("GatherElements", {"axis": 0}, 1, [(F, (3, "N")), (I, (2, "M"))], {"N": 4, "M": 3},
                                     {"N": 4, "M": 5}),
    "fewer updates than indices": ("ScatterElements", {"axis": 0}, 1, [(F, (3, "N")), (I, (1, "M")), (F, (1, "U"))],
                                   {"N": 4, "M": 3, "U": 3}, {"N": 4, "M": 3, "U": 1}),
    "slices of another size": ("ScatterND", {}, 1, [(F, (3, "N")), (I, (1, 1)), (F, (1, "U"))], {"N": 4, "U": 4},
                               {"N": 4, "U": 2}),
    "a grid for other images": ("GridSample", {}, 1, [(F, ("N", 1, 4, 4)), (F, ("M", 2, 2, 2))], {"N": 2, "M": 2},
                                {"N": 1, "M": 2}),
    "fewer images than regions": ("RoiAlign", {"output_height": 2, "output_width": 2}, 1,
                                  [(F, (1, 1, 4, 4)), (F, ("R", 4)), (I, ("S",))], {"R": 2, "S": 2}, {"R": 2, "S": 1}),
    "a state of another batch": ("LSTM", {"hidden_size": 2}, 1,
                                 [(F, (3, "B", 4)), (F, (1, 8, 4)), (F, (1, 8, 2)), None, None, (F, (1, "H", 2))],
                                 {"B": 3, "H": 3}, {"B": 3, "H": 1}),
    "a cache of another batch": ("TensorScatter", {}, 1, [(F, ("N", 4, 2)), (F, ("M", 1, 2)), (I, ("W",))],
                                 {"N": 2, "M": 2, "W": 2}, {"N": 3, "M": 2, "W": 2}),
}


def arrays(inputs, sizes):
    return {f"x{i}": np.zeros([sizes.get(dim, dim) for dim in given[1]], TYPES[given[0]])
            for i, given in enumerate(inputs) if given}


@pytest.mark.parametrize("name", CASES)
def test_refused(name, tmp_path):
    operator, attributes, outputs, inputs, good, bad = CASES[name]
    constants = {}
    attributes = dict(attributes)
    operands = [f"x{i}" if given else "" for i, given in enumerate(inputs)]
    if operator == "TopK":
        constants["k"] = np.array([attributes.pop("k")])
        operands.append("k")
    names = [f"y{i}" for i in range(outputs)]
    proto = model([helper.make_node(operator, operands, names, name="/node", **attributes)],
                  [value(f"x{i}", *[given[0], *given[1]]) for i, given in enumerate(inputs) if given],
                  names, 24 if operator == "TensorScatter" else 20, **constants)
    compiled = compile_model(proto, tmp_path)
    with pytest.raises(lathe.ModelError) as caught:
        compiled(arrays(inputs, bad))
    assert caught.value.code == "E0702" and "/node" in str(caught.value)
    if operator == "TensorScatter":  # ONNX Runtime does not have it
        compiled(arrays(inputs, good))
    else:
        compare(proto, compiled, arrays(inputs, good))
