# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a bundle for a machine with a GPU holds: models, inputs, and what they are measured against there."""

import dataclasses
import functools
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common import ROOT

sys.path.insert(0, str(ROOT / "python"))

FLOAT, FLOAT16, INT64, INT32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and the sizes it is run with.

    Attributes
    ----------
    model : callable
        Makes the ModelProto.
    inputs : callable
        From one of `sizes` and a random generator to the inputs by name.
    small : bool
        Whether compute-sanitizer runs it, which takes a hundred times as long.
    peer : str
        The function of gpu_check.py that does the same in torch, where it is measured.
    measured : tuple of dict
        The shapes of the inputs then, which get random values.
    math : str
        In which type products are computed: "" (f32, or that of the model), "bf16" or "tf32".
    tolerance : float
        How far results may be off, relative to the largest: ONNX Runtime computes all in the model's types.
    quantize : str
        The format of weights: results are then compared with those of the same compiler on a processor.
    """

    name: str
    model: object
    inputs: object
    sizes: tuple
    small: bool = False
    peer: str = ""
    measured: tuple = ()
    math: str = ""
    tolerance: float = 1e-4
    quantize: str = ""


def value(name, dtype, *dims):
    return helper.make_tensor_value_info(name, dtype, dims)


def graph(nodes, inputs, outputs, **weights):
    made = helper.make_graph(nodes, "case", inputs, outputs,
                             [numpy_helper.from_array(array, name) for name, array in weights.items()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def uniform(random, *shape):
    return random.uniform(-1, 1, shape).astype(np.float32)


def gemm(depth, columns, gelu, count="N"):
    """act(x w + b) of `count` rows"""
    random = np.random.default_rng(0)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["t"]), helper.make_node("Gelu" if gelu else "Relu", ["t"], ["y"])]
    return graph(nodes, [value("x", FLOAT, count, depth)], [value("y", FLOAT, count, columns)],
                 w=uniform(random, depth, columns), b=uniform(random, columns))


def rows(op, columns, **attributes):
    """A reduction of each row, and what follows from it."""
    weights = {}
    if op == "LayerNormalization":
        random = np.random.default_rng(0)
        weights = {"scale": uniform(random, columns), "bias": uniform(random, columns)}
    node = helper.make_node(op, ["x", *weights], ["y"], **attributes)
    return graph([node], [value("x", FLOAT, "N", columns)], [value("y", FLOAT, "N", columns)], **weights)


def pointwise():
    """tanh(erf(x) + exp(-|y|)) * x, where the row of y goes over all of x's."""
    nodes = [helper.make_node("Erf", ["x"], ["a"]), helper.make_node("Abs", ["y"], ["b"]),
             helper.make_node("Neg", ["b"], ["c"]), helper.make_node("Exp", ["c"], ["d"]),
             helper.make_node("Add", ["a", "d"], ["e"]), helper.make_node("Tanh", ["e"], ["f"]),
             helper.make_node("Mul", ["f", "x"], ["z"])]
    return graph(nodes, [value("x", FLOAT, "N", 37), value("y", FLOAT, 37)], [value("z", FLOAT, "N", 37)])


def convolution(channels, filters):
    """relu of a convolution of 3 x 3"""
    random = np.random.default_rng(0)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["t"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["t"], ["y"])]
    return graph(nodes, [value("x", FLOAT, "N", channels, "H", "W")], [value("y", FLOAT, "N", filters, "H", "W")],
                 w=uniform(random, filters, channels, 3, 3), b=uniform(random, filters))


def images(channels):
    return lambda size, random: {"x": uniform(random, size[0], channels, *size[1:])}


def attention(heads, depth, dtype, causal):
    """Of heads that lie one behind the other."""
    shapes = ["B", heads, "S", depth]
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=int(causal))
    made = graph([node], [value(name, dtype, *shapes) for name in "qkv"], [value("y", dtype, *shapes)])
    made.opset_import[0].version = 23
    made.ir_version = 11
    return made


def attention_inputs(heads, depth, dtype):
    return lambda size, random: {name: random.standard_normal((size[0], heads, size[1], depth)).astype(dtype) for name in "qkv"}


def decoding(heads, key_heads, depth, dtype):
    """One query of each head over many keys, which several heads share."""
    shapes = {"q": (heads, 1), "k": (key_heads, "T"), "v": (key_heads, "T"), "y": (heads, 1)}
    values = {name: value(name, dtype, "B", *shape, depth) for name, shape in shapes.items()}
    made = graph([helper.make_node("Attention", ["q", "k", "v"], ["y"])], [values[name] for name in "qkv"], [values["y"]])
    made.opset_import[0].version = 23
    made.ir_version = 11
    return made


