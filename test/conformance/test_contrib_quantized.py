# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""com.microsoft's operators on quantized numbers against ONNX Runtime. What is rounded to 8 bits may differ by one."""

import itertools
import pathlib
import sys

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from nodes import build, check, compare, integer_weights, lathe, run  # noqa: E402

MS = "com.microsoft"


def numbers(rng, kind, shape):
    info = np.iinfo(kind)
    return np.asarray(rng.integers(info.min, info.max, shape, kind, endpoint=True))


def scale(rng, shape=()):
    return np.asarray(rng.uniform(0.01, 0.05, shape), "f4")


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("kind", ["u1", "i1"])
@pytest.mark.parametrize("shapes", [((2, 3, 40), (2, 3, 40)), ((2, 3, 40), (40,)), ((1,), (5, 7))])
def test_binary(op, kind, shapes):
    rng = np.random.default_rng(1)
    inputs = {}
    for name, shape in zip("ab", shapes):
        inputs |= {name: numbers(rng, kind, shape), f"{name}_scale": scale(rng), f"{name}_zero": numbers(rng, kind, ())}
    inputs |= {"y_scale": np.asarray(0.07, "f4"), "y_zero": numbers(rng, kind, ())}
    check(op, inputs, ["y"], atol=1, domain=MS)


