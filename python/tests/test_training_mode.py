# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Operators that do something else in training."""

import numpy as np
import pytest
from onnx import helper

import lathe
from run_models import BOOL, FLOAT, compare, compile_model, model, value


def dropout(folder, seed=None, dtype=FLOAT):
    attributes = {} if seed is None else {"seed": seed}
    node = helper.make_node("Dropout", ["x", "ratio", "training"], ["y", "mask"], name="/dropout", **attributes)
    proto = model([node], [value("x", dtype, "N"), value("ratio", FLOAT), value("training", BOOL, "T")],
                  [value("y", dtype, None), value("mask", BOOL, None)])
    folder.mkdir(exist_ok=True)
    return compile_model(proto, folder)


@pytest.mark.parametrize("ratio", [0, 0.25, 0.9])
def test_dropout_leaves_out_as_many_as_its_ratio_says(tmp_path, ratio):
    x = np.linspace(1, 2, 20000, dtype=np.float32)
    compiled = dropout(tmp_path)
    got = compiled(x=x, ratio=np.float32(ratio), training=np.array([True]))
    # Six standard deviations.
    assert abs(got["mask"].mean() - (1 - ratio)) <= 6 * np.sqrt(ratio * (1 - ratio) / x.size)
    np.testing.assert_allclose(got["y"], np.where(got["mask"], x / np.float32(1 - ratio), 0), rtol=1e-6)
    idle = compiled(x=x, ratio=np.float32(ratio), training=np.array([False]))
    np.testing.assert_array_equal(idle["y"], x)
    assert idle["mask"].all()
    with pytest.raises(lathe.ModelError, match="/dropout"):
        compiled(x=x, ratio=np.float32(ratio), training=np.array([True, True]))


def test_a_seed_decides_what_dropout_leaves_out(tmp_path):
    feeds = {"x": np.ones(1000, np.float32), "ratio": np.float32(0.5), "training": np.array([True])}
    first, again, other = [dropout(tmp_path / name, seed)(**feeds)["mask"] for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("dims, momentum", [((5, 3), 0.9), ((2, 3, 4, 5), 0.7), ((4, 3, 2), 0.0)])
def test_batch_normalization(tmp_path, dims, momentum):
    rng = np.random.default_rng(0)
    node = helper.make_node("BatchNormalization", ["x", "scale", "bias", "mean", "var"], ["y", "m", "v"], training_mode=1,
                            momentum=momentum, epsilon=1e-3)
    vectors = ("scale", "bias", "mean", "var")
    symbols = ["N", "C", *(f"S{i}" for i in range(len(dims) - 2))]
    proto = model([node], [value("x", FLOAT, *symbols)] + [value(name, FLOAT, "C") for name in vectors],
                  [value("y", FLOAT, *[None] * len(dims)), value("m", FLOAT, None), value("v", FLOAT, None)])
    x = (3 * rng.standard_normal(dims) + 5).astype(np.float32)
    feeds = {"x": x, **{name: rng.random(3, np.float32) for name in vectors}}
    got = compile_model(proto, tmp_path)(feeds)
    axes = (0, *range(2, len(dims)))
    wide = x.astype(np.float64)
    mean, var = wide.mean(axes, keepdims=True), wide.var(axes, keepdims=True)
    beside = lambda name: feeds[name].reshape(1, 3, *[1] * (len(dims) - 2))
    np.testing.assert_allclose(got["y"], (wide - mean) / np.sqrt(var + 1e-3) * beside("scale") + beside("bias"), rtol=1e-4,
                               atol=1e-5)
    for name, old, current in (("m", "mean", mean), ("v", "var", var)):
        np.testing.assert_allclose(got[name], feeds[old] * momentum + current.reshape(3) * (1 - momentum), rtol=1e-5)


def old_batch_normalization(folder, opset, outputs, **attributes):
    node = helper.make_node("BatchNormalization", ["x", "scale", "bias", "mean", "var"], ["y", "m", "v", "sm", "sv"],
                            epsilon=1e-3, **attributes)
    proto = model([node], [value("x", FLOAT, "N", "C", "S")] + [value(name, FLOAT, "C") for name in VECTORS],
                  [value(name, FLOAT, *[None] * (3 if name == "y" else 1)) for name in outputs], opset=opset)
    return compile_model(proto, folder)


VECTORS = ("scale", "bias", "mean", "var")


@pytest.mark.parametrize("opset", [6, 7, 9])
def test_batch_normalization_before_it_had_a_training_mode(tmp_path, opset):
    """Results that only training has make a node one of training; a model without them is one of inference."""
    rng = np.random.default_rng(0)
    x = (3 * rng.standard_normal((4, 3, 5)) + 5).astype(np.float32)
    feeds = {"x": x, **{name: rng.random(3, np.float32) for name in VECTORS}}
    wide, column = x.astype(np.float64), lambda name: feeds[name].reshape(1, 3, 1)
    mean, var = wide.mean((0, 2)), wide.var((0, 2))
    want = {"y": (wide - mean[:, None]) / np.sqrt(var[:, None] + 1e-3) * column("scale") + column("bias"),
            "m": feeds["mean"] * 0.7 + mean * 0.3, "v": feeds["var"] * 0.7 + var * 0.3, "sm": mean, "sv": var}
    got = old_batch_normalization(tmp_path, opset, list(want), momentum=0.7)(feeds)
    for name, expected in want.items():
        np.testing.assert_allclose(got[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
    got = old_batch_normalization(tmp_path, opset, ["y"], momentum=0.7)(feeds)
    want = (wide - column("mean")) / np.sqrt(column("var") + 1e-3) * column("scale") + column("bias")
    np.testing.assert_allclose(got["y"], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset, attribute", [(6, {"is_test": 1}), (15, {"training_mode": 0})])
def test_inference_has_no_statistics(tmp_path, opset, attribute):
    outputs = ["y", "m"]
    node = helper.make_node("BatchNormalization", ["x", *VECTORS], outputs, **attribute)
    proto = model([node], [value("x", FLOAT, 2, 3, 4)] + [value(name, FLOAT, 3) for name in VECTORS],
                  [value(name, FLOAT, None) for name in outputs], opset=opset)
    with pytest.raises(lathe.ModelError, match="which only training has: ") as caught:
        compile_model(proto, tmp_path)
    assert caught.value.code == "E0303"


@pytest.mark.parametrize("opset, slope", [(6, (3,)), (6, (1,)), (16, (3, 1)), (16, (4,)), (16, (2, 3, 4))])
def test_prelu_with_several_slopes(tmp_path, opset, slope):
    proto = model([helper.make_node("PRelu", ["x", "s"], ["y"])], [value("x", FLOAT, "A", "B", "C"),
                                                                   value("s", FLOAT, *slope)],
                  [value("y", FLOAT, None, None, None)], opset=opset)
    x, slopes = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32), np.random.default_rng(1).random(
        slope, np.float32)
    if opset > 6:
        compare(proto, compile_model(proto, tmp_path), {"x": x, "s": slopes})
        return
    got = compile_model(proto, tmp_path)(x=x, s=slopes)["y"]
    np.testing.assert_array_equal(got, np.where(x < 0, x * slopes.reshape(-1, 1), x))
