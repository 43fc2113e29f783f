# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a report says of a model's graph, its weights and its arena, and the times that `lathe profile` adds to it."""

import json
import subprocess

import numpy as np
import onnx
import pytest

import lathe
from lathe.compiler import driver
from reports import compile_with_report
from small_models import model, scale_add_relu, value

FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture(scope="module")
def minilm(zoo, tmp_path_factory):
    """MiniLM without its third layer and with weights of 4 bits: the artifact, and its report."""
    path = tmp_path_factory.mktemp("graph") / "m.so"
    return path, compile_with_report(zoo["minilm"], path, "--quantize=int4", "--skip-layers=2")


def profile(path, *options):
    return subprocess.run([driver(), "profile", path, "--threads=1", "--runs=2", *map(str, options)], capture_output=True,
                          text=True)


def test_nodes_are_those_of_the_file(minilm, zoo):
    nodes = minilm[1]["graph"]["nodes"]
    file = onnx.load(zoo["minilm"], load_external_data=False).graph
    made = {output: node.name for node in file.node for output in node.output}
    expected = {node.name: (node.op_type, {made[i] for i in node.input if i in made}) for node in file.node
                if node.op_type != "Constant"}
    assert {node["name"]: (node["op"], {nodes[i]["name"] for i in node.get("inputs", [])}) for node in nodes} == {
        name: (op, {i for i in inputs if i in expected}) for name, (op, inputs) in expected.items()}
    large = {w.name for w in file.initializer if 4 * np.prod(w.dims, dtype=int) > 1024}
    assert {weight for node in nodes for weight in node.get("weights", [])} <= large | {w.name for w in file.initializer}


def test_nodes_of_layers(minilm):
    """Six layers; a node of a later one is like the node of the first with the same name but for the layer's number."""
    nodes = minilm[1]["graph"]["nodes"]
    assert minilm[1]["graph"]["layers"] == 6
    for number in range(6):
        own = [node for node in nodes if f"/layer.{number}/" in node["name"] and node.get("layer") != number]
        assert not [node["name"] for node in own if node["op"] in ("MatMul", "Softmax", "Erf")]
    for node in nodes:
        if "like" in node:
            assert nodes[node["like"]]["name"] == node["name"].replace(f"/layer.{node['layer']}/", "/layer.0/")
    assert sum("like" in node for node in nodes) > 100
    # What only the first layer reads is not in it, unless it has become part of it.
    assert not [node["name"] for node in nodes if "embeddings" in node["name"] and "layer" in node and node["op"] == "Gather"]


