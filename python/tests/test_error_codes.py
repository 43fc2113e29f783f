# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every error code of ErrorCodes.def is produced: by a hostile file, by a command below, or by a GoogleTest that is named
below and run."""

import os
import pathlib
import re
import resource
import subprocess
import sys

import numpy as np
import onnx
import pytest

import artifact_bytes
import lathe
from hostile_graphs import CASES as GRAPHS
from lathe._inputs import run_tool
from lathe.compiler import driver
from small_models import ROOT, build_folder, model, value
from test_bad_artifacts import note_of, sections  # noqa: F401

sys.path.append(str(ROOT / "test/hostile"))
from hostile_models import CASES as FILES  # noqa: E402

FLOAT = onnx.TensorProto.FLOAT
CLASSES = {"Usage": 1, "Unsupported": 2, "Invalid": 3, "Internal": 4}
CODES = {code: CLASSES[kind] for code, kind in
         re.findall(r"^LATHE_ERROR\((E\d{4}), (\w+),", (ROOT / "include/lathe/Support/ErrorCodes.def").read_text(), re.MULTILINE)}
#: Faults of the machine or of Lathe itself that no command line can cause: the test program and the test.
UNIT_TESTS = {
    "E0108": ("test/Import/lathe_import_tests", "ModelFileTest.ATruncatedFileIsNoticed"),
    "E0401": ("test/unit/lathe_compiler_tests", "DescribeTest.ATypeThatNoArtifactTakesIsRefused"),
    "E0502": ("test/unit/lathe_unit_tests", "TargetSpec.oldProcessorIsRefusedWithWhatItLacks"),
    "E0900": ("test/unit/lathe_unit_tests", "Artifact.wrongAmountOfWeightsLeavesNoFile"),
    "E0901": ("test/unit/lathe_unit_tests", "Diagnostics.errorsWithoutCodeAreInternal"),
    "E0902": ("test/unit/lathe_unit_tests", "Worker.abortIsAnInternalError"),
    "E0905": ("test/unit/lathe_unit_tests", "Artifact.variablesAreRefused"),
    "E0906": ("test/unit/lathe_unit_tests", "Artifact.foreignSymbolsAreRefused"),
    "E0907": ("test/unit/lathe_unit_tests", "Worker.garbageIsRefused"),
}


def save(folder, graph):
    onnx.save(graph, folder / "m.onnx")
    return "m.onnx"


def gather(folder):
    """Compiled: x[i] of 4."""
    node = onnx.helper.make_node("Gather", ["x", "i"], ["y"], name="/look")
    graph = model([node], [value("x", FLOAT, 4), value("i", onnx.TensorProto.INT64, 1)], [value("y", FLOAT, 1)])
    lathe.compile(graph, folder / "gather.so")
    np.save(folder / "x.npy", np.zeros(4, np.float32))
    np.save(folder / "i.npy", np.array([4]))
    return "run", "gather.so", "--input", "x=x.npy", "--input", "i=i.npy"


def inverse(folder):
    graph = model([onnx.helper.make_node("Inverse", ["x"], ["y"], name="/bad", domain="com.microsoft")],
                  [value("x", FLOAT, 2, 2)], [value("y", FLOAT, 2, 2)])
    graph.opset_import.add(domain="com.microsoft", version=1)
    return save(folder, graph)


def text(folder, name, content):
    (folder / name).write_text(content)
    return name


def big(folder):
    graph = model([onnx.helper.make_node("Expand", ["x", "s"], ["y"])], [value("x", FLOAT, 1)],
                  [value("y", FLOAT, "A", "B")], s=np.array([1 << 30, 1 << 30]))
    lathe.compile(graph, folder / "big.so")
    return "run", "big.so", "--random"


def planned(folder, plan, path="tiny.onnx"):
    return "compile", path, "-o", "m.so", "--plan", text(folder, "plan.json", '{"version": 1, ' + plan + "}")


def odd_rows(folder):
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="/product")
    return save(folder, model([node], [value("x", FLOAT, 1, 50)], [value("y", FLOAT, 1, 32)],
                              w=np.ones((50, 32), np.float32)))


def no_statistics(folder):
    np.savez(folder / "s.npz", x=np.zeros(3))
    return "s.npz"


#: From a code to what makes the driver's arguments, in a folder with tiny.onnx and tiny.so.
COMMANDS = {
    "E0001": lambda folder: ("compile", "tiny.onnx"),
    "E0003": lambda folder: ("compile", "tiny.onnx", "-o", "no/m.so"),
    "E0004": lambda folder: ("check", "tiny.onnx", "--shape=Q=1"),
    "E0005": lambda folder: ("bench", "tiny.so", "--vs=onnxruntime", "--model", "tiny.onnx"),
    "E0006": lambda folder: ("profile", "tiny.so", "--report", text(folder, "r.json", "{}")),
    "E0301": lambda folder: ("check", inverse(folder)),
    "E0403": lambda folder: ("compile", text(folder, "m.mlir", "func @"), "--from=nn", "-o", "m.so"),
    "E0501": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--target=avx9"),
    "E0503": lambda folder: ("compile", text(folder, "m.mlir", ""), "--from=llvm", "--to=object", "-o", "m.o", "--target=cuda-sm_80"),
    "E0504": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--target=cuda-sm_80"),
    "E0601": lambda folder: ("run", text(folder, "text.so", "no ELF"), "--random"),
    "E0602": lambda folder: ("run", "version.so", "--random"),
    "E0603": lambda folder: ("run", "cpu.so", "--random"),
    "E0604": lambda folder: ("run", "tiny.so", "--random", "--device=0"),
    "E0701": lambda folder: ("run", "tiny.so", "--input", "nothing=wide.npy"),
    "E0702": lambda folder: ("run", "tiny.so", "--input", "x=wide.npy", "--input", "y=wide.npy"),
    "E0703": lambda folder: ("run", "tiny.so", "--inputs", text(folder, "x.npz", "no archive")),
    "E0704": gather,
    "E0705": big,
    "E0801": lambda folder: planned(folder, '"formats": {}'),
    "E0802": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--plan", text(folder, "p.json", '{"version": 2}')),
    "E0803": lambda folder: planned(folder, '"model": "0123456789abcdef"'),
    "E0804": lambda folder: planned(folder, '"weights": {"nothing": {"format": "none"}}'),
    "E0805": lambda folder: (*planned(folder, '"defaults": {"speedup": 2}'), "--skip-to-speedup=3"),
    "E0806": lambda folder: planned(folder, '"defaults": {"format": "int5"}'),
    "E0807": lambda folder: planned(folder, '"weights": {"w": {"format": "int4<group = 32>"}}', odd_rows(folder)),
    "E0808": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--skip-to-speedup=2"),
    "E0809": lambda folder: (*planned(folder, '"calibration": "0123456789abcdef", "defaults": {"math": "bf16"}'), "--stats=wide.npy"),
    "E0810": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--math=bf16", "--stats", no_statistics(folder)),
    "E0811": lambda folder: ("calibrate", "tiny.onnx", "--data=.", "-o", "s.npz"),
    "E0812": lambda folder: ("compile", odd_rows(folder), "-o", "m.so", "--quantize=int8-static"),
    "E0820": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--math=bf16", "--latencies", text(
        folder, "l.json", '{"version": 1, "processor": "another", "features": "1", "compiler": "0", "products": []}')),
    "E0821": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--math=bf16", "--latencies", text(folder, "l.json", "[]")),
    "E0903": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--time-limit=0.000001"),
    "E0904": lambda folder: ("compile", "tiny.onnx", "-o", "m.so", "--memory-limit=1k"),
}


def test_every_code_is_produced():
    """The cases of hostile files are run by their own tests."""
    files = {case[2] for case in FILES} | {case[2] for case in GRAPHS}
    assert files | set(COMMANDS) | set(UNIT_TESTS) == set(CODES)


@pytest.mark.parametrize("code", COMMANDS)
def test_command(code, tmp_path, tiny, tiny_onnx, sections):  # noqa: F811
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx.read_bytes())
    artifact = tiny.read_bytes()
    (tmp_path / "tiny.so").write_bytes(artifact)
    (tmp_path / "cpu.so").write_bytes(artifact_bytes.with_cpu_features(artifact, note_of(sections), 1 << 40))
    (tmp_path / "version.so").write_bytes(artifact_bytes.with_container_version(artifact, note_of(sections), 99))
    np.save(tmp_path / "wide.npy", np.zeros((2, 9), np.float32))
    done = subprocess.run([driver(), *COMMANDS[code](tmp_path)], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "TMPDIR": str(tmp_path), "LATHE_PTXAS": "/bin/false",
                               "LATHE_PYTHON": "/bin/false" if code == "E0005" else sys.executable})
    # A run first says what its inputs are.
    text = re.sub(r"^input .*\n", "", done.stderr, flags=re.MULTILINE)
    assert text.startswith(f"error[{code}]: ") and done.stderr.count("error[") == 1, done.stderr
    assert done.returncode == CODES[code]
    assert done.stdout == ""


@pytest.mark.parametrize("code", UNIT_TESTS)
def test_unit_test(code):
    program, name = UNIT_TESTS[code]
    done = subprocess.run([build_folder() / program, f"--gtest_filter={name}"], capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    assert done.returncode == 0 and "[  PASSED  ] 1 test." in done.stdout, done.stdout
    suite, test = name.split(".")
    sources = "".join(path.read_text() for path in (ROOT / "test").rglob("*Test.cpp"))
    body = re.search(rf"^TEST(?:_F)?\({suite}, {test}\) .*?(?=^TEST|\Z)", sources, re.MULTILINE | re.DOTALL).group(0)
    assert code in body


@pytest.mark.parametrize("code", CODES)
def test_exit_status_of_python_tools(code, capsys):
    """They end like the driver."""
    def fail():
        raise lathe.ModelError(code, "text")
    with pytest.raises(SystemExit) as end:
        run_tool(fail)
    assert end.value.code == CODES[code]
    assert capsys.readouterr().err == f"error[{code}]: text\n"
