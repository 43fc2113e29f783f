# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Layers of MiniLM left out, against ONNX Runtime on a graph that is built without them."""

import json
import subprocess

import numpy as np
import onnx
import pytest

import lathe
from lathe._verify import compare, run_reference
from lathe.compiler import driver
from lathe.zoo import minilm, minilm_folder
from reports import compile_with_report, remarks
from test_minilm import TOLERANCE, make_inputs


@pytest.fixture(scope="module")
def weights():
    return minilm.read_safetensors(minilm_folder() / "model.safetensors")


@pytest.fixture(scope="module")
def without(weights, tmp_path_factory):
    """A function to the path of MiniLM as an exporter would write it without these parts."""
    folder = tmp_path_factory.mktemp("without")

    def build(skip, **options):
        path = folder / "model.onnx"
        onnx.save(minilm.build(weights, skip=skip, **options), path)
        return path

    return build


def text(skip):
    return ",".join(f"{layer}" if part == "all" else f"{layer}:{part}" for layer, part in skip.items())


@pytest.mark.parametrize("skip", [{2: "all", 4: "all"}, {0: "all", 5: "all"}, {4: "attention", 5: "attention"},
                                  {1: "ffn"}, {0: "attention", 2: "all", 5: "ffn"}], ids=text)
def test_what_is_left_computes_the_same(zoo, without, tmp_path, skip):
    report = compile_with_report(zoo["minilm"], tmp_path / "m.so", f"--skip-layers={text(skip)}", "--verify-each")
    model, oracle = lathe.load(tmp_path / "m.so"), without(skip)
    for batch, sequence in [(1, 16), (3, 33)]:
        inputs = make_inputs(batch, sequence)
        expected = run_reference(oracle, inputs)["last_hidden_state"]
        assert compare(model(inputs)["last_hidden_state"], expected)["max_abs"] <= TOLERANCE
    # What is read by what is left out only is not stored: all of it is in the file of the model without it.
    parts = {entry["names"][0]: entry for entry in report["compression"]}
    assert set(parts) == {str(layer) for layer in skip} and all(entry["done"] for entry in parts.values())
    plain = oracle.stat().st_size
    assert abs(report["numbers"]["weight_bytes"] - plain) <= 0.01 * plain


@pytest.mark.parametrize("name", ["minilm_fused", "minilm_gather_nd"])
def test_other_spellings_of_the_model(zoo, without, tmp_path, name):
    lathe.compile(zoo[name], tmp_path / "m.so", skip_layers=[1, 2])
    inputs = make_inputs(2, 16)
    oracle = run_reference(without({1: "all", 2: "all"}), inputs)["last_hidden_state"]
    result = lathe.load(tmp_path / "m.so")(inputs)["last_hidden_state"]
    assert compare(result, oracle)["max_abs"] <= TOLERANCE


@pytest.mark.parametrize("request_", ["--quantize=int4", "--prune=block:75%"])
def test_weights_that_are_left_out_are_in_no_format(zoo, tmp_path, request_):
    report = compile_with_report(zoo["minilm"], tmp_path / "m.so", "--skip-layers=2,4:ffn", request_)
    weights = [entry for entry in report["compression"] if entry["kind"] == "weight"]
    stored = [entry for entry in weights if entry["done"]]
    gone = [entry for entry in weights if not entry["done"]]
    # Of each layer four: queries, keys and values joined, what attention gives, and two of the feed-forward part. Of layers
    # of which nothing stays nothing is asked.
    assert len(stored) == 4 * 4 + 2 and all(0 < entry["bytes_after"] < entry["bytes_before"] for entry in stored)
    assert [entry["reason"] for entry in gone] == 2 * ["layer 4, which reads it, is left out"]
    assert all(entry["became"] == "left out" and entry["bytes_after"] == 0 for entry in gone)
    assert any(clause.startswith("18/18 products' weights as ") for clause in report["digest"])


def test_without_optimization(zoo, without):
    model = lathe.compile(zoo["minilm"], opt_level=0, skip_layers="2,4")
    inputs = make_inputs(1, 16)
    oracle = run_reference(without({2: "all", 4: "all"}), inputs)["last_hidden_state"]
    assert compare(model(inputs)["last_hidden_state"], oracle)["max_abs"] <= TOLERANCE


