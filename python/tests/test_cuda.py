# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Code for CUDA devices: what ptxas says of it, and what is refused. No device is needed."""

import json
import os
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper

from lathe.compiler import driver
from small_models import model, value

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
PTXAS = os.environ.get("LATHE_PTXAS") or shutil.which(
    "ptxas", path=os.pathsep.join([os.environ.get("CUDA_HOME", "") + "/bin", "/usr/local/cuda/bin", os.environ["PATH"]]))
needs_ptxas = pytest.mark.skipif(not PTXAS, reason="there is no ptxas: LATHE_PTXAS names one")


def compile_for(targets, source, folder, check=True, options=(), **environment):
    """Compiles a model, or the file of one; gives what the driver said and its report."""
    if not isinstance(source, os.PathLike):
        onnx.save(source, folder / "m.onnx")
        source = folder / "m.onnx"
    done = subprocess.run([driver(), "compile", source, "-o", folder / "m.so", f"--target={targets}",
                           f"--report={folder / 'm.json'}", *options], capture_output=True, text=True, env={**os.environ, **environment})
    if check:
        assert done.returncode == 0, done.stderr
    return done.stderr, json.loads((folder / "m.json").read_text()) if done.returncode == 0 else None


def gemm():
    """relu(x w + b), and tanh(2 x)."""
    random = np.random.default_rng(0)
    w, b = random.standard_normal((37, 50), np.float32), random.standard_normal(50, np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["t"]), helper.make_node("Relu", ["t"], ["y"]),
             helper.make_node("Add", ["x", "x"], ["d"]), helper.make_node("Tanh", ["d"], ["z"])]
    return model(nodes, [value("x", FLOAT, "N", 37)], [value("y", FLOAT, "N", 50), value("z", FLOAT, "N", 37)], w=w, b=b)


@needs_ptxas
@pytest.mark.parametrize("name", ["gemm", "minilm", "magika"])
@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90a"])
def test_no_kernel_spills(name, architecture, zoo, tmp_path):
    """Every register file holds what its kernel needs; a code of ptxas says that it did something slow instead."""
    _, report = compile_for(f"cuda-{architecture}", gemm() if name == "gemm" else zoo[name], tmp_path)
    numbers = report["numbers"]
    assert numbers["device_stack_bytes"] == numbers["device_spill_bytes"] == numbers["ptxas_warnings"] == 0
    # 128 leave room for two blocks of 256 threads, with half of all registers each.
    assert 0 < numbers["device_registers"] <= 128


def test_without_ptxas_there_is_ptx(tmp_path):
    said, report = compile_for("cuda-sm_80", gemm(), tmp_path, LATHE_PTXAS="")
    assert "no machine code for CUDA devices, as there is no ptxas" in said
    assert report["numbers"]["ptx_bytes"] > 0 and "device_registers" not in report["numbers"]
    assert b".target sm_80" in (tmp_path / "m.so").read_bytes()


def test_all_that_the_host_would_read_is_refused_at_once(tmp_path):
    nodes = [helper.make_node("NonZero", ["x"], ["i"], name="/where"),
             helper.make_node("Reshape", ["x", "s"], ["r"], name="/shape")]
    source = model(nodes, [value("x", FLOAT, 4, 6), value("s", INT64, 2)],
                   [value("i", INT64, 2, "M"), value("r", FLOAT, "A", "B")])
    said, _ = compile_for("cuda-sm_80", source, tmp_path, check=False)
    assert said.count("error[E0503]") >= 2 and "/where" in said and "/shape" in said
    assert not (tmp_path / "m.so").exists()


def test_both_in_one_file(tmp_path):
    """Kernels of the processor come first; a weight that it reads in panels is stored once more, others are shared."""
    _, alone = compile_for("x86-64-v3", gemm(), tmp_path)
    _, device = compile_for("cuda-emulator", gemm(), tmp_path)
    _, both = compile_for("x86-64-v3,cuda-emulator", gemm(), tmp_path)
    numbers = [report["numbers"] for report in (alone, device, both)]
    assert numbers[2]["kernels"] == numbers[0]["kernels"] + numbers[1]["kernels"]
    matrix = 37 * 50 * 4
    assert numbers[0]["weight_bytes"] < numbers[2]["weight_bytes"] <= numbers[0]["weight_bytes"] + matrix + 63
    shown = subprocess.run([driver(), "inspect", tmp_path / "m.so"], capture_output=True, text=True, check=True).stdout
    assert "cuda" in shown and "x86-64-v3" in shown


def test_equal_models_give_equal_bytes(tmp_path):
    files = []
    for name in "ab":
        (tmp_path / name).mkdir()
        compile_for("cuda-sm_80,cuda-emulator", gemm(), tmp_path / name)
        files.append((tmp_path / name / "m.so").read_bytes())
    assert files[0] == files[1]
