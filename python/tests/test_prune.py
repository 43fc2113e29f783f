# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Zeros in weights: --prune, and those that are in files."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe
from reports import compile_with_report, remarks

DEPTH, COLUMNS = 100, 80
PASS = "pack-prune-weights"


def product(w, rows="N"):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")], "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (rows, w.shape[0]))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (rows, w.shape[1]))], [numpy_helper.from_array(w, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def prune(w, zeros, rows, columns, norms=None):
    """A copy of which each column of blocks keeps the greatest sums of magnitudes, times the norms of rows."""
    k, n = w.shape
    padded = np.zeros((-(-k // rows) * rows, -(-n // columns) * columns), "f8")
    padded[:k, :n] = np.abs(w) * (1 if norms is None else norms[:, None].astype("f8"))
    sums = padded.reshape(padded.shape[0] // rows, rows, -1, columns).sum((1, 3)).astype("f4")
    order = np.argsort(np.argsort(-sums, 0, kind="stable"), 0)
    kept = order < len(sums) - int(len(sums) * zeros)
    return w * np.repeat(np.repeat(kept, rows, 0), columns, 1)[:k, :n]


def assert_close(y, x, w):
    """Sums of K products in any order: K roundings of 2^-24 of what is summed up."""
    x, w = x.astype("f8"), w.astype("f8")
    assert np.all(np.abs(y - x @ w) <= w.shape[0] * 2.0 ** -24 * (np.abs(x) @ np.abs(w)))


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).standard_normal((DEPTH, COLUMNS), np.float32)


@pytest.mark.parametrize("opt_level", [2, 0])
@pytest.mark.parametrize("text,zeros,columns", [("block:75%", 0.75, 4), ("block:87.5%", 0.875, 4), ("unstructured:90%", 0.9, 1)])
def test_products(weights, text, zeros, columns, opt_level):
    compiled = lathe.compile(product(weights), prune=text, opt_level=opt_level)
    pruned = prune(weights, zeros, 1, columns)
    for rows in (1, 16, 45):
        x = np.random.default_rng(rows).standard_normal((rows, DEPTH), np.float32)
        assert_close(compiled(x=x)["y"], x, pruned)


@pytest.mark.parametrize("target", ["x86-64-v4+vnni", "x86-64-v3"])
def test_codes_of_8_bits(weights, target):
    """Codes are those of the weights that are left, and sums of codes are exact."""
    if target == "x86-64-v4+vnni" and "avx512_vnni" not in open("/proc/cpuinfo").read():
        pytest.skip(f"this processor runs no {target}")
    compiled = lathe.compile(product(weights), quantize="int8-dynamic", prune="block:50%", target=target)
    dense = lathe.compile(product(prune(weights, 0.5, 4, 32)), quantize="int8-dynamic", target=target)
    for rows in (1, 7, 45):
        x = np.random.default_rng(rows).standard_normal((rows, DEPTH), np.float32)
        np.testing.assert_array_equal(compiled(x=x)["y"], dense(x=x)["y"])


def test_zeros_of_a_file_are_used(weights, tmp_path):
    """Signed zeros, too, as they come of multiplying with a mask."""
    pruned = prune(weights, 0.75, 1, 4)
    assert np.signbit(pruned[pruned == 0]).any()
    onnx.save(product(pruned), tmp_path / "m.onnx")
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "m.so")
    (found,) = remarks(report, PASS, "passed")
    assert found.startswith("75.0 % of the weight are zeros: products take")
    x = np.random.default_rng(1).standard_normal((37, DEPTH), np.float32)
    assert_close(lathe.load(tmp_path / "m.so")(x=x)["y"], x, pruned)


def test_zeros_that_do_not_pay_are_left(weights, tmp_path):
    onnx.save(product(prune(weights, 0.5, 1, 1)), tmp_path / "m.onnx")
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "m.so")
    (why,) = remarks(report, PASS, "missed")
    assert why.startswith("50.0 % of the weight are zeros, which are not used: products take")


def test_what_was_done_and_refused_is_in_the_report(weights, tmp_path):
    onnx.save(product(weights), tmp_path / "m.onnx")
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "a.so", "--prune=block:75%")
    (asked,) = report["compression"]
    assert asked["requested"] == "block:75%" and asked["done"] and asked["names"] == ["w"]
    assert asked["bytes_after"] < 0.4 * asked["bytes_before"]
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "b.so", "--prune=2:4")
    (asked,) = report["compression"]
    assert not asked["done"] and "2:4" in asked["reason"] and asked["bytes_after"] >= asked["bytes_before"]


def test_plans(weights, tmp_path):
    onnx.save(product(weights), tmp_path / "m.onnx")
    x = np.random.default_rng(1).standard_normal((5, DEPTH), np.float32)
    for kind, name in (("weights", "w"), ("nodes", "product")):
        compiled = lathe.compile(tmp_path / "m.onnx", plan={"version": 1, kind: {name: {"sparsity": "block:75%"}}})
        assert_close(compiled(x=x)["y"], x, prune(weights, 0.75, 1, 4))
    kept = {"version": 1, "defaults": {"sparsity": "block:75%"}, "weights": {"w": {"sparsity": "none"}}}
    assert_close(lathe.compile(tmp_path / "m.onnx", plan=kept)(x=x)["y"], x, weights)


def test_emitted_plans(weights, tmp_path):
    onnx.save(product(weights), tmp_path / "m.onnx")
    text = lathe.compiler.run_driver("compile", tmp_path / "m.onnx", "-o", "-", "--emit-plan", "--prune=block:75%",
                                     "--quantize=int8-dynamic")
    entry = json.loads(text)["weights"]["w"]
    assert entry["sparsity"] == "block:75%" and entry["format"] == "int8<dynamic>"


@pytest.mark.parametrize("text", ["block", "block:75", "block:100%", "block:0%", "block:75.25%", "4:8", "rows:50%", "block:-5%"])
def test_bad_sparsities(weights, text):
    with pytest.raises(lathe.ModelError, match="E0001"):
        lathe.compile(product(weights), prune=text)
    with pytest.raises(lathe.ModelError, match="E0801"):
        lathe.compile(product(weights), plan={"version": 1, "defaults": {"sparsity": text}})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(weights, tmp_path, value):
    broken = weights.copy()
    broken[3, 5] = value
    onnx.save(product(broken), tmp_path / "m.onnx")
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "m.so", "--prune=block:75%")
    (asked,) = report["compression"]
    assert not asked["done"] and "not finite" in asked["reason"]


