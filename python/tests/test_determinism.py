# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The same model gives the same bytes, wherever and however it is compiled; the same artifact the same bits."""

import os
import shutil
import subprocess

import numpy as np
import pytest

import lathe
from large_models import Sparse
from lathe.compiler import driver

TARGET = "--target=x86-64-v3"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model with external weights."""
    path = tmp_path_factory.mktemp("source") / "m.onnx"
    Sparse(rows=50, width=96, layers=3, row=7).save_external(path)
    return path


def outputs(source, folder, *options, cwd=None, name="m.so", model="m.onnx", **environment):
    """Compiles a copy of the model in a folder of its own; all files written, by name."""
    folder.mkdir(parents=True)
    for file in source.parent.iterdir():
        shutil.copy(file, folder / file.name)
    before = set(folder.iterdir())
    subprocess.run([driver(), "compile", model, "-o", name, TARGET, "--quiet", *options], check=True,
                   cwd=cwd or folder, env={**os.environ, **environment})
    return {path.name: path.read_bytes() for path in set(folder.iterdir()) - before}


@pytest.mark.parametrize("name", ["m.so", "m.a"])
def test_other_folders_environments_and_processors_give_the_same_bytes(tmp_path, source, name):
    first = outputs(source, tmp_path / "one", name=name)
    assert name in first
    far = tmp_path / "a much longer folder with spaces" / "ü" / "two"
    processors = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(processors)})
        second = outputs(source, far, name=far / name, model=far / "m.onnx", cwd="/", LC_ALL="tr_TR.UTF-8",
                         TZ="Asia/Tokyo", HOME="/nonexistent", TMPDIR=str(tmp_path), COLUMNS="40",
                         MALLOC_PERTURB_="85", SOURCE_DATE_EPOCH="1")
    finally:
        os.sched_setaffinity(0, processors)
    assert first.keys() == second.keys()
    for file, content in first.items():
        assert content == second[file], file
        assert str(tmp_path).encode() not in content and os.getcwd().encode() not in content


@pytest.mark.skipif(not os.environ.get("LATHE_TEST_FULL"), reason="two more compilations of MiniLM")
def test_minilm_gives_the_same_bytes(zoo, tmp_path):
    paths = [tmp_path / "one.so", tmp_path / "folder" / "two.so"]
    paths[1].parent.mkdir()
    for path in paths:
        lathe.compile(zoo["minilm"], path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_give_the_same_bits(compiled, threads):
    inputs = {"input_ids": np.arange(46).reshape(2, 23), "attention_mask": np.ones((2, 23), np.int64),
              "token_type_ids": np.zeros((2, 23), np.int64)}
    results = [lathe.load(compiled("minilm"), threads=threads)(**inputs) for _ in range(3)]
    for result in results[1:]:
        for name, array in result.items():
            np.testing.assert_array_equal(array.view(np.uint32), results[0][name].view(np.uint32))