@pytest.mark.parametrize("op,attributes", [("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2})])
@pytest.mark.parametrize("kind", ["u1", "i1"])
def test_unary(op, attributes, kind):
    rng = np.random.default_rng(2)
    y_scale, y_zero = (1 / 256, 0 if kind == "u1" else -128) if "moid" in op else (0.05, 7)
    inputs = {"x": numbers(rng, kind, (3, 20, 4)), "x_scale": scale(rng), "x_zero": numbers(rng, kind, ()),
              "y_scale": np.asarray(y_scale, "f4"), "y_zero": np.asarray(y_zero, kind)}
    check(op, inputs, ["y"], atol=1, domain=MS, constants=["x_scale", "x_zero", "y_scale", "y_zero"], **attributes)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("kind", ["u1", "i1"])
def test_softmax(opset, kind):
    """The operator's opset is an attribute of its own: before 13, all dimensions from the axis on are one."""
    import onnxruntime

    rng = np.random.default_rng(2)
    inputs = {"x": numbers(rng, kind, (3, 5, 4)), "x_scale": scale(rng), "x_zero": numbers(rng, kind, ()),
              "y_scale": np.asarray(1 / 256, "f4"), "y_zero": np.asarray(0 if kind == "u1" else -128, kind)}
    constants = [name for name in inputs if name != "x"]
    model = build("QLinearSoftmax", inputs, ["y"], domain=MS, constants=constants, axis=1)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("opset", opset))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": inputs["x"]}
    compare(lathe.compile(model)(**feeds), {"y": session.run(None, feeds)[0]}, atol=1)


def test_concat():
    rng = np.random.default_rng(3)
    inputs = {"y_scale": np.asarray(0.04, "f4"), "y_zero": numbers(rng, "u1", ())}
    for name, size in zip("abc", (3, 1, 4)):
        inputs |= {name: numbers(rng, "u1", (2, size, 5)), f"{name}_scale": scale(rng), f"{name}_zero": numbers(rng, "u1", ())}
    parameters = [name for name in inputs if "_" in name]
    check("QLinearConcat", inputs, ["y"], atol=1, domain=MS, constants=parameters, axis=1)


@pytest.mark.parametrize("op,attributes", [("QLinearGlobalAveragePool", {}), ("QLinearGlobalAveragePool", {"channels_last": 1}),
                                           ("QLinearAveragePool", {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}),
                                           ("QLinearAveragePool", {"kernel_shape": [2, 2], "strides": [2, 2],
                                                                   "count_include_pad": 1, "pads": [1, 1, 0, 0]})])
def test_pools(op, attributes):
    rng = np.random.default_rng(4)
    inputs = {"x": numbers(rng, "u1", (2, 6, 7, 8)), "x_scale": scale(rng), "x_zero": numbers(rng, "u1", ()),
              "y_scale": np.asarray(0.03, "f4"), "y_zero": numbers(rng, "u1", ())}
    check(op, inputs, ["y"], atol=1, domain=MS, **attributes)


@pytest.mark.parametrize("kind,each,bias", list(itertools.product(["u1", "i1"], [False, True], [False, True])))
def test_dynamic_quantize_matmul(kind, each, bias):
    rng = np.random.default_rng(5)
    inputs = {"a": rng.standard_normal((2, 9, 70)).astype("f4"), "b": integer_weights(rng, kind, (70, 33)),
              "b_scale": scale(rng, (33,) if each else (1,)), "b_zero": numbers(rng, kind, (33,) if each else (1,)),
              "bias": rng.standard_normal(33).astype("f4") if bias else None}
    # A number that is rounded the other way moves sums by a step of both scales and a zero point.
    check("DynamicQuantizeMatMul", inputs, ["y"], rtol=1e-3, atol=0.2, domain=MS, constants=["b", "b_scale", "b_zero"])


@pytest.mark.parametrize("kinds,each,bias", list(itertools.product([("u1", "i1"), ("u1", "u1"), ("i1", "i1")], [False, True],
                                                                   [False, True])))
def test_matmul_integer_to_float(kinds, each, bias):
    rng = np.random.default_rng(6)
    inputs = {"a": numbers(rng, kinds[0], (2, 9, 70)), "b": integer_weights(rng, kinds[1], (70, 33)),
              "a_scale": scale(rng, (1,)), "b_scale": scale(rng, (33,) if each else (1,)),
              "a_zero": numbers(rng, kinds[0], (1,)), "b_zero": numbers(rng, kinds[1], (33,) if each else (1,)),
              "bias": rng.standard_normal(33).astype("f4") if bias else None}
    check("MatMulIntegerToFloat", inputs, ["y"], domain=MS, constants=["b", "b_scale", "b_zero"])


@pytest.mark.parametrize("transposed,quantized", list(itertools.product([False, True], [False, True])))
def test_gemm(transposed, quantized):
    rng = np.random.default_rng(7)
    inputs = {"a": numbers(rng, "u1", (40, 9) if transposed else (9, 40)), "a_scale": scale(rng), "a_zero": numbers(rng, "u1", ()),
              "b": integer_weights(rng, "i1", (17, 40) if transposed else (40, 17)), "b_scale": scale(rng), "b_zero": np.asarray(0, "i1"),
              "c": numbers(rng, "i2", (17,)).astype("i4")}
    if quantized:
        inputs |= {"y_scale": np.asarray(0.9, "f4"), "y_zero": numbers(rng, "u1", ())}
    constants = [name for name in inputs if name not in "ac"]
    check("QGemm", inputs, ["y"], atol=1 if quantized else 1e-4, domain=MS, constants=constants, transA=int(transposed),
          transB=int(transposed))


def packed(q, bits):
    """Numbers of `bits` bits along the last dimension, as bytes; a last byte that is not full has zeros."""
    each = 8 // bits
    padded = np.pad(q, [(0, 0)] * (q.ndim - 1) + [(0, -q.shape[-1] % each)]).reshape(*q.shape[:-1], -1, each)
    return np.bitwise_or.reduce(padded << (bits * np.arange(each, dtype="u1")), axis=-1).astype("u1")


@pytest.mark.parametrize("bits,zeros,rows", [(4, None, 64), (4, "packed", 72), (4, "float", 64), (8, None, 40), (8, "packed", 64),
                                             (2, None, 64), (2, "packed", 100)])
@pytest.mark.parametrize("bias", [False, True])
def test_matmul_n_bits(bits, zeros, rows, bias):
    rng = np.random.default_rng(8)
    columns, block = 19, 32
    blocks = -(-rows // block)
    q = rng.integers(0, 1 << bits, (columns, blocks * block), "u1")
    scales = scale(rng, (columns, blocks))
    zero = {None: np.full((columns, blocks), 1 << bits - 1, "f4"), "packed": rng.integers(0, 1 << bits, (columns, blocks), "u1"),
            "float": rng.uniform(5, 9, (columns, blocks)).astype("f4")}[zeros]
    given = {None: None, "packed": packed(zero.astype("u1"), bits), "float": zero}[zeros]
    a = rng.standard_normal((3, 5, rows)).astype("f4")
    inputs = {"a": a, "b": packed(q, bits).reshape(columns, blocks, -1), "scales": scales, "zeros": given, "g_idx": None,
              "bias": rng.standard_normal(columns).astype("f4") if bias else None}
    weights = ((q.reshape(columns, blocks, block).astype("f4") - zero[..., None].astype("f4")) * scales[..., None])
    want = a @ weights.reshape(columns, -1)[:, :rows].T + (inputs["bias"] if bias else 0)
    constants = ["b", "scales", "zeros", "bias"]
    got = run("MatMulNBits", inputs, ["y"], domain=MS, constants=constants, K=rows, N=columns, bits=bits, block_size=block)
    compare(got, {"y": want.astype("f4")}, atol=1e-4)


def test_matmul_n_bits_of_groups():
    """Rows of the matrix in another order than their groups."""
    rng = np.random.default_rng(9)
    rows, columns, block = 64, 8, 16
    q, scales = rng.integers(0, 16, (columns, rows), "u1"), scale(rng, (columns, rows // block))
    groups = rng.permutation(np.repeat(np.arange(rows // block), block)).astype("i4")
    a = rng.standard_normal((5, rows)).astype("f4")
    inputs = {"a": a, "b": packed(q, 4).reshape(columns, rows // block, -1), "scales": scales, "zeros": None, "g_idx": groups}
    want = a @ ((q.astype("f4") - 8) * scales[:, groups]).T
    compare(run("MatMulNBits", inputs, ["y"], domain=MS, constants=["b", "scales", "g_idx"], K=rows, N=columns, bits=4,
                block_size=block), {"y": want}, atol=1e-4)


@pytest.mark.parametrize("bits,with_zeros", [(4, False), (4, True), (8, False), (8, True)])
def test_gather_block_quantized(bits, with_zeros):
    rng = np.random.default_rng(10)
    q, block = rng.integers(0, 1 << bits, (11, 64), "u1"), 16
    scales, zeros = scale(rng, (11, 4)), rng.integers(0, 1 << bits, (11, 4), "u1")
    indices = rng.integers(-11, 11, (2, 3))
    used = zeros.astype("f4") if with_zeros else np.float32(1 << bits - 1)
    want = ((q.astype("f4") - np.repeat(np.broadcast_to(used, (11, 4)), block, 1)) * np.repeat(scales, block, 1))[indices]
    inputs = {"data": packed(q, bits), "indices": indices, "scales": scales, "zeros": packed(zeros, bits) if with_zeros else None}
    got = run("GatherBlockQuantized", inputs, ["y"], domain=MS, constants=["data", "scales", "zeros"], gather_axis=0,
              quantize_axis=1, block_size=block, bits=bits)
    compare(got, {"y": want}, atol=1e-5)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("rows,columns,block", [(32, 5, 16), (33, 3, 16), (64, 8, 128)])
@pytest.mark.parametrize("constants", [(), ("b", "largest")])
def test_products_with_tables_of_16_numbers(kind, rows, columns, block, constants):
    rng = np.random.default_rng(11)
    count = rows * columns
    inputs = {"a": rng.standard_normal((2, 3, rows)).astype("f4"), "b": numbers(rng, "u1", ((count + 1) // 2,)),
              "largest": scale(rng, ((count + block - 1) // block,))}
    check("MatMulBnb4", inputs, ["y"], domain=MS, constants=constants, K=rows, N=columns, block_size=block, quant_type=kind)


@pytest.mark.parametrize("change,message", [({"quant_type": 2}, "quant_type is 2, must be 0 or 1"), ({"K": 0}, "K is 0"),
                                            ({"transB": 0}, "transB = 0"), ({"K": 8}, "operand 1 has 24 elements"),
                                            ({"b": np.zeros(24, "i1")}, "B holds i8, must hold ui8")])
def test_what_does_not_fit_a_table_of_16_numbers(change, message):
    inputs = {"a": np.zeros((3, 16), "f4"), "b": np.zeros(24, "u1"), "largest": np.zeros(3, "f4")}
    attributes = {"K": 16, "N": 3, "block_size": 16, "quant_type": 1}
    for name, value in change.items():
        (inputs if name in inputs else attributes)[name] = value
    with pytest.raises(lathe.ModelError, match=message):
        run("MatMulBnb4", inputs, ["y"], domain=MS, **attributes)