@pytest.mark.parametrize("text,zeros,columns", [("block:75%", 0.75, 4), ("unstructured:90%", 0.9, 1)])
def test_statistics_choose_what_stays(weights, tmp_path, text, zeros, columns):
    """Wanda: magnitudes count by the norms of what they are multiplied with."""
    onnx.save(product(weights), tmp_path / "m.onnx")
    rng = np.random.default_rng(3)
    runs = [{"x": rng.standard_normal((20, DEPTH), np.float32) * rng.uniform(0.1, 10, DEPTH).astype("f4")} for _ in range(2)]
    lathe.calibrate(tmp_path / "m.onnx", runs, tmp_path / "s.npz")
    norms = np.sqrt(sum(np.square(run["x"], dtype="f8").sum(0) for run in runs))
    compiled = lathe.compile(tmp_path / "m.onnx", prune=text, stats=tmp_path / "s.npz")
    x = np.random.default_rng(1).standard_normal((33, DEPTH), np.float32)
    assert_close(compiled(x=x)["y"], x, prune(weights, zeros, 1, columns, norms.astype("f4")))


def test_formats_compose(zoo, tmp_path):
    """Codes of 8 bits in blocks in one layer, a layer left out, and bf16 in the others: what runs is the reference lowering."""
    text = lathe.compiler.run_driver("compile", zoo["minilm"], "-o", "-", "--emit-plan", "--quantize=int8-dynamic")
    names = list(json.loads(text)["weights"])
    own = {name: {"format": "int8<dynamic>", "sparsity": "block:50%"} for name in names if ".layer.0." in name}
    plan = {"version": 1, "defaults": {"math": "bf16"}, "weights": own, "layers": [{"layer": 4, "skip": "all"}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    has_bf16 = "avx512_bf16" in open("/proc/cpuinfo").read()
    options = [f"--plan={tmp_path / 'plan.json'}", "--target=" + ("x86-64-v4+bf16" if has_bf16 else "x86-64-v3")]
    report = compile_with_report(zoo["minilm"], tmp_path / "fast.so", *options)
    compile_with_report(zoo["minilm"], tmp_path / "reference.so", "-O0", *options)
    asked = {kind: [entry for entry in report["compression"] if entry["requested"].startswith(kind)]
             for kind in ("int8", "block", "bf16", "all")}
    assert all(entry["done"] for entry in asked["int8"] + asked["block"] + asked["all"] + asked["bf16"] * has_bf16)
    assert [len(asked[kind]) for kind in ("int8", "block", "bf16", "all")] == [4, 4, 16, 1]
    ids = np.random.default_rng(0).integers(1000, 30000, (1, 24))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    fast, reference = ((lathe.load(tmp_path / f"{name}.so")(inputs)["last_hidden_state"]) for name in ("fast", "reference"))
    # Sums in another order move a few elements to the next code, or to the next bf16.
    assert np.abs(fast - reference).max() <= 0.05 * np.abs(reference).max()
    assert (fast * reference).sum() >= 0.9999 * np.linalg.norm(fast) * np.linalg.norm(reference)


def test_two_of_four_where_it_is_forced():
    """Two of each four rows of a column stay, the greatest, and what remains at the end is whole."""
    w = np.random.default_rng(0).standard_normal((98, COLUMNS), np.float32)
    pruned = w.copy()
    for first in range(0, len(w), 4):
        order = np.argsort(np.argsort(-np.abs(w[first:first + 4]), 0, kind="stable"), 0)
        pruned[first:first + 4] *= order < 2
    x = np.random.default_rng(1).standard_normal((19, len(w)), np.float32)
    assert_close(lathe.compile(product(w), prune="2:4", force=True)(x=x)["y"], x, pruned)