def test_stored_weights(minilm):
    """Every byte of the artifact's weights is some weight's; those of the layer that was left out are not there."""
    report = minilm[1]
    weights = report["graph"]["weights"]
    padded = sum(-(-weight["bytes"] // 64) * 64 for weight in weights)
    assert padded == report["numbers"]["weight_bytes"]
    names = [name for weight in weights for name in weight["names"]]
    assert not [name for name in names if "layer.2." in name] and [name for name in names if "layer.3." in name]
    packed = [weight for weight in weights if weight["format"] == "int4<group = 32>"]
    # Query, key and value are one product: four for each layer that is left.
    assert len(packed) == 4 * 5 + 1 or len(packed) == 4 * 5
    for weight in packed:
        assert weight["kernels"] and weight["bytes"] < 0.15 * weight["dense_bytes"]
    assert {layer for weight in packed for layer in weight["layers"]} == {0, 1, 3, 4, 5}


def test_the_arena_is_that_of_the_artifact(minilm):
    """Its formulas give what the artifact's own layout function says, which the runtime gives as a session's bytes."""
    graph = minilm[1]["graph"]
    functions = {f["name"]: f for f in graph["functions"]}
    compute = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a // b,
               "max": max, "min": min}

    def evaluate(formula, sizes):
        if isinstance(formula, list):
            return compute[formula[0]](*(evaluate(part, sizes) for part in formula[1:]))
        return sizes[formula] if isinstance(formula, str) else formula

    def arena(name, sizes):
        def tenant(t):
            return arena(t["layer"], sizes) if "layer" in t else t["bytes"] * int(
                np.prod([evaluate(s, sizes) for s in t["sizes"]], dtype=np.int64))
        return sum(-(-max(map(tenant, slot)) // 64) * 64 for slot in functions[name]["slots"])

    names = [symbol["name"] for symbol in graph["symbols"]]
    small, large = ({name: size for name in names} for size in (1, 64))
    assert 0 < arena("main", small) < arena("main", large)
    # Attention keeps no square of the text's length; the feed-forward part has 1536 floats for each token.
    assert arena("main", large) >= 4 * 1536 * 64 * 64
    for f in functions.values():
        for tensor in f["tensors"]:
            assert 0 <= tensor["step"] <= tensor["last"] < len(f["steps"]) and 0 <= tensor["slot"] < len(f["slots"])
        taken = {}
        for tensor in sorted(f["tensors"], key=lambda t: t["step"]):
            assert taken.get(tensor["slot"], -1) < tensor["step"], "two tensors in one place"
            taken[tensor["slot"]] = tensor["last"]


def test_zeros(tmp_path):
    """The share of zeros of what is stored as it is, whatever fills up its panels, and what blocks leave out: of 1 x 4, two for
    each row and up to three more for each of 18 columns of blocks."""
    rng = np.random.default_rng(3)
    w, v = (rng.standard_normal((128, 72)).astype("f4") for _ in range(2))
    w[rng.permutation(128)[:32]] = 0
    v[:, 8:] = 0
    graph = model([onnx.helper.make_node("MatMul", ["x", "w"], ["y"]), onnx.helper.make_node("MatMul", ["u", "v"], ["z"])],
                  [value("x", FLOAT, "S", 128), value("u", FLOAT, "S", 128)], [value("y", FLOAT, "S", 72), value("z", FLOAT, "S", 72)], w=w, v=v)
    onnx.save(graph, tmp_path / "m.onnx")
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "m.so")
    zeros = {weight["names"][0]: weight for weight in report["graph"]["weights"]}
    assert zeros["w"]["format"] == "f32" and zeros["w"]["zeros"] == pytest.approx(0.25)
    assert zeros["v"]["format"].startswith("blocks<") and zeros["v"]["zeros"] == pytest.approx(1 - 4 * (2 * 128 + 3 * 18) / (128 * 72))


def test_a_report_changes_nothing(tmp_path):
    onnx.save(scale_add_relu(), tmp_path / "m.onnx")
    compile_with_report(tmp_path / "m.onnx", tmp_path / "with.so")
    lathe.compile(tmp_path / "m.onnx", tmp_path / "without.so")
    assert (tmp_path / "with.so").read_bytes() == (tmp_path / "without.so").read_bytes()


def test_a_profile_joins_a_report(tmp_path):
    onnx.save(scale_add_relu(), tmp_path / "m.onnx")
    subprocess.run([driver(), "compile", "m.onnx", "-o", "m.so", "--report=r.json", "--report=r.html"], cwd=tmp_path, check=True)
    before = json.loads((tmp_path / "r.json").read_text())
    for name in ("r.json", "r.html"):
        done = profile(tmp_path / "m.so", f"--report={tmp_path / name}", "--json")
        assert done.returncode == 0, done.stderr
    after = json.loads((tmp_path / "r.json").read_text())
    added = after.pop("profile")
    assert after == before
    assert [kernel["name"] for kernel in before["kernels"]] == [kernel["name"] for kernel in added["kernels"]]
    assert added["inputs"] and added["threads"] == 1 and added["kernels"][0]["ms_per_run"] > 0
    page = (tmp_path / "r.html").read_text()
    assert '"ms_in_kernels"' in page and page.startswith("<!doctype html>") and page.count("<script") == 2
    # It can be measured again.
    assert profile(tmp_path / "m.so", f"--report={tmp_path / 'r.html'}").returncode == 0


@pytest.mark.parametrize("content, said", [
    ("{", "is no report"), ("[]", "has no graph and kernels"), ('{"graph": {}}', "has no graph and kernels"),
    ("[" * 100_000, "nested deeper than"),
    ('{"graph": {}, "kernels": [{"name": "other", "nodes": []}]}', "not of this artifact: their kernels differ")])
def test_reports_that_do_not_fit(tmp_path, content, said):
    onnx.save(scale_add_relu(), tmp_path / "m.onnx")
    lathe.compile(tmp_path / "m.onnx", tmp_path / "m.so")
    (tmp_path / "r.json").write_text(content)
    done = profile(tmp_path / "m.so", f"--report={tmp_path / 'r.json'}")
    assert done.returncode == 1 and "error[E0006]" in done.stderr and said in done.stderr
    assert (tmp_path / "r.json").read_text() == content, "the file is as it was"
