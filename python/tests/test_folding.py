# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is computed from weights when the artifact is written is what kernels compute, to the last bit."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from reports import compile_with_report

import lathe

# Above the bytes of constants that folders of ops take, and no multiple of what is computed at a time.
SHAPE = (7, 411)

UNARY = ["Abs", "Acos", "Asin", "Atan", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
         "Log", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Sqrt", "Tan",
         "Tanh"]
BINARY = ["Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"]
NUMBERS = ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


def numbers(dtype: str, seed: int) -> np.ndarray:
    """Numbers of every size and sign, and all that is special about floats."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(SHAPE) * np.exp(rng.uniform(-20, 20, SHAPE))
    if dtype == "bool":
        return values > 0
    if dtype.startswith("float"):
        values.flat[:8] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-320]
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, SHAPE, dtype=dtype, endpoint=True)
    values.flat[:4] = [info.min, info.max, 0, 1]
    return values


def check(tmp_path, nodes, weights: dict[str, np.ndarray], outputs: list[str], folded: list[str]) -> None:
    """Every output, once of weights and once of inputs of the same values."""
    types = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in weights.items()}
    twice = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    for node in twice:
        node.name = node.name + "_run"
        node.input[:] = [name and "run_" + name for name in node.input]
        node.output[:] = ["run_" + name for name in node.output]
    graph = helper.make_graph(
        nodes + twice, "folding", [helper.make_tensor_value_info("run_" + n, types[n], w.shape) for n, w in weights.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs + ["run_" + name for name in outputs]],
        [numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), strict_mode=True)
    onnx.save(model, tmp_path / "m.onnx")
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "m.so")
    results = lathe.load(tmp_path / "m.so")({"run_" + name: value for name, value in weights.items()})
    for name in outputs:
        ahead, run = results[name], results["run_" + name]
        differ = (ahead.view(np.uint8) != run.view(np.uint8)) & ~np.repeat(
            np.isnan(run) if run.dtype.kind == "f" else np.zeros(run.shape, bool), run.itemsize, -1)
        assert not differ.any(), (name, ahead[ahead != run][:5], run[ahead != run][:5])
    found = {remark["node"] for remark in report["remarks"]
             if (remark["pass"], remark["kind"]) == ("nn-fold-weights", "passed")}
    assert found == set(folded)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_floats(tmp_path, dtype):
    nodes = [helper.make_node(kind, ["x"], [f"y{i}"], kind) for i, kind in enumerate(UNARY)]
    nodes += [helper.make_node(kind, ["x", "z"], [f"z{i}"], kind) for i, kind in enumerate(BINARY)]
    check(tmp_path, nodes, {"x": numbers(dtype, 1), "z": numbers(dtype, 2)}, [node.output[0] for node in nodes],
          UNARY + BINARY)


@pytest.mark.parametrize("dtype", [name for name in NUMBERS if "int" in name])
def test_integers(tmp_path, dtype):
    kinds = ["Add", "Div", "Max", "Min", "Mul", "Sub", "Less", "Equal", "Mod"]
    nodes = [helper.make_node(kind, ["x", "z"], [kind], kind) for kind in kinds]
    # Only the run can report a division by zero.
    folded = [kind for kind in kinds if kind not in ("Div", "Mod")]
    divisors = numbers(dtype, 2)
    divisors[divisors == 0] = 3
    check(tmp_path, nodes, {"x": numbers(dtype, 1), "z": divisors}, kinds, folded)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_casts(tmp_path, dtype):
    to = [name for name in NUMBERS if name != dtype]
    nodes = [helper.make_node("Cast", ["x"], [name], name, to=helper.np_dtype_to_tensor_dtype(np.dtype(name)))
             for name in to]
    check(tmp_path, nodes, {"x": numbers(dtype, 1)}, to, to)


def test_arrangements(tmp_path):
    """Views of views, with broadcasts, negative steps and joins, then something computed of each."""
    nodes = [
        helper.make_node("Constant", [], ["starts"], value_ints=[400, 5]),
        helper.make_node("Constant", [], ["ends"], value_ints=[1, 0]),
        helper.make_node("Constant", [], ["axes"], value_ints=[1, 0]),
        helper.make_node("Constant", [], ["steps"], value_ints=[-3, -1]),
        helper.make_node("Constant", [], ["shape"], value_ints=[19, 5, 7]),
    ]
    views = [
        helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["sliced"], "slice"),
        helper.make_node("Transpose", ["sliced"], ["turned"], "turn"),
        helper.make_node("Reshape", ["turned", "shape"], ["shaped"], "shape"),
        helper.make_node("Concat", ["shaped", "shaped"], ["joined"], "join", axis=1),
        helper.make_node("Mul", ["joined", "scale"], ["scaled"], "scale"),
        helper.make_node("Gather", ["scaled", "index"], ["chosen"], "choose", axis=1),
        helper.make_node("Where", ["mask", "scaled", "scale"], ["masked"], "mask"),
    ]
    rng = np.random.default_rng(3)
    weights = {"x": numbers("float32", 1), "scale": rng.standard_normal((19, 1, 7)).astype("float32"),
               "index": rng.integers(-10, 10, (4, 9)), "mask": rng.random((19, 10, 7)) > 0.5}
    check(tmp_path, nodes + views, weights, ["shaped", "scaled", "chosen", "masked"],
          ["scale", "choose", "mask"])
