# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is made of statistics: ranges known before, scales that migrate, and rounding that is compensated."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lathe
from lathe._verify import compare
from calibration import COLUMNS, DEPTH, emit, minilm_stats, run, samples, stats, texts, two  # noqa: F401
from reports import compile_with_report, remarks
from small_models import model, value
from test_int8 import assert_equal_products, weight_codes


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
