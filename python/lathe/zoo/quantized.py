# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models as ONNX Runtime's quantizer writes them: integers of 8 bits, with ranges that are measured before or while the
model runs."""

import pathlib
import tempfile

import numpy as np


def quantize_static(model, inputs, path):
    """Writes `model`, a ModelProto, with QuantizeLinear and DequantizeLinear around its operators. `inputs` are
    dictionaries of arrays that its ranges are measured with. What a runtime folds without integers is folded before."""
    import onnx
    import onnxruntime
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.rest = iter(inputs)

        def get_next(self):
            return next(self.rest, None)

    with tempfile.TemporaryDirectory() as folder:
        simple = pathlib.Path(folder) / "simple.onnx"
        model.ir_version = 10
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(simple)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        model = onnx.load(simple)
        # A scale for each channel is newer than the models; their operators are the same.
        own = next(entry for entry in model.opset_import if entry.domain == "")
        own.version = max(own.version, 13)
        del model.opset_import[:]
        model.opset_import.append(own)
        onnx.save(onnx.shape_inference.infer_shapes(model), simple)
        quantization.quantize_static(simple, path, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                                     activation_type=quantization.QuantType.QUInt8,
                                     weight_type=quantization.QuantType.QInt8)


def quantize_dynamic(source, path):
    """Writes the model in the file `source` with products of integers, whose left-hand sides are quantized as they come."""
    from onnxruntime import quantization

    quantization.quantize_dynamic(source, path, weight_type=quantization.QuantType.QInt8, per_channel=True)


def product(rows, depth, columns, seed=0):
    """MatMulInteger with a weight, scaled to f32, as a ModelProto, and an input."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    constants = {"w": rng.integers(-127, 127, (depth, columns), np.int8), "zero": np.asarray(128, np.uint8),
                 "scale": rng.uniform(0.01, 0.02, columns).astype("f4")}
    nodes = [helper.make_node("MatMulInteger", ["x", "w", "zero"], ["sums"]),
             helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
             helper.make_node("Mul", ["floats", "scale"], ["y"])]
    graph = helper.make_graph(
        nodes, "product", [helper.make_tensor_value_info("x", TensorProto.UINT8, (rows, depth))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (rows, columns))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return model, {"x": rng.integers(0, 256, (rows, depth), np.uint8)}
