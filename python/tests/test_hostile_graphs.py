# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Subgraphs, attributes and sizes that cannot be: `lathe check`, `lathe compile` and Python give the same error, with
its code and its node, within two seconds of processor time and 1 GiB, and leave no file."""

import re
import resource
import subprocess

import pytest

import lathe
from lathe.compiler import driver
from hostile_graphs import CASES, all_at_once

STATUS = {"E0201": 3, "E0303": 3, "E0304": 3, "E0305": 3, "E0306": 3, "E0307": 3, "E0308": 2}
GIB = 1 << 30


def run(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([driver(), *map(str, arguments), "--memory-limit=1G"], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    return done


@pytest.mark.parametrize("name,make,code,text", CASES, ids=[case[0] for case in CASES])
def test_hostile_graph(tmp_path, name, make, code, text):
    path, output = tmp_path / "model.onnx", tmp_path / "model.so"
    path.write_bytes(make().SerializeToString())
    messages = []
    for done in (run("check", path), run("compile", path, "-o", output, "--quiet")):
        assert done.returncode == STATUS[code], done.stderr
        assert done.stderr.startswith(f"error[{code}]: ") and done.stderr.count("error[") == 1, done.stderr
        assert text in done.stderr, done.stderr
        # What is not supported comes in one message, with a note for each node.
        place = r'note: \w+ "/bad": ' if code == "E0308" else rf'  --> {re.escape(str(path))}: node #'
        assert '"/bad"' in done.stderr and re.search(place, done.stderr), done.stderr
        assert done.stdout == ""
        assert not re.search(r"\.(cpp|h):", done.stderr)
        messages.append(done.stderr)
    assert messages[0] == messages[1]
    with pytest.raises(lathe.ModelError) as error:
        lathe.compile(path, output)
    assert error.value.code == code
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_there_are_many_and_each_is_another():
    assert len(CASES) >= 100
    assert len({case[0] for case in CASES}) == len(CASES)


def test_all_problems_at_once(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(all_at_once().SerializeToString())
    done = run("check", path)
    assert done.returncode == 3
    assert done.stderr.count("error[E0304]: ") == 20
    assert re.findall(r'node #\d+ "(/bad\d+)"', done.stderr) == [f"/bad{i}" for i in range(20)]