def decoding_inputs(heads, key_heads, depth, dtype):
    shapes = lambda length: {"q": (heads, 1), "k": (key_heads, length), "v": (key_heads, length)}
    return lambda size, random: {name: random.standard_normal((size[0], *shape, depth)).astype(dtype)
                                 for name, shape in shapes(size[1]).items()}


def measured_decoding(heads, key_heads, depth, *lengths):
    return tuple({"q": (1, heads, 1, depth), "k": (1, key_heads, length, depth), "v": (1, key_heads, length, depth)} for length in lengths)


def bytes_product(depth, columns):
    """Of unsigned bytes by signed ones, less the zero point of the former."""
    w = np.random.default_rng(0).integers(-128, 128, (depth, columns), np.int8)
    node = helper.make_node("MatMulInteger", ["x", "w", "z"], ["y"])
    return graph([node], [value("x", TensorProto.UINT8, "N", depth)], [value("y", INT32, "N", columns)], w=w, z=np.uint8(117))


def look():
    """w[i], transposed."""
    nodes = [helper.make_node("Gather", ["w", "i"], ["a"]), helper.make_node("Transpose", ["a"], ["y"], perm=[1, 0])]
    return graph(nodes, [value("i", INT64, "N")], [value("y", FLOAT, 33, "N")],
                 w=uniform(np.random.default_rng(0), 100, 33))


#: So many words: with MiniLM's own 30,522 the bundle would be too large. What is computed for each stays the same.
VOCABULARY = 1000


def minilm(layers):
    """MiniLM's first layers with their own weights and the first words of its vocabulary."""
    from lathe.zoo import minilm_folder
    from lathe.zoo.minilm import build, read_safetensors

    weights = dict(read_safetensors(minilm_folder() / "model.safetensors"))
    words = "embeddings.word_embeddings.weight"
    weights[words] = weights[words][:VOCABULARY]
    return build(weights, layers=layers)


def minilm_inputs(size, random):
    batch, sequence = size
    mask = np.ones((batch, sequence), np.int64)
    for row in range(1, batch):
        mask[row, max(1, sequence * row // batch):] = 0
    return {"input_ids": random.integers(0, VOCABULARY, (batch, sequence)), "attention_mask": mask,
            "token_type_ids": random.integers(0, 2, (batch, sequence))}


def magika():
    from lathe.zoo import package_folder

    return onnx.load(package_folder("magika") / "models" / "standard_v3_3" / "model.onnx")


def matrix(columns):
    return lambda size, random: {"x": uniform(random, size, columns)}


def measured(columns, *sizes):
    return tuple({"x": (size, columns)} for size in sizes)


def measured_heads(heads, depth, *sizes):
    return tuple({name: (batch, heads, length, depth) for name in "qkv"} for batch, length in sizes)


def words(*sizes):
    return tuple(dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), size) for size in sizes)


