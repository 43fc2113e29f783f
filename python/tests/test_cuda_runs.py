# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models compiled for CUDA, run by the mock driver's emulator, against ONNX Runtime. No device is needed."""

import ctypes
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

import lathe
from cuda_models import EMULATED, FLOAT, INT64, MOCK, mock_driver, needs_mock
from lathe.compiler import driver
from lathe._verify import compare, run_reference
from small_models import ROOT, model, value
from test_concat_in_place import fire
from test_cuda import gemm

TOLERANCE = 1e-4  # as on processors

pytestmark = needs_mock


def look():
    """x[i]"""
    node = helper.make_node("Gather", ["x", "i"], ["y"], name="/look")
    return model([node], [value("x", FLOAT, 4, 3), value("i", INT64, "N")], [value("y", FLOAT, "N", 3)])


@pytest.fixture(scope="module")
def artifact(zoo, tmp_path_factory):
    """A function from a model's name to its ONNX file and its artifact."""
    folder = tmp_path_factory.mktemp("cuda")

    def compile_once(name):
        source, path = folder / f"{name}.onnx", folder / f"{name}.so"
        if not path.exists():
            if name in zoo:
                source.symlink_to(zoo[name])
            else:
                onnx.save({"gemm": gemm, "look": look, "fire": lambda: fire("N")}[name](), source)
            subprocess.run([driver(), "compile", source, "-o", path, f"--target={EMULATED}"], check=True)
        return source, path

    return compile_once


def check(source, compiled, inputs):
    expected, actual = run_reference(source, inputs), compiled(inputs)
    assert set(actual) == set(expected)
    for name, result in actual.items():
        assert compare(result, expected[name])["max_abs"] <= TOLERANCE, name
    return actual


@pytest.mark.parametrize("rows", [1, 3, 64, 70, 130])
def test_products_and_pointwise(artifact, rows):
    source, path = artifact("gemm")
    compiled = lathe.load(path)
    assert compiled.variant == "cuda"
    inputs = {"x": np.random.default_rng(rows).uniform(-1, 1, (rows, 37)).astype(np.float32)}
    for _ in range(3):  # launched, recorded, replayed
        check(source, compiled, inputs)
        inputs["x"] = inputs["x"] * 0.5


@pytest.mark.parametrize("shape", [(1, 6, 7, 9), (3, 6, 5, 4)])
def test_concatenations_in_place(artifact, shape):
    """Convolutions write to their parts of a larger tensor, whose rows lie further apart than theirs."""
    source, path = artifact("fire")
    check(source, lathe.load(path), {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)})


@pytest.mark.parametrize("batch,sequence", [(1, 16), (2, 7), (1, 1)])
def test_minilm(artifact, batch, sequence):
    source, path = artifact("minilm")
    random = np.random.default_rng(0)
    mask = np.ones((batch, sequence), np.int64)
    mask[1:, sequence // 2:] = 0
    check(source, lathe.load(path, check="lazy"),
          {"input_ids": random.integers(0, 30522, (batch, sequence)), "attention_mask": mask,
           "token_type_ids": random.integers(0, 2, (batch, sequence))})


def test_magika(artifact):
    source, path = artifact("magika")
    check(source, lathe.load(path), {"bytes": np.random.default_rng(0).integers(0, 257, (1, 2048), np.int32)})


def test_results_do_not_depend_on_the_order_of_threads(artifact, monkeypatch):
    compiled = lathe.load(artifact("minilm")[1])
    inputs = {"input_ids": np.arange(100, 108)[None], "attention_mask": np.ones((1, 8), np.int64),
              "token_type_ids": np.zeros((1, 8), np.int64)}
    results = []
    for seed in "012":
        monkeypatch.setenv("LATHE_EMU_SEED", seed)
        results.append(compiled(inputs)["last_hidden_state"])
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_a_fault_names_the_node(artifact):
    source, path = artifact("look")
    compiled = lathe.load(path)
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    check(source, compiled, {"x": x, "i": np.array([3, 0, -1])})
    with pytest.raises(lathe.ModelError) as error:
        compiled(x=x, i=np.array([1, 4]))
    assert (error.value.code, error.value.node) == ("E0704", "/look")
    assert str(error.value) == 'an index is out of bounds in node "/look"'
    check(source, compiled, {"x": x, "i": np.array([2])})


def run(*arguments, **environment):
    return subprocess.run([driver(), *arguments], capture_output=True, text=True, env={**os.environ, **environment})


def test_the_tools_name_the_variant(artifact):
    path = artifact("gemm")[1]
    assert "  cuda (runs here): " in run("inspect", path).stdout
    assert run("bench", path, "--seconds=0.01").stdout.rstrip().endswith("  cuda")
    assert run("run", path, "--random", "--device=0").returncode == 0
    profile = run("profile", path)
    assert profile.returncode == 0, profile.stderr


@pytest.mark.parametrize("environment,why", [
    ({"LATHE_CUDA_DRIVER": "/no/driver"}, "the CUDA driver cannot be loaded: /no/driver: cannot open shared object file"),
    ({"LATHE_MOCK_DEVICES": "0"}, "the CUDA driver finds no device: CUDA_ERROR_NO_DEVICE"),
    ({"LATHE_MOCK_VERSION": "11040"}, "the CUDA driver is too old: it is for CUDA 11.4, at least 12.0 is needed"),
], ids=["driver", "device", "version"])
def test_what_is_missing_is_said(artifact, environment, why):
    path = artifact("gemm")[1]
    done = run("run", path, "--random", **environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error[E0604]: ") and f'does not run here: cuda: {why}' in done.stderr
    done = run("inspect", path, **environment)
    assert done.returncode == 0 and "\n  cuda: " in done.stdout


def test_a_device_that_there_is_not(artifact):
    done = run("run", artifact("gemm")[1], "--random", "--device=3")
    assert done.stderr.startswith("error[E0604]: ") and "there is no device 3, the CUDA driver has 1" in done.stderr


def test_memory_that_the_device_lacks(artifact):
    done = run("run", artifact("gemm")[1], "--random", LATHE_MOCK_MEMORY="9000")
    assert "error[E0705]: no memory for " in done.stderr and "on device 0" in done.stderr


class DeviceTensor:
    """An array in the memory of the mock driver's device."""

    def __init__(self, array):
        mock = ctypes.CDLL(str(MOCK))
        context, address = ctypes.c_void_p(), ctypes.c_uint64()
        assert mock.cuInit(0) == 0 and mock.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
        mock.cuCtxPushCurrent_v2(context)
        assert mock.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(array.nbytes)) == 0
        assert mock.cuMemcpyHtoD_v2(address, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)) == 0
        mock.cuCtxPopCurrent_v2(ctypes.byref(context))
        self.array, self.address = array, address.value

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, stream):
        assert stream == 1
        # A numpy array's capsule, with the address and the device of ours.
        capsule = self.array.__dlpack__()
        fields = ctypes.cast(PyCapsule_GetPointer(capsule, b"dltensor"), ctypes.POINTER(ctypes.c_uint64))
        fields[0] = self.address
        ctypes.cast(fields, ctypes.POINTER(ctypes.c_int32))[2] = 2
        return capsule


