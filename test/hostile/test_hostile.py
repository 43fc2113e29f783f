# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every class of bad model gives its own clean error, fast, and nothing else."""

import pathlib
import re

import pytest

import hostile_models as models

CLASSES = {"Usage": 1, "Unsupported": 2, "Invalid": 3, "Internal": 4}


def exit_status(code):
    """What ErrorCodes.def says about the code."""
    root = pathlib.Path(__file__).resolve().parents[2]
    text = (root / "include/lathe/Support/ErrorCodes.def").read_text()
    return CLASSES[re.search(rf"LATHE_ERROR\({code}, (\w+),", text).group(1)]


@pytest.mark.parametrize("name,make,code,text,options", models.CASES, ids=[c[0] for c in models.CASES])
def test_bad_model(importer, tmp_path, name, make, code, text, options):
    data = make(tmp_path)
    path = tmp_path / "model.onnx"
    if data is not None:
        path.write_bytes(data)
    result = importer("--quiet", *options, path)
    message = result.err.decode()
    assert result.code == exit_status(code), message
    assert message.startswith(f"error[{code}]: "), message
    assert text in message
    assert result.out == b""
    assert result.seconds < 2
    # One error, no terminal control, no path of ours.
    assert message.count("error[") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", message)
    assert ".cpp" not in message
    assert str(path) in message or code in ("E0002",)
    assert len(message) < 5000


def test_every_code_has_an_exit_status():
    for case in models.CASES:
        assert exit_status(case[2]) in (1, 2, 3)
