# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models that several tests use, compiled once a session."""

import onnx
import pytest

import lathe
from lathe.zoo import build_models
from small_models import build_folder, scale_add_relu


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(scale_add_relu(), path)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_onnx):
    """The path of the compiled scale_add_relu."""
    path = tiny_onnx.with_suffix(".so")
    lathe.compile(tiny_onnx, path)
    return path


@pytest.fixture(scope="session")
def zoo():
    """Paths of the zoo's models by name, in the build folder."""
    return build_models(build_folder() / "models")


@pytest.fixture(scope="session")
def compiled(zoo, tmp_path_factory):
    """A function from a zoo model's name to its artifact, compiled at most once."""
    folder = tmp_path_factory.mktemp("zoo")

    def compile_once(name):
        path = folder / f"{name}.so"
        if not path.exists():
            lathe.compile(zoo[name], path)
        return path

    return compile_once
