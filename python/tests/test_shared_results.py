# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Results that lie in the memory of an input, as the keys and values that a language model adds to word by word."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe

HEADS, DEPTH, ROOM = 2, 32, 40


def language_model(**attributes):
    """One GroupQueryAttention, whose queries are its keys and values, too; as exporters have it with a mask."""
    numbers = {"axis": np.array([1]), "one": np.array(1)}
    nodes = [helper.make_node(*parts, **more) for *parts, more in (
        ("ReduceSum", ["mask", "axis"], ["count"], {"keepdims": 0}), ("Sub", ["count", "one"], ["last"], {}),
        ("Cast", ["last"], ["lengths"], {"to": TensorProto.INT32}), ("Shape", ["mask"], ["shape"], {}),
        ("Gather", ["shape", "one"], ["size"], {}), ("Cast", ["size"], ["total"], {"to": TensorProto.INT32}))]
    nodes.append(helper.make_node("GroupQueryAttention", ["x", "x", "x", "past_key", "past_value", "lengths", "total"],
                                  ["y", "key", "value"], "attention", domain="com.microsoft", num_heads=HEADS,
                                  kv_num_heads=HEADS, **attributes))
    tensor, cache = helper.make_tensor_value_info, ["b", HEADS, "p", DEPTH]
    inputs = [tensor("x", TensorProto.FLOAT, ["b", "s", HEADS * DEPTH]), tensor("past_key", TensorProto.FLOAT, cache),
              tensor("past_value", TensorProto.FLOAT, cache), tensor("mask", TensorProto.INT64, ["b", "t"])]
    outputs = [tensor(name, TensorProto.FLOAT, None) for name in ("y", "key", "value")]
    graph = helper.make_graph(nodes, "g", inputs, outputs,
                              [numpy_helper.from_array(value, name) for name, value in numbers.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
                             ir_version=10)


def tensor_scatter(reads_cache=False):
    nodes = [helper.make_node("TensorScatter", ["cache", "update", "at"], ["y"], "scatter", axis=-2)]
    if reads_cache:
        nodes.append(helper.make_node("Relu", ["cache"], ["z"]))
    tensor = helper.make_tensor_value_info
    inputs = [tensor("cache", TensorProto.FLOAT, ["b", "n", 4]), tensor("update", TensorProto.FLOAT, ["b", "m", 4]),
              tensor("at", TensorProto.INT64, ["b"])]
    outputs = [tensor(name, TensorProto.FLOAT, None) for name in ("y", *["z"] * reads_cache)]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 24)],
                             ir_version=12)


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    return lathe.compile(language_model(), tmp_path_factory.mktemp("shared") / "m.so", threads=1)


def feeds(x, before):
    return {"x": x, "mask": np.ones((len(x), before + x.shape[1]), np.int64)}


@pytest.mark.parametrize("rows", [1, 3])
def test_steps_in_one_memory_are_steps_in_many(attention, rows):
    assert attention.shared_inputs == {"key": "past_key", "value": "past_value"}
    numbers = np.random.default_rng(3).standard_normal((rows, 30, HEADS * DEPTH)).astype(np.float32)
    caches = {name: np.full((rows, HEADS, ROOM, DEPTH), 7, np.float32) for name in ("past_key", "past_value")}
    apart = {name: np.zeros((rows, HEADS, 0, DEPTH), np.float32) for name in caches}
    begin, binding = 0, None
    for words in (12, 1, 1, 3, 1, 9, 1):
        step = feeds(numbers[:, begin:begin + words], begin)
        if binding is None:
            binding = attention.bind({**step, **caches}, {"key": caches["past_key"], "value": caches["past_value"]})
        else:
            binding.rebind(step)
        together, expected = binding(), attention(**step, **apart)
        assert together["key"] is caches["past_key"], "the array that was given"
        np.testing.assert_allclose(together["y"], expected["y"], rtol=1e-5, atol=1e-6)
        begin += words
        apart = {"past_key": expected["key"], "past_value": expected["value"]}
        for name, array in apart.items():
            np.testing.assert_array_equal(caches[name][:, :, :begin], array)
            assert (caches[name][:, :, begin:] == 7).all(), "rows that no step has reached"


def test_scatter_writes_only_new_rows(tmp_path):
    model = lathe.compile(tensor_scatter(), tmp_path / "m.so")
    cache, update = np.zeros((2, 5, 4), np.float32), np.ones((2, 2, 4), np.float32)
    model.bind({"cache": cache, "update": update, "at": np.array([0, 3])}, {"y": cache})()
    np.testing.assert_array_equal(cache[..., 0], [[1, 1, 0, 0, 0], [0, 0, 0, 1, 1]])


def test_a_cache_that_is_read_elsewhere_is_not_shared(tmp_path):
    model = lathe.compile(tensor_scatter(reads_cache=True), tmp_path / "m.so")
    assert model.shared_inputs == {}
    cache = np.zeros((1, 5, 4), np.float32)
    binding = model.bind({"cache": cache, "update": cache[:, :2], "at": np.array([0])}, {"y": cache})
    with pytest.raises(lathe.ModelError, match='output "y" is bound to memory of input "cache"'):
        binding()


def test_another_place_of_the_same_memory(attention):
    memory = np.zeros(2 * ROOM * HEADS * DEPTH, np.float32)
    past = memory[:ROOM * HEADS * DEPTH].reshape(1, HEADS, ROOM, DEPTH)
    shifted = memory[16:16 + past.size].reshape(past.shape)
    x = np.zeros((1, 1, HEADS * DEPTH), np.float32)
    binding = attention.bind({**feeds(x, 3), "past_key": past, "past_value": past.copy()}, {"key": shifted})
    with pytest.raises(lathe.ModelError, match='may lie in memory of input "past_key" only where that begins'):
        binding()


def test_no_room_for_the_new_rows(attention):
    memory = np.zeros(4 * HEADS * DEPTH, np.float32)
    past = memory[:3 * HEADS * DEPTH].reshape(1, HEADS, 3, DEPTH)
    x = np.zeros((1, 1, HEADS * DEPTH), np.float32)
    binding = attention.bind({**feeds(x, 3), "past_key": past, "past_value": past.copy()},
                             {"key": memory.reshape(1, HEADS, 4, DEPTH)})
    with pytest.raises(lathe.ModelError, match="if it has as many, not 768"):
        binding()


def test_arrays_for_outputs_that_do_not_fit(attention):
    x = np.zeros((1, 1, HEADS * DEPTH), np.float32)
    cache = np.zeros((1, HEADS, ROOM, DEPTH), np.float32)
    inputs = {**feeds(x, 3), "past_key": cache, "past_value": cache.copy()}
    for into, message in (({"keys": cache}, "no output 'keys'; its outputs are y, key, value"),
                          ({"y": cache}, r"shape \(1, 2, 40, 32\), the run gives \(1, 1, 64\)"),
                          ({"y": x.astype(np.float64)}, "has type float64"),
                          ({"key": cache.swapaxes(1, 2)}, "C-contiguous")):
        with pytest.raises(lathe.ModelError, match=message):
            attention.bind(inputs, into)
