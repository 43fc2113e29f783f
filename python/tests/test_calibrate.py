# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Statistics of what products read, how they are measured, and what is made of them: integers of 8 bits with ranges known
before."""

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lathe
from lathe._verify import compare
from lathe.compiler import driver
from reports import compile_with_report, remarks
from small_models import model, value
from test_int8 import assert_equal_products, weight_codes

DEPTH, MIDDLE, COLUMNS = 96, 80, 64


def two_products(depth=DEPTH):
    """z = relu(x @ first) @ second."""
    nodes = [helper.make_node("MatMul", ["x", "first"], ["t"], name="/first"), helper.make_node("Relu", ["t"], ["u"]),
             helper.make_node("MatMul", ["u", "second"], ["z"], name="/second")]
    rng = np.random.default_rng(0)
    return model(nodes, [value("x", TensorProto.FLOAT, "N", depth)], [value("z", TensorProto.FLOAT, "N", COLUMNS)],
                 first=rng.standard_normal((depth, MIDDLE), np.float32),
                 second=rng.standard_normal((MIDDLE, COLUMNS), np.float32))


def weights_of(graph):
    return [onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "two.onnx"
    onnx.save(two_products(), path)
    return path


def samples(count=3):
    """Of one scale each: the range is known only in the end."""
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((7 + i, DEPTH), np.float32) * np.float32(4.0 ** i)} for i in range(count)]


@pytest.fixture(scope="module")
def stats(two, tmp_path_factory):
    path = tmp_path_factory.mktemp("stats") / "s.npz"
    lathe.calibrate(two, samples(), path, gram=True)
    return path


def write_samples(folder, some):
    folder.mkdir(exist_ok=True)
    for number, inputs in enumerate(some):
        np.savez(folder / f"{number}.npz", **inputs)
    return folder


#: The driver calls the interpreter that runs the tests.
ENVIRONMENT = {**os.environ, "LATHE_PYTHON": sys.executable}


def run(*arguments, **options):
    return subprocess.run([driver(), *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, **options)


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


def codes(x, low, high):
    """Codes, their zero and their scale, with the roundings of f32 where they are taken."""
    scale = (np.float32(high) - np.float32(low)) / np.float32(255)
    zero = np.rint(-np.float32(low) / scale)
    return np.clip(np.rint(x * (np.float32(1) / scale)) + zero, 0, 255).astype(int), int(zero), np.float64(scale)


def test_static_product(tmp_path):
    """Exactly the integers of the range; what lies beyond it has its ends' codes."""
    rng = np.random.default_rng(2)
    w = rng.standard_normal((DEPTH, COLUMNS), np.float32)
    onnx.save(model([helper.make_node("MatMul", ["x", "w"], ["z"])], [value("x", TensorProto.FLOAT, "N", DEPTH)],
                    [value("z", TensorProto.FLOAT, "N", COLUMNS)], w=w), tmp_path / "m.onnx")
    seen = rng.uniform(-1, 3, (50, DEPTH)).astype("f4")
    lathe.calibrate(tmp_path / "m.onnx", [{"x": seen}], tmp_path / "s.npz")
    compiled = lathe.compile(tmp_path / "m.onnx", quantize="int8-static", ranges="minmax", stats=tmp_path / "s.npz")
    wq, ws = weight_codes(w)
    for rows in (1, 5, 64):
        x = rng.uniform(-2, 5, (rows, DEPTH)).astype("f4")
        xq, zero, scale = codes(x, seen.min(), seen.max())
        assert_equal_products(compiled(x=x)["z"], ((xq - zero) @ wq) * scale * ws)


