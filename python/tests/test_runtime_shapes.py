# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Shapes that only a run knows: operands that say how large something is, arrive as data."""

import subprocess

import numpy as np
import pytest
from onnx import helper

import lathe
from lathe.compiler import driver
from reports import compile_with_report, remarks
from run_models import BOOL, FLOAT, INT64, compare, compile_model, model, value


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name="/" + op.lower(), **attributes)


def ints(*values):
    return np.array(values, np.int64)


X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture(scope="module")
def reshape(tmp_path_factory):
    """relu(reshape(x, shape)) of a 2x3x4 x to three dimensions."""
    proto = model([node("Reshape", ["x", "shape"], ["r"]), node("Relu", ["r"], ["y"])],
                  [value("x", FLOAT, 2, 3, 4), value("shape", INT64, 3)], [value("y", FLOAT, None, None, None)])
    return proto, compile_model(proto, tmp_path_factory.mktemp("reshape"))


@pytest.mark.parametrize("shape", [(4, 3, 2), (1, -1, 1), (0, 2, -1), (24, 1, 1), (-1, 0, 0), (2, 0, 0)])
def test_reshape(reshape, shape):
    compare(*reshape, {"x": X, "shape": ints(*shape)})


@pytest.mark.parametrize("shape", [(5, 5, 5), (-1, -1, 4), (7, -1, 1), (-2, 3, 4), (1 << 62, 4, 4), (-1 << 63, 1, 1),
                                   (1 << 32, 1 << 32, 24), ((1 << 63) - 1, -1, 1)])
def test_a_reshape_that_does_not_fit_is_an_error_and_the_session_goes_on(reshape, shape):
    proto, compiled = reshape
    with pytest.raises(lathe.ModelError) as error:
        compiled(x=X, shape=ints(*shape))
    assert error.value.code == "E0702"
    assert error.value.node == "/reshape"
    compare(proto, compiled, {"x": X, "shape": ints(6, 2, 2)})


def test_an_empty_tensor_is_no_excuse_for_a_huge_one(tmp_path):
    proto = model([node("Reshape", ["x", "shape"], ["r"]), node("ReduceSum", ["r"], ["y"], keepdims=0)],
                  [value("x", FLOAT, "N"), value("shape", INT64, 3)], [value("y", FLOAT)])
    compiled = compile_model(proto, tmp_path)
    # 2^32 * 2^32 * 4 is 0 in 64 bits, like the number of elements of x.
    with pytest.raises(lathe.ModelError):
        compiled(x=np.zeros(0, np.float32), shape=ints(1 << 32, 1 << 32, 4))
    assert compiled(x=np.ones(6, np.float32), shape=ints(1, 2, 3))["y"] == 6


@pytest.mark.parametrize("shape, good", [((2, 1, 3, 4), True), ((5, 2, 3, 4), True), ((1, 1, 1, 1), True),
                                         ((1, 2, 3, 5), False), ((1, 2, 0, 4), False), ((-1, 2, 3, 4), False)])
def test_expand(tmp_path, shape, good):
    proto = model([node("Expand", ["x", "shape"], ["y"])], [value("x", FLOAT, 2, 3, 4), value("shape", INT64, 4)],
                  [value("y", FLOAT, None, None, None, None)])
    compiled = compile_model(proto, tmp_path)
    if good:
        compare(proto, compiled, {"x": X, "shape": ints(*shape)})
        return
    with pytest.raises(lathe.ModelError, match="/expand"):
        compiled(x=X, shape=ints(*shape))


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 1, 3), (0, 1, 1)])
def test_tile(tmp_path, repeats):
    proto = model([node("Tile", ["x", "repeats"], ["y"])], [value("x", FLOAT, 2, 3, 4), value("repeats", INT64, 3)],
                  [value("y", FLOAT, None, None, None)])
    compiled = compile_model(proto, tmp_path)
    compare(proto, compiled, {"x": X, "repeats": ints(*repeats)})
    for bad in [(-1, 1, 1), (1 << 46, 1 << 46, 1 << 46), (1 << 62, 1, 1)]:
        with pytest.raises(lathe.ModelError, match="/tile"):
            compiled(x=X, repeats=ints(*bad))


