# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What users install: the CMake package with add_onnx_model, and the two wheels."""

import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("LATHE_BUILD_DIR", ROOT / "build"))


def call(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def save_model(path, factor, external=False):
    """z = relu(x * factor + y); a splat factor becomes part of the code, others are weights."""
    nodes = [helper.make_node("Mul", ["x", "c"], ["t"]), helper.make_node("Add", ["t", "y"], ["u"]),
             helper.make_node("Relu", ["u"], ["z"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xyz"]
    constant = onnx.numpy_helper.from_array(np.full(4, factor, np.float32), "c")
    graph = helper.make_graph(nodes, "g", values[:2], values[2:], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.with_suffix(".data").unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=external, location=path.with_suffix(".data").name, size_threshold=0)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    call("cmake", "--install", BUILD, "--prefix", folder)
    return folder


def test_install_holds_tools_runtime_headers_and_licenses(prefix):
    for path in ("bin/lathe", "bin/lathe-opt", "lib/liblathe.so", "lib/liblathe.a", "include/lathe.h",
                 "include/lathe/abi.h", "lib/cmake/Lathe/LatheConfig.cmake"):
        assert (prefix / path).exists(), path
    assert not (prefix / "lathe").exists(), "the wheels' files are not to be installed"
    assert call(prefix / "bin/lathe", "--version").startswith("lathe 0.")


def test_a_project_outside_the_tree(prefix, tmp_path):
    model, build = tmp_path / "some model.onnx", tmp_path / "build"
    save_model(model, 2.0, external=True)
    call("cmake", "-G", "Ninja", "-S", pathlib.Path(__file__).parent / "project", "-B", build,
         f"-DCMAKE_PREFIX_PATH={prefix}", f"-DMODEL={model}")
    call("ninja", "-C", build)
    assert call(build / "linked").split() == ["3"] * (8 + 8 + 16)
    assert "no work to do" in call("ninja", "-C", build)

    # Only the external data changes.
    data = model.with_suffix(".data")
    data.write_bytes(np.full(4, 5.0, np.float32).tobytes())
    call("ninja", "-C", build)
    assert call(build / "linked").split() == ["6"] * (8 + 8 + 16)

    save_model(model, -3.0)
    call("ninja", "-C", build)
    assert call(build / "linked").split() == ["0"] * (8 + 8 + 16)

    artifact = tmp_path / "m.so"
    call(prefix / "bin/lathe", "compile", model, "-o", artifact)
    assert call(build / "opened", artifact).split() == ["x", "f32", "y", "f32"]


def unpacked_wheel(source, tmp_path, *options):
    call(sys.executable, "-m", "pip", "wheel", source, "-w", tmp_path, "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", *options)
    (wheel,) = tmp_path.glob("*.whl")
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        for info in archive.infolist():  # extractall drops permissions, pip keeps them
            (folder / info.filename).chmod(info.external_attr >> 16 or 0o644)
    return folder


def clean_environment(folder):
    """As on a machine with nothing else of Lathe's."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("LATHE_")}
    return {**kept, "PYTHONPATH": str(folder)}


RUN = """
import sys, numpy as np, lathe
model = lathe.load(sys.argv[1])
assert (model(x=np.ones((3, 4), "f"), y=np.ones((3, 4), "f"))["z"] == 3).all()
assert "LLVM" not in open("/proc/self/maps").read()
"""


def test_the_wheel_compiles_and_runs(tmp_path):
    folder = unpacked_wheel(ROOT, tmp_path, f"-Cbuild-dir={BUILD}")
    model = tmp_path / "m.onnx"
    save_model(model, 2.0)
    environment = clean_environment(folder)
    call(sys.executable, "-c", "import sys, lathe; lathe.compile(sys.argv[1], sys.argv[2])", model, tmp_path / "m.so",
         env=environment, cwd=tmp_path)
    call(sys.executable, "-c", RUN, tmp_path / "m.so", env=environment, cwd=tmp_path)
    command = "import sys; from lathe._command import main; sys.argv = ['lathe', '--version']; main()"
    assert call(sys.executable, "-c", command, env=environment, cwd=tmp_path).startswith("lathe 0.")


def test_the_runtime_wheel_runs_without_a_compiler(tmp_path):
    from lathe import compile

    folder = unpacked_wheel(ROOT / "packaging" / "runtime", tmp_path, f"-Cbuild-dir={tmp_path / 'build'}")
    assert not (folder / "lathe" / "bin").exists()
    assert sum(path.stat().st_size for path in (folder / "lathe" / "lib").iterdir()) < 300_000
    save_model(tmp_path / "m.onnx", 2.0)
    compile(tmp_path / "m.onnx", tmp_path / "m.so")
    environment = {**clean_environment(folder), "PATH": "/nowhere"}
    call(sys.executable, "-c", RUN, tmp_path / "m.so", env=environment, cwd=tmp_path)
    program = ("import lathe\ntry:\n  lathe.compile('m.onnx')\n"
               "except lathe.ModelError as error:\n  print(error.code)\n")
    assert call(sys.executable, "-c", program, env=environment, cwd=tmp_path).strip() == "E0005"
