# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compile, load, run: what users of the package meet first."""

import gc
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import lathe
import small_models
from small_models import outer_maximum, expected_scale_add_relu, gather_rows, scale_add_relu, value

rng = np.random.default_rng(3)


def normal(*shape):
    return rng.standard_normal(shape, np.float32)


def test_compile_from_a_path(tiny_onnx, tmp_path):
    model = lathe.compile(tiny_onnx, tmp_path / "out.so")
    assert model.path == str(tmp_path / "out.so")
    x, y = normal(3, 4), normal(3, 4)
    np.testing.assert_array_equal(model(x=x, y=y)["z"], expected_scale_add_relu(x, y))


def test_compile_from_a_proto_leaves_nothing_behind():
    model = lathe.compile(scale_add_relu())
    folder = pathlib.Path(model.path).parent
    assert folder.exists()
    del model
    gc.collect()
    assert not folder.exists()


def test_reference_lowerings_agree():
    x, y = normal(5, 4), normal(5, 4)
    model = lathe.compile(scale_add_relu(), opt_level=0)
    np.testing.assert_array_equal(model(x=x, y=y)["z"], expected_scale_add_relu(x, y))


def test_bfloat16_travels_as_uint16():
    model = lathe.compile(small_models.model(
        [onnx.helper.make_node("Neg", ["x"], ["y"])], [value("x", TensorProto.BFLOAT16, "N")],
        [value("y", TensorProto.BFLOAT16, "N")]))
    x = np.array([0x3F80, 0xC000], np.uint16)  # 1, -2
    np.testing.assert_array_equal(model(x=x)["y"], [0xBF80, 0x4000])
    assert [info.element for info in model.inputs + model.outputs] == ["bfloat16", "bfloat16"]


def test_numbers_of_ml_dtypes_are_taken():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    model = lathe.compile(small_models.model(
        [onnx.helper.make_node("Neg", ["x"], ["y"])], [value("x", TensorProto.BFLOAT16, "N")],
        [value("y", TensorProto.BFLOAT16, "N")]))
    got = model(x=np.array([1, -2], ml_dtypes.bfloat16))["y"].view(model.outputs[0].element)
    np.testing.assert_array_equal(got.astype(np.float32), [-1, 2])


def test_describes_inputs_and_outputs(tiny):
    model = lathe.load(tiny)
    assert [(info.name, info.dtype, info.shape) for info in model.inputs] == [
        ("x", np.float32, ("N", 4)), ("y", np.float32, ("N", 4))]
    assert [(info.name, info.shape) for info in model.outputs] == [("z", ("N", 4))]
    assert model.symbols["N"][0] >= 0


def test_shapes_fix_a_symbol():
    model = lathe.compile(scale_add_relu(), shapes={"N": 3})
    assert model.inputs[0].shape == (3, 4)
    with pytest.raises(lathe.ModelError) as caught:
        model(x=normal(2, 4), y=normal(2, 4))
    assert caught.value.code == "E0702"


def test_shapes_bound_a_symbol():
    model = lathe.compile(scale_add_relu(), shapes={"N": range(1, 9)})
    assert model.symbols["N"] == (1, 8)
    with pytest.raises(lathe.ModelError, match="1 to 8"):
        model(x=normal(9, 4), y=normal(9, 4))


def test_one_artifact_takes_any_size(tiny):
    model = lathe.load(tiny)
    for rows in (1, 7, 3, 100, 1):
        x, y = normal(rows, 4), normal(rows, 4)
        np.testing.assert_array_equal(model(x=x, y=y)["z"], expected_scale_add_relu(x, y))


def test_inputs_by_mapping(tiny):
    x = normal(2, 4)
    np.testing.assert_array_equal(lathe.load(tiny)({"x": x, "y": x})["z"], expected_scale_add_relu(x, x))


def test_strided_inputs_are_read_where_they_are(tiny):
    wide = normal(6, 8)
    x, y = wide[::2, ::2], wide[::-2, 1::2]
    np.testing.assert_array_equal(lathe.load(tiny)(x=x, y=y)["z"], expected_scale_add_relu(x, y))


def test_lists_become_arrays(tiny):
    result = lathe.load(tiny)(x=[[1, 2, 3, 4]], y=[[0, 0, 0, -20]])
    np.testing.assert_array_equal(result["z"], [[0, 2, 6, 0]])


class ForeignTensor:
    """Only what the DLPack protocol asks for."""

    def __init__(self, array):
        self.array, self.exports = array, 0

    def __dlpack__(self, **options):
        self.exports += 1
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack_in(tiny):
    x, y = ForeignTensor(normal(2, 4)), normal(2, 4)
    np.testing.assert_array_equal(lathe.load(tiny)(x=x, y=y)["z"], expected_scale_add_relu(x.array, y))
    assert x.exports == 1


def test_dlpack_out_shares_memory(tiny):
    result = lathe.load(tiny)(x=normal(2, 4), y=normal(2, 4))["z"]
    assert np.shares_memory(np.from_dlpack(result), result)


def test_results_are_the_callers(tiny):
    model = lathe.load(tiny)
    x, y = normal(2, 4), normal(2, 4)
    first = model(x=x, y=y)["z"]
    kept = first.copy()
    model(x=normal(2, 4), y=normal(2, 4))
    del model
    gc.collect()
    np.testing.assert_array_equal(first, kept)


