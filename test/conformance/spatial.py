# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Single nodes with made-up attributes against ONNX Runtime, many in one model: compiling is what takes time."""

import dataclasses
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import lathe

FULL = bool(os.environ.get("LATHE_TEST_FULL"))
BATCH = 8


@dataclasses.dataclass
class Case:
    """One node: its first operand is the model's input, the others are constants (None is left out)."""

    op: str
    inputs: list
    attributes: dict
    outputs: int = 1
    dynamic: bool = False

    def __str__(self):
        shapes = [None if x is None else list(np.shape(x)) for x in self.inputs]
        return f"{self.op} {shapes} {self.attributes} {'symbolic' if self.dynamic else 'static'}"


def build_model(cases, opset):
    inputs, outputs, nodes, constants = [], [], [], []
    for number, case in enumerate(cases):
        x = case.inputs[0]
        shape = [f"d{number}_{i}" if case.dynamic and i != 1 else size for i, size in enumerate(x.shape)]
        inputs.append(helper.make_tensor_value_info(f"x{number}", helper.np_dtype_to_tensor_dtype(x.dtype), shape))
        names = [f"x{number}"]
        for position, constant in enumerate(case.inputs[1:]):
            names.append("" if constant is None else f"c{number}_{position}")
            if constant is not None:
                constants.append(numpy_helper.from_array(constant, names[-1]))
        results = [f"y{number}_{i}" for i in range(case.outputs)]
        nodes.append(helper.make_node(case.op, names, results, **case.attributes))
        for i, name in enumerate(results):
            element = TensorProto.INT64 if i else helper.np_dtype_to_tensor_dtype(x.dtype)
            outputs.append(helper.make_tensor_value_info(name, element, None))
    graph = helper.make_graph(nodes, "spatial", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def check(cases, folder, opset, tolerance=1e-4):
    """Asserts that every case gives what ONNX Runtime gives."""
    failures = []
    for start in range(0, len(cases), BATCH):
        batch = cases[start:start + BATCH]
        path = folder / f"{start}.onnx"
        onnx.save(build_model(batch, opset), path)
        feeds = {f"x{number}": case.inputs[0] for number, case in enumerate(batch)}
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        expected = onnxruntime.InferenceSession(path, options).run(None, feeds)
        got = list(lathe.compile(path, folder / f"{start}.so")(**feeds).values())
        owners = [case for case in batch for _ in range(case.outputs)]
        for case, result, wanted in zip(owners, got, expected, strict=True):
            scale = max(float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)), 1e-30)
            same = result.shape == wanted.shape and np.allclose(result, wanted, rtol=tolerance, atol=tolerance * scale,
                                                                equal_nan=True)
            if not same:
                failures.append(f"{case}: {result.shape} {wanted.shape}")
    assert not failures, "\n".join(failures)