@pytest.mark.parametrize("size,stride,pad", [(1, 1, 0), (3, 2, 1)])
def test_static_convolution(tmp_path, size, stride, pad):
    from test_int8 import convolve

    rng = np.random.default_rng(size)
    w, x = rng.standard_normal((64, 64, size, size), np.float32), rng.uniform(-1, 3, (2, 64, 9, 11)).astype("f4")
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[pad] * 4, strides=[stride] * 2)
    onnx.save(model([node], [value("x", TensorProto.FLOAT, *x.shape)], [value("y", TensorProto.FLOAT, 2, 64, None, None)], w=w),
              tmp_path / "m.onnx")
    lathe.calibrate(tmp_path / "m.onnx", [{"x": x}], tmp_path / "s.npz")
    wq, ws = weight_codes(w.transpose(1, 2, 3, 0))
    xq, zero, scale = codes(x, x.min(), x.max())
    wanted = convolve(xq - zero, wq.transpose(3, 0, 1, 2), stride, pad, 1) * scale * ws[:, None, None]
    ours = lathe.compile(tmp_path / "m.onnx", quantize="int8-static", ranges="minmax", stats=tmp_path / "s.npz")(x=x)["y"]
    assert_equal_products(ours, wanted)


def emit(path, *options):
    done = run("compile", path, "--emit-plan", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_emitted_plan_has_ranges_and_needs_no_statistics(two, stats, tmp_path):
    plan = emit(two, "--quantize=int8-static", "--ranges=minmax", "--stats", stats)
    x = np.concatenate([inputs["x"] for inputs in samples()])
    np.testing.assert_array_equal(np.float32(plan["weights"]["first"]["range"]), [x.min(), x.max()])
    assert plan["weights"]["second"]["range"][0] == 0 and len(plan["calibration"]) == 16
    lathe.compile(two, tmp_path / "a.so", plan=plan)
    lathe.compile(two, tmp_path / "b.so", quantize="int8-static", ranges="minmax", stats=stats)
    assert (tmp_path / "a.so").read_bytes() == (tmp_path / "b.so").read_bytes()


def heavy_tails():
    """Normal but for one element of 5000, which is up to 50."""
    x = np.random.default_rng(3).standard_normal((1000, DEPTH)).astype("f4")
    x.flat[::5000] = np.linspace(-50, 20, x.flat[::5000].size)
    return x


@pytest.fixture(scope="module")
def tails(two, tmp_path_factory):
    path = tmp_path_factory.mktemp("tails") / "s.npz"
    lathe.calibrate(two, [{"x": heavy_tails()}], path)
    return path


@pytest.mark.parametrize("percentile", [99, 99.9, 99.99])
def test_percentiles(two, tails, percentile):
    low, high = emit(two, "--quantize=int8-static", f"--ranges=percentile:{percentile}", "--stats", tails)["weights"]["first"]["range"]
    x, width = heavy_tails(), 128 / 8192
    most = int(x.size * (1 - percentile / 100))
    assert (x < low).sum() <= most < (x < low + width).sum()
    assert (x >= high).sum() <= most < (x >= high - width).sum()


def test_least_mean_square(two, tails):
    """No range that is a 64th apart is better by more than bins can tell."""
    low, high = emit(two, "--quantize=int8-static", "--ranges=mse", "--stats", tails)["weights"]["first"]["range"]
    x = heavy_tails().astype(np.float64)

    def error(low, high):
        q, zero, scale = codes(x.astype("f4"), low, high)
        return np.square(x - (q - zero) * scale).mean()

    ours = error(low, high)
    assert ours < 0.9 * error(x.min(), x.max())
    assert all(ours <= 1.1 * error(x.min() * i / 64, x.max() * j / 64) for i in range(4, 65, 4) for j in range(4, 65, 4))


def test_what_was_never_read_stays(two, tmp_path):
    """All that reached the second product in calibration was 0."""
    lathe.calibrate(two, [{"x": np.zeros((3, DEPTH), np.float32)}], tmp_path / "s.npz")
    report = compile_with_report(two, tmp_path / "m.so", "--quantize=int8-static", f"--stats={tmp_path / 's.npz'}")
    assert len(remarks(report, "pack-apply-plan", "missed")) == 2
    assert all("all it read in calibration was 0" in entry["reason"] and not entry["done"] for entry in report["compression"])


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


def texts(count, tokens=16):
    rng = np.random.default_rng(count)
    ids = rng.integers(1000, 30000, (count, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="module")
def minilm_stats(zoo, tmp_path_factory):
    path = tmp_path_factory.mktemp("minilm") / "s.npz"
    lathe.calibrate(zoo["minilm"], [texts(4)], path)
    return path


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


def test_a_model_of_language(zoo, compiled, minilm_stats, tmp_path):
    """All products, in layers that are still one function, and nothing is far from the floats."""
    report = compile_with_report(zoo["minilm"], tmp_path / "m.so", "--quantize=int8-static", f"--stats={minilm_stats}")
    (layers,) = remarks(report, "nn-outline-layers", "passed")
    assert layers.startswith("6 equal layers compiled once")
    assert len(report["compression"]) == 24 and all(entry["done"] for entry in report["compression"])
    inputs = texts(3)
    ours = lathe.load(tmp_path / "m.so")(inputs)["last_hidden_state"]
    assert compare(ours, lathe.load(compiled("minilm"))(inputs)["last_hidden_state"])["cosine"] > 0.95


def one_product(path, seed, nodes=(), **weights):
    """z = x @ w, behind other nodes."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((DEPTH, COLUMNS), np.float32) * np.float32(2) ** rng.integers(-3, 3, (DEPTH, 1))
    product = helper.make_node("MatMul", ["n" if nodes else "x", "w"], ["z"], name="/p")
    onnx.save(model([*nodes, product], [value("x", TensorProto.FLOAT, "N", DEPTH)], [value("z", TensorProto.FLOAT, "N", COLUMNS)],
                    w=w.astype("f4"), **weights), path)
    return w.astype("f4")


def uneven(rows, seed=4):
    """Channels of very different sizes, of which some are never other than 0."""
    rng = np.random.default_rng(seed)
    sizes = np.float32(3) ** np.random.default_rng(0).integers(-4, 4, DEPTH)
    sizes[7] = 0
    return (rng.standard_normal((rows, DEPTH)) * sizes).astype("f4")


@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_migrated_product(tmp_path, strength):
    """Exactly the integers of x / s and s w, where s is the power of two next to max |x|^a / max |w|^(1 - a)."""
    w, x = one_product(tmp_path / "m.onnx", 5), uneven(300)
    lathe.calibrate(tmp_path / "m.onnx", [{"x": x}], tmp_path / "s.npz")
    largest, rows = np.abs(x).max(axis=0), np.abs(w).max(axis=1)
    power = strength * np.log2(np.where(largest, largest, 1)) - (1 - strength) * np.log2(rows)
    s = np.where(largest, 2.0 ** np.rint(power), 1).astype("f4")
    wq, ws = weight_codes(w * s[:, None])
    xq, zero, scale = codes(x / s, (x / s).min(), (x / s).max())
    wanted = ((xq - zero) @ wq) * scale * ws
    compiled = lathe.compile(tmp_path / "m.onnx", quantize="int8-static", migrate=strength, stats=tmp_path / "s.npz")
    assert_equal_products(compiled(x=x)["z"], wanted)
    exact = x.astype(np.float64) @ w
    plain = lathe.compile(tmp_path / "m.onnx", quantize="int8-static", stats=tmp_path / "s.npz")(x=x)["z"]
    if strength == 0.5:
        assert np.square(wanted - exact).mean() < 0.5 * np.square(plain - exact).mean()


def test_a_norm_divides(tmp_path):
    """It is read by nothing else; the factors are powers of two, so that its result has the same digits."""
    rng = np.random.default_rng(6)
    norm = helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["n"], name="/norm", epsilon=1e-5)
    scale = (np.float32(3) ** rng.integers(-4, 4, DEPTH)).astype("f4")
    one_product(tmp_path / "m.onnx", 6, [norm], scale=scale, shift=rng.standard_normal(DEPTH).astype("f4"))
    x = rng.standard_normal((50, DEPTH), np.float32)
    lathe.calibrate(tmp_path / "m.onnx", [{"x": x}], tmp_path / "s.npz")
    report = compile_with_report(tmp_path / "m.onnx", tmp_path / "m.so", "--quantize=int8-static", "--migrate=0.5",
                                 f"--stats={tmp_path / 's.npz'}")
    assert "divides its channels for the products that read it" in remarks(report, "pack-migrate-scales", "passed")
    exact = lathe.compile(tmp_path / "m.onnx")(x=x)["z"]
    assert compare(lathe.load(tmp_path / "m.so")(x=x)["z"], exact)["cosine"] > 0.9999


def alike(rows, seed):
    """Rows that have much in common."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((rows, 8)) @ np.random.default_rng(1).standard_normal((8, DEPTH))
    return (mixed + 0.3 * rng.standard_normal((rows, DEPTH))).astype("f4")


@pytest.mark.parametrize("quantize,factor", [("int4", 0.6), ("int4<group = 96, zeros = true>", 0.6), ("int8-weights", 0.7),
                                             ("int8-dynamic", 0.9)])
def test_compensated_rounding(tmp_path, quantize, factor):
    """On other rows of the same kind, the mean square of what changes is a part of that of rounding to nearest."""
    w = one_product(tmp_path / "m.onnx", 7)
    lathe.calibrate(tmp_path / "m.onnx", [{"x": alike(400, 2)}], tmp_path / "s.npz", gram=True)
    x = alike(200, 3)
    exact = x.astype(np.float64) @ w
    errors = [np.square(lathe.compile(tmp_path / "m.onnx", quantize=quantize, rounding=rounding, stats=tmp_path / "s.npz")(x=x)["z"]
                        - exact).mean() for rounding in ("nearest", "compensated")]
    assert errors[1] < factor * errors[0]


def test_compensation_with_migration(tmp_path):
    """The sums of products are of the channels as they are then."""
    w = one_product(tmp_path / "m.onnx", 8)
    sizes = (3.0 ** np.random.default_rng(0).integers(-4, 4, DEPTH)).astype("f4")
    lathe.calibrate(tmp_path / "m.onnx", [{"x": alike(400, 2) * sizes}], tmp_path / "s.npz", gram=True)
    x = alike(200, 3) * sizes
    exact = x.astype(np.float64) @ w
    errors = [np.square(lathe.compile(tmp_path / "m.onnx", quantize="int4", migrate=0.5, rounding=rounding,
                                      stats=tmp_path / "s.npz")(x=x)["z"] - exact).mean() for rounding in ("nearest", "compensated")]
    assert errors[1] < 0.6 * errors[0]


def test_without_sums_of_products_weights_stay(two, tmp_path):
    lathe.calibrate(two, samples(1), tmp_path / "s.npz")
    report = compile_with_report(two, tmp_path / "m.so", "--quantize=int4", "--rounding=compensated", f"--stats={tmp_path / 's.npz'}")
    assert all(not entry["done"] for entry in report["compression"])
    assert any("the statistics have no sums of x^T x" in entry["reason"] for entry in report["compression"])


@pytest.mark.parametrize("option", ["--rounding=compensated", "--migrate=0.5"])
def test_what_needs_statistics(two, option):
    done = run("compile", two, "-o", "m.so", "--quantize=int8-dynamic", option)
    assert done.returncode == 1 and done.stderr.startswith("error[E0812]: "), done.stderr


def test_the_emitted_plan_is_the_whole_request(two, stats, tmp_path):
    options = {"quantize": "int8-static", "migrate": 0.75, "rounding": "compensated", "stats": stats}
    plan = emit(two, *(f"--{name}={option}" for name, option in options.items()))
    assert [(entry["migrate"], entry["rounding"]) for entry in plan["weights"].values()] == [(0.75, "compensated")] * 2
    lathe.compile(two, tmp_path / "a.so", plan=plan, stats=stats)
    lathe.compile(two, tmp_path / "b.so", **options)
    assert (tmp_path / "a.so").read_bytes() == (tmp_path / "b.so").read_bytes()
    with pytest.raises(lathe.ModelError, match="it has to be known what it is multiplied with"):
        lathe.compile(two, tmp_path / "c.so", plan=plan)