def test_binding_reads_inputs_anew(tiny):
    x, y = normal(2, 4), normal(2, 4)
    binding = lathe.load(tiny).bind(x=x, y=y)
    x[:] = 5
    np.testing.assert_array_equal(binding()["z"], expected_scale_add_relu(x, y))
    assert binding()["z"] is binding.outputs["z"]


def test_binding_keeps_the_model(tiny):
    binding = lathe.load(tiny).bind(x=np.ones((1, 4), np.float32), y=np.zeros((1, 4), np.float32))
    gc.collect()
    np.testing.assert_array_equal(binding()["z"], [[0, 1, 2, 3]])


@pytest.mark.parametrize("inputs,code,text", [
    ({"x": (2, 4)}, "E0701", "'y' is missing"),
    ({"x": (2, 4), "y": (2, 4), "w": (1,)}, "E0701", "no input 'w'"),
    ({"x": (2, 4), "y": (3, 4)}, "E0702", "already 2"),
    ({"x": (2, 4), "y": (2, 5)}, "E0702", "5"),
    ({"x": (2, 4), "y": (2,)}, "E0702", "1 dimensions"),
])
def test_wrong_inputs(tiny, inputs, code, text):
    arrays = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
    with pytest.raises(lathe.ModelError) as caught:
        lathe.load(tiny)(arrays)
    assert caught.value.code == code
    assert text in str(caught.value)


def test_wrong_element_type(tiny):
    with pytest.raises(lathe.ModelError) as caught:
        lathe.load(tiny)(x=np.zeros((2, 4)), y=np.zeros((2, 4), np.float32))
    assert caught.value.code == "E0702"
    assert "float64" in str(caught.value) and "float32" in str(caught.value)


def test_a_bad_run_does_not_spoil_the_next(tiny):
    model = lathe.load(tiny)
    x = normal(2, 4)
    with pytest.raises(lathe.ModelError):
        model(x=x, y=normal(3, 4))
    np.testing.assert_array_equal(model(x=x, y=x)["z"], expected_scale_add_relu(x, x))


def test_an_index_out_of_bounds_names_the_node():
    model = lathe.compile(gather_rows())
    np.testing.assert_array_equal(model(i=np.array([4, -5]))["rows"], [[16, 17, 18, 19], [0, 1, 2, 3]])
    with pytest.raises(lathe.ModelError) as caught:
        model(i=np.array([5]))
    assert caught.value.code == "E0704"
    assert caught.value.node == "/look/up"


@pytest.mark.parametrize("content,code", [(b"", "E0101"), (b"no model\n", "E0101")])
def test_no_model(tmp_path, content, code):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(lathe.ModelError) as caught:
        lathe.compile(path, tmp_path / "bad.so")
    assert caught.value.code == code
    assert not (tmp_path / "bad.so").exists()


def test_a_missing_model(tmp_path):
    with pytest.raises(lathe.ModelError) as caught:
        lathe.compile(tmp_path / "none.onnx", tmp_path / "none.so")
    assert caught.value.code == "E0002"


def test_no_artifact(tmp_path, tiny):
    path = tmp_path / "bad.so"
    path.write_bytes(tiny.read_bytes()[:-100])
    with pytest.raises(lathe.ModelError) as caught:
        lathe.load(path)
    assert caught.value.code == "E0601"


def test_threads_share_a_model(tiny):
    model = lathe.load(tiny, threads=1)
    failures = []

    def work(seed):
        random = np.random.default_rng(seed)
        for _ in range(50):
            x, y = (random.standard_normal((seed + 1, 4), np.float32) for _ in range(2))
            if not np.array_equal(model(x=x, y=y)["z"], expected_scale_add_relu(x, y)):
                failures.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_a_run_releases_the_gil(tiny):
    """Python code of another thread goes on while one long run is under way."""
    rows = 16_000_000
    binding = lathe.load(tiny, threads=1).bind(x=np.ones((rows, 4), np.float32), y=np.ones((rows, 4), np.float32))
    binding()
    running, ticks = threading.Event(), []

    def tick():
        running.wait()
        while running.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    running.set()
    begin = time.perf_counter()
    binding()
    end = time.perf_counter()
    running.clear()
    ticker.join()
    inside = [t for t in ticks if begin + 0.1 * (end - begin) < t < begin + 0.9 * (end - begin)]
    assert inside, f"no Python ran during a run of {end - begin:.3f} s"


def test_no_python_process_loads_llvm(tiny_onnx, tmp_path):
    program = ("import lathe, sys\n"
               "lathe.compile(sys.argv[1], sys.argv[2])\n"
               "assert 'libLLVM' not in open('/proc/self/maps').read()\n"
               "assert 'onnx' not in sys.modules\n")
    subprocess.run([sys.executable, "-c", program, tiny_onnx, tmp_path / "out.so"], check=True)


def test_sizes_whose_product_fits_no_integer():
    """An empty input may have any size, and what is computed from its sizes alone must not wrap around."""
    model = lathe.compile(outer_maximum())
    huge = np.empty((1 << 40, 0), np.float32)
    with pytest.raises(lathe.ModelError) as caught:
        model(x=huge, y=huge)
    assert caught.value.code == "E0705"
    assert "the arena" in str(caught.value)
    small = np.empty((5, 0), np.float32)
    np.testing.assert_allclose(model(x=small[:3], y=small)["z"], 0.2, rtol=1e-6)
