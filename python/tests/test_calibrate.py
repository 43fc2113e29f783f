# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Statistics of what products read, how they are measured, and which are refused."""

import json
import os
import resource
import signal
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lathe
from lathe.compiler import driver
from calibration import COLUMNS, DEPTH, ENVIRONMENT, emit, minilm_stats, run, samples, stats, texts, two, two_products, weights_of, write_samples  # noqa: F401
from small_models import model, value


def test_what_is_measured(two, stats):
    arrays = np.load(stats)
    index = json.loads(arrays["lathe"].tobytes())
    x = np.concatenate([inputs["x"] for inputs in samples()])
    first, second = weights_of(two_products())
    read = [x, np.maximum(x.astype(np.float64) @ first, 0)]
    assert index["runs"] == 3 and [entry["nodes"] for entry in index["tensors"]] == [["/first"], ["/second"]]
    assert [entry["weights"] for entry in index["tensors"]] == [["first"], ["second"]]
    for number, (entry, tensor) in enumerate(zip(index["tensors"], read)):
        # Sums of 96 products in f32, relative to the largest of their terms.
        error = DEPTH * 2.0 ** -24 * np.abs(x).max() * np.abs(first).max() * (number > 0)
        assert entry["rows"] == len(x) and entry["channels"] == tensor.shape[1] and entry["not_finite"] == 0
        np.testing.assert_allclose(arrays[f"low.{number}"], tensor.min(axis=0), atol=error, rtol=0)
        np.testing.assert_allclose(arrays[f"high.{number}"], tensor.max(axis=0), atol=error, rtol=0)
        np.testing.assert_allclose(arrays[f"squares.{number}"], np.square(tensor, dtype=np.float64).sum(axis=0), rtol=1e-4)
        gram = tensor.astype(np.float64).T @ tensor
        # The sum of as many terms as there are rows, in f32.
        assert np.abs(arrays[f"gram.{number}"] - gram).max() <= 2 * len(x) * 2.0 ** -24 * gram.diagonal().max() + 1e-4 * gram.max() * (number > 0)
        end = 2.0 ** entry["exponent"]
        assert end / 2 <= np.abs(tensor).max() < end
        counted, _ = np.histogram(tensor, index["bins"], (-end, end))
        # As if all had been known at once; what lies at the edge of a bin may be in either.
        assert arrays[f"histogram.{number}"].sum() == tensor.size
        assert np.abs(np.cumsum(arrays[f"histogram.{number}"] - counted)).max() <= (0 if number == 0 else 3)