CASES = {case.name: case for case in [
    Case("pointwise", pointwise, lambda n, random: {"x": uniform(random, n, 37), "y": uniform(random, 37)}, (1, 3, 1000),
         small=True),
    Case("gather", look, lambda n, random: {"i": random.integers(-100, 100, n)}, (1, 70), small=True),
    Case("gemm_odd", functools.partial(gemm, 37, 50, False), matrix(37), (1, 5, 64, 130), small=True),
    Case("gemm_384x1536", functools.partial(gemm, 384, 1536, True), matrix(384), (16, 128), peer="gemm_gelu",
         measured=measured(384, 128, 4096)),
    Case("softmax_odd", functools.partial(rows, "Softmax", 77), matrix(77), (1, 9), small=True),
    Case("softmax_4096", functools.partial(rows, "Softmax", 4096), matrix(4096), (8,), peer="softmax",
         measured=measured(4096, 4096)),
    Case("layer_norm_384", functools.partial(rows, "LayerNormalization", 384), matrix(384), (3, 128), small=True),
    Case("layer_norm_4096", functools.partial(rows, "LayerNormalization", 4096), matrix(4096), (8,), peer="layer_norm",
         measured=measured(4096, 4096)),
    # Tensor cores: bf16 rounds to 8 bits, TF32 and f16 to 11.
    Case("gemm_odd_bf16", functools.partial(gemm, 37, 50, False), matrix(37), (1, 70), small=True, math="bf16", tolerance=0.02),
    Case("gemm_odd_tf32", functools.partial(gemm, 37, 50, False), matrix(37), (1, 70), small=True, math="tf32", tolerance=2e-3),
    Case("gemm_small_bf16", functools.partial(gemm, 64, 72, False), matrix(64), (70,), small=True, math="bf16", tolerance=0.02),
    Case("gemm_1024x2048_bf16", functools.partial(gemm, 1024, 2048, True), matrix(1024), (130,), peer="gemm_gelu", math="bf16",
         tolerance=0.02, measured=measured(1024, 16, 512, 8192)),
    Case("gemm_384x1536_tf32", functools.partial(gemm, 384, 1536, True), matrix(384), (130,), peer="gemm_gelu", math="tf32",
         tolerance=2e-3, measured=measured(384, 4096)),
    Case("conv_odd_bf16", functools.partial(convolution, 24, 20), images(24), ((1, 5, 7), (2, 9, 6)), small=True, math="bf16",
         tolerance=0.02),
    Case("conv_colors_tf32", functools.partial(convolution, 3, 16), images(3), ((1, 9, 8),), small=True, math="tf32", tolerance=2e-3),
    Case("conv_128_bf16", functools.partial(convolution, 128, 128), images(128), ((1, 14, 14),), peer="conv", math="bf16",
         tolerance=0.02, measured=({"x": (1, 128, 28, 28)}, {"x": (32, 128, 28, 28)})),
    Case("gemm_1024x512_few_bf16", functools.partial(gemm, 1024, 512, False, 8), matrix(1024), (8,), peer="gemm_relu", math="bf16",
         tolerance=0.02, measured=measured(1024, 8)),
    Case("attention_odd_f16", functools.partial(attention, 2, 40, FLOAT16, True), attention_inputs(2, 40, np.float16), ((1, 1), (2, 70)),
         small=True, tolerance=5e-3),
    Case("attention_64_f16", functools.partial(attention, 16, 64, FLOAT16, False), attention_inputs(16, 64, np.float16), ((1, 130),),
         peer="attention", tolerance=5e-3, measured=measured_heads(16, 64, (1, 512), (4, 2048))),
    Case("attention_128_f16", functools.partial(attention, 16, 128, FLOAT16, True), attention_inputs(16, 128, np.float16), ((1, 130),),
         peer="causal_attention", tolerance=5e-3, measured=measured_heads(16, 128, (1, 4096))),
    Case("attention_64_tf32", functools.partial(attention, 2, 64, FLOAT, False), attention_inputs(2, 64, np.float32), ((1, 70),),
         small=True, math="tf32", tolerance=2e-3),
    # Few queries over many keys, which blocks divide.
    Case("decoding_odd_f32", functools.partial(decoding, 4, 4, 40, FLOAT), decoding_inputs(4, 4, 40, np.float32), ((2, 3), (1, 300)),
         small=True),
    Case("decoding_128_f16", functools.partial(decoding, 32, 8, 128, FLOAT16), decoding_inputs(32, 8, 128, np.float16), ((1, 140),),
         small=True, peer="shared_attention", tolerance=5e-3, measured=measured_decoding(32, 8, 128, 4096, 32768, 131072)),
    # Bytes, and weights in 4 and 8 bits.
    Case("bytes_odd", functools.partial(bytes_product, 40, 72),
         lambda n, random: {"x": random.integers(0, 256, (n, 40), np.uint8)}, (1, 70), small=True),
    Case("gemm_512x512_int8", functools.partial(gemm, 512, 512, False), matrix(512), (5, 130), quantize="int8-dynamic", tolerance=2e-3,
         peer="gemm_relu", measured=measured(512, 4096)),
    Case("gemm_odd_int4", functools.partial(gemm, 96, 40, False), matrix(96), (1, 3, 70), small=True, quantize="int4"),
    Case("gemm_2048x512_int4", functools.partial(gemm, 2048, 512, False), matrix(2048), (1, 130), quantize="int4", peer="gemm_relu",
         measured=measured(2048, 1, 8, 512)),
    Case("minilm", functools.partial(minilm, 2), minilm_inputs, ((1, 16), (2, 7), (1, 128)), peer="minilm_2",
         measured=words((1, 128), (32, 128))),
    Case("minilm_bf16", functools.partial(minilm, 4), minilm_inputs, ((2, 7), (1, 128)), peer="minilm_4", math="bf16", tolerance=0.02,
         measured=words((1, 128), (32, 128))),
    Case("magika", magika, lambda n, random: {"bytes": random.integers(0, 257, (n, 2048), np.int32)}, (1, 8)),
]}
