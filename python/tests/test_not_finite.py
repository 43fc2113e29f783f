# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights with NaN or infinities compile, with a warning, and compute what they should."""

import json
import subprocess

import numpy as np
import onnx
import pytest

import lathe
from lathe.compiler import driver
from small_models import model, value

FLOAT = onnx.TensorProto.FLOAT


def product_and_bias(weight, bias):
    nodes = [onnx.helper.make_node("MatMul", ["x", "layer.weight"], ["t"], name="/product"),
             onnx.helper.make_node("Add", ["t", "layer.bias"], ["y"], name="/bias")]
    width = weight.shape[1]
    return model(nodes, [value("x", FLOAT, "N", weight.shape[0])], [value("y", FLOAT, "N", width)],
                 **{"layer.weight": weight, "layer.bias": bias})


def compile_it(folder, weight, bias):
    onnx.save(product_and_bias(weight, bias), folder / "m.onnx")
    done = subprocess.run([driver(), "compile", folder / "m.onnx", "-o", folder / "m.so", "--report",
                           folder / "r.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr, json.loads((folder / "r.json").read_text())


def weights(rows=40, columns=48):
    random = np.random.default_rng(0)
    return random.standard_normal((rows, columns), np.float32), random.standard_normal(columns, np.float32)


def test_finite_weights_are_not_warned_of(tmp_path):
    err, report = compile_it(tmp_path, *weights())
    assert "warning" not in err and "not finite" not in err
    assert report["warnings"] == []


def test_one_warning_names_all_and_counts(tmp_path):
    weight, bias = weights()
    weight[3, 5] = weight[39, 47] = np.nan
    weight[0, 0] = np.inf
    bias[7] = -np.inf
    err, report = compile_it(tmp_path, weight, bias)
    text = ('2 constants hold values that are not finite: "layer.bias" (0 NaN, 1 infinite of 48), '
            '"layer.weight" (2 NaN, 1 infinite of 1920)')
    assert err.count("warning: ") == 1
    assert f"warning: {text}\n" in err
    assert "2 constants not finite" in err.splitlines()[-2]
    assert report["warnings"] == [text]
    assert report["numbers"]["nan_values"] == 2 and report["numbers"]["infinite_values"] == 2
    x = np.ones((2, 40), np.float32)
    got = lathe.load(tmp_path / "m.so")(x=x)["y"]
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(got, x @ weight + bias, rtol=1e-5, atol=1e-5)


def test_a_bad_last_element_of_a_large_weight_is_found(tmp_path):
    weight, bias = weights(512, 513)
    weight[-1, -1] = np.nan
    err, _ = compile_it(tmp_path, weight, bias)
    assert '"layer.weight" (1 NaN, 0 infinite of 262656)' in err


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_an_infinite_scalar_fills_a_mask(tmp_path, quiet):
    nodes = [onnx.helper.make_node("Where", ["m", "x", "fill"], ["y"])]
    onnx.save(model(nodes, [value("m", onnx.TensorProto.BOOL, 4), value("x", FLOAT, 4)], [value("y", FLOAT, 4)],
                    fill=np.float32(-np.inf)), tmp_path / "m.onnx")
    done = subprocess.run([driver(), "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", *quiet],
                          capture_output=True, text=True)
    assert done.returncode == 0
    assert "warning" not in done.stderr
