# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that see: the three of an OCR program, as its package ships them, and the well-known topologies that the
onnx package ships without weights."""

import pathlib

import numpy as np

OCR = {"ocr_det": "ch_PP-OCRv4_det_infer.onnx", "ocr_cls": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
       "ocr_rec": "ch_PP-OCRv4_rec_infer.onnx"}
TOPOLOGIES = ("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet",
              "vgg19", "zfnet512")


def ocr_models():
    """The paths of the detection, classification and recognition models by name."""
    from . import package_folder

    folder = package_folder("rapidocr_onnxruntime") / "models"
    return {name: folder / file for name, file in OCR.items()}


def _roles(graph):
    """What each value that stands for a weight is used as: a consumer's operator and the number of its input."""
    producers = {output: node for node in graph.node for output in node.output}
    roles = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            source = producers.get(name)
            while source is not None and source.op_type in ("Unsqueeze", "Reshape") and len(source.input) >= 1:
                name = source.input[0]
                source = producers.get(name)
            roles.setdefault(name, (node.op_type, position))
    return roles


def _weight(rng, shape, role):
    """Random numbers with which activations neither vanish nor explode."""
    values = rng.standard_normal(shape).astype(np.float32)
    if len(shape) > 1:
        return values * np.float32(np.sqrt(2 / max(1, int(np.prod(shape[1:])))))
    if role in (("BatchNormalization", 1), ("Mul", 1), ("Mul", 0)):
        return 1 + values * np.float32(0.1)
    if role == ("BatchNormalization", 4):
        return np.abs(values) + np.float32(0.5)
    return values * np.float32(0.1)


def topology(name, seed=0):
    """One of TOPOLOGIES with seeded random weights, as a ModelProto. A Softmax at the end is cut off: with such weights
    it would give one class all."""
    import onnx
    from onnx import numpy_helper

    folder = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(folder / f"light_{name}.onnx")
    graph = model.graph
    rng = np.random.default_rng(seed)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    roles = _roles(graph)
    kept, used = [], set()
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shape = tuple(int(size) for size in shapes[node.input[0]])
            weight = _weight(rng, shape, roles.get(node.output[0]))
            graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        else:
            kept.append(node)
            used.update(node.input)
    if kept[-1].op_type == "Softmax":
        graph.output[0].name = kept.pop().input[0]
        graph.output[0].type.tensor_type.ClearField("shape")
    del graph.node[:]
    graph.node.extend(kept)
    # What gave a weight its shape is left over, and a weight is no input.
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    names = {tensor.name for tensor in initializers}
    inputs = [value for value in graph.input if value.name in used and value.name not in names]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    return model