def slices(count):
    return model([node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"])],
                 [value("x", FLOAT, 2, 3, 4)] + [value(n, INT64, count) for n in ("starts", "ends", "axes", "steps")],
                 [value("y", FLOAT, None, None, None)])


@pytest.fixture(scope="module")
def slice_two(tmp_path_factory):
    proto = slices(2)
    return proto, compile_model(proto, tmp_path_factory.mktemp("slice"))


LOWEST, HIGHEST = -1 << 63, (1 << 63) - 1


@pytest.mark.parametrize("starts, ends, axes, steps", [
    ((0, 1), (2, 3), (0, 1), (1, 1)), ((-1, 3), (LOWEST, 0), (1, 2), (-1, -1)), ((0, 0), (HIGHEST, HIGHEST), (-1, 1), (3, 2)),
    ((5, 0), (9, 1), (0, 2), (1, 1)), ((1, 1), (0, 0), (2, 1), (1, 1)), ((HIGHEST, 2), (LOWEST, 9), (2, 0), (-2, 1)),
    ((0, 0), (4, 3), (2, 1), (HIGHEST, LOWEST + 1))])
def test_slice(slice_two, starts, ends, axes, steps):
    compare(*slice_two, {"x": X, "starts": ints(*starts), "ends": ints(*ends), "axes": ints(*axes),
                         "steps": ints(*steps)})


@pytest.mark.parametrize("axes, steps", [((0, 3), (1, 1)), ((-4, 1), (1, 1)), ((0, 1), (0, 1))])
def test_slices_that_are_none(slice_two, axes, steps):
    with pytest.raises(lathe.ModelError, match="/slice"):
        slice_two[1](x=X, starts=ints(0, 0), ends=ints(1, 1), axes=ints(*axes), steps=ints(*steps))


@pytest.mark.parametrize("axes", [(0, 2), (-1, 0), (1, 3)])
def test_unsqueeze_and_squeeze(tmp_path, axes):
    x = np.ones((2, 3), np.float32)
    proto = model([node("Unsqueeze", ["x", "axes"], ["u"]), node("Neg", ["u"], ["n"]),
                   node("Squeeze", ["n", "axes"], ["y"])],
                  [value("x", FLOAT, "A", "B"), value("axes", INT64, 2)],
                  [value("u", FLOAT, None, None, None, None), value("y", FLOAT, None, None)])
    compiled = compile_model(proto, tmp_path)
    compare(proto, compiled, {"x": x, "axes": ints(*axes)})
    with pytest.raises(lathe.ModelError, match="/unsqueeze"):
        compiled(x=x, axes=ints(1, -3))


def test_squeeze_without_axes_keeps_what_only_the_run_knows(tmp_path):
    """Nothing says the rank of the first result: a size that is 1 after all would change it."""
    nodes = [helper.make_node("Squeeze", ["x"], ["s"], name="/squeeze"), helper.make_node("Relu", ["s"], ["y"])]
    compiled = compile_model(model(nodes, [value("x", FLOAT, 1, "N", 1, 2)], ["y"]), tmp_path)
    x = np.arange(6, dtype=np.float32).reshape(1, 3, 1, 2)
    np.testing.assert_array_equal(compiled(x=x)["y"], x[0, :, 0])
    with pytest.raises(lathe.ModelError, match="/squeeze"):
        compiled(x=x[:, :1])
    np.testing.assert_array_equal(compiled(x=x)["y"], x[0, :, 0])


def test_squeeze_of_what_is_not_1(tmp_path):
    proto = model([node("Squeeze", ["x", "axes"], ["y"])], [value("x", FLOAT, 2, 1, 3), value("axes", INT64, 1)],
                  [value("y", FLOAT, None, None)])
    compiled = compile_model(proto, tmp_path)
    x = np.zeros((2, 1, 3), np.float32)
    compare(proto, compiled, {"x": x, "axes": ints(1)})
    with pytest.raises(lathe.ModelError, match="/squeeze"):
        compiled(x=x, axes=ints(2))


@pytest.mark.parametrize("sizes, good", [((1, 3), True), ((4, 0), True), ((2, 3), False), ((-1, 5), False)])
def test_split(tmp_path, sizes, good):
    proto = model([node("Split", ["x", "sizes"], ["a", "b"], axis=2)],
                  [value("x", FLOAT, 2, 3, 4), value("sizes", INT64, 2)],
                  [value("a", FLOAT, 2, 3, None), value("b", FLOAT, 2, 3, None)])
    compiled = compile_model(proto, tmp_path)
    if good:
        compare(proto, compiled, {"x": X, "sizes": ints(*sizes)})
        return
    with pytest.raises(lathe.ModelError, match="/split"):
        compiled(x=X, sizes=ints(*sizes))


@pytest.mark.parametrize("dtype, bounds", [(np.int64, (2, 11, 3)), (np.int64, (5, -7, -4)), (np.int64, (3, 3, 1)),
                                           (np.float32, (0.5, 4, 0.75)), (np.float32, (1, -1, -0.25))])
def test_range(tmp_path, dtype, bounds):
    kind = INT64 if dtype == np.int64 else FLOAT
    names = ("start", "limit", "delta")
    proto = model([node("Range", names, ["y"])], [value(n, kind) for n in names], [value("y", kind, None)])
    compiled = compile_model(proto, tmp_path)
    compare(proto, compiled, {n: np.array(b, dtype) for n, b in zip(names, bounds)})
    for bad in [(0, 1, 0), (0, 1e18, 1)]:
        if dtype == np.int64 or bad[2]:
            with pytest.raises(lathe.ModelError, match="/range"):
                compiled({n: np.array(b, dtype) for n, b in zip(names, bad)})


def test_operands_of_sizes_from_data_are_checked_against_each_other(tmp_path):
    proto = model([node("Reshape", ["x", "shape"], ["r"]), node("Add", ["r", "z"], ["y"])],
                  [value("x", FLOAT, "N"), value("shape", INT64, 2), value("z", FLOAT, "M")],
                  [value("y", FLOAT, None, None)])
    compiled = compile_model(proto, tmp_path)
    x = np.arange(6, dtype=np.float32)
    compare(proto, compiled, {"x": x, "shape": ints(2, 3), "z": np.ones(3, np.float32)})
    compare(proto, compiled, {"x": x, "shape": ints(6, 1), "z": np.ones(3, np.float32)})
    with pytest.raises(lathe.ModelError, match="/add"):
        compiled(x=x, shape=ints(2, 3), z=np.ones(2, np.float32))


def test_symbols_that_contradict_each_other_are_an_error(tmp_path):
    proto = model([node("Mul", ["x", "z"], ["y"])], [value("x", FLOAT, "N"), value("z", FLOAT, "M")],
                  [value("y", FLOAT, None)])
    compiled = compile_model(proto, tmp_path)
    ones = lambda n: np.ones(n, np.float32)
    compare(proto, compiled, {"x": ones(4), "z": ones(1)})
    with pytest.raises(lathe.ModelError, match="/mul"):
        compiled(x=ones(100000), z=ones(3))


def test_larger_and_smaller_again(reshape, tmp_path):
    proto = model([node("ConstantOfShape", ["shape"], ["y"])], [value("shape", INT64, 2)],
                  [value("y", FLOAT, None, None)])
    compiled = compile_model(proto, tmp_path)
    for shape in [(1, 2), (300, 400), (3, 0), (20, 30)]:
        assert compiled(shape=ints(*shape))["y"].shape == shape


def test_too_much_memory_names_the_node(tmp_path):
    proto = model([node("ConstantOfShape", ["shape"], ["y"])], [value("shape", INT64, 2)],
                  [value("y", FLOAT, None, None)])
    compiled = compile_model(proto, tmp_path)
    for shape in [(1 << 40, 1), (1 << 45, 1 << 45)]:
        with pytest.raises(lathe.ModelError) as error:
            compiled(shape=ints(*shape))
        assert error.value.code == "E0705"
        assert error.value.node == "/constantofshape"
    assert compiled(shape=ints(2, 2))["y"].shape == (2, 2)
    limited = lathe.load(compiled.path, memory_limit=1 << 20)
    with pytest.raises(lathe.ModelError, match="exceed its limit, 1048576"):
        limited(shape=ints(512, 512))
    assert limited(shape=ints(500, 500))["y"].shape == (500, 500)


def test_a_binding_and_two_threads(tmp_path):
    proto = model([node("Expand", ["x", "shape"], ["y"])], [value("x", FLOAT, 1, 4), value("shape", INT64, 2)],
                  [value("y", FLOAT, None, 4)])
    compiled = compile_model(proto, tmp_path, threads=2)
    shape = ints(3, 4)
    binding = compiled.bind(x=np.arange(4, dtype=np.float32).reshape(1, 4), shape=shape)
    assert binding()["y"].shape == (3, 4)
    shape[0] = 70000
    result = binding()["y"]
    assert result.shape == (70000, 4) and (result == np.arange(4)).all()


def test_the_driver_runs_it(tmp_path):
    proto = model([node("Reshape", ["x", "shape"], ["y"])], [value("x", FLOAT, 6), value("shape", INT64, 2)],
                  [value("y", FLOAT, None, None)])
    compile_model(proto, tmp_path)
    np.savez(tmp_path / "in.npz", x=np.arange(6, dtype=np.float32), shape=ints(3, -1))
    done = subprocess.run([driver(), "run", tmp_path / "m.so", "--inputs", tmp_path / "in.npz", "--outputs",
                           tmp_path / "out.npz"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'output "y" f32 [3, 2]' in done.stderr
    assert np.load(tmp_path / "out.npz")["y"].shape == (3, 2)


def test_a_bool_as_a_size(tmp_path):
    proto = model([node("Cast", ["b"], ["n"], to=INT64), node("ConstantOfShape", ["n"], ["y"])],
                  [value("b", BOOL, 1)], [value("y", FLOAT, None)])
    compiled = compile_model(proto, tmp_path)
    assert compiled(b=np.array([True]))["y"].shape == (1,)
    assert compiled(b=np.array([False]))["y"].shape == (0,)


def test_weights_tell_how_many_channels_there_are(tmp_path):
    """Exporters compute shapes, and what is reshaped so has channels that only the run knows: no plain loops for that."""
    rng = np.random.default_rng(3)
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["image"]), helper.make_node("Conv", ["image", "filter"], ["maps"]),
             helper.make_node("Reshape", ["maps", "rows"], ["flat"]),
             helper.make_node("LayerNormalization", ["flat", "scale"], ["normal"]), helper.make_node("MatMul", ["normal", "w"], ["y"])]
    proto = model(nodes, [value("x", FLOAT, "n"), value("shape", INT64, 4), value("rows", INT64, 2)],
                  [value("y", FLOAT, None, 5)], filter=rng.standard_normal((16, 8, 3, 3)).astype(np.float32),
                  scale=rng.standard_normal(12).astype(np.float32), w=rng.standard_normal((12, 5)).astype(np.float32))
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    report = compile_with_report(path, tmp_path / "m.so")
    assert remarks(report, "kernel-form", "missed") == []
    compiled = lathe.load(tmp_path / "m.so", threads=1)
    inputs = {"x": rng.standard_normal(2 * 8 * 8 * 5).astype(np.float32), "shape": np.array([2, 8, 8, 5]), "rows": np.array([-1, 12])}
    compare(proto, compiled, inputs, rtol=1e-4)
    for wrong in ({"shape": np.array([2, 4, 16, 5])}, {"rows": np.array([-1, 6])}):
        with pytest.raises(lathe.ModelError) as caught:
            compiled({**inputs, **wrong})
        assert caught.value.code.startswith("E07")
    compare(proto, compiled, inputs, rtol=1e-4)
