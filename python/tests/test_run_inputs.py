# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs of `lathe run` that do not fit: one error, its code, status 1, and no output file."""

import subprocess

import numpy as np
import pytest

import lathe
from lathe.compiler import driver
from small_models import gather_rows


def run(folder, artifact, arrays, *options):
    np.savez(folder / "in.npz", **arrays)
    return subprocess.run([driver(), "run", artifact, "--inputs", folder / "in.npz", "--outputs", folder / "out.npz",
                           "--threads=1", *options], capture_output=True, text=True)


def zeros(*dims, dtype=np.float32):
    return np.zeros(dims, dtype)


@pytest.mark.parametrize("arrays,code,text", [
    ({"x": zeros(2, 4)}, "E0701", 'no value for input "y" f32 [N, 4]'),
    ({"x": zeros(2, 4), "y": zeros(2, 4), "w": zeros(1)}, "E0701", 'the model has no input "w"'),
    ({"X": zeros(2, 4), "y": zeros(2, 4)}, "E0701", 'no value for input "x" f32 [N, 4]'),
    ({"x": zeros(2, 4, dtype=np.float64), "y": zeros(2, 4)}, "E0702",
     'input "x" is bound as f64, but the model has f32'),
    ({"x": zeros(2, 4, dtype=np.int32), "y": zeros(2, 4)}, "E0702",
     'input "x" is bound as i32, but the model has f32'),
    ({"x": zeros(8), "y": zeros(2, 4)}, "E0702", 'input "x" is bound with 1 dimensions, but the model has 2'),
    ({"x": zeros(2, 2, 2), "y": zeros(2, 4)}, "E0702", 'input "x" is bound with 3 dimensions, but the model has 2'),
    ({"x": zeros(2, 5), "y": zeros(2, 4)}, "E0702", 'input "x": dimension 1 is 5, but the model has 4'),
    ({"x": zeros(2, 4), "y": zeros(3, 4)}, "E0702",
     'input "y": dimension 0 is 3, but the symbol N is already 2 (input "x")'),
], ids=["missing", "extra", "other name", "f64", "i32", "rank 1", "rank 3", "size", "symbol"])
def test_what_does_not_fit(tmp_path, tiny, arrays, code, text):
    done = run(tmp_path, tiny, arrays)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert f"error[{code}]: " in done.stderr and done.stderr.count("error[") == 1
    assert text in done.stderr, done.stderr
    assert not (tmp_path / "out.npz").exists()


def test_beyond_the_bounds_of_a_symbol(tmp_path, tiny_onnx):
    path = tmp_path / "bounded.so"
    lathe.compile(tiny_onnx, path, shapes={"N": range(1, 9)})
    done = run(tmp_path, path, {"x": zeros(9, 4), "y": zeros(9, 4)})
    assert done.returncode == 1
    assert "error[E0702]: " in done.stderr and "1 to 8" in done.stderr


def test_an_index_beyond_its_table(tmp_path):
    path = tmp_path / "gather.so"
    lathe.compile(gather_rows(), path)
    done = run(tmp_path, path, {"i": np.array([5])})
    assert done.returncode == 3
    assert "error[E0704]: an index is out of bounds in node" in done.stderr
    assert '"/look/up"' in done.stderr
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("name,data,code", [
    ("empty.npz", b"", "E0703"), ("text.npz", b"no archive\n", "E0703"), ("half.npz", None, "E0703"),
    ("none.npz", ..., "E0002"),
])
def test_files_that_hold_no_arrays(tmp_path, tiny, name, data, code):
    path = tmp_path / name
    if data is None:
        np.savez(path, x=zeros(2, 4), y=zeros(2, 4))
        data = path.read_bytes()[:-40]
    if data is not ...:
        path.write_bytes(data)
    done = subprocess.run([driver(), "run", tiny, "--inputs", path], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"error[{code}]: " in done.stderr and name in done.stderr


def test_pickled_objects_are_refused(tmp_path, tiny):
    done = run(tmp_path, tiny, {"x": np.array([{"a": 1}], dtype=object), "y": zeros(2, 4)})
    assert done.returncode == 1
    assert "error[E0703]: " in done.stderr