def test_nothing_changes_but_the_outputs(two, tmp_path):
    """The artifact that calibration runs gives what the model gives, and more."""
    assert run("compile", two, "-o", tmp_path / "m.so", "--expose-operands").returncode == 0
    shown, plain = lathe.load(tmp_path / "m.so"), lathe.compile(two)
    (inputs,) = samples(1)
    results = shown(inputs)
    assert [info.name for info in shown.outputs] == ["z", "lathe.tensor.0", "lathe.tensor.1"]
    np.testing.assert_allclose(results["z"], plain(inputs)["z"], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(results["lathe.tensor.0"], inputs["x"])


def test_a_folder_of_files_gives_the_same(two, stats, tmp_path):
    data = write_samples(tmp_path / "data", samples())
    done = run("calibrate", two, "--data", data, "-o", tmp_path / "s.npz", "--gram", "--progress=plain")
    assert done.returncode == 0, done.stderr
    assert "[2/3] " in done.stderr and "3 runs, 2 tensors, 0 layers" in done.stderr
    assert (tmp_path / "s.npz").read_bytes() == stats.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["data", "s.npz"]


def test_one_file_is_cut(two, tmp_path):
    x = np.concatenate([inputs["x"] for inputs in samples()])
    np.savez(tmp_path / "x.npz", x=x)
    done = run("calibrate", two, "--data", tmp_path / "x.npz", "-o", tmp_path / "s.npz", "--batch=5", "--progress=json")
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [(step["step"], step["steps"]) for step in steps[1:]] == [(i, 5) for i in range(5)]
    lathe.calibrate(two, [{"x": part} for part in np.split(x, range(5, len(x), 5))], tmp_path / "t.npz")
    assert (tmp_path / "s.npz").read_bytes() == (tmp_path / "t.npz").read_bytes()


def test_goes_on_where_it_was(two, stats, tmp_path):
    """What has ended with an error, here of the last file, is not done again; and the result is the same."""
    data = write_samples(tmp_path / "data", samples())
    np.savez(data / "2.npz", x=np.full((1, DEPTH), np.nan, np.float32))
    output, seen = tmp_path / "s.npz", []
    options = {"gram": True, "progress": lambda phase, step, steps: seen.append(step)}
    with pytest.raises(lathe.ModelError, match=r"input 'x' is nan at \(0, 0\)") as caught:
        lathe.calibrate(two, data, output, **options)
    assert caught.value.code == "E0811"
    assert not output.exists() and (tmp_path / "s.npz.partial").exists()
    refused = run("compile", two, "-o", tmp_path / "m.so", "--quantize=int8-static", "--stats", tmp_path / "s.npz.partial")
    assert "error[E0810]" in refused.stderr and "has not ended" in refused.stderr
    write_samples(data, samples())
    seen.clear()
    lathe.calibrate(two, data, output, **options)
    assert seen == [0, 2]
    assert output.read_bytes() == stats.read_bytes() and not (tmp_path / "s.npz.partial").exists()


def test_begins_anew_with_other_inputs(two, tmp_path):
    """What was kept does not count if the inputs before it have changed."""
    data = write_samples(tmp_path / "data", samples())
    np.savez(data / "2.npz", x=np.zeros((0, DEPTH), np.float32))
    with pytest.raises(lathe.ModelError, match=r"input 'x' has no elements"):
        lathe.calibrate(two, data, tmp_path / "s.npz")
    others = [{"x": -inputs["x"]} for inputs in samples()]
    lathe.calibrate(two, write_samples(data, others), tmp_path / "s.npz")
    lathe.calibrate(two, others, tmp_path / "t.npz")
    assert (tmp_path / "s.npz").read_bytes() == (tmp_path / "t.npz").read_bytes()


def test_a_signal_keeps_what_is_done(two, tmp_path):
    data = write_samples(tmp_path / "data", samples(1) * 2000)
    process = subprocess.Popen([driver(), "calibrate", two, "--data", data, "-o", tmp_path / "s.npz", "--progress=plain"],
                               stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    while "[1/2000]" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGTERM)
    assert "goes on from here" in process.stderr.read() and process.wait() == 130
    assert sorted(os.listdir(tmp_path)) == ["data", "s.npz.partial"]



#: What is in the file of data, and how it is refused.
BAD_DATA = {
    "nothing": ({}, "E0811", "there is no input in it"),
    "infinities": ({"x": np.full((1, DEPTH), -np.inf, np.float32)}, "E0811", "input 'x' is -inf at (0, 0)"),
    "another name": ({"y": np.zeros((1, DEPTH), np.float32)}, "E0701", "data.npz: the model has no input 'y'"),
    "one too many": ({"x": np.zeros((1, DEPTH), np.float32), "y": np.zeros(1)}, "E0701", "the model has no input 'y'"),
    "another type": ({"x": np.zeros((1, DEPTH))}, "E0702", "data.npz: input 'x' has type float64, expects float32"),
    "another shape": ({"x": np.zeros((1, DEPTH + 1), np.float32)}, "E0702", "data.npz: "),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(two, tmp_path, name):
    arrays, code, message = BAD_DATA[name]
    np.savez(tmp_path / "data.npz", **arrays)
    done = run("calibrate", two, "--data", tmp_path / "data.npz", "-o", tmp_path / "s.npz", "--quiet")
    assert done.stderr.startswith(f"error[{code}]: ") and message in done.stderr, done.stderr
    assert os.listdir(tmp_path) == ["data.npz"]


def test_no_data(two, tmp_path):
    (tmp_path / "empty").mkdir()
    for data, code in [("empty", "E0811"), ("nowhere", "E0002"), (two, "E0703")]:
        done = run("calibrate", two, "--data", data, "-o", "s.npz", cwd=tmp_path)
        assert done.stderr.startswith(f"error[{code}]: "), done.stderr
    with pytest.raises(lathe.ModelError, match="there are no inputs to calibrate with"):
        lathe.calibrate(two, [], tmp_path / "s.npz")
    done = run("calibrate", two, "--data=data.npz")
    assert done.returncode == 1 and done.stderr.startswith("error[E0001]: expects -o STATS.npz")


def test_a_full_disk(two, tmp_path):
    """Here, files of at most so many bytes, which the artifact has not."""
    data = write_samples(tmp_path / "data", samples(1))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150 << 10, 150 << 10))  # noqa: E731
    done = run("calibrate", two, "--data", data, "-o", tmp_path / "s.npz", "--gram", preexec_fn=limit)
    assert done.returncode == 1 and done.stderr.startswith("error[E0003]: "), done.stderr
    assert os.listdir(tmp_path) == ["data"]


