# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention as exporters spell it: each is fused, and right."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe
from lathe._verify import compare, run_reference
from reports import compile_with_report, remarks
from small_models import value

BATCH, HEADS, LENGTH, HEAD = 2, 3, 21, 16
HIDDEN = HEADS * HEAD


class Graph:
    """Nodes with names of their own, each with one output or those that are named."""

    def __init__(self):
        self.nodes, self.initializers, self.random = [], [], np.random.default_rng(1)

    def __call__(self, operator, *inputs, outputs=None, **attributes):
        name = f"/{len(self.nodes)}/{operator}"
        results = outputs or [f"{name}_output_0"]
        self.nodes.append(helper.make_node(operator, list(inputs), results, name=name, **attributes))
        return results[0]

    def constant(self, array, dtype=np.float32):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def linear(self, x, width):
        weight = self.constant(self.random.standard_normal((HIDDEN, width)) / np.sqrt(HIDDEN))
        return self("Add", self("MatMul", x, weight), self.constant(self.random.standard_normal(width)))

    def split_heads(self, x, perm=(0, 2, 1, 3)):
        return self("Transpose", self("Reshape", x, self.constant([0, -1, HEADS, HEAD], np.int64)), perm=perm)

    def join_heads(self, x):
        return self("Reshape", self("Transpose", x, perm=[0, 2, 1, 3]), self.constant([0, -1, HIDDEN], np.int64))

    def projections(self, x):
        return [self.linear(x, HIDDEN) for _ in range(3)]


def boolean_mask_with_guard(g):
    """torch.export of scaled_dot_product_attention: both sides scaled, -inf where masked, rows without a key are 0."""
    q, k, v = (g.split_heads(part) for part in g.projections("x"))
    root = g.constant(HEAD ** -0.25)
    scores = g("MatMul", g("Mul", q, root), g("Mul", g("Transpose", k, perm=[0, 1, 3, 2]), root))
    keys = g("Unsqueeze", g("Cast", "mask", to=TensorProto.BOOL), g.constant([1, 2], np.int64))
    bias = g("Where", keys, g.constant(0.0), g.constant(-np.inf))
    weights = g("Softmax", g("Add", scores, bias), axis=-1)
    guarded = g("Where", g("IsNaN", weights), g.constant(0.0), weights)
    return g.join_heads(g("MatMul", guarded, v))


def scale_after_additive_mask(g):
    """The older exporter: the scores divided, then (1 - mask) times a large negative number added."""
    q, k, v = (g.split_heads(part) for part in g.projections("x"))
    scores = g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2]))
    scaled = g("Div", scores, g.constant(np.sqrt(HEAD)))
    keys = g("Unsqueeze", g("Cast", "mask", to=TensorProto.FLOAT), g.constant([1, 2], np.int64))
    bias = g("Mul", g("Sub", g.constant(1.0), keys), g.constant(-3.4e38))
    return g.join_heads(g("MatMul", g("Softmax", g("Add", scaled, bias), axis=-1), v))


def scale_before_without_mask(g):
    """Only the queries are scaled; the keys' transpose is one with that of the heads."""
    q, k, v = g.projections("x")
    scaled = g("Mul", g.split_heads(q), g.constant(HEAD ** -0.5))
    scores = g("MatMul", scaled, g.split_heads(k, perm=(0, 2, 3, 1)))
    return g.join_heads(g("MatMul", g("Softmax", scores, axis=-1), g.split_heads(v)))


def three_dimensions(g):
    """Batch and heads as one dimension, as Optimum's and older BART-like models have it."""
    flat = g.constant([BATCH * HEADS, -1, HEAD], np.int64)
    q, k, v = (g("Reshape", g.split_heads(part), flat) for part in g.projections("x"))
    scores = g("MatMul", g("Mul", q, g.constant(HEAD ** -0.5)), g("Transpose", k, perm=[0, 2, 1]))
    context = g("MatMul", g("Softmax", scores, axis=-1), v)
    return g.join_heads(g("Reshape", context, g.constant([BATCH, HEADS, -1, HEAD], np.int64)))


def packed_projections(g):
    """One product for queries, keys and values, split afterwards."""
    names = ["q", "k", "v"]
    g("Split", g.linear("x", 3 * HIDDEN), g.constant([HIDDEN] * 3, np.int64), outputs=names, axis=2)
    q, k, v = (g.split_heads(name) for name in names)
    scores = g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2]))
    weights = g("Softmax", g("Mul", scores, g.constant(HEAD ** -0.5)), axis=-1)
    return g.join_heads(g("MatMul", weights, v))


def softmax_over_queries(g):
    """Looks like attention and is none."""
    q, k, v = (g.split_heads(part) for part in g.projections("x"))
    scores = g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2]))
    return g.join_heads(g("MatMul", g("Softmax", scores, axis=2), v))


def build(spelling, path):
    graph = Graph()
    graph("Identity", spelling(graph), outputs=["y"])
    # A node of the second input, so that every spelling has both.
    graph("Cast", "mask", outputs=["unused"], to=TensorProto.FLOAT)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "g", [value("x", TensorProto.FLOAT, BATCH, "S", HIDDEN),
                                             value("mask", TensorProto.INT64, BATCH, "S")],
                          [value("y", TensorProto.FLOAT, BATCH, "S", HIDDEN),
                           value("unused", TensorProto.FLOAT, BATCH, "S")], graph.initializers),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def check(path, artifact):
    mask = np.ones((BATCH, LENGTH), np.int64)
    mask[1, 5:] = 0
    inputs = {"x": np.random.default_rng(2).standard_normal((BATCH, LENGTH, HIDDEN)).astype(np.float32), "mask": mask}
    result, reference = lathe.load(artifact)(inputs), run_reference(path, inputs)
    assert compare(result["y"], reference["y"])["max_abs"] <= 1e-5


@pytest.mark.parametrize("spelling", [boolean_mask_with_guard, scale_after_additive_mask, scale_before_without_mask,
                                      three_dimensions, packed_projections], ids=lambda f: f.__name__)
def test_spelling_is_fused(tmp_path, spelling):
    path = build(spelling, tmp_path / "m.onnx")
    report = compile_with_report(path, tmp_path / "m.so")
    assert "fused 1/1 attention" in report["digest"]
    assert remarks(report, "nn-fuse-attention", "missed") == []
    check(path, tmp_path / "m.so")


def test_what_is_refused_says_why(tmp_path):
    path = build(softmax_over_queries, tmp_path / "m.onnx")
    report = compile_with_report(path, tmp_path / "m.so")
    assert "fused 0/1 attention" in report["digest"]
    assert remarks(report, "nn-fuse-attention", "missed") == ["the softmax is not over the keys"]
    (remark,) = (remark for remark in report["remarks"] if remark["pass"] == "nn-fuse-attention")
    assert remark["node"].endswith("/MatMul") or remark["node"].endswith("/Softmax")
    check(path, tmp_path / "m.so")
