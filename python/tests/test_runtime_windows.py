# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Windows and scales that only a run knows: filters of any size, sizes and scales of Resize as data."""

import numpy as np
import pytest
from onnx import helper

import lathe
from run_models import FLOAT, INT64, compare, compile_model, model, value


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def build(folder, op, inputs, opset=18, **attributes):
    """A model of one node `/op`; every dimension is a symbol of its own."""
    node = helper.make_node(op, [name for name, _, _ in inputs], ["y"], name="/" + op.lower(), **attributes)
    infos = [value(name, dtype, *(f"{name}{i}" for i in range(rank))) for name, dtype, rank in inputs if name]
    proto = model([node], infos, [helper.make_empty_tensor_value_info("y")], opset=opset)
    return proto, compile_model(proto, folder)


def check(proto, compiled, feeds):
    """Against ONNX Runtime, which gets the shapes: it takes a list of unknown length for an empty one."""
    fixed = type(proto)()
    fixed.CopyFrom(proto)
    for info in fixed.graph.input:
        for dim, size in zip(info.type.tensor_type.shape.dim, feeds[info.name].shape):
            dim.dim_value = size
    compare(fixed, compiled, feeds, rtol=1e-3)


def refuse(compiled, node, **inputs):
    with pytest.raises(lathe.ModelError) as error:
        compiled(**inputs)
    assert error.value.code == "E0702"
    assert error.value.node == node


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("spatial, attributes", [
    ((9,), {}), ((8, 7), {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]}), ((8, 7), {"group": 2}),
    ((7, 8), {"auto_pad": "SAME_UPPER", "strides": [2, 1]}), ((4, 5, 6), {"strides": [1, 2, 2]})])
def test_convolution_with_a_filter_of_any_size(tmp_path, op, spatial, attributes):
    groups = attributes.get("group", 1)
    inputs = [("x", FLOAT, 2 + len(spatial)), ("w", FLOAT, 2 + len(spatial)), ("b", FLOAT, 1)]
    proto, compiled = build(tmp_path, op, inputs, **attributes)
    for window in (2, 3, 4):
        windows = [max(window - i, 1) for i in range(len(spatial))]
        filters = random(6 if op == "Conv" else 4, (4 if op == "Conv" else 6) // groups, *windows, seed=window)
        check(proto, compiled, {"x": random(2, 4, *spatial), "w": filters, "b": random(6)})
    refuse(compiled, "/" + op.lower(), x=random(2, 4, *spatial), w=np.zeros((6, 4 // groups) + (0,) * len(spatial), np.float32),
           b=random(6))


def test_a_filter_that_is_not_what_kernel_shape_says(tmp_path):
    proto, compiled = build(tmp_path, "Conv", [("x", FLOAT, 4), ("w", FLOAT, 4)], kernel_shape=[3, 2])
    check(proto, compiled, {"x": random(1, 3, 8, 8), "w": random(4, 3, 3, 2)})
    refuse(compiled, "/conv", x=random(1, 3, 8, 8), w=random(4, 3, 2, 3))
    refuse(compiled, "/conv", x=random(1, 3, 8, 8), w=random(4, 2, 3, 2))


RESIZE = [{"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
          {"mode": "linear"}, {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
          {"mode": "cubic", "coordinate_transformation_mode": "pytorch_half_pixel"}, {"mode": "linear", "antialias": 1}]


@pytest.mark.parametrize("attributes", RESIZE)
def test_resize_to_sizes(tmp_path, attributes):
    proto, compiled = build(tmp_path, "Resize", [("x", FLOAT, 4), ("", 0, 0), ("", 0, 0), ("sizes", INT64, 1)], **attributes)
    x = random(1, 2, 6, 5)
    for height, width in [(12, 10), (3, 4), (6, 9)]:
        check(proto, compiled, {"x": x, "sizes": np.array([1, 2, height, width])})
    refuse(compiled, "/resize", x=x, sizes=np.array([1, 2, 3]))
    refuse(compiled, "/resize", x=x, sizes=np.array([1, 2, -3, 4]))
    refuse(compiled, "/resize", x=x[:, :, :0], sizes=np.array([1, 2, 3, 4]))


@pytest.mark.parametrize("attributes", RESIZE)
def test_resize_by_scales(tmp_path, attributes):
    proto, compiled = build(tmp_path, "Resize", [("x", FLOAT, 4), ("", 0, 0), ("scales", FLOAT, 1)], **attributes)
    x = random(1, 2, 6, 5)
    for height, width in [(2, 2), (0.5, 0.6), (1, 1.6)]:
        check(proto, compiled, {"x": x, "scales": np.array([1, 1, height, width], np.float32)})
    for bad in [[1, 1, 2], [1, 1, -1, 1], [1, 1, np.nan, 1], [1, 1, np.inf, 1]]:
        refuse(compiled, "/resize", x=x, scales=np.array(bad, np.float32))


def test_resize_of_two_dimensions_keeps_their_ratio(tmp_path):
    node = [("x", FLOAT, 4), ("", 0, 0), ("", 0, 0), ("sizes", INT64, 1)]
    proto, compiled = build(tmp_path, "Resize", node, mode="nearest", axes=[2, 3], keep_aspect_ratio_policy="not_larger")
    for height, width in [(7, 8), (20, 6)]:
        check(proto, compiled, {"x": random(1, 2, 6, 5), "sizes": np.array([height, width])})


def test_a_region_that_only_the_run_knows(tmp_path):
    node = [("x", FLOAT, 4), ("roi", FLOAT, 1), ("", 0, 0), ("sizes", INT64, 1)]
    proto, compiled = build(tmp_path, "Resize", node, mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
    roi = np.array([0, 0, 0.4, 0.6, 1, 1, 0.6, 0.8], np.float32)
    check(proto, compiled, {"x": random(1, 1, 4, 4), "roi": roi, "sizes": np.array([1, 1, 3, 3])})
    refuse(compiled, "/resize", x=random(1, 1, 4, 4), roi=roi[:6], sizes=np.array([1, 1, 3, 3]))