def test_what_is_not_finite_inside_does_not_count(tmp_path):
    """y = 1 / x reaches a product; a row with a zero in it is left out, and said to be."""
    graph = model([helper.make_node("Reciprocal", ["x"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["z"], name="/p")],
                  [value("x", TensorProto.FLOAT, "N", DEPTH)], [value("z", TensorProto.FLOAT, "N", COLUMNS)],
                  w=np.ones((DEPTH, COLUMNS), np.float32))
    onnx.save(graph, tmp_path / "m.onnx")
    x = np.full((3, DEPTH), 2, np.float32)
    x[1, 5] = 0
    np.savez(tmp_path / "x.npz", x=x)
    done = run("calibrate", tmp_path / "m.onnx", "--data", tmp_path / "x.npz", "-o", tmp_path / "s.npz")
    assert "warning: 1 elements that /p reads are not finite and do not count" in done.stderr
    arrays = np.load(tmp_path / "s.npz")
    assert (arrays["high.0"] == 0.5).all() and json.loads(arrays["lathe"].tobytes())["tensors"][0]["rows"] == 2


def test_sums_of_products_are_bounded(two, tmp_path):
    found = lathe.calibrate(two, samples(1), tmp_path / "s.npz", gram=True, gram_limit=4 * DEPTH ** 2 + 100)
    assert found["without_gram"] == ["second"]
    assert "gram.0" in np.load(tmp_path / "s.npz") and "gram.1" not in np.load(tmp_path / "s.npz")


def test_statistics_are_missing(two, tmp_path):
    done = run("compile", two, "-o", tmp_path / "m.so", "--quantize=int8-static")
    assert done.returncode == 1 and done.stderr.startswith("error[E0812]: "), done.stderr
    assert "--stats" in done.stderr and not (tmp_path / "m.so").exists()


def test_statistics_of_another_model(stats, tmp_path):
    onnx.save(two_products(depth=DEPTH + 4), tmp_path / "m.onnx")
    done = run("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", "--quantize=int8-static", "--stats", stats)
    assert done.stderr.startswith("error[E0809]: the statistics are of a model of fingerprint "), done.stderr


def test_a_plan_of_other_statistics(two, stats, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"version": 1, "calibration": "0123456789abcdef",
                                                 "defaults": {"format": "int8<static>"}}))
    done = run("compile", two, "-o", tmp_path / "m.so", f"--plan={tmp_path / 'p.json'}", "--stats", stats)
    assert done.stderr.startswith("error[E0809]: the plan was made from statistics of hash 0123456789abcdef, those in")
    done = run("compile", two, "-o", tmp_path / "m.so", "--stats", stats)
    assert done.stderr.startswith("error[E0001]: --stats is for compiling with a plan")


def damaged(arrays, name):
    """The arrays of statistics, damaged in one way."""
    index = json.loads(arrays["lathe"].tobytes())
    if name == "no statistics":
        return {"x": np.zeros(3)}
    if name == "no array":
        del arrays["squares.1"]
    elif name == "another type":
        arrays["low.0"] = arrays["low.0"].astype("f8")
    elif name == "another shape":
        arrays["high.1"] = arrays["high.1"][1:]
    elif name == "not finite":
        arrays["high.0"][3] = np.nan
    elif name == "no range":
        arrays["low.0"][3] = arrays["high.0"][3] + 1
    elif name == "another version":
        index["version"] = 2
    elif name == "a field":
        del index["tensors"][0]["rows"]
    text = {"no JSON": b"{", "too deep": b"[" * 100000}.get(name, json.dumps(index).encode())
    arrays["lathe"] = np.frombuffer(text, np.uint8)
    return arrays


@pytest.mark.parametrize("name,message", [
    ("no statistics", "this is no file of statistics"), ("no array", 'have no array "squares.1"'),
    ("another type", 'the array "low.0" is f64 [96], expects f32 [96]'),
    ("another shape", 'the array "high.1" is f32 [79], expects f32 [80]'),
    ("not finite", 'element 3 of the array "high.0" is not finite'), ("no range", "channel 3 of tensor 0 has no range"),
    ("another version", "the statistics are of version 2"), ("a field", "tensor 0 lacks a field"), ("no JSON", "is no JSON"),
    ("too deep", 'values in the array "lathe" are nested deeper than 64')])
def test_malformed_statistics(two, stats, tmp_path, name, message):
    np.savez(tmp_path / "s.npz", **damaged(dict(np.load(stats)), name))
    done = run("compile", two, "-o", tmp_path / "m.so", "--quantize=int8-static", f"--stats={tmp_path / 's.npz'}")
    assert done.returncode == 1 and done.stderr.startswith("error[E0810]: ") and message in done.stderr, done.stderr


def test_layers(zoo, minilm_stats):
    """Their cosines are those of the model's hidden states; the layers that change least are left out first."""
    index = json.loads(np.load(minilm_stats)["lathe"].tobytes())
    assert [layer["layer"] for layer in index["layers"]] == list(range(6))
    graph = onnx.load(zoo["minilm"])
    states = [node.output[0] for node in graph.graph.node if node.op_type == "LayerNormalization"]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in states[:-1])
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    hidden = dict(zip([output.name for output in session.get_outputs()], session.run(None, texts(4))))
    hidden[states[-1]] = hidden["last_hidden_state"]
    for number, layer in enumerate(index["layers"]):
        before, between, after = (hidden[name].astype(np.float64) for name in states[2 * number:2 * number + 3])
        for part, a, b in [("all", before, after), ("attention", before, between), ("ffn", between, after)]:
            cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
            assert abs(layer["cosine"][part] - cosine.mean()) < 1e-5
    least = sorted(range(1, 5), key=lambda number: -index["layers"][number]["cosine"]["all"])
    plan = emit(zoo["minilm"], "--skip-to-speedup=1.5", "--stats", minilm_stats)
    assert [layer["layer"] for layer in plan["layers"]] == sorted(least[:2])
    assert all(layer["why"].startswith("it changes little, cosine 0.") for layer in plan["layers"])