PyCapsule_GetPointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


def test_tensors_of_the_device_are_read_where_they_lie(artifact):
    source, path = artifact("gemm")
    compiled = lathe.load(path)
    x = np.random.default_rng(0).uniform(-1, 1, (5, 37)).astype(np.float32)
    tensor = DeviceTensor(x)
    expected = run_reference(source, {"x": x})
    references = sys.getrefcount(x)
    for _ in range(3):
        for name, result in compiled(x=tensor).items():
            assert compare(result, expected[name])["max_abs"] <= TOLERANCE
    assert sys.getrefcount(x) == references + 1, "only what is bound is kept"
    with pytest.raises(lathe.ModelError, match='input "x" is bound with 1 dimensions, but the model has 2'):
        compiled(x=DeviceTensor(x[0].copy()))
    check(source, compiled, {"x": x.copy()})
    assert sys.getrefcount(x) == references


def test_only_what_a_device_reads_is_copied_there(tmp_path):
    """A matrix that the processor reads in panels is in the file twice, the bias that both read once."""
    w, b = np.ones((512, 1024), np.float32), np.ones(1024, np.float32)
    source = model([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], [value("x", FLOAT, "N", 512)],
                   [value("y", FLOAT, "N", 1024)], w=w, b=b)
    onnx.save(source, tmp_path / "m.onnx")
    path = tmp_path / "m.so"
    subprocess.run([driver(), "compile", tmp_path / "m.onnx", "-o", path, "--target=x86-64-v3,cuda-emulator"], check=True)
    assert path.stat().st_size > 2 * w.nbytes
    done = run("run", path, "--random", "--device=0", LATHE_MOCK_MEMORY=str(w.nbytes + (1 << 20)))
    assert done.returncode == 0, done.stderr
    script = ("import lathe, numpy as np, sys\n"
              "x = np.random.default_rng(0).uniform(-1, 1, (3, 512)).astype(np.float32)\n"
              "model = lathe.load(sys.argv[1])\n"
              "print(model.variant, np.abs(model(x=x)['y'] - x.sum(1, keepdims=True) - 1).max())")
    for variant, library in (("cuda", MOCK), ("x86-64-v3", "/no/driver")):
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT / "python"), "LATHE_CUDA_DRIVER": str(library)})
        used, difference = done.stdout.split()
        assert used == variant and float(difference) <= TOLERANCE


def test_weights_do_not_stay_in_the_hosts_memory(artifact):
    """Their file's pages are not resident; the mock driver's device is anonymous memory."""
    script = ("import lathe, sys, re\n"
              "status = lambda: int(re.search(r'RssFile:\\s+(\\d+)', open('/proc/self/status').read()).group(1))\n"
              "before = status()\n"
              "model = lathe.load(sys.argv[1])\n"
              "print(status() - before)")
    done = subprocess.run([sys.executable, "-c", script, artifact("minilm")[1]], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python")})
    assert int(done.stdout) < 20 << 10, "of 90 MiB of weights"
