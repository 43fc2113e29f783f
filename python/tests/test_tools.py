# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`lathe verify` and `lathe bench --vs`, through the driver."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lathe
from small_models import ROOT, model, scale_add_relu, value
from lathe import _verify
from lathe.compiler import driver


def run(*arguments):
    environment = {**os.environ, "LATHE_PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "python")}
    return subprocess.run([driver(), *map(str, arguments)], capture_output=True, text=True, env=environment)


def test_verify_passes(tiny_onnx):
    done = run("verify", tiny_onnx, "--shape=N=5", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["passed"] and result["outputs"]["z"]["max_abs"] <= 1e-6


def run_wrong(change, when):
    """A reference that is wrong at one node of the model, where `when` says so of the outputs it is asked for."""
    right = _verify.run_reference

    def run_reference(path, inputs, outputs=None):
        if not when(outputs):
            return right(path, inputs, outputs)
        loaded = onnx.load(path)
        for node in loaded.graph.node:
            change(node)
        wrong = pathlib.Path(path).with_name("wrong.onnx")
        onnx.save(loaded, wrong)
        return right(wrong, inputs, outputs)

    return run_reference


def subtract_instead(node):
    if node.name == "/add":
        node.op_type = "Sub"


@pytest.mark.parametrize("options", [[], ["--run-pass-until=3"]])
@pytest.mark.parametrize("when,strategy", [
    (lambda outputs: True, "all at once"),
    (lambda outputs: outputs is None or len(outputs) == 1, "one by one"),  # as if a fusion were at fault
], ids=["all-at-once", "one-by-one"])
def test_verify_finds_the_node(tmp_path, monkeypatch, capsys, options, when, strategy):
    path, compilations = tmp_path / "m.onnx", []
    onnx.save(scale_add_relu(), path)

    def compile(*arguments, **named):
        compilations.append(named["run_pass_until"])
        return lathe.compile(*arguments, **named)

    monkeypatch.setattr(_verify, "run_reference", run_wrong(subtract_instead, when))
    monkeypatch.setattr(_verify, "compile", compile)
    monkeypatch.setattr(sys, "argv", ["lathe verify", str(path), "--shape=N=3", *options])
    assert _verify.main() == 3
    printed = capsys.readouterr().out
    assert 'first difference: node "/add" (Add), value "u"' in printed
    assert (len(compilations) > 2) == (strategy == "one by one")
    assert set(compilations) == {3 if options else None}


def test_verify_goes_on_where_values_cannot_be_outputs(tmp_path, monkeypatch, tiny_onnx):
    """Neither all values at once nor those behind the fault can be looked at."""
    x = np.ones((2, 4), np.float32)
    inputs = {"x": x, "y": x}
    search = _verify.Search(tiny_onnx, inputs, 1e-4, tmp_path, {})
    differs = search._differs

    def refuse_most(values):
        if values[-1][0] == "z":
            raise lathe.ModelError("E0401", "not as an output")
        return differs(values)

    monkeypatch.setattr(_verify, "run_reference", run_wrong(subtract_instead, lambda outputs: True))
    monkeypatch.setattr(search, "_differs", refuse_most)
    assert search.first()["node"] == "/add"


def test_verify_does_not_search_an_artifact(tmp_path, tiny):
    """The artifact is of another model, whose last two nodes differ."""
    other = scale_add_relu()
    other.graph.node[1].op_type = "Sub"
    path = tmp_path / "other.onnx"
    onnx.save(other, path)
    done = run("verify", path, f"--artifact={tiny}")
    assert done.returncode == 3
    assert "first difference: not searched, an artifact shows nothing but its outputs" in done.stdout
    assert "FAILED" in done.stdout


def test_verify_with_inputs(tmp_path, tiny_onnx):
    np.savez(tmp_path / "in.npz", x=np.ones((2, 4), np.float32), y=np.ones((2, 4), np.float32))
    done = run("verify", tiny_onnx, "--inputs", tmp_path / "in.npz")
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout


def test_verify_says_what_input_is_unknown(tmp_path, tiny_onnx):
    np.savez(tmp_path / "in.npz", q=np.ones((2, 4), np.float32))
    done = run("verify", tiny_onnx, "--inputs", tmp_path / "in.npz")
    assert done.returncode == 1
    assert "error[E0701]" in done.stderr and "'q'" in done.stderr
    assert done.stdout == ""


def folds(path, size):
    """A model whose open dimension must be a multiple of `size`."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="/fold")
    onnx.save(model([node], [value("x", TensorProto.FLOAT, 1, "N")], [value("y", TensorProto.FLOAT, "M", size)],
                    shape=np.array([-1, size])), path)
    return path


def test_verify_finds_sizes_that_the_reference_runs_with(tmp_path):
    done = run("verify", folds(tmp_path / "m.onnx", 20), "--json")
    assert done.returncode == 0, done.stderr
    assert "open dimensions of 16; they are 320" in done.stderr
    assert json.loads(done.stdout)["passed"]


def test_verify_says_which_sizes_the_reference_refuses(tmp_path):
    done = run("verify", folds(tmp_path / "m.onnx", 7))
    assert done.returncode == 3
    assert "error[E0704]" in done.stderr and "nor with open dimensions of 64, 320, 512" in done.stderr
    assert "--shape" in done.stderr and done.stdout == ""
    given = run("verify", tmp_path / "m.onnx", "--shape=N=16")
    assert given.returncode == 3 and "open dimensions" not in given.stderr
    assert run("verify", tmp_path / "m.onnx", "--shape=N=14").returncode == 0


@pytest.mark.parametrize("ours,reference,largest", [
    ([1.0, 2.0], [1.0, 2.5], 0.5),
    ([1.0, np.nan], [1.0, np.nan], 0.0),
    ([1.0, np.nan], [1.0, 2.0], np.inf),
    ([np.inf], [np.inf], 0.0),
    ([np.inf], [-np.inf], np.inf),
    ([], [], 0.0),
])
def test_compare(ours, reference, largest):
    assert _verify.compare(np.array(ours), np.array(reference))["max_abs"] == largest


def test_bench_against_peers(tiny, tiny_onnx):
    done = run("bench", tiny, "--vs=onnxruntime,openvino", f"--model={tiny_onnx}", "--threads=1", "--seconds=0.2",
               "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert set(results) == {"lathe", "onnxruntime", "openvino"}
    for name, row in results.items():
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert name == "lathe" or (row["ratio"] > 0 and row["difference"] < 1e-5)


def test_bench_refuses_unknown_peers(tiny, tiny_onnx):
    done = run("bench", tiny, "--vs=abacus", f"--model={tiny_onnx}")
    assert done.returncode == 1
    assert "abacus" in done.stderr


def test_text_takes_its_weights_from_the_model(tmp_path):
    """What begins in the middle gives the same results as what begins with the model."""
    weight = np.arange(64 * 8, dtype=np.float32).reshape(64, 8)
    matmul = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", TensorProto.FLOAT, "N", 64)],
                   [value("y", TensorProto.FLOAT, "N", 8)], w=weight)
    path, text, artifact = tmp_path / "m.onnx", tmp_path / "m.mlir", tmp_path / "m.so"
    onnx.save(matmul, path)
    assert run("compile", path, "--to=nn", "-o", text).returncode == 0
    done = run("compile", "--from=nn", text, f"--weights-from={path}", "-o", artifact)
    assert done.returncode == 0, done.stderr
    x = np.ones((2, 64), np.float32)
    np.testing.assert_array_equal(lathe.load(artifact)(x=x)["y"], x @ weight)

    text.write_text(text.read_text().replace("64x8xf32", "64x9xf32").replace("?x8xf32", "?x9xf32"))
    done = run("compile", "--from=nn", text, f"--weights-from={path}", "-o", tmp_path / "no.so")
    assert done.returncode != 0
    assert "weight @w is tensor<64x9xf32>, but the model's is tensor<64x8xf32>" in done.stderr
