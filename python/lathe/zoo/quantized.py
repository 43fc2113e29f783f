# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models as ONNX Runtime's quantizer writes them: integers of 8 bits, with ranges that are measured before or while the
model runs."""

import pathlib
import tempfile

import numpy as np


def quantize_static(model, inputs, path, reduce_range=False):
    """Writes `model`, a ModelProto, with QuantizeLinear and DequantizeLinear around its operators. `inputs` are
    dictionaries of arrays that its ranges are measured with. What a runtime folds without integers is folded before.
    `reduce_range`: weights of 7 bits, whose products ONNX Runtime sums up exactly without VNNI, too."""
    import onnx
    import onnx.version_converter
    import onnxruntime
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.rest = iter(inputs)

        def get_next(self):
            return next(self.rest, None)

    model.ir_version = 10
    # A scale for each channel is newer than many models.
    if next(entry.version for entry in model.opset_import if entry.domain == "") < 13:
        model = onnx.version_converter.convert_version(model, 13)
    with tempfile.TemporaryDirectory() as folder:
        simple = pathlib.Path(folder) / "simple.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(simple)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        model = onnx.load(simple)
        # Others than its own are those of operators that it might have had.
        own = next(entry for entry in model.opset_import if entry.domain == "")
        del model.opset_import[:]
        model.opset_import.append(own)
        onnx.save(onnx.shape_inference.infer_shapes(model), simple)
        quantization.quantize_static(simple, path, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                                     activation_type=quantization.QuantType.QUInt8,
                                     weight_type=quantization.QuantType.QInt8, reduce_range=reduce_range)


def quantize_dynamic(source, path, reduce_range=False):
    """Writes the model in the file `source` with products of integers, whose left-hand sides are quantized as they come;
    `reduce_range` as of quantize_static."""
    import onnx
    from onnxruntime import quantization

    model = onnx.load(source)
    # The quantizer wants weights to be initializers.
    for node in [node for node in model.graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]:
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        model.graph.node.remove(node)
    quantization.quantize_dynamic(model, path, weight_type=quantization.QuantType.QInt8, per_channel=True,
                                  reduce_range=reduce_range)


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


def _blocks(matrix, bits, block):
    """A [K, N] matrix as MatMulNBits stores it, rounded to nearest: bytes [N, K / block, block * bits / 8] and f32 scales."""
    depth, columns = matrix.shape
    parts = np.ascontiguousarray(matrix.T).reshape(columns, depth // block, block)
    extreme = np.take_along_axis(parts, np.abs(parts).argmax(-1)[..., None], -1)
    scales = (extreme / -(1 << bits - 1)).astype("f4")
    codes = np.rint(np.divide(parts, scales, out=np.zeros_like(parts), where=scales != 0)) + (1 << bits - 1)
    codes = np.clip(codes, 0, (1 << bits) - 1).astype("u1").reshape(columns, depth // block, -1, 8 // bits)
    return np.bitwise_or.reduce(codes << (bits * np.arange(8 // bits, dtype="u1")), axis=-1), scales[..., 0]


def quantize_blocks(source, path, bits=4, block=32, accuracy_level=None):
    """Writes the model in the file `source` with its products with constant matrices as MatMulNBits: what a quantizer of
    weights alone makes. Matrices whose rows fill no whole blocks stay. With an `accuracy_level` of 4, what they are
    multiplied with may be rounded to 8 bits."""
    import onnx
    from onnx import helper, numpy_helper

    model = source if isinstance(source, onnx.ModelProto) else onnx.load(source)
    matrices = {value.name: value for value in model.graph.initializer}
    replaced = set()
    for position, node in enumerate(model.graph.node):
        value = matrices.get(node.input[1]) if node.op_type == "MatMul" else None
        if value is None or len(value.dims) != 2 or value.data_type != onnx.TensorProto.FLOAT or value.dims[0] % block:
            continue
        name = value.name
        if name not in replaced:
            replaced.add(name)
            codes, scales = _blocks(numpy_helper.to_array(value), bits, block)
            model.graph.initializer.extend([numpy_helper.from_array(codes, f"{name}.codes"),
                                            numpy_helper.from_array(scales, f"{name}.scales")])
        made = helper.make_node("MatMulNBits", [node.input[0], f"{name}.codes", f"{name}.scales"], node.output, name=node.name,
                                domain="com.microsoft", K=value.dims[0], N=value.dims[1], bits=bits, block_size=block,
                                **({} if accuracy_level is None else {"accuracy_level": accuracy_level}))
        model.graph.node.remove(node)
        model.graph.node.insert(position, made)
    used = {name for node in model.graph.node for name in node.input}
    kept = [value for value in model.graph.initializer if value.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)


def float_product(rows, depth, columns, seed=0):
    """MatMul with a weight, as a ModelProto, and an input."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((depth, columns), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (rows, depth))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (rows, columns))], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return model, {"x": rng.standard_normal((rows, depth), np.float32)}
