# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products and convolutions of com.microsoft with what is fused into them, against ONNX Runtime; all of it with
LATHE_TEST_FULL=1."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import check, compare, lathe, run, runtime  # noqa: E402
from test_contrib_norms import MODES, MS, TOLERANCE, expand, numbers, sample  # noqa: E402

TRANSPOSES = [(a, b) for a in (0, 1) for b in (0, 1)]


def stored(shape, last, batch):
    """The shape of an operand that is to be [batch..., rows, columns] after its transposes."""
    shape = list(shape)
    if last:
        shape[-1], shape[-2] = shape[-2], shape[-1]
    if batch:
        shape.insert(0, shape.pop(-2))
    return shape


@pytest.mark.parametrize("dtype,shapes,trans,batch,alpha,mode", sample(
    [np.float32, np.float64],
    [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 2, 3, 4), (2, 2, 4, 5)), ((2, 3, 4), (1, 4, 5))],
    TRANSPOSES, TRANSPOSES, [1.0, -0.25], MODES, step=29))
def test_fused_matmul(dtype, shapes, trans, batch, alpha, mode):
    if len(shapes[0]) == 2:
        batch = (0, 0)
    a, b = (numbers(*stored(shape, *flags), dtype=dtype) for shape, *flags in zip(shapes, trans, batch))
    inputs = {"a": a, "b": b}
    check("FusedMatMul", inputs, ["y"], domain=MS, **TOLERANCE[dtype], **expand(mode, inputs), alpha=alpha,
          transA=trans[0], transB=trans[1], transBatchA=batch[0], transBatchB=batch[1])


@pytest.mark.parametrize("shapes", [((4,), (4, 5)), ((2, 3, 4), (4,)), ((3, 4), (2, 4, 5))])
def test_fused_matmul_like_numpy(shapes):
    inputs = {"a": numbers(*shapes[0]), "b": numbers(*shapes[1])}
    check("FusedMatMul", inputs, ["y"], domain=MS, alpha=2.0)


ACTIVATIONS = [("Relu", {}), ("Tanh", {}), ("Sigmoid", {}), ("Softplus", {}), ("Softsign", {}),
               ("LeakyRelu", {"alpha": 0.2}), ("Elu", {"alpha": 1.5}), ("Celu", {"alpha": 0.7}),
               ("Selu", {"alpha": 1.6, "gamma": 1.05}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
               ("ThresholdedRelu", {"alpha": 0.5})]


@pytest.mark.parametrize("activation,parameters", ACTIVATIONS)
@pytest.mark.parametrize("trans,c,mode", sample(TRANSPOSES, [None, (), (5,), (3, 1), (3, 5)], MODES, step=29))
def test_fused_gemm(activation, parameters, trans, c, mode):
    inputs = {"a": numbers(*stored((3, 4), trans[0], 0)), "b": numbers(*stored((4, 5), trans[1], 0)),
              "c": None if c is None else numbers(*c)}
    check("FusedGemm", inputs, ["y"], domain=MS, **expand(mode, inputs), transA=trans[0], transB=trans[1], alpha=0.5,
          beta=2.0, activation=activation, **{f"activation_{name}": value for name, value in parameters.items()})


def test_an_unknown_activation_is_an_error():
    with pytest.raises(lathe.ModelError, match='names the unknown function "Cosine"'):
        run("FusedGemm", {"a": numbers(3, 4), "b": numbers(4, 5)}, ["y"], domain=MS, activation="Cosine")


CONVOLUTIONS = [((1, 3, 9, 8), (4, 3, 3, 3), {"pads": [1, 0, 2, 1]}),
                ((2, 8, 7, 7), (8, 1, 3, 3), {"group": 8, "strides": [2, 1]}), ((1, 8, 5, 6), (16, 8, 1, 1), {}),
                ((2, 6, 11), (4, 3, 3), {"group": 2, "dilations": [2], "auto_pad": "VALID"}),
                ((1, 3, 7, 7), (5, 3, 2, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 2]})]
CONV_ACTIVATIONS = [(None, []), ("Relu", []), ("Tanh", []), ("Sigmoid", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.7]),
                    ("HardSigmoid", [0.3, 0.4])]


@pytest.mark.parametrize("case,activation,bias,addend,mode",
                         sample(CONVOLUTIONS, CONV_ACTIVATIONS, [False, True], [False, True], MODES, step=13))
def test_fused_conv(case, activation, bias, addend, mode):
    shape, filters, attributes = case
    inputs = {"x": numbers(*shape), "w": numbers(*filters), "b": numbers(filters[0]) if bias else None}
    plain = runtime("Conv", inputs, ["y"], **attributes)["y"]
    inputs["z"] = numbers(*plain.shape) if addend else None
    if activation[0]:
        attributes = {**attributes, "activation": activation[0]}
        if activation[1]:
            attributes["activation_params"] = activation[1]
    if mode.get("symbolic"):
        mode = {"symbolic": True, "constants": ["w", "b"] if bias else ["w"]}
    if addend and len(shape) != 4:
        # ONNX Runtime adds only to images.
        inputs["z"] = None
    check("FusedConv", inputs, ["y"], domain=MS, **expand(mode, inputs), **attributes)


@pytest.mark.parametrize("op", ["NhwcConv", "NhwcFusedConv"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("constant", [False, True])
def test_conv_with_channels_last(op, case, constant):
    shape, filters, attributes = case
    inputs = {"x": numbers(*shape), "w": numbers(*filters), "b": numbers(filters[0])}
    want = np.moveaxis(runtime("Conv", inputs, ["y"], **attributes)["y"], 1, -1)
    inputs["x"] = np.ascontiguousarray(np.moveaxis(inputs["x"], 1, -1))
    if op == "NhwcFusedConv":
        inputs["z"] = numbers(*want.shape)
        want = np.maximum(want + inputs["z"], 0)
        attributes = {**attributes, "activation": "Relu"}
    options = {"constants": ["w", "b"]} if constant else {}
    compare(run(op, inputs, ["y"], domain=MS, **options, **attributes), {"y": want})
