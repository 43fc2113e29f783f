# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What PyTorch's exporters write around a model: caches as inputs and outputs, names of dimensions that are formulas,
local functions of packages, metadata, and If around shapes."""

import numpy as np
import onnx
import pytest
from onnx import helper

import lathe
from run_models import FLOAT, INT64, compare, compile_model, graph, model, value

HEADS, WIDTH = 2, 8
CACHE = ("batch", HEADS, "past", WIDTH)


def node(op, inputs, outputs, domain="", **attributes):
    made = helper.make_node(op, inputs, outputs, name="node_" + outputs[0], domain=domain, **attributes)
    # As torch.onnx.export writes it.
    for key, text in [("namespace", f"__main__.Decoder/{op}"), ("pkg.torch.onnx.class_hierarchy", "['Decoder']"),
                      ("pkg.torch.onnx.fx_node", f"%{outputs[0]} : [num_users=1]"), ("pkg.torch.onnx.stack_trace", "File x.py")]:
        made.metadata_props.append(onnx.StringStringEntryProto(key=key, value=text))
    return made


def split_heads():
    """[batch, sequence, heads * width] to [batch, heads, sequence, width], as a function of a package."""
    nodes = [node("Constant", [], ["shape"], value_ints=[0, 0, HEADS, WIDTH]), node("Reshape", ["x", "shape"], ["r"]),
             node("Transpose", ["r"], ["y"], perm=[0, 2, 1, 3])]
    return helper.make_function("pkg.decoder", "SplitHeads", ["x"], ["y"], nodes, [helper.make_opsetid("", 18)])


def decoder(fused):
    """One attention with a cache. `fused`: the operator of opset 23, else its parts."""
    nodes = [node("MatMul", ["hidden", f"w{name}"], [f"{name}_flat"]) for name in "qkv"]
    nodes += [node("SplitHeads", [f"{name}_flat"], [name], domain="pkg.decoder") for name in "qkv"]
    if fused:
        nodes += [node("Attention", ["q", "k", "v", "", "past_key", "past_value"], ["heads", "present_key", "present_value"],
                       is_causal=1)]
    else:
        nodes += [node("Concat", [f"past_{kind}", short], [f"present_{kind}"], axis=2) for kind, short in (("key", "k"), ("value", "v"))]
        nodes += [node("Transpose", ["present_key"], ["kt"], perm=[0, 1, 3, 2]), node("MatMul", ["q", "kt"], ["raw"]),
                  node("Constant", [], ["scale"], value_float=WIDTH**-0.5), node("Mul", ["raw", "scale"], ["scores"]),
                  # The mask: position of the key at most that of the query.
                  node("Shape", ["present_key"], ["total"], start=2, end=3), node("Shape", ["q"], ["new"], start=2, end=3),
                  node("Squeeze", ["total"], ["total_n"]), node("Squeeze", ["new"], ["new_n"]),
                  node("Constant", [], ["zero"], value_int=0), node("Constant", [], ["one"], value_int=1),
                  node("Range", ["zero", "total_n", "one"], ["columns"]), node("Sub", ["total_n", "new_n"], ["before"]),
                  node("Range", ["before", "total_n", "one"], ["rows_flat"]),
                  node("Constant", [], ["column"], value_ints=[-1, 1]), node("Reshape", ["rows_flat", "column"], ["rows"]),
                  node("LessOrEqual", ["columns", "rows"], ["sees"]), node("Constant", [], ["low"], value_float=-1e30),
                  node("Where", ["sees", "scores", "low"], ["masked"]), node("Softmax", ["masked"], ["weights"], axis=-1),
                  node("MatMul", ["weights", "present_value"], ["heads"])]
    nodes += [node("Transpose", ["heads"], ["merged"], perm=[0, 2, 1, 3]),
              node("Constant", [], ["flat"], value_ints=[0, 0, -1]), node("Reshape", ["merged", "flat"], ["output"])]
    rng = np.random.default_rng(1)
    weights = {f"w{name}": rng.standard_normal((HEADS * WIDTH, HEADS * WIDTH)).astype(np.float32) / 4 for name in "qkv"}
    present = ("batch", HEADS, "past + sequence", WIDTH)
    main = graph("main_graph", nodes, [value("hidden", FLOAT, "batch", "sequence", HEADS * WIDTH),
                                       value("past_key", FLOAT, *CACHE), value("past_value", FLOAT, *CACHE)],
                 [value("output", FLOAT, "batch", "sequence", HEADS * WIDTH), value("present_key", FLOAT, *present),
                  value("present_value", FLOAT, *present)], **weights)
    proto = helper.make_model(main, functions=[split_heads()], ir_version=10, opset_imports=[
        helper.make_opsetid("", 23 if fused else 18), helper.make_opsetid("pkg.decoder", 1)])
    helper.set_model_props(proto, {"pkg.torch.export.ExportedProgram.graph_signature": "ExportGraphSignature(…)"})
    return proto


@pytest.mark.parametrize("fused", [False, True])
def test_a_decoder_step_by_step_gives_what_it_gives_at_once(fused, tmp_path):
    """The caches of one run are the next one's; one artifact takes prompts and single tokens."""
    compiled = compile_model(decoder(fused), tmp_path)
    hidden = np.random.default_rng(0).standard_normal((2, 7, HEADS * WIDTH)).astype(np.float32)
    empty = np.zeros((2, HEADS, 0, WIDTH), np.float32)
    whole = compiled(hidden=hidden, past_key=empty, past_value=empty)
    caches, parts = (empty, empty), []
    for begin, end in [(0, 4), (4, 5), (5, 6), (6, 7)]:
        part = compiled(hidden=hidden[:, begin:end], past_key=caches[0], past_value=caches[1])
        parts.append(part["output"])
        caches = part["present_key"], part["present_value"]
        assert caches[0].shape == (2, HEADS, end, WIDTH)
    np.testing.assert_allclose(np.concatenate(parts, 1), whole["output"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(caches[0], whole["present_key"], rtol=1e-4, atol=1e-5)


def test_a_decoder_agrees_with_onnx_runtime(tmp_path):
    proto = decoder(fused=False)
    rng = np.random.default_rng(2)
    feeds = {"hidden": rng.standard_normal((1, 3, HEADS * WIDTH)).astype(np.float32),
             "past_key": rng.standard_normal((1, HEADS, 5, WIDTH)).astype(np.float32),
             "past_value": rng.standard_normal((1, HEADS, 5, WIDTH)).astype(np.float32)}
    compare(proto, compile_model(proto, tmp_path), feeds, rtol=1e-4)


def test_caches_of_different_lengths_are_an_error(tmp_path):
    compiled = compile_model(decoder(fused=False), tmp_path)
    with pytest.raises(lathe.ModelError, match="past"):
        compiled(hidden=np.zeros((1, 1, HEADS * WIDTH), np.float32), past_key=np.zeros((1, HEADS, 2, WIDTH), np.float32),
                 past_value=np.zeros((1, HEADS, 3, WIDTH), np.float32))


@pytest.mark.parametrize("batch", [1, 3])
def test_an_if_that_squeezes_what_may_be_1(batch, tmp_path):
    """torch.squeeze(x, 0), as TorchScript's exporter writes it."""
    squeezed = graph("then", [node("Squeeze", ["x", "axes"], ["t"])], [], ["t"], axes=np.array([0]))
    kept = graph("else", [node("Identity", ["x"], ["e"])], [], ["e"])
    nodes = [node("Shape", ["x"], ["dims"]), node("Gather", ["dims", "first"], ["size"]), node("Equal", ["size", "one"], ["is_one"]),
             node("If", ["is_one"], ["s"], then_branch=squeezed, else_branch=kept), node("ReduceSum", ["s", "last"], ["y"], keepdims=0)]
    proto = helper.make_model(graph("g", nodes, [value("x", FLOAT, batch, "n", 4)], ["y"], first=np.array(0), one=np.array(1),
                                    last=np.array([-1])), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.random.default_rng(0).standard_normal((batch, 5, 4)).astype(np.float32)
    # ONNX Runtime refuses the branch that is never taken.
    got = compile_model(proto, tmp_path)(x=x)["y"]
    np.testing.assert_allclose(got, (x[0] if batch == 1 else x).sum(-1), rtol=1e-5)


def test_a_squeeze_without_axes(tmp_path):
    """TorchScript's of a result that it traced with a batch of 1: what the model gives in the end says how many dimensions
    are left."""
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Squeeze", ["a"], ["b"]), node("Sigmoid", ["b"], ["c"]),
             node("Mul", ["c", "four"], ["d"]), node("Sub", ["one", "d"], ["y"])]
    proto = model(nodes, [value("x", FLOAT, "N", 1, 3)], [value("y", FLOAT, "N")], w=np.ones((3, 2), np.float32),
                  four=np.array(4, np.float32), one=np.array(1, np.float32))
    compiled = compile_model(proto, tmp_path)
    compare(proto, compiled, {"x": np.arange(3, dtype=np.float32).reshape(1, 1, 3)})
    with pytest.raises(lathe.ModelError, match="sizes contradict each other"):
        compiled(x=np.zeros((2, 1, 3), np.float32))