def emit(path, *options):
    done = subprocess.run([driver(), "compile", path, "--emit-plan", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("ratio,layers", [(1.2, [3]), (1.5, [2, 4]), (2, [1, 3, 4]), (3, [1, 2, 3, 4])])
def test_layers_for_a_speed_up_are_spread_evenly(zoo, ratio, layers):
    """6 layers, of which the first and the last stay: 6 / ratio of them are left, rounded down."""
    plan = emit(zoo["minilm"], f"--skip-to-speedup={ratio}")
    assert [(entry["layer"], entry["skip"]) for entry in plan["layers"]] == [(layer, "all") for layer in layers]


def test_the_remaining_layers_are_one_function(zoo, tmp_path):
    report = compile_with_report(zoo["minilm"], tmp_path / "m.so", "--skip-to-speedup=1.5")
    assert "2 of 6 layers skipped" in " · ".join(report["digest"])
    (layers,) = remarks(report, "nn-outline-layers", "passed")
    assert layers.startswith("4 equal layers compiled once")


def test_a_speed_up_out_of_reach(zoo):
    with pytest.raises(lathe.ModelError, match="the model has 6 layers, of which 4 can be left out; for a speed-up of 4"):
        lathe.compile(zoo["minilm"], skip_to_speedup=4)


def test_a_model_without_layers(tiny_onnx):
    with pytest.raises(lathe.ModelError, match="the model has 0 layers") as caught:
        lathe.compile(tiny_onnx, skip_to_speedup=1.5)
    assert caught.value.code == "E0808"


def test_a_model_whose_hidden_states_are_outputs(weights, tmp_path):
    """They pass what the layer before made, like the hidden state itself."""
    graph = minilm.build(weights, layers=3)
    states = [node.output[0] for node in graph.graph.node if node.op_type == "LayerNormalization"][2::2]
    hidden = onnx.helper.make_tensor_value_info(states[0], onnx.TensorProto.FLOAT, ["batch", "sequence", minilm.HIDDEN])
    graph.graph.output.append(hidden)
    onnx.save(graph, tmp_path / "m.onnx")
    model = lathe.compile(tmp_path / "m.onnx", tmp_path / "m.so", skip_layers=[1])
    results = model(make_inputs(1, 7))
    onnx.save(minilm.build(weights, layers=3, skip={1: "all"}), tmp_path / "oracle.onnx")
    expected = run_reference(tmp_path / "oracle.onnx", make_inputs(1, 7))["last_hidden_state"]
    assert compare(results["last_hidden_state"], expected)["max_abs"] <= TOLERANCE
    assert np.isfinite(results[states[0]]).all()


def test_the_loss_is_in_the_report(zoo, without, tmp_path):
    """The same as ONNX Runtime says of the two models."""
    inputs = make_inputs(2, 16)
    np.savez(tmp_path / "inputs.npz", **inputs)
    report = compile_with_report(zoo["minilm"], tmp_path / "m.so", "--skip-layers=2,4", f"--inputs={tmp_path / 'inputs.npz'}")
    ours, whole = (run_reference(path, inputs)["last_hidden_state"] for path in (without({2: "all", 4: "all"}), zoo["minilm"]))
    expected = compare(ours, whole)
    (loss,) = report["loss"]
    assert loss["output"] == "last_hidden_state"
    # Either side is as exact as every run, see TOLERANCE.
    assert abs(loss["max_abs"] - expected["max_abs"]) <= 2 * TOLERANCE
    assert abs(loss["cosine"] - expected["cosine"]) <= TOLERANCE
    assert expected["cosine"] < 0.999
    assert any("cosine" in clause for clause in report["digest"])


@pytest.mark.parametrize("options,message", [
    ([], "--inputs is for compiling with a plan"), (["--skip-layers=1", "-o", "m.a"], "--inputs is for an output .so"),
    (["--skip-layers=1", "--emit-plan"], "--inputs is for an output .so")])
def test_inputs_without_a_loss(tiny_onnx, options, message):
    done = subprocess.run([driver(), "compile", tiny_onnx, "-o", "m.so", "--inputs=i.npz", *options], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1 and message in done.stderr


def test_inputs_that_are_not_there(zoo, tmp_path):
    done = subprocess.run([driver(), "compile", zoo["minilm"], "-o", tmp_path / "m.so", "--skip-layers=1", "--inputs=no.npz"],
                          capture_output=True, text=True, check=False)
    assert done.stderr.startswith("error[E0002]: ") and not (tmp_path / "m.so").exists()
